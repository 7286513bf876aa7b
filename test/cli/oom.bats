#!/usr/bin/env bats
# A handler that eats all memory: it is ended and qwork is not, its attempt counts, it is
# retried and in the end buried, and all other jobs go on. With a memory limit on a group of
# processes, qwork among them, and with a limit on address space, where malloc fails.

load helper

LIMIT=100M

teardown() {
	common_teardown
	[[ -z ${group:-} ]] || wait_for 10 rmdir "$group" 2>/dev/null
}

# memory_group: a new control group with the limit, of version 1 or 2; its directory in $group.
memory_group() {
	need_root
	memory_group_1 || memory_group_2 || skip 'needs a memory control group that may be divided'
}

# own_group CONTROLLER-PATTERN: this process's group, relative to the mount.
own_group() { sed -n "s/^[0-9]*:$1://p" /proc/self/cgroup | head -n 1; }

memory_group_1() {
	local mount
	mount=$(findmnt -fnt cgroup -O memory -o TARGET) || return 1
	make_group "$mount$(own_group '[^:]*memory[^:]*')" || make_group "$mount" || return 1
	echo "$LIMIT" >"$group/memory.limit_in_bytes" &&
		{ [[ ! -e $group/memory.memsw.limit_in_bytes ]] || echo "$LIMIT" >"$group/memory.memsw.limit_in_bytes"; }
}

# There a group with processes cannot hand on its memory, but for the topmost: so the new one is
# made beside this process's own.
memory_group_2() {
	local mount own
	mount=$(findmnt -fnt cgroup2 -o TARGET) || return 1
	grep -qw memory "$mount/cgroup.controllers" || return 1
	own=$(own_group '')
	make_group "$mount$(dirname "${own:-/}")" || return 1
	{ [[ -e $group/memory.max ]] || echo +memory >"${group%/*}/cgroup.subtree_control"; } 2>/dev/null &&
		echo "$LIMIT" >"$group/memory.max" &&
		{ [[ ! -e $group/memory.swap.max ]] || echo 0 >"$group/memory.swap.max"; }
}

make_group() {
	group=${1%/}/qspool-test.$$.$BATS_TEST_NUMBER
	mkdir "$group" 2>/dev/null || { group='' && return 1; }
}

# confined COMMAND...: in the group.
confined() { exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"; }

oom_kills() { sed -n 's/^oom_kill //p' "$group/memory.oom_control" "$group/memory.events" 2>/dev/null; }

# What the jobs say that they do: all but the greedy do it.
make_handler() {
	handler=$test_dir/handler
	script "$handler" <<-END
		read -r word
		case \$word in
		greedy) exec tail /dev/zero ;;
		patient) until [ -e '$test_dir/gate.open' ]; do sleep 0.05; done ;;
		esac
		echo "\$word"
	END
	gate=$test_dir/gate
}

start_confined() {
	qwork_log=$test_dir/qwork.${#qwork_logs[@]}.log qwork_out=$test_dir/qwork.${#qwork_logs[@]}.out
	qwork_logs+=("$qwork_log")
	start confined qwork "$@" </dev/null >"$qwork_out" 2>"$qwork_log"
	qwork=$started
}

@test 'a handler that eats all memory is killed, retried and buried; its neighbours and qwork live' {
	memory_group
	make_handler
	patient=$(echo patient | qsend)
	greedy=$(echo greedy | qsend)
	seq 20 | qsend --lines >"$test_dir/ids"
	seq 5 | qsend -q other --lines >"$test_dir/ids"
	start_confined -q other -v -- "$handler"
	other=$qwork
	start_confined -j 3 -A 2 -b 100ms -- "$handler"
	wait_for 60 job_is "$greedy" buried
	wait_for 60 lines_are 20 "$qwork_out"
	assert_job "$patient" cur
	assert [ "$(oom_kills | head -n 1)" -eq 2 ]
	assert_equal "$(grep -c "job=$greedy .*outcome=retry cause=\"out of memory\" .*signal=9" "$qwork_log")" 1
	assert_equal "$(grep -c "job=$greedy attempt=2 of=2 outcome=buried cause=\"out of memory\" .*signal=9" "$qwork_log")" 1
	assert_equal "$(grep -c 'attempt=[12] of=2 cause="out of memory" reason="killed when the machine was short of it, it seems" signal=9 ' "$QSPOOL/default/log/$greedy")" 2
	assert_equal "$(qstat --stats --json default | jq -c '.all | [.failed, .out_of_memory]')" '[2,2]'
	open_gate
	wait_for 60 spool_is_idle
	wait_for 60 assert_spool_empty other
	assert_equal "$(job_count buried)" 1
	for pid in "$qwork" "$other"; do
		kill -TERM "$pid"
		exit_status 20 "$pid"
		assert_equal "$status" 0
	done
}

@test 'many that eat all memory at once: each is counted, and the queue is worked off' {
	memory_group
	make_handler
	yes greedy | head -n 6 | qsend --lines >"$test_dir/ids"
	seq 10 | qsend --lines >"$test_dir/ids"
	start_confined -j 4 -A 1 --drain -- "$handler"
	exit_status 120 "$qwork"
	assert_equal "$status" 0
	assert jobs_are 6 buried
	assert_equal "$(sort -n "$qwork_out")" "$(seq 10)"
	spool_is_idle
}

# Of the killer's choice: what a handler started without it would have.
@test 'handlers are offered to the OOM killer before qwork, and keep nothing of its protection' {
	send x
	run_tool sh -c 'cat /proc/self/oom_score_adj && qwork --drain -- cat /proc/self/oom_score_adj' </dev/null
	assert_success
	own=${lines[0]}
	assert_equal "${lines[1]}" $(((own > 0 ? own : 0) + 500))
	send x
	run_tool choom -n 700 -- qwork --drain -- cat /proc/self/oom_score_adj </dev/null
	assert_output 1000
}

@test "qwork's own score stays, also while handlers start" {
	make_gate
	own=$(cat /proc/self/oom_score_adj)
	seq 3 | qsend --lines >"$test_dir/ids"
	start_qwork -j 3 -- "$gate"
	wait_for 20 all_at_gate 3
	assert_equal "$(cat "/proc/$qwork/oom_score_adj")" "$own"
	open_gate
	wait_for 20 spool_is_idle
}

# As with OOMScoreAdjust=-900, which only a privileged user may set: a file in its place says so, and keeps what qwork
# writes there: what a handler inherits, and then what qwork had.
@test 'a protected qwork does not protect its handlers' {
	need_mounts
	send x
	echo -900 >"$test_dir/score"
	run_tool unshare -m sh -c 'mount --bind "$0" "/proc/$$/oom_score_adj" && exec "$@"' "$test_dir/score" \
		qwork --drain -- true </dev/null
	assert_success
	assert_equal "$(tr '\n' ' ' <"$test_dir/score")" '-900 500 -900 '
}

# bats test_tags=address-space
@test 'under a limit of address space a greedy handler fails and is buried, the others go on' {
	make_handler
	greedy=$(echo greedy | qsend)
	seq 10 | qsend --lines >"$test_dir/ids"
	run_tool prlimit --as=60000000 timeout -k 10 60 qwork --drain=all -A 2 -b 10ms -j 2 -- "$handler" </dev/null
	assert_success
	assert_equal "$(sort -n <<<"$output")" "$(seq 10)"
	assert_job "$greedy" buried
	assert_equal "$(attempts_in "$(sole_job buried)")" 2
	assert_file_contains "$QSPOOL/default/log/$greedy" 'memory exhausted'
}

# bats test_tags=address-space
@test 'no memory for the names that wait: it is said, without spinning; with memory all are found' {
	qdel "$(send x)"
	touch "$QSPOOL/default/paused"
	start_qwork -j 4 -- true
	wait_for 20 watches "$qwork"
	prlimit --pid "$qwork" --as=$(($(awk '/^VmSize:/ { print $2 }' "/proc/$qwork/status") * 1024)):
	seq 1200 | qsend --lines --no-sync >"$test_dir/ids"
	wait_for 20 grep -q 'cause="no memory for the names that wait"' "$qwork_log"
	before=$(cpu_ticks "$qwork")
	wait_for 10 after_ms $(($(now_ms) + 2000))
	assert [ $(($(cpu_ticks "$qwork") - before)) -lt 50 ]
	assert_equal "$(grep -o 'cause="[^"]*"' "$qwork_log" | sort | uniq -d)" ''
	prlimit --pid "$qwork" --as=unlimited:
	rm "$QSPOOL/default/paused"
	wait_for 120 spool_is_idle
	assert_spool_empty
}
cpu_ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
