#!/usr/bin/env bats
# qsend: what it prints, what it puts into the spool, and how it fails.

load helper

# The lines of the only job's meta file.
meta_lines() { cat "$QSPOOL/default/meta/"*; }

assert_meta() {
	run meta_lines
	assert_line "$1"
	assert_regex "$(sole_job "${2:-new}")" ',m'
}

# assert_due_within FROM TO: DUE of the only delayed job, ms.
assert_due_within() {
	local due
	due=$(due_in "$(sole_job delay)")
	assert [ "$due" -ge "$1" ]
	assert [ "$due" -le "$2" ]
}

@test 'qsend --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qsend
}

@test 'qsend prints the id of the job and nothing else' {
	run_tool qsend <<<hello
	assert_success
	assert_output --regexp "^$ID\$"
	assert_equal "$stderr" ''
	assert_exists "$QSPOOL/default/new/50.$output.0"
}

@test 'the job file is the payload byte for byte' {
	printf 'one\0two\n\377 three' >"$test_dir/payload"
	qsend <"$test_dir/payload"
	assert_files_equal "$test_dir/payload" "$(sole_job new)"
}

@test 'a plain job needs no meta and no log, and leaves nothing in tmp/' {
	qsend <<<hello
	assert_equal "$(job_count meta) $(job_count log) $(job_count tmp)" '0 0 0'
}

@test 'an empty input is an empty job' {
	qsend </dev/null
	assert_size_zero "$(sole_job new)"
}

@test 'the payload may come from a file: -f, --file' {
	echo content >"$test_dir/payload"
	qsend -f "$test_dir/payload" -q one
	qsend --file "$test_dir/payload" --queue=two
	assert_files_equal "$test_dir/payload" "$(sole_job new one)"
	assert_files_equal "$test_dir/payload" "$(sole_job new two)"
}

@test 'a missing --file exits 66 and sends nothing' {
	run_tool qsend -f "$test_dir/none" </dev/null
	assert_failure 66
	assert_output ''
	assert_regex "$stderr" "^qsend: .*$test_dir/none"
	assert_equal "$(job_count new)" 0
}

@test 'an unreadable --file exits 77 and sends nothing' {
	need_command setpriv
	echo secret >"$test_dir/payload"
	chmod 0 "$test_dir/payload"
	run_tool powerless qsend -f "$test_dir/payload"
	assert_failure 77
	assert_output ''
	assert_equal "$(job_count new)" 0
}

@test 'a directory as --file sends nothing' {
	run_tool qsend -f "$test_dir"
	assert_failure
	assert_output ''
	assert_equal "$(job_count new) $(job_count tmp)" '0 0'
}

@test 'a queue comes into being when first sent to, with all its directories' {
	send x -q mail.out-2_b
	for state in "${STATES[@]}"; do
		assert_dir_exists "$QSPOOL/mail.out-2_b/$state"
	done
}

@test 'a queue name may have 64 characters' {
	send x -q "$(printf 'q%.0s' {1..64})"
}

@test 'priority goes into the name: -p, --priority' {
	a=$(send a -p 7)
	b=$(send b --priority 99)
	c=$(send c -p 0)
	assert_exists "$QSPOOL/default/new/07.$a.0"
	assert_exists "$QSPOOL/default/new/99.$b.0"
	assert_exists "$QSPOOL/default/new/00.$c.0"
}

@test 'a wrong priority exits 64' {
	for value in 100 -1 x 5.5 ''; do assert_usage qsend -p "$value"; done
	assert_not_exists "$QSPOOL"
}

@test '--delay puts the job into delay/ until then: -d, --delay' {
	before=$(now_ms)
	id=$(send x -d 10m)
	after=$(now_ms)
	assert_regex "$(sole_job delay)" "/$STAMP\.50\.$id\.0\$"
	assert_due_within $((before + 600000)) $((after + 600001))
	assert_equal "$(job_count new)" 0
	send y -q long --delay 1h30m
	assert_equal "$(job_count delay long)" 1
}

@test '--delay 0 is now' {
	send x -d 0
	assert_equal "$(job_count new) $(job_count delay)" '1 0'
}

@test '--at takes an epoch: -a, --at' {
	send x -a @4102444800
	assert_regex "$(sole_job delay)" '/21000101T000000\.000Z\.50\.'
	send x -q long --at @4102444800.5
	assert_regex "$(sole_job delay long)" '/21000101T000000\.500Z\.50\.'
}

@test '--at takes RFC 3339 with a zone' {
	send x -q utc --at 2100-01-01T00:00:00Z
	assert_regex "$(sole_job delay utc)" '/21000101T000000\.000Z\.'
	send x -q east --at 2100-01-01T00:00:00.250+02:00
	assert_regex "$(sole_job delay east)" '/20991231T220000\.250Z\.'
}

@test '--at takes HH:MM, the next such local time' {
	before=$(now_ms)
	TZ=Asia/Tokyo send x --at 07:30
	run due_in "$(sole_job delay)"
	assert_equal "$(TZ=Asia/Tokyo date -d "@$((output / 1000))" +%H:%M:%S)" 07:30:00
	assert_due_within "$before" $((before + 86460000))
}

@test '--at a time in the past is now' {
	send x --at 2001-01-01T00:00:00Z
	assert_equal "$(job_count new) $(job_count delay)" '1 0'
}

@test 'wrong times and durations exit 64' {
	for value in 10x m '' -5 1m1h '1 h' 5m5; do assert_usage qsend -d "$value"; done
	for value in tomorrow 25:00 12:60 2100-01-01 2100-01-01T00:00:00 2100-02-30T00:00:00Z @ ''; do
		assert_usage qsend -a "$value"
	done
	assert_not_exists "$QSPOOL"
}

@test '--delay and --at exclude each other' {
	assert_usage qsend -d 1m -a @4102444800
}

@test 'limits of a job go into its meta: -A -b -t' {
	send x -A 3 -b 1s..1h -t 30s
	assert_meta 'attempts 3'
	assert_meta 'backoff 1s..1h'
	assert_meta 'timeout 30s'
}

@test 'limits of a job go into its meta: --attempts --backoff --timeout' {
	send x --attempts 3 --backoff 1s..1h --timeout 30s
	assert_meta 'attempts 3'
	assert_meta 'backoff 1s..1h'
	assert_meta 'timeout 30s'
}

@test 'wrong limits exit 64' {
	for value in 0 -1 x 1.5 '' 1000000000000; do assert_usage qsend -A "$value"; done
	for value in x 1h..1s ..1h 1s..2s..3s ''; do assert_usage qsend -b "$value"; done
	for value in x 0 -1s ''; do assert_usage qsend -t "$value"; done
	for value in x -1s ''; do assert_usage qsend -T "$value"; done
	assert_not_exists "$QSPOOL"
}

@test '--ttl becomes the time at which the job expires: -T, --ttl' {
	send x -T 1h
	run meta_lines
	assert_line --regexp "^expires $RFC3339\$"
	send x -q long --ttl 1h
	assert_equal "$(job_count meta long)" 1
}

@test 'only the environment that is named travels: -e, --env' {
	HUNGRY=yes send x -e HUNGRY -e 'FULL=not quite' --env EMPTY=
	assert_meta 'env HUNGRY=yes'
	assert_meta 'env EMPTY='
	assert_equal "$(meta_lines | grep -c '^env ')" 3
}

@test '--env of a variable that is not set exits 64' {
	unset NO_SUCH_VARIABLE
	assert_usage qsend -e NO_SUCH_VARIABLE
	assert_not_exists "$QSPOOL"
}

@test '--env of what is ours or is no name exits 64' {
	for value in QSPOOL QSPOOL=/tmp QJOB_ID=x QJOB_=x QJOB_FILE 1A=x A-B=x =x ''; do
		QJOB_FILE=x assert_usage qsend -e "$value"
	done
	assert_not_exists "$test_dir/spool"
}

@test 'own headers go into the meta: -H, --header' {
	send x -H 'From: me' --header 'X-Trace: 17'
	run meta_lines
	assert_line --regexp '^header From:.*me$'
	assert_line --regexp '^header X-Trace:.*17$'
}

@test 'wrong headers exit 64' {
	for value in '' nothing ': value' 'A B: value' "$(printf 'h%.0s' {1..65}): v"; do
		assert_usage qsend -H "$value"
	done
}

@test 'a meta file ends with its checksum' {
	send x -A 3
	run meta_lines
	assert_equal "${lines[0]}" 'qspool 1'
	assert_regex "${lines[-1]}" '^end [0-9a-f]{8}$'
}

@test 'arguments after -- go to the handler' {
	send x -- one '' 'two words' $'a\nline' -x --delay
	drain -- sh -c 'printf "<%s>" "$@"' handler fixed
	assert_success
	assert_output $'<fixed><one><><two words><a\nline><-x><--delay>'
}

@test '--lines sends a job for each line and keeps its newline: -l, --lines' {
	run_tool qsend -l <<<$'one\n\nthree'
	assert_success
	assert_equal "${#lines[@]}" 3
	run -0 qcat "${lines[@]}"
	assert_output $'one\n\nthree'
	assert_equal "$(job_count new)" 3
	run_tool qsend --lines -q long <<<$'one\ntwo'
	assert_equal "$(job_count new long)" 2
}

@test '--lines prints the ids in the order of the records, and they sort so' {
	run_tool qsend --lines < <(seq 500)
	assert_success
	assert_equal "$output" "$(LC_ALL=C sort <<<"$output")"
	assert_equal "$(sort -u <<<"$output" | wc -l)" 500
	assert_equal "$(cat "$QSPOOL/default/new/"*)" "$(seq 500)"
}

@test '--lines takes a last line without its newline' {
	qsend --lines < <(printf 'one\ntwo')
	assert_equal "$(job_count new)" 2
	assert_equal "$(cat "$QSPOOL/default/new/"* | od -c)" "$(printf 'one\ntwo' | od -c)"
}

@test '--lines of nothing sends nothing and exits 0' {
	run_tool qsend --lines </dev/null
	assert_success
	assert_output ''
	assert_equal "$(job_count new)" 0
}

@test '--lines reads a --file' {
	printf 'a\nb\n' >"$test_dir/list"
	qsend --lines --file "$test_dir/list" </dev/null
	assert_equal "$(job_count new)" 2
}

@test '--null sends a job for each record and drops its NUL: -0, --null' {
	printf 'one\n\0\0three' >"$test_dir/list"
	run_tool qsend -0 <"$test_dir/list"
	assert_success
	assert_equal "${#lines[@]}" 3
	assert_equal "$(qcat "${lines[0]}" | od -c)" "$(printf 'one\n' | od -c)"
	assert_equal "$(qcat "${lines[1]}" | wc -c)" 0
	assert_equal "$(qcat "${lines[2]}")" three
	qsend --null -q long <"$test_dir/list"
	assert_equal "$(job_count new long)" 3
}

@test '--per-job puts so many records into each job' {
	run_tool qsend --lines --per-job 3 < <(seq 7)
	assert_success
	assert_equal "${#lines[@]}" 3
	assert_equal "$(qcat "${lines[0]}")" $'1\n2\n3'
	assert_equal "$(qcat "${lines[1]}")" $'4\n5\n6'
	assert_equal "$(qcat "${lines[2]}")" 7
}

@test '--per-job needs records, and a number' {
	assert_usage qsend --per-job 3
	for value in 0 -1 x ''; do assert_usage qsend --lines --per-job "$value"; done
}

@test '--lines and --null exclude each other' {
	assert_usage qsend --lines --null
}

@test 'records share the options of their qsend' {
	qsend --lines -p 3 -A 2 -- argument < <(seq 3) >/dev/null
	assert_equal "$(job_count meta)" 3
	drain -- sh -c 'echo "$1 $QJOB_ATTEMPTS $QJOB_PRIORITY $(cat)"' handler
	assert_output $'argument 2 3 1\nargument 2 3 2\nargument 2 3 3'
}

@test '--lines commits what it has when its input pauses' {
	mkfifo "$test_dir/input"
	start qsend --lines <>"$test_dir/input" >"$test_dir/ids"
	sender=$started
	echo one >"$test_dir/input"
	wait_for 20 jobs_are 1 new
	wait_for 20 test -s "$test_dir/ids"
	echo two >"$test_dir/input"
	wait_for 20 jobs_are 2 new
	refute gone "$sender"
}

@test 'ids sort by time of sending, across processes and queues' {
	ids=()
	for i in 1 2 3 4 5 6 7 8; do ids+=("$(send "$i" -q "q$((i % 3))")"); done
	assert_equal "${ids[*]}" "$(printf '%s\n' "${ids[@]}" | LC_ALL=C sort | paste -sd ' ')"
}

@test 'an id tells the time of sending' {
	before=$(forged_id 1)
	id=$(send x)
	after=$(forged_id -1)
	[[ $before < $id && $id < $after ]] || fail "not $before < $id < $after"
}

@test 'a new spool is for its user alone, whatever the umask' {
	for mask in 000 022 077 027; do
		umask "$mask"
		QSPOOL=$test_dir/spool.$mask
		send x -A 2
		assert_equal "$(stat -c %a "$QSPOOL")" 700
		assert_equal "$(stat -c %a "$(sole_job new)")" 600
	done
}

@test 'in a group spool everything is for the group, whatever the umask' {
	for mask in 000 022 077 027; do
		umask "$mask"
		QSPOOL=$test_dir/spool.$mask
		install -d -m 2770 "$QSPOOL"
		send x -A 2
		assert_equal "$mask $(stat -c %a "$QSPOOL/default")" "$mask 2770"
		for state in "${STATES[@]}"; do
			assert_equal "$mask $state $(stat -c %a "$QSPOOL/default/$state")" "$mask $state 2770"
		done
		assert_equal "$mask $(stat -c %a "$(sole_job new)")" "$mask 660"
		# What decides about a handler's environment only the sender may write.
		assert_equal "$mask $(stat -c %a "$(sole_job meta)")" "$mask 640"
	done
}

@test '--spool goes before $QSPOOL: -s, --spool' {
	send x -s "$test_dir/other"
	send y --spool "$test_dir/other"
	assert_not_exists "$QSPOOL"
	QSPOOL=$test_dir/other
	assert_equal "$(job_count new)" 2
}

@test 'without $QSPOOL the spool is $XDG_STATE_HOME/qspool, else ~/.local/state/qspool' {
	[[ ! -e /var/spool/qspool ]] || skip 'this machine has /var/spool/qspool'
	echo x | env -u QSPOOL XDG_STATE_HOME="$test_dir/state" qsend
	echo x | env -u QSPOOL HOME="$test_dir/home" qsend
	QSPOOL=$test_dir/state/qspool sole_job new
	QSPOOL=$test_dir/home/.local/state/qspool sole_job new
}

@test 'a spool that may not be written exits 77 and sends nothing' {
	need_command setpriv
	mkdir "$QSPOOL"
	chmod 0500 "$QSPOOL"
	run_tool powerless qsend <<<x
	assert_failure 77
	assert_output ''
	assert_regex "$stderr" "^qsend: .*$QSPOOL"
}

@test 'a spool that may not be searched exits 77' {
	need_command setpriv
	mkdir "$QSPOOL"
	chmod 0 "$QSPOOL"
	run_tool powerless qsend <<<x
	assert_failure 77
	assert_output ''
}

@test 'a read-only file system exits 77' {
	need_mounts
	send x
	run_tool unshare -m sh -c 'mount --bind "$QSPOOL" "$QSPOOL" &&
		mount -o remount,bind,ro "$QSPOOL" && echo y | qsend'
	assert_failure 77
	assert_output ''
	assert_equal "$(job_count new)" 1
}

@test 'a spool whose path is a file sends nothing' {
	: >"$QSPOOL"
	run_tool qsend <<<x
	assert_failure
	assert_output ''
	assert_regex "$stderr" "^qsend: .*$QSPOOL"
}

@test 'a full disk exits 74, and nothing is sent and nothing left' {
	need_mounts
	mkdir "$QSPOOL"
	run_tool unshare -m sh -c 'mount -t tmpfs -o size=512k,mode=700 none "$QSPOOL" &&
		{ head -c 4M /dev/zero | qsend; status=$?
		  find "$QSPOOL" -type f -printf "left %P\n"; exit $status; }'
	assert_failure 74
	assert_output ''
	assert_regex "$stderr" '^qsend: '
}

@test 'a full disk does not undo the records that were sent before' {
	need_mounts
	mkdir "$QSPOOL"
	run_tool unshare -m sh -c 'mount -t tmpfs -o size=512k,mode=700 none "$QSPOOL" &&
		{ seq 2 | qsend --lines && head -c 4M /dev/zero | qsend; status=$?
		  cat "$QSPOOL"/default/new/*; exit $status; }'
	assert_failure 74
	assert_equal "${#lines[@]}" 4
	assert_equal "${lines[2]} ${lines[3]}" '1 2'
}

@test 'a queue whose directories are on two file systems exits 78' {
	need_mounts
	send x
	run_tool unshare -m sh -c 'mount -t tmpfs none "$QSPOOL/default/new" && echo y | qsend'
	assert_failure 78
	assert_output ''
	assert_equal "$(job_count new)" 1
	run_tool unshare -m sh -c 'mount -t tmpfs none "$QSPOOL/default/cur" && qwork --drain -- true'
	assert_failure 78
}

@test 'an id that cannot be printed exits 75: the job was sent all the same' {
	[[ -w /dev/full ]] || skip 'needs /dev/full'
	status=0
	qsend <<<x >/dev/full 2>"$test_dir/stderr" || status=$?
	assert_equal "$status" 75
	assert_file_contains "$test_dir/stderr" '^qsend: .* sent'
	assert_equal "$(job_count new)" 1
}

@test 'a qsend that is killed has sent nothing' {
	mkfifo "$test_dir/input"
	start qsend <>"$test_dir/input" >"$test_dir/ids"
	head -c 20000 /dev/zero >"$test_dir/input"
	wait_for 20 jobs_are 1 tmp
	kill -KILL "$started"
	exit_status 20 "$started"
	assert_equal "$(job_count new)" 0
	assert_size_zero "$test_dir/ids"
}

@test '--no-sync marks the job with its length and checksum' {
	id=$(send 123456789 --no-sync)
	assert_exists "$QSPOOL/default/new/50.$id.0,s9-e3069283"
	drain -- cat
	assert_output 123456789
	assert_spool_empty
}

@test 'a torn job that was sent with --no-sync is buried and never runs' {
	send 123456789 --no-sync -q short
	truncate -s 5 "$(sole_job new short)"
	send 123456789 --no-sync -q zeros
	truncate -s 0 "$(sole_job new zeros)"
	truncate -s 9 "$(sole_job new zeros)"
	for queue in short zeros; do
		drain -q "$queue" -- cat
		assert_success
		assert_output ''
		assert_equal "$(job_count buried "$queue")" 1
		assert_regex "$stderr" 'outcome=buried'
	done
}

@test 'the payload is on disk before it is published, and its new name before the id is printed' {
	need_strace
	strace -o "$test_dir/calls" -e trace=fsync,renameat2,write,writev qsend <<<x
	calls=$(sed -nE 's/^(fsync)\(.*/\1/p; s/^(renameat2)\(.*50\..*/\1/p; s/^writev?\(1, .*/print/p' "$test_dir/calls")
	# Behind the fsyncs of the new spool: payload; publish; new; the id.
	assert_equal "$(tail -n 4 <<<"$calls" | tr '\n' ' ')" 'fsync renameat2 fsync print '
}

@test 'many jobs share one sync, which comes before the first is published' {
	need_strace
	qsend <<<first # makes the queue
	seq 100 | strace -o "$test_dir/calls" -e trace=syncfs,fsync,renameat2 qsend --lines >/dev/null
	calls=$(sed -nE 's/^(fsync|syncfs)\(.*/\1/p; s/^(renameat2)\(.*50\..*/\1/p' "$test_dir/calls" | uniq -c | tail -n 3 | xargs)
	assert_equal "$calls" '1 syncfs 100 renameat2 1 fsync'
}

@test 'where syncfs tells no errors, each job of a batch is synced by itself' {
	need_strace
	need_command setarch
	qsend <<<first # makes the queue
	seq 20 | setarch --uname-2.6 strace -o "$test_dir/calls" -e trace=syncfs,fsync,renameat2 qsend --lines >/dev/null
	calls=$(sed -nE 's/^(fsync|syncfs)\(.*/\1/p; s/^(renameat2)\(.*50\..*/\1/p' "$test_dir/calls" | uniq -c | xargs)
	assert_equal "$calls" '20 fsync 20 renameat2 1 fsync'
}
