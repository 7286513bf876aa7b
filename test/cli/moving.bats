#!/usr/bin/env bats
# Tools that act on a job while it moves, or while its handler hides.

load helper

@test 'qstat and qcat find a job that changes its state all the time' {
	local -i i times=100
	# Its history, which qstat shows, grows with each move.
	[[ ! ${QSPOOL_SANITIZED:-} ]] || times=25
	id=$(send payload)
	start_qwork -A 999999 -b 0s -- false
	for ((i = 0; i < times; i++)); do
		qstat "$id" >"$test_dir/told"
		assert_equal "$(head -n 1 "$test_dir/told")" "id: $id"
		assert_equal "$(qcat "$id")" payload
	done
}

@test 'qdel --kill ends a handler that closed or redirected its standard input' {
	for hide in 'exec </dev/null' 'exec <&-'; do
		id=$(send x)
		script "$test_dir/hides" <<-END
			$hide
			echo hidden
			sleep 300
		END
		start_qwork -- "$test_dir/hides"
		wait_for 20 grep -q hidden "$qwork_out"
		run_tool timeout 60 qdel --kill "$id"
		assert_success
		assert_spool_empty
		kill -TERM "$qwork"
		exit_status 20 "$qwork"
	done
}

# stopped_at_first_lock COMMAND...: starts it; it stops holding its first lock. Its
# process is then in $stopped.
stopped_at_first_lock() {
	start strace -o "$test_dir/calls" -e trace=flock -e inject=flock:signal=STOP:when=1 "$@" \
		>"$test_dir/out" 2>"$test_dir/err" </dev/null
	tracer=$started
	wait_for 20 grep -qs 'stopped by SIGSTOP' "$test_dir/calls"
	stopped=$(xargs <"/proc/$tracer/task/$tracer/children")
}

@test 'what ends while --all is at work is no failure of qdel' {
	need_strace
	first=$(send one)
	send two >/dev/null
	stopped_at_first_lock qdel -q default --all --verbose
	run_qwork --once -- true
	assert_success
	assert_job "$first" new
	kill -CONT "$stopped"
	exit_status 20 "$tracer"
	assert_equal "$status" 0
	assert_equal "$(cat "$test_dir/out" "$test_dir/err")" "$first"
	assert_spool_empty
}
