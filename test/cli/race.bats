#!/usr/bin/env bats
# Many at once: no job is lost and none is done twice. RACE_JOBS=1000 is the full
# size; the default suits `make check`.

load helper

: "${RACE_JOBS:=100}"

# A handler that marks its job as done; the mark of a second run fails.
make_marker() {
	mkdir "$test_dir/done"
	script "$test_dir/mark" <<-END
		read -r job
		mkdir "$test_dir/done/\$job" || echo "\$job" >>'$test_dir/twice'
	END
}
done_count() { find "$test_dir/done" -mindepth 1 -maxdepth 1 | wc -l; }

# assert_exits SECONDS PID...: each ends in time and exits 0.
assert_exits() {
	local pid
	for pid in "${@:2}"; do
		exit_status "$1" "$pid"
		assert_equal "$status" 0
	done
}

@test '8 senders against 4 qworks: every job succeeds, none runs twice, nothing is left' {
	make_marker
	for _ in 1 2 3 4; do start_qwork -j 4 -- "$test_dir/mark"; done
	senders=()
	for sender in 1 2 3 4 5 6 7 8; do
		start qsend --lines < <(seq -f "$sender.%.0f" "$RACE_JOBS") >"$test_dir/ids.$sender"
		senders+=("$started")
	done
	assert_exits 120 "${senders[@]}"
	wait_for 240 spool_is_idle
	assert_equal "$(done_count)" $((8 * RACE_JOBS))
	assert_not_exists "$test_dir/twice"
	assert_equal "$(sort -u "$test_dir"/ids.* | wc -l)" $((8 * RACE_JOBS))
	assert_equal "$(cat "${qwork_logs[@]}")" ''
	wait_for 20 assert_spool_empty
}

@test 'each sender has its jobs run in the order it sent them, when one handler runs at a time' {
	start_qwork -- cat
	first=$qwork_out
	senders=()
	for sender in 1 2 3 4; do
		start qsend --lines < <(seq -f "$sender.%.0f" 50) >/dev/null
		senders+=("$started")
	done
	assert_exits 60 "${senders[@]}"
	wait_for 60 spool_is_idle
	for sender in 1 2 3 4; do
		assert_equal "$(grep "^$sender\." "$first")" "$(seq -f "$sender.%.0f" 50)"
	done
}

@test 'several --drain side by side run each job once, and all exit 0' {
	make_marker
	seq "$RACE_JOBS" | qsend --lines >/dev/null
	drains=()
	for _ in 1 2 3 4; do
		start qwork --drain -j 2 -- "$test_dir/mark" </dev/null
		drains+=("$started")
	done
	assert_exits 120 "${drains[@]}"
	assert_equal "$(done_count)" "$RACE_JOBS"
	assert_not_exists "$test_dir/twice"
	assert_spool_empty
}

@test 'failures and retries in a race: each job has exactly its attempts' {
	seq 100 | qsend --lines >/dev/null
	for _ in 1 2 3; do
		start_qwork -j 3 -A 3 -b 1ms..5ms -- sh -c 'read -r job; echo "$job.$QJOB_ATTEMPT" >>"$1"; exit 1' handler "$test_dir/attempts"
	done
	wait_for 120 jobs_are 100 buried
	assert_equal "$(sort "$test_dir/attempts")" \
		"$(for job in $(seq 100); do printf '%s\n' "$job.1" "$job.2" "$job.3"; done | sort)"
}

@test 'qdel against qwork: a job is either deleted or run' {
	script "$test_dir/mark" <<<"echo \"\$QJOB_ID\" >>'$test_dir/ran'"
	: >"$test_dir/ran"
	seq "$RACE_JOBS" | qsend --lines >"$test_dir/ids"
	start_qwork -j 2 -- "$test_dir/mark"
	# From the far end, so that they meet.
	tac "$test_dir/ids" | while read -r id; do
		! qdel "$id" 2>/dev/null || echo "$id"
	done >"$test_dir/deleted"
	wait_for 60 spool_is_idle
	assert_equal "$(sort "$test_dir/ran" "$test_dir/deleted")" "$(sort "$test_dir/ids")"
	assert_spool_empty
}

@test 'qbury and qkick against qwork: no job is lost, none runs twice' {
	make_marker
	seq "$RACE_JOBS" | qsend --lines >/dev/null
	start_qwork -j 2 -- "$test_dir/mark"
	start_qwork -j 2 -- "$test_dir/mark"
	for _ in 1 2 3 4 5; do
		qbury -q default --all 2>/dev/null || true
		qkick -q default --all 2>/dev/null || true
	done
	qkick -q default --all
	wait_for 120 spool_is_idle
	wait_for 20 jobs_are 0 buried
	assert_equal "$(done_count)" "$RACE_JOBS"
	assert_not_exists "$test_dir/twice"
}

@test 'two qkick at once: each job is kicked once' {
	seq 50 | qsend --lines | qbury
	kickers=()
	for n in 1 2 3 4; do
		start qkick -v -q default --all >"$test_dir/kicked.$n" 2>/dev/null
		kickers+=("$started")
	done
	for pid in "${kickers[@]}"; do exit_status 60 "$pid"; done
	assert_equal "$(job_count new) $(job_count buried)" '50 0'
	assert_equal "$(sort "$test_dir"/kicked.* | wc -l)" 50
}

@test 'queues come into being once, though many send to them first' {
	senders=()
	for n in $(seq 12); do
		start qsend -q fresh <<<"$n" >/dev/null
		senders+=("$started")
	done
	assert_exits 60 "${senders[@]}"
	assert_equal "$(job_count new fresh)" 12
}
