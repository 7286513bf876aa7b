#!/usr/bin/env bats
# A qwork that has nothing to do does nothing. The calls that may come with the scan, once
# a minute, do not fall into the few seconds that are looked at.

load helper

: "${IDLE_SECONDS:=3}"

setup() {
	common_setup
	need_strace
}

# trace PID: writes its system calls, with times, to $test_dir/trace.PID for some seconds.
trace() {
	timeout $((IDLE_SECONDS + 1)) strace -f -ttt -o "$test_dir/trace.$1" -p "$1" 2>"$test_dir/strace.$1"
}

traced() { grep -q 'attached' "$test_dir/strace.$1" 2>/dev/null; }

# assert_idle PID...: they make no system call while the test, if it has the function,
# runs `meanwhile` over and over. Attaching itself interrupts a call, which is made
# again; so that and the first moments do not count.
assert_idle() {
	local pid from tracers=() tracer
	for pid; do
		start trace "$pid"
		tracers+=("$started")
	done
	for pid; do
		wait_for 10 traced "$pid" || { cat "$test_dir/strace.$pid"; skip 'strace cannot attach'; }
	done
	from=$(($(now_ms) + 500))
	for tracer in "${tracers[@]}"; do
		wait_for 30 meanwhile_or_gone "$tracer"
		wait "$tracer" || true
	done
	for pid; do
		run awk -v from="$from" '{ sub(/^[0-9]+ +/, "") } $1 * 1000 > from && !/resuming interrupted/' "$test_dir/trace.$pid"
		assert_output ''
	done
}

# shellcheck disable=SC2317
meanwhile() { :; }
meanwhile_or_gone() {
	meanwhile
	gone "$1"
}

# Idle: its scheduler counters do not move any more.
is_settled() {
	local before
	before=$(switches "$1")
	sleep_a_little
	[[ $(switches "$1") == "$before" ]]
}
switches() { grep ctxt_switches "/proc/$1/status"; }
sleep_a_little() { wait_for 2 after_ms $(($(now_ms) + 300)); }

@test 'an idle qwork with no jobs makes no system calls' {
	start_qwork -- true
	wait_for 20 watches "$qwork"
	wait_for 20 is_settled "$qwork"
	assert_idle "$qwork"
}

@test 'an idle qwork with jobs delayed until tomorrow makes no system calls' {
	for _ in 1 2 3; do send x -d 1d; done
	start_qwork -- true
	wait_for 20 watches "$qwork"
	wait_for 20 is_settled "$qwork"
	assert_idle "$qwork"
	assert_equal "$(job_count delay)" 3
}

@test 'a qwork whose queue is paused makes no system calls' {
	seq 3 | qsend --lines
	touch "$QSPOOL/default/paused"
	start_qwork -- true
	wait_for 20 watches "$qwork"
	wait_for 20 is_settled "$qwork"
	assert_idle "$qwork"
	assert_equal "$(job_count new)" 3
}

@test 'a qwork whose queue is paused for a while makes no system calls' {
	seq 3 | qsend --lines
	qpause --for 1d default
	start_qwork -- true
	wait_for 20 watches "$qwork"
	wait_for 20 is_settled "$qwork"
	# shellcheck disable=SC2317
	meanwhile() { qstat >/dev/null && cat "$QSPOOL/default/paused" >/dev/null; }
	assert_idle "$qwork"
	assert_equal "$(job_count new)" 3
}

@test 'a qwork that waits for its handler makes no system calls' {
	id=$(send x)
	seq 3 | qsend --lines
	start_qwork -- sh -c 'exec sleep 300'
	wait_for 20 job_is "$id" cur
	wait_for 20 is_settled "$qwork"
	assert_idle "$qwork"
}

@test 'a qwork with strange things in new/ makes no system calls' {
	qdel "$(send x)"
	mkdir "$QSPOOL/default/new/directory"
	ln -s nowhere "$QSPOOL/default/new/link"
	: >"$QSPOOL/default/new/.hidden"
	start_qwork -- true
	wait_for 20 watches "$qwork"
	wait_for 20 grep -q link "$qwork_log"
	wait_for 20 is_settled "$qwork"
	assert_idle "$qwork"
}

@test 'idle qworks stay idle while somebody reads files in cur/' {
	id=$(send x)
	start_qwork -- sh -c 'exec sleep 300'
	wait_for 20 job_is "$id" cur
	first=$qwork
	start_qwork -- true
	wait_for 20 watches "$qwork"
	wait_for 20 is_settled "$first"
	wait_for 20 is_settled "$qwork"
	meanwhile() {
		cat "$QSPOOL/default/cur/"*
		qcat "$id"
		ls "$QSPOOL/default/cur"
	} >/dev/null
	assert_idle "$first" "$qwork"
	assert_job "$id" cur
}

@test 'two idle qworks do not wake each other after one of them recovered a job' {
	id=$(send x)
	start_qwork -- sh -c 'exec sleep 300'
	wait_for 20 job_is "$id" cur
	victim=$qwork
	start_qwork -b 1d..1d -- true
	first=$qwork
	start_qwork -b 1d..1d -- true
	wait_for 20 watches "$first"
	wait_for 20 watches "$qwork"
	kill -KILL "$victim"
	wait_for 20 job_is "$id" delay
	wait_for 20 is_settled "$first"
	wait_for 20 is_settled "$qwork"
	assert_idle "$first" "$qwork"
}

@test 'a qwork that serves 200 queues, and waits for a handler in 50, makes no system calls' {
	eval "mkdir -p '$QSPOOL'/{q{1..200},none{1..50}}/{tmp,new,cur,delay,buried,meta,log}"
	script "$test_dir/handler" <<<'cat'
	for queue in "$QSPOOL"/q*; do cp "$test_dir/handler" "$queue"; done
	start_qwork
	echo x | qsend -q q200
	wait_for 60 lines_are 1 "$qwork_out"
	wait_for 20 is_settled "$qwork"
	assert_idle "$qwork"
}

# The last scans read cur/, and neither new/ nor delay/.
nothing_is_read_again() {
	tail -n 8 "$test_dir/reads" >"$test_dir/last_reads"
	[[ $(wc -l <"$test_dir/last_reads") == 8 ]] && grep -q '/cur>' "$test_dir/last_reads" &&
		! grep -qE '/(new|delay)>' "$test_dir/last_reads"
}

@test 'directories that did not change are not read again, and a change is seen without an event' {
	need_user_namespaces
	send x -d 1d
	deaf_qwork -- cat
	start strace -y -e trace=getdents64 -o "$test_dir/reads" -p "$qwork" 2>"$test_dir/strace.$qwork"
	wait_for 30 nothing_is_read_again
	echo y | qsend
	wait_for 30 lines_are 1 "$qwork_out"
	wait_for 30 nothing_is_read_again
}
