#!/usr/bin/env bats
# A disk that is full, has no inodes left, or can no longer be written: what can go on
# without it goes on, what cannot is held, nothing is lost or run twice, and all goes on
# by itself once there is room again. On real file systems, in a mount namespace of their own.

load helper

setup() {
	common_setup
	need_mounts
}

# make_disk ext4|xfs|btrfs, make_disk tmpfs SIZE INODES: an empty file system of that type at $QSPOOL, seen by the
# tools alone: they are wrapped, so that they run in its namespace. The test sees it by way
# of /proc, as $QSPOOL. What is mounted goes with the last process that uses it.
make_disk() {
	local mount_options=loop type=$1
	[[ $type == tmpfs ]] || need_command "mkfs.$type"
	disk=$QSPOOL
	mkdir "$disk"
	case $type in
	tmpfs) mount_options=size=$2,nr_inodes=$3,mode=700 ;;
	ext4) make_image 8M && mkfs.ext4 -q -b 1024 -m 0 -e remount-ro "$test_dir/image" ;;
	xfs) make_image 300M && mkfs.xfs -q "$test_dir/image" ;;
	btrfs) make_image 110M && mkfs.btrfs -q "$test_dir/image" ;;
	esac
	start env -u QSPOOL unshare -m sleep 600
	namespace=$started
	wait_for 20 is_asleep
	inside mount -t "$type" -o "$mount_options" "$test_dir/image" "$disk" || skip "cannot mount $type"
	inside chmod 0700 "$disk"
	wrap_tools
	QSPOOL=/proc/$namespace/root$disk
}

make_image() { truncate -s "$1" "$test_dir/image"; }
# Then its namespace is its own, and what is mounted there is not seen elsewhere.
is_asleep() { [[ $(<"/proc/$namespace/comm") == sleep ]]; }
inside() { nsenter -m -t "$namespace" "$@"; }

wrap_tools() {
	local tool
	mkdir "$test_dir/bin"
	for tool in qsend qwork qbury qkick qdel qcat qpause qstat; do
		script "$test_dir/bin/$tool" <<-END
			QSPOOL=$disk exec nsenter -m -t $namespace $QSPOOL_BIN/$tool "\$@"
		END
	done
	PATH=$test_dir/bin:$PATH
}

# Nothing more fits, not even a small file.
fill_disk() {
	local size again=0
	for size in 1M 64K 1K; do
		head -c 1G /dev/zero | inside dd of="$disk/.ballast.$size" bs="$size" iflag=fullblock conv=fsync 2>/dev/null || true
	done
	for size in {1..64}; do
		inside dd if=/dev/zero of="$disk/.ballast.$size" bs=1K count=1 conv=fsync 2>/dev/null || break
	done
	inside sync -f "$disk"
	# btrfs now and then has room again once it has written all: what it had reserved for that.
	while inside dd if=/dev/zero of="$disk/.ballast.again$((again++))" bs=64K count=1 conv=fsync 2>/dev/null; do
		inside sync -f "$disk"
	done
}
free_disk() { inside find "$disk" -maxdepth 1 -name '.ballast.*' -delete && inside sync -f "$disk"; }


# A handler that says for each job that it ran, and fails for multiples of N.
fail_each() {
	handler=$test_dir/handler
	script "$handler" <<-END
		read -r number
		echo "\$number" >>'$test_dir/ran'
		echo "number \$number" >&2
		[ \$((number % $1)) != 0 ]
	END
	: >"$test_dir/ran"
}
ran() { sort -n "$test_dir/ran" | paste -sd ' '; }
log_count() { grep -c "$1" "$qwork_log" || true; }
log_has() { (($(log_count "$2") >= $1)); }
payload_of() { head -c "$1" /dev/zero | tr '\0' x; }

# drains_when_full N: of 60 jobs all that succeed are done though the disk is full; those
# that fail, each N-th, are retried or held. Each runs once. With room again all are where
# they belong.
drains_when_full() {
	local failing=$((60 / $1))
	fail_each "$1"
	seq 60 | qsend --lines --no-sync >"$test_dir/ids"
	fill_disk
	run_tool qsend < <(payload_of 100000)
	assert_failure 74
	assert_output ''
	assert_regex "$stderr" 'nothing was sent: .*No space left on device'
	assert jobs_are 0 tmp
	start_qwork -j 2 -b 1d..1d -- "$handler"
	wait_for 60 lines_are 60 "$test_dir/ran"
	wait_for 60 successes_are_gone "$failing"
	assert [ "$(log_count 'post-mortem')" -le 3 ]
	assert [ "$(log_count 'is held until it can')" -le "$failing" ]
	free_disk
	wait_for 60 jobs_are "$failing" delay
	assert jobs_are 0 cur
	assert_equal "$(ran)" "$(seq 60 | paste -sd ' ')"
	assert_equal "$(payloads delay | tr ' ' '\n' | sort -n)" "$(seq "$1" "$1" 60)"
	assert_equal "$(attempts_in_delay)" 1
}
successes_are_gone() { (($(job_count cur) + $(job_count delay) + $(job_count new) == $1)); }
attempts_in_delay() { for path in "$QSPOOL"/default/delay/*; do attempts_in "$path"; done | sort -u; }

# Whether a retry finds room depends on when ext4 lets go of what finished jobs had.
@test 'a full ext4: the queue drains, each job runs once' {
	make_disk ext4
	drains_when_full 2
}

@test 'a full btrfs: the queue drains, each job runs once' {
	make_disk btrfs
	drains_when_full 2
}

@test 'a full tmpfs: the queue drains, each job runs once' {
	make_disk tmpfs 512k 1000
	drains_when_full 2
}

# There a directory without a block of its own has room for a few names only.
@test 'a full XFS: the queue drains, each job runs once' {
	make_disk xfs
	drains_when_full 20
}

# full_delay: fails one job whose retry has no room: cur/ has it, delay/ is full.
full_delay() {
	seq 14 | qsend --lines -d 1d >/dev/null # a block of delay/ has room for 17 names
	fail_each 1
	seq 6 | qsend --lines >"$test_dir/ids"
	fill_disk
}
somebody_waits() { log_has 1 'is held until it can' && jobs_are 0 new; }

@test 'a full disk: --drain waits for a retry that has no room, without spinning' {
	make_disk ext4
	full_delay
	start_qwork --drain -b 1d..1d -- "$handler"
	wait_for 60 somebody_waits
	before=$(cpu_ticks "$qwork")
	wait_for 10 after_ms $(($(now_ms) + 2000))
	assert [ $(($(cpu_ticks "$qwork") - before)) -lt 20 ]
	free_disk
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	assert jobs_are 20 delay
	assert jobs_are 0 cur
	assert lines_are 6 "$test_dir/ran"
}
cpu_ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }

@test 'a full disk: a lost job that has no room is logged once and held, and moved when it has' {
	make_disk ext4
	full_delay
	start_qwork -b 1d..1d -- "$handler"
	wait_for 60 somebody_waits
	kill -KILL "$qwork"
	start_qwork -b 1d..1d --scan 100ms -- "$handler"
	wait_for 60 log_has 1 'is held until it can'
	wait_for 10 after_ms $(($(now_ms) + 1500))
	held=$(log_count 'is held until it can')
	assert_equal "$(log_count 'worker lost')" "$held"
	free_disk
	wait_for 60 jobs_are 20 delay
	assert_equal "$(log_count 'worker lost')" "$held"
	assert lines_are 6 "$test_dir/ran"
}

@test 'a full disk: a file dropped into new/ waits, jobs beside it run; --drain exits 74' {
	make_disk tmpfs 512k 1000
	for _ in 1 2 3; do send ''; done # done, they make no room
	: >"$QSPOOL/default/tmp/x"
	mv "$QSPOOL/default/tmp/x" "$QSPOOL/default/new/x"
	fill_disk
	run_qwork --drain -- sh -c 'echo "$QJOB_NAME"'
	assert_failure 74
	assert_equal "${#lines[@]}" 3
	assert_regex "$stderr" 'a job could not be opened.*No space left on device'
	assert_file_exists "$QSPOOL/default/new/x"
	start_qwork -- sh -c 'echo "$QJOB_NAME"'
	wait_for 60 log_has 1 'could not be opened.*No space left on device'
	free_disk
	wait_for 60 spool_is_idle
	assert_equal "$(cat "$qwork_out")" x
}

@test 'a full disk: qstat, qcat and qdel work; qbury, qkick and qpause --for exit 74 and change nothing' {
	make_disk tmpfs 512k 1000
	buried=$(send gone)
	mv "$(job_path "$buried" new)" "$QSPOOL/default/buried/" # which makes no log
	ready=$(send "$(payload_of 8000)")
	fill_disk
	run_tool qstat
	assert_success
	run_tool qcat "$buried"
	assert_output gone
	run_tool qkick "$buried"
	assert_failure 74
	assert_regex "$stderr" 'No space left on device'
	assert_job "$buried" buried
	run_tool qbury "$ready"
	assert_failure 74
	assert_job "$ready" new
	run_tool qpause --for 1h default
	assert_failure 74
	assert_not_exists "$QSPOOL/default/paused"
	run_tool qdel "$ready"
	assert_success
	# What it had makes room.
	run_tool qkick "$buried"
	assert_success
	assert_job "$buried" new
}

@test 'no inodes left: a sender exits 74 and leaves nothing, the queue drains, then all goes on' {
	make_disk tmpfs 4m 32
	fail_each 5
	seq 10 | qsend --lines >"$test_dir/ids"
	fill_inodes
	run_tool qsend <<<11
	assert_failure 74
	assert_output ''
	assert_regex "$stderr" 'nothing was sent: .*No space left on device'
	run_tool qsend -q other <<<11
	assert_failure 74
	refute [ -e "$QSPOOL/other" ]
	assert_equal "$(find "$QSPOOL" -name '.draft-*')" ''
	run_qwork --drain -b 1d..1d -- "$handler"
	assert_success
	assert_equal "$(ran)" "$(seq 10 | paste -sd ' ')"
	assert jobs_are 2 delay
	free_disk
	qsend <<<11
	run_qwork --drain -- "$handler"
	assert_success
	assert [ "$(wc -l <"$test_dir/ran")" -eq 11 ]
}
# With a file of one byte for each.
fill_inodes() {
	inside sh -c "i=0; while : >'$disk/.ballast.'\$i; do i=\$((i + 1)); done" 2>/dev/null || true
}

remount() { inside mount -o "remount,$1" "$disk"; }

@test 'remounted read-only: one line and a pause that grows; read-write again, all goes on' {
	make_disk ext4
	fail_each 100
	start_qwork -- "$handler"
	wait_for 20 watches "$qwork"
	kill -STOP "$qwork"
	seq 20 | qsend --lines >"$test_dir/ids"
	remount ro
	kill -CONT "$qwork"
	wait_for 60 log_has 2 'outcome=held .*Read-only file system'
	assert [ "$(wc -l <"$qwork_log")" -le 4 ]
	id=$(head -n 1 "$test_dir/ids")
	for tool in qbury qdel; do
		run_tool "$tool" "$id"
		assert_failure 77
		assert_regex "$stderr" 'Read-only file system'
	done
	run_tool qsend <<<x
	assert_failure 77
	assert_regex "$stderr" 'nothing was sent: .*Read-only file system'
	run_qwork --drain -- "$handler"
	assert_failure 77
	assert_regex "$stderr" 'outcome=held .*Read-only file system'
	assert jobs_are 20 new
	remount rw
	wait_for 90 spool_is_idle
	assert_equal "$(ran)" "$(seq 20 | paste -sd ' ')"
}

# As the kernel does itself at an error of the disk: also while files are open for writing.
@test 'read-only while a job runs: its success is held; after a repair it runs again at worst' {
	make_disk ext4 # errors=remount-ro
	need_sysfs_error
	make_gate
	id=$(send x)
	start_qwork -- "$gate"
	wait_for 20 at_gate "$id"
	inside sh -c "echo 1 >'$fs_error'"
	open_gate
	wait_for 60 log_has 1 'is held until it can.*Read-only file system'
	assert_job "$id" cur
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_equal "$status" 0
	inside umount "$disk"
	inside fsck.ext4 -p "$test_dir/image" || (($? == 1))
	inside mount -o loop "$test_dir/image" "$disk"
	run_qwork --drain=all -b 1ms..1ms -- "$gate"
	assert_success
	assert_spool_empty
}
need_sysfs_error() {
	local device
	device=$(inside findmnt -no SOURCE "$disk")
	fs_error=/sys/fs/ext4/${device##*/}/trigger_fs_error
	[[ -w $fs_error ]] || skip "needs $fs_error"
}

@test 'its log on a full disk, or a pipe that nobody reads: qwork goes on' {
	make_disk tmpfs 512k 1000
	fail_each 2
	seq 6 | qsend --lines >"$test_dir/ids"
	fill_disk
	qwork_log=$QSPOOL/.log
	run_tool sh -c 'exec timeout -k 10 60 qwork --drain -v -b 1d..1d -- "$0" </dev/null 2>"$1"' "$handler" "$qwork_log"
	assert_success
	assert_equal "$(ran)" '1 2 3 4 5 6'
	free_disk
	mv "$QSPOOL"/default/delay/* "$QSPOOL/default/new/"
	qwork --drain -v -b 1d..1d -- "$handler" </dev/null 2>&1 >/dev/null | true
	assert jobs_are 3 delay
	assert lines_are 9 "$test_dir/ran"
}

@test 'a full disk: jobs are sent and run without statistics that have no room; those that are there count' {
	make_disk tmpfs 512k 1000
	fail_each 1000
	room=$(send "$(payload_of 8000)")
	rm "$QSPOOL/default/stats"
	fill_disk
	qdel "$room"
	send 1 >/dev/null
	assert_not_exists "$QSPOOL/default/stats"
	assert jobs_are 0 tmp
	free_disk
	send 2 >/dev/null
	assert_file_exists "$QSPOOL/default/stats"
	fill_disk
	run_qwork --drain -- "$handler"
	assert_success
	assert_equal "$(qstat --stats --json | jq -c '[.all.sent, .all.finished]')" '[1,2]'
}
