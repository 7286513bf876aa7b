#!/usr/bin/env bats
# The order in which jobs run, and when delayed ones start.

load helper

@test 'first in, first out' {
	for i in $(seq 10); do send "$i"$'\n'; done
	seq 11 30 | qsend --lines
	drain -- cat
	assert_success
	assert_output "$(seq 30)"
}

@test 'lower numbers go first, and within one number the older' {
	for i in 1 2; do
		for priority in 50 99 0 10 9; do send "$priority.$i"$'\n' -p "$priority"; done
	done
	send default$'\n'
	drain -- cat
	assert_output $'0.1\n0.2\n9.1\n9.2\n10.1\n10.2\n50.1\n50.2\ndefault\n99.1\n99.2'
}

@test '`ls new` is the order in which jobs run' {
	for i in $(seq 20); do send x -p $((i * 37 % 100)); done
	expected=$(ls "$QSPOOL/default/new")
	drain -- sh -c 'echo "$(printf %02d "${QJOB_PRIORITY#0}").$QJOB_ID.0"'
	assert_output "$expected"
}

@test 'a waiting qwork takes the urgent before the older' {
	make_gate
	id=$(send first$'\n')
	start_qwork -- sh -c '"$1"; cat' handler "$gate"
	wait_for 20 at_gate "$id"
	send old$'\n'
	send urgent$'\n' -p 1
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(cat "$qwork_out")" $'first\nurgent\nold'
}

@test 'delayed jobs never start before their time, and soon after it' {
	start_qwork -j 4 -- sh -c 'date +"%s%3N $QJOB_ID"'
	wait_for 20 watches "$qwork"
	for delay in 300 700 100 500 1100; do
		id=$(send x -d "${delay}ms")
		path=$(job_path "$id" delay) || continue
		echo "$(due_in "$path") $id" >>"$test_dir/due"
	done
	wait_for 20 lines_are 5 "$qwork_out"
	assert [ "$(wc -l <"$test_dir/due")" -ge 3 ]
	while read -r due id; do
		began=$(awk -v id="$id" '$2 == id { print $1 }' "$qwork_out")
		echo "$id began $((began - due)) ms after its time"
		assert [ "$began" -ge "$due" ]
		assert [ "$began" -le $((due + 2000)) ]
	done <"$test_dir/due"
}

@test 'a job sent with --at starts at that time' {
	at=$(($(date +%s) + 2))
	send x -a "@$at"
	drain_all -- date +%s%3N
	assert_success
	assert [ "$output" -ge $((at * 1000)) ]
	assert [ "$output" -le $((at * 1000 + 2000)) ]
}

@test 'a delayed job that is due earlier than those before it wakes a waiting qwork' {
	send tomorrow -d 1d
	start_qwork -- cat
	wait_for 20 watches "$qwork"
	send soon -d 300ms
	wait_for 20 grep -q soon "$qwork_out"
	assert_equal "$(job_count delay)" 1
}

@test 'due jobs are merged with ready ones by priority and age' {
	send old.default$'\n' -d 50ms
	send old.urgent$'\n' -d 50ms -p 10
	send ready.default$'\n'
	send ready.lazy$'\n' -p 90
	send later$'\n' -d 1d
	wait_for 5 after_ms $(($(now_ms) + 60))
	drain -- cat
	assert_output $'old.urgent\nold.default\nready.default\nready.lazy'
}

@test 'a retry returns to its place by age, not behind the backlog' {
	for job in a b c d; do send "$job"; done
	# a fails; b runs until a is due again.
	script "$test_dir/handler" <<-'END'
		job=$(cat)
		echo "$job"
		if [ "$job" = a ] && [ "$QJOB_ATTEMPT" = 1 ]; then exit 1; fi
		if [ "$job" = b ]; then
			until ls "$QSPOOL/default/delay" | awk -v now="$(date -u +%Y%m%dT%H%M%S.%3NZ)" '$0 < now { due = 1 } END { exit !due }'; do
				sleep 0.02
			done
		fi
	END
	drain -b 100ms -- "$test_dir/handler"
	assert_success
	assert_output $'a\nb\na\nc\nd'
}

@test 'a kicked job returns to its place by age' {
	old=$(send old$'\n')
	qbury "$old"
	send new$'\n'
	qkick "$old"
	drain -- cat
	assert_output $'old\nnew'
}

@test 'a job that was handed back returns to its place by age' {
	old=$(send old$'\n')
	start_qwork -g 0 -- sleep 300
	wait_for 20 job_is "$old" cur
	send new$'\n'
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	drain -- cat
	assert_output $'old\nnew'
}

@test 'a backlog of thousands runs in order' {
	seq 3000 | qsend --lines --no-sync >/dev/null
	send urgent$'\n' -p 1
	for expected in urgent 1 2; do
		run_qwork --once -- cat
		assert_output "$expected"
	done
	qbury -q default --all
	assert_equal "$(job_count buried)" 2998
}
