#!/usr/bin/env bats
# What jobs share: limits, rates, and circuit breakers. No more than may, never less for long.

load helper

setup() {
	common_setup
	export TMPDIR=$test_dir/tmp
	mkdir "$TMPDIR"
	runs=$test_dir/runs
	: >"$runs"
}

# set_limit RESOURCE SETTING VALUE: as a person does it, with a shell.
set_limit() {
	mkdir -p "$QSPOOL/.resource/$1"
	echo "$3" >"$QSPOOL/.resource/$1/$2"
}

# Conditions: so many wait for a resource, or have run, or stand at the gate.
waiting() { find "$QSPOOL/.wait/@$1" -type f 2>/dev/null | wc -l; }
waiting_are() { [[ $(waiting "$2") == "$1" ]]; }
have_run() { (($(wc -l <"$runs") >= $1)); }
at_gate_are() { (($(find "$test_dir" -maxdepth 1 -name 'gate.started.*' | wc -l) == $1)); }
all_is_done() {
	local dir
	for dir in "$QSPOOL"/[a-z]*/{new,cur,delay} "$QSPOOL"/.wait/@*; do
		[[ ! -d $dir ]] || [[ -z $(find "$dir" -type f) ]] || return 1
	done
}

# send_many NUMBER [OPTION...]
send_many() { seq "$1" | qsend --lines --no-sync "${@:2}" >/dev/null; }

# A handler that shows how many run at once: it holds one of so many locks, the lowest that is free, and
# lets it go before it ends.
make_counter() {
	counter=$test_dir/counter
	script "$counter" <<-END
		trap 'exec 9>&-; exit 1' TERM
		i=0
		while :; do
			i=\$((i + 1))
			exec 9>>'$test_dir/at_once.'\$i
			flock -n 9 && break
		done
		echo \$i >>'$runs'
		sleep 0.0\${1:-2} 9>&-
		exec 9>&-
	END
}
most_at_once() { sort -n "$runs" | tail -n 1; }

# A handler that fails as long as $test_dir/down exists; each run is a line: id, attempt, time, what `open` says.
make_api() {
	api=$test_dir/api
	script "$api" <<-END
		echo "\$QJOB_ID \$QJOB_ATTEMPT \$(date +%s%3N) \$(cat '$QSPOOL/.resource/api/open' 2>/dev/null)" >>'$runs'
		[ ! -e '$test_dir/down' ]
	END
	touch "$test_dir/down"
}

# The attempts that all jobs have spent.
spent() {
	find "$QSPOOL" -path '*/tmp' -prune -o -type f -name '[0-9]*' -printf '%f\n' |
		sed -nE 's/^([0-9]{8}T[0-9.]+Z\.)?[0-9]{2}\.[0-9a-z]{20}\.([0-9]+).*/\2/p' | awk '{ sum += $1 } END { print sum + 0 }'
}

breaker_is_open() { [[ -e $QSPOOL/.resource/api/open ]]; }
breaker_is_closed() { ! breaker_is_open; }

# --- limits ---------------------------------------------------------------------

limit_holds() { # LIMIT
	make_counter
	set_limit db jobs "$1"
	send_many 30 --resource db
	for i in 1 2 3; do start_qwork -j 4 -- "$counter"; done
	wait_for 60 all_is_done
	lines_are 30 "$runs"
	assert_equal "$(most_at_once)" "$1"
}

@test 'a limit of 1 is kept by all qworks together' { limit_holds 1; }
@test 'a limit of 3 is kept by all qworks together, and is reached' { limit_holds 3; }

@test 'a job states a limit of its own, where no operator has set one' {
	make_gate
	send_many 3 --resource db=1
	start_qwork -j 4 -- "$gate"
	wait_for 60 all_at_gate 1
	wait_for 60 waiting_are 2 db
	set_limit db jobs 2
	wait_for 60 all_at_gate 2
	wait_for 60 waiting_are 1 db
	rm "$QSPOOL/.resource/db/jobs"
	set_limit db jobs 3
	wait_for 60 all_at_gate 3
	open_gate
	wait_for 60 all_is_done
}

@test 'a crowd that waits for one resource stays there while another is missing, too' {
	make_gate
	set_limit api jobs 1
	set_limit db jobs 0
	send_many 50 --resource api --resource db
	start_qwork -j 2 -- "$gate"
	wait_for 60 waiting_are 50 db
	set_limit db jobs 1
	wait_for 60 all_at_gate 1
	send x >/dev/null # which runs after the next one of the crowd was tried
	wait_for 60 all_at_gate 2
	waiting_are 49 db
	waiting_are 0 api
	open_gate
	wait_for 60 all_is_done
}

@test 'a job has 16 resources at most, and gets them though descriptors are few' {
	local options=() i
	for i in {1..16}; do
		options+=(--resource "r$i=1")
		set_limit "r$i" rate 1000/s
	done
	send x "${options[@]}"
	run_tool prlimit --nofile=64: timeout -k 10 60 qwork --drain -j 1 -- true
	assert_success
	assert_spool_empty
	run_tool send x "${options[@]}" --resource more
	assert_failure 64
	assert_output ''
}

@test 'a crowd of resources that nobody gets keeps no job of another resource waiting' {
	local i
	for i in {1..300}; do
		set_limit "r$i" jobs 0
		send x --no-sync --resource "r$i"
	done
	send_many 20 --resource last=1
	start_qwork -j 2 -- sh -c 'echo x >>"$0"' "$runs"
	wait_for 50 have_run 20
}

@test 'of more that wait than qwork remembers none is left behind, also of those that came later' {
	set_limit db jobs 0
	send_many 2 --resource db
	drain -- true
	waiting_are 2 db
	# It reads those two, and remembers 1,024.
	start_qwork -j 8 --scan 1h -- true
	wait_for 60 watches "$qwork"
	send_many 1030 --resource db
	wait_for 60 waiting_are 1032 db
	set_limit db jobs 20
	wait_for 60 all_is_done
}

@test 'an operator may lower a limit below what a job states; what runs counts' {
	make_gate
	send_many 5 --resource db=3
	start_qwork -j 9 -- "$gate"
	wait_for 60 all_at_gate 3
	wait_for 60 waiting_are 2 db
	set_limit db jobs 1
	handlers=("$test_dir"/gate.started.*)
	kill "$(cat "${handlers[0]}")"
	# It comes back by a retry and waits with the others: two run still, and one may.
	wait_for 60 waiting_are 2 db
	assert_equal "$(job_count cur)" 2
	open_gate
	drain_all -b 10ms -- true
	wait_for 60 all_is_done
}

@test 'a limit of 0 lets nobody in; one that is not understood neither, and qwork says so' {
	set_limit db jobs 0
	send x --resource db
	drain -- true
	assert_success
	waiting_are 1 db
	set_limit db jobs many
	drain -- true
	assert_success
	waiting_are 1 db
	assert_regex "$stderr" "cause=\"a resource's setting is not understood.*\.resource/db/jobs"
	set_limit db jobs 1
	drain -- true
	assert_spool_empty
	waiting_are 0 db
}

# why_not ID SENTENCE: what is said of why it does not run.
why_not() {
	run_tool qstat --why "$1"
	assert_success
	assert_output "$1: $2"
}

@test 'why a job does not run: the limit, its own or that of the resource; the rate; nobody who would run it' {
	start_running 1 --resource db=1
	first=$id
	second=$(send 2 --resource db=1)
	drain -- true
	why_not "$second" "resource db: 1 of 1 running ($first)"
	# The qwork that has the slot has not seen it come to wait; it looks before its scan of a minute.
	open_gate
	wait_for 30 all_is_done
	set_limit db jobs 0
	third=$(send 3 --resource db)
	wait_for 60 waiting_are 1 db
	why_not "$third" 'resource db: its limit is 0'
	set_limit fax rate 1/h
	send 4 --resource fax
	wait_for 60 jobs_are 0 new
	fifth=$(send 5 --resource fax)
	wait_for 60 waiting_are 1 fax
	why_not "$fifth" 'resource fax: no more than 1/h start'
	kill -TERM "$qwork"
	wait_for 60 gone "$qwork"
	rm "$QSPOOL/.resource/db/jobs"
	why_not "$third" 'no qwork serves queue default'
}

@test 'a slot is free when the last process that inherited it has ended, and not before' {
	set_limit db jobs 1
	script "$test_dir/leaves" <<-END
		sleep 1000 2>/dev/null >/dev/null </dev/null &
		echo \$! >>'$runs'
	END
	first=$(send 1 --resource db)
	start_qwork -v -- "$test_dir/leaves"
	wait_for 60 have_run 1
	finished() { grep -q "job=$first .*outcome=finished" "$qwork_log"; }
	wait_for 60 finished
	send 2 --resource db
	wait_for 60 waiting_are 1 db
	kill -KILL "$qwork"
	start_qwork -v -- "$test_dir/leaves"
	wait_for 60 watches "$qwork"
	lines_are 1 "$runs"
	kill "$(head -n 1 "$runs")"
	wait_for 60 have_run 2
	wait_for 60 all_is_done
	kill "$(tail -n 1 "$runs")"
}

@test 'where a resource cannot be watched it is looked at each second' {
	few=(unshare -Ur sh -c 'echo 4 >/proc/sys/user/max_inotify_watches && exec "$@"' few)
	"${few[@]}" true 2>/dev/null || skip 'needs a user namespace with limits of its own'
	make_gate
	send 1 --resource db=1
	start_qwork -j 1 -- "$gate"
	wait_for 60 all_at_gate 1
	start "${few[@]}" qwork -v --scan 1h -- sh -c 'echo >>"$0"' "$runs" 2>"$test_dir/few.log"
	is_watched() { (($(cat "/proc/$started"/fdinfo/* 2>/dev/null | grep -c '^inotify ') == $1)); }
	wait_for 60 is_watched 4
	send 2 --resource db=1
	wait_for 60 waiting_are 1 db
	wait_for 60 after_ms $(($(now_ms) + 1000))
	kill -STOP "$qwork"
	open_gate
	wait_for 60 have_run 1
	kill -CONT "$qwork"
	wait_for 60 all_is_done
}

@test 'who lacks one of two resources holds none' {
	make_gate
	set_limit a jobs 1
	set_limit b jobs 1
	send 1 --resource a >/dev/null
	start_qwork -j 4 -- "$gate"
	wait_for 60 all_at_gate 1
	send both --resource a --resource b >/dev/null
	wait_for 60 waiting_are 1 a
	id=$(send 2 --resource b)
	wait_for 60 at_gate "$id"
	open_gate
	wait_for 60 all_is_done
}

@test 'jobs that need several resources, in any mixture, all get them' {
	make_counter
	set_limit a jobs 1
	set_limit b jobs 2
	set_limit c rate 200/s
	send_many 6 --resource a --resource b
	send_many 6 --resource b --resource c
	send_many 6 --resource c --resource a
	send_many 6 --resource a --resource b --resource c
	send_many 6 --resource b
	for i in 1 2; do start_qwork -j 4 -- "$counter" 1; done
	wait_for 60 all_is_done
	lines_are 30 "$runs"
}

@test 'edits are noticed at once: a limit, a breaker opened and closed by touch and rm' {
	make_gate
	set_limit db jobs 1
	send_many 2 --resource db
	start_qwork -j 4 --scan 1h -- "$gate"
	wait_for 60 all_at_gate 1
	wait_for 60 waiting_are 1 db
	set_limit db jobs 2
	wait_for 60 all_at_gate 2
	touch "$QSPOOL/.resource/db/open"
	set_limit db jobs 9
	send_many 2 --resource db
	wait_for 60 waiting_are 2 db
	at_gate_are 2
	rm "$QSPOOL/.resource/db/open"
	wait_for 60 all_at_gate 4
	open_gate
	wait_for 60 all_is_done
}

@test 'touch opens a breaker for good also where an old time lies' {
	mkdir -p "$QSPOOL/.resource/db"
	echo '2020-01-01T00:00:00Z 1s' >"$QSPOOL/.resource/db/open"
	send x --resource db
	drain -- true
	waiting_are 1 db
	refute_regex "$stderr" 'probes'
}

@test 'a breaker that was opened by a clock that was set back since is not open for all that time' {
	mkdir -p "$QSPOOL/.resource/db"
	echo '2099-01-01T00:00:30Z 30s' >"$QSPOOL/.resource/db/open"
	touch -d '2099-01-01T00:00:00Z' "$QSPOOL/.resource/db/open"
	send x --resource db
	drain -- true
	assert_spool_empty
	waiting_are 0 db
	# Who means it says so at a time that is true.
	echo '2099-01-01T00:00:30Z 30s' >"$QSPOOL/.resource/db/open"
	send x --resource db
	drain -- true
	waiting_are 1 db
}

@test 'what is blocked keeps no other job from its place and its start' {
	set_limit db jobs 0
	send_many 300 --resource db
	send a -p 60 >/dev/null && send b >/dev/null && send c -p 40 >/dev/null
	drain -- sh -c 'cat && echo'
	assert_output $'c\nb\na'
	waiting_are 300 db
	# Those that wait already are in nobody's way.
	send_many 20
	drain --bury-on 1 -- true
	assert_success
	spool_is_idle
	waiting_are 300 db
}

@test 'a new qwork takes what waits, in order; of its own queue only' {
	set_limit db jobs 0
	for i in 3 1 2; do send "$i" --resource db -p "$i" >/dev/null; done
	send x --resource db -q other >/dev/null
	drain -- true
	drain -q other -- true
	waiting_are 4 db
	set_limit db jobs 1
	drain -- sh -c 'cat && echo'
	assert_output $'1\n2\n3'
	waiting_are 1 db
	drain -q other -- true
	waiting_are 0 db
}

@test '--drain tries what waits, once; --drain=all waits for it' {
	make_gate
	set_limit db jobs 1
	send 1 --resource db >/dev/null
	start_qwork -- "$gate"
	wait_for 60 all_at_gate 1
	send 2 --resource db >/dev/null
	start_qwork --drain=all -- true
	all=$qwork
	wait_for 60 waiting_are 1 db
	drain -- true
	assert_success
	waiting_are 1 db
	watches "$all"
	open_gate
	exit_status 60 "$all"
	assert_equal "$status" 0
	waiting_are 0 db
}

@test '--drain runs all that share a slot, one after the other' {
	send_many 8 --resource db=1
	drain -j 4 -- sh -c 'echo >>"$1"' handler "$runs"
	assert_success
	lines_are 8 "$runs"
	assert_spool_empty
}

@test 'resources have names of any bytes and any length' {
	long=$(printf 'x%.0s' {1..300})
	strange=$'a/b %.@\n\xff='
	mkdir -p "$QSPOOL"
	for name in "$long" "$strange" '.' '..' 'a b'; do
		send_many 2 --resource "$name=1"
		drain -j 2 -- sh -c 'echo >>"$1"' handler "$runs"
		assert_success
	done
	lines_are 10 "$runs"
	assert_spool_empty
	run ls -A "$QSPOOL/.resource"
	assert_equal "${#lines[@]}" 5
	assert_equal "$(cat "$QSPOOL/.resource/$(printf 'x%.0s' {1..64})%%"*/name)" "$long"
}

@test 'SIGKILL of qworks leaks no slot and lets nobody in beyond the limit' {
	make_counter
	set_limit db jobs 3
	jobs=${RESOURCE_JOBS:-60}
	send_many "$jobs" --resource db
	for i in 1 2 3 4; do start_qwork -j 4 -A 100 -b 10ms -- "$counter" 1; done
	for ((i = 1; i < jobs / 4; i++)); do
		wait_for 60 have_run $((i * 4))
		[[ $((i % 3)) == 0 ]] || continue
		kill -KILL "$qwork"
		start_qwork -j 4 -A 100 -b 10ms -- "$counter" 1
	done
	wait_for 300 all_is_done
	jobs_are 0 buried
	assert_equal "$(most_at_once)" 3
}

# --- rates ----------------------------------------------------------------------

# RATE_SECONDS=10 RATE_WITHIN=5 is the full size, `make bench`: in so many seconds from the first start on, as
# many jobs start as the rate says, within so many percent. A busy machine may start fewer, and may note late
# when it started the first.
@test 'a rate is not exceeded, by all qworks together, and nearly reached' {
	set_limit api rate 50/s
	seconds=${RATE_SECONDS:-2}
	due=$((50 * seconds)) fewer=${RATE_WITHIN:-95} more=${RATE_WITHIN:-20}
	send_many $((due + due / 2)) --resource api
	for i in 1 2 3 4; do start_qwork -j 20 -- sh -c 'date +%s%3N >>"$1"' handler "$runs"; done
	wait_for 120 have_run $((due + 10))
	in_time=$(sort -n "$runs" | awk -v ms=$((seconds * 1000)) '!n { end = $1 + ms } $1 < end { n++ } END { print n }')
	figures="$in_time jobs in $seconds s at 50/s: $((100 * in_time / due)) % of $due"
	echo "# $figures (limits: $fewer % fewer, $more % more)" >&3
	((100 * in_time <= due * (100 + more) && 100 * in_time >= due * (100 - fewer))) || fail "$figures"
}

@test 'a burst comes at once, and then the rate holds' {
	set_limit api rate 1/h
	set_limit api burst 5
	send_many 8 --resource api
	start_qwork -- sh -c 'echo >>"$1"' handler "$runs"
	wait_for 60 have_run 5
	wait_for 60 waiting_are 3 api
	lines_are 5 "$runs"
	set_limit api burst 7
	wait_for 60 have_run 7
	rm "$QSPOOL/.resource/api/rate"
	wait_for 60 all_is_done
}

# keep_state RESOURCE: somebody has locked its state, and is stopped, say; his id is in $started.
keep_state() {
	start flock -F "$QSPOOL/.resource/$1/state" sh -c ': >"$0"; exec sleep 1000' "$test_dir/kept"
	wait_for 60 test -e "$test_dir/kept"
}
switches() { awk '/^voluntary_ctxt/ { print $2 }' "/proc/$qwork/status"; }

@test 'states of many resources that somebody keeps locked are each waited for once' {
	for i in 1 2 3 4 5 6 7 8; do
		qlimit --rate 1000/s "r$i"
		keep_state "r$i"
		rm "$test_dir/kept"
		send x --resource "r$i" >/dev/null
	done
	start_qwork --scan 1h -- true
	wait_for 60 every_one_waits
	wait_for 60 after_ms $(($(now_ms) + 3000))
	before=$(switches)
	wait_for 60 after_ms $(($(now_ms) + 2000))
	woke=$(($(switches) - before))
	((woke < 200)) || fail "woke $woke times in 2 s"
}
every_one_waits() { (($(find "$QSPOOL" -path '*/.wait/@r*' -type f | wc -l) == 8)); }

@test 'a state that somebody keeps locked is not waited for all the time, and given up never' {
	qlimit --rate 1000/s api
	keep_state api
	keeper=$started
	start_qwork --scan 1h -- sh -c 'cat >>"$0"; echo >>"$0"' "$runs"
	send x --resource api
	wait_for 60 waiting_are 1 api
	wait_for 60 after_ms $(($(now_ms) + 1000))
	before=$(switches)
	wait_for 60 after_ms $(($(now_ms) + 2000))
	(($(switches) - before < 100)) || fail "woke $(($(switches) - before)) times in 2 s"
	send other
	wait_for 60 have_run 1
	kill -KILL "$keeper"
	wait_for 60 have_run 2
	wait_for 60 all_is_done
}

@test 'while its state is kept locked an open breaker gives attempts back all the same' {
	make_gate
	set_limit api breaker 1,1h
	send x --resource api
	start_qwork -A 2 --scan 1h -- "$gate" 1
	wait_for 60 all_at_gate 1
	qlimit --open api
	keep_state api
	open_gate
	wait_for 60 waiting_are 1 api
	assert_equal "$(spent)" 0
	assert_regex "$(cat "$qwork_log")" "a breaker could not be told of an attempt's end"
}

# --- breakers -------------------------------------------------------------------

@test 'a breaker opens after so many failures in a row, which a success interrupts' {
	make_api
	set_limit api breaker 3,1h..1h
	send_many 2 --resource api
	drain -A 9 -b 1h -- "$api"
	rm "$test_dir/down"
	send_many 1 --resource api
	drain -- "$api"
	touch "$test_dir/down"
	send_many 2 --resource api
	drain -A 9 -b 1h -- "$api"
	breaker_is_closed
	send_many 1 --resource api
	drain -A 9 -b 1h -- "$api"
	assert_regex "$stderr" 'cause="opens the breaker" reason=api wait=[0-9hms.]+ due='
	breaker_is_open
	lines_are 6 "$runs"
	send_many 3 --resource api
	drain -- "$api"
	lines_are 6 "$runs"
	waiting_are 3 api
}

@test 'while it is open one probe runs a period, of all qworks, and no attempt is spent' {
	make_api
	set_limit api breaker 3,500ms..1500ms
	for queue in a b; do send_many 10 -q "$queue" --resource api; done
	for queue in a a b; do start_qwork -q "$queue" -j 4 -A 5 -b 10ms -- "$api"; done
	wait_for 60 breaker_is_open
	wait_for 60 waiting_are 20 api
	assert_equal "$(spent)" 3
	before=$(wc -l <"$runs")
	wait_for 60 have_run $((before + 6))
	wait_for 60 waiting_are 20 api
	assert_equal "$(spent)" 3
	# Each probe found another time written, and began when the time before it was over.
	python3 - "$runs" "$before" <<-'END'
		import datetime, sys
		last, seen = None, set()
		for line in open(sys.argv[1]).readlines()[int(sys.argv[2]):]:
		    job, attempt, at, until, wait = line.split()
		    until = datetime.datetime.fromisoformat(until.replace("Z", "+00:00"))
		    at = datetime.datetime.fromtimestamp(int(at) / 1000, datetime.timezone.utc)
		    assert at < until, line
		    assert last is None or at >= last, (line, last)
		    assert until not in seen, line
		    seen.add(until)
		    last = until
	END
	rm "$test_dir/down"
	wait_for 60 all_is_done
	jobs_are 0 buried a
	jobs_are 0 buried b
	breaker_is_closed
}

@test 'a success closes it, and the others are let in gradually' {
	make_gate
	set_limit api breaker 1,100ms
	send_many 1 --resource api
	drain -A 9 -b 1ms -- false
	breaker_is_open
	send_many 9 --resource api
	start_qwork -j 20 -- "$gate"
	# The probe, and none beside it.
	wait_for 60 all_at_gate 1
	wait_for 60 waiting_are 9 api
	at_gate_are 1
	open_gate
	wait_for 60 all_is_done
	assert_equal "$(cat "$QSPOOL/.resource/api/window")" 10
	breaker_is_closed
	assert_regex "$(cat "$qwork_log")" 'outcome=note cause="probes the breaker" reason=api'
	assert_regex "$(cat "$qwork_log")" 'outcome=note cause="closes the breaker" reason=api'
}

@test 'a window is a limit, and widens with each success' {
	make_gate
	mkdir -p "$QSPOOL/.resource/api"
	echo 2 >"$QSPOOL/.resource/api/window"
	send_many 8 --resource api
	start_qwork -j 20 -- "$gate"
	wait_for 60 all_at_gate 2
	wait_for 60 waiting_are 6 api
	at_gate_are 2
	open_gate
	wait_for 60 all_is_done
	assert_equal "$(cat "$QSPOOL/.resource/api/window")" 10
	echo 63 >"$QSPOOL/.resource/api/window"
	send_many 1 --resource api
	drain -- true
	assert_not_exists "$QSPOOL/.resource/api/window"
}

@test 'a failed probe gives its attempt back, and the last attempt is not spent by it' {
	make_api
	set_limit api breaker 1,50ms
	id=$(send x --resource api)
	start_qwork -A 2 -b 1ms -- "$api"
	wait_for 60 have_run 5
	touch "$QSPOOL/.resource/api/open"
	: >"$QSPOOL/.resource/api/open"
	wait_for 60 waiting_are 1 api
	jobs_are 0 buried
	assert_equal "$(spent)" 1
	assert_regex "$(cat "$qwork_log")" "job=$id attempt=2 of=2 outcome=deferred cause=\"held back\" reason=\"the breaker of api is open\""
	rm "$test_dir/down" "$QSPOOL/.resource/api/open"
	wait_for 60 all_is_done
}

# A job that always fails, and is the first of all that wait for the breaker of api; its handler is $picky.
make_picky() { # WAIT
	picky=$test_dir/picky
	script "$picky" <<-END
		read -r what
		echo "\$what" >>'$runs'
		[ "\$what" != bad ]
	END
	set_limit api breaker "1,$1"
	send bad --resource api -p 10 >/dev/null
	wait_for 60 bad_waits
}
bad_waits() {
	drain -A 999 -b 1ms -- "$picky" && breaker_is_open && waiting_are 1 api
}
good_have_run() { (($(grep -c good "$runs") >= $1)); }

@test 'who probed in vain is the next probe only after all others that wait' {
	make_picky 50ms..100ms
	yes good | head -n 5 | qsend --lines --no-sync --resource api >/dev/null
	start_qwork -A 999 -b 1ms --scan 1h -- "$picky"
	wait_for 60 good_have_run 5
}

@test 'the turn to probe goes round: all that wait have probed before one does again' {
	make_api
	set_limit api breaker 1,20ms..40ms
	send_many 5 --resource api
	start_qwork -j 4 -A 999 -b 1ms -- "$api"
	wait_for 60 breaker_is_open
	wait_for 60 waiting_are 5 api
	before=$(wc -l <"$runs")
	wait_for 60 have_run $((before + 15))
	rm "$test_dir/down"
	wait_for 60 all_is_done
	# The first probe may have been under way.
	run awk -v from="$((before + 1))" 'NR > from && NR <= from + 10 { print $1 }' "$runs"
	assert_equal "$(printf '%s\n' "${lines[@]:0:5}" | sort -u | wc -l)" 5
	assert_equal "${lines[*]:0:5}" "${lines[*]:5:5}"
}

@test 'the turn to probe goes round all queues; one that nobody serves is passed over' {
	make_picky 50ms..100ms
	yes good | head -n 3 | qsend --lines --no-sync -q other --resource api >/dev/null
	qlimit --open api
	drain -q other -- true
	waiting_are 4 api
	qlimit --open --for 100ms api
	start_qwork -A 999 -b 1ms --scan 1h -- "$picky"
	before=$(wc -l <"$runs")
	wait_for 60 have_run $((before + 3))
	start_qwork -q other --scan 1h -- "$picky"
	wait_for 60 good_have_run 3
}

@test 'qlimit tells who probed last, and open by hand keeps the turn' {
	make_picky 1h
	due_now() { echo "$(date -u +%FT%TZ) 1h" >"$QSPOOL/.resource/api/open"; }
	probed() { [[ $(qlimit -j api | jq -r .probe) == "$1" ]]; }
	probed null
	bad=$(basename "$(find "$QSPOOL/.wait/@api" -type f)" | cut -d . -f 2)
	id=$(send good --resource api)
	due_now && drain -A 999 -- false
	run_tool qlimit api
	assert_line "probe     $bad"
	: >"$QSPOOL/.resource/api/open"
	drain -- true
	waiting_are 2 api
	due_now && drain -A 999 -- false
	probed "$id"
	due_now && drain -A 999 -- false
	probed "$bad"
}

@test 'SIGKILL of qwork while it probes: nobody else probes before the time that was written' {
	make_gate
	set_limit api breaker 1,1500ms
	send x --resource api >/dev/null
	drain -A 9 -b 1ms -- false
	breaker_is_open
	send y --resource api >/dev/null
	start_qwork -A 9 -- "$gate"
	wait_for 60 all_at_gate 1
	written=$(cat "$QSPOOL/.resource/api/open")
	kill -KILL "$qwork"
	rm "$gate".started.*
	open_gate
	start_qwork -A 9 -b 1ms -- sh -c 'date +%s%3N >>"$1"' handler "$runs"
	wait_for 60 all_is_done
	(($(head -n 1 "$runs") >= $(date -d "${written% *}" +%s%3N))) || fail "$(cat "$runs") is before $written"
}

@test 'a probe that could not be started did not fail: the next one comes at once, and the wait is as it was' {
	set_limit api breaker 1,1h..2h
	send x --resource api >/dev/null
	for how in 'no handler' 'no room in cur/'; do
		echo "$(date -u +%FT%TZ) 1h" >"$QSPOOL/.resource/api/open"
		if [[ $how == 'no handler' ]]; then
			drain -- "$test_dir/missing"
			assert_regex "$stderr" 'the handler cannot be run'
		else
			chmod 0500 "$QSPOOL/default/cur"
			run_tool powerless timeout 60 qwork --drain -- true </dev/null
			chmod 0700 "$QSPOOL/default/cur"
		fi
		assert_failure
		assert_regex "$stderr" 'cause="probes the breaker"'
		run_tool qlimit api
		assert_line 'state     probe is due'
		assert_regex "$(cat "$QSPOOL/.resource/api/open")" ' 1h$'
	done
	drain -- true
	assert_spool_empty
	breaker_is_closed
}

@test 'who closes a breaker while a job is about to probe has closed it' {
	mkdir -p "$QSPOOL/.resource/db/slot"
	touch "$QSPOOL/.resource/db/slot/probe"
	echo "$(date -u +%FT%TZ) 1h" >"$QSPOOL/.resource/db/open"
	send x --resource db >/dev/null
	# It has slot/probe and makes its state, to lock it.
	start_stopped create:1 qwork --drain -- true
	run ls "$QSPOOL/.resource/db"
	refute_line state
	qlimit --close db
	go_on
	assert_equal "$status" 0
	refute_regex "$(cat "$test_dir/stopped.err")" 'probes'
	assert_not_exists "$QSPOOL/.resource/db/open"
	assert_spool_empty
	waiting_are 0 db
}

@test 'a job that is set aside, for exit 65 or by its handler, blames nothing; a timeout does' {
	set_limit api breaker 1,1h
	send x --resource api >/dev/null
	drain -- sh -c 'exit 65'
	breaker_is_closed
	send x --resource api >/dev/null
	drain -- sh -c 'echo bury >>"$QJOB_CONTROL"; exit 1'
	breaker_is_closed
	jobs_are 2 buried
	send x --resource api >/dev/null
	drain -- sh -c 'echo defer 1h >>"$QJOB_CONTROL"; exit 1'
	breaker_is_closed
	send x --resource api >/dev/null
	drain --timeout 50ms -b 1h -- sleep 1000
	breaker_is_open
}

@test 'trip names who is to blame, and for how long; without a breaker it opens all the same' {
	set_limit other breaker 1,1h
	send x --resource api --resource other >/dev/null
	drain -b 1h -- sh -c 'echo trip api 300 >>"$QJOB_CONTROL"; exit 1'
	breaker_is_open
	assert_not_exists "$QSPOOL/.resource/other/open"
	read -r until wait <"$QSPOOL/.resource/api/open"
	left=$(($(date -d "$until" +%s) - $(date +%s)))
	((left > 200 && left <= 300)) || fail "$left s of 300 are left"
	assert_equal "$wait" 30s
	assert_equal "$(spent)" 1
}

@test 'trip without a time opens for the base; with a success too, and the job is done' {
	set_limit api breaker 9,1h..2h
	send x --resource api >/dev/null
	drain -- sh -c 'echo trip api >>"$QJOB_CONTROL"'
	assert_spool_empty
	read -r until wait <"$QSPOOL/.resource/api/open"
	assert_equal "$wait" 1h
	left=$(($(date -d "$until" +%s) - $(date +%s)))
	((left > 1700 && left <= 3600)) || fail "$left s of an hour are left"
}

@test 'a probe that succeeds closes its breaker, though its handler trips another resource' {
	set_limit api breaker 1,1h
	touch "$QSPOOL/.resource/api/open"
	send x --resource api --resource other >/dev/null
	start_qwork -- sh -c 'echo trip other 1h >>"$QJOB_CONTROL"'
	wait_for 60 waiting_are 1 api
	qlimit --open --for 1ms api
	wait_for 60 all_is_done
	breaker_is_closed
	assert_exists "$QSPOOL/.resource/other/open"
}

@test 'a trip of what the job does not use is ignored, and said' {
	set_limit mine breaker 1,1h
	send x --resource mine >/dev/null
	drain -b 1h -- sh -c 'echo trip api >>"$QJOB_CONTROL"; exit 1'
	breaker_is_closed
	assert_exists "$QSPOOL/.resource/mine/open"
	assert_regex "$stderr" 'cause="a trip of what the job does not use is ignored" reason=api'
}

@test 'who cannot write of both its breakers that it probes them has probed none' {
	need_hooked
	set_limit api breaker 1,1h..9h
	qlimit --open --for 1ms api
	qlimit --open --for 1ms db
	send x --resource api --resource db >/dev/null
	run_tool hooked ENOSPC:write@resource/db/.draft-open:1 qwork --drain -- true
	assert_regex "$stderr" 'resource/db/open: No space left on device'
	read -r until wait <"$QSPOOL/.resource/api/open"
	assert_equal "$wait" 1h
	(($(date -d "$until" +%s) <= $(date +%s)))
	drain -- true
	assert_spool_empty
}

# --- all together ----------------------------------------------------------------

@test 'an idle qwork with jobs that wait makes no system call' {
	need_strace
	set_limit api jobs 0
	send_many 5 --resource api
	start_qwork --scan 1h -- true
	wait_for 60 waiting_are 5 api
	rested() { [[ $(cut -d ' ' -f 1 "/proc/$qwork/syscall" 2>/dev/null) == 7 ]]; }
	[[ -r /proc/$qwork/syscall ]] || skip 'cannot see what a process waits in'
	# The last look comes half a second after the last job went to wait.
	wait_for 60 after_ms $(($(now_ms) + 1500))
	wait_for 60 rested
	start strace -f -o "$test_dir/trace" -p "$qwork"
	tracer=$started
	traced() { grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$qwork/status"; }
	wait_for 60 traced
	wait_for 60 after_ms $(($(now_ms) + ${IDLE_SECONDS:-2} * 1000))
	kill -INT "$tracer"
	wait_for 60 gone "$tracer"
	# The thread that closes waits, too.
	run grep -vcE 'poll|restart_syscall|<detached|resumed|strace|futex.*<unfinished' "$test_dir/trace"
	assert_output 0
}

@test 'a crowd that waits costs neither memory nor the start of others' {
	set_limit api jobs 0
	held=${RESOURCE_HELD:-3000}
	send_many "$held" --resource api
	start_qwork -v -- true
	none_is_new() { [[ -z $(find "$QSPOOL/default/new" -type f -print -quit) ]]; }
	wait_for 600 none_is_new
	wait_for 600 waiting_are "$held" api
	memory() { awk '/^VmRSS/ {print $2}' "/proc/$qwork/status"; }
	before=$(memory)
	kill -KILL "$qwork"
	start_qwork -v -- true
	wait_for 60 watches "$qwork"
	id=$(send x)
	wait_for 60 all_is_done_of "$id"
	(($(memory) <= before + 1000 && $(memory) < 20000)) ||
		[[ -n ${QSPOOL_SANITIZED:-} ]] || fail "$(memory) kB, and $before kB before"
}
all_is_done_of() { grep -q "job=$1 .*outcome=finished" "$qwork_log"; }
