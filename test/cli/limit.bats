#!/usr/bin/env bats
# qlimit: what limits resources, shown and set.

load helper

setup() {
	common_setup
	dir=$QSPOOL/.resource/db
}

@test 'qlimit --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qlimit
	for option in '--jobs -1' '--jobs x' '--jobs 1000001' '--rate 0/s' '--rate 10' '--rate 10/x' \
		'--burst 0' '--breaker 0,1s' '--breaker 5' '--breaker 5,2s..1s' '--for 1m' '--open --for 0' \
		'--open --close' '-q default'; do
		# shellcheck disable=SC2086
		assert_usage qlimit $option db
	done
	assert_usage qlimit --jobs 1
	assert_usage qlimit --open
	assert_usage qlimit --jobs 1 a b
	assert_usage qlimit ''
	assert_not_exists "$QSPOOL"
}

@test 'what is not there: no spool, no resource' {
	run_tool qlimit
	assert_failure 66
	send x
	run_tool qlimit
	assert_success
	assert_output ''
	run_tool qlimit db
	assert_failure 66
	assert_regex "$stderr" 'no resource db'
	run_tool qlimit --close db
	assert_success
	assert_not_exists "$dir"
}

@test 'settings are files, as they were given; none removes one' {
	run_tool qlimit --jobs 3 --rate 10/s --burst 4 --breaker 5,30s..10m db
	assert_success
	assert_output ''
	assert_equal "$(cat "$dir"/{name,jobs,rate,burst,breaker})" $'db\n3\n10/s\n4\n5,30s..10m'
	qlimit --jobs 0 --rate none db
	assert_equal "$(cat "$dir/jobs")" 0
	assert_not_exists "$dir/rate"
	qlimit --rate none --burst none --jobs none db
	assert_equal "$(ls -A "$dir")" $'breaker\nname\nstate'
}

@test 'a wrong value changes nothing, also beside right ones' {
	qlimit --jobs 3 db
	run_tool qlimit --jobs 4 --rate x db
	assert_failure 64
	assert_equal "$(cat "$dir/jobs")" 3
}

@test 'one resource in lines, all of them in rows' {
	qlimit --jobs 3 --rate 20/m --breaker 5,30s..10m db
	qlimit --open api
	run_tool qlimit db
	assert_success
	assert_line 'jobs      3'
	assert_line 'rate      20/m'
	assert_line 'burst     1'
	assert_line 'breaker   5,30s..10m'
	assert_line 'state     closed'
	assert_line 'running   0'
	run_tool qlimit
	assert_line --regexp '^RESOURCE +LIMIT +RUNNING +WAITING +RATE +BREAKER +STATE$'
	assert_line --regexp '^db +3 +0 +0 +20/m 5,30s\.\.10m +closed$'
	assert_line --regexp '^api +- +0 +0 +- - +open$'
	run_tool qlimit -v --jobs 4 db
	assert_line 'jobs      4'
}

@test 'JSON: one object a line' {
	qlimit --jobs 3 --open --for 1h db
	run_tool qlimit -j db
	assert_equal "$(json jobs) $(json rate) $(json open) $(json probing) $(json window)" '3 null true false null'
	assert_regex "$(json open_until)" "^$RFC3339\$"
	qlimit --rate 5/s api
	run_tool qlimit -j
	assert_equal "${#lines[@]}" 2
}

@test 'it shows who runs and who waits' {
	make_gate
	qlimit --jobs 2 db
	for i in 1 2 3 4 5; do send "$i" --resource db >/dev/null; done
	start_qwork -j 9 -- "$gate"
	shows() { [[ $(qlimit -j db | jq -c '[.running, .waiting]') == "$1" ]]; }
	wait_for 60 shows '[2,3]'
	open_gate
	wait_for 60 shows '[0,0]'
}

@test 'open holds jobs, for a time or until it is closed; closing lets them in gradually' {
	qlimit --open db
	send x --resource db
	drain -- true
	jobs_are 0 new
	run_tool qlimit -j db
	assert_equal "$(json open) $(json open_until) $(json waiting)" 'true null 1'
	qlimit --open --for 1h db
	drain -- true
	run_tool qlimit db
	assert_line --regexp "^state     open until $RFC3339\$"
	assert_line 'waiting   1'
	qlimit --close db
	run_tool qlimit db
	assert_line 'state     lets in 1'
	drain -- true
	run_tool qlimit db
	assert_line 'waiting   0'
	assert_line 'state     lets in 2'
}

@test 'open for a while ends with a probe' {
	qlimit --open --for 200ms db
	id=$(send x --resource db)
	start_qwork -v -- true
	closes() { grep -q "job=$id .*cause=\"closes the breaker\" reason=db" "$qwork_log"; }
	wait_for 60 closes
	wait_for 60 spool_is_idle
}

@test 'names of any bytes, and long ones' {
	strange=$'a/b %\n\x1b'
	long=$(printf 'x%.0s' {1..300})
	qlimit --jobs 1 "$strange"
	qlimit --jobs 2 "$long"
	qlimit --jobs 3 ..
	run_tool qlimit
	assert_success
	refute_control_bytes <<<"$output"
	assert_line --regexp '^x{300} +2 '
	assert_line --regexp '^\.\. +3 '
	run_tool qlimit -j "$strange"
	assert_equal "$(json resource)" "$strange"
	assert_equal "$(json directory)" 'a%2fb%20%25%0a%1b'
	run_tool qlimit "$long"
	assert_line 'jobs      2'
}

@test 'a setting by hand that is not understood is shown' {
	qlimit --jobs 1 db
	echo many >"$dir/jobs"
	run_tool qlimit db
	assert_line 'wrong     jobs'
	run_tool qlimit
	assert_line --regexp '^db .*, wrong: jobs$'
}

@test 'what others planted in place of a setting is not followed, and lets nobody in' {
	qlimit --jobs 1 db
	rm "$dir/jobs"
	ln -s /dev/zero "$dir/jobs"
	run_tool timeout 20 qlimit -j db
	assert_equal "$(json wrong)" jobs
	rm "$dir/jobs"
	mkfifo "$dir/jobs"
	send x --resource db
	drain -- true
	assert_success
	run_tool timeout 20 qlimit -j db
	assert_equal "$(json wrong) $(json waiting)" 'jobs 1'
	qlimit --jobs 1 db
	drain -- true
	run_tool qlimit -j db
	assert_equal "$(json waiting)" 0
}

@test 'an option of qsend: a name, maybe with a limit, once each' {
	assert_usage qsend --resource ''
	assert_usage qsend --resource =1
	assert_usage qsend --resource db=0
	assert_usage qsend --resource db=1000001
	assert_usage qsend --resource db --resource db=1
	id=$(send x --resource db=2 --resource a=b)
	assert_equal "$(grep resource "$QSPOOL/default/meta/$id")" $'resource - a=b\nresource 2 db'
}

@test 'without permission: exit 77, nothing has happened' {
	qlimit --jobs 3 db
	chmod 0500 "$dir"
	run_tool powerless qlimit --jobs 4 db
	assert_failure 77
	chmod 0700 "$dir"
	assert_equal "$(cat "$dir/jobs")" 3
}
