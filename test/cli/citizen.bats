#!/usr/bin/env bats
# qwork among others: its service manager, its title, and as the first process of a container.

load helper

setup() {
	common_setup
	need_command python3
}

# listen ADDRESS [full]: a service manager, which writes what it is told to $heard, a message a line, with '|' for a
# newline. If it is to be full, there is no room for a message until the test makes $test_dir/reads.
listen() {
	heard=$test_dir/heard
	start python3 -B - "$1" "$heard" "${2:+$test_dir/reads}" 3>&- <<-'END'
		import os, socket, sys, time
		address, heard, reads = sys.argv[1:]
		manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		manager.bind("\0" + address[1:] if address[0] == "@" else address)
		if reads:
		    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		    try:
		        while True:
		            sender.sendto(b"X", socket.MSG_DONTWAIT, manager.getsockname())
		    except BlockingIOError:
		        pass
		log = open(heard, "w")
		while reads and not os.path.exists(reads):
		    time.sleep(0.02)
		while True:
		    print(manager.recv(4096).decode().replace("\n", "|"), file=log, flush=True)
	END
	export NOTIFY_SOCKET=$1
	wait_for 60 test -e "$heard"
}
hears() { grep -qx -- "$1" "$heard"; }
count_heard() { grep -cx -- "$1" "$heard" || true; }
heard_more() { (($(count_heard "$1") > $2)); }

title_of() { tr '\0' '\n' <"/proc/$1/cmdline" | head -n 1; }
title_is() { [[ $(title_of "$1") == "qwork: $2" ]]; }

hears_all_of_a_life() {
	listen "$1"
	start_running x
	wait_for 60 hears 'STATUS=default: 1 running, 0 ready'
	assert_equal "$(head -n 1 "$heard")" READY=1
	assert watches "$qwork"
	kill -HUP "$qwork"
	wait_for 60 hears 'RELOADING=1|MONOTONIC_USEC=[0-9]*'
	wait_for 60 heard_more READY=1 1
	kill -TERM "$qwork"
	wait_for 60 hears STOPPING=1
	refute gone "$handler"
	wait_for 60 hears 'STATUS=default: 1 running, 0 ready, ending'
	open_gate
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	refute hears WATCHDOG=1
}

@test 'a service manager hears that qwork is ready, reads settings again, and ends' {
	hears_all_of_a_life "$test_dir/manager"
}

@test 'its socket may have an abstract name' {
	hears_all_of_a_life "@$test_dir/manager"
}

@test 'what the manager has no room for is told again, and keeps no job waiting' {
	listen "$test_dir/manager" full
	start_qwork -- true
	qsend --lines < <(seq 20)
	wait_for 60 spool_is_idle
	refute hears READY=1
	: >"$test_dir/reads"
	wait_for 60 hears READY=1
	wait_for 60 hears 'STATUS=default: 0 running, 0 ready'
}

@test 'a manager that is gone is told of in the log, and nothing else comes of it' {
	NOTIFY_SOCKET=$test_dir/nobody
	export NOTIFY_SOCKET
	send x
	drain -- true
	assert_success
	assert_regex "$stderr" 'outcome=note cause="the service manager cannot be told anything"'
	assert_spool_empty
}

@test 'the watchdog hears from a qwork that has nothing to do, but not from one that hangs' {
	listen "$test_dir/manager"
	WATCHDOG_USEC=100000 start_qwork -- true
	wait_for 60 heard_more WATCHDOG=1 3
	kill -STOP "$qwork"
	wait_for 60 stopped "$qwork"
	before=$(count_heard WATCHDOG=1)
	wait_for 60 after_ms $(($(now_ms) + 500))
	assert [ "$(count_heard WATCHDOG=1)" -le $((before + 1)) ] # on its way
	kill -CONT "$qwork"
	wait_for 60 heard_more WATCHDOG=1 $((before + 3))
}
stopped() { grep -q '^State:.*T (stopped)' "/proc/$1/status"; }

@test 'a watchdog of another process is not for us' {
	listen "$test_dir/manager"
	send x
	WATCHDOG_USEC=2 WATCHDOG_PID=1 drain -- true
	wait_for 60 hears STOPPING=1
	refute hears WATCHDOG=1
}

# What differs between any two processes, and what qwork adds.
environment() { grep -zv '^\(_\|SHLVL\|QJOB_[A-Z_]*\|BATS_[A-Z_]*\)=' | sort -z | tr '\0' '@'; }

@test 'handlers do not speak for qwork, and have the rest of its environment' {
	export EMPTY='' LINES_=$'one\ntwo' EQUAL='a=b'
	env -0 >"$test_dir/ours"
	listen "$test_dir/manager"
	send x
	WATCHDOG_USEC=1000000 WATCHDOG_PID=1 start_qwork --once -- env -0
	exit_status 60 "$qwork"
	assert_equal "$(environment <"$qwork_out")" "$(environment <"$test_dir/ours")"
}

@test 'the title says what runs, of one queue and of several' {
	mkdir -p "$QSPOOL"
	make_gate
	start_qwork -q a -- "$gate"
	wait_for 60 title_is "$qwork" 'a: 0 running, 0 ready'
	for _ in 1 2 3; do send x -q a; done
	wait_for 60 title_is "$qwork" 'a: 1 running, 2 ready'
	qpause a
	wait_for 60 title_is "$qwork" 'a: 1 running, 2 ready, paused'
	kill -TERM "$qwork"
	wait_for 60 title_is "$qwork" 'a: 1 running, 2 ready, paused, ending'
	open_gate
	exit_status 60 "$qwork"
	shut_gate
	start_qwork -q a -q b -q c -j 2 -- "$gate"
	for _ in 1 2 3; do send x -q b; done
	wait_for 60 title_is "$qwork" '2 running, 3 ready in 3 queues, 1 paused'
	open_gate
	wait_for 60 title_is "$qwork" '0 running, 2 ready in 3 queues, 1 paused'
}

@test 'the title says that a queue is held, and that it is being drained' {
	send x
	start_qwork -- "$test_dir/missing"
	wait_for 60 title_is "$qwork" 'default: 0 running, 1 ready, held'
	make_gate
	start_qwork --drain -- "$gate"
	wait_for 60 title_is "$qwork" 'default: 1 running, 0 ready, draining'
}

@test 'quick jobs do not change the title each time' {
	listen "$test_dir/manager"
	seq 300 | qsend --lines
	before=$(now_ms)
	drain -- true
	assert_success
	assert [ "$(count_heard 'STATUS=.*')" -ge 1 ]
	assert [ "$(count_heard 'STATUS=.*')" -le $((($(now_ms) - before) / 250 + 1)) ]
}

@test 'USR1 stops claiming, but not what runs; USR2 goes on' {
	start_running x
	kill -USR1 "$qwork"
	wait_for 60 grep -q 'cause="told to claim nothing' "$qwork_log"
	seq 3 | qsend --lines
	send delayed -d 100ms
	refute gone "$handler"
	open_gate
	wait_for 60 jobs_are 0 cur
	wait_for 60 title_is "$qwork" 'default: 0 running, 4 ready, claims nothing'
	assert_equal "$(job_count new) $(job_count delay)" '3 1'
	kill -USR2 "$qwork"
	wait_for 60 spool_is_idle
	wait_for 60 title_is "$qwork" 'default: 0 running, 0 ready'
	assert_file_contains "$qwork_log" 'cause="told to go on claiming"'
}

@test 'a qwork that claims nothing ends on TERM, and leaves its jobs to others' {
	start_qwork -- true
	wait_for 60 watches "$qwork"
	kill -USR1 "$qwork"
	wait_for 60 grep -q 'cause="told to claim nothing' "$qwork_log"
	send x
	drain -- true
	assert_spool_empty
	kill -TERM "$qwork"
	exit_status 60 "$qwork"
	assert_equal "$status" 0
}

@test 'told to end, it hands back the jobs of all queues, also of handlers that do not heed it' {
	for queue in a b; do
		send x -q "$queue" -A 1
		send y -q "$queue" -A 1 -- heeds
	done
	start_qwork -q a -q b -j 4 -g 100ms -- sh -c \
		': >"$0.$QJOB_ID"; [ "$1" = heeds ] && exec sleep 300; trap "" TERM; while :; do sleep 0.05; done' "$test_dir/runs"
	all_run() { [[ $(find "$test_dir" -name 'runs.*' | wc -l) == 4 ]]; }
	wait_for 60 all_run
	kill -TERM "$qwork"
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	for queue in a b; do
		jobs_are 2 new "$queue" || { show_spool && fail "not handed back in $queue"; }
		run ls "$QSPOOL/$queue/new"
		refute_line --regexp '\.1(,|$)'
	done
}

# --- the first process of a container -------------------------------------------

# start_first [OPTION...]: start_qwork as process 1 of a namespace of its own. Its id here in $qwork.
start_first() {
	local as=(unshare --pid --fork --mount-proc --kill-child=TERM)
	((EUID == 0)) || as=(unshare --map-root-user "${as[@]:1}")
	"${as[@]}" true 2>/dev/null || skip 'needs a PID namespace'
	qwork_log=$test_dir/first.log
	qwork_logs+=("$qwork_log")
	start "${as[@]}" qwork "$@" </dev/null >"$test_dir/first.out" 2>"$qwork_log"
	container=$started
	wait_for 60 has_handler "$container" # it has a child
	qwork=$(tr -d ' ' <"/proc/$container/task/$container/children")
}
# Zombies are among them.
children_are() { [[ $(wc -w <"/proc/$2/task/$2/children") == "$1" ]]; }

@test 'as process 1 it reaps what handlers left, and stops on TERM' {
	script "$test_dir/leaves" <<-'END'
		for _ in 1 2 3; do setsid sh -c 'until [ -e "$0" ]; do sleep 0.02; done' "$TMPDIR/go" & done
	END
	export TMPDIR=$test_dir
	seq 5 | qsend --lines
	start_first -- "$test_dir/leaves"
	wait_for 60 spool_is_idle
	wait_for 60 children_are 15 "$qwork"
	: >"$test_dir/go"
	wait_for 60 children_are 0 "$qwork"
	kill -TERM "$qwork"
	exit_status 60 "$container"
	assert_equal "$status" 0
	assert_spool_empty
}

@test 'as process 1 it is told to end from inside, too, and hands back what runs' {
	id=$(send x)
	start_first -g 100ms -- sh -c 'until [ -e "$0" ]; do sleep 0.02; done; kill -TERM 1; exec sleep 300' "$test_dir/go"
	: >"$test_dir/go"
	exit_status 60 "$container"
	assert_equal "$status" 0
	assert_regex "$(sole_job new)" "/50\.$id\.0(,|\$)"
}
