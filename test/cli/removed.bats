#!/usr/bin/env bats
# The queue or a directory of it goes away while a qwork serves it, or somebody has put
# a file where a job is to go.

load helper

@test 'a queue that is removed: its qwork exits 75 and says so' {
	send x
	start_qwork -- cat
	wait_for 20 grep -q x "$qwork_out"
	wait_for 20 spool_is_idle
	rm -r "$QSPOOL/default"
	exit_status 20 "$qwork"
	assert_equal "$status" 75
	run_tool tail -n 1 "$qwork_log"
	assert_output --regexp '^qwork: .*removed or moved'
	# Nobody serves the ghost of it: who starts anew gets what was sent meanwhile.
	send y
	drain -- cat
	assert_output y
}

@test 'a queue that is renamed: its qwork exits 75' {
	qdel "$(send x)"
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	mv "$QSPOOL/default" "$QSPOOL/other"
	exit_status 20 "$qwork"
	assert_equal "$status" 75
}

@test 'a queue that is removed and made again at once: its qwork does not serve the old one' {
	send x
	start_qwork --scan 1s -- cat
	wait_for 20 grep -q x "$qwork_out"
	wait_for 20 spool_is_idle
	rm -r "$QSPOOL/default"
	id=$(send y)
	exit_status 20 "$qwork"
	assert_equal "$status" 75
	assert_job "$id" new
}

@test 'any one directory that is removed ends an idle qwork with 75' {
	for dir in new cur delay buried meta log; do
		qdel "$(send x -q "$dir")"
		start_qwork -q "$dir" -- cat
		wait_for 20 watches "$qwork"
		rmdir "$QSPOOL/$dir/$dir"
		exit_status 20 "$qwork"
		assert_equal "$dir: $status" "$dir: 75"
	done
}

@test 'the directory that a running job is to go to is removed: qwork ends, its history is short' {
	for dir in delay buried; do
		rm -f "$test_dir"/gate.*
		make_gate
		attempts=2
		[[ $dir == delay ]] || attempts=1
		id=$(send x -q "$dir" -A "$attempts")
		start_qwork -q "$dir" -- "$gate" 1
		wait_for 20 at_gate "$id"
		rm -r "${QSPOOL:?}/$dir/$dir"
		open_gate
		exit_status 30 "$qwork"
		assert_equal "$dir: $status" "$dir: 75"
		assert [ "$(wc -l <"$qwork_log")" -lt 10 ]
		assert_job "$id" cur "$dir"
	done
}

@test 'the name in buried/ is taken: the job is buried beside it, and neither is lost' {
	make_gate
	id=$(send x -A 1)
	start_qwork -- "$gate" 1
	wait_for 20 at_gate "$id"
	for marks in l l,m m; do echo planted >"$QSPOOL/default/buried/50.$id.1,$marks"; done
	open_gate
	wait_for 20 jobs_are 4 buried
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	assert_equal "$(grep -lx planted "$QSPOOL"/default/buried/* | wc -l)" 3
	assert_equal "$(grep -Lx planted "$QSPOOL"/default/buried/* | xargs cat)" x
}

@test 'the name in buried/ of a job that expired is taken: it is buried beside it, --drain ends' {
	id=$(send x -T 1ms)
	echo planted | tee "$QSPOOL/default/buried/50.$id.0,l,m" >"$QSPOOL/default/buried/50.$id.0,m"
	drain -- echo ran
	assert_success
	assert_output ''
	assert jobs_are 3 buried
	assert jobs_are 0 new
	assert_equal "$(grep -lx planted "$QSPOOL"/default/buried/* | wc -l)" 2
}

@test 'the name in cur/ is taken by a job that is worked on: the other one waits, the rest goes on' {
	id=$(send x)
	taken=$QSPOOL/default/cur/50.$id.1
	echo planted >"$taken"
	exec 7<>"$taken"
	flock 7
	send other
	start_qwork -b 1ms -- sh -c 'cat; echo' 7>&-
	wait_for 30 grep -q other "$qwork_out"
	assert_job "$id" new
	assert_file_exist "$taken"
	rm "$taken"
	exec 7>&-
	wait_for 60 grep -qx x "$qwork_out"
	wait_for 20 spool_is_idle
}

# A writer keeps the fifo open, so that whoever writes to it would not fail.
@test 'a fifo in the place of the history neither blocks qwork nor loses the job' {
	id=$(send x -A 1)
	mkfifo "$QSPOOL/default/log/$id"
	exec 7<>"$QSPOOL/default/log/$id"
	drain -- sh -c 'head -c 200000 /dev/zero | tr "\0" x >&2; exit 1' 7>&-
	assert_success
	assert_job "$id" buried
	run_tool timeout 20 qstat "$id"
	assert_success
	run_tool timeout 20 qdel "$id"
	assert_success
	assert jobs_are 0 buried
	exec 7>&-
}
