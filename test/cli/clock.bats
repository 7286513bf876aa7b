#!/usr/bin/env bats
# The clock is set back and forward by a day while jobs wait and run. The machine's own is left
# alone: the tools get one that the test sets (clock.c).

load helper

DAY=86400000

setup_file() {
	command -v cc >/dev/null || return 0
	cc -O1 -shared -fPIC -o "$BATS_FILE_TMPDIR/clock.so" "$BATS_TEST_DIRNAME/clock.c"
}

setup() {
	local tool
	common_setup
	need_command cc
	# The sanitizers' library need not come before a clock.
	export ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0
	set_clock 0
	mkdir "$test_dir/bin"
	# Those that are linked dynamically also where qsend is not.
	for tool in qsend qwork qstat qpause; do
		script "$test_dir/bin/$tool" <<-END
			LD_PRELOAD=$BATS_FILE_TMPDIR/clock.so FAKE_CLOCK=$test_dir/clock exec $QSPOOL_BIN/../test/crash/tools/$tool "\$@"
		END
	done
	PATH=$test_dir/bin:$PATH
}

# set_clock MS: so much ahead of the machine's.
set_clock() {
	echo "$1" >"$test_dir/clock.part"
	mv "$test_dir/clock.part" "$test_dir/clock"
}

# A handler that fails until its attempt number N.
fail_until() {
	handler=$test_dir/handler
	script "$handler" <<-END
		echo "\$QJOB_ATTEMPT" >>'$test_dir/attempts'
		[ "\$QJOB_ATTEMPT" -ge $1 ]
	END
	: >"$test_dir/attempts"
}
attempts_are() { lines_are "$1" "$test_dir/attempts"; }
retry_waits() { attempts_are "$1" && jobs_are 1 delay; }
sleeps() { [[ $(awk '{ sub(/.*\) /, ""); print $1 }' "/proc/$1/stat") == S ]]; }

@test 'the clock that the tools get is the one that the test sets' {
	set_clock -$DAY
	id=$(send x -d 1h)
	due=$(due_in "$(job_path "$id" delay)")
	assert [ "$due" -le $(($(now_ms) - DAY + 3600000)) ]
	assert [ "$due" -gt $(($(now_ms) - DAY)) ]
}

# Far less than the minute after which a scan would find it anyway.
@test 'set back by a day: a retry that waits does not wait longer than its cap' {
	fail_until 2
	start_qwork -b 4s..4s -- "$handler"
	send x
	wait_for 20 retry_waits 1
	set_clock -$DAY
	wait_for 30 attempts_are 2
	wait_for 20 assert_spool_empty
}

@test 'set back by a day: the new time of a retry is in its name, for every qwork' {
	fail_until 3
	id=$(send x)
	start_qwork -b 1h..1h -- "$handler"
	wait_for 20 retry_waits 1
	set_clock -$DAY
	wait_for 30 retry_is_due_by $(($(now_ms) - DAY + 3700000))
	assert_equal "$(attempts_in "$(sole_job delay)")" 1
	attempts_are 1
}
retry_is_due_by() { (($(due_in "$(sole_job delay)") <= $1)); }

@test 'a retry that was reckoned while the clock was a day ahead waits for its cap only' {
	fail_until 2
	set_clock $DAY
	start_qwork -b 4s..4s -- "$handler"
	wait_for 20 watches "$qwork" # it takes the draft of a queue for a day old
	send x
	wait_for 20 retry_waits 1
	set_clock 0
	wait_for 30 attempts_are 2
	wait_for 20 assert_spool_empty
}

@test 'set forward by a day: a retry that waits is due, and its attempts count as ever' {
	fail_until 9
	id=$(send x)
	start_qwork -A 3 -b 1h..1h -- "$handler"
	wait_for 20 retry_waits 1
	set_clock $DAY
	wait_for 30 retry_waits 2
	set_clock $((2 * DAY))
	wait_for 30 job_is "$id" buried
	assert_equal "$(cat "$test_dir/attempts")" $'1\n2\n3'
}

@test '--drain=all: a retry of which the clock was set back in between, also without events' {
	handler=$test_dir/handler
	script "$handler" <<-END
		[ "\$QJOB_ATTEMPT" -lt 3 ] || exit 0
		(echo -\$((QJOB_ATTEMPT * $DAY)) >'$test_dir/part'; mv '$test_dir/part' '$test_dir/clock')
		exit 1
	END
	send x
	drain_all -b 1s..1s -- "$handler"
	assert_success
	assert_spool_empty
}

@test 'set forward by a day: a delayed job is due' {
	start_qwork -- cat
	send x -d 1h
	wait_for 20 sleeps "$qwork"
	assert jobs_are 1 delay
	set_clock $DAY
	wait_for 30 spool_is_idle
	assert_equal "$(cat "$qwork_out")" x
}

@test 'set forward by a day: a pause is over' {
	qdel "$(send x)"
	qpause --for 1h default
	start_qwork -- cat
	send x
	wait_for 20 watches "$qwork"
	wait_for 20 sleeps "$qwork"
	wait_for 10 after_ms $(($(now_ms) + 300))
	assert jobs_are 1 new
	set_clock $DAY
	wait_for 30 spool_is_idle
	assert_equal "$(cat "$qwork_out")" x
	assert_not_exists "$QSPOOL/default/paused"
}

@test 'set back by a day: a pause lasts until the time that it names' {
	qdel "$(send x)"
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	qpause --for 1s default
	set_clock -$DAY
	send x
	wait_for 10 after_ms $(($(now_ms) + 1500))
	assert jobs_are 1 new
	set_clock 0
	wait_for 30 spool_is_idle
	assert_equal "$(cat "$qwork_out")" x
}

@test 'set back by a day: a delayed job waits for the time that it was given' {
	id=$(send x -d 1h)
	path=$(job_path "$id" delay)
	start_qwork --scan 100ms -b 1s..1s -- cat
	wait_for 20 watches "$qwork"
	set_clock -$DAY
	wait_for 10 after_ms $(($(now_ms) + 1000))
	assert_file_exists "$path"
	set_clock $DAY
	wait_for 30 spool_is_idle
	assert_equal "$(cat "$qwork_out")" x
}

@test 'the ids of one sender increase and its jobs run in order though the clock is set back' {
	mkfifo "$test_dir/lines"
	exec 7<>"$test_dir/lines" # without waiting for a reader
	start qsend --lines <"$test_dir/lines" >"$test_dir/ids" 7>&-
	echo 1 >&7
	wait_for 20 lines_are 1 "$test_dir/ids"
	set_clock -$DAY
	echo 2 >&7
	wait_for 20 lines_are 2 "$test_dir/ids"
	set_clock $DAY
	echo 3 >&7
	exec 7>&-
	exit_status 20 "$started"
	assert_equal "$status" 0
	run sort -uc "$test_dir/ids"
	assert_success
	drain -- cat
	assert_output $'1\n2\n3'
}

@test 'a sender whose clock is a day behind: its jobs run' {
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	set_clock -$DAY
	echo 1 | qsend
	wait_for 20 lines_are 1 "$qwork_out"
	set_clock $DAY
	echo 2 | qsend
	wait_for 20 lines_are 2 "$qwork_out"
	wait_for 20 assert_spool_empty
}

@test 'a file that was put into new/ is taken though the clock is a day behind, or ahead' {
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	for ahead in -$DAY $DAY; do
		set_clock "$ahead"
		echo "$ahead" >"$QSPOOL/default/new/file"
		wait_for 30 grep -qx -e "$ahead" "$qwork_out"
	done
	wait_for 20 assert_spool_empty
}

@test 'a job that was locked when the clock was set back runs soon after it is not' {
	id=$(send x)
	exec 7<"$(job_path "$id" new)"
	flock 7
	start_qwork -- cat 7<&-
	wait_for 20 watches "$qwork"
	wait_for 20 sleeps "$qwork"
	set_clock -$DAY
	wait_for 10 after_ms $(($(now_ms) + 300))
	exec 7<&-
	wait_for 45 spool_is_idle
	assert_equal "$(cat "$qwork_out")" x
}

@test 'set forward by a day: a handler is not timed out, and its timeout still ends it' {
	make_gate
	id=$(send x)
	start_qwork -v -t 1h -- "$gate"
	wait_for 20 at_gate "$id"
	set_clock $DAY
	wait_for 10 after_ms $(($(now_ms) + 1000))
	open_gate
	wait_for 20 grep -q "job=$id .*outcome=finished" "$qwork_log"
	shut_gate
	id=$(send y -t 2s)
	wait_for 20 at_gate "$id"
	set_clock -$DAY
	wait_for 30 grep -q "job=$id .*cause=\"timed out\"" "$qwork_log"
}

@test 'a qwork whose clock is a day ahead sweeps nothing that is being sent' {
	mkfifo "$test_dir/payload"
	exec 7<>"$test_dir/payload" # without waiting for a reader
	start qsend -A 3 <"$test_dir/payload" >"$test_dir/ids" 7>&-
	sender=$started
	printf x >&7
	wait_for 20 jobs_are 1 tmp
	set_clock $DAY
	start_qwork -- cat 7>&-
	wait_for 20 watches "$qwork"
	wait_for 20 sleeps "$qwork"
	exec 7>&-
	exit_status 20 "$sender"
	assert_equal "$status" 0
	wait_for 20 spool_is_idle
	assert_equal "$(cat "$qwork_out")" x
}

@test 'qstat shows jobs of the future' {
	set_clock $DAY
	send x
	qsend -d 1h <<<y
	set_clock 0
	run_tool qstat
	assert_success
	refute_output --regexp ' -[0-9]'
	run_tool qstat --json
	assert_success
	refute_output --regexp ':-[0-9]'
}
