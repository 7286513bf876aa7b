#!/usr/bin/env bats
# Process ids mean nothing across PID namespaces, of which containers each have one.

load helper

setup() {
	common_setup
	need_root
	unshare --pid --fork --mount-proc true 2>/dev/null || skip 'needs PID namespaces'
}

@test 'senders with the same process id create a queue at the same time' {
	local -i i
	mkdir -m 0700 "$QSPOOL"
	for ((i = 0; i < 15; i++)); do
		pids=()
		for _ in 1 2 3; do
			start unshare --pid --fork qsend -q "q$i" </dev/null
			pids+=("$started")
		done >>"$test_dir/ids"
		for pid in "${pids[@]}"; do
			exit_status 30 "$pid"
			assert_equal "$status" 0
		done
		assert jobs_are 3 new "q$i"
	done
	run_tool find "$QSPOOL" -maxdepth 1 -name '.*' -printf '%f\n'
	assert_output ''
}

@test 'the handler of a killed qwork is ended when its time is up' {
	send x -t 1s
	script "$test_dir/inside" <<-'END'
		qwork -- sh -c 'trap "" TERM; echo $$ >>"$0"; exec sleep 300' "$1" &
		until [ -s "$1" ]; do sleep 0.05; done
		kill -KILL $!
		exec qwork --drain=all --scan 500ms -b 1ms -- cat
	END
	run_tool timeout -k 10 90 unshare --pid --fork --kill-child --mount-proc \
		"$test_dir/inside" "$test_dir/handler" </dev/null
	assert_success
	assert_output x
	assert_regex "$stderr" 'cause="worker lost"'
	assert_spool_empty
}
