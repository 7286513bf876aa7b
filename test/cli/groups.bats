#!/usr/bin/env bats
# Limits of memory by control groups of version 2. Where this Linux has none with memory, each test starts one of its own,
# which takes half a minute: `make check` leaves this file out then, CI does not.

load helper
load memory

teardown() {
	common_teardown
	[[ -z ${group:-} ]] || wait_for 20 remove_group
}
remove_group() { find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; [[ ! -d $group ]]; }

# by_groups COMMAND...: here, if there are control groups of version 2 with memory; else the whole test, in a Linux of its
# own that runs as a process (User Mode Linux).
by_groups() {
	need_root
	mount=$(findmnt -fnt cgroup2 -o TARGET) || true
	if grep -qsw memory "$mount/cgroup.controllers"; then
		"$@"
	else
		[[ ${container:-} != uml ]] || fail 'no control groups in User Mode Linux'
		command -v linux.uml >/dev/null || skip 'needs a control group of version 2 with memory, or User Mode Linux'
		in_its_own_linux
	fi
}

# It sees the files of this one, but for /tmp and /run, and writes into $test_dir/out only.
in_its_own_linux() {
	local out=$test_dir/out top
	top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	mkdir "$out"
	cat >"$test_dir/init" <<-END
		#!/bin/bash
		export container=uml HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin QSPOOL_BIN='$QSPOOL_BIN' TMPDIR=/tmp
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev 2>/dev/null
		ln -s /proc/self/fd /dev/fd
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		mount -t tmpfs run /run
		mkdir /run/top /run/bin /run/out
		mount --bind '$top' /run/top
		mount --bind '$QSPOOL_BIN' /run/bin
		mount -t hostfs out /run/out -o '$out'
		mount -t tmpfs tmp /tmp
		mkdir -p '$top' '$QSPOOL_BIN'
		mount --bind /run/top '$top'
		mount --bind /run/bin '$QSPOOL_BIN'
		bats --tap --filter '^$BATS_TEST_DESCRIPTION\$' '$BATS_TEST_FILENAME' >/run/out/tap 2>&1 </dev/null
		echo \$? >/run/out/status
		echo o >/proc/sysrq-trigger
		sleep 60
	END
	chmod +x "$test_dir/init"
	timeout -k 5 120 linux.uml uml_dir="$test_dir" root=/dev/root rootfstype=hostfs rootflags=/ ro init="$test_dir/init" \
		mem=1000M quiet loglevel=1 con=null con0=null,fd:1 </dev/null >"$out/console" 2>&1 || true
	cat "$out/console" "$out/tap"
	assert_equal "$(cat "$out/status")" 0
	assert grep -q '^ok 1 [^#]*$' "$out/tap"
}

# memory_group: a control group that qwork may divide, in $group. Beside this process's own, which has
# processes and so cannot hand on memory, but for the topmost.
memory_group() {
	local own
	own=$(sed -n 's/^0:://p' /proc/self/cgroup)
	group=$mount$(dirname "$own")
	group=${group%/}/qspool-memory.$$.$BATS_TEST_NUMBER
	mkdir "$group" 2>/dev/null || { group='' && skip 'needs a control group that may be divided'; }
	[[ -e $group/memory.max ]] || echo +memory >"${group%/*}/cgroup.subtree_control" || skip 'needs memory to be handed on'
}

# start_in_group OPTION...: as start_qwork, in the group.
start_in_group() {
	qwork_log=$test_dir/qwork.${#qwork_logs[@]}.log qwork_out=$test_dir/qwork.${#qwork_logs[@]}.out
	qwork_logs+=("$qwork_log")
	start sh -c 'echo $$ >"$0/cgroup.procs" && exec qwork "$@"' "$group" "$@" </dev/null >"$qwork_out" 2>"$qwork_log"
	qwork=$started
}

thumbnails_by_groups() {
	memory_group
	thumbnails
	start_in_group -j 4 --drain=all
	assert_thumbnails
	assert_file_contains "$QSPOOL/thumbs/log/$bomb" 'reason="killed at its limit of 96M" signal=9'
}

@test 'the same by control groups' {
	by_groups thumbnails_by_groups
}

shares_memory() {
	memory_group
	make_handler
	child=$(echo child | qsend)
	hangs=$(echo hangs | qsend -t 100ms)
	echo behind | qsend
	start_in_group -A 1 -j 3 --memory 32M --drain -- "$handler"
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	assert jobs_are 2 buried
	assert_file_contains "$QSPOOL/default/log/$child" 'cause="out of memory" reason="killed at its limit of 32M" signal=9 .*maxrss=32768K'
	assert_file_contains "$QSPOOL/default/log/$hangs" 'cause="timed out"'
	wait_for 20 no_sleepers
	# Nothing of it is left.
	assert_equal "$(find "$group" -mindepth 1 -type d)" ''
}

@test 'with a control group all processes of a job have the memory together, and none outlives it' {
	by_groups shares_memory
}

leaves_groups() {
	memory_group
	make_handler
	first=$(echo patient | qsend)
	start_in_group --memory 32M -- "$handler"
	wait_for 20 has_handler "$qwork"
	assert_equal "$(find "$group" -mindepth 2 -type d | wc -l)" 2
	kill -KILL "$qwork"
	wait_for 20 grep -q '^populated 0' "$group/cgroup.events"
	assert_equal "$(find "$group" -mindepth 2 -type d | wc -l)" 2
	# As who starts a service again: a group that hands on memory takes no process.
	for dir in "$group"/qspool-* "$group"; do echo -memory >"$dir/cgroup.subtree_control"; done
	echo limit | qsend
	start_in_group -A 1 --memory 16M --drain -- "$handler"
	exit_status 60 "$qwork"
	assert_equal "$(cat "$qwork_out")" 16M
	assert_job "$first" buried
	assert_equal "$(find "$group" -mindepth 1 -type d)" ''
}

@test 'what a killed qwork leaves of control groups the next one removes' {
	by_groups leaves_groups
}
