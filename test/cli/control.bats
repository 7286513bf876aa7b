#!/usr/bin/env bats
# What a handler says through $QJOB_CONTROL, beyond its exit status.

load helper

setup() {
	common_setup
	# The directory of the control files is one a user: tests at the same time need their own.
	export TMPDIR=$test_dir/tmp
	mkdir "$TMPDIR"
	controls=$TMPDIR/qspool-$(id -u)
}

# says LINE STATUS [OPTION...]: drains with a handler that says that and ends so.
says() { drain "${@:3}" -- sh -c 'printf "$1" >>"$QJOB_CONTROL"; exit "$2"' handler "$1" "$2"; }

# Milliseconds until the only delayed job is due.
waits() { echo $(($(due_in "$(sole_job delay)") - $(now_ms))); }

# assert_range NUMBER LOW HIGH
assert_range() { (($1 >= $2 && $1 <= $3)) || fail "$1 is not within $2..$3"; }

log_of() { cat "$QSPOOL/default/log/$1"; }

# The clock was set back so far: the only delayed job is due later by that.
delay_by_days() {
	local job name due
	job=$(sole_job delay)
	name=${job##*/}
	due=$(date -u -d "@$(($(due_in "$job") / 1000 + $1 * 86400))" +%Y%m%dT%H%M%S.000Z)
	mv "$job" "${job%/*}/$due${name#*Z}"
}

@test 'a handler that says nothing leaves no file, and the directory goes with qwork' {
	send x
	drain -- sh -c 'test -d "${QJOB_CONTROL%/*}" && test ! -e "$QJOB_CONTROL" && echo "$QJOB_CONTROL"'
	assert_success
	assert_output --regexp "^$controls/$ID\.1\.[0-9a-f]{8}\$"
	assert_not_exist "$controls"
	assert_spool_empty
}

@test 'retry-after decides when the next attempt is due, whatever the cap; the attempt counts' {
	send x
	says 'retry-after 2h\n' 1 -b 10ms..1s
	assert_range "$(waits)" 7100000 7200000
	assert_equal "$(attempts_in "$(sole_job delay)")" 1
	assert_regex "$stderr" 'outcome=retry cause=failed exit=1 '
}

@test 'retry-after survives qworks of a smaller cap, and then the next retry is the backoff again' {
	id=$(send x)
	says 'retry-after 2h' 1
	job=$(sole_job delay)
	drain -b 10ms..1s -- false
	assert_equal "$(sole_job delay)" "$job"
	mv "$job" "$QSPOOL/default/delay/20261122T000000.000Z.50.$id.1,l,w"
	drain -b 100s..100s -- false
	assert_range "$(waits)" 40000 100000
	assert_regex "$(sole_job delay)" "\.50\.$id\.2,l\$"
}

@test 'the mark of a wait that was asked for is in delay/ only' {
	id=$(send x)
	says 'retry-after 2h' 1
	assert_regex "$(sole_job delay)" "\.50\.$id\.1,l,w\$"
	qbury "$id"
	assert_equal "$(sole_job buried)" "$QSPOOL/default/buried/50.$id.1,l"
}

@test 'retry-after does not make a success a failure, and gives no attempt beyond the last' {
	send x
	says 'retry-after 2h\n' 0
	assert_spool_empty
	send x
	says 'retry-after 2h\n' 1 --attempts 1
	jobs_are 1 buried
	refute_regex "$stderr" ' wait='
	send x
	says 'retry-after 2h\n' 65
	jobs_are 2 buried
}

@test 'a wait is 7 days at most, also when the clock was set back' {
	id=$(send x)
	says 'retry-after 300d\n' 1
	assert_range "$(waits)" $((7 * 86400000 - 60000)) $((7 * 86400000))
	delay_by_days 30
	start_qwork -- true
	wait_for 20 watches "$qwork"
	nearer() { (($(waits) <= 7 * 86400000)); } 2>/dev/null
	wait_for 20 nearer
	assert_range "$(waits)" $((7 * 86400000 - 60000)) $((7 * 86400000))
	assert_regex "$(sole_job delay)" "\.50\.$id\.1,l,w\$"
}

@test 'a deferred job waits and has spent no attempt, whatever the status' {
	id=$(send x)
	for code in 0 1 65; do
		says 'defer 1h30m\n' "$code" --attempts 1
		assert_range "$(waits)" 5300000 5400000
		assert_regex "$(sole_job delay)" "Z\.50\.$id\.0,w\$"
		assert_regex "$stderr" "attempt=1 of=1 outcome=deferred exit=$code "
		mv "$(sole_job delay)" "$QSPOOL/default/new/50.$id.0"
	done
	drain --attempts 1 -- sh -c 'echo "attempt $QJOB_ATTEMPT"'
	assert_output 'attempt 1'
	assert_spool_empty
}

@test 'a deferred job comes back by itself, as often as it is deferred' {
	send x
	drain_all --attempts 1 -- sh -c 'echo >>"$1"; [ "$(wc -l <"$1")" -ge 5 ] || echo "defer 10ms" >>"$QJOB_CONTROL"' \
		handler "$test_dir/runs"
	assert_success
	lines_are 5 "$test_dir/runs"
	assert_spool_empty
}

@test 'a handler that is killed, or out of time, does not defer: the attempt counts' {
	id=$(send x)
	drain -b 1h..1h -- sh -c 'echo "defer 10" >>"$QJOB_CONTROL"; kill -KILL $$'
	assert_equal "$(attempts_in "$(sole_job delay)")" 1
	mv "$(sole_job delay)" "$QSPOOL/default/new/50.$id.1,l"
	drain -b 1h..1h -t 200ms -- sh -c 'echo "defer 10" >>"$QJOB_CONTROL"; trap "exit 0" TERM; sleep 600'
	assert_regex "$stderr" 'cause="timed out"'
	assert_equal "$(attempts_in "$(sole_job delay)")" 2
}

@test 'bury sets the job aside with its reason, whatever the status' {
	for code in 0 1; do
		id=$(send x)
		says 'bury no such address\n' "$code"
		assert_job "$id" buried
		assert_regex "$stderr" \
			"outcome=buried cause=\"buried by its handler\" reason=\"no such address\" exit=$code "
		run log_of "$id"
		assert_line --regexp " cause=\"buried by its handler\" reason=\"no such address\" exit=$code "
	done
	id=$(send x)
	says bury 1
	assert_job "$id" buried
	run log_of "$id"
	refute_output --partial reason=
}

@test 'of several verdicts the last counts' {
	id=$(send x)
	says 'bury a\ndefer 1h\nretry-after 2h\n' 1
	assert_job "$id" delay
	assert_range "$(waits)" 7100000 7200000
	send y
	says 'defer 1h\nbury b' 1
	jobs_are 1 buried
}

@test 'notes are kept in the log of a job that did not finish' {
	id=$(send x)
	says 'note tried the first mirror\nnote and the second\n' 1
	run log_of "$id"
	assert_line --index 1 '  note: tried the first mirror'
	assert_line --index 2 '  note: and the second'
	mv "$(sole_job delay)" "$QSPOOL/default/new/50.$id.1,l"
	says 'defer 1h\nnote not yet\n' 0
	run log_of "$id"
	assert_line --regexp " deferred attempt=2\$"
	assert_line '  note: not yet'
	mv "$(sole_job delay)" "$QSPOOL/default/new/50.$id.1,l"
	says 'note well done\n' 0
	assert_spool_empty
}

# It has changed no more for so long that what is known of it is trusted.
is_settled() { (($(date +%s%3N) - $(date -r "$controls" +%s%3N) > 300)); }

@test 'what is said is heard though nothing was said for long, and of whoever began before that' {
	script "$test_dir/handler" <<-'END'
		read -r what
		[ "$what" != late ] || timeout 60 sh -c 'until [ -e "$0.go" ]; do sleep 0.02; done' "$0"
		[ "$what" = silent ] || echo "bury $what" >>"$QJOB_CONTROL"
	END
	start_qwork -v -j 2 -- "$test_dir/handler"
	late=$(printf late | qsend)
	wait_for 60 jobs_are 1 cur
	for word in one two; do
		wait_for 60 is_settled
		printf silent | qsend >/dev/null
		wait_for 60 jobs_are 0 new
		wait_for 60 jobs_are 1 cur
		id=$(printf %s "$word" | qsend)
		wait_for 60 job_is "$id" buried
		assert_regex "$(log_of "$id")" "cause=\"buried by its handler\" reason=$word "
	done
	wait_for 60 is_settled
	printf silent | qsend >/dev/null
	wait_for 60 log_has 3 outcome=finished
	touch "$test_dir/handler.go"
	wait_for 60 job_is "$late" buried
	assert_regex "$(log_of "$late")" 'cause="buried by its handler" reason=late '
}

# Some leave a process behind that has standard error still.
@test 'of many that end at once each is heard, and its last words are its own' {
	seq 100 | qsend --lines >"$test_dir/ids"
	script "$test_dir/handler" <<-END
		read -r n
		[ \$((n % 2)) = 0 ] || echo "note \$QJOB_ID" >>"\$QJOB_CONTROL"
		[ \$((n % 20)) != 0 ] || timeout 60 sh -c 'until [ -e "$test_dir/go" ]; do sleep 0.1; done' >/dev/null &
		echo "word \$QJOB_ID" >&2
		exit 1
	END
	drain -A 1 -j 8 -- "$test_dir/handler"
	touch "$test_dir/go"
	jobs_are 100 buried
	n=0
	while read -r id; do
		assert_equal "$(grep '^  | ' "$QSPOOL/default/log/$id")" "  | word $id"
		assert_equal "$(grep -c "^  note: $id\$" "$QSPOOL/default/log/$id" || true)" $((++n % 2))
	done <"$test_dir/ids"
}

@test 'qstat shows the progress of a running job' {
	make_gate
	id=$(send x)
	start_qwork -- sh -c 'printf "progress 1/3\nprogress 2/3 \033[1m\n" >>"$QJOB_CONTROL"; exec "$1"' \
		handler "$gate"
	wait_for 20 at_gate "$id"
	run_tool qstat "$id"
	assert_line 'progress: 2/3 \^[[1m'
	run_tool qstat -j "$id"
	assert_equal "$(jq -r .progress <<<"$output")" $'2/3 \e[1m'
	open_gate
	wait_for 20 spool_is_idle
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	send y
	run_tool qstat -j "$(basename "$(sole_job new)" | cut -d. -f2)"
	assert_equal "$(jq -r .progress <<<"$output")" null
}

# To open a device may be to start it; here, that a writer waits for a reader shows whether it is done.
@test 'qstat opens nothing but a regular file in the place of the progress' {
	make_gate
	id=$(send x)
	start_qwork -- sh -c 'mkfifo "$QJOB_CONTROL"; { : >"$QJOB_CONTROL"; echo opened >"$0.opened"; } & exec "$0"' "$gate"
	wait_for 20 at_gate "$id"
	run_tool qstat -j "$id"
	assert_equal "$(jq -r .progress <<<"$output")" null
	wait_for 10 after_ms $(($(now_ms) + 500))
	assert_not_exist "$gate.opened"
	: <>"$controls"/*
	wait_for 20 test -e "$gate.opened"
	open_gate
	wait_for 20 spool_is_idle
}

@test 'what is not understood is named and changes nothing' {
	id=$(send x)
	says 'trip disk soon\nretry-after soon\nBURY\n\nnote\nretry-after 2h\n' 1
	assert_range "$(waits)" 7100000 7200000
	for line in 1 2 3 5; do
		assert_regex "$stderr" "job=$id outcome=note cause=\"a line of the control file is ignored\" reason=\"line $line: "
	done
	refute_regex "$stderr" 'line [46]:'
}

@test 'garbage of any length neither loses the job nor fills the log' {
	send x
	drain -b 1h..1h -- sh -c 'head -c 1000000 /dev/urandom >>"$QJOB_CONTROL"; exit 1'
	jobs_are 1 delay
	[[ $(grep -c 'control file' <<<"$stderr") == 10 ]]
	assert_not_exist "$controls"
}

@test 'of a long file the end is heard' {
	send x
	drain -b 10ms..1s -- sh -c 'yes "progress of this and that, x" | head -n 100000 >>"$QJOB_CONTROL"
		echo "retry-after 2h" >>"$QJOB_CONTROL"; exit 1'
	assert_range "$(waits)" 7100000 7200000
	refute_regex "$stderr" 'ignored'
}

@test 'escapes in what is said reach neither the log nor the terminal' {
	id=$(send x)
	LC_ALL=C.UTF-8 says 'note \320\233[31m\377\nbury \033]0;x\007\320\233[31m\377\n' 1
	assert_job "$id" buried
	LC_ALL=C.UTF-8 run_tool qstat "$id"
	for text in "$(log_of "$id")" "$output" "$stderr"; do
		refute_regex "$text" $'\e'
		refute_regex "$text" $'\a'
	done
}

@test 'a link, a fifo or a directory in the place of the file is not heard, and the job goes on' {
	echo 'bury me' >"$test_dir/other"
	for plant in 'ln -s "$1"' 'ln "$1"' mkfifo mkdir; do
		send x
		drain -b 1h..1h -- sh -c "$plant"' "$QJOB_CONTROL"; exit 1' handler "$test_dir/other"
		assert_regex "$stderr" 'cause="what the handler said in its control file is not heard"'
		jobs_are 1 delay
		rm "$(sole_job delay)"
	done
	assert_equal "$(<"$test_dir/other")" 'bury me'
}

@test 'when qwork is killed, what its handler said is in no later attempt' {
	make_gate
	id=$(send x)
	start_qwork -- sh -c 'echo "bury me" >>"$QJOB_CONTROL"; exec "$1"' handler "$gate"
	wait_for 20 at_gate "$id"
	kill -KILL "$qwork"
	wait_for 20 gone "$handler"
	says 'note again\n' 1 -b 10ms..1s
	[[ $stderr == *'cause="worker lost"'* ]]
	wait_for 20 jobs_are 1 delay
	drain_all -- true
	assert_success
	assert_spool_empty
}

@test 'a job that is handed back at the end of qwork has what its handler noted' {
	make_gate
	id=$(send x)
	start_qwork -g 0s -- sh -c 'echo "note halfway" >>"$QJOB_CONTROL"; exec "$1"' handler "$gate"
	wait_for 20 at_gate "$id"
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_job "$id" new
	run log_of "$id"
	assert_line '  note: halfway'
}

@test 'a directory that others could write is not used, and said so' {
	mkdir -m 0777 "$controls"
	send x
	drain -- sh -c 'echo "${QJOB_CONTROL-none}"'
	assert_output none
	assert_regex "$stderr" 'outcome=note cause="handlers have no control file" .*reason="Operation not permitted"'
	assert_spool_empty
}

@test 'a link in the place of the directory is not followed' {
	mkdir -m 0700 "$test_dir/other"
	ln -s "$test_dir/other" "$controls"
	send x
	drain -- sh -c 'echo "${QJOB_CONTROL-none}"'
	assert_output none
	assert_exist "$test_dir/other"
}

@test 'qworks at the same time share the directory, and the last takes it away' {
	make_gate
	id=$(send x)
	start_qwork -- sh -c '"$1"; echo "bury it" >>"$QJOB_CONTROL"' handler "$gate"
	wait_for 20 at_gate "$id"
	send y -q other
	drain -q other -- true
	assert_exist "$controls"
	open_gate
	wait_for 20 job_is "$id" buried
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	assert_not_exist "$controls"
}

@test 'a directory that somebody removed, or that could not be made, is there after the next scan' {
	mv "$TMPDIR" "$TMPDIR.away"
	qdel "$(send x)"
	start_qwork --scan 100ms -- sh -c 'echo bury >>"$QJOB_CONTROL"'
	wait_for 20 grep -q 'handlers have no control file' "$qwork_log"
	for round in 1 2; do
		[[ $round == 2 ]] || mv "$TMPDIR.away" "$TMPDIR"
		wait_for 20 test -d "$controls"
		id=$(send x)
		wait_for 20 job_is "$id" buried
		rmdir "$controls"
	done
}
