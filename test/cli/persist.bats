#!/usr/bin/env bats
# Handlers that stay (qwork --persist): what they answer, what becomes of those that do not keep to the
# protocol, and that nobody else gets a job while the handler that has it lives.
# PERSIST_JOBS=200 PERSIST_FASTER=20 is the full size, `make bench`: how many jobs are run by starting their handler for each,
# and at least how many times as many a second when it stays.

load helper

setup() {
	common_setup
	export TMPDIR=$test_dir/tmp # of the control files
	mkdir "$TMPDIR"
}

examples=$(cd "$BATS_TEST_DIRNAME/../../share/examples/persist" && pwd)

# stays PATH: makes a handler that notes itself in $test_dir/starts and each line in $test_dir/lines, and
# then does what standard input says, with $id, $attempt and $path, $what the payload, and $n the number of lines it has read.
stays() {
	{
		printf 'echo $$ >>%q\nn=0\n' "$test_dir/starts"
		printf 'while read -r id attempt path; do\nn=$((n + 1))\necho "$id $attempt $$" >>%q\n' "$test_dir/lines"
		printf 'read -r what <"$path" || :\n'
		cat
		echo 'done'
	} | script "$1"
}

# does: the same as $handler.
does() { stays "$test_dir/handler" && handler=$test_dir/handler; }

starts() { wc -l <"$test_dir/starts"; }
log_of() { cat "$QSPOOL/default/log/$1"; }
quickly=(-b 1ms..1ms)

# Nothing of this test runs.
no_process() { [[ -z $(env -u QSPOOL grep -lzF "QSPOOL=$test_dir/" /proc/[0-9]*/environ 2>/dev/null) ]]; }

# --- answers --------------------------------------------------------------------

@test 'one handler is fed many jobs, in order, and ends at the end of its input' {
	does <<<'echo 0'
	printf '%s\n' {1..20} | qsend --lines >"$test_dir/ids"
	drain --persist -- "$handler"
	assert_success
	assert_equal "$(starts)" 1
	assert_equal "$(cut -d' ' -f1,2 "$test_dir/lines")" "$(sed 's/$/ 1/' "$test_dir/ids")"
	assert_spool_empty
	assert gone "$(cat "$test_dir/starts")"
}

@test 'the line has the id, the attempt, and the path of the payload' {
	does <<<'[ "$(cat "$path")" = "$attempt of two" ] && echo 0 || echo 1'
	mkdir "$test_dir/with  spaces"
	QSPOOL="$test_dir/with  spaces/spool "
	send '2 of two' >"$test_dir/id"
	drain_all "${quickly[@]}" --persist -- "$handler"
	assert_success
	assert_equal "$(cut -d' ' -f1,2 "$test_dir/lines")" "$(sed 's/$/ 1/' "$test_dir/id")
$(sed 's/$/ 2/' "$test_dir/id")"
	assert_spool_empty
}

@test 'statuses: 0 finishes, those of --bury-on bury, others are tried again' {
	does <<<'echo "$what of course"'
	id=$(send 65) other=$(send 7)
	send 0
	drain -A 3 --bury-on 65 --persist -- "$handler"
	assert_success
	assert_equal "$(starts)" 1
	assert_job "$id" buried
	assert_job "$other" delay
	assert_regex "$stderr" "job=$id attempt=1 of=3 outcome=buried cause=failed exit=65 "
	assert_regex "$stderr" "job=$other attempt=1 of=3 outcome=retry cause=failed exit=7 "
	assert_regex "$(log_of "$other")" 'exit=7 '
	assert_regex "$(log_of "$other")" 'of course'
}

@test 'what stands behind the status is the output of a job that is kept' {
	does <<<'echo "$what"'
	id=$(send '0 seven words' --keep 1h) empty=$(send 0 --keep 1h)
	drain --persist -- "$handler"
	assert_success
	run cat "$QSPOOL/default/out/$id"
	assert_output 'seven words'
	assert_file_empty "$QSPOOL/default/out/$empty"
}

@test 'its environment is of no job, and its standard input and descriptor 3 are its own' {
	script "$test_dir/handler" <<-'END'
		env >"$QSPOOL/../environment"
		while read -r id attempt path; do
			read -r which </dev/fd/3 || :
			case $which in
			"$id"*) echo 0 ;;
			*) echo 1 ;;
			esac
		done
	END
	id=$(send x --env A=b --header 'k: v')
	drain --persist -- "$test_dir/handler"
	assert_success
	assert_equal "$(grep -c '^QJOB_' "$test_dir/environment")" 2
	run grep -E '^(QSPOOL|QJOB_QUEUE)=|^A=' "$test_dir/environment"
	assert_line "QSPOOL=$QSPOOL"
	assert_line QJOB_QUEUE=default
	refute_line A=b
	assert_spool_empty
}

@test 'a handler that would shorten its descriptor 3 cannot, and qwork goes on' {
	does <<-'END'
		if (: >/dev/fd/3) 2>/dev/null; then echo 1; else echo 0; fi
	END
	printf '%s\n' 1 2 3 | qsend --lines >/dev/null
	drain -A 1 --persist -- "$handler"
	assert_success
	assert_spool_empty
}

@test 'what it says in its control file is of the job it has, and of no later one' {
	does <<-'END'
		case $what in
		bury | note) echo "$what because" >>"$QJOB_CONTROL" ;;
		defer) echo 'defer 1h' >>"$QJOB_CONTROL" ;;
		retry) echo 'retry-after 2h' >>"$QJOB_CONTROL"; kill -KILL $$ ;;
		esac
		echo 1
	END
	buried=$(send bury) noted=$(send note) deferred=$(send defer) killed=$(send retry) last=$(send none)
	drain "${quickly[@]}" -A 1 --persist -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$buried .*outcome=buried cause=\"buried by its handler\" reason=because"
	assert_regex "$(log_of "$noted")" 'note: because'
	assert_regex "$stderr" "job=$deferred .*outcome=deferred"
	assert_regex "$stderr" "job=$killed .*reason=\"its handler ended without an answer\" signal=9"
	assert_regex "$stderr" "job=$last .*outcome=buried cause=failed exit=1 "
	assert_equal "$(starts)" 2
	assert_equal "$(find "$TMPDIR" -type f)" ''
}

@test 'the post-mortem has what was said of that job only' {
	does <<-'END'
		echo "about $what" >&2
		echo 1
		echo "after $what" >&2
		until [ -e "$QSPOOL/default/log/$id" ]; do sleep 0.02; done
	END
	first=$(send one) second=$(send two)
	drain -A 1 --persist -- "$handler"
	assert_success
	assert_regex "$(log_of "$first")" 'about one'
	refute_regex "$(log_of "$first")" 'two'
	assert_regex "$(log_of "$second")" 'about two'
	refute_regex "$(log_of "$second")" 'about one'
}

@test 'what cannot be meant is refused: a path with a newline, and limits of handlers that do not stay' {
	assert_usage qwork --max-jobs 3
	assert_usage qwork --max-rss 1G
	assert_usage qwork --persist --max-jobs 0
	QSPOOL=$test_dir/$'a\nb'
	send x
	run_qwork --drain --persist -- true
	assert_failure
	assert_regex "$stderr" 'Invalid argument'
	assert_equal "$(job_count new)" 1
}

# --- limits -----------------------------------------------------------------------

# What a process was started with it cannot change for a job.
@test 'a job that brings limits of its own gets a handler for itself, which has them' {
	does <<<'set -- $(cut -d ")" -f2 /proc/$$/stat); echo $((${17} - base))'
	sed -i "2i base=$(nice)" "$handler"
	plain=$(send x) own=$(send x --nice 7) greedy=$(send x --memory 16M) again=$(send x)
	drain -A 1 --persist --nice 3 -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$plain .*exit=3 "
	assert_regex "$stderr" "job=$own .*exit=7 "
	assert_regex "$stderr" "job=$greedy .*exit=3 "
	assert_regex "$stderr" "job=$again .*exit=3 "
	assert_equal "$(starts)" 4
	assert_equal "$(cut -d' ' -f3 "$test_dir/lines")" "$(cat "$test_dir/starts")"
}

@test 'a job that brings a limit of memory fails by it, and no other one does' {
	does <<<'[ "$what" = x ] || exec perl -e "\$x = q(x) x 3e8"; echo 0'
	id=$(send explode --memory 32M)
	send x
	drain -A 1 --persist -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$id attempt=1 of=1 outcome=buried cause=\"out of memory\""
	assert jobs_are 1 buried
}

@test '--cpu is of each job, not of the life of its handler' {
	script "$test_dir/handler" <<-'END'
		exec perl -e '$| = 1; sub taken { (times)[0] + (times)[1] }
			while (<STDIN>) { $size = -s (split)[2]; kill 9, $$ if $size == 2; $end = taken() + ($size > 2 ? 1e9 : 0.6); 1 while taken() < $end; print "0\n" }'
	END
	send x
	send y
	killed=$(send no)
	id=$(send spin)
	drain -A 1 --persist --cpu 1s -v -- "$test_dir/handler"
	assert_success
	assert_equal "$(grep -c 'outcome=finished' <<<"$stderr")" 2
	assert_regex "$stderr" "job=$killed .*cause=failed reason=\"its handler ended without an answer\" signal=9"
	assert_regex "$stderr" "job=$id attempt=1 of=1 outcome=buried cause=\"timed out\" reason=\"its processor time was over\""
}

# --- answers that are none --------------------------------------------------------

# costs_an_attempt PRINTF-FORMAT: the answer of the first attempt.
costs_an_attempt() {
	local id
	does <<-END
		[ "\$attempt" = 1 ] && printf -- '$1' || echo 0
	END
	id=$(send x)
	drain_all "${quickly[@]}" --persist -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$id attempt=1 of=10 outcome=retry cause=failed reason=\"its handler's answer was not understood\""
	assert_equal "$(cut -d' ' -f2 "$test_dir/lines")" $'1\n2'
	assert_equal "$(starts)" 2
	assert_spool_empty
	rm "$test_dir"/{starts,lines}
}

@test 'an answer that is none is in the post-mortem: it may be a print too many' {
	does <<<'echo working on it'
	id=$(send x)
	drain_all "${quickly[@]}" -A 1 --persist -- "$handler"
	assert_job "$id" buried
	assert_file_contains "$QSPOOL/default/log/$id" '^  | working on it$'
}

@test 'an answer that is none costs the job an attempt, and its handler its life' {
	for answer in 'ok\n' '\n' '256\n' '-1\n' ' 0\n' '0\n0\n' '0\nand more' '0\0\n' '\0\n' '0x0\n' '1 one\n2 two\n'; do
		echo "$answer"
		costs_an_attempt "$answer"
	done
}

@test 'megabytes without a newline are no answer, and are not waited for' {
	does <<-'END'
		[ "$attempt" = 1 ] && head -c 10M /dev/zero | tr '\0' 0 || echo 0
	END
	id=$(send x)
	drain_all "${quickly[@]}" --persist -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$id attempt=1 .*reason=\"its handler's answer was not understood\""
	assert_spool_empty
}

@test 'an answer in pieces is one, also a long one' {
	does <<-'END'
		for piece in 6 5 ' ' "$(printf 'x%.0s' $(seq 4000))" '
		'; do
			printf %s "$piece"
			sleep 0.02
		done | tr -d '\t'
	END
	id=$(send x)
	drain -A 1 --persist -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$id .*exit=65"
}

# What comes too late for one job must not be the answer to the next.
@test 'what is said when nothing was asked ends the handler, and is no answer' {
	does <<-'END'
		printf '0\n'
		until [ ! -e "$path" ]; do sleep 0.02; done
		echo >"$QSPOOL/../said"
		printf '0\n'
		sleep 300
	END
	send one
	start_qwork --persist -- "$handler"
	wait_for 60 test -e "$test_dir/said"
	wait_for 60 gone "$(cat "$test_dir/starts")"
	assert_file_contains "$qwork_log" 'a handler that had no job said something'
	kill -TERM "$qwork"
	exit_status 60 "$qwork"
	assert_spool_empty
}

# The worker is stopped while the handler speaks, and meets both at once.
@test 'what was said before a job is fed is no answer to it' {
	does <<-'END'
		case $(wc -l <"$QSPOOL/../starts") in
		1) echo 0 && until [ -e "$QSPOOL/../go" ]; do sleep 0.02; done && echo 0 && : >"$QSPOOL/../said" ;;
		*) sleep 300 ;;
		esac
	END
	first=$(send one)
	start_qwork -t 300s --persist -- "$handler"
	wait_for 60 spool_is_idle
	kill -STOP "$qwork"
	: >"$test_dir/go"
	wait_for 60 test -e "$test_dir/said"
	second=$(send two)
	kill -CONT "$qwork"
	wait_for 60 lines_are 2 "$test_dir/starts"
	wait_for 60 grep -q "^$second" "$test_dir/lines"
	assert_job "$second" cur
	refute grep "job=$second .*outcome=finished" "$qwork_log"
}

# --- handlers that end, or do not ---------------------------------------------------

@test 'a handler that dies costs its job an attempt, and is started again after a wait that doubles' {
	does <<<'[ "$attempt" -lt 5 ] && exit 0; echo 0'
	id=$(send x)
	begun=$(now_ms)
	drain_all "${quickly[@]}" --persist -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$id attempt=4 .*cause=failed reason=\"its handler ended without an answer\" exit=0"
	assert_equal "$(starts)" 5
	(($(now_ms) - begun >= 100 + 200 + 400 + 800)) || fail 'no wait'
	assert_spool_empty
}

@test 'one that answered and then died has answered' {
	does <<<'echo 0; exit 3'
	send one
	drain --persist -- "$handler"
	assert_success
	assert_equal "$(starts)" 1
	assert_spool_empty
}

# Neither may it keep qwork waiting, whose pipe to it would fill.
@test 'handlers that do not read: qwork goes on, and their jobs run out of attempts' {
	script "$test_dir/handler" <<<'exec <&-; exec sleep 300'
	id=$(send x)
	drain_all "${quickly[@]}" -A 2 -t 1s --persist -- "$test_dir/handler"
	assert_success
	assert_job "$id" buried
}

# The path is long, so that the lines of all jobs are more than a pipe holds.
@test 'a handler that answers without reading is ended when its pipe is full, and the queue goes on' {
	QSPOOL=$test_dir/$(printf 'd%.0s' {1..200})/$(printf 'd%.0s' {1..200})/spool
	mkdir -p "${QSPOOL%/*}"
	script "$test_dir/handler" <<-END
		echo \$\$ >>'$test_dir/starts'
		while sleep 0.005; do
			seen=\$(cat "\$QSPOOL"/default/cur/* 2>/dev/null)
			[ "\$seen" = "\${last:-}" ] || { [ -z "\$seen" ] || echo 0; last=\$seen; }
			[ ! -e '$test_dir/over' ] || break
		done
	END
	seq 400 | qsend --lines >"$test_dir/ids"
	start_qwork "${quickly[@]}" -t 10s --persist -- "$test_dir/handler"
	wait_for 120 spool_is_idle
	: >"$test_dir/over"
	(($(starts) > 1)) || fail 'its pipe was never full'
	refute grep -q outcome=held "$qwork_log"
}

@test 'one that hangs is ended at the timeout of its job, and the next one has another' {
	does <<<'[ "$what" = hang ] && sleep 300; echo 0'
	id=$(send hang -t 200ms -A 1)
	send quick
	drain --persist -- "$handler"
	assert_success
	assert_job "$id" buried
	assert_regex "$(log_of "$id")" 'cause="timed out"'
	assert_equal "$(starts)" 2
	assert_equal "$(job_count new)$(job_count delay)$(job_count cur)" 000
}

@test 'one that closes its standard output is ended, and its job has failed' {
	does <<<'[ "$attempt" = 2 ] && echo 0 || { exec >&-; sleep 300; }'
	id=$(send x)
	drain_all "${quickly[@]}" --persist -- "$handler"
	assert_success
	assert_regex "$stderr" "job=$id attempt=1 .*reason=\"its handler ended without an answer\""
	assert_spool_empty
}

@test 'one that ends while it has no job costs no job an attempt' {
	does <<<'echo 0; [ "$n" = 1 ] && until [ ! -e "$path" ]; do sleep 0.02; done && exit 0'
	send one
	start_qwork --persist -- "$handler"
	wait_for 60 spool_is_idle
	wait_for 60 gone "$(head -n 1 "$test_dir/starts")"
	send two
	wait_for 60 lines_are 2 "$test_dir/lines"
	wait_for 60 spool_is_idle
	refute grep -q attempt=2 "$qwork_log"
	assert_equal "$(starts)" 2
}

# Nothing but its children has the lease then, and those that it left behind must not keep qwork's end.
@test 'TERM lets jobs finish, and a second one hands them back; none costs an attempt' {
	does <<<': >"$QSPOOL/../begun.$what"; until [ -e "$QSPOOL/../open.$what" ]; do sleep 0.02; done; echo 0'
	send one
	id=$(send two)
	start_qwork -j 2 -g 300s --persist -- "$handler"
	wait_for 60 test -e "$test_dir/begun.one"
	wait_for 60 test -e "$test_dir/begun.two"
	kill -TERM "$qwork"
	: >"$test_dir/open.one"
	wait_for 60 jobs_are 1 cur
	kill -TERM "$qwork"
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	assert_job "$id" new
	assert_equal "$(attempts_in "$(sole_job new)")" 0
	wait_for 60 no_process
}

@test 'one that does not end at the end of its input is ended by TERM' {
	script "$test_dir/handler" <<-'END'
		read -r id attempt path && echo 0
		exec sleep 300
	END
	send x
	drain --persist -- "$test_dir/handler"
	assert_success
	assert_spool_empty
	wait_for 60 no_process
}

# ends_by_signals: how long a qwork takes, in ms, that is told again and again while its handler does not end.
ends_by_signals() {
	local since
	rm -f "$test_dir/eof" "$test_dir/termed"
	start_qwork --persist -- "$handler"
	send x >/dev/null
	wait_for 60 spool_is_idle
	since=$(now_ms)
	kill -TERM "$qwork"
	wait_for 60 test -e "$test_dir/eof"
	kill -TERM "$qwork"
	wait_for 60 test -e "$test_dir/termed"
	kill -TERM "$qwork"
	exit_status 60 "$qwork"
	took=$(($(now_ms) - since))
}

@test 'a second TERM is passed on to handlers that rest, too, and a third kills them' {
	script "$test_dir/handler" <<-END
		trap ': >$test_dir/termed' TERM
		while read -r line; do echo 0; done
		: >$test_dir/eof
		while :; do sleep 0.1; done
	END
	handler=$test_dir/handler
	for ((try = 0, took = 10000; took >= 10000 && try < 3; try++)); do # by itself it takes that long
		ends_by_signals
		assert_equal "$status" 0
	done
	assert [ "$took" -lt 10000 ]
}

@test '--once runs one job; --max-jobs and --max-rss have handlers end, and start others' {
	does <<<'echo 0'
	printf '%s\n' {1..6} | qsend --lines
	run_qwork --once --persist -- "$handler"
	assert_success
	assert_equal "$(job_count new)" 5
	drain --persist --max-jobs 2 -- "$handler"
	assert_success
	assert_equal "$(starts)" 4
	printf '%s\n' {1..3} | qsend --lines
	drain --persist --max-rss 1K -- "$handler"
	assert_success
	assert_equal "$(starts)" 7
	printf '%s\n' {1..3} | qsend --lines
	drain --persist --max-rss 1G -- "$handler"
	assert_equal "$(starts)" 8
	assert_spool_empty
}

@test 'a handler that was replaced, and settings that were edited, are those of the next job' {
	send x
	stays "$QSPOOL/default/handler" <<<'echo 0 >>"$QSPOOL/../old"; echo 0'
	start_qwork --persist
	wait_for 60 spool_is_idle
	stays "$QSPOOL/default/handler" <<<'echo "$*" >>"$QSPOOL/../new"; echo 0'
	wait_for 60 gone "$(head -n 1 "$test_dir/starts")"
	send y
	wait_for 60 spool_is_idle
	echo 'arg edited' >"$test_dir/settings"
	mv "$test_dir/settings" "$QSPOOL/default/settings"
	wait_for 60 gone "$(sed -n 2p "$test_dir/starts")"
	send z
	wait_for 60 spool_is_idle
	assert_equal "$(wc -l <"$test_dir/old")" 1
	assert_equal "$(cat "$test_dir/new")" $'\nedited'
}

@test 'a handler that was replaced is noticed without inotify, too' {
	need_user_namespaces
	send x
	stays "$QSPOOL/default/handler" <<<'echo 0'
	deaf_qwork --persist --scan 1h
	wait_for 60 spool_is_idle
	stays "$QSPOOL/default/handler" <<<'echo 0'
	wait_for 60 gone "$(head -n 1 "$test_dir/starts")"
}

@test 'queues share -j: no more handlers stay than jobs may run' {
	does <<<'echo "$QJOB_QUEUE" >>"$QSPOOL/../queues"; echo 0'
	for queue in a b c; do printf '%s\n' {1..5} | qsend -q "$queue" --lines; done
	start_qwork -j 2 -q a -q b -q c --persist -- "$handler"
	for queue in a b c; do wait_for 60 spool_is_idle "$queue"; done
	fewer() { (($(wc -w <"/proc/$qwork/task/$qwork/children") <= 2)); }
	wait_for 60 fewer
	assert_equal "$(sort "$test_dir/queues" | uniq -c | tr -s ' ')" $' 5 a\n 5 b\n 5 c'
}

@test 'a queue that is removed takes its handlers with it' {
	does <<<'echo 0'
	for queue in a b; do send x -q "$queue"; done
	start_qwork -j 2 -q a -q b --persist -- "$handler"
	for queue in a b; do wait_for 60 spool_is_idle "$queue"; done
	mv "$QSPOOL/a" "$test_dir/a"
	one_left() { [[ $(wc -w <"/proc/$qwork/task/$qwork/children") == 1 ]]; }
	wait_for 60 one_left
	send y -q b
	wait_for 60 lines_are 3 "$test_dir/lines"
	assert_equal "$(starts)" 2
}

# --- descriptors --------------------------------------------------------------------

@test 'a thousand jobs leave qwork with the descriptors that it had' {
	does <<<'echo "$((n % 2))"'
	descriptors() { find "/proc/$qwork/fd" -mindepth 1 | wc -l; }
	send x
	start_qwork --persist --max-jobs 100 -- "$handler"
	wait_for 60 lines_are 1 "$test_dir/lines"
	wait_for 60 jobs_are 0 new
	before=$(descriptors)
	printf '%s\n' {1..1000} | qsend --lines -A 1 >"$test_dir/ids"
	wait_for 120 spool_is_idle
	as_before() { [[ $(descriptors) == "$before" ]]; }
	wait_for 60 as_before
}

@test 'a handler has no descriptor of another, and only its own lease' {
	does <<<': >"$QSPOOL/../begun.$what"; until [ -e "$QSPOOL/../open" ]; do sleep 0.02; done; echo 0'
	printf '%s\n' {1..3} | qsend --lines
	start_qwork -j 3 --persist -- "$handler"
	for what in 1 2 3; do wait_for 60 test -e "$test_dir/begun.$what"; done
	while read -r pid; do
		run find "/proc/$pid/fd" -mindepth 1 -lname 'socket:*'
		assert_equal "${#lines[@]}" 1
		run find "/proc/$pid/fd" -mindepth 1 -lname '/memfd:*'
		assert_equal "${#lines[@]}" 1
		assert_equal "$output" "/proc/$pid/fd/3"
	done <"$test_dir/starts"
	: >"$test_dir/open"
	wait_for 60 spool_is_idle
}

@test 'there are descriptors for as many handlers as jobs may run, whatever the soft limit' {
	does <<<'until [ -e "$QSPOOL/../open" ]; do sleep 0.1; done; echo 0'
	(($(ulimit -Hn) >= 2000)) || skip 'needs a hard limit of 2000 descriptors'
	ulimit -Sn 256
	printf '%s\n' {1..60} | qsend --lines
	start_qwork -j 60 --persist -- "$handler"
	wait_for 120 lines_are 60 "$test_dir/lines"
	: >"$test_dir/open"
	wait_for 60 spool_is_idle
	refute grep -q outcome=held "$qwork_log"
}

@test 'resources are held as long as a job runs, and no longer' {
	qlimit db --jobs 1
	does <<-'END'
		mkdir "$QSPOOL/../alone" || echo overlap >>"$QSPOOL/../overlap"
		rmdir "$QSPOOL/../alone"
		echo 0
	END
	printf '%s\n' {1..50} | qsend --lines --resource db
	drain -j 4 --persist -- "$handler"
	assert_success
	assert_equal "$(wc -l <"$test_dir/lines")" 50
	assert_file_not_exists "$test_dir/overlap"
	assert_spool_empty
}

# --- crashes ------------------------------------------------------------------------

# make_family: its handlers have a child that has what they have, and that opens no gate but the test's. The
# processes are in $test_dir/parent.ID and child.ID.
make_family() {
	does <<-'END'
		(
			trap '' TERM
			sh -c 'echo $PPID' >"$QSPOOL/../child.part" && mv "$QSPOOL/../child.part" "$QSPOOL/../child.$id"
			until [ -e "$QSPOOL/../open" ]; do sleep 0.02; done
		) </dev/null >/dev/null &
		echo $$ >"$QSPOOL/../parent.$id"
		wait
		echo 0
	END
}
start_family() {
	make_family
	id=$(send x)
	start_qwork --scan 1h --persist -- "$handler"
	wait_for 60 test -e "$test_dir/child.$id"
	wait_for 60 test -s "$test_dir/parent.$id"
	read -r parent <"$test_dir/parent.$id"
	read -r child <"$test_dir/child.$id"
}

@test "a killed qwork's job is left alone while a process of its handler lives, and taken over by its end" {
	start_family
	victim=$qwork
	start_qwork --scan 1h "${quickly[@]}" -- true
	wait_for 60 watches "$qwork"
	kill -KILL "$victim"
	wait_for 60 gone "$parent"
	a_random_moment
	qwork --scan 1h --drain -- true
	assert_job "$id" cur
	refute gone "$child"
	: >"$test_dir/open"
	wait_for 60 spool_is_idle
	assert_file_contains "$qwork_log" "job=$id attempt=1 .*cause=\"worker lost\""
	assert_spool_empty
}

@test 'qstat shows the handler that has a job, and how far it is' {
	does <<-'END'
		echo "progress half of $what" >>"$QJOB_CONTROL"
		: >"$QSPOOL/../begun"
		until [ -e "$QSPOOL/../open" ]; do sleep 0.02; done
		echo 0
	END
	id=$(send x)
	start_qwork --persist -- "$handler"
	wait_for 60 test -e "$test_dir/begun"
	run_tool qstat "$id"
	assert_success
	assert_output --partial "handler pid $(cat "$test_dir/starts")"
	assert_line 'progress: half of x'
	: >"$test_dir/open"
	wait_for 60 spool_is_idle
	run_tool qstat "$id"
	refute_output --partial "$(cat "$test_dir/starts")"
}

@test 'qdel --kill and qbury --kill end the handler that has the job, and no other' {
	does <<<': >"$QSPOOL/../begun.$what"; until [ -e "$QSPOOL/../open" ]; do sleep 0.02; done; echo 0'
	deleted=$(send one) buried=$(send two)
	send three
	start_qwork -j 3 -b 1h..1h --persist -- "$handler"
	for what in one two three; do wait_for 60 test -e "$test_dir/begun.$what"; done
	run_tool qdel "$deleted"
	assert_failure
	run_tool qdel --kill "$deleted"
	assert_success
	run_tool qbury --kill "$buried"
	assert_success
	assert_job "$buried" buried
	: >"$test_dir/open"
	wait_for 60 spool_is_idle
	refute job_is "$deleted" delay
	assert_equal "$(starts)" 3
	refute gone "$(grep "$(cut -d' ' -f3 <(grep -v -e "$deleted" -e "$buried" "$test_dir/lines"))" "$test_dir/starts")"
}

# Somebody else has a process of ours, which he could not signal himself, have his file for descriptor 3.
@test 'who has the job in a file of another user is no handler, and is left alone' {
	need_root
	need_command python3
	start_running x
	start python3 -c '
import os, sys, time
os.seteuid(65534)
file = os.memfd_create("qwork-job", 0)
os.seteuid(0)
os.setsid()
os.write(file, sys.argv[1].encode())
os.dup2(file, 3)
open(sys.argv[2], "w").close()
time.sleep(300)' "$id" "$test_dir/ready" </dev/null
	wait_for 60 test -e "$test_dir/ready"
	run_tool qdel --kill "$id"
	assert_success
	refute gone "$started"
	kill -KILL "$started"
}

# --- what it is for ---

# rate_of JOBS OPTION...: sends so many and drains; how many were run a second, in $rate.
rate_of() {
	local begun
	seq "$1" | qsend --no-sync --lines >"$test_dir/ids"
	begun=$(now_ms)
	drain "${@:2}"
	assert_success
	assert_spool_empty
	rate=$((1000 * $1 / ($(now_ms) - begun)))
}

@test 'a Python handler that stays runs more jobs a second than one that is started for each' {
	need_command python3
	local jobs=${PERSIST_JOBS:-10} faster=${PERSIST_FASTER:-1} started python
	python=$(python3 -c 'import sys; print(sys.executable)') # no wrapper, which would take its time, too
	cat >"$test_dir/handler.py" <<-'END'
		import sys

		def work(payload):
		    return sum(payload.read()) % 256

		if len(sys.argv) == 1:
		    work(sys.stdin.buffer)
		for line in sys.stdin if len(sys.argv) > 1 else ():
		    with open(line.rstrip("\n").split(" ", 2)[2], "rb") as payload:
		        print(0, work(payload), flush=True)
	END
	rate_of "$jobs" -j 2 -- "$python" "$test_dir/handler.py"
	started=$rate
	rate_of $((25 * jobs)) -j 2 --persist -- "$python" "$test_dir/handler.py" loop
	figures="$rate jobs/s by handlers that stay, $started/s by one started for each: $((rate / (started + 1))) times"
	echo "# $figures (limit: $faster)" >&3
	((rate >= faster * started)) || fail "$figures"
}

# --- what is shipped -------------------------------------------------------------------

@test 'share/examples/persist/shell is fed jobs and answers' { example_works shell; }
@test 'share/examples/persist/python is fed jobs and answers' { example_works python; }
@test 'share/examples/persist/perl is fed jobs and answers' { example_works perl; }

example_works() {
	local first second
	[[ $1 == shell ]] || need_command "${1/python/python3}"
	first=$(send $'three words\nhere\n' --keep 1h) second=$(send '' --keep 1h)
	printf '%s\n' {1..20} | qsend --lines
	drain --persist --max-jobs 100 -- "$examples/$1"
	assert_success
	assert_equal "$(tr -d ' ' <"$QSPOOL/default/out/$first")" 3
	assert_equal "$(tr -d ' ' <"$QSPOOL/default/out/$second")" 0
	assert_equal "$(job_count 'done')" 2
	assert spool_is_idle
	# What cannot be read fails, and the handler goes on.
	printf '0123456789ABCDEFGHIJ 1 /no/such/file\n0123456789ABCDEFGHIJ 2 %s\n' \
		"$examples/$1" >"$test_dir/input"
	run --separate-stderr "$examples/$1" <"$test_dir/input"
	assert_equal "${#lines[@]}" 2
	assert_equal "${lines[0]}" 1
	assert_regex "${lines[1]}" '^0 +[0-9]+$'
}
