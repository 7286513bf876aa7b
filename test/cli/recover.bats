#!/usr/bin/env bats
# qwork killed with SIGKILL, and other crashes: while somebody works on a job nobody else
# does, and when he has ended it is recovered within a second. KILLS=200 is the full
# size; the default suits `make check`.

load helper

: "${KILLS:=6}"

# A handler that checks that it is alone. A TERM leaves the file $lonely.told and, unless
# its argument is "stubborn", ends it; a stubborn one lives until the gate opens. The time
# of its end is in $lonely.ended.
make_lonely() {
	lonely=$test_dir/lonely
	script "$lonely" <<-END
		mkdir '$lonely.alone' || echo "\$QJOB_ID" >>'$lonely.overlap'
		end() {
			rmdir '$lonely.alone'
			date +%s%3N >'$lonely.end' && mv '$lonely.end' '$lonely.ended'
			exit 1
		}
		told() {
			: >'$lonely.told'
			[ "\$1" = stubborn ] || end
		}
		trap "told \$1" TERM
		echo "\$\$ \${WORKER:-\$PPID}" >'$lonely.part' && mv '$lonely.part' '$lonely.started.'"\$QJOB_ID"
		until [ -e '$lonely.open' ]; do sleep 0.02; done
		end
	END
}

# at_work ID: a condition. Its handler and worker are then in $handler and $worker.
at_work() { { read -r handler worker <"$lonely.started.$1"; } 2>/dev/null; }

# The time at which a file got its present name, ms.
renamed_at() { stat -c %.3Z "$1" | tr -d .; }

# One of two qworks serving the queue. The payload is the argument of the handler, or of the child of one that stays.
start_worker() {
	case $mode in
	start) start_qwork -b 1h..1h -- sh -c 'exec "$1" "$(cat)"' handler "$lonely" ;;
	persist)
		start_qwork -b 1h..1h --persist -- sh -c 'while read -r id attempt path; do
			WORKER=$PPID QJOB_ID=$id "$0" "$(cat "$path")" </dev/null >/dev/null
			echo "$?"
		done' "$lonely"
		;;
	esac
	workers[$1]=$qwork
}

# Kills whichever of the two qworks runs a job: "stubborn" or "polite". One that stays is killed then, too, and nobody
# tells its child.
kill_worker() {
	local n
	rm -f "$lonely".{started.*,told,open,ended}
	id=$(send "$1" -t 1h)
	wait_for 30 at_work "$id"
	a_random_moment
	kill -KILL "$worker"
	[[ $mode == start ]] || kill -TERM "$handler"
	for n in 0 1; do
		[[ ${workers[n]} != "$worker" ]] || killed=$n
	done
}

assert_left_alone_until_it_ends() {
	wait_for 30 test -e "$lonely.told"
	a_random_moment
	assert_job "$id" cur
	refute gone "$handler"
	: >"$lonely.open"
}

assert_recovered_within_a_second() {
	local path
	wait_for 30 test -e "$lonely.ended"
	wait_for 30 job_is "$id" delay
	path=$(job_path "$id" delay)
	assert_file_exists "$lonely.told"
	assert_file_not_exists "$lonely.overlap"
	assert [ $(($(renamed_at "$path") - $(cat "$lonely.ended"))) -le 1000 ]
	assert_equal "$(attempts_in "$path")" 1
	assert_file_contains "$QSPOOL/default/log/$id" 'attempt=1 .*cause="worker lost"'
	wait_for 30 grep -q "job=$id .*outcome=retry cause=\"worker lost\"" "${qwork_logs[@]}"
}

@test "a killed qwork's job is left alone while its handler lives, and recovered within a second" { kill_workers start; }
@test "so is that of handlers that stay, while a process of them lives" { kill_workers persist; }

# kill_workers MODE: whether their handlers are started for each job, or stay.
kill_workers() {
	mode=$1
	make_lonely
	workers=()
	start_worker 0
	start_worker 1
	for ((round = 0; round < KILLS; round++)); do
		if ((round % 2)); then
			kill_worker polite
		else
			kill_worker stubborn
			assert_left_alone_until_it_ends
		fi
		assert_recovered_within_a_second
		qdel "$id"
		start_worker "$killed"
	done
	assert_spool_empty
}

@test 'a handler that dies with its qwork: the job is recovered within a second' {
	id=$(send x)
	start_qwork -- sh -c 'exec sleep 300'
	wait_for 20 job_is "$id" cur
	victim=$qwork
	wait_for 20 has_handler "$victim"
	read -r handler _ < <(cat "/proc/$victim/task/$victim/children" && echo)
	start_qwork -b 1h..1h -- true
	wait_for 20 watches "$qwork"
	kill -KILL "$victim" "$handler"
	killed=$(now_ms)
	wait_for 20 job_is "$id" delay
	assert [ $(($(renamed_at "$(job_path "$id" delay)") - killed)) -le 1000 ]
}

@test 'a lost worker is found at the start of a qwork' {
	id=$(send x)
	mv "$(sole_job new)" "$QSPOOL/default/cur/50.$id.1"
	drain_all -b 1ms -- sh -c 'echo "attempt $QJOB_ATTEMPT"'
	assert_success
	assert_output 'attempt 2'
	assert_regex "$stderr" "job=$id attempt=1 of=10 outcome=retry cause=\"worker lost\""
	assert_spool_empty
}

# A job in cur/ is locked when a qwork starts and not any more a moment later, without an event: by who
# only read. A qwork that has begun to start jobs has made its scan.
falls_free_after_the_scan() {
	local lock
	send lost >/dev/null
	mv "$(sole_job new)" "$QSPOOL/default/cur/50.$(forged_id 9).1"
	rm -f "$test_dir"/gate.started.* "$test_dir/locked"
	start sh -c 'exec 8<"$1" && flock 8 && : >"$2" && exec sleep 1000' locker "$(sole_job cur)" "$test_dir/locked"
	lock=$started
	wait_for 60 test -e "$test_dir/locked"
	id=$(send x)
	start_qwork -A 1 -j 2 --scan 1h -- "$gate"
	wait_for 60 at_gate "$id"
	kill -KILL "$lock"
	if wait_for 2 jobs_are 1 buried 2>/dev/null; then return 0; fi
	kill -KILL "$qwork"
	open_gate
	drain_all -A 1 -- true
	shut_gate
	rm -f "$QSPOOL"/default/buried/*
	return 1
}

@test 'a lock that a starting qwork meets, and that falls a moment later, is no reason to wait for its next scan' {
	make_gate
	wait_for 100 falls_free_after_the_scan
	open_gate
}

@test 'a job that takes its worker down each time runs out of attempts' {
	id=$(send x)
	mv "$(sole_job new)" "$QSPOOL/default/cur/50.$id.3"
	drain -A 3 -- echo run
	assert_success
	assert_output ''
	assert_job "$id" buried
	assert_regex "$stderr" 'attempt=3 of=3 outcome=buried cause="worker lost"'
	assert_file_contains "$(sole_job log)" 'attempt=3 .*worker lost'
}

@test 'a handler that kills its own qwork runs as often as it has attempts, and no more' {
	id=$(send x -A 3)
	for _ in 1 2 3 4; do
		qwork --drain=all -b 1ms -- sh -c 'echo run >>"$1"; kill -KILL "$PPID"' handler "$test_dir/runs" \
			</dev/null 3>&- || true
	done
	assert_job "$id" buried
	assert_equal "$(wc -l <"$test_dir/runs")" 3
	assert_equal "$(grep -c 'worker lost' "$(sole_job log)")" 3
}

@test "--drain recovers nothing that is still worked on" {
	start_running x
	kill -STOP "$qwork"
	drain -- cat
	assert_success
	assert_output ''
	assert_job "$id" cur
	kill -CONT "$qwork"
}

@test 'a handler outlives its qwork and is waited for by --drain=all' {
	make_lonely
	id=$(send stubborn)
	start_qwork -- "$lonely" stubborn
	wait_for 20 at_work "$id"
	kill -KILL "$qwork"
	start qwork --drain=all -b 1ms -- cat </dev/null >"$test_dir/out"
	waiting=$started
	wait_for 20 watches "$waiting"
	wait_for 20 test -e "$lonely.told"
	refute gone "$waiting"
	assert_size_zero "$test_dir/out"
	: >"$lonely.open"
	exit_status 30 "$waiting"
	assert_equal "$status" 0
	assert_equal "$(cat "$test_dir/out")" stubborn
}

# A shell that waits for a command ends at the TERM for its qwork's death, and leaves that behind.
@test 'what the handler of a killed qwork left behind is ended when its time is up' {
	[[ $(readlink /proc/self/ns/pid) == 'pid:[4026531836]' ]] || skip 'needs the first PID namespace'
	[[ $(stat -f -c %T "$test_dir") != btrfs ]] || skip 'needs another file system than btrfs'
	id=$(send x -t 1s)
	script "$test_dir/child" <<-END
		echo \$\$ >'$test_dir/part' && mv '$test_dir/part' '$test_dir/left'
		exec sleep 300
	END
	start_qwork -- sh -c '"$0"; :' "$test_dir/child"
	wait_for 20 test -e "$test_dir/left"
	kill -KILL "$qwork"
	drain_all --scan 200ms -b 1ms -- cat
	assert_success
	assert_output x
	wait_for 20 gone "$(cat "$test_dir/left")"
	assert_spool_empty
}

@test 'qstat tells who still holds the job of a killed qwork' {
	make_lonely
	id=$(send x)
	start_qwork -- "$lonely" stubborn
	wait_for 20 at_work "$id"
	kill -KILL "$qwork"
	wait_for 20 test -e "$lonely.told"
	run_tool qstat "$id"
	assert_output --partial "handler pid $handler"
	run_tool qdel "$id"
	assert_failure 75
	assert_job "$id" cur
	qdel --kill "$id"
	assert gone "$handler"
	assert_spool_empty
}

# --- leftovers in tmp/

# Leaves the file of a killed qsend in tmp/, its path in $leftover.
leave_leftover() {
	mkfifo "$test_dir/input"
	start qsend <>"$test_dir/input" >/dev/null
	echo some >"$test_dir/input"
	wait_for 20 jobs_are 1 tmp
	leftover=$(sole_job tmp)
	sender=$started
}

@test "a dead sender's leftovers go when they are over an hour old" {
	leave_leftover
	kill -KILL "$sender"
	exit_status 20 "$sender"
	drain -- cat
	assert_exists "$leftover"
	touch -d '59 minutes ago' "$leftover"
	drain -- cat
	assert_exists "$leftover"
	touch -d '2 hours ago' "$leftover"
	drain -- cat
	assert_success
	assert_output ''
	assert_not_exists "$leftover"
}

@test "a living sender's file stays, however old" {
	leave_leftover
	touch -d '2 hours ago' "$leftover"
	drain -- cat
	assert_exists "$leftover"
	refute gone "$sender"
}

@test 'a leftover that somebody has locked stays' {
	leave_leftover
	kill -KILL "$sender"
	exit_status 20 "$sender"
	touch -d '2 hours ago' "$leftover"
	start flock "$leftover" sh -c ': >"$1"; sleep 300' sh "$test_dir/locked"
	wait_for 20 test -e "$test_dir/locked"
	drain -- cat
	assert_exists "$leftover"
}

@test 'what is in tmp/ is no job' {
	qdel "$(send x)"
	echo x >"$QSPOOL/default/tmp/50.$(forged_id 0).0"
	drain -- cat
	assert_output ''
	run_tool qstat
	assert_line --regexp '^default +0 +0 +0 +0 '
}

@test 'meta and log without their job go when they are over an hour old' {
	id=$(send x -A 1)
	rm "$(sole_job new)"
	echo history >"$QSPOOL/default/log/$id"
	drain -- cat
	assert_equal "$(job_count meta) $(job_count log)" '1 1'
	touch -d '2 hours ago' "$QSPOOL/default/meta/$id" "$QSPOOL/default/log/$id"
	drain -- cat
	assert_equal "$(job_count meta) $(job_count log)" '0 0'
}

@test 'meta and log of a job stay, however old' {
	id=$(send x -A 2 -- argument)
	drain -b 1h -- false
	touch -d '2 hours ago' "$QSPOOL/default/meta/$id" "$QSPOOL/default/log/$id"
	drain -- true
	assert_equal "$(job_count meta) $(job_count log)" '1 1'
	mv "$(sole_job delay)" "$QSPOOL/default/new/"
	drain -- echo
	assert_output argument
	id=$(send y -d 1d -- argument)
	touch -d '2 hours ago' "$QSPOOL/default/meta/$id"
	drain -- cat
	assert_equal "$(job_count meta)" 1
}
