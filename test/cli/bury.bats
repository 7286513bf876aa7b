#!/usr/bin/env bats
# qbury: jobs set aside for a person.

load helper

@test 'qbury --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qbury
}

@test 'qbury sets a ready job aside, silently' {
	id=$(send x)
	run_tool qbury "$id"
	assert_success
	assert_output ''
	assert_equal "$stderr" ''
	assert_job "$id" buried
	assert_equal "$(job_count new)" 0
	drain -- cat
	assert_output ''
}

@test 'qbury sets a delayed job aside' {
	id=$(send x -d 1h)
	qbury "$id"
	assert_regex "$(sole_job buried)" "/50\.$id\.0(,|\$)"
}

@test 'the reason is kept in the log: -r, --reason' {
	id=$(send x)
	qbury -r 'the customer   called' "$id"
	assert_file_contains "$(sole_job log)" 'buried.*reason=.*the customer   called'
	id=$(send x -q long)
	qbury --reason=why "$id"
	assert_file_contains "$(sole_job log long)" 'buried.*reason=.*why'
}

@test 'a reason cannot forge a line of the log' {
	qbury -r $'a\nb\033' "$(send x)"
	assert_equal "$(wc -l <"$(sole_job log)")" 1
	refute_control_bytes <"$(sole_job log)"
}

@test 'several jobs at once, by id, unique prefix and path' {
	a=$(send a -q one)
	b=$(send b -q two)
	c=$(send c -q three)
	d=$(send d -q four)
	cd "$test_dir"
	qbury "$a" "$(unique_prefix "$b" "$a" "$c" "$d")" "$QSPOOL/three/new/50.$c.0" "four/new/50.$d.0"
	assert_job "$a" buried one
	assert_job "$b" buried two
	assert_job "$c" buried three
	assert_job "$d" buried four
}

@test 'a name as ls prints it is enough' {
	id=$(send x)
	qbury "50.$id.0"
	assert_job "$id" buried
}

@test 'ids are read from standard input, one a line, when none is given or with -' {
	ids=$(seq 3 | qsend --lines)
	qbury <<<"$ids"
	assert_equal "$(job_count buried)" 3
	seq 3 | qsend --lines -q second | qbury -
	assert_equal "$(job_count buried second)" 3
}

@test 'no ids on standard input are no jobs and no error' {
	send x
	run_tool qbury </dev/null
	assert_success
}

@test 'the oldest jobs: -n, --oldest' {
	mapfile -t ids < <(seq 4 | qsend --lines)
	qbury -q default -n 2
	assert_job "${ids[0]}" buried
	assert_job "${ids[1]}" buried
	assert_equal "$(job_count new)" 2
	qbury -q default --oldest 1
	assert_job "${ids[2]}" buried
	assert_equal "$(job_count new)" 1
}

@test 'the oldest are those sent first, ready or delayed, whatever their priority' {
	a=$(send a -d 1h -p 90)
	b=$(send b -p 10)
	qbury -q default -n 1
	assert_job "$a" buried
	assert_job "$b" new
}

@test '--all buries all that is ready or delayed in the queue' {
	seq 3 | qsend --lines
	send x -d 1h
	other=$(send y -q other)
	qbury -q default --all
	assert_equal "$(job_count buried)" 4
	assert_job "$other" new other
}

@test '--all leaves running jobs alone' {
	start_running x
	send y
	run_tool qbury -q default --all
	assert_job "$id" cur
	assert_equal "$(job_count buried)" 1
}

@test 'wrong values exit 64' {
	for value in 0 -1 x ''; do assert_usage qbury -q default -n "$value"; done
	assert_usage qbury -q default -n 1 --all
}

@test '--dry-run says what would be buried and changes nothing' {
	a=$(send a)
	b=$(send b -d 1h)
	before=$(cd "$QSPOOL" && find . | sort)
	run_tool qbury --dry-run -q default --all
	assert_success
	assert_line "$a default ready"
	assert_line "$b default delayed"
	assert_equal "${#lines[@]}" 2
	run_tool qbury --dry-run "$b"
	assert_output "$b default delayed"
	assert_equal "$(cd "$QSPOOL" && find . | sort)" "$before"
}

@test 'a job that is buried already stays so, silently' {
	id=$(send x)
	qbury "$id"
	run_tool qbury "$id"
	assert_success
	assert_output ''
	assert_job "$id" buried
}

@test 'and is on disk then, whoever buried it' {
	need_strace
	id=$(send x)
	mv "$(job_path "$id" new)" "$QSPOOL/default/buried/"
	strace -y -o "$test_dir/calls" -e trace=fsync qbury "$id"
	run sed -nE 's/^fsync.*\/([a-z]+)>.*/\1/p' "$test_dir/calls"
	assert_equal "$(xargs <<<"$output")" 'new cur delay buried'
}

@test 'a running job is not touched: exit 75, and qbury says who runs it' {
	start_running x
	run_tool qbury "$id"
	assert_failure 75
	assert_output ''
	assert_regex "$stderr" "^qbury: job $id is running in queue default \(qwork pid $qwork, handler pid $handler\); --kill"
	assert_job "$id" cur
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(job_count buried)" 0
}

@test '--kill ends the handler first and buries the job: -k, --kill' {
	start_running x
	qbury -k "$id"
	assert gone "$handler"
	assert_job "$id" buried
	wait_for 20 spool_is_idle
	assert_job "$id" buried
	id=$(send y)
	wait_for 20 at_gate "$id"
	qbury --kill "$id"
	assert gone "$handler"
	assert_job "$id" buried
}

@test 'an unknown job exits 66' {
	send x
	run_tool qbury "$(forged_id 0)"
	assert_failure 66
	assert_regex "$stderr" "^qbury: no job [0-9a-z]+ in $QSPOOL"
	assert_equal "$(job_count new)" 1
}

@test 'a spool or queue that does not exist exits 66 and is not made' {
	run_tool qbury "$(forged_id 0)"
	assert_failure 66
	assert_not_exists "$QSPOOL"
	send x
	run_tool qbury -q none --all
	assert_failure 66
	assert_not_exists "$QSPOOL/none"
}

@test '-q restricts the search' {
	id=$(send x -q one)
	send y -q two
	run_tool qbury -q two "$id"
	assert_failure 66
	assert_job "$id" new one
}

@test 'an ambiguous prefix exits 65 and touches nothing' {
	send_alike 2
	run_tool qbury "$prefix"
	assert_failure 65
	assert_regex "$stderr" '^qbury: .*ambiguous.* 2 jobs'
	assert_equal "$(job_count new)" 2
}

@test 'a prefix of less than six characters is refused' {
	id=$(send x)
	run_tool qbury "${id:0:5}"
	assert_failure
	assert_job "$id" new
}

@test 'of several jobs all are tried, the exit status is that of the first failure' {
	mapfile -t ids < <(seq 2 | qsend --lines)
	run_tool qbury "${ids[0]}" "$(forged_id 0)" "${ids[1]}"
	assert_failure 66
	assert_job "${ids[0]}" buried
	assert_job "${ids[1]}" buried
}

@test 'a spool that may not be written exits 77' {
	need_command setpriv
	id=$(send x)
	chmod 0500 "$QSPOOL/default/new"
	run_tool powerless qbury "$id"
	assert_failure 77
	assert_regex "$stderr" '^qbury: '
	assert_job "$id" new
}

@test 'a job that waits for another one can be buried: by its id, or with --all' {
	first=$(send first)
	a=$(send a --after "$first")
	b=$(send b --after "$first")
	run_tool qbury "$a"
	assert_success
	assert_job "$a" buried
	run_tool qbury -v --all
	assert_success
	assert_job "$b" buried
	assert_job "$first" buried
}
