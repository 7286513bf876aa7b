#!/usr/bin/env bats
# From failure to burial: how long a job waits, when it is buried, and what its log
# keeps.

load helper

# Makes the only delayed job due at once, as a person may.
hasten() { mv "$(sole_job delay)" "$QSPOOL/default/new/"; }

# fails_and_waits FROM TO OPTION...: one attempt fails, and its retry is due between
# FROM and TO ms after it.
fails_and_waits() {
	local before after due
	before=$(now_ms)
	drain "${@:3}" -- false
	after=$(now_ms)
	assert_success
	due=$(due_in "$(sole_job delay)")
	assert [ "$due" -ge $((before + $1)) ]
	assert [ "$due" -le $((after + $2)) ]
}

@test 'waits double from the base, with jitter down to half, up to the cap' {
	send x
	fails_and_waits 50000 100000 -b 100s..500s
	hasten
	fails_and_waits 100000 200000 -b 100s..500s
	hasten
	fails_and_waits 200000 400000 -b 100s..500s
	hasten
	fails_and_waits 250000 500000 -b 100s..500s
	hasten
	fails_and_waits 250000 500000 -b 100s..500s
	assert_equal "$(attempts_in "$(sole_job delay)")" 5
}

@test 'waits of many jobs differ: they do not come back all at once' {
	seq 16 | qsend --lines
	drain -j 4 -b 100s -- false
	assert_equal "$(job_count delay)" 16
	run awk '{ print substr($0, 1, 15) }' < <(ls "$QSPOOL/default/delay")
	assert [ "$(sort -u <<<"$output" | wc -l)" -ge 8 ]
}

@test 'unless told otherwise the first wait is 5 s at most and the longest an hour' {
	send x
	fails_and_waits 2500 5000
	path=$(sole_job delay)
	name=${path##*/}
	mv "$path" "$QSPOOL/default/new/$(cut -d. -f3-4 <<<"$name").7000"
	fails_and_waits 1800000 3600000 -A 10000
}

@test "the job's own backoff goes before qwork's" {
	send x -b 1000s
	fails_and_waits 500000 1000000 -b 1s
}

@test 'a job is buried after its last attempt, and each attempt is counted' {
	id=$(send x)
	drain_all -A 3 -b 1ms..2ms -- sh -c 'echo "$QJOB_ATTEMPT of $QJOB_ATTEMPTS"; exit 1'
	assert_success
	assert_output $'1 of 3\n2 of 3\n3 of 3'
	assert_regex "$(sole_job buried)" "/50\.$id\.3(,|\$)"
	assert_equal "$(grep -c outcome=retry <<<"$stderr")" 2
	assert_regex "$stderr" 'attempt=3 of=3 outcome=buried cause=failed exit=1 '
}

@test 'unless told otherwise a job has ten attempts' {
	send x
	drain_all -b 1ms -- sh -c 'echo "$QJOB_ATTEMPT"; exit 1'
	assert_output "$(seq 10)"
	assert_equal "$(attempts_in "$(sole_job buried)")" 10
}

@test "the job's own attempts go before qwork's" {
	send x -A 2
	drain_all -A 5 -b 1ms -- sh -c 'echo x; exit 1'
	assert_output $'x\nx'
}

@test 'a job with one attempt is buried by its first failure' {
	send x
	drain -A 1 -- false
	assert_success
	assert_equal "$(job_count buried) $(job_count delay)" '1 0'
}

@test 'a retry keeps its id, its priority and its meta' {
	id=$(send x -p 7 -- argument)
	drain_all -b 1ms -- sh -c 'echo "$QJOB_ID $QJOB_PRIORITY $1"; test $QJOB_ATTEMPT = 2' handler
	priority=$(cut -d' ' -f2 <<<"${lines[0]}")
	assert_equal "$((10#$priority))" 7
	assert_output "$id $priority argument"$'\n'"$id $priority argument"
	assert_spool_empty
}

@test 'a timeout is logged, counted and retried' {
	send x -t 200ms
	drain -b 100s -- sleep 300
	assert_success
	assert_equal "$(attempts_in "$(sole_job delay)")" 1
	assert_regex "$stderr" 'outcome=retry cause="timed out" signal=15 '
	assert_file_contains "$(sole_job log)" 'cause="timed out"'
}

@test 'the timeout of the command line counts for jobs without one: -t, --timeout' {
	send x
	send y -t 300s
	drain -A 1 -t 200ms -j 2 -- sh -c 'test "$(cat)" = y || exec sleep 300'
	assert_success
	assert_equal "$(payloads buried)" x
	send x -q long
	drain -q long -A 1 --timeout 200ms -- sleep 300
	assert_equal "$(job_count buried long)" 1
}

@test 'the log of a job tells of each failed attempt, and the name that there is one' {
	send x
	drain_all -A 2 -b 1ms -- sh -c 'echo "attempt $QJOB_ATTEMPT broke" >&2; exit 7'
	assert_regex "$(sole_job buried)" '\.2,l$'
	run cat "$(sole_job log)"
	assert_line --index 0 --regexp "^$RFC3339 attempt=1 of=2 cause=failed exit=7 seconds=[0-9.]+ user=[0-9.]+ sys=[0-9.]+ maxrss=[0-9]+[KMG]? host=.+"
	assert_line --index 1 '  | attempt 1 broke'
	assert_line --index 2 --regexp "^$RFC3339 attempt=2 of=2 cause=failed exit=7 "
	assert_line --index 3 '  | attempt 2 broke'
}

@test 'the log is named by the id of the job' {
	id=$(send x)
	drain -A 1 -- false
	assert_file_exists "$QSPOOL/default/log/$id"
}

@test 'the log tells of a signal' {
	send x
	drain -A 1 -- sh -c 'kill -9 $$'
	assert_file_contains "$(sole_job log)" 'cause=failed signal=9'
}

@test 'what a successful attempt says is passed through and not kept' {
	send x
	drain -- sh -c 'echo all is well >&2'
	assert_regex "$stderr" 'all is well'
	assert_spool_empty
}

@test 'control bytes that a handler prints are made visible in the log' {
	send x
	drain -A 1 -- sh -c 'printf "a\033[31mred\a\r\001\n" >&2; exit 1'
	refute_control_bytes <"$(sole_job log)"
	assert_file_contains "$(sole_job log)" red
}

@test 'a handler cannot forge a line of the log' {
	send x
	drain -A 1 -- sh -c 'echo "2026-01-01T00:00:00.000Z attempt=9 of=9" >&2; exit 1'
	run grep -c '^[0-9]' "$(sole_job log)"
	assert_output 1
}

@test 'the last line is kept though it has no newline' {
	send x
	drain_all -A 2 -b 1ms -- sh -c 'printf "no newline" >&2; exit 1'
	run grep -c '^  | no newline$' "$(sole_job log)"
	assert_output 2
}

@test 'of each attempt the last 4 KiB are kept' {
	send x
	drain -A 1 -- sh -c 'seq 100000 >&2; exit 1'
	run cat "$(sole_job log)"
	assert_line '  | 100000'
	assert_line '  | 99800'
	refute_line '  | 90000'
	kept=$(grep '^  | ' "$(sole_job log)" | sed 's/^  | //' | wc -c)
	assert [ "$kept" -le 4096 ]
	assert [ "$kept" -ge 3000 ]
}

@test 'a log keeps what handlers said up to 64 KiB, and tells of each attempt' {
	send x
	drain_all -A 40 -b 0s..0s -- sh -c 'seq 100000 100999 >&2; echo "attempt $QJOB_ATTEMPT" >&2; exit 1'
	log=$(sole_job log)
	assert [ "$(stat -c %s "$log")" -le 80000 ]
	assert_equal "$(grep -c '^[0-9].* attempt=[0-9]* of=40 ' "$log")" 40
}

@test 'what is said just before, and by who has closed standard error long before its end, is kept' {
	for early in 0 0.2; do
		id=$(send x)
		drain -A 1 -- sh -c "echo last words >&2; exec 2>&-; sleep $early; exit 1"
		assert_file_contains "$QSPOOL/default/log/$id" '^  | last words$'
	done
}

@test 'a handler may do as it likes with its standard error: the next one has another' {
	need_command setpriv
	seq 3 | qsend --lines >"$test_dir/ids"
	run_tool powerless qwork --drain -A 1 -- sh -c 'chmod 0 /proc/self/fd/2; echo "word $QJOB_ID" >&2; exit 1'
	assert_success
	while read -r id; do
		assert_equal "$(grep '^  | ' "$QSPOOL/default/log/$id")" "  | word $id"
		assert_job "$id" buried
	done <"$test_dir/ids"
}

@test 'what a process says that a handler left behind is in no later post-mortem' {
	script "$test_dir/handler" <<-END
		read -r what
		if [ "\$what" = first ]; then
			(timeout 60 sh -c 'until [ -e $test_dir/go ]; do sleep 0.02; done'; trap "" PIPE; echo ghost; : >$test_dir/gone) >&2 2>/dev/null &
		else
			: >$test_dir/go
			timeout 60 sh -c 'until [ -e $test_dir/gone ]; do sleep 0.02; done'
			echo own >&2
		fi
		exit 1
	END
	printf first | qsend >/dev/null
	second=$(printf second | qsend)
	drain -A 1 -- "$test_dir/handler"
	assert_equal "$(grep '^  | ' "$QSPOOL/default/log/$second")" '  | own'
}

@test 'a handler that never stops talking does not make qwork grow' {
	send x
	drain -A 1 -- sh -c 'yes "a rather long line of no use to anyone" | head -c 20M >&2; exit 1'
	assert_success
	assert [ "$(stat -c %s "$(sole_job log)")" -le 8192 ]
}

@test 'a retry that waits longer than its cap, since the clock was set back, is brought nearer' {
	id=$(send x)
	drain -b 1h..1h -- false
	mv "$(job_path "$id" delay)" "$QSPOOL/default/delay/20991231T235959.000Z.50.$id.1,l"
	drain_all -b 10ms..1s -- true
	assert_success
	assert_spool_empty
}

@test 'a job that was sent for much later than the cap is left alone' {
	id=$(send x -a 2099-12-31T23:59:59Z)
	drain -b 10ms..1s -- true
	assert_equal "$(job_path "$id" delay)" "$QSPOOL/default/delay/20991231T235959.000Z.50.$id.0"
}
