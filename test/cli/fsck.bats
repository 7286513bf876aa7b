#!/usr/bin/env bats
# qfsck: a sound spool is sound, each fault is named, nothing in motion is one.

load helper

@test 'qfsck: common options' {
	assert_common_options qfsck
	assert_usage qfsck argument
}

@test 'no spool and no queue' {
	run_tool qfsck
	assert_failure 66
	send x
	run_tool qfsck -q nowhere
	assert_failure 66
	assert_regex "$stderr" 'nowhere'
}

@test 'a sound spool' {
	send x
	send x -A 3 -q other
	send x --delay 1h
	send x --no-sync
	run_tool qfsck -v
	assert_success
	assert_output '4 jobs, 0 faults, 0 pending, 0 repaired'
	run_tool qfsck -q other -v
	assert_output '1 jobs, 0 faults, 0 pending, 0 repaired'
}
