#!/usr/bin/env bats
# Senders, workers and operators, and a nemesis that kills them: each job is accounted for.
# `make soak` runs it for ten minutes.

# What helper.bash sets and what bats sets.
# shellcheck disable=SC2154
load ../cli/helper

: "${SOAK_SECONDS:=5}"

setup() {
	common_setup
	need_command python3
	export SOAK_HANDLER=$QSPOOL_BIN/../test/crash/soak_handler
	export TMPDIR=$test_dir # for its spool, so that the teardown would find what it left
	soak=(python3 -B "${top_srcdir:-$BATS_TEST_DIRNAME/../..}/test/crash/soak.py")
}

# Its processes, other than itself, know its directory from their environment.
soak_processes() { processes_with SOAK | grep .; }

handlers_have_run() { (($(cat "$test_dir"/qspool-soak.*/handlers 2>/dev/null | wc -l) > 50)); }

@test 'under fire no job is lost, none runs twice at once, nothing leaks' {
	run_tool "${soak[@]}" --duration "$SOAK_SECONDS"
	assert_success
	assert_line 'soak: lost 0, overlapping 0, garbled 0, other violations 0'
	printf '%s\n' "$output" | sed 's/^/# /' >&3
	refute soak_processes
}

@test 'faults that are planted are found' {
	run_tool "${soak[@]}" --duration 5 --plant remove,forget,copy,lie,garble,budget,early
	assert_failure 1
	assert_line --regexp '^lost: 3 ' # a garbled job is lost, too
	assert_line --regexp '^overlapping: 1 '
	assert_line --regexp '^garbled: 1 '
	assert_line --regexp '^risen: 1 '
	assert_line --regexp '^budget: [12] '
	assert_line --regexp '^early: 1 '
	refute soak_processes
}

@test 'faults in the order among jobs that are planted are found' {
	run_tool "${soak[@]}" --duration 5 \
		--plant rekey,pair,seize,hasten,strand,orphan,join,crowd,rush,hurry,mislead,unkeep,scribble
	assert_failure 1
	assert_line --regexp '^keyed: 2 '
	assert_line --regexp '^paired: 1 '
	assert_line --regexp '^held: [12] ' # also when all is over
	assert_line --regexp '^ordered: [12] ' # also what joined
	assert_line --regexp '^stuck: 1 '
	assert_line --regexp '^orphaned: 1 '
	assert_line --regexp '^joined: 1 '
	assert_line --regexp '^exceeded: 1 '
	assert_line --regexp '^rushed: 1 '
	assert_line --regexp '^early: 1 '
	assert_line --regexp '^misled: 1 '
	assert_line --regexp '^unkept: 2 '
	refute soak_processes
}

@test 'told to end, it leaves no process' {
	start "${soak[@]}" >"$test_dir/out"
	wait_for 60 handlers_have_run
	kill -TERM "$started"
	exit_status 60 "$started"
	assert_equal "$status" 1
	refute soak_processes
}
