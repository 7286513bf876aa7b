#!/usr/bin/env bats
# Something that qwork needs is scarce or denied: descriptors, the right to write into a
# directory of the queue, the exit status of its children. The queue is held and says so
# once; no job is lost, spent or buried for it, and qwork can always be ended.

load helper

# start_powerless_qwork [OPTION...]: as start_qwork, but modes count.
start_powerless_qwork() {
	local -a less=()
	((EUID != 0)) || less=(setpriv '--bounding-set=-dac_override,-dac_read_search')
	qwork_log=$test_dir/qwork.log qwork_out=$test_dir/qwork.out
	qwork_logs+=("$qwork_log")
	start env --default-signal=INT,QUIT "${less[@]}" qwork "$@" </dev/null >"$qwork_out" 2>"$qwork_log"
	qwork=$started
}

powerless_drain() { run_tool powerless timeout -k 10 60 qwork --drain "$@" </dev/null; }

deny() { chmod a-w "$QSPOOL/default/$1"; }
allow() { chmod u+w "$QSPOOL/default/$1"; }

log_has() { (($(grep -c "$2" "$qwork_log") >= $1)); }

# limit SOFT[:HARD] COMMAND...: with so many descriptors.
limit() { exec prlimit --nofile="$1" -- "${@:2}"; }
need_descriptors() {
	local hard
	hard=$(ulimit -Hn)
	[[ $hard == unlimited ]] || ((hard >= $1)) || skip "needs $1 descriptors"
}

@test 'more jobs at once than the usual number of descriptors' {
	need_descriptors 4096
	send x
	run_tool limit 1024: timeout -k 10 60 qwork --drain -j 1200 -- sh -c 'ulimit -Sn'
	assert_success
	# The handler starts with the limit that qwork started with.
	assert_output 1024
	assert_spool_empty
}

@test 'as many jobs as asked for run at once though the soft limit is too low for them' {
	need_descriptors 1024
	make_gate
	seq 60 | qsend --lines
	start limit 64: qwork --drain -j 60 -- "$gate" </dev/null
	wait_for 60 all_at_gate 60
	open_gate
	exit_status 60 "$started"
	assert_equal "$status" 0
	assert_spool_empty
}

@test 'more jobs at once than the hard limit allows: exit 71, no job is touched' {
	id=$(send x)
	run_tool limit 128:128 timeout -k 10 60 qwork --drain -j 500 -- cat
	assert_failure 71
	assert_output ''
	assert_regex "$stderr" '^qwork: '
	assert_equal "$(attempts_in "$(job_path "$id" new)")" 0
}

@test 'a parent that ignores SIGCHLD does not cost the exit status of handlers' {
	send good
	id=$(send bad -A 1)
	run_tool timeout -k 10 60 env --ignore-signal=CHLD qwork --drain -t 30s -v -- \
		sh -c 'read -r word; [ "$word" != bad ] || exit 3'
	assert_success
	assert_regex "$stderr" 'outcome=finished exit=0'
	assert_regex "$stderr" "job=$id .*outcome=buried .*exit=3"
	spool_is_idle
}

@test 'cur/ cannot be written: one line and a pause that grows, not one for each job' {
	seq 50 | qsend --lines --no-sync
	deny cur
	start_powerless_qwork -- true
	wait_for 60 log_has 2 outcome=held
	assert [ "$(wc -l <"$qwork_log")" -lt 8 ]
	run_tool grep -v outcome=held "$qwork_log"
	assert_output ''
	assert jobs_are 50 new
	allow cur
	wait_for 60 spool_is_idle
	assert_spool_empty
}

@test 'cur/ cannot be written: --drain exits 77, no attempt is spent' {
	id=$(send x)
	deny cur
	powerless_drain -- true
	assert_failure 77
	assert_regex "$stderr" 'outcome=held .*reason="Permission denied"'
	assert_equal "$(attempts_in "$(job_path "$id" new)")" 0
}

@test 'TERM ends a qwork that holds its queue' {
	send x
	deny cur
	start_powerless_qwork -- true
	wait_for 60 log_has 1 outcome=held
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
}

@test 'a job that expired and cannot be buried: --drain exits 77, and it never runs' {
	id=$(send x -T 1ms)
	deny buried
	powerless_drain -- echo ran
	assert_failure 77
	assert_output ''
	assert_job "$id" new
	allow buried
	drain -- echo ran
	assert_success
	assert_output ''
	assert_job "$id" buried
}

@test 'TERM ends a qwork whose job cannot be moved on; whoever comes next does it' {
	id=$(send x -A 1)
	deny buried
	start_powerless_qwork -- false
	wait_for 60 log_has 1 'could not be moved on'
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	assert_job "$id" cur
	allow buried
	drain -- echo ran
	assert_success
	assert_output ''
	assert_job "$id" buried
}

@test 'a job that cannot be moved on is when it can' {
	id=$(send x -A 1)
	deny buried
	start_powerless_qwork -- false
	wait_for 60 log_has 1 'could not be moved on'
	allow buried
	wait_for 60 job_is "$id" buried
}

@test "a file in cur/ that may not be read keeps neither --drain nor --drain=all waiting" {
	id=$(send x)
	mv "$(job_path "$id" new)" "$QSPOOL/default/cur/50.$id.1"
	chmod 0 "$QSPOOL/default/cur/50.$id.1"
	for all in --drain --drain=all; do
		run_tool powerless timeout -k 10 60 qwork "$all" -- echo ran </dev/null
		assert_success
		assert_output ''
		assert_job "$id" cur
	done
}
