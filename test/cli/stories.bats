#!/usr/bin/env bats
# What people come for, from end to end: exports that are asked for again and again, and a
# nightly job in shards. RACE_JOBS=1000 is the full size; the default suits `make check`.

load helper

: "${RACE_JOBS:=100}"

# A handler for exports: arguments are the manager and the catalogue. Two at once for one manager
# are told in $test_dir/twice; how many managers' exports ran at once, in parallel. Its own job is
# not over while it runs: no other that is sent has its key.
make_exporter() {
	mkdir "$test_dir/running" "$test_dir/exports"
	script "$test_dir/export" <<-END
		mkdir '$test_dir/running/'"\$1" || echo "\$1" >>'$test_dir/twice'
		ls '$test_dir/running' | wc -l >>'$test_dir/parallel'
		sleep 0.05
		for meta in \$(grep -lxs "key export \$2 for \$1" '$QSPOOL'/exports/meta/*); do
			[ "\${meta##*/}" = "\$QJOB_ID" ] || find '$QSPOOL'/exports/new '$QSPOOL'/exports/cur \
				'$QSPOOL/.wait' -name "*\${meta##*/}*"
		done >>'$test_dir/keys_twice'
		echo "\$1 \$2" >>'$test_dir/exports/'"\$1"
		rmdir '$test_dir/running/'"\$1"
	END
}

ask_for_exports() { # MANAGER TIMES
	local i catalogue
	for ((i = 0; i < $2; i++)); do
		for catalogue in books music; do
			qsend -q exports --key "export $catalogue for $1" --resource "manager $1=1" -- \
				"$1" "$catalogue" </dev/null || return 1
		done
	done
}

@test 'managers who ask again and again: no export is queued twice, one at a time for each, all in parallel' {
	make_exporter
	askers=()
	for manager in ann bob eve joe; do
		start ask_for_exports $manager 10 >"$test_dir/asked.$manager"
		askers+=("$started")
	done
	assert_all_succeed "${askers[@]}"
	# Nothing ran meanwhile: of each manager and catalogue there is one job.
	assert_equal "$(job_count new exports)" 8
	assert_equal "$(grep -h '^key ' "$QSPOOL"/exports/meta/* | sort -u | wc -l)" 8
	for manager in ann bob eve joe; do
		assert_equal "$(sort -u "$test_dir/asked.$manager" | wc -l)" 2
	done

	for _ in 1 2; do start_qwork -q exports -j 4 -- "$test_dir/export"; done
	askers=()
	for manager in ann bob eve joe; do
		start ask_for_exports $manager 10 >/dev/null
		askers+=("$started")
	done
	assert_all_succeed "${askers[@]}"
	wait_for 60 spool_is_idle exports
	wait_for 60 nothing_waits
	assert_not_exists "$test_dir/twice"
	assert_equal "$(cat "$test_dir/keys_twice")" ''
	(($(sort -n "$test_dir/parallel" | tail -n 1) > 1))
	for manager in ann bob eve joe; do
		assert_equal "$(sort -u "$test_dir/exports/$manager")" "$manager books
$manager music"
	done
}

nothing_waits() { [[ -z $(find "$QSPOOL/.wait" -type f 2>/dev/null) ]]; }

# Marks each shard as done, and the merge, which tells of shards that are not.
make_nightly() {
	mkdir "$test_dir/done"
	script "$test_dir/shard" <<-END
		read -r from to
		mkdir -p '$test_dir/done/'"\$from-\$to"
	END
	script "$test_dir/merge" <<-END
		ls '$test_dir/done' | wc -l >>'$test_dir/merged'
	END
}

merge_began() { [[ -e $test_dir/merged ]]; }

# Kills one qwork after the other, and starts another in its place, until the merge begins.
kill_workers() {
	local victim
	while ! merge_began; do
		victim=$((RANDOM % ${#workers[@]}))
		a_random_moment
		kill -KILL "${workers[victim]}" 2>/dev/null || true
		wait "${workers[victim]}" 2>/dev/null || true
		start_qwork -q shards -j 2 -b 10ms..50ms -A 100 -- "$test_dir/shard"
		workers[victim]=$qwork
		if (($(now_ms) > deadline)); then fail 'the merge never began'; fi
	done
}

@test 'a nightly job in shards: the merge runs once, after all of them, though workers are killed throughout' {
	make_nightly
	qshard 1 1000000 --into "$RACE_JOBS" | qsend -q shards --lines --batch nightly >/dev/null
	assert_equal "$(job_count new shards)" "$RACE_JOBS"
	merge=$(qsend -q merge --after nightly </dev/null)
	start_qwork -q merge -- "$test_dir/merge"
	workers=()
	for _ in 1 2 3; do
		start_qwork -q shards -j 2 -b 10ms..50ms -A 100 -- "$test_dir/shard"
		workers+=("$qwork")
	done
	deadline=$(($(now_ms) + 240000))
	kill_workers
	wait_for 60 spool_is_idle merge
	assert_equal "$(cat "$test_dir/merged")" "$RACE_JOBS"
	run_tool qstat "$merge"
	assert_failure 66
	# Each number of the range is in one of the shards that ran.
	find "$test_dir/done" -mindepth 1 -printf '%f\n' | sort -n |
		awk -F- '$1 != next_one + 1 { exit 1 } { next_one = $2 } END { exit next_one != 1000000 }'
	wait_for 60 spool_is_idle shards
	assert_equal "$(job_count buried shards)" 0
}
