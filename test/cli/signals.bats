#!/usr/bin/env bats
# What signals do to qwork, and what qwork does to its handlers.

load helper

# A handler that survives TERM: it leaves $test_dir/told and ends with the gate.
make_stubborn() {
	stubborn=$test_dir/stubborn
	gate=$stubborn
	script "$stubborn" <<-END
		trap ": >'$stubborn.told'" TERM
		echo \$\$ >'$stubborn.part' && mv '$stubborn.part' '$stubborn.started.'"\$QJOB_ID"
		until [ -e '$stubborn.open' ]; do sleep 0.02; done
	END
}

# A handler with a child and a grandchild, all of which wait; it leaves their ids.
make_family() {
	script "$test_dir/family" <<-END
		sh -c 'sleep 300 & echo \$\$ \$! >"\$0"; wait' '$test_dir/family.part' &
		until [ -s '$test_dir/family.part' ]; do sleep 0.02; done
		{ echo \$\$; cat '$test_dir/family.part'; } >'$test_dir/family.all'
		mv '$test_dir/family.all' '$test_dir/family.pids'
		wait
	END
}
family_is_gone() {
	local pid
	while read -r pid; do
		gone "$pid" || return 1
	done < <(tr ' ' '\n' <"$test_dir/family.pids")
}

for_term_and_int() {
	local signal
	for signal in TERM INT; do "$@" "$signal"; done
}

drains_and_exits() {
	rm -f "$gate.open"
	start_running first
	second=$(send second)
	kill "-$1" "$qwork"
	wait_for 20 signal_taken "$1" "$qwork"
	refute gone "$handler"
	open_gate
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	assert_job "$second" new
	assert_equal "$(job_count new) $(job_count cur) $(job_count delay) $(job_count buried)" '1 0 0 0'
	qdel "$second"
}

@test 'TERM and INT: running jobs may end, no new one starts, exit 0' {
	make_gate
	for_term_and_int drains_and_exits
}

exits_when_idle() {
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	kill "-$1" "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
}

@test 'TERM and INT end an idle qwork, exit 0' {
	for_term_and_int exits_when_idle
}

hands_back() {
	id=$(send x)
	start_qwork -v -g 200ms -- sleep 300
	wait_for 20 job_is "$id" cur
	wait_for 20 has_handler "$qwork"
	kill "-$1" "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	assert_regex "$(sole_job new)" "/50\.$id\.0(,|\$)"
	assert_file_contains "$qwork_log" "job=$id .*outcome=returned"
	assert_equal "$(job_count buried) $(job_count delay) $(job_count cur)" '0 0 0'
	qdel "$id"
}

@test 'after the grace handlers get TERM, and their jobs go back without spending the attempt' {
	for_term_and_int hands_back
}

@test 'a job that was handed back runs again as its first attempt' {
	id=$(send x)
	start_qwork --grace 0 -- sleep 300
	wait_for 20 job_is "$id" cur
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	drain -- sh -c 'echo "$QJOB_ID $QJOB_ATTEMPT"'
	assert_output "$id 1"
	assert_spool_empty
}

@test 'a job that was handed back keeps its meta and the attempts it had spent' {
	id=$(send x -- argument)
	drain -b 1h -- false
	mv "$(sole_job delay)" "$QSPOOL/default/new/"
	start_qwork -g 0 -- sh -c 'exec sleep 300'
	wait_for 20 job_is "$id" cur
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$(attempts_in "$(sole_job new)")" 1
	drain -- sh -c 'echo "$QJOB_ATTEMPT $1"' handler
	assert_output '2 argument'
}

@test 'a job that ends well within the grace is finished' {
	make_stubborn
	id=$(send x)
	start_qwork -v -g 60s -- "$stubborn"
	wait_for 20 at_gate "$id"
	kill -TERM "$qwork"
	open_gate
	exit_status 20 "$qwork"
	assert_spool_empty
	assert_not_exists "$stubborn.told"
}

@test 'a second TERM does not wait for the grace' {
	id=$(send x)
	start_qwork -g 1h -- sleep 300
	wait_for 20 has_handler "$qwork"
	kill -TERM "$qwork"
	wait_for 20 signal_taken TERM "$qwork"
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	assert_regex "$(sole_job new)" "/50\.$id\.0(,|\$)"
}

@test 'a third TERM kills handlers that ignored the second' {
	make_stubborn
	id=$(send x)
	start_qwork -g 1h -- "$stubborn"
	wait_for 20 at_gate "$id"
	kill -TERM "$qwork"
	wait_for 20 signal_taken TERM "$qwork"
	kill -TERM "$qwork"
	wait_for 20 test -e "$stubborn.told"
	before=$(now_ms)
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	# Otherwise it would be killed 5 s after the TERM.
	assert [ $(($(now_ms) - before)) -lt 4000 ]
	assert gone "$handler"
	assert_regex "$(sole_job new)" "/50\.$id\.0(,|\$)"
}

@test 'a handler that ignores TERM at shutdown is killed 5 s later' {
	make_stubborn
	id=$(send x)
	start_qwork -g 0 -- "$stubborn"
	wait_for 20 at_gate "$id"
	kill -TERM "$qwork"
	wait_for 20 test -e "$stubborn.told"
	told=$(now_ms)
	exit_status 30 "$qwork"
	assert_equal "$status" 0
	assert [ $(($(now_ms) - told)) -ge 4000 ]
	assert gone "$handler"
	assert_regex "$(sole_job new)" "/50\.$id\.0(,|\$)"
}

@test 'a shutdown reaches the whole process group of a handler' {
	make_family
	send x
	start_qwork -g 0 -- "$test_dir/family"
	wait_for 20 test -e "$test_dir/family.pids"
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	wait_for 20 family_is_gone
	assert_equal "$(job_count new)" 1
}

@test 'a timeout ends the whole process group of the handler' {
	make_family
	send x -t 500ms -A 1
	drain -- "$test_dir/family"
	assert_success
	assert_regex "$stderr" 'outcome=buried cause="timed out"'
	wait_for 20 family_is_gone
}

@test 'a timeout is TERM first, which a handler may use' {
	send x -t 300ms
	drain -- sh -c 'trap "echo told; exit 3" TERM; echo started; while :; do sleep 0.05; done'
	assert_success
	assert_output $'started\ntold'
	assert_regex "$stderr" 'outcome=retry cause="timed out" exit=3 '
}

@test 'a handler that ignores the TERM of its timeout is killed 5 s later' {
	send x -t 300ms
	before=$(now_ms)
	drain -- sh -c 'trap "" TERM; while :; do sleep 0.05; done'
	assert_success
	assert [ $(($(now_ms) - before)) -ge 5000 ]
	assert_regex "$stderr" 'cause="timed out" signal=9 '
}

@test 'a handler that exits 0 when told of its timeout has timed out all the same' {
	send x -t 300ms
	drain -- sh -c 'trap "exit 0" TERM; while :; do sleep 0.05; done'
	assert_success
	assert_equal "$(job_count delay)" 1
	assert_regex "$stderr" 'cause="timed out"'
}

@test 'HUP rereads the settings' {
	qdel "$(send x)"
	echo 'attempts 3' >"$QSPOOL/default/settings"
	start_qwork -- sh -c 'echo "$QJOB_ATTEMPTS"'
	send x
	wait_for 20 grep -q '^3$' "$qwork_out"
	echo 'attempts 4' >"$QSPOOL/default/settings"
	kill -HUP "$qwork"
	wait_for 20 signal_taken HUP "$qwork"
	send x
	wait_for 20 lines_are 2 "$qwork_out"
	assert_equal "$(tail -n 1 "$qwork_out")" 4
	rm "$QSPOOL/default/settings"
	kill -HUP "$qwork"
	wait_for 20 signal_taken HUP "$qwork"
	send x
	wait_for 20 lines_are 3 "$qwork_out"
	assert_equal "$(tail -n 1 "$qwork_out")" 10
}

@test 'HUP does not disturb running jobs' {
	start_running x
	kill -HUP "$qwork"
	wait_for 20 signal_taken HUP "$qwork"
	refute gone "$handler"
	open_gate
	wait_for 20 spool_is_idle
	assert_spool_empty
	refute gone "$qwork"
}

@test 'a signal of the terminal reaches qwork only: handlers have a session of their own' {
	start_running x
	read -r _ _ _ _ pgrp session _ <"/proc/$handler/stat"
	assert_equal "$pgrp $session" "$handler $handler"
}

@test 'TERM ends a qwork --drain in time' {
	seq 100 | qsend --lines
	make_gate
	start_qwork --drain -g 0 -j 2 -- "$gate"
	wait_for 20 all_at_gate 2
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	assert_equal "$(job_count new) $(job_count cur)" '100 0'
}

@test 'a stopped qwork loses nothing' {
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	kill -STOP "$qwork"
	seq 20 | qsend --lines
	kill -CONT "$qwork"
	wait_for 20 spool_is_idle
	assert_equal "$(cat "$qwork_out")" "$(seq 20)"
}

@test 'told to end while it ends anyway, it exits 0' {
	need_strace
	send x
	# The first unlink is that of the job.
	run_tool strace -o "$test_dir/trace" -e inject=unlinkat:signal=TERM:when=1 qwork --once -- true
	assert_success
	assert_regex "$(grep -m 1 '^unlinkat' "$test_dir/trace")" '"50\.[^"]*\.1"'
	assert_spool_empty
}
