#!/usr/bin/env bats
# Something that qwork needs is scarce or denied: descriptors, processes, inotify, the right to
# write into a directory of the queue, the exit status of its children. The queue is held and
# says so once; no job is lost, spent or buried for it, qwork can always be ended, and goes on
# by itself when the cause is gone.

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
	seq 50 | qsend --lines --no-sync >"$test_dir/ids"
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

@test 'lost jobs that cannot be moved on, however many, keep no other from running' {
	for id in $(seq 40 | qsend --lines); do
		mv "$QSPOOL/default/new/50.$id.0" "$QSPOOL/default/cur/50.$id.1"
	done
	deny delay
	start_powerless_qwork --scan 100ms -b 1h..1h -- cat
	wait_for 60 log_has 32 'could not be moved on'
	send ready
	wait_for 60 grep -q ready "$qwork_out"
	assert [ "$(grep -c 'worker lost' "$qwork_log")" -le 32 ]
	allow delay
	wait_for 60 jobs_are 40 delay
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

# --- descriptors ----------------------------------------------------------------

# The lowest number that process PID has not open.
first_free_fd() {
	local fd=0
	while [[ -e /proc/$1/fd/$fd ]]; do fd=$((fd + 1)); done
	echo "$fd"
}

# Of the running qwork; the hard limit stays.
allow_descriptors() { prlimit --pid "$qwork" --nofile="$1:"; }

none_is_spent() {
	local path
	for path in "$QSPOOL"/default/new/*; do
		assert_equal "$(attempts_in "$path")" 0
	done
}

@test 'descriptors run out: the queue is held, with one line and a pause that grows, and goes on' {
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	allow_descriptors 10
	seq 50 | qsend --lines --no-sync >"$test_dir/ids"
	wait_for 60 log_has 2 'outcome=held .*Too many open files'
	assert [ "$(wc -l <"$qwork_log")" -le 6 ]
	assert jobs_are 50 new
	none_is_spent
	allow_descriptors 1024
	wait_for 90 spool_is_idle
	assert_equal "$(sort -n "$qwork_out")" "$(seq 50)"
	assert_spool_empty
}

@test 'no descriptor for a scan: it is said seldom, and tried again soon' {
	start_qwork --scan 100ms -- cat
	wait_for 20 watches "$qwork"
	kill -STOP "$qwork"
	allow_descriptors 10
	seq 5 | qsend --lines --no-sync >"$test_dir/ids"
	kill -CONT "$qwork"
	wait_for 20 log_has 1 'the queue cannot be read.*Too many open files'
	wait_for 10 after_ms $(($(now_ms) + 2500))
	# Of each thing that could not be read, once.
	assert_equal "$(sed 's/.* cause=//' "$qwork_log" | sort | uniq -d)" ''
	none_is_spent
	allow_descriptors 1024
	wait_for 20 spool_is_idle
	assert_equal "$(sort -n "$qwork_out")" "$(seq 5)"
}

@test 'too few descriptors to start a handler: the attempt is given back' {
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	allow_descriptors $(($(first_free_fd "$qwork") + 1))
	seq 5 | qsend --lines --no-sync >"$test_dir/ids"
	wait_for 60 log_has 2 'outcome=held cause="no handler can be started" .*Too many open files'
	assert jobs_are 5 new
	none_is_spent
	allow_descriptors 1024
	wait_for 60 spool_is_idle
	assert_equal "$(sort -n "$qwork_out")" "$(seq 5)"
}

@test 'descriptors run out: --drain exits 71 and does not take the queue for empty' {
	make_gate
	seq 3 | qsend --lines
	start_qwork --drain -- "$gate"
	wait_for 20 all_at_gate 1
	allow_descriptors 10
	open_gate
	exit_status 60 "$qwork"
	assert_equal "$status" 71
	assert jobs_are 2 new
	none_is_spent
}

# --- processes ------------------------------------------------------------------

# as_crowd NUMBER COMMAND...: as a user that nobody else is, who may have so many processes.
# Root may have any number; the right to open all files is kept.
as_crowd() {
	local caps=-all,+dac_override,+dac_read_search,+fowner
	exec setpriv --reuid=$((3000000 + $$)) --clear-groups --inh-caps="$caps" --ambient-caps="$caps" \
		prlimit --nproc="$1:200" -- "${@:2}"
}
need_crowd() {
	need_root
	export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 # which needs a process of its own
	(as_crowd 5 true) 2>/dev/null || skip 'cannot become another user with capabilities'
	! (as_crowd 1 sh -c 'true; sh -c true; true') 2>/dev/null || skip 'processes are not limited here'
}

@test 'no process can be started: the attempt is given back, the queue is held, and goes on' {
	need_crowd
	seq 5 | qsend --lines --no-sync >"$test_dir/ids"
	qwork_log=$test_dir/qwork.log qwork_out=$test_dir/qwork.out
	qwork_logs+=("$qwork_log")
	start as_crowd 1 qwork -- cat </dev/null >"$qwork_out" 2>"$qwork_log"
	wait_for 60 log_has 2 'outcome=held cause="no handler can be started" reason="Resource temporarily unavailable"'
	assert [ "$(wc -l <"$qwork_log")" -le 6 ]
	assert jobs_are 5 new
	none_is_spent
	(as_crowd 10 prlimit --pid "$started" --nproc=100:)
	wait_for 60 spool_is_idle
	assert_equal "$(sort -n "$qwork_out")" "$(seq 5)"
	assert_spool_empty
}

@test 'no process can be started: --drain exits 71, no attempt is spent' {
	need_crowd
	id=$(send x)
	run_tool as_crowd 2 timeout -k 10 60 qwork --drain -- cat </dev/null
	assert_failure 71
	assert_output ''
	assert_equal "$(attempts_in "$(job_path "$id" new)")" 0
}

# --- inotify --------------------------------------------------------------------

@test 'no inotify instances: qwork says so once, scans, and listens again when it can' {
	need_user_namespaces
	deaf_qwork --scan 1h -- cat
	wait_for 20 log_has 1 'no inotify: .*reason="Too many open files"'
	refute watches "$qwork"
	echo 1 | qsend
	wait_for 20 lines_are 1 "$qwork_out"
	allow_inotify
	wait_for 20 log_has 1 'inotify is back'
	assert watches "$qwork"
	# Found by an event: the next scan comes in an hour.
	for i in 2 3 4; do
		echo "$i" | qsend
		wait_for 20 lines_are "$i" "$qwork_out"
	done
	assert_equal "$(wc -l <"$qwork_log")" 2
}

@test 'no inotify instances: --drain and --drain=all do all there is to do' {
	need_user_namespaces
	seq 5 | qsend --lines
	deaf_qwork --drain -- cat
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	assert lines_are 5 "$qwork_out"
	send x -d 2s -A 2
	deaf_qwork --drain=all -b 10ms -- sh -c 'echo "$QJOB_ATTEMPT"; exit 1'
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	assert_equal "$(cat "$qwork_out")" $'1\n2'
	assert jobs_are 1 buried
}

# More events than fit the queue of events, of a file that is no job's.
overflow_events() {
	local events
	events=$(cat /proc/sys/fs/inotify/max_queued_events)
	((events <= 100000)) || skip "needs fewer than $events events for an overflow"
	python3 - "$QSPOOL/default/overflow" $((events / 2 + 100)) <<-'END'
		import os, sys
		for _ in range(int(sys.argv[2])):
		    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))
		    os.unlink(sys.argv[1])
	END
}

@test 'more events than inotify keeps: the jobs whose events were lost are found' {
	start_qwork --scan 1h -- cat
	wait_for 20 watches "$qwork"
	kill -STOP "$qwork"
	overflow_events
	seq 5 | qsend --lines
	kill -CONT "$qwork"
	wait_for 60 lines_are 5 "$qwork_out"
	wait_for 20 spool_is_idle
	run_tool cat "$qwork_log"
	assert_output ''
}

# What is written into its upper directory an overlay shows, and sends no events of.
@test 'a file system that sends no events: what comes is found by the scan, retries included' {
	need_mounts
	mkdir "$test_dir"/{lower,work} "$QSPOOL"
	mkdir -m 0700 "$test_dir/upper"
	qdel -s "$test_dir/upper" "$(qsend -s "$test_dir/upper" <<<x)"
	unshare -m mount -t overlay -o "lowerdir=$test_dir/lower,upperdir=$test_dir/upper,workdir=$test_dir/work" \
		none "$QSPOOL" || skip 'needs overlayfs'
	qwork_log=$test_dir/qwork.log qwork_out=$test_dir/qwork.out
	qwork_logs+=("$qwork_log")
	start unshare -m sh -c 'mount -t overlay -o "$1" none "$QSPOOL" && shift && cd "$QSPOOL" && exec qwork "$@"' sh \
		"lowerdir=$test_dir/lower,upperdir=$test_dir/upper,workdir=$test_dir/work" \
		--scan 200ms -b 10ms -- sh -c 'cat; [ "$QJOB_ATTEMPT" = 2 ]' </dev/null >"$qwork_out" 2>"$qwork_log"
	qwork=$started
	wait_for 20 watches "$qwork"
	seq 5 | qsend -s "$test_dir/upper" --lines
	wait_for 60 lines_are 10 "$qwork_out"
	echo 6 | qsend -s "$test_dir/upper"
	wait_for 60 lines_are 12 "$qwork_out"
	QSPOOL=$test_dir/upper
	wait_for 20 spool_is_idle
	assert_spool_empty
}
