#!/usr/bin/env bats
# Tools that act on a job while it moves, or while its handler hides.

load helper

@test 'qstat and qcat find a job that changes its state all the time' {
	local -i i
	id=$(send payload)
	start_qwork -A 999999 -b 0s -- false
	for ((i = 0; i < 100; i++)); do
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
