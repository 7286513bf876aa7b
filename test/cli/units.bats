#!/usr/bin/env bats
# The units of systemd: as systemd's own tools see them, and under a systemd of the test's own.

load helper
load nats

setup() {
	common_setup
	need_command systemd-analyze
	units=$test_dir/units
	mkdir "$units"
	for unit in qwork.service qwork@.service qrelay-push@.service qrelay-pull@.service; do
		sed "s|@bindir@|$QSPOOL_BIN|" "${top_srcdir:-$BATS_TEST_DIRNAME/../..}/share/systemd/$unit.in" >"$units/$unit"
	done
}

@test 'systemd-analyze verify has nothing to say of the units' {
	# Of a program that is missing it has something to say.
	[[ -x $QSPOOL_BIN/qrelay ]] || rm "$units"/qrelay-*
	run systemd-analyze verify --man=no "$units"/*.service
	assert_success
	assert_output ''
}

@test 'systemd-analyze security finds no more open than handlers need' {
	systemd-analyze security --help | grep -q -- --offline || skip 'needs systemd 250'
	for unit in qwork.service qwork@.service; do
		run systemd-analyze security --offline=true --threshold=85 "$units/$unit"
		assert_success
	done
	for unit in qrelay-push@.service qrelay-pull@.service; do
		run systemd-analyze security --offline=true --threshold=25 "$units/$unit"
		assert_success
	done
}

@test 'nothing in the units keeps handlers from sendmail or sudo' {
	# systemd.exec(5): each of these is NoNewPrivileges=, or implies it for a unit with User=.
	run grep -E '^(NoNewPrivileges|DynamicUser|PrivateDevices|Protect(Clock|Hostname|Kernel[A-Za-z]*)|LockPersonality|MemoryDenyWriteExecute|Restrict(AddressFamilies|FileSystems|Namespaces|Realtime|SUIDSGID)|SystemCall[A-Za-z]*)=' "$units"/qwork*
	assert_output ''
	assert_file_contains "$units/qwork.service" '^User=qspool$'
}

# --- a systemd of our own --------------------------------------------------------

teardown() {
	[[ -z ${init:-} ]] || kill -KILL "$init"
	common_teardown
	[[ -z ${group:-} ]] || wait_for 20 no_group
}
no_group() { find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [[ ! -e $group ]]; }

# In namespaces and a control group of its own, where it sees these units alone and changes nothing but the test's
# directory.
boot_systemd() {
	need_mounts
	need_command nsenter
	group=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)/qspool-test-$$
	mkdir "$group" 2>/dev/null || { group='' && skip 'needs a cgroup2 to write to'; }
	systemd=$(command -v /lib/systemd/systemd /usr/lib/systemd/systemd | head -n 1)
	[[ -n $systemd ]] || skip 'needs systemd'
	for target in sysinit basic shutdown default; do
		printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$units/$target.target"
	done
	script "$test_dir/boot" <<-END
		set -e
		echo 0 >'$group/cgroup.procs'
		exec unshare --pid --fork --mount --mount-proc --cgroup --uts --ipc --kill-child '$test_dir/init'
	END
	script "$test_dir/init" <<-END
		set -e
		mount --make-rprivate /
		mount --bind '$test_dir' '$test_dir'
		for place in / /sys /proc/sys; do
			[ \$place != /proc/sys ] || mount --bind \$place \$place
			mount -o remount,bind,ro \$place
		done
		mount -t tmpfs tmpfs /run
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		exec env container=other SYSTEMD_UNIT_PATH='$units' '$systemd' --system --unit=default.target
	END
	start "$test_dir/boot" </dev/null >"$test_dir/boot.log" 2>&1
	wait_for 30 has_booted || skip "systemd does not start here: $(cat "$test_dir/boot.log")"
}
has_booted() {
	init=$(tr -d ' ' <"/proc/$started/task/$started/children")
	[[ -n $init ]] && ctl is-system-running
}
ctl() { nsenter -t "$init" -a systemctl --no-ask-password "$@"; }
# property UNIT NAME
property() { ctl show -P "$2" "$1"; }
property_is() { [[ $(property "$1" "$2") == "$3" ]]; }

# What the units leave to each site; and a watchdog that a test can wait for.
localize() {
	mkdir "$units/service.d"
	cat >"$units/service.d/local.conf" <<-END
		[Unit]
		DefaultDependencies=no
		[Service]
		User=
		Group=
		Environment=QSPOOL=$QSPOOL TMPDIR=$test_dir
		WatchdogSec=1s
		RestartSec=0
	END
}

@test 'the units of qwork run under systemd: ready, reloaded, started again if they hang, and ended' {
	localize
	make_gate
	for queue in a b; do
		qdel -q "$queue" "$(send x -q "$queue")"
		cp "$gate" "$QSPOOL/$queue/handler"
	done
	boot_systemd
	ctl start qwork@a
	assert property_is qwork@a StatusText 'a: 0 running, 0 ready'
	id=$(send x -q a)
	wait_for 60 at_gate "$id"
	wait_for 60 property_is qwork@a StatusText 'a: 1 running, 0 ready'
	ctl reload qwork@a
	ctl stop --no-block qwork@a
	wait_for 60 property_is qwork@a ActiveState deactivating
	open_gate
	wait_for 60 property_is qwork@a ActiveState inactive
	assert_equal "$(property qwork@a Result)" success
	assert_spool_empty a

	ctl start qwork
	assert property_is qwork StatusText '0 running, 0 ready in 2 queues'
	nsenter -t "$init" -a kill -STOP "$(property qwork MainPID)"
	wait_for 60 property_is qwork NRestarts 1
	wait_for 60 property_is qwork ActiveState active
	send x -q b
	wait_for 60 spool_is_idle b
	assert_spool_empty b
	ctl stop qwork
	assert_equal "$(property qwork Result)" success
}

@test 'the units of qrelay run under systemd, as strictly as they are confined, and end without leaving anything behind' {
	need_nats
	localize
	for unit in push pull; do
		mkdir "$units/qrelay-$unit@.service.d"
		# The test and the tools may be in the first two; the others need mounts that this systemd cannot make.
		cat >"$units/qrelay-$unit@.service.d/relay.conf" <<-END
			[Service]
			EnvironmentFile=
			EnvironmentFile=$test_dir/relay.env
			ReadWritePaths=$test_dir
			PrivateTmp=no
			ProtectHome=no
			PrivateDevices=no
			ProtectKernelTunables=no
			# What looks for leaks at the end traces the process, which the confinement forbids.
			Environment=ASAN_OPTIONS=detect_leaks=0
		END
	done
	start_nats one
	echo "QRELAY_URL=${nats_url[one]}" >"$test_dir/relay.env"
	boot_systemd
	send x -q a
	ctl start qrelay-push@a
	wait_for 20 stream_has 1 QSPOOL_JOBS_a
	wait_for 20 property_is qrelay-push@a StatusText 'a: 0 running, 0 ready'
	ctl stop qrelay-push@a
	assert_equal "$(property qrelay-push@a Result)" success
	assert_spool_empty a

	ctl start qrelay-pull@a
	start_qwork -q a -j 2 -- true
	wait_for 60 stream_has 0 QSPOOL_JOBS_a
	kill -TERM "$qwork"
	ctl stop qrelay-pull@a
	assert_equal "$(property qrelay-pull@a Result)" success
}
