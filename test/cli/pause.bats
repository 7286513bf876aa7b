#!/usr/bin/env bats
# A paused queue starts nothing, at once, until it is resumed or its time has come.

load helper

setup() {
	common_setup
	paused=$QSPOOL/default/paused
}

in_ms() {
	local at=$(($(now_ms) + $1))
	date -u -d "@$((at / 1000)).$(printf %03d $((at % 1000)))" +%FT%T.%3NZ
}
# over FILE: makes it a pause that was over an hour ago.
over() {
	in_ms -3600000 >"$1.part"
	touch -d '2 hours ago' "$1.part"
	mv "$1.part" "$1"
}
is_paused() { [[ $(qstat -j -q default | jq "$1") == "$2" ]]; }

# What is paused shows when qwork could have started something and did not.
assert_nothing_starts() {
	wait_for 10 after_ms $(($(now_ms) + 300))
	assert_equal "$(job_count new) $(job_count cur)" '1 0'
}

# A qwork that waits; its handler notes when each job started.
start_waiting() {
	qdel "$(send x)"
	start_qwork -- date +%s%3N
	wait_for 20 watches "$qwork"
}
has_started() { lines_are "$1" "$qwork_out"; }

@test 'qpause --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qpause default
	assert_usage qpause
	assert_usage qpause --for 10m
	assert_usage qpause --for 10m --resume default
	for value in '' x -1 0 999ms; do assert_usage qpause --for "$value" default; done
}

@test 'qpause, silently: what runs goes on, nothing else is started; --resume: all runs' {
	start_running x
	run_tool qpause default
	assert_success
	assert_output ''
	assert_equal "$stderr" ''
	assert_equal "$(wc -c <"$paused")" 0
	send y
	refute gone "$handler"
	open_gate
	wait_for 20 jobs_are 0 cur
	assert_nothing_starts
	run_tool qpause --resume default
	assert_success
	assert_output ''
	wait_for 20 spool_is_idle
	assert_not_exists "$paused"
}

@test 'qpause --for: it ends by itself, not before its time, and its file goes' {
	start_waiting
	run_tool qpause -v -f 2s default
	assert_success
	assert_output --regexp "^default: paused until $RFC3339\$"
	until_ms=$(date -d "${output##* }" +%s%3N)
	assert_equal "$(cat "$paused")" "${output##* }"
	send x
	assert_nothing_starts
	wait_for 20 has_started 1
	assert [ "$(cat "$qwork_out")" -ge "$until_ms" ]
	wait_for 20 test ! -e "$paused"
	assert_equal "$(cat "$qwork_log")" ''
}

@test 'a time written by hand, a later one, a sooner one: each is noticed at once' {
	start_waiting
	touch "$paused"
	send x
	assert_nothing_starts
	in_ms 3600000 >"$paused"
	wait_for 20 is_paused '.paused_until != null' true
	in_ms 1000 >"$paused"
	wait_for 20 has_started 1
	wait_for 20 test ! -e "$paused"
}

@test 'times with and without fraction, with a zone, without a newline' {
	qdel "$(send x)"
	for text in 2096-12-01T08:00:00Z 2096-12-01T09:00:00+01:00 2096-12-01T08:00:00.000Z; do
		printf %s "$text" >"$paused"
		assert is_paused .paused_until '"2096-12-01T08:00:00.000Z"'
		echo "$text" >"$paused"
		assert is_paused .paused_until '"2096-12-01T08:00:00.000Z"'
	done
}

@test 'a qwork that starts during a pause waits for its end' {
	send x
	qpause --for 1s default
	start_qwork -- echo ran
	wait_for 20 has_started 1
}

@test 'a drain of a queue that is paused for a time ends at once' {
	send x
	qpause --for 1h default
	drain -- cat
	assert_success
	assert_output ''
	drain_all -- cat
	assert_success
	assert_output ''
	assert jobs_are 1 new
}

@test 'what is no time pauses until it is removed, and qfsck notes it' {
	send x
	for text in later '09:30' '@4000000000' 2096-12-01 '2096-13-01T00:00:00Z' ' 2096-12-01T08:00:00Z' \
		$'2096-12-01T08:00:00Z\nand more' 2020-01-01T00:00:00Z "$(printf 'x%.0s' {1..70000})"; do
		echo "$text" >"$paused"
		assert is_paused '[.paused, .paused_until] | tostring' '"[true,null]"'
		drain -- cat
		assert_success
		assert_output ''
	done
	printf '2096-12-01T08:00:00Z\0' >"$paused"
	assert is_paused .paused_until null
	run_tool qfsck -v
	assert_success
	assert_line --partial 'note pause default/paused: says nothing that can be read'
	echo >"$paused"
	drain -- cat
	assert_output ''
	run_tool qfsck -v
	refute_output --partial paused
}

@test 'a file that cannot be read pauses' {
	send x
	over "$paused"
	chmod 0 "$paused"
	run_tool powerless timeout 60 qwork --drain -- cat
	assert_success
	assert_output ''
	assert_exists "$paused"
}

@test 'a fifo, a symbolic link, a directory of that name pause and block nobody' {
	send x
	over "$test_dir/over"
	for make in 'mkfifo' 'ln -s nowhere' "ln -s $test_dir/over"; do
		$make "$paused"
		drain -- cat
		assert_success
		assert_output ''
		assert is_paused .paused true
		qpause --for 1h default
		assert is_paused '.paused_until != null' true
		rm "$paused"
		$make "$paused"
		qpause --resume default
		assert is_paused .paused false
	done
	mkdir "$paused"
	drain -- cat
	assert_output ''
	for option in --resume --for=1h; do
		run_tool qpause "$option" default
		assert_failure 65
		assert_regex "$stderr" "^qpause: $paused: Is a directory"
	done
	assert jobs_are 0 tmp
}

@test 'a pause that is over does not pause, and a qwork removes it; qfsck knows' {
	send x
	over "$paused"
	assert is_paused .paused false
	run_tool qfsck -v
	assert_success
	assert_line --partial 'pending pause default/paused: is over'
	drain -- cat
	assert_output x
	assert_not_exists "$paused"
}

@test 'touch pauses, though a pause lies there that is over' {
	send x
	over "$paused"
	touch "$paused"
	drain -- cat
	assert_output ''
	assert_exists "$paused"
}

@test 'each pause replaces the one before, and --resume ends any of them' {
	qdel "$(send x)"
	qpause --for 1h default
	qpause default
	assert is_paused '[.paused, .paused_until] | tostring' '"[true,null]"'
	qpause --for 1h default
	assert is_paused '.paused_until != null' true
	qpause --resume default
	assert is_paused .paused false
	touch "$paused"
	qpause -r -q default
	assert is_paused .paused false
}

@test 'qpause -r of what is not paused is no error; -v says what was done' {
	qdel "$(send x)"
	run_tool qpause -r default
	assert_success
	assert_output ''
	assert_equal "$stderr" ''
	run_tool qpause -rv default
	assert_success
	assert_output 'default: was not paused'
	run_tool qpause --verbose default
	assert_output 'default: paused'
	run_tool qpause -rv default
	assert_output 'default: resumed'
}

@test 'several queues, one of which is not there: exit 66, the others are paused' {
	send x -q one
	send x -q two
	for option in --for=1h --resume; do
		run_tool qpause -v "$option" one none ../two two
		assert_failure 66
		assert_equal "${#lines[@]}" 2
		assert_regex "$stderr" "qpause: no queue none in $QSPOOL"
		assert_regex "$stderr" 'qpause: no queue \.\./two in'
	done
	assert_not_exists "$QSPOOL/none"
	run_tool qpause -s "$test_dir/nowhere" one
	assert_failure 66
}

@test 'qpause without permission: exit 77, nothing has happened' {
	qdel "$(send x)"
	touch "$paused"
	chmod 0500 "$QSPOOL/default"
	for option in --for=1h --resume; do
		run_tool powerless qpause "$option" default
		assert_failure 77
		assert_regex "$stderr" "^qpause: $paused: Permission denied"
	done
	assert jobs_are 0 tmp
	assert is_paused .paused_until null
}

@test 'qstat shows a pause, and for how long it lasts still' {
	send x
	qpause --for 10m default
	run_tool qstat
	assert_line --regexp '^default \(paused, (9m5[0-9]s|10m) left\) +1 '
	assert_equal "${#lines[1]}" "${#lines[0]}"
	run_tool qstat --json
	assert_equal "$(json paused)" true
	assert_equal "$(json paused_until)" "$(cat "$paused")"
	qpause default
	run_tool qstat --json
	assert_equal "$(json paused) $(json paused_until)" 'true null'
}

@test 'who holds the lock of the directory keeps a pause from being made, and one from being removed' {
	send x
	over "$paused"
	exec 7<"$QSPOOL/default"
	flock 7
	run_tool qpause default 7<&-
	assert_failure 75
	assert jobs_are 0 tmp
	drain -- cat 7<&-
	assert_output x
	assert_exists "$paused"
	exec 7<&-
	qpause default
}

is_locked() { grep -q "FLOCK .*:$(stat -c %i "$QSPOOL/default") " /proc/locks; }
child_of() { tr -d ' ' <"/proc/$1/task/$1/children"; }
child_watches() { watches "$(child_of "$1")"; }

@test 'a pause that is made while a qwork removes one that is over stays' {
	need_strace
	qdel "$(send x)"
	start strace -f -o /dev/null -e trace=unlinkat -e inject=unlinkat:delay_enter=120000 \
		qwork -- true </dev/null
	wait_for 20 child_watches "$started"
	for _ in 1 2 3; do
		over "$paused"
		wait_for 20 is_locked
		wait_for 20 qpause default
		wait_for 10 after_ms $(($(now_ms) + 200))
		assert_exists "$paused"
	done
	kill -TERM "$(child_of "$started")"
	exit_status 20 "$started"
}
