#!/usr/bin/env bats
# Queues that share one qwork: by their weights while all have work, and none starves. The
# rules are tried in test/unit/test_shares.c, in a time of its own; here is the whole.
# SHARE_JOBS=2000 is the full size.

load helper

: "${SHARE_JOBS:=240}" "${STORM_JOBS:=40}"

# Each takes about as long as the other.
make_tick() { script "$test_dir/tick" <<<"echo \$QJOB_QUEUE >>'$test_dir/ticks'; exec sleep 0.01"; }

# fill NUMBER QUEUE...
fill() {
	local queue
	for queue in "${@:2}"; do seq "$1" | qsend --no-sync -q "$queue" --lines >/dev/null; done
}

# count QUEUE NUMBER: of the first so many that ran.
count() { head -n "$2" "$test_dir/ticks" | grep -cx "$1" || true; }

# assert_share QUEUE PERCENT FROM: of so many, within 5 %.
assert_share() {
	local got
	got=$(count "$1" "$3")
	echo "$1: $got of $3"
	assert [ $((100 * got)) -ge $((($2 - 5) * $3)) ]
	assert [ $((100 * got)) -le $((($2 + 5) * $3)) ]
}

# The one of weight 3 runs dry a little after so many.
fill_for() { fill $(($1 * 4 / 5)) a b; }
ticks_are() { (($(wc -l <"$test_dir/ticks" 2>/dev/null || echo 0) >= $1)); }

@test 'weights of 3:1 give shares of 3:1 as long as both have jobs, with one handler at a time' {
	make_tick
	fill_for "$SHARE_JOBS"
	start_qwork -q a,weight=3 -q b -- "$test_dir/tick"
	wait_for 240 ticks_are "$SHARE_JOBS"
	assert_share a 75 "$SHARE_JOBS"
}

@test 'weights of 3:1 give shares of 3:1 as long as both have jobs, with three handlers at a time' {
	make_tick
	fill_for "$SHARE_JOBS"
	echo 'weight 3' >"$QSPOOL/a/settings"
	start_qwork -j 3 -q a -q b -- "$test_dir/tick"
	wait_for 240 ticks_are "$SHARE_JOBS"
	assert_share a 75 "$SHARE_JOBS"
}

@test 'a weight that is changed while qwork runs counts from then on' {
	make_tick
	fill 400 a b
	start_qwork --scan 1h -q a -q b -- "$test_dir/tick"
	wait_for 60 ticks_are 100
	echo 'weight 3' >"$QSPOOL/b/settings"
	from=$(wc -l <"$test_dir/ticks")
	wait_for 120 ticks_are $((from + 200))
	sed -i "1,${from}d" "$test_dir/ticks"
	assert_share b 75 200
}

@test 'a queue of slow jobs, a crowd that cannot run, and a paused queue keep no other one waiting' {
	script "$test_dir/tick" <<-END
		echo \$QJOB_QUEUE >>'$test_dir/ticks'
		[ \$QJOB_QUEUE != slow ] || exec sleep 5
	END
	fill 200 slow quick paused
	qpause paused
	seq 3000 | qsend --no-sync -q crowd --resource nothing --lines >/dev/null
	qlimit nothing --jobs 1
	start_holder
	start_qwork --scan 1h -j 2 -q slow -q crowd,weight=1000 -q quick -q paused -- "$test_dir/tick"
	wait_for 120 spool_is_idle quick
	assert [ "$(count slow 1000000)" -ge 1 ]
	assert_equal "$(count crowd 1000000)" 0
	assert_equal "$(count paused 1000000)" 0
}
# Of the one slot that there is.
start_holder() {
	make_gate
	id=$(send x -q holder --resource nothing)
	start_qwork -q holder -- "$gate"
	wait_for 60 at_gate "$id"
}

# --- a storm ---------------------------------------------------------------------

# A handler that tells if another one of its job runs at the same time, and when it has ended. What
# it locked is free when the last of its processes has ended, as its job is.
make_marker() {
	mkdir "$test_dir/runs" "$test_dir/done"
	script "$test_dir/mark" <<-END
		exec 9>'$test_dir/runs/'"\$QJOB_ID"
		flock -n 9 || echo "\$QJOB_ID" >>'$test_dir/twice'
		sleep "0.0\$((\$\$ % 10))"
		mkdir -p '$test_dir/done/'"\$QJOB_ID"
	END
}

# Until the file calm exists.
edit() {
	local queue
	until [[ -e $test_dir/calm ]]; do
		queue=$QSPOOL/q$((RANDOM % 6 + 1))
		case $((RANDOM % 4)) in
			0) printf 'jobs %d\nweight %d\n' $((RANDOM % 4 + 1)) $((RANDOM % 9 + 1)) >"$queue/settings" ;;
			1) printf 'weight 0\nattempts 1000\nnonsense\n' >"$queue/settings" ;;
			2) rm -f "$queue/settings" ;;
			3) mv "$queue/handler" "$queue/away" && mv "$queue/away" "$queue/handler" ;;
		esac
		a_random_moment
	done
}

start_one() { start_qwork -A 1000 -b 1ms..10ms -j 3 --scan 1h; }

# counted WHAT: the sum over the queues of the storm.
counted() { qstat --stats --json q{1..6} | jq -s "map(.all.$1) | add"; }

@test 'a storm: 4 qworks on 6 queues, settings and handlers that change, and kills: nothing is lost, or run twice at once' {
	make_marker
	for queue in q{1..6}; do
		fill "$STORM_JOBS" "$queue"
		cp "$test_dir/mark" "$QSPOOL/$queue/handler"
	done
	pids=()
	for _ in 1 2 3 4; do
		start_one
		pids+=("$qwork")
	done
	start edit
	editor=$started
	for round in {1..12}; do
		victim=$((round % 4))
		a_random_moment
		kill -KILL "${pids[victim]}"
		start_one
		pids[victim]=$qwork
	done
	: >"$test_dir/calm"
	assert_all_succeed "$editor"
	for queue in q{1..6}; do wait_for 240 spool_is_idle "$queue"; done
	assert_equal "$(find "$test_dir/done" -mindepth 1 | wc -l)" $((6 * STORM_JOBS))
	assert_not_exists "$test_dir/twice"
	for queue in q{1..6}; do assert jobs_are 0 buried "$queue"; done
	# What was counted is right but for one job of each that was killed, at most.
	assert_equal "$(counted sent)" $((6 * STORM_JOBS))
	local ended=$(($(counted finished) + $(counted failed) + $(counted returned)))
	for missing in $((6 * STORM_JOBS - $(counted finished))) $(($(counted started) - ended)); do
		assert [ "${missing#-}" -le 12 ]
	done
}
