#!/usr/bin/env bats
# What a queue's settings say, and that a qwork which runs obeys them when they change: with
# --scan 1h that is found by an event.

load helper

settings() { printf '%s\n' "$@" >"$QSPOOL/default/settings"; }

setup() {
	common_setup
	qdel "$(send x)"
}

# start_teller OPTION...: a qwork that prints of each job its payload, its attempts and the arguments.
start_teller() {
	script "$QSPOOL/default/handler" <<<'echo "$(cat) $QJOB_ATTEMPTS" "$@"'
	start_qwork --scan 1h "$@"
	wait_for 20 watches "$qwork"
}

ran() { grep -qxF "$1" "$qwork_out"; }

# tell PAYLOAD ATTEMPTS
tell() {
	send "$1" >/dev/null
	wait_for 60 ran "$1 $2"
}

# soon_told NUMBER PAYLOAD: that a job has so many attempts; tried with one job after the other, since the event
# of a job may be read before that of the settings.
soon_told() { wait_for 60 told "$@"; }
told() {
	local before
	before=$(wc -l <"$qwork_out")
	send x >/dev/null
	wait_for 60 lines_are $((before + 1)) "$qwork_out"
	[[ $(tail -n 1 "$qwork_out") == "x $*" ]]
}

@test 'attempts: written, overwritten, replaced, removed' {
	start_teller
	tell a 10
	settings 'attempts 3'
	soon_told 3
	settings 'attempts 4'
	soon_told 4
	echo 'attempts 5' >"$QSPOOL/default/new settings"
	mv "$QSPOOL/default/new settings" "$QSPOOL/default/settings"
	soon_told 5
	sed -i 's/5/6/' "$QSPOOL/default/settings"
	soon_told 6
	rm "$QSPOOL/default/settings"
	soon_told 10
	assert_equal "$(cat "$qwork_log")" ''
}

@test 'arg: before those of the job, with spaces as they are and as vis(1) writes them' {
	start_teller
	settings 'arg --size' 'arg two words' 'arg \040led'
	soon_told 10 --size 'two words' ' led'
	send own -- more >/dev/null
	wait_for 60 ran 'own 10 --size two words  led more'
	settings ''
	soon_told 10
}

@test 'arg is for the handler of the queue, not for a command' {
	settings 'arg x'
	send 1
	drain -- echo command
	assert_output command
}

@test 'timeout and backoff are those of now' {
	script "$QSPOOL/default/handler" <<<'read -r what; echo "$what $QJOB_ATTEMPTS"; [ "$what" = x ] || exec sleep 60'
	start_qwork --scan 1h
	wait_for 20 watches "$qwork"
	settings 'timeout 3s' 'backoff 500s..500s' 'attempts 2'
	soon_told 2
	send slow >/dev/null
	wait_for 60 jobs_are 1 delay
	assert log_has 1 'cause="timed out"'
	assert_waits 250 500 "$(sole_job delay)"
}

# assert_waits FROM TO PATH: a job in delay/, so many seconds; half a minute may be over since.
assert_waits() {
	local left=$(($(due_in "$3") - $(now_ms)))
	assert [ "$left" -gt $((($1 - 30) * 1000)) ]
	assert [ "$left" -le $(($2 * 1000)) ]
}

@test 'jobs: a ceiling that comes, grows and goes' {
	make_gate
	start_qwork --scan 1h -j 4 -- "$gate"
	wait_for 20 watches "$qwork"
	settings 'jobs 1' 'attempts 3'
	seq 8 | qsend --lines >/dev/null
	wait_for 60 all_at_gate 1
	settings 'jobs 3'
	wait_for 60 all_at_gate 3
	assert jobs_are 3 cur
	rm "$QSPOOL/default/settings"
	wait_for 60 all_at_gate 4
	assert jobs_are 4 cur
}

@test "the job's own goes before the command line, that before the settings, those before what is built in" {
	settings 'attempts 4' 'backoff 3000s..3000s' 'timeout 1s'
	own=$(send job -A 2 -b 100s..100s -t 1m)
	line=$(send line)
	drain -A 3 -b 1000s..1000s -t 1m -- sh -c 'echo "$(cat) $QJOB_ATTEMPTS"; exit 1'
	assert_output $'job 2\nline 3'
	refute_regex "$stderr" 'timed out'
	assert_waits 50 100 "$(job_path "$own" delay)"
	assert_waits 500 1000 "$(job_path "$line" delay)"
	send settings
	drain -- sh -c 'echo "$QJOB_ATTEMPTS"; exec sleep 60'
	assert_output 4
	assert_regex "$stderr" 'timed out'
	last=$(find "$QSPOOL/default/delay" -type f | sort | tail -n 1)
	assert_waits 1500 3000 "$last"
}

@test 'wrong lines are named once each time that the settings change, the others are obeyed' {
	start_teller --scan 100ms
	settings 'attempts 0' 'colour red' 'attempts 3' 'jobs many' 'weight 0' 'expires 2026-11-22T04:15:51Z'
	soon_told 3
	wait_for 60 log_has 5 'a line of settings is ignored'
	for line in 1 2 4 5 6; do assert log_has 1 "line=$line "; done
	for _ in 1 2 3 4 5; do told 3; done
	assert_equal "$(wc -l <"$qwork_log")" 5
	settings 'attempts none' 'attempts 4'
	soon_told 4
	assert_equal "$(wc -l <"$qwork_log")" 6
}

@test 'settings that are refused do not count, which is said once, and do when they are mended' {
	start_teller -q default
	settings 'attempts 3'
	soon_told 3
	chmod g+w "$QSPOOL/default/settings"
	soon_told 10
	echo 'attempts 4' >>"$QSPOOL/default/settings"
	wait_for 60 told 10
	assert_equal "$(grep -c 'settings are refused' "$qwork_log")" 1
	chmod g-w "$QSPOOL/default/settings"
	soon_told 3
	rm "$QSPOOL/default/settings"
	mkdir "$QSPOOL/default/settings"
	soon_told 10
	assert_equal "$(grep -c 'settings are refused' "$qwork_log")" 2
}

@test 'many edits in a row, of each kind: the last one counts' {
	start_teller
	python3 - "$QSPOOL/default" <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		for n in range(2, 1001):
		    name = "settings" if n % 3 else "aside"
		    with open(name, "w") as f:
		        f.write("attempts %d\n" % n)
		    if name == "aside":
		        os.rename("aside", "settings")
		    if n % 7 == 0:
		        os.unlink("settings")
	END
	soon_told 1000
	assert_equal "$(cat "$qwork_log")" ''
}

@test 'settings that changed while events were lost are read' {
	events=$(cat /proc/sys/fs/inotify/max_queued_events)
	((events <= 100000)) || skip "needs fewer than $events events for an overflow"
	start_teller
	kill -STOP "$qwork"
	python3 - "$QSPOOL/default/overflow" $((events / 2 + 100)) <<-'END'
		import os, sys
		for _ in range(int(sys.argv[2])):
		    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))
		    os.unlink(sys.argv[1])
	END
	settings 'attempts 3'
	kill -CONT "$qwork"
	soon_told 3
}

@test 'settings that cannot be read for lack of descriptors stay as they were' {
	start_teller
	settings 'attempts 3'
	soon_told 3
	prlimit --pid "$qwork" --nofile=3:
	settings 'attempts 4'
	wait_for 60 log_has 1 'settings cannot be read: what was read before counts'
	prlimit --pid "$qwork" --nofile=1024:
	tell b 3
	settings 'attempts 5'
	soon_told 5
}

@test 'settings that are too long are not cut: what was read before counts' {
	start_teller
	settings 'attempts 3'
	soon_told 3
	settings "$(head -c 65526 /dev/zero | tr '\0' '\n' && echo 'attempts 44')"
	wait_for 60 log_has 1 'settings cannot be read: what was read before counts'
	tell b 3
	settings "$(head -c 65525 /dev/zero | tr '\0' '\n' && echo 'attempts 4')"
	soon_told 4
}
