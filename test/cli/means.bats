#!/usr/bin/env bats
# A longer queue is better than an overloaded machine: what keeps further jobs from being started, and that
# all are done in the end. HUNGRY_JOBS=200 is the full size, for a machine that has nothing else to do.

load helper

: "${HUNGRY_JOBS:=5}"

# make_hungry SECONDS: a handler that computes for so long, and notes when it starts and ends, and the load.
make_hungry() {
	hungry=$test_dir/hungry
	script "$hungry" <<-END
		echo "\$(date +%s%3N) 1" >>'$test_dir/course'
		timeout $1 sh -c 'while :; do :; done'
		read -r load rest </proc/loadavg
		echo "\$(date +%s%3N) -1 \$load" >>'$test_dir/course'
	END
}

# How many ran at once, at most, from a second after the first start on.
most_at_once() {
	sort -n "$test_dir/course" |
		awk 'NR == 1 { first = $1 } { n += $2 } $1 > first + 1000 && n > most { most = n } END { print most + 0 }'
}

highest_load() { awk '$3 > most { most = $3 } END { print most + 0 }' "$test_dir/course"; }

@test "--max-load 2: of a crowd that computes no more than four ever run at once, and all are done" {
	# Of a few the last ones still run after the first second, if all were started at once.
	make_hungry $((HUNGRY_JOBS < 200)).4
	seq "$HUNGRY_JOBS" | qsend --lines --no-sync >"$test_dir/ids"
	read -r before _ </proc/loadavg
	start_qwork -j 50 --max-load 2 --drain -- "$hungry"
	exit_status 400 "$qwork"
	assert_equal "$status" 0
	assert_spool_empty
	assert_equal "$(grep -c ' 1$' "$test_dir/course")" "$HUNGRY_JOBS"
	echo "$(most_at_once) at once; the load was $before, and then up to $(highest_load)"
	assert [ "$(most_at_once)" -le 4 ]
	# What others load the machine with is no fault of qwork's.
	((HUNGRY_JOBS < 200)) || awk "BEGIN { exit !($(highest_load) < ($before > 1 ? $before + 2 : 3)) }"
	assert [ "$(grep -c 'the machine has enough to do' "$qwork_log")" -le 1 ]
}

# None of them ever has so much memory.
start_without_means() {
	make_gate
	seq 8 | qsend --lines >"$test_dir/ids"
	start_qwork --max-load 10000 --min-free 1048576T "$@" -- "$gate"
	wait_for 60 grep -q 'cause="no further job is started: the machine has enough to do" reason="[0-9]*M of memory are available, less than [0-9]*M"' "$qwork_log"
}

@test 'beyond a limit one job runs all the same, and after it the next; it is said once' {
	start_without_means -j 5 --drain
	wait_for 60 all_at_gate 1
	assert jobs_are 1 cur
	open_gate
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	assert_spool_empty
	assert_equal "$(wc -l <"$qwork_log")" 1
}

@test '-j 2..5: two may always run; -j 0..5: none must' {
	start_without_means -j 2..5
	wait_for 60 all_at_gate 2
	assert jobs_are 2 cur
	kill -TERM "$qwork"
	open_gate
	exit_status 60 "$qwork"
	assert jobs_are 6 new
	start_without_means -j 0..5
	assert jobs_are 14 new
}

@test '-j 1..8: at first no more run than wait, then one more each second while jobs wait for long ones' {
	make_gate
	seq 8 | qsend --lines >"$test_dir/ids"
	begin=$(now_ms)
	start_qwork -j 1..8 --max-load 10000 -- "$gate"
	wait_for 60 all_at_gate 8
	assert [ $(($(now_ms) - begin)) -ge 3000 ]
	open_gate
	wait_for 60 spool_is_idle
}

@test 'a limit that lets go is said, too' {
	make_gate
	seq 8 | qsend --lines >"$test_dir/ids"
	start_qwork --max-load 0.01 -j 2 -- "$gate"
	wait_for 60 grep -q 'reason="load [0-9.]*, and [0-9]* processes run, the limit is [0-9.]*"' "$qwork_log"
	open_gate
	wait_for 60 spool_is_idle
	wait_for 60 grep -q 'cause="jobs are started again as they come"' "$qwork_log"
	assert_equal "$(wc -l <"$qwork_log")" 2
}

@test 'wrong limits are refused' {
	for option in --max-load=0 --max-load=-1 --max-load=two --max-load=1e3 --max-load=1.2.3 --max-load= --min-free=0 \
		--min-free=1.5G --min-free=much --max-pressure=101 --max-pressure=0 -j3..2 -j..2 -j2.. -j0 -j0..0 -j1...3; do
		assert_usage qwork "$option" -- true
	done
}
