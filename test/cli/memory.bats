#!/usr/bin/env bats
# What a job may take: one that eats its memory is buried for just that, and no other process suffers. By a
# control group where this test may make one, elsewhere by limits of each process.

load helper

teardown() {
	common_teardown
	[[ -z ${group:-} ]] || wait_for 20 remove_group
}
remove_group() { find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; [[ ! -d $group ]]; }

# memory_group: a control group that qwork may divide, in $group. Beside this process's own, which has
# processes and so cannot hand on memory, but for the topmost.
memory_group() {
	local mount own
	need_root
	mount=$(findmnt -fnt cgroup2 -o TARGET) || true
	grep -qsw memory "$mount/cgroup.controllers" || skip 'needs a control group of version 2 with memory'
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

# What the jobs say that they do.
make_handler() {
	handler=$test_dir/handler
	script "$handler" <<-END
		read -r word
		case \$word in
		greedy) exec tail /dev/zero ;;
		child) tail /dev/zero ; exit 3 ;;
		python) exec python3 -c 'x = bytearray(1 << 30)' ;;
		fails) echo no luck >&2 ; exit 1 ;;
		behind) sleep 1000 & setsid sleep 1000 & exit 0 ;;
		hangs) trap '' TERM ; setsid sleep 1000 & sleep 1000 & wait ; sleep 1000 ;;
		patient) until [ -e '$test_dir/open' ]; do sleep 0.05; done ;;
		limit)
			data=\$(ulimit -d)
			if [ \$data != unlimited ]; then
				echo \$((data / 1024))M
			else
				echo \$((\$(cat /sys/fs/cgroup/\$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.max) >> 20))M
			fi
			;;
		esac
	END
}

# How many processes run `sleep 1000` in the group or, without one, for a job of this test.
sleepers() { test_processes | xargs -r ps -o args= -p | grep -c '^sleep 1000' || true; }
no_sleepers() { [[ $(sleepers) == 0 ]]; }

# A small picture whose animation takes 8 MB a frame.
make_bomb() {
	convert -size 1000x1000 xc:red "$1.gif"
	python3 - "$1.gif" "$1" <<-'END'
		import sys
		gif = open(sys.argv[1], "rb").read()
		head = 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 128 else 0)
		open(sys.argv[2], "wb").write(gif[:head] + gif[head:-1] * 200 + gif[-1:])
	END
	rm "$1.gif"
}

# queue_with NAME SETTINGS: a queue whose handler is standard input.
queue_with() {
	qdel "$(send x -q "$1")" >/dev/null
	script "$QSPOOL/$1/handler"
	printf '%s\n' "${@:2}" >"$QSPOOL/$1/settings"
}

thumbnails() {
	need_command identify
	queue_with thumbs 'memory 96M' 'attempts 2' 'backoff 100ms' <<-END
		export MAGICK_THREAD_LIMIT=1 MAGICK_MAP_LIMIT=0 MAGICK_DISK_LIMIT=0
		exec convert - -thumbnail 64x64 "$test_dir/thumb.\$QJOB_ID.png"
	END
	queue_with simple <<<"exec cat >>'$test_dir/done'"
	convert -size 640x480 plasma: gradient:blue-red xc:white rose: -resize 640x480! "$test_dir/picture%d.jpg"
	make_bomb "$test_dir/bomb"
	for picture in "$test_dir"/picture*.jpg; do qsend -q thumbs -f "$picture" >/dev/null; done
	bomb=$(qsend -q thumbs -f "$test_dir/bomb")
	for picture in "$test_dir"/picture*.jpg; do qsend -q thumbs -f "$picture" >/dev/null; done
	seq 40 | qsend -q simple --lines >/dev/null
}

assert_thumbnails() {
	exit_status 120 "$qwork"
	assert_equal "$status" 0
	assert_job "$bomb" buried thumbs
	assert jobs_are 1 buried thumbs
	assert_equal "$(grep -c 'attempt=[12] of=2 cause="out of memory" ' "$QSPOOL/thumbs/log/$bomb")" 2
	# ImageMagick would have taken 256 MB.
	assert [ "$(sed -n 's/.* maxrss=\([0-9]*\)K.*/\1/p' "$QSPOOL/thumbs/log/$bomb" | sort -n | tail -n 1)" -lt 150000 ]
	assert_equal "$(find "$test_dir" -name 'thumb.*.png' -size +0 | wc -l)" 8
	assert_equal "$(sort -n "$test_dir/done")" "$(seq 40)"
	assert_spool_empty simple
	spool_is_idle thumbs
	assert_equal "$(grep -cE 'outcome=(retry|buried|returned)' "$qwork_log")" 2
}

@test 'thumbnails, one picture of which explodes in memory: it is buried for that, all else is done' {
	thumbnails
	start_qwork -j 4 --drain=all
	assert_thumbnails
}

@test 'the same by control groups' {
	memory_group
	thumbnails
	start_in_group -j 4 --drain=all
	assert_thumbnails
	assert_file_contains "$QSPOOL/thumbs/log/$bomb" 'reason="killed at its limit of 96M" signal=9'
}

@test 'with a control group all processes of a job have the memory together, and none outlives it' {
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

@test 'what a killed qwork leaves of control groups the next one removes' {
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

# bats test_tags=address-space
@test 'a job that fails at its limit was out of memory, by its peak or by what it wrote; another one failed' {
	make_handler
	greedy=$(echo greedy | qsend)
	python=$(echo python | qsend)
	fails=$(echo fails | qsend)
	drain -A 1 --memory 64M -- "$handler"
	assert_success
	assert_file_contains "$QSPOOL/default/log/$greedy" 'attempt=1 of=1 cause="out of memory" reason="[^"]*limit of 64M'
	assert_file_contains "$QSPOOL/default/log/$python" 'cause="out of memory" reason="[^"]*limit of 64M'
	assert_file_contains "$QSPOOL/default/log/$fails" 'cause=failed exit=1'
}

# bats test_tags=address-space
@test 'without a limit nothing is said of memory' {
	make_handler
	id=$(echo python | qsend)
	run_tool prlimit --data=60000000 timeout -k 10 60 qwork --drain -A 1 -- "$handler" </dev/null
	assert_success
	assert_file_contains "$QSPOOL/default/log/$id" 'cause=failed exit=1'
}

@test "a job's own limit of memory wins over the command line, that over the settings" {
	make_handler
	echo limit | qsend --memory 128M
	echo limit | qsend
	echo memory 64M >"$QSPOOL/default/settings"
	drain --memory 256M -- "$handler"
	assert_equal "$output" $'128M\n256M'
	echo limit | qsend
	drain -- "$handler"
	assert_equal "$output" 64M
	echo limit | qsend
	echo memory 5 >"$QSPOOL/default/settings"
	drain -- true
	assert_success
	assert_regex "$stderr" 'cause="a line of settings is ignored" line=1 reason="wrong value"'
}

@test 'processor time: a job that spends it has timed out, and one that does not listen is killed' {
	id=$(send x)
	drain -A 1 --cpu 1s -- sh -c 'while :; do :; done'
	assert_job "$id" buried
	assert_file_contains "$QSPOOL/default/log/$id" 'cause="timed out" reason="its processor time was over" signal=24'
	id=$(send x --cpu 1s)
	drain -A 1 -- sh -c 'trap "" XCPU; while :; do :; done'
	assert_file_contains "$QSPOOL/default/log/$id" 'cause="timed out" reason="its processor time was over" signal=9'
}

@test 'niceness, and privileges that are not gained' {
	own=$(nice)
	send x >/dev/null
	drain --nice 3 -- nice
	assert_output "$((own + 3 > 19 ? 19 : own + 3))"
	send x --nice 0 >/dev/null
	drain --nice 3 -- nice
	assert_output "$own"
	send x >/dev/null
	drain --no-new-privs -- grep NoNewPrivs /proc/self/status
	assert_output --regexp '1$'
}

@test 'wrong limits are refused' {
	for option in --memory= --memory=1023K --memory=1.5G --memory=much --cpu=0 --cpu=x --nice=-1 --nice=20; do
		assert_usage qwork "$option" -- true
		assert_usage qsend "$option"
	done
	for names in '' ',' 'A,' 'A B' 'A*B' '-A' 'A=b'; do
		assert_usage qwork --accept-env "$names" -- true
	done
}

@test 'where there is no control group, or there is one, that is found out once, not for each job' {
	need_strace
	seq 5 | qsend --lines >/dev/null
	run -0 --separate-stderr strace -qq -e trace=openat -e signal=none -o "$test_dir/trace" \
		qwork -q default --drain --memory 64M -- true
	assert_spool_empty
	assert_equal "$(grep -c /proc/self/mountinfo "$test_dir/trace")" 1
}
