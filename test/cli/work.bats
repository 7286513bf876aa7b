#!/usr/bin/env bats
# qwork: what a handler is given, which jobs are started and when qwork ends.

load helper

@test 'qwork --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qwork --drain -- true
}

@test 'wrong values of options exit 64' {
	for value in 0 -1 x 1.5 ''; do assert_usage qwork --drain -j "$value" -- true; done
	for value in 0 -1 x ''; do assert_usage qwork --drain -A "$value" -- true; done
	for value in x 1h..1s ..1h ''; do assert_usage qwork --drain -b "$value" -- true; done
	for value in x -1s ''; do assert_usage qwork --drain -t "$value" -- true; done
	for value in x -1s ''; do assert_usage qwork --drain -g "$value" -- true; done
	for value in x 256 -1 78-70 '1,' 1--2; do assert_usage qwork --drain -B "$value" -- true; done
	for value in x ''; do assert_usage qwork --drain --scan "$value" -- true; done
	assert_usage qwork --drain=some -- true
	assert_not_exists "$QSPOOL"
}

# --- what a handler is given

@test 'the payload is the standard input of the command' {
	send 'the payload'
	drain -- cat
	assert_success
	assert_output 'the payload'
	assert_spool_empty
}

@test 'the standard input is the job file itself, locked' {
	send x
	drain -- sh -c 'test /proc/self/fd/0 -ef "$QJOB_FILE" && ! flock -n "$QJOB_FILE" true && echo locked'
	assert_output locked
}

@test 'arguments are passed as they are, those of the job behind those of the command' {
	send x -- 'for the job' '*'
	drain -- printf '<%s>' 'for  all' '$HOME'
	assert_output '<for  all><$HOME><for the job><*>'
}

@test 'the environment describes the job' {
	id=$(send x -q web -p 42 -H 'X-Trace: a b' -T 1h)
	drain -q web -- sh -c 'env; test -f "$QJOB_FILE" && echo readable'
	assert_success
	assert_line readable
	assert_line "QSPOOL=$QSPOOL"
	assert_line "QJOB_ID=$id"
	assert_line "QJOB_NAME=$id"
	assert_line QJOB_QUEUE=web
	assert_line QJOB_ATTEMPT=1
	assert_line QJOB_ATTEMPTS=10
	assert_line QJOB_PRIORITY=42
	assert_line "QJOB_SENDER=$(id -u)"
	assert_line --regexp "^QJOB_SENT=$RFC3339\$"
	assert_line --regexp "^QJOB_EXPIRES=$RFC3339\$"
	assert_line --regexp "^QJOB_FILE=$QSPOOL/web/cur/42\.$id\.1"
	assert_line 'QJOB_HEADER_X_TRACE=a b'
}

@test 'QJOB_SENT is the time of sending, in UTC' {
	before=$(now_ms)
	send x
	after=$(now_ms)
	drain -- sh -c 'echo "$QJOB_SENT"'
	sent=$(date -d "$output" +%s%3N)
	assert [ "$sent" -ge "$before" ]
	assert [ "$sent" -le "$after" ]
}

@test 'QSPOOL and QJOB_FILE are absolute, however the spool was named' {
	cd "$test_dir"
	send x
	drain -s spool -- sh -c 'cd / && echo "$QSPOOL" && test -f "$QJOB_FILE" && echo there'
	assert_output "$QSPOOL"$'\n''there'
}

@test 'a handler has no QJOB_EXPIRES unless its job expires' {
	QJOB_EXPIRES=never QJOB_HEADER_OLD=x send x
	QJOB_EXPIRES=never QJOB_HEADER_OLD=x drain -- env
	refute_line --partial QJOB_EXPIRES
	refute_line --partial QJOB_HEADER_OLD
}

@test "a job's own environment reaches its handler, values untouched" {
	send x -e 'WORDS=not "quite" \n safe' -e 'LANG=xx' -e EMPTY=
	drain -- sh -c 'printf "<%s>" "$WORDS" "$LANG" "${EMPTY-unset}"'
	assert_output '<not "quite" \n safe><xx><>'
}

@test "of another user's job only language and time zone are obeyed" {
	need_root
	id=$(send x -e LD_PRELOAD=/evil.so -e FOO=bar -e LANG=xx -e LC_TIME=yy -e TZ=Asia/Tokyo)
	chown 65534 "$(sole_job new)"
	FOO=mine drain -- sh -c 'echo "${LD_PRELOAD-none} $FOO $LANG $LC_TIME $TZ $QJOB_SENDER"'
	assert_success
	assert_output 'none mine xx yy Asia/Tokyo 65534'
}

@test 'options that others could have written bring no environment but language and time zone' {
	send x -e FOO=bar -e TZ=Asia/Tokyo
	chmod g+w "$(sole_job meta)"
	FOO=mine drain -- sh -c 'echo "$FOO $TZ"'
	assert_output 'mine Asia/Tokyo'
}

@test 'a handler has a session and process group of its own' {
	send x
	drain -- sh -c 'read -r pid comm state ppid pgrp session rest </proc/$$/stat; echo "$(($$ == pid)) $(($$ == pgrp)) $(($$ == session))"'
	assert_output '1 1 1'
}

@test 'a handler has no descriptors of qwork but the three' {
	send x
	list='for fd in /proc/$$/fd/*; do echo "${fd##*/}"; done'
	run_tool sh -c "$list" </dev/null
	inherited=$output
	drain -- sh -c "$list"
	assert_output "$inherited"
}

@test 'a handler has the limit of open files with which qwork was started' {
	send x
	ulimit -S -n 64
	drain -j 100 -- sh -c 'ulimit -n'
	assert_success
	assert_output 64
}

@test 'a handler starts with the default signals, none blocked' {
	send x
	drain -- cat /proc/self/status
	assert_line --regexp '^SigBlk:.0000000000000000'
	assert_line --regexp '^SigCgt:.0000000000000000'
	refute_line --regexp '^SigIgn:.*[1-9a-f]...$' # neither INT, QUIT, HUP nor TERM
}

@test 'standard output of handlers is passed through untouched, standard error too' {
	send x
	drain -- sh -c 'printf "out\ttab\n"; printf "err line\n" >&2'
	assert_success
	assert_output $'out\ttab'
	assert_regex "$stderr" '(^|'$'\n'')err line('$'\n''|$)'
}

@test 'every attempt reads the payload from its start' {
	send 'the payload'
	drain_all -b 1ms -- sh -c 'cat; test "$QJOB_ATTEMPT" = 3'
	assert_success
	assert_output 'the payloadthe payloadthe payload'
}

# --- which handler

@test 'without a command the handler of the queue is run, for the payload and its arguments' {
	send payload -- argument
	script "$QSPOOL/default/handler" <<<'echo "$1 $(cat)"'
	drain
	assert_success
	assert_output 'argument payload'
	assert_spool_empty
}

@test 'a command goes before the handler of the queue' {
	send payload
	script "$QSPOOL/default/handler" <<<'echo handler'
	drain -- echo command
	assert_output command
}

@test 'without a command and without a handler qwork exits 78 and says what to do' {
	send x
	drain
	assert_failure 78
	assert_regex "$stderr" '^qwork: .*handler'
	assert_equal "$(job_count new)" 1
}

@test 'a handler that others may write exits 78 and is not run' {
	send x
	script "$QSPOOL/default/handler" <<<'echo pwned'
	for mode in 0775 0757 0722; do
		chmod "$mode" "$QSPOOL/default/handler"
		drain
		assert_failure 78
		assert_output ''
		assert_regex "$stderr" "^qwork: .*$QSPOOL/default/handler"
	done
	assert_equal "$(job_count new)" 1
}

@test 'a handler that is not executable, or no file, exits 78' {
	send x
	echo 'echo run' >"$QSPOOL/default/handler"
	drain
	assert_failure 78
	rm "$QSPOOL/default/handler"
	mkdir "$QSPOOL/default/handler"
	drain
	assert_failure 78
	assert_equal "$(job_count new)" 1
}

@test "a handler that is somebody else's exits 78" {
	need_root
	send x
	script "$QSPOOL/default/handler" <<<'echo pwned'
	chown 65534 "$QSPOOL/default/handler"
	drain
	assert_failure 78
	assert_output ''
}

# --- settings

@test 'settings of the queue are obeyed' {
	send x
	printf '# how often\n\nattempts 3\nbackoff 100s..100s\n' >"$QSPOOL/default/settings"
	drain -- sh -c 'echo "$QJOB_ATTEMPTS"; exit 1'
	assert_success
	assert_output 3
	due=$(due_in "$(sole_job delay)")
	assert [ $((due - $(now_ms))) -gt 30000 ]
	assert [ $((due - $(now_ms))) -le 100000 ]
}

@test 'the timeout of the settings is obeyed' {
	send x
	echo 'timeout 100ms' >"$QSPOOL/default/settings"
	drain -A 1 -- sleep 60
	assert_success
	assert_regex "$stderr" 'cause="timed out"'
}

@test 'a wrong line in the settings is reported, the others are obeyed' {
	send x
	printf 'attempts many\nfavourite colour\nattempts 3\n' >"$QSPOOL/default/settings"
	drain -- sh -c 'echo "$QJOB_ATTEMPTS"'
	assert_success
	assert_output 3
	assert_regex "$stderr" 'settings.*1'
	assert_regex "$stderr" 'settings.*2'
}

@test 'settings that others may write are refused with a message' {
	send x
	echo 'attempts 3' >"$QSPOOL/default/settings"
	chmod 0664 "$QSPOOL/default/settings"
	drain -- sh -c 'echo "$QJOB_ATTEMPTS"'
	assert_success
	assert_output 10
	assert_regex "$stderr" "settings"
}

@test "limits: the job's own go before the command line, that before the settings" {
	send own -A 2
	send plain
	echo 'attempts 4' >"$QSPOOL/default/settings"
	drain -A 3 -- sh -c 'echo "$(cat) $QJOB_ATTEMPTS"'
	assert_output $'own 2\nplain 3'
	send plain
	drain -- sh -c 'echo "$QJOB_ATTEMPTS"'
	assert_output 4
}

# --- verdicts

@test 'a handler that exits 0 has finished its job: nothing is left of it' {
	send x -A 3
	drain -- true
	assert_success
	assert_spool_empty
}

@test 'a finished job leaves neither meta nor log, though an attempt failed' {
	send x -A 3
	drain_all -b 1ms -- sh -c 'echo oops >&2; test "$QJOB_ATTEMPT" = 2'
	assert_success
	assert_spool_empty
}

@test 'exit 65 buries at once' {
	send x
	drain -- sh -c 'exit 65'
	assert_success
	assert_regex "$(sole_job buried)" '\.1(,|$)'
	assert_regex "$stderr" 'outcome=buried .*exit=65'
}

@test '--bury-on names the statuses that bury: -B, --bury-on' {
	for status in 3 70 74 78; do send "$status"; done
	for status in 4 65 69 79; do send "$status"; done
	drain -B 3,70-78 -- sh -c 'exit "$(cat)"'
	assert_success
	assert_equal "$(payloads buried)" '3 70 74 78'
	assert_equal "$(payloads delay | tr ' ' '\n' | sort | paste -sd ' ')" '4 65 69 79'
	send 9 -q long
	drain -q long --bury-on 9 -- sh -c 'exit 9'
	assert_equal "$(job_count buried long)" 1
}

@test 'any other status is a retry, the attempt counted in the name' {
	id=$(send x)
	drain -- false
	assert_success
	assert_regex "$(sole_job delay)" "/$STAMP\.50\.$id\.1(,|\$)"
	assert_regex "$stderr" 'outcome=retry cause=failed exit=1 '
}

@test 'a shell that finds no command has failed like any other: 126 and 127 are retried' {
	send x
	drain -- sh -c 'exit 127'
	assert_success
	assert_equal "$(attempts_in "$(sole_job delay)")" 1
}

@test 'a command that cannot be run spends no attempt, and --drain exits 69' {
	id=$(send x)
	drain -- "$test_dir/no-such-command"
	assert_failure 69
	assert_exists "$QSPOOL/default/new/50.$id.0"
	assert_regex "$stderr" 'outcome=held .*No such file or directory'
	run_qwork --once -- "$test_dir/no-such-command"
	assert_failure 69
	assert_exists "$QSPOOL/default/new/50.$id.0"
}

@test 'a qwork that waits holds the queue while its command cannot be run, and then goes on' {
	id=$(send x)
	start_qwork -- "$test_dir/later"
	wait_for 20 grep -q 'outcome=held' "$qwork_log"
	assert_equal "$(job_count new)" 1
	script "$test_dir/later" <<<'cat'
	wait_for 30 jobs_are 0 new
	wait_for 30 jobs_are 0 cur
	assert_spool_empty
	assert_file_contains "$qwork_out" '^x$'
}

@test 'a daemon that a handler leaves behind does not hold the job' {
	send x
	# The daemon keeps the locked descriptor, in whatever way it can.
	drain_all -b 1ms -- sh -c '
		setsid sleep 300 >/dev/null 2>&1 5<&0 & test "$QJOB_ATTEMPT" = 2'
	assert_success
	assert_spool_empty
}

@test 'an expired job is buried and never runs' {
	send x -T 1ms
	wait_for 5 after_ms $(($(now_ms) + 5))
	drain -- cat
	assert_success
	assert_output ''
	assert_equal "$(job_count buried)" 1
	assert_regex "$stderr" 'outcome=buried .*cause=expired'
	assert_file_contains "$(sole_job log)" 'expired'
}

# --- log lines

@test 'failures are always logged, as logfmt' {
	id=$(send x -q web)
	drain -q web -A 7 -- sh -c 'exit 3'
	assert_regex "$stderr" "^time=$RFC3339 queue=web job=$id attempt=1 of=7 outcome=retry cause=failed exit=3 seconds=[0-9]+\.[0-9]{3} wait=[^ ]+ due=$RFC3339\$"
}

@test 'successes are logged with -v only: -v, --verbose' {
	send x
	drain -- true
	assert_equal "$stderr" ''
	id=$(send x)
	drain -v -- true
	assert_regex "$stderr" "time=$RFC3339 queue=default job=$id attempt=1 of=10 outcome=finished exit=0 seconds=[0-9]+\.[0-9]{3}"
	send x
	drain --verbose -- true
	assert_regex "$stderr" 'outcome=finished'
}

@test 'each line of the log is one write, which no other line can divide' {
	need_strace
	seq 5 | qsend --lines
	strace -o "$test_dir/trace" -e trace=write -e signal=none qwork --drain -v -- true 2>/dev/null
	assert_equal "$(grep -c '^write(2, "time=.* = [0-9]*$' "$test_dir/trace")" 5
	assert_equal "$(grep -c '^write(2, ' "$test_dir/trace")" 5
}

@test 'a handler killed by a signal is logged with it' {
	send x
	drain -- sh -c 'kill -9 $$'
	assert_regex "$stderr" 'outcome=retry cause=failed signal=9 '
}

# --- what is started, and when qwork ends

@test '--drain of a queue that does not exist exits 0 and makes nothing' {
	drain -- true
	assert_success
	assert_not_exists "$QSPOOL"
	send x
	drain -q other -- true
	assert_success
	assert_not_exists "$QSPOOL/other"
}

@test '--drain runs all that is ready, leaves what is delayed, and exits 0 though jobs were buried' {
	seq 20 | qsend --lines
	send later -d 1h
	drain -j 4 -- sh -c 'test "$(cat)" != 7 || exit 65'
	assert_success
	assert_equal "$(job_count new) $(job_count cur) $(job_count delay) $(job_count buried)" '0 0 1 1'
}

@test '--drain=all waits for delayed jobs and retries' {
	send delayed -d 700ms
	send failing
	drain_all -b 100ms -- sh -c 'p=$(cat); echo "$p"; test "$p" = delayed || test "$QJOB_ATTEMPT" = 2'
	assert_success
	assert_equal "$(sort <<<"$output")" $'delayed\nfailing\nfailing'
	assert_spool_empty
}

@test '--drain=all waits for what another qwork runs, --drain does not' {
	start_running x
	drain -- true
	assert_success
	assert_equal "$(job_count cur)" 1
	start qwork --drain=all -- true </dev/null
	waiting=$started
	wait_for 20 watches "$waiting"
	refute gone "$waiting"
	open_gate
	exit_status 20 "$waiting"
	assert_equal "$status" 0
	assert_spool_empty
}

@test 'a paused queue starts nothing, and both drains exit' {
	send x
	send y -d 300ms
	touch "$QSPOOL/default/paused"
	drain -- cat
	assert_success
	assert_output ''
	drain_all -- cat
	assert_success
	assert_output ''
	rm "$QSPOOL/default/paused"
	drain_all -- cat
	assert_equal "$(fold -w 1 <<<"$output" | sort | paste -sd ' ')" 'x y'
}

@test 'a waiting qwork obeys paused, and goes on when it is removed' {
	start_qwork -- sh -c 'cat; echo'
	send before
	wait_for 20 grep -q before "$qwork_out"
	wait_for 20 spool_is_idle
	touch "$QSPOOL/default/paused"
	seq 5 | qsend --lines
	drain -- cat
	assert_equal "$(job_count new)" 5
	rm "$QSPOOL/default/paused"
	wait_for 20 spool_is_idle
	assert_equal "$(sort "$qwork_out" | grep -c '^[1-5]$')" 5
}

@test 'qwork waits for jobs, also in a spool that does not exist yet' {
	start_qwork -q later -- cat
	wait_for 20 test -d "$QSPOOL/later/new"
	send hello -q later
	wait_for 20 grep -q hello "$qwork_out"
	wait_for 20 spool_is_idle later
	refute gone "$qwork"
}

@test '--once runs one job and exits 0, whatever came of it: -1, --once' {
	seq 3 | qsend --lines
	run_qwork --once -- cat
	assert_success
	assert_output 1
	run_qwork -1 -- sh -c 'cat; exit 1'
	assert_success
	assert_output 2
	assert_equal "$(job_count new) $(job_count delay)" '1 1'
	run_qwork --once -- sh -c 'exit 65'
	assert_success
	assert_equal "$(job_count buried)" 1
}

@test '--once waits for a job' {
	start_qwork --once -- cat
	wait_for 20 test -d "$QSPOOL/default/new"
	wait_for 20 watches "$qwork"
	refute gone "$qwork"
	seq 2 | qsend --lines
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	assert_equal "$(cat "$qwork_out")" 1
	assert_equal "$(job_count new)" 1
}

@test '--once --drain does not wait' {
	run_qwork --once --drain -- cat
	assert_success
	assert_output ''
}

@test '-j runs so many jobs at once and no more: -j, --jobs' {
	make_gate
	seq 5 | qsend --lines
	start_qwork --jobs 3 -- "$gate"
	wait_for 20 all_at_gate 3
	assert_equal "$(job_count cur) $(job_count new)" '3 2'
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(find "$test_dir" -name 'gate.started.*' | wc -l)" 5
}

@test 'one job at a time is what qwork does unless told otherwise' {
	start_running x
	send y
	drain -q none -- true
	assert_equal "$(job_count cur) $(job_count new)" '1 1'
}

@test 'a sent job starts without a polling interval in between' {
	start_qwork -- sh -c 'echo "$(date +%s%3N)"'
	wait_for 20 test -d "$QSPOOL/default/new"
	wait_for 20 watches "$qwork"
	for n in 1 2 3 4 5 6 7 8 9; do
		send x
		now_ms >>"$test_dir/sent"
		wait_for 20 lines_are "$n" "$qwork_out"
	done
	paste "$test_dir/sent" "$qwork_out" | awk '{ print $2 - $1 }' | sort -n >"$test_dir/waits"
	cat "$test_dir/waits"
	assert [ "$(sed -n 5p "$test_dir/waits")" -lt 250 ]
}

@test 'qwork serves the queue it was given and no other' {
	send a -q one
	send b -q two
	drain -q two -- cat
	assert_output b
	assert_equal "$(job_count new one)" 1
}

@test 'a damaged meta buries its job, which never runs without its options' {
	send x -A 3
	printf 'attempts 5\n' >>"$(sole_job meta)"
	drain -- cat
	assert_success
	assert_output ''
	assert_equal "$(job_count buried)" 1
	assert_regex "$stderr" 'outcome=buried cause="its options are damaged"'
}

@test 'a spool that may not be read exits 77' {
	need_command setpriv
	send x
	chmod 0 "$QSPOOL"
	run_tool powerless timeout 20 qwork --drain -- true
	assert_failure 77
	assert_regex "$stderr" '^qwork: '
}

@test 'a handler that goes away holds the queue, which goes on by itself when it is back' {
	qdel "$(send x)"
	script "$QSPOOL/default/handler" <<<'exec cat'
	start_qwork -q default
	wait_for 20 watches "$qwork"
	mv "$QSPOOL/default/handler" "$test_dir/handler"
	send x$'\n'
	wait_for 20 grep -q 'outcome=held .*handler=default/handler' "$qwork_log"
	mv "$test_dir/handler" "$QSPOOL/default/handler"
	wait_for 20 grep -qx x "$qwork_out"
	wait_for 20 spool_is_idle
}
