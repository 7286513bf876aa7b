#!/usr/bin/env bats
# Jobs that are kept when they have finished, with what their handlers wrote: qsend --keep, done/ and out/.

load helper

# The path of the only file in DIR of the queue "default".
sole_file() {
	local -a paths=("$QSPOOL/default/$1"/*)
	[[ ${#paths[@]} == 1 && -e ${paths[0]} ]] && echo "${paths[0]}"
}

# kept PAYLOAD HANDLER [OPTION...]: the id of a job that HANDLER, a shell script, has finished.
kept() {
	id=$(send "$1" --keep 1h "${@:3}")
	qwork --drain -- sh -c "$2" >"$test_dir/qwork.out" 2>"$test_dir/qwork.err"
	assert_job "$id" 'done'
}

@test 'a job to be kept is in done/ when it has finished, with its payload, until it is time' {
	before=$(now_ms)
	kept payload cat
	assert_equal "$(cat "$(sole_job 'done')")" payload
	due=$(due_in "$(sole_job 'done')")
	assert [ "$due" -ge $((before + 3600000)) ]
	assert [ "$due" -le $(($(now_ms) + 3600000)) ]
	run_tool qcat "$id"
	assert_success
	assert_output payload
}

@test 'what its handler writes to standard output is kept byte for byte, and does not go where that of qwork goes' {
	head -c 200000 /dev/urandom >"$test_dir/payload"
	id=$(qsend --keep 1h <"$test_dir/payload")
	drain -- cat
	assert_success
	assert_output ''
	qcat --output "$id" >"$test_dir/out"
	assert_files_equal "$test_dir/payload" "$test_dir/out"
	qcat -o "$id" >"$test_dir/out"
	assert_files_equal "$test_dir/payload" "$test_dir/out"
}

@test 'other jobs write where qwork does, and leave nothing' {
	send plain
	drain -- sh -c 'cat; echo out'
	assert_output plainout
	assert_spool_empty
	assert_not_exists "$QSPOOL/default/done"
	assert_not_exists "$QSPOOL/default/out"
}

@test 'standard error goes to that of qwork, and its end into the history' {
	kept x 'echo out; echo err >&2'
	assert_equal "$(cat "$test_dir/qwork.out")" ''
	assert_file_contains "$test_dir/qwork.err" '^err$'
	run_tool qstat "$id"
	assert_line --regexp 'cause=finished exit=0'
	assert_line --regexp '\| err$'
}

@test 'an attempt begins with an empty output, and what one before it left behind does not get into it' {
	id=$(send x --keep 1h -b 1ms..1ms)
	script "$test_dir/handler" <<-END
		if [ \$QJOB_ATTEMPT = 1 ]; then
			echo first, and longer
			(until [ -e '$test_dir/go' ]; do sleep 0.02; done; echo late; : >'$test_dir/gone') 2>/dev/null </dev/null &
			exit 1
		fi
		echo second
		: >'$test_dir/go'
		until [ -e '$test_dir/gone' ]; do sleep 0.02; done
	END
	drain_all -- "$test_dir/handler"
	assert_success
	assert_job "$id" 'done'
	run_tool qcat -o "$id"
	assert_output second
}

@test 'a buried job has the output of its last attempt' {
	id=$(send x --keep 1h -A 1)
	drain -- sh -c 'echo no luck; exit 3'
	assert_job "$id" buried
	run_tool qcat -o "$id"
	assert_output 'no luck'
}

@test 'of a running job there is what it has written so far' {
	make_gate
	id=$(send x --keep 1h)
	start_qwork -- sh -c "echo begun; exec '$gate'"
	wait_for 60 at_gate "$id"
	run_tool qcat -o "$id"
	assert_output begun
	open_gate
	wait_for 60 job_is "$id" 'done'
}

@test 'a job without output to be kept: qcat -o exits 66' {
	id=$(send x)
	run_tool qcat -o "$id"
	assert_failure 66
	assert_output ''
	id=$(send x --keep 1h)
	run_tool qcat -o "$id"
	assert_failure 66
	assert_regex "$stderr" "^qcat: job .*$id.* has no output: "
}

@test 'once its time is over, a qwork removes the job and all that belongs to it' {
	id=$(send x --keep 10ms)
	drain -- echo out
	assert_success
	assert_spool_is_swept() { drain -- true && jobs_are 0 'done'; }
	wait_for 60 assert_spool_is_swept
	assert_spool_empty
	jobs_are 0 out
}

@test 'a qwork that runs removes it, too, also if another one has kept it' {
	qdel "$(send x)"
	start_qwork --scan 1s -- cat
	wait_for 60 watches "$qwork"
	echo x | qsend --keep 1s -q default --delay 1h >"$test_dir/id"
	touch "$QSPOOL/default/paused"
	qkick -d "$(<"$test_dir/id")"
	mkdir "$QSPOOL/default/done"
	mv "$(sole_job new)" "$QSPOOL/default/done/$(date -u +%Y%m%dT%H%M%S.000Z).50.$(<"$test_dir/id").1,m"
	wait_for 60 jobs_are 0 'done'
	assert_equal "$(job_count meta)" 0
}

@test 'before its time it stays' {
	kept x cat
	drain -- true
	assert_job "$id" 'done'
	assert_equal "$(basename "$(sole_file out)")" "$id"
	assert_equal "$(basename "$(sole_file meta)")" "$id"
}

@test 'qdel deletes it: by its id, or with --state finished, but not with --all' {
	kept x cat
	run_tool qdel -q default --all
	assert_success
	assert_job "$id" 'done'
	qdel "$id"
	assert_spool_empty
	jobs_are 0 'done'
	jobs_are 0 out
	kept y cat
	run_tool qdel -v -q default --state finished
	assert_success
	assert_output "$id"
	jobs_are 0 'done'
	jobs_are 0 out
}

@test 'qkick and qbury refuse it' {
	kept x cat
	for tool in qkick qbury; do
		run_tool "$tool" "$id"
		assert_failure 65
		assert_regex "$stderr" "^$tool: job $id is finished, "
		assert_job "$id" 'done'
	done
	assert_equal "$(grep -c -e kicked -e buried "$QSPOOL/default/log/$id")" 0
	run_tool qbury -v --all
	assert_output ''
	assert_job "$id" 'done'
}

@test 'qstat counts, lists and describes it' {
	send plain -q other
	run_tool qstat
	refute_output --partial FINISHED
	kept x cat
	run_tool qstat
	assert_equal "$(tr -s ' ' <<<"${lines[0]}" | sed 's/ $//')" 'QUEUE READY RUNNING DELAYED BURIED FINISHED OLDEST NEXT'
	assert_regex "${lines[1]}" '^default +0 +0 +0 +0 +1 '
	run_tool qstat --json -q default
	assert_equal "$(json finished) $(json waiting)" '1 0'
	run_tool qstat default
	assert_line --regexp "^finished +50 +$id +1 "
	run_tool qstat "$id"
	assert_line 'state: finished'
	assert_line 'keep: 1h'
	assert_line --regexp "^kept-until: $RFC3339\$"
	run_tool qstat --json "$id"
	assert_equal "$(json state) $(json keep_seconds) $(json due)" 'finished 3600 null'
	assert_regex "$(json kept_until)" "^$RFC3339\$"
}

@test '--keep wants a duration, and more than none' {
	assert_usage qsend --keep
	assert_usage qsend --keep soon
	assert_usage qsend --keep 0
}

@test 'without a place for the output nothing is lost: the queue is held, the attempt not spent' {
	id=$(send x --keep 1h)
	mkdir "$QSPOOL/default/out"
	mkdir "$QSPOOL/default/out/$id"
	drain -- cat
	assert_failure
	assert_regex "$stderr" 'outcome=held cause="the output of a job cannot be kept"'
	assert_job "$id" new
	assert_equal "$(attempts_in "$(sole_job new)")" 0
	rmdir "$QSPOOL/default/out/$id"
	drain -- cat
	assert_success
	assert_job "$id" 'done'
}

@test 'what others may have planted as an output is not written to' {
	echo secret >"$test_dir/secret"
	id=$(send x --keep 1h)
	other=$(send y --keep 1h)
	mkdir "$QSPOOL/default/out"
	ln -s "$test_dir/secret" "$QSPOOL/default/out/$id"
	ln "$test_dir/secret" "$QSPOOL/default/out/$other"
	run_tool qcat -o "$id"
	assert_failure
	assert_output ''
	drain -- cat
	assert_success
	assert_equal "$(cat "$test_dir/secret")" secret
	run_tool qcat -o "$id" "$other"
	assert_output xy
}

@test 'a job that is kept is over: what waits for it goes on, its batch completes, its key is free' {
	id=$(send first --keep 1h --key K --batch B)
	send second --after "$id"
	send third --after B
	run_tool send x --key K
	assert_output "$id"
	drain -- sh -c 'cat >>"$1"; echo >>"$1"' sh "$test_dir/ran"
	assert_success
	assert_equal "$(paste -sd ' ' "$test_dir/ran")" 'first second third'
	assert_job "$id" 'done'
	run_tool send x --key K
	assert_success
	refute_output "$id"
	run_tool send fourth --after "$id"
	assert_job "$output" new
}

@test 'a lost worker: the output is that of the attempt that finished' {
	make_gate
	id=$(send x --keep 1h -b 1ms..1ms)
	start_qwork -- sh -c "echo lost; exec '$gate'"
	wait_for 60 at_gate "$id"
	kill -KILL "$qwork"
	wait_for 60 gone "$handler"
	drain_all -- echo found
	assert_success
	assert_job "$id" 'done'
	run_tool qcat -o "$id"
	assert_output found
}

@test 'a handler that cannot write its output has failed, and is retried' {
	need_command prlimit
	id=$(send x --keep 1h -A 1)
	drain -- prlimit --fsize=10 -- sh -c 'echo more than ten bytes'
	assert_job "$id" buried
}

@test 'in a spool for a group the output takes its mode' {
	mkdir -m 2770 "$QSPOOL"
	id=$(send x --keep 1h)
	umask 077
	drain -- true
	assert_equal "$(stat -c %a "$QSPOOL/default/out/$id" "$QSPOOL/default/out" "$QSPOOL/default/done" | paste -sd ' ')" '660 2770 2770'
}
