#!/usr/bin/env bats
# qwait, and qsend --wait: until jobs have ended, and how.

load helper

# start_qwait ARG...: its process in $waiter, which waits; what it says in waiter.err.
start_qwait() {
	start qwait "$@" 2>"$test_dir/waiter.err"
	waiter=$started
	wait_for 60 waits "$waiter"
}
# True once it watches and sleeps: it has looked.
waits() { watches "$1" && grep -qs '^State:[[:space:]]*S' "/proc/$1/status"; }
waiter_exits() { exit_status 60 "$waiter" && assert_equal "$status" "$1"; }
still_waits() { wait_for 60 waits "$waiter" && refute gone "$waiter"; }

@test 'qwait --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qwait
	assert_usage qwait -t soon x
	assert_usage qwait --timeout
}

@test 'qwait ends with 0 when the job has finished' {
	start_running x
	start_qwait "$id"
	open_gate
	waiter_exits 0
	assert_equal "$(cat "$test_dir/waiter.err")" ''
}

@test 'a job that is ready, delayed, retried and then finishes' {
	id=$(send x -d 1h -b 1ms..1ms)
	start_qwait -v "$id"
	qkick -d "$id"
	drain_all -- sh -c '[ $QJOB_ATTEMPT = 4 ]'
	assert_success
	waiter_exits 0
	assert_equal "$(cat "$test_dir/waiter.err")" "qwait: job $id: finished"
}

@test 'a job that is finished and kept' {
	id=$(send x --keep 1h)
	start_qwait "$id"
	drain -- true
	waiter_exits 0
	run_tool qwait "$id"
	assert_success
	qdel "$id"
	run_tool qwait "$id"
	assert_success
}

@test 'a job that others waited for, deleted before qwait looks' {
	id=$(send x)
	send y --after "$id"
	qdel "$id"
	run_tool qwait -v "$id"
	assert_failure 1
	assert_regex "$stderr" "^qwait: job $id: deleted"
}

@test 'a batch of which a job was deleted before qwait looks' {
	id=$(send x --batch "B 1")
	send y --batch "B 1"
	send z --after "B 1"
	qdel "$id"
	run_tool qwait -t 0 "B 1"
	assert_failure 75
	drain -- true
	run_tool qwait "B 1"
	assert_failure 1
	assert_equal "$stderr" 'qwait: a job of batch B 1 was deleted'
}

@test 'a job that finishes before qwait looks' {
	id=$(send x)
	drain -- true
	run_tool qwait -v "$id"
	assert_success
	assert_equal "$stderr" "qwait: job $id: finished"
}

@test 'buried: exit 1, by a handler or by hand, before or meanwhile' {
	id=$(send x)
	start_qwait "$id"
	qbury "$id"
	waiter_exits 1
	assert_equal "$(cat "$test_dir/waiter.err")" 'qwait: 1 of 1 jobs are buried'
	run_tool qwait "$id"
	assert_failure 1
	id=$(send x -A 1)
	start_qwait "$id"
	drain -- false
	waiter_exits 1
}

@test 'deleted while it waited: exit 1, in whatever state the job was' {
	ready=$(send x)
	delayed=$(send x -d 1h)
	after=$(send x --after "$ready")
	start_qwait "$delayed" "$after" "$ready"
	qdel "$after"
	qdel "$delayed" "$ready"
	waiter_exits 1
	assert_equal "$(cat "$test_dir/waiter.err")" 'qwait: 3 of 3 jobs were deleted'
}

@test 'a running job that is deleted with --kill was deleted' {
	start_running x
	start_qwait "$id"
	qdel --kill "$id"
	waiter_exits 1
}

@test 'a job that waits for another one has not ended until it has run' {
	start_running first
	after=$(send second --after "$id")
	start_qwait "$after"
	wait_for 60 jobs_are 0 new
	still_waits
	open_gate
	waiter_exits 0
	assert_spool_empty
}

@test 'a job that goes to a directory below .wait/ which did not exist, and comes back' {
	id=$(send x)
	start_qwait "$id"
	mkdir -p "$QSPOOL/.wait/@new"
	mv "$(job_path "$id" new)" "$QSPOOL/.wait/@new/50.$id.0@default"
	still_waits
	mv "$QSPOOL/.wait/@new/50.$id.0@default" "$QSPOOL/default/new/50.$id.0"
	drain -- true
	waiter_exits 0
}

@test 'the same where a rename is a link and an unlink' {
	id=$(send x)
	start_qwait "$id"
	mkdir -p "$QSPOOL/.wait/@new"
	ln "$(job_path "$id" new)" "$QSPOOL/.wait/@new/50.$id.0@default"
	rm "$(job_path "$id" new)"
	still_waits
	ln "$QSPOOL/.wait/@new/50.$id.0@default" "$QSPOOL/default/new/50.$id.0"
	rm "$QSPOOL/.wait/@new/50.$id.0@default"
	still_waits
	drain -- true
	waiter_exits 0
}

@test 'it waits for all of them, and one that is buried does not end it' {
	a=$(send a)
	b=$(send b)
	c=$(send c -q other)
	start_qwait -v "$a" "$b" "$c"
	qbury "$a"
	still_waits
	drain -q other -- true
	still_waits
	drain -- true
	waiter_exits 1
	assert_equal "$(sed 1,3d "$test_dir/waiter.err")" 'qwait: 1 of 3 jobs are buried'
}

@test 'a buried job that is kicked while others are waited for is outstanding again' {
	a=$(send a)
	b=$(send b -d 1h)
	start_qwait "$a" "$b"
	qbury "$a"
	qkick "$a"
	qkick -d "$b"
	drain -- true
	waiter_exits 0
}

@test 'many jobs that end while it looks' {
	seq 300 | qsend --lines >"$test_dir/ids"
	start_qwork -j 4 -- true
	run_tool timeout 60 qwait -v <"$test_dir/ids"
	assert_success
	assert_equal "$(grep -c finished <<<"$stderr")" 300
}

@test 'jobs by prefix, by path and from standard input; one named twice is one' {
	id=$(send x)
	start_qwait -v "${id:0:19}" "$(job_path "$id" new)" "$id"
	drain -- true
	waiter_exits 0
	assert_equal "$(cat "$test_dir/waiter.err")" "qwait: job $id: finished"
	id=$(send x)
	qbury "$id"
	run_tool qwait <<<"$id"
	assert_failure 1
	run_tool qwait </dev/null
	assert_success
}

@test 'no such job or batch exits 66, at once' {
	id=$(send x)
	run_tool timeout 60 qwait "$id" nonsense
	assert_failure 66
	assert_regex "$stderr" "^qwait: no job or batch nonsense in $QSPOOL"
	run_tool qwait -q other "$id"
	assert_failure 66
	run_tool qwait -s "$test_dir/none" "$id"
	assert_failure 66
}

@test 'an ambiguous prefix, and a file that is no job yet, exit 65' {
	send_alike 2
	run_tool qwait "$prefix"
	assert_failure 65
	echo x >"$QSPOOL/default/tmp/foreign"
	mv "$QSPOOL/default/tmp/foreign" "$QSPOOL/default/new/foreign"
	run_tool qwait default/new/foreign
	assert_failure 65
}

@test '--timeout: exit 75, and what has not ended' {
	a=$(send a)
	b=$(send b)
	qbury "$a"
	run_tool timeout 60 qwait -t 10ms "$a" "$b"
	assert_failure 75
	assert_regex "$stderr" 'timed out: 1 of 2 jobs have not ended'
	run_tool timeout 60 qwait -t 0 "$b"
	assert_failure 75
	run_tool timeout 60 qwait --timeout 1h "$a"
	assert_failure 1
}

@test 'a batch: until all of its members have ended, after which nobody can join' {
	a=$(send a --batch B)
	b=$(send b --batch B -q other)
	start_qwait -v B
	run_tool send c --batch B
	assert_failure 65
	drain -- true
	still_waits
	drain -q other -- true
	waiter_exits 0
	assert_equal "$(cat "$test_dir/waiter.err")" "qwait: job $a: finished"$'\n'"qwait: job $b: finished"
	run_tool timeout 60 qwait B
	assert_success
}

@test 'a batch whose members that are left are all buried: exit 1' {
	a=$(send a --batch B)
	b=$(send b --batch B)
	start_qwait B
	qbury "$a"
	still_waits
	drain -- true
	waiter_exits 1
	assert_equal "$(cat "$test_dir/waiter.err")" 'qwait: 1 of 2 jobs are buried'
	run_tool timeout 60 qwait B
	assert_failure 1
	qkick "$a"
	start_qwait B
	drain -- true
	waiter_exits 0
}

@test 'a large batch, its members from several queues, beside qworks' {
	seq 200 | qsend --lines --batch B --no-sync >/dev/null
	seq 200 | qsend --lines --batch B --no-sync -q other >/dev/null
	start_qwork -j 2 -- true
	start_qwork -j 2 -q other -- true
	run_tool timeout 60 qwait B
	assert_success
	jobs_are 0 new
	jobs_are 0 new other
}

@test 'a batch and jobs at once, and a batch that was never begun' {
	send a --batch B
	id=$(send x)
	run_tool timeout 60 qwait -t 0 B "$id"
	assert_failure 75
	assert_regex "$stderr" '2 of 2 jobs'
	run_tool timeout 60 qwait -t 0 never
	assert_failure 66
}

@test 'it sleeps while nothing happens' {
	need_strace
	id=$(send x)
	start strace -o "$test_dir/trace" qwait "$id"
	tracer=$started
	traced_waits() {
		waiter=$(tr -d ' ' <"/proc/$tracer/task/$tracer/children")
		waits "$waiter"
	}
	wait_for 60 traced_waits
	drain -- true
	exit_status 60 "$tracer"
	assert_equal "$status" 0
	assert [ "$(grep -cE ' p?poll\(' "$test_dir/trace")" -lt 10 ]
	refute grep -qE 'flock\(|rename|unlink|O_CREAT' "$test_dir/trace"
}

@test 'events that are lost are made up for by looking' {
	max=$(</proc/sys/fs/inotify/max_queued_events)
	((max <= 20000)) || skip 'a long queue of events'
	finished=$(send x -p 0)
	buried=$(send x)
	start_qwait -v "$finished" "$buried"
	kill -STOP "$waiter"
	seq $((max / 3 + 10)) | qsend --lines --no-sync >/dev/null # each has three events
	qwork --once -- true
	qbury "$buried"
	kill -CONT "$waiter"
	waiter_exits 1
	assert_equal "$(grep -c -e "$finished: finished" -e "$buried: buried" "$test_dir/waiter.err")" 2
}

@test 'without inotify it looks every second' {
	need_strace
	id=$(send x)
	deaf_qwait() { start strace -o /dev/null -e inject=inotify_init1:error=EMFILE qwait "$id"; }
	deaf_qwait
	qbury "$id"
	exit_status 60 "$started"
	assert_equal "$status" 1
	qkick "$id"
	deaf_qwait
	drain -- true
	exit_status 60 "$started"
	assert_equal "$status" 0
}

@test 'with a terminal it says how far it is, on standard error' {
	need_command python3
	seq 20 | qsend --lines >"$test_dir/ids"
	start_qwork -- sleep 0.05
	run timeout 60 python3 -c '
import os, pty, sys
status = pty.spawn(["qwait", *open(sys.argv[1]).read().split()])
sys.exit(os.waitstatus_to_exitcode(status))' "$test_dir/ids" </dev/null
	assert_success
	assert_output --regexp 'qwait: [0-9]+ of 20 finished, 0 buried'
	assert_output --partial 'qwait: 20 of 20 finished, 0 buried'
}

# --- qsend --wait -------------------------------------------------------------

# start_sender ARG...: qsend --wait ARG... of the payload "payload"; its process in $sender, its output in
# sender.out, its error in sender.err. Goes on when the job is there.
start_sender() {
	start qsend --wait "$@" <<<payload >"$test_dir/sender.out" 2>"$test_dir/sender.err"
	sender=$started
	wait_for 60 jobs_are 1 new
}
sender_exits() { exit_status 60 "$sender" && assert_equal "$status" "$1"; }

@test 'qsend --wait writes what the handler writes, nothing else, and exits 0' {
	start_sender
	run_qwork --drain -- sh -c 'cat; echo more; echo error >&2'
	assert_output ''
	sender_exits 0
	assert_equal "$(cat "$test_dir/sender.out")" $'payload\nmore'
	assert_equal "$(cat "$test_dir/sender.err")" ''
}

@test 'it waits over retries, and has the output of the last attempt' {
	start_sender -b 1ms..1ms
	run_qwork --drain=all -- sh -c 'echo $QJOB_ATTEMPT; [ $QJOB_ATTEMPT = 3 ]'
	sender_exits 0
	assert_equal "$(cat "$test_dir/sender.out")" 3
}

@test 'it exits with the status of the handler whose job is buried, 128 and its signal if one ended it' {
	start_sender
	id=$(basename "$(sole_job new)" | cut -d. -f2)
	run_qwork --drain -- sh -c 'echo bad; exit 65'
	sender_exits 65
	assert_equal "$(cat "$test_dir/sender.out")" bad
	assert_regex "$(cat "$test_dir/sender.err")" "^qsend: job $id is buried"
	qdel "$id"
	start_sender -A 1
	run_qwork --drain -- sh -c 'kill -KILL $$'
	sender_exits 137
}

@test 'it exits 69 if the job is buried without a failure of its handler, or deleted' {
	start_sender
	qbury --all
	sender_exits 69
	qdel -q default --all
	start_sender
	run_qwork --drain -- sh -c 'echo bury >>"$QJOB_CONTROL"'
	sender_exits 69
	qdel -q default --all
	start_sender
	qdel -q default --all
	sender_exits 69
	assert_regex "$(cat "$test_dir/sender.err")" '^qsend: job .* was deleted'
}

@test 'the job is kept for ten minutes, or as --keep says; -v tells its id' {
	start_sender -v
	run_qwork --drain -- true
	sender_exits 0
	due=$(due_in "$(sole_job 'done')")
	assert [ "$due" -gt $(($(now_ms) + 300000)) ]
	assert [ "$due" -le $(($(now_ms) + 600000)) ]
	id=$(basename "$(sole_job 'done')" | grep -oE "$ID")
	assert_file_contains "$test_dir/sender.err" "$id"
	qdel "$id"
	start_sender --keep 1h
	run_qwork --drain -- true
	sender_exits 0
	assert [ "$(due_in "$(sole_job 'done')")" -gt $(($(now_ms) + 1800000)) ]
}

@test 'a signal that ends it says that the job goes on, with its id' {
	for signal in INT TERM; do
		start env --default-signal=INT qsend --wait <<<x >"$test_dir/sender.out" 2>"$test_dir/sender.err"
		sender=$started
		wait_for 60 jobs_are 1 new
		wait_for 60 waits "$sender"
		kill -"$signal" "$sender"
		exit_status 60 "$sender"
		assert_equal "$status" $((128 + $(kill -l "$signal")))
		assert_regex "$(cat "$test_dir/sender.err")" "^qsend: job $ID goes on"
		drain -- true
		assert_success
	done
}

@test 'with a key that is held, --wait waits for the job that has it' {
	id=$(send first --key K --keep 1h)
	start qsend --wait --key K <<<second >"$test_dir/sender.out"
	wait_for 60 waits "$started"
	assert_equal "$(job_count tmp) $(job_count meta)" '0 1'
	drain -- cat
	exit_status 60 "$started"
	assert_equal "$status" 0
	assert_equal "$(cat "$test_dir/sender.out")" first
}

@test '--wait is for one job' {
	assert_usage qsend --wait --lines
	assert_usage qsend --wait -0
}
