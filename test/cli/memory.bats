#!/usr/bin/env bats
# What a job may take: one that eats its memory is buried for just that, and no other process suffers. By
# limits of each process; groups.bats has those by control groups.

load helper
load memory

@test 'thumbnails, one picture of which explodes in memory: it is buried for that, all else is done' {
	thumbnails
	start_qwork -j 4 --drain=all
	assert_thumbnails
}

# bats test_tags=address-space
@test 'a job that fails at its limit was out of memory, by its peak or by what it wrote; another one failed' {
	make_handler
	greedy=$(echo greedy | qsend)
	python=$(echo python | qsend)
	fails=$(echo fails | qsend)
	drain -A 1 --memory 64M -- "$handler"
	assert_success
	assert_file_contains "$QSPOOL/default/log/$greedy" 'attempt=1 of=1 cause="out of memory" reason="[^"]*limit of 64M'
	assert_file_contains "$QSPOOL/default/log/$python" 'cause="out of memory" reason="[^"]*limit of 64M'
	assert_file_contains "$QSPOOL/default/log/$fails" 'cause=failed exit=1'
}

# bats test_tags=address-space
@test 'without a limit nothing is said of memory' {
	make_handler
	id=$(echo python | qsend)
	run_tool prlimit --data=60000000 timeout -k 10 60 qwork --drain -A 1 -- "$handler" </dev/null
	assert_success
	assert_file_contains "$QSPOOL/default/log/$id" 'cause=failed exit=1'
}

@test "a job's own limit of memory wins over the command line, that over the settings" {
	make_handler
	echo limit | qsend --memory 128M
	echo limit | qsend
	echo memory 64M >"$QSPOOL/default/settings"
	drain --memory 256M -- "$handler"
	assert_equal "$output" $'128M\n256M'
	echo limit | qsend
	drain -- "$handler"
	assert_equal "$output" 64M
	echo limit | qsend
	echo memory 5 >"$QSPOOL/default/settings"
	drain -- true
	assert_success
	assert_regex "$stderr" 'cause="a line of settings is ignored" line=1 reason="wrong value"'
}

@test 'processor time: a job that spends it has timed out, and one that does not listen is killed' {
	id=$(send x)
	drain -A 1 --cpu 1s -- sh -c 'while :; do :; done'
	assert_job "$id" buried
	assert_file_contains "$QSPOOL/default/log/$id" 'cause="timed out" reason="its processor time was over" signal=24'
	id=$(send x --cpu 1s)
	drain -A 1 -- sh -c 'trap "" XCPU; while :; do :; done'
	assert_file_contains "$QSPOOL/default/log/$id" 'cause="timed out" reason="its processor time was over" signal=9'
}

@test 'niceness, and privileges that are not gained' {
	own=$(nice)
	send x >/dev/null
	drain --nice 3 -- nice
	assert_output "$((own + 3 > 19 ? 19 : own + 3))"
	send x --nice 0 >/dev/null
	drain --nice 3 -- nice
	assert_output "$own"
	send x >/dev/null
	drain --no-new-privs -- grep NoNewPrivs /proc/self/status
	assert_output --regexp '1$'
}

@test 'wrong limits are refused' {
	for option in --memory= --memory=1023K --memory=1.5G --memory=much --cpu=0 --cpu=x --nice=-1 --nice=20; do
		assert_usage qwork "$option" -- true
		assert_usage qsend "$option"
	done
	for names in '' ',' 'A,' 'A B' 'A*B' '-A' 'A=b'; do
		assert_usage qwork --accept-env "$names" -- true
	done
}

@test 'where there is no control group, or there is one, that is found out once, not for each job' {
	need_strace
	seq 5 | qsend --lines >/dev/null
	run -0 --separate-stderr strace -qq -e trace=openat -e signal=none -o "$test_dir/trace" \
		qwork -q default --drain --memory 64M -- true
	assert_spool_empty
	assert_equal "$(grep -c /proc/self/mountinfo "$test_dir/trace")" 1
}
