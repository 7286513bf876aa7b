#!/usr/bin/env bats
# A sender whose input pauses: what is complete is sent at once, what is half a record
# waits for its other half.

load helper

# begin [OPTION...]: a qsend --lines that reads what is written to descriptor 5.
begin() {
	mkfifo "$test_dir/input"
	exec 5<>"$test_dir/input"
	start qsend --lines "$@" <"$test_dir/input" >"$test_dir/ids" 5>&-
	sender=$started
	# Only the write end stays, so that closing it ends the input.
	exec 6>"$test_dir/input" 5>&- 5>&6 6>&-
}

finish() {
	exec 5>&-
	exit_status 20 "$sender"
	assert_equal "$status" 0
	assert jobs_are 0 tmp
}

has_read() { [[ $(wc -c <"$QSPOOL/default/tmp/"*) == "$1" ]] 2>/dev/null; }

@test 'a pause in mid-record: the jobs before it are sent, the half waits for the rest' {
	begin
	printf 'a\nb\npart' >&5
	wait_for 20 jobs_are 2 new
	assert_equal "$(payloads new)" 'a b'
	printf 'ial\nc\n' >&5
	wait_for 20 jobs_are 4 new
	finish
	assert_equal "$(payloads new)" 'a b partial c'
	assert_equal "$(wc -l <"$test_dir/ids")" 4
}

@test 'an input that ends behind a pause in mid-record: the half is a job, with its options' {
	begin -H 'Kind: line'
	printf 'a\nb\npart' >&5
	wait_for 20 jobs_are 2 new
	finish
	assert jobs_are 3 meta
	drain -- sh -c 'echo "$(cat):$QJOB_HEADER_KIND"'
	assert_success
	assert_output $'a:line\nb:line\npart:line'
	assert_spool_empty
}

@test 'many pauses, each in mid-record, with few jobs and with many in between' {
	local -i i sent=0 each
	begin
	for each in 1 2 7 8 9 20; do
		for ((i = 0; i < 3; i++)); do
			# shellcheck disable=SC2046
			printf '%s\n' $(seq $((sent + 1)) $((sent + each))) >&5
			printf 'x' >&5
			sent+=each
			wait_for 20 jobs_are $sent new
			# Its rest: the record is one more job.
			printf 'y\n' >&5
			sent+=1
		done
	done
	wait_for 20 jobs_are $sent new
	finish
	assert_equal "$(cat "$QSPOOL"/default/new/* | grep -cx xy)" 18
	assert_equal "$(cat "$QSPOOL"/default/new/* | grep -vcx '[0-9]*')" 18
	assert_equal "$(sort -u "$test_dir/ids" | wc -l)" $sent
}

@test 'a producer in blocks that end in mid-record: every line is one job' {
	local -i at
	seq -f 'a line of some length, number %g' 2000 >"$test_dir/lines"
	begin --no-sync
	for ((at = 0; at * 4096 < $(stat -c %s "$test_dir/lines"); at++)); do
		dd if="$test_dir/lines" bs=4096 skip=$at count=1 status=none >&5
		# Until it has read them all and waits for more.
		wait_for 20 sender_waits
	done
	finish
	assert jobs_are 2000 new
	cat "$QSPOOL"/default/new/* >"$test_dir/sent"
	assert cmp "$test_dir/lines" "$test_dir/sent"
}

# Asleep in a system call other than a sync: waiting for input.
sender_waits() { [[ $(cut -d ' ' -f 3 "/proc/$sender/stat") == S ]]; }

@test 'a sweep does not get in the way of a sender that was just about to lock its file' {
	need_strace
	send first
	umask 0277 # so that it sets the mode in between
	start strace -f -o /dev/null -e trace=fchmod,flock -e inject=fchmod:delay_exit=1500000 \
		qsend </dev/null >"$test_dir/ids"
	umask 022
	sender=$started
	wait_for 20 jobs_are 1 tmp
	start strace -f -o /dev/null -e trace=flock -e inject=flock:delay_exit=2000000 \
		qwork --drain -- true </dev/null
	exit_status 60 "$sender"
	assert_equal "$status" 0
	assert_equal "$(wc -l <"$test_dir/ids")" 1
}
