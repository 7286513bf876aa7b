#!/usr/bin/env bats
# qdel: jobs deleted, with all that belongs to them.

load helper

# A file in new/ as of a job that was sent so many seconds ago; prints its id.
old_job() {
	local id
	id=$(forged_id "$1")
	echo old >"$QSPOOL/default/tmp/old"
	mv "$QSPOOL/default/tmp/old" "$QSPOOL/default/new/50.$id.0"
	echo "$id"
}

@test 'qdel --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qdel
}

@test 'qdel deletes jobs that are ready, delayed or buried, silently' {
	a=$(send a)
	b=$(send b -d 1h)
	c=$(send c)
	qbury "$c"
	run_tool qdel "$a" "$b" "$c"
	assert_success
	assert_output ''
	assert_equal "$stderr" ''
	assert_spool_empty
}

@test 'meta and log go with their job' {
	id=$(send x -A 1)
	drain -- false
	assert_equal "$(job_count meta) $(job_count log)" '1 1'
	qdel "$id"
	assert_spool_empty
}

@test 'by unique prefix and by path' {
	a=$(send a)
	b=$(send b)
	c=$(send c)
	d=$(send d)
	qdel "$(unique_prefix "$a" "$b" "$c" "$d")" "$QSPOOL/default/new/50.$b.0" "default/new/50.$c.0" "50.$d.0"
	assert_spool_empty
}

@test 'ids are read from standard input, one a line, when none is given or with -' {
	seq 3 | qsend --lines | qdel
	assert_spool_empty
	seq 3 | qsend --lines | qdel -
	assert_spool_empty
}

@test 'no ids on standard input delete nothing' {
	send x
	run_tool qdel </dev/null
	assert_success
	assert_equal "$(job_count new)" 1
}

@test '--all deletes the jobs of a queue and of no other' {
	seq 3 | qsend --lines
	send x -d 1h
	qbury "$(send y)"
	other=$(send z -q other)
	qdel -q default --all
	assert_spool_empty
	assert_job "$other" new other
}

@test '--all needs a queue that is named' {
	send x
	assert_usage qdel --all
	assert_equal "$(job_count new)" 1
}

@test '--all leaves running jobs alone' {
	start_running x
	send y
	run_tool qdel -q default --all
	assert_job "$id" cur
	assert_equal "$(job_count new)" 0
}

@test '--state selects' {
	a=$(send a)
	b=$(send b -d 1h)
	c=$(send c)
	qbury "$c"
	qdel -q default --state delayed
	refute job_is "$b" delay
	assert_job "$a" new
	assert_job "$c" buried
	qdel -q default --state=buried
	refute job_is "$c" buried
	assert_job "$a" new
	qdel -q default --state ready
	assert_spool_empty
}

@test '--older-than goes by the time of sending' {
	send new
	old=$(old_job 7200)
	older=$(old_job 90000)
	qdel -q default --older-than 1d
	refute job_is "$older" new
	assert_job "$old" new
	qdel -q default --older-than 1h
	refute job_is "$old" new
	assert_equal "$(payloads new)" new
}

@test 'the oldest jobs: -n, --oldest' {
	mapfile -t ids < <(seq 4 | qsend --lines)
	qdel -q default -n 2
	assert_equal "$(payloads new)" '3 4'
	qdel -q default --oldest 1
	assert_job "${ids[3]}" new
	assert_equal "$(job_count new)" 1
}

@test 'selections narrow each other' {
	seq 3 | qsend --lines | qbury
	send ready
	qdel -q default --state buried -n 1
	assert_equal "$(payloads buried)" '2 3'
	qdel -q default --state buried --older-than 1h
	assert_equal "$(job_count buried) $(job_count new)" '2 1'
}

@test '--dry-run says what would be deleted and changes nothing' {
	a=$(send a)
	b=$(send b -d 1h)
	c=$(send c)
	qbury "$c"
	before=$(cd "$QSPOOL" && find . | sort)
	run_tool qdel --dry-run -q default --all
	assert_success
	assert_line "$a default ready"
	assert_line "$b default delayed"
	assert_line "$c default buried"
	assert_equal "${#lines[@]}" 3
	run_tool qdel --dry-run "$a"
	assert_output "$a default ready"
	assert_equal "$(cd "$QSPOOL" && find . | sort)" "$before"
}

@test 'a running job is not touched: exit 75, and qdel says who runs it' {
	start_running x
	run_tool qdel "$id"
	assert_failure 75
	assert_output ''
	assert_regex "$stderr" "^qdel: job $id is running in queue default \(qwork pid $qwork, handler pid $handler\); --kill ends it first"
	assert_job "$id" cur
	refute gone "$handler"
	open_gate
	wait_for 20 spool_is_idle
}

@test '--kill ends the handler first: -k, --kill' {
	start_running x
	qdel -k "$id"
	assert gone "$handler"
	assert_spool_empty
	id=$(send y)
	wait_for 20 at_gate "$id"
	qdel --kill "$id"
	assert gone "$handler"
	assert_spool_empty
	refute gone "$qwork"
}

@test '--kill ends a handler that ignores TERM too' {
	script "$test_dir/stubborn" <<-END
		trap '' TERM
		: >'$test_dir/started'
		while :; do sleep 0.1; done
	END
	id=$(send x)
	start_qwork -- "$test_dir/stubborn"
	wait_for 20 test -e "$test_dir/started"
	run_tool timeout 60 qdel --kill "$id"
	assert_success
	assert_spool_empty
}

@test '--kill waits for a qwork that was stopped before it saw its handler end' {
	start_running x
	kill -STOP "$qwork"
	kill -KILL "$handler"
	wait_for 20 gone "$handler"
	run_tool timeout 3 qdel --kill "$id"
	assert_failure 124
	kill -CONT "$qwork"
	qdel --kill "$id"
	assert_spool_empty
}

@test 'wrong options and values exit 64' {
	for value in 0 -1 x ''; do assert_usage qdel -q default -n "$value"; done
	for value in running gone ''; do assert_usage qdel -q default --state "$value"; done
	for value in x -1h ''; do assert_usage qdel -q default --older-than "$value"; done
}

@test 'an unknown job exits 66' {
	send x
	unknown=$(forged_id 0)
	run_tool qdel "$unknown"
	assert_failure 66
	assert_output ''
	assert_regex "$stderr" "^qdel: no job $unknown in $QSPOOL"
	assert_equal "$(job_count new)" 1
}

@test 'a spool or queue that does not exist exits 66 and is not made' {
	run_tool qdel "$(forged_id 0)"
	assert_failure 66
	assert_not_exists "$QSPOOL"
	send x
	run_tool qdel -q none --all
	assert_failure 66
	assert_not_exists "$QSPOOL/none"
}

@test '-q restricts the search' {
	id=$(send x -q one)
	send y -q two
	run_tool qdel -q two "$id"
	assert_failure 66
	assert_job "$id" new one
}

@test 'an ambiguous prefix exits 65 and touches nothing' {
	send_alike 3
	run_tool qdel "$prefix"
	assert_failure 65
	assert_regex "$stderr" 'ambiguous.* 3 jobs'
	assert_equal "$(job_count new)" 3
}

@test 'a path out of the spool is not followed' {
	send x
	echo precious >"$test_dir/precious"
	for path in "$test_dir/precious" ../precious "$QSPOOL/../precious" default/new/../../../precious default/handler; do
		run_tool qdel "$path"
		assert_failure 66
	done
	assert_exists "$test_dir/precious"
}

@test 'of several jobs all are tried, the exit status is that of the first failure' {
	send_alike 2
	run_tool qdel "$(forged_id 0)" "${ids[0]}" "$prefix" "${ids[1]}"
	assert_failure 66
	assert_equal "$(job_count new)" 0
}

@test 'a spool that may not be written exits 77' {
	need_command setpriv
	id=$(send x)
	chmod 0500 "$QSPOOL/default/new"
	run_tool powerless qdel "$id"
	assert_failure 77
	assert_job "$id" new
}

@test 'what is done to a job that was retried is on disk wherever it was' {
	need_strace
	id=$(qsend <<<x)
	qwork --drain -b 1h -- false
	for verb in 'qbury new cur delay buried' 'qkick cur delay buried new' 'qdel new cur delay buried'; do
		strace -y -o "$test_dir/calls" -e trace=fsync,unlinkat,renameat2 "${verb%% *}" "$id"
		run sed -nE '/^(unlinkat|renameat2)/,$s/^fsync.*\/([a-z]+)>.*/\1/p' "$test_dir/calls"
		assert_equal "${verb%% *} $(xargs <<<"$output")" "$verb"
	done
}

@test 'a job that waits for another one is deleted: by its id, with --state waiting, with --all' {
	first=$(send first)
	a=$(send a --after "$first")
	b=$(send b --after "$first")
	c=$(send c --after "$first")
	run_tool qdel -v "$a"
	assert_output "$a"
	run_tool qdel -v --state waiting -n 1
	assert_output "$b"
	run_tool qdel -v -q default --all
	assert_line "$c"
	assert_spool_empty
}
