#!/usr/bin/env bats
# qkick: buried jobs get another chance.

load helper

# send_buried PAYLOAD [OPTION...]: prints the id of a job that failed its only attempts.
send_buried() {
	local id
	id=$(send "$@")
	qwork --drain=all -A 2 -b 1ms -- sh -c 'echo broken >&2; exit 1' </dev/null >/dev/null 2>&1 3>&-
	echo "$id"
}

@test 'qkick --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qkick
}

@test 'qkick makes a buried job ready again, silently' {
	id=$(send_buried x)
	assert_job "$id" buried
	run_tool qkick "$id"
	assert_success
	assert_output ''
	assert_equal "$stderr" ''
	assert_job "$id" new
	assert_equal "$(job_count buried)" 0
	drain -- cat
	assert_output x
	assert_spool_empty
}

@test 'a kicked job has a fresh budget of attempts' {
	send_buried x
	qkick -q default --all
	assert_equal "$(attempts_in "$(sole_job new)")" 0
	drain_all -A 2 -b 1ms -- sh -c 'echo "$QJOB_ATTEMPT"; exit 1'
	assert_output $'1\n2'
	assert_equal "$(job_count buried)" 1
}

@test 'a kicked job keeps its history, which tells who kicked it' {
	id=$(send_buried x)
	qkick "$id"
	run cat "$(sole_job log)"
	assert_line --regexp 'attempt=1 of=2 '
	assert_line '  | broken'
	assert_line --regexp "^$RFC3339 kicked by=$(id -u)"
}

@test '-v prints the ids that were kicked: -v, --verbose' {
	mapfile -t ids < <(seq 2 | qsend --lines)
	qbury "${ids[@]}"
	run_tool qkick -v "${ids[@]}"
	assert_success
	assert_output "${ids[0]}"$'\n'"${ids[1]}"
	qbury "${ids[@]}"
	run_tool qkick --verbose -q default --all
	assert_output "${ids[0]}"$'\n'"${ids[1]}"
}

@test 'a kicked job keeps its id, its priority and its options' {
	id=$(send x -p 7 -- argument)
	qbury "$id"
	qkick "$id"
	assert_regex "$(sole_job new)" "/07\.$id\.0,"
	drain -- echo
	assert_output argument
}

@test 'a buried payload may be edited in place before it is kicked' {
	id=$(send wrong)
	qbury "$id"
	echo right >"$(sole_job buried)"
	qkick "$id"
	drain -- cat
	assert_output right
}

@test 'so may one that was sent without sync: kicking renews its checksum' {
	id=$(send wrong --no-sync)
	qbury "$id"
	echo 'something longer' >"$(sole_job buried)"
	qkick "$id"
	drain -- cat
	assert_success
	assert_output 'something longer'
	assert_spool_empty
}

@test 'and makes its options durable before it is ready, like its payload' {
	local id

	need_strace
	id=$(qsend --no-sync --env A=b <<<x)
	qbury "$id"
	strace -y -o "$test_dir/calls" -e trace=fsync,renameat2 qkick "$id"
	run awk '/^fsync.*meta\/'"$id"'>/ { options = 1 } /^fsync.*\/meta>/ { dir = options } /^rename/ { print dir }' "$test_dir/calls"
	assert_output 1
}

@test 'several jobs at once, by id, unique prefix and path' {
	a=$(send a)
	b=$(send b)
	c=$(send c)
	qbury "$a" "$b" "$c"
	path=$(job_path "$c" buried)
	qkick "$a" "$(unique_prefix "$b" "$a" "$c")" "$path"
	assert_equal "$(job_count new)" 3
}

@test 'a path relative to the spool and a bare name are enough' {
	a=$(send a)
	b=$(send b)
	qbury "$a" "$b"
	path=$(job_path "$a" buried)
	qkick "default/buried/${path##*/}"
	assert_job "$a" new
	path=$(job_path "$b" buried)
	qkick "${path##*/}"
	assert_job "$b" new
}

@test 'ids are read from standard input, one a line, when none is given or with -' {
	three=$(seq 3 | qsend --lines)
	qbury <<<"$three"
	qkick <<<"$three"
	assert_equal "$(job_count new)" 3
	qbury <<<"$three"
	qkick - <<<"$three"
	assert_equal "$(job_count new)" 3
}

@test 'the oldest buried jobs: -n, --oldest' {
	mapfile -t ids < <(seq 4 | qsend --lines)
	qbury "${ids[@]}"
	qkick -q default -n 2
	assert_job "${ids[0]}" new
	assert_job "${ids[1]}" new
	assert_equal "$(job_count buried)" 2
	qkick -q default --oldest 1
	assert_job "${ids[2]}" new
	assert_equal "$(job_count buried)" 1
}

@test '--all kicks all that is buried in the queue, and leaves delayed jobs alone' {
	seq 3 | qsend --lines | qbury
	other=$(send y -q other)
	qbury "$other"
	later=$(send z -d 1h)
	qkick -q default --all
	assert_equal "$(job_count new)" 3
	assert_job "$later" delay
	assert_job "$other" buried other
}

@test '--delayed kicks delayed jobs too: -d, --delayed' {
	a=$(send a -d 1h)
	b=$(send b -d 1h)
	c=$(send c)
	qbury "$c"
	run_tool qkick "$a"
	assert_failure 65
	assert_job "$a" delay
	qkick -d "$a"
	assert_regex "$(sole_job new)" "/50\.$a\.0(,|\$)"
	qkick --delayed -q default --all
	assert_job "$b" new
	assert_job "$c" new
}

@test 'a job that is not buried exits 65, with its state' {
	id=$(send x)
	run_tool qkick "$id"
	assert_failure 65
	assert_regex "$stderr" "^qkick: job $id is ready, not buried"
	assert_job "$id" new
	later=$(send x -d 1h)
	run_tool qkick "$later"
	assert_failure 65
	assert_regex "$stderr" "job $later is delayed, not buried"
}

@test 'a running job is not touched' {
	start_running x
	run_tool qkick "$id"
	assert_failure
	assert_job "$id" cur
	assert_regex "$stderr" "^qkick: job $id is running"
}

@test '--dry-run says what would be kicked and changes nothing' {
	a=$(send a)
	qbury "$a"
	b=$(send b -d 1h)
	before=$(cd "$QSPOOL" && find . | sort)
	run_tool qkick --dry-run -q default --all
	assert_success
	assert_output "$a default buried"
	run_tool qkick --dry-run --delayed "$b"
	assert_output "$b default delayed"
	assert_equal "$(cd "$QSPOOL" && find . | sort)" "$before"
}

@test 'a waiting qwork starts a kicked job at once' {
	id=$(send x)
	qbury "$id"
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	qkick "$id"
	wait_for 20 spool_is_idle
	assert_file_contains "$qwork_out" x
}

@test 'wrong values exit 64' {
	for value in 0 -1 x ''; do assert_usage qkick -q default -n "$value"; done
	assert_usage qkick -q default -n 1 --all
}

@test 'an unknown job exits 66' {
	send x
	run_tool qkick "$(forged_id 0)"
	assert_failure 66
	assert_regex "$stderr" "^qkick: no job [0-9a-z]+ in $QSPOOL"
}

@test 'a spool or queue that does not exist exits 66 and is not made' {
	run_tool qkick "$(forged_id 0)"
	assert_failure 66
	assert_not_exists "$QSPOOL"
	send x
	run_tool qkick -q none --all
	assert_failure 66
	assert_not_exists "$QSPOOL/none"
}

@test 'an ambiguous prefix exits 65 and touches nothing' {
	send_alike 2
	qbury "${ids[@]}"
	run_tool qkick "$prefix"
	assert_failure 65
	assert_regex "$stderr" 'ambiguous.* 2 jobs'
	assert_equal "$(job_count buried)" 2
}

@test 'of several jobs all are tried, the exit status is that of the first failure' {
	mapfile -t ids < <(seq 3 | qsend --lines)
	qbury "${ids[0]}" "${ids[2]}"
	run_tool qkick "${ids[0]}" "${ids[1]}" "$(forged_id 0)" "${ids[2]}"
	assert_failure 65
	assert_equal "$(job_count new)" 3
}

@test 'a spool that may not be written exits 77' {
	need_command setpriv
	id=$(send x)
	qbury "$id"
	chmod 0500 "$QSPOOL/default/buried" "$QSPOOL/default/new"
	run_tool powerless qkick "$id"
	assert_failure 77
	assert_job "$id" buried
}

@test 'a job that waits for another one runs now when it is named, or with --delayed' {
	first=$(send first -d 1h)
	a=$(send a --after "$first")
	b=$(send b --after "$first")
	run_tool qkick -v --all
	assert_output ''
	run_tool qkick -v "$a"
	assert_success
	assert_output "$a"
	assert_job "$a" new
	run_tool qkick -v --delayed --all
	assert_output --partial "$b"
	assert_job "$b" new
}
