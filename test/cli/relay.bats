#!/usr/bin/env bats
# qrelay: jobs go from spool to spool by way of real nats-servers.

load helper
load nats
load relay.bash

@test 'a job that is pushed leaves the spool once the stream has it, and runs on the host that pulls it' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs -H 'X-Kind: test')
	push sender -v
	assert_success
	assert_regex "$stderr" "queue=jobs job=$id outcome=relayed"
	QSPOOL=$test_dir/sender assert_spool_empty jobs

	start_worker worker
	start_pull worker --room 5
	wait_for 20 done_are 1
	run cat "$test_dir/done.worker"
	assert_output "hello attempt=1 id=$id"
}

@test 'jobs go in order of priority' {
	start_nats one
	for priority in 90 10 50 49 51; do echo "$priority" | on sender qsend -q jobs -p "$priority"; done
	push sender
	start_pull worker --room 10
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 5 new jobs
	run ls "$test_dir/worker/jobs/new"
	assert_output --regexp $'^10\\..*\n49\\..*\n50\\..*\n51\\..*\n90\\.'
}

@test 'with the engine away jobs stay in the spool, and go when it is back' {
	start_nats one
	kill_nats one
	start_on sender qrelay push -q jobs -v "${nats_url[one]}"
	seq 20 | on sender qsend -q jobs --lines
	wait_for 10 grep -q 'not connected' "$test_dir/sender.qrelay.log"
	QSPOOL=$test_dir/sender assert jobs_are 20 new jobs
	start_nats one
	QSPOOL=$test_dir/sender wait_for 20 jobs_are 0 new jobs
	assert_equal "$(grep -c outcome=relayed "$test_dir/sender.qrelay.log")" 20
}

@test 'what has ended is acknowledged, twice, and then forgotten' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs)
	push sender
	start_worker worker
	start_pull worker --room 5 --lease 3s
	wait_for 20 done_are 1
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	export QSPOOL=$test_dir/worker
	wait_for 20 jobs_are 0 'done' jobs
	assert_spool_empty jobs
}

@test 'a relay that was killed between the end of a job and its acknowledgement does not run it again' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs)
	push sender
	start_pull worker --room 5 --lease 3s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	kill -KILL "$started"
	wait_for 5 gone "$started"
	start_worker worker
	wait_for 20 done_are 1
	QSPOOL=$test_dir/worker assert jobs_are 1 'done' jobs
	start_pull worker --room 5 --lease 3s
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 0 'done' jobs
	assert done_are 1
}

@test 'a job lives as long as its host says so, and goes to another one when the host is dead' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs)
	push sender
	start_pull first --room 5 --lease 2s
	first=$started
	QSPOOL=$test_dir/first wait_for 20 jobs_are 1 new jobs
	start_worker second
	start_on second qrelay pull -q jobs --room 5 -v "${nats_url[one]}"
	# Three leases long.
	wait_for 20 after_ms $(($(now_ms) + 6000))
	assert done_are 0
	kill -KILL "$first"
	wait_for 20 done_are 1
	run cat "$test_dir/done.second"
	assert_output "hello attempt=2 id=$id"
}

@test 'a buried job is put on a stream of its own, with its history' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs -A 2 -b 10ms..10ms)
	push sender
	start_on worker qwork -q jobs -- sh -c 'echo no such luck >&2; exit 1'
	start_pull worker --room 5 --lease 3s
	nats_monitor=$nats_monitor wait_for 20 stream_has 1 QSPOOL_BURIED_jobs
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	QSPOOL=$test_dir/worker assert_spool_empty jobs
}

@test 'told to end, a host gives back what it has not begun, with the attempts it had' {
	start_nats one
	seq 10 | on sender qsend -q jobs --lines
	push sender
	start_pull first --room 10 --lease 5s
	QSPOOL=$test_dir/first wait_for 20 jobs_are 10 new jobs
	kill -TERM "$started"
	exit_status 20 "$started"
	assert_equal "$status" 0
	QSPOOL=$test_dir/first assert_spool_empty jobs
	start_worker second
	start_pull second --room 10
	wait_for 20 done_are 10
	refute grep -v 'attempt=1' "$test_dir/done.second"
}

@test 'a delayed job travels at once, and is run when it is due' {
	start_nats one
	echo later | on sender qsend -q jobs -d 4s
	push sender
	QSPOOL=$test_dir/sender assert_spool_empty jobs
	start_worker worker
	start_pull worker --room 5
	wait_for 3 stream_has 1 QSPOOL_JOBS_jobs
	refute test -e "$test_dir/done.worker"
	wait_for 20 done_are 1
	assert grep -q 'later attempt=1' "$test_dir/done.worker"
}

@test 'what is left by a relay that died while it took a job does no harm' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs -A 5)
	push sender
	echo other | on worker qsend -q jobs -A 5 >/dev/null
	on worker qdel -q jobs --all
	echo half >"$test_dir/worker/jobs/tmp/$id"
	echo half >"$test_dir/worker/jobs/meta/$id"
	start_worker worker
	start_pull worker --room 5
	wait_for 10 done_are 1
	run cat "$test_dir/done.worker"
	assert_output "hello attempt=1 id=$id"
}

@test 'what a host has no room on its disk for goes back with the attempts it had, and others run it' {
	start_nats one
	seq 5 | on sender qsend -q jobs --lines
	seq 5000 | on sender qsend -q jobs >/dev/null
	push sender
	# The spool takes no file that is longer than that.
	start_on small env --ignore-signal=XFSZ prlimit --fsize=4096 \
		qrelay pull -q jobs --room 10 --lease 2s "${nats_url[one]}"
	small=$started
	wait_for 30 times_noted 2 'could not be taken in'
	start_worker large
	start_worker small
	start_pull large --room 10
	wait_for 30 done_are 6
	refute grep -v 'attempt=1' "$test_dir"/done.*
	kill -TERM "$small"
	exit_status 20 "$small"
	assert_equal "$status" 0
}

times_noted() { (($(grep -c "$2" "$test_dir/small.env.log") >= $1)); }

@test 'only one relay at a time pulls a queue into a spool' {
	start_nats one
	start_pull worker --room 5
	wait_for 10 grep -q connected "$test_dir/worker.qrelay.log"
	on worker run_tool timeout 20 qrelay pull -q jobs --room 5 "${nats_url[one]}"
	assert_failure 75
	assert_regex "$stderr" 'jobs/meta: another qrelay pull'
}

# Buries a job of the sender's on the worker: its id in $id.
bury_one() {
	id=$(printf 'hello\0there' | on sender qsend -q jobs -A 1 -p 40 -H 'X-Kind: test')
	push sender
	start_on worker qwork -q jobs -- sh -c 'echo no such luck >&2; exit 1'
	start_pull worker --room 5 --lease 3s
	wait_for 20 stream_has 1 QSPOOL_BURIED_jobs
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
}

@test 'what is buried is looked at from any host, and kicked' {
	start_nats one
	bury_one
	export QRELAY_URL=${nats_url[one]}
	run_tool qrelay buried
	assert_success
	assert_output --regexp "^$id 40   1 jobs .* attempt=1 of=1 cause=failed exit=1"
	run_tool qrelay buried "${id:0:12}"
	assert_success
	assert_line 'attempts: 1'
	assert_line 'header X-Kind: test'
	assert_line --regexp '\| no such luck'
	qrelay buried --payload "$id" | cmp - <(printf 'hello\0there')
	run_tool qrelay buried -j
	assert_equal "$(jq -r .id <<<"$output")" "$id"

	start_worker third
	start_pull third --room 5
	kill -TERM "${started_pids[1]}" "${started_pids[2]}"
	run_tool qrelay kick -v "$id"
	assert_success
	assert_output "$id"
	wait_for 20 done_are 1
	run cat "$test_dir/done.third"
	assert_output --partial "attempt=1 id=$id"
	wait_for 5 stream_has 0 QSPOOL_BURIED_jobs
	run_tool qrelay kick "$id"
	assert_failure 66
	assert_regex "$stderr" "no buried job $id"
}

@test 'qstat --relay shows what is in the streams and who has it' {
	start_nats one
	seq 9 | on sender qsend -q jobs --lines
	push sender
	start_pull worker --room 4
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 4 new jobs
	run_tool qstat --relay "${nats_url[one]}"
	assert_success
	assert_line --regexp '^jobs +5 +4 +0 +0 +0 +[0-9]'
	assert_line --regexp "^  $(hostname) +4$"
	run_tool qstat --relay "${nats_url[one]}" -j
	assert_equal "$(jq -c '[.queue, .depth, .waiting, .in_flight, .buried, .hosts[0].in_flight]' <<<"$output")" \
		'["jobs",9,5,4,0,4]'
}

@test 'a limit holds for all hosts together, and priorities hold with it' {
	start_nats one
	seq 12 | on sender qsend -q jobs --lines
	echo later | on sender qsend -q jobs -d 1h
	push sender
	start_pull first --room 10 --limit 3
	QSPOOL=$test_dir/first wait_for 20 jobs_are 3 new jobs
	start_pull second --room 10
	wait_for 10 relay_says in_flight 3
	start_worker second
	start_worker first
	wait_for 30 done_are 12
}

@test 'a job that is kicked while its burial is still being acknowledged runs again, on the same host too' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs -A 1)
	push sender
	start_on worker qwork -q jobs -- sh -c 'test -e "$QSPOOL/../mended" && echo "$QJOB_ID" >>"$QSPOOL/../done.worker"'
	start_pull worker --room 5 --lease 30s
	wait_for 20 stream_has 1 QSPOOL_BURIED_jobs
	touch "$test_dir/mended"
	run_tool qrelay kick --all "${nats_url[one]}"
	assert_success
	wait_for 20 done_are 1
	QSPOOL=$test_dir/worker wait_for 5 jobs_are 0 buried jobs
}

@test 'a job that came into the stream twice runs once' {
	start_nats one
	nats_request '$JS.API.STREAM.CREATE.QSPOOL_JOBS_jobs' '{"name": "QSPOOL_JOBS_jobs",
		"subjects": ["qspool.jobs.jobs.>"], "retention": "workqueue", "storage": "file",
		"num_replicas": 1, "duplicate_window": 100000000}' >/dev/null
	id=$(echo hello | on sender qsend -q jobs -A 5)
	cp -a "$test_dir/sender" "$test_dir/copy"
	push sender
	start_pull worker --room 5 --lease 3s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	# As a pusher that died before it knew: the stream's window for duplicates is over.
	push copy
	assert_success
	wait_for 20 grep -q 'once is enough' "$test_dir/worker.qrelay.log"
	start_worker worker
	wait_for 20 done_are 1
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	assert done_are 1
}
