#!/usr/bin/env bats
# Senders, operators, dependents and qworks that are killed, in any order of events: keys, batches and
# dependencies keep their promises. ORDER_RUNS=10000 is the full size.

# What helper.bash sets and what bats sets.
# shellcheck disable=SC2154
load ../cli/helper

: "${ORDER_RUNS:=100}"

setup() {
	common_setup
	need_command python3
	need_command cc
	need_hooked
	export TMPDIR=$test_dir
	interleave=(python3 -B "${top_srcdir:-$BATS_TEST_DIRNAME/../..}/test/crash/interleave.py" --tools "$QSPOOL_BIN")
}

@test 'no two jobs of a key, none before what it waits for, none left waiting, none lost' {
	run_tool "${interleave[@]}" --rounds "$ORDER_RUNS"
	assert_success
	printf '%s\n' "$output" | sed 's/^/# /' >&3
}
