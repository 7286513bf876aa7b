#!/usr/bin/env bats
# qstat --stats: what was counted is what was done, and what stands in its way harms no job.

load helper

setup() {
	common_setup
	stats=$QSPOOL/default/stats
}

# figure NAME [QUEUE]: a number of all that was counted; waited_seconds.p50 is one, too.
figure() { qstat --stats --json "${2:-default}" | jq -r ".all.$1"; }

# assert_figures NAME=NUMBER...: what is not named is 0.
assert_figures() {
	local got
	got=$(qstat --stats --json default |
		jq -r '.all | to_entries[] | select((.key | contains("seconds") or contains("_per_") | not) and .value != 0)
			| "\(.key)=\(.value)"')
	assert_equal "$(sort <<<"$got")" "$(printf '%s\n' "$@" | sort)"
}

# Each attempt that was started has ended in one of the ways that there are.
assert_attempts_add_up() {
	assert_equal "$(figure started)" \
		$(($(figure finished) + $(figure failed) + $(figure deferred) + $(figure returned)))
}

log_count() { grep -c "$1" "$qwork_log" || true; }
log_has() { (($(log_count "$2") >= $1)); }
is_counted() { [[ $(figure "$1") == "$2" ]]; }

@test 'what was done is what was counted' {
	seq 10 | qsend --lines >/dev/null
	send defer >/dev/null
	drain -b 1d..1d -- sh -c 'read -r n
		case $n in defer*) echo defer 1d >>"$QJOB_CONTROL" ;; 3) exit 1 ;; 4) exit 65 ;; esac'
	assert_success
	assert_figures sent=11 started=11 finished=8 failed=2 retried=1 buried=1 deferred=1
	qkick --all
	qbury --all
	qdel -q default --all
	assert_figures sent=11 started=11 finished=8 failed=2 retried=1 buried=4 deferred=1 kicked=1 deleted=3
}

@test 'a job that is kept is finished once, and not deleted' {
	qdel "$(send x --keep 1d && drain -- true)"
	assert_figures sent=1 started=1 finished=1
}

@test 'a file that is dropped in is adopted, what is moved by hand is not counted' {
	qdel "$(send x)"
	echo file >"$QSPOOL/default/tmp/file"
	send y >/dev/null
	mv "$(sole_job new)" "$QSPOOL/default/buried/"
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	mv "$QSPOOL/default/tmp/file" "$QSPOOL/default/new/"
	wait_for 60 is_counted finished 1
	assert_figures sent=2 deleted=1 adopted=1 started=1 finished=1
}

@test 'attempts that time out, end with their worker or cannot be started are told apart' {
	make_gate
	id=$(send slow)
	run_qwork --once -t 200ms -b 1h..1h -- "$gate"
	assert_figures sent=1 started=1 failed=1 timed_out=1 retried=1
	rm "$gate.started.$id"
	qkick -d "$id"
	start_qwork -- "$gate"
	wait_for 20 at_gate "$id"
	kill -KILL "$qwork"
	wait_for 20 gone "$handler"
	exit_status 20 "$qwork"
	start_qwork -b 1h..1h -- "$gate"
	wait_for 60 jobs_are 1 delay
	assert_figures sent=1 started=2 failed=2 timed_out=1 lost=1 retried=2 kicked=1
	rm "$gate.started.$id"
	qkick -d "$id"
	wait_for 20 at_gate "$id"
	kill -TERM "$qwork"
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_figures sent=1 started=3 failed=2 timed_out=1 lost=1 retried=2 kicked=2 returned=1
	assert_attempts_add_up
}

@test 'waiting is from the sending or the DUE to the start, running from there to the end' {
	qdel "$(send x)"
	echo old >"$QSPOOL/default/new/50.$(forged_id 7200).0"
	drain -- true
	assert jq -e '.all.waited_seconds.p50 > 7200 * 7 / 8 and .all.waited_seconds.p50 < 7200 * 9 / 8 + 60' \
		< <(qstat -Sj default)
	rm "$stats"
	echo due >"$QSPOOL/default/delay/$(date -u -d '-1 hour' +%Y%m%dT%H%M%S.000Z).50.$(forged_id 7200).0"
	drain -- sleep 0.4
	assert jq -e '.all.waited_seconds.p50 > 3600 * 7 / 8 and .all.waited_seconds.p50 < 3600 * 9 / 8 + 60
		and .all.ran_seconds.p99 > 0.4 * 7 / 8 and .late.ran_seconds == .all.ran_seconds' < <(qstat -Sj default)
}

@test 'what has waited long before it was buried waits anew once it is kicked' {
	qdel "$(send x)"
	echo old >"$QSPOOL/default/new/50.$(forged_id 72000).0"
	qbury --all
	qkick --all
	drain -- true
	assert jq -e '.all.waited_seconds.p99 < 3600' < <(qstat -Sj default)
}

@test 'qstat --stats shows a table, of all queues or of those that are named' {
	send x -q aside >/dev/null
	send x -q other >/dev/null
	mkdir -p "$QSPOOL"/none/{tmp,new,cur,delay,buried,meta,log}
	run_tool qstat --stats
	assert_success
	assert_output --regexp $'queue: aside\n.*ALL +LATE\nperiod .*\nsent +1 +1\n.*\n\nqueue: none\nnothing was counted yet\n\nqueue: other\n'
	run_tool qstat --stats -j none aside
	assert_equal "${lines[0]}" '{"queue":"none","since":null}'
	assert_equal "$(jq -c '[.queue, .all.sent, .late.sent, .all.waited_seconds.p50]' <<<"${lines[1]}")" '["aside",1,1,null]'
	run_tool qstat --stats -q other
	refute_output --partial aside
	for word in missing ../x ''; do
		run_tool qstat --stats "$word"
		assert_failure 66
	done
	assert_usage qstat --stats --why x
}

@test 'many senders and workers at once: nothing is counted twice or left out' {
	local -a pids=()
	for _ in 1 2 3 4; do
		start qsend --lines --no-sync < <(seq 250) >/dev/null
		pids+=("$started")
	done
	for _ in 1 2 3; do
		start_qwork -j 2 -A 2 -b 1ms..1ms -- sh -c 'read -r n; [ $((n % 10)) != 0 ]'
	done
	assert_all_succeed "${pids[@]}"
	wait_for 120 spool_is_idle
	wait_for 60 is_counted buried 100
	assert_figures sent=1000 started=1100 finished=900 failed=200 retried=100 buried=100
}

@test 'of what is killed, at most one job is miscounted each time' {
	seq 300 | qsend --lines >/dev/null
	for _ in 1 2 3 4 5; do
		start_qwork -A 1000 -b 1ms..1ms -j 1 -- sh -c 'read -r n'
		a_random_moment
		kill -KILL "$qwork"
		exit_status 20 "$qwork"
	done
	drain_all -A 1000 -b 1ms..1ms -j 2 -- true
	assert_success
	assert_equal "$(figure sent)" 300
	assert [ "$(figure finished)" -ge 295 ]
	assert [ "$(figure finished)" -le 300 ]
	assert [ $(($(figure started) - $(figure finished) - $(figure failed))) -ge -5 ]
	assert [ $(($(figure started) - $(figure finished) - $(figure failed))) -le 5 ]
}

# What stands in the place of the file: jobs are sent and run all the same, it stays as it is, and is told of.
stands_there() {
	local before
	before=$(stat -c %F:%s "$stats")
	send x >/dev/null
	run_qwork --drain -- true
	assert_success
	assert_equal "$(grep -c 'nothing is counted until' <<<"$stderr")" 1
	assert jobs_are 0 new
	assert_equal "$(stat -c %F:%s "$stats")" "$before"
	run_tool qstat --stats default
	assert_failure 65
	assert_regex "$stderr" 'default/stats is damaged, or of another version'
	run_tool qfsck
	assert_failure
	assert_regex "$output" 'statistics'
	assert_equal "$(find "$QSPOOL/default/tmp" -type f)" ''
}

@test 'what is no statistics file is left alone and told of, and harms no job' {
	qdel "$(send x)"
	cp "$stats" "$test_dir/good"
	for bad in damaged cut grown hole link directory fifo; do
		rm -r "$stats"
		case $bad in
		damaged) sed 's/^qspool stats 1/qspool stats 9/' "$test_dir/good" >"$stats" ;;
		cut) head -c 1000 "$test_dir/good" >"$stats" ;;
		grown) cat "$test_dir/good" "$test_dir/good" >"$stats" ;;
		hole) truncate -s "$(stat -c %s "$test_dir/good")" "$stats" ;;
		link) ln -s "$test_dir/good" "$stats" ;;
		directory) mkdir "$stats" ;;
		fifo) mkfifo "$stats" ;;
		esac
		stands_there
	done
	rm "$stats"
	send x >/dev/null
	assert_figures sent=1
	assert qfsck
}

@test 'a qwork whose statistics are cut or removed goes on, and counts again once it can' {
	send x >/dev/null
	start_qwork --scan 100ms -- true
	wait_for 60 is_counted finished 1
	truncate -s 0 "$stats"
	seq 20 | qsend --lines >/dev/null
	wait_for 60 spool_is_idle
	wait_for 60 log_has 1 'nothing is counted until'
	rm "$stats"
	wait_for 60 test -s "$stats"
	send x >/dev/null
	wait_for 60 is_counted finished 1
	refute gone "$qwork"
}

@test 'in a spool for a group all of it may count' {
	mkdir -m 2770 "$QSPOOL"
	send x >/dev/null
	assert_equal "$(stat -c %a "$stats")" 660
	chmod 0600 "$stats" # as of a file that one member copied here
	run_tool qfsck
	assert_failure
	assert_regex "$output" 'statistics'
}

@test 'who may only look at a spool sees its statistics' {
	send x >/dev/null
	chmod 0400 "$stats"
	powerless true || skip 'needs a user that modes count for'
	run powerless qstat --stats default
	assert_success
	assert_output --regexp 'sent +1 '
	run powerless qsend </dev/null
	assert_success
	assert jobs_are 2 new
	assert_figures sent=1
}
