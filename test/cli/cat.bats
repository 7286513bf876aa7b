#!/usr/bin/env bats
# qcat: payloads, wherever their jobs are.

load helper

@test 'qcat --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qcat
}

@test 'qcat prints the payload byte for byte' {
	head -c 300000 /dev/urandom >"$test_dir/payload"
	id=$(qsend <"$test_dir/payload")
	qcat "$id" >"$test_dir/out"
	assert_files_equal "$test_dir/payload" "$test_dir/out"
}

@test 'of jobs that are ready, delayed, buried or running' {
	ready=$(send 'ready ' -q other)
	delayed=$(send 'delayed ' -d 1h)
	buried=$(send 'buried ')
	qbury "$buried"
	start_running 'running '
	run_tool qcat "$id" "$buried" "$delayed" "$ready"
	assert_success
	assert_output 'running buried delayed ready '
	refute gone "$handler"
}

@test 'reading a running job does not disturb it' {
	start_running x
	for _ in 1 2 3 4 5; do qcat "$id" >/dev/null; done
	assert_job "$id" cur
	open_gate
	wait_for 20 spool_is_idle
	assert_spool_empty
}

@test 'by unique prefix and by path' {
	a=$(send a)
	b=$(send b)
	run_tool qcat "$(unique_prefix "$a" "$b")" "$QSPOOL/default/new/50.$b.0" "default/new/50.$a.0" "50.$b.0"
	assert_output abab
}

@test 'a foreign file in new/, by path' {
	send x
	echo foreign >"$test_dir/f"
	mv "$test_dir/f" "$QSPOOL/default/new/report.csv"
	run_tool qcat "$QSPOOL/default/new/report.csv"
	assert_success
	assert_output foreign
	run_tool qcat default/new/report.csv
	assert_output foreign
}

@test 'a symbolic link in new/ is not followed' {
	send x
	echo secret >"$test_dir/secret"
	ln -s "$test_dir/secret" "$QSPOOL/default/new/link"
	run_tool timeout 20 qcat "$QSPOOL/default/new/link"
	assert_failure
	assert_output ''
}

@test 'a fifo in new/ does not block' {
	send x
	mkfifo "$QSPOOL/default/new/fifo"
	run_tool timeout 20 qcat "$QSPOOL/default/new/fifo"
	assert_failure
	refute [ "$status" = 124 ]
	assert_output ''
}

@test 'a path out of the spool is not read' {
	send x
	run_tool qcat /etc/passwd
	assert_failure 66
	assert_output ''
	run_tool qcat default/new/../../../../../../../../../etc/passwd
	assert_failure 66
	assert_output ''
}

@test 'ids are read from standard input, one a line, when none is given or with -' {
	ids=$(seq 3 | qsend --lines)
	run_tool qcat <<<"$ids"
	assert_output $'1\n2\n3'
	run_tool qcat - <<<"$ids"
	assert_output $'1\n2\n3'
}

@test 'an unknown job exits 66, and the others are printed' {
	a=$(send a)
	b=$(send b)
	run_tool qcat "$a" "$(forged_id 0)" "$b"
	assert_failure 66
	assert_output ab
	assert_regex "$stderr" "^qcat: no job [0-9a-z]+ in $QSPOOL"
}

@test 'a spool that does not exist exits 66 and is not made' {
	run_tool qcat "$(forged_id 0)"
	assert_failure 66
	assert_not_exists "$QSPOOL"
}

@test '-q restricts the search' {
	id=$(send x -q one)
	send y -q two
	run_tool qcat -q two "$id"
	assert_failure 66
	run_tool qcat -q one "$id"
	assert_output x
}

@test 'an ambiguous prefix exits 65' {
	send_alike 2
	run_tool qcat "$prefix"
	assert_failure 65
	assert_output ''
	assert_regex "$stderr" 'ambiguous.* 2 jobs'
}

@test 'an output that cannot be written exits 74' {
	[[ -w /dev/full ]] || skip 'needs /dev/full'
	id=$(send x)
	status=0
	qcat "$id" >/dev/full 2>"$test_dir/stderr" || status=$?
	assert_equal "$status" 74
	assert_file_contains "$test_dir/stderr" '^qcat: '
}

@test 'a payload that may not be read exits 77' {
	need_command setpriv
	id=$(send x)
	chmod 0 "$(sole_job new)"
	run_tool powerless qcat "$id"
	assert_failure 77
	assert_output ''
}
