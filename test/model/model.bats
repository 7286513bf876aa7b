#!/usr/bin/env bats
# The models of the protocol: two of them hold, and the runner sees what is wrong. `make model`
# makes all of them.

load ../cli/helper

models() { run_tool timeout -k 10 500 "$@"; }
# copied FILE...: a copy of the runner, and of these, of which a test may break something.
copied() {
	mkdir "$test_dir/model"
	cp "$BATS_TEST_DIRNAME/run" "$BATS_TEST_DIRNAME/spool.pml" "${@/#/$BATS_TEST_DIRNAME/}" "$test_dir/model"
}

@test 'a claim and a drain keep their promises, and break one without any of their rules' {
	need_command spin
	models "$BATS_TEST_DIRNAME/run" claim drain
	assert_success
	assert_line --regexp '^claim +all rules .* holds$'
	assert_line --regexp '^claim +without LEASE .* broken$'
	assert_line --regexp '^drain +without DRAIN .* broken$'
}

@test 'a promise that does not hold is an error, with the steps that break it' {
	need_command spin
	copied drain.pml
	sed -i 's/#ifndef NO_DRAIN/#ifdef NO_DRAIN/' "$test_dir/model/drain.pml"
	models "$test_dir/model/run" drain
	assert_failure
	assert_line --regexp '^drain +all rules .* FAILED: broken, expected: holds$'
	assert_line --regexp '\(drainer:1\).*assert'
	assert_line --regexp '^drain +without DRAIN .* FAILED: holds, expected: broken$'
}

@test 'a model that spin does not understand is an error' {
	need_command spin
	copied drain.pml
	echo 'proctype {' >>"$test_dir/model/drain.pml"
	models "$test_dir/model/run" drain
	assert_failure
	assert_line --regexp '^drain +all rules .* FAILED: spin does not understand it'
}
