#!/usr/bin/env bats
# One qwork, many queues: which it serves, and how many jobs of each at once. With --scan 1h
# whatever comes is found by an event.

load helper

# make_queue NAME...: without a job.
make_queue() {
	local queue
	for queue; do qdel "$(send x -q "$queue")"; done
}

# make_handler QUEUE: that tells its queue and the payload.
make_handler() { script "$QSPOOL/$1/handler" <<<'echo "$QJOB_QUEUE $(cat)"'; }

ran() { grep -qxF "$1" "$qwork_out"; }

# many_queues NUMBER: as quick as that can be; each has a handler.
many_queues() {
	eval "mkdir -p '$QSPOOL'/q{1..$1}/{tmp,new,cur,delay,buried,meta,log}"
	script "$test_dir/handler" <<<'echo "$QJOB_QUEUE $(cat)"'
	for queue in "$QSPOOL"/q*; do cp "$test_dir/handler" "$queue"; done
}

# --- named -----------------------------------------------------------------------

@test 'wrong values of -q exit 64, and so does a queue that is given twice' {
	for value in a,jobs=0 a,jobs=10001 a,jobs=x a,jobs= a,jobs a,weight=0 a,weight=1001 a,weight=-1 \
		a,nice=1 'a,' 'a,,jobs=1' ',jobs=1' .a,jobs=1 'a,jobs=1 '; do
		assert_usage qwork -q "$value" -- true
	done
	assert_usage qwork -q a -q b,weight=2 -q a,jobs=3 -- true
	assert_regex "$stderr" 'a: given twice'
	assert_not_exists "$QSPOOL"
}

@test 'one command for several queues; others are left alone: -q' {
	for queue in a b c; do send "$queue" -q "$queue"; done
	drain -q a -q b,weight=2 -- sh -c 'echo "$QJOB_QUEUE $(cat)"'
	assert_success
	assert_equal "$(sort <<<"$output")" $'a a\nb b'
	assert jobs_are 1 new c
	assert_spool_empty a
	assert_spool_empty b
}

@test 'a ceiling is for its queue alone, the rest of -j is for the others: -q QUEUE,jobs=N' {
	make_gate
	seq 3 | qsend -q a --lines
	seq 5 | qsend -q b --lines
	start_qwork -j 4 -q a,jobs=1 -q b -- "$gate"
	wait_for 60 all_at_gate 4
	assert jobs_are 1 cur a
	assert jobs_are 3 cur b
	open_gate
	wait_for 60 spool_is_idle a
	wait_for 60 spool_is_idle b
}

# most_at_once QUEUE: that its handlers saw.
most_at_once() { sort -n "$test_dir/seen.$1" | tail -n 1; }

@test 'no ceiling is ever exceeded; the command line goes before the settings' {
	script "$test_dir/look" <<-END
		ls "\$QSPOOL/\$QJOB_QUEUE/cur" | wc -l >>'$test_dir/seen.'"\$QJOB_QUEUE"
	END
	for queue in a b c; do seq 30 | qsend -q "$queue" --lines >/dev/null; done
	echo 'jobs 5' >"$QSPOOL/a/settings"
	echo 'jobs 2' >"$QSPOOL/b/settings"
	drain -j 6 -q a,jobs=1 -q b -q c -- "$test_dir/look"
	assert_success
	assert_equal "$(most_at_once a)" 1
	assert [ "$(most_at_once b)" -le 2 ]
	assert_equal "$(cat "$test_dir"/seen.* | wc -l)" 90
}

@test 'a queue that is paused, and one whose handler cannot be run, keep no other from being drained' {
	for queue in a b c; do
		seq 3 | qsend -q "$queue" --lines >/dev/null
		make_handler "$queue"
	done
	script "$QSPOOL/b/handler" <<<''
	printf '#!/nowhere\n' >"$QSPOOL/b/handler"
	qpause a
	drain
	assert_failure 69
	assert_equal "$output" $'c 1\nc 2\nc 3'
	assert jobs_are 3 new a
	assert jobs_are 3 new b
	drain_all -q a -q c
	assert_success
}

@test 'of the named queues, those that do not exist are none to drain' {
	send 1 -q b
	drain -q a -q b -- cat
	assert_success
	assert_output 1
	assert_not_exists "$QSPOOL/a"
}

@test 'a waiting qwork makes the queues that are named, and serves each as soon as something comes' {
	start_qwork --scan 1h -q a -q b -- sh -c 'echo "$QJOB_QUEUE $(cat)"'
	wait_for 20 watches "$qwork"
	send 1 -q b
	wait_for 60 ran 'b 1'
	send 2 -q a
	wait_for 60 ran 'a 2'
}

# --- all that have a handler ---------------------------------------------------------

@test 'without -q and command each queue is served by its handler; one without is left alone' {
	for queue in a b c; do send 1 -q "$queue"; done
	make_handler a
	make_handler b
	drain
	assert_success
	assert_equal "$(sort <<<"$output")" $'a 1\nb 1'
	assert_equal "$stderr" ''
	assert jobs_are 1 new c
}

@test 'queues and handlers that come while qwork waits are found by events' {
	make_queue old
	start_qwork --scan 1h
	wait_for 60 log_has 1 'no queue has a handler yet: waiting'
	send 1 -q old
	make_handler old
	wait_for 60 ran 'old 1'
	send 1 -q moved
	make_handler moved
	wait_for 60 ran 'moved 1'
	send 1 -q copied
	cp "$QSPOOL/old/handler" "$test_dir/handler"
	chmod -x "$test_dir/handler"
	cp "$test_dir/handler" "$QSPOOL/copied/handler"
	wait_for 60 log_has 1 'queue=copied .*not executable'
	chmod +x "$QSPOOL/copied/handler"
	wait_for 60 ran 'copied 1'
	send 2 -q copied
	wait_for 60 ran 'copied 2'
	for queue in old moved copied; do assert log_has 1 "queue=$queue .*served from now on"; done
}

@test 'a directory that was made by hand, with a handler, is served from its first job on' {
	mkdir -p "$QSPOOL"/before
	make_handler before
	start_qwork --scan 1h
	wait_for 60 log_has 1 'no queue has a handler yet: waiting'
	send 1 -q before
	wait_for 60 ran 'before 1'
	mkdir "$QSPOOL"/later
	make_handler later
	send 1 -q later
	wait_for 60 ran 'later 1'
}

@test 'a handler that goes ends the service, and one that comes begins it again' {
	make_queue a b
	make_handler a
	make_handler b
	start_qwork --scan 1h
	send 1 -q a
	wait_for 60 ran 'a 1'
	mv "$QSPOOL/a/handler" "$test_dir/handler"
	wait_for 60 log_has 1 'queue=a .*not served any more: it has no handler'
	send 2 -q a
	send 2 -q b
	wait_for 60 ran 'b 2'
	assert jobs_are 1 new a
	mv "$test_dir/handler" "$QSPOOL/a/handler"
	wait_for 60 ran 'a 2'
	assert log_has 1 'queue=a .*served from now on'
	assert_equal "$(wc -l <"$qwork_log")" 2
}

@test 'a handler that goes while it runs may end; nothing else is started, and none is held' {
	make_gate
	make_queue a b
	cp "$gate" "$QSPOOL/a/handler"
	make_handler b
	start_qwork --scan 1h -j 3
	id=$(send 1 -q a)
	wait_for 60 at_gate "$id"
	rm "$QSPOOL/a/handler"
	send 2 -q a
	send 2 -q b
	wait_for 60 ran 'b 2'
	assert jobs_are 1 new a
	open_gate
	wait_for 60 log_has 1 'queue=a .*not served any more: it has no handler'
	wait_for 60 jobs_are 0 cur a
	assert_equal "$(wc -l <"$qwork_log")" 1
	make_handler a
	wait_for 60 ran 'a 2'
}

@test 'a handler that is refused, or not executable, is named once; the others are served' {
	for queue in a b c; do
		send 1 -q "$queue"
		make_handler "$queue"
	done
	chmod g+w "$QSPOOL/a/handler"
	chmod -x "$QSPOOL/b/handler"
	start_qwork --scan 100ms
	wait_for 60 ran 'c 1'
	wait_for 60 log_has 1 'queue=b .*not served: its handler is not executable'
	send 1 -q d
	make_handler d
	wait_for 60 ran 'd 1'
	assert_equal "$(grep -c 'queue=a .*refused.*place=a/handler' "$qwork_log")" 1
	assert_equal "$(grep -c queue=b "$qwork_log")" 1
	chmod g-w "$QSPOOL/a/handler"
	wait_for 60 ran 'a 1'
	assert jobs_are 1 new b
}

@test 'a queue that is removed and made again is served again' {
	make_queue a b
	make_handler a
	make_handler b
	start_qwork --scan 1h
	send 1 -q a
	wait_for 60 ran 'a 1'
	cp "$QSPOOL/a/handler" "$test_dir/handler"
	wait_for 60 jobs_are 0 cur a
	rm -r "$QSPOOL/a"
	wait_for 60 log_has 1 'queue=a .*not served any more'
	send 2 -q a
	cp "$test_dir/handler" "$QSPOOL/a"
	wait_for 60 ran 'a 2'
	mv "$QSPOOL/a" "$QSPOOL/c"
	send 3 -q c
	wait_for 60 ran 'c 3'
	send 4 -q b
	wait_for 60 ran 'b 4'
}

@test 'a named queue that is removed is served again when it is back, and has a handler' {
	make_queue a b
	make_handler a
	make_handler b
	start_qwork --scan 1h -q a -q b
	wait_for 20 watches "$qwork"
	rm -r "$QSPOOL/a"
	wait_for 60 log_has 1 'queue=a .*not served any more'
	send 2 -q b
	wait_for 60 ran 'b 2'
	send 1 -q a
	make_handler a
	wait_for 60 ran 'a 1'
	rm -r "$QSPOOL/a" "$QSPOOL/b"
	exit_status 60 "$qwork"
	assert_equal "$status" 75
}

@test 'no queue has a handler: --drain and --once exit 78 and say so' {
	make_queue a
	for option in --drain --once; do
		run_qwork "$option"
		assert_failure 78
		assert_regex "$stderr" '^qwork: .*no queue has a handler'
	done
}

@test 'a spool without queues: qwork waits for one, and a drain has nothing to do' {
	start_qwork --scan 1h
	wait_for 60 log_has 1 'no queue has a handler yet: waiting'
	drain
	assert_success
	send 1 -q a
	make_handler a
	wait_for 60 ran 'a 1'
}

@test 'without inotify queues and handlers that come and go are seen within seconds' {
	need_user_namespaces
	make_queue a
	make_handler a
	deaf_qwork --scan 1h
	wait_for 60 log_has 1 'no inotify: the spool is scanned'
	send 1 -q b
	make_handler b
	wait_for 60 ran 'b 1'
	rm "$QSPOOL/b/handler"
	wait_for 60 log_has 1 'queue=b .*not served any more'
	send 2 -q b
	make_handler b
	wait_for 60 ran 'b 2'
	rm -r "$QSPOOL/b"
	wait_for 60 log_has 2 'queue=b .*not served any more'
	send 3 -q b
	make_handler b
	wait_for 60 ran 'b 3'
	send 1 -q a
	wait_for 60 ran 'a 1'
	refute watches "$qwork"
	allow_inotify
	wait_for 60 log_has 1 'queue=a .*inotify is back'
	send 1 -q c
	make_handler c
	wait_for 60 ran 'c 1'
}

# --- many ----------------------------------------------------------------------------

@test '200 queues: their jobs run, and the memory for them is small' {
	many_queues 200
	for n in 1 17 200; do send x -q "q$n"; done
	start_qwork --scan 1h
	for n in 1 17 200; do wait_for 60 ran "q$n x"; done
	send y -q q100
	wait_for 60 ran 'q100 y'
	assert_equal "$(cat "$qwork_log")" ''
	[[ ${QSPOOL_SANITIZED:-} ]] || assert [ "$(awk '/^VmRSS/ { print $2 }' "/proc/$qwork/status")" -lt 32768 ]
}

@test 'more queues than there are descriptors for: those that are served can run jobs' {
	many_queues 60
	for n in $(seq 60); do echo "$n" >"$QSPOOL/q$n/new/x"; done
	run_tool prlimit --nofile=600:600 timeout -k 10 60 qwork --drain -j 2 </dev/null
	assert_success
	refute_regex "$stderr" outcome=held
	assert_regex "$stderr" 'not served".*Too many open files'
	served=$(wc -l <<<"$output")
	assert [ "$served" -ge 10 ]
	assert_equal "$(grep -c 'not served' <<<"$stderr")" $((60 - served))
}

zombies_of() { ps -o stat= --ppid "$1" | awk '/^Z/ { n++ } END { print n + 0 }'; }
all_are_held() { [[ $(grep -c 'outcome=held' "$qwork_log") -ge $1 ]]; }
no_zombies_of() { [[ $(zombies_of "$1") == 0 ]]; }

@test 'handlers that cannot be run leave no zombies' {
	local queues=()
	for i in {1..8}; do
		send x -q "q$i"
		queues+=(-q "q$i")
	done
	start_qwork -j 8 "${queues[@]}" -- /nowhere/handler
	wait_for 60 all_are_held 8
	wait_for 20 no_zombies_of "$qwork"
	assert jobs_are 1 new q8
}

@test 'a queue that lacks directories is completed by the next job, and then served' {
	send x -q a
	script "$QSPOOL/a/handler" <<<'cat'
	mkdir "$QSPOOL/a/done"
	rmdir "$QSPOOL/a/delay" "$QSPOOL/a/buried"
	send y -q a
	drain
	assert_success
	assert_output xy
}
