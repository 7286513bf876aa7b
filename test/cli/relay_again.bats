#!/usr/bin/env bats
# qrelay: what comes again, late, or not as it should.

load helper
load nats
load relay.bash

@test 'a job is buried with as much of its history as there is room for' {
	echo 'max_payload: 8192' >"$test_dir/nats.conf"
	start_nats one -c "$test_dir/nats.conf"
	id=$(head -c 7000 /dev/zero | on sender qsend -q jobs -A 1)
	push sender
	start_on worker qwork -q jobs -- sh -c 'seq 1000 >&2; exit 1'
	start_pull worker --room 5 --lease 3s
	wait_for 20 stream_has 1 QSPOOL_BURIED_jobs
	run_tool qrelay buried "${nats_url[one]}" "$id"
	assert_line '  | 1000'
}

@test 'jobs of a queue that was moved away are not over' {
	start_nats one
	seq 3 | on sender qsend -q jobs --lines
	push sender
	start_pull worker --room 5 --lease 30s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 3 new jobs
	mv "$test_dir/worker/jobs" "$test_dir/worker/jobs.old"
	exit_status 30 "$started"
	assert_equal "$status" 75
	assert stream_has 3 QSPOOL_JOBS_jobs
}

@test 'nor are those of a queue of which a directory was exchanged, and no more come into it' {
	local dir
	start_nats one
	seq 20 | on sender qsend -q jobs --lines
	push sender
	for dir in new cur delay; do
		start_pull worker --room 5 --lease 30s
		wait_for 20 relay_says in_flight 5
		wait_for 20 host_says 5
		QSPOOL=$test_dir/worker wait_for 20 jobs_are 5 new jobs
		mv "$test_dir/worker/jobs/$dir" "$test_dir/$dir.old"
		mkdir -m 700 "$test_dir/worker/jobs/$dir"
		exit_status 30 "$started"
		assert_equal "$status" 75
		assert stream_has 20 QSPOOL_JOBS_jobs
		rmdir "$test_dir/worker/jobs/$dir"
		mv "$test_dir/$dir.old" "$test_dir/worker/jobs/$dir"
	done
}

@test 'a history is cut to what JetStream takes for headers' {
	start_nats one
	echo hello | on sender qsend -q jobs -b 5ms..5ms
	push sender
	start_on worker qwork -q jobs -- sh -c \
		'for i in $(seq 200); do echo "  at foo.bar($i) [x]: \"a\" = ä ö ü"; done >&2; exit 1'
	start_pull worker --room 5
	wait_for 30 stream_has 1 QSPOOL_BURIED_jobs
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
}

host_says() { [[ $(qrelay stat -j "${nats_url[one]}" | jq '.hosts[0].in_flight') == "$1" ]]; }

# twin_of_pushed OPTION...: a job that a push of this spool has handed over, though it died before it removed it; sets `id`.
twin_of_pushed() {
	id=$(echo hello | on worker qsend -q jobs "$@")
	cp -a "$test_dir/worker" "$test_dir/copy"
	push copy
	assert_success
}

@test 'what has ended here before it comes from the stream is not run again' {
	start_nats one
	twin_of_pushed --keep 1h
	start_worker worker
	wait_for 20 done_are 1
	start_pull worker --room 5
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	assert done_are 1
}

@test 'while something else of its id is here a job waits, and the stream is left in peace' {
	start_nats one
	twin_of_pushed -A 5
	on worker qbury "$id"
	start_pull worker --room 5
	wait_for 10 grep -q "job=$id .*something else of this id" "$test_dir/worker.qrelay.log"
	wait_for 20 after_ms $(($(now_ms) + 2500))
	assert_equal "$(curl -sf "$nats_monitor/jsz?streams=true" |
		jq '.account_details[].stream_detail[] | select(.name == "QSPOOL_JOBS_jobs").state.last_seq')" 1
	assert_equal "$(grep -c 'something else' "$test_dir/worker.qrelay.log")" 1
	on worker qdel "$id"
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	run ls "$test_dir/worker/jobs/new"
	assert_output "50.$id.0,m"
}

@test 'a job of another queue with the same id waits, and that costs it no attempt' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs)
	cp -a "$test_dir/sender" "$test_dir/copy"
	mv "$test_dir/copy/jobs" "$test_dir/copy/other"
	push sender
	start_pull worker --room 5 -q other
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	on copy timeout 60 qrelay push -q other --drain "${nats_url[one]}"
	wait_for 20 after_ms $(($(now_ms) + 2500))
	on worker qdel -q jobs --all
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new other
	run ls "$test_dir/worker/other/new"
	assert_output "50.$id.0,m"
}

@test 'what is no job is put with the buried ones, and keeps no place of a limit' {
	start_nats one
	start_pull worker --room 5 --limit 2
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	wait_for 20 limit_is 2
	nats_request qspool.jobs.jobs.now.normal garbage >/dev/null
	nats_request qspool.jobs.jobs.now.normal garbage >/dev/null
	seq 3 | on sender qsend -q jobs --lines
	push sender
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 2 new jobs
	wait_for 10 stream_has 2 QSPOOL_BURIED_jobs
	run_tool qrelay buried "${nats_url[one]}"
	assert_regex "$stderr" 'message 1 of the stream of buried jobs is none: it has no name of a job'
}

limit_is() {
	[[ $(nats_request '$JS.API.CONSUMER.INFO.QSPOOL_JOBS_jobs.limited' '' |
		jq .config.max_ack_pending) == "$1" ]]
}

@test 'what has ended is over also when the consumer that gave it out is gone' {
	start_nats one
	seq 5 | on sender qsend -q jobs --lines
	push sender
	start_worker worker
	start_pull worker --room 5 --lease 9s
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	start_pull other --room 1 --limit 10
	wait_for 20 limit_is 10
	QSPOOL=$test_dir/worker wait_for 30 jobs_are 0 'done' jobs
}

@test 'consumers that were made in another way are obeyed, or told of' {
	local class
	start_nats one
	seq 9 | on sender qsend -q jobs --lines
	push sender
	make_consumers '"max_batch": 4, "max_expires": 2000000000'
	start_pull worker --room 20
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 9 new jobs
	refute grep -q 'nothing comes' "$test_dir/worker.qrelay.log"
	kill -TERM "$started"
	exit_status 20 "$started"
	for class in high normal low later; do
		nats_request "\$JS.API.CONSUMER.DELETE.QSPOOL_JOBS_jobs.$class" '' >/dev/null
	done
	make_consumers '"max_deliver": 3'
	start_pull worker --room 20
	wait_for 10 grep -q 'queue=jobs.*nothing comes.*max_deliver' "$test_dir/worker.qrelay.log"
	QSPOOL=$test_dir/worker assert jobs_are 0 new jobs
}

# make_consumers SETTINGS: of all classes.
make_consumers() {
	local class filter
	for class in high normal low later; do
		[[ $class == later ]] && filter=later || filter=now.$class
		nats_request "\$JS.API.CONSUMER.DURABLE.CREATE.QSPOOL_JOBS_jobs.$class" "{
			\"stream_name\": \"QSPOOL_JOBS_jobs\", \"config\": {\"durable_name\": \"$class\",
			\"ack_policy\": \"explicit\", \"ack_wait\": 30000000000,
			\"filter_subject\": \"qspool.jobs.jobs.$filter\", $1}}" >/dev/null
	done
}

@test 'when a host was lost, the attempts of the settings count' {
	start_nats one
	echo hello | on sender qsend -q jobs
	push sender
	start_pull first --room 1 --lease 2s
	QSPOOL=$test_dir/first wait_for 20 jobs_are 1 new jobs
	kill -KILL "$started"
	mkdir -p "$test_dir/second/jobs"
	chmod 700 "$test_dir/second" "$test_dir/second/jobs"
	echo 'attempts 1' >"$test_dir/second/jobs/settings"
	start_pull second --room 1
	wait_for 20 stream_has 1 QSPOOL_BURIED_jobs
}

@test 'a relay that is killed after a job came twice has it still when it is started again' {
	start_nats one
	nats_request '$JS.API.STREAM.CREATE.QSPOOL_JOBS_jobs' '{"name": "QSPOOL_JOBS_jobs",
		"subjects": ["qspool.jobs.jobs.>"], "retention": "workqueue", "storage": "file",
		"num_replicas": 1, "duplicate_window": 100000000}' >/dev/null
	echo hello | on sender qsend -q jobs -A 5
	cp -a "$test_dir/sender" "$test_dir/copy"
	push sender
	start_pull worker --room 5 --lease 2s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	push copy
	wait_for 20 grep -q 'once is enough' "$test_dir/worker.qrelay.log"
	wait_for 20 stream_has 1 QSPOOL_JOBS_jobs
	kill -KILL "$started"
	wait_for 10 gone "$started"
	start_pull worker --room 1
	start_pull other --room 5
	wait_for 20 after_ms $(($(now_ms) + 5000))
	QSPOOL=$test_dir/worker assert jobs_are 1 new jobs
	QSPOOL=$test_dir/other assert jobs_are 0 new jobs
}

@test 'a host has no more than it has room for also after an outage' {
	start_nats one
	seq 60 | on sender qsend -q jobs -p 10 --lines
	push sender
	start_pull worker --room 5
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 5 new jobs
	kill_nats one
	wait_for 20 grep -q 'not connected' "$test_dir/worker.qrelay.log"
	on worker qdel -q jobs --all
	wait_for 20 after_ms $(($(now_ms) + 9000)) # by then what was asked for counts as lost
	start_nats one
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 5 new jobs
	wait_for 20 after_ms $(($(now_ms) + 2000))
	QSPOOL=$test_dir/worker assert jobs_are 5 new jobs
}

# A proxy before the server one, for one connection, that lets through a megabyte a second of what the server says. Its port
# is in $test_dir/thin.port.
start_thin_proxy() {
	start python3 - "${nats_port[one]}" <<-'END' >"$test_dir/thin.port"
		import socket, sys, threading, time
		def up(client, server):
		    while data := client.recv(65536): server.sendall(data)
		listener = socket.socket()
		listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
		listener.bind(("127.0.0.1", 0))
		listener.listen()
		print(listener.getsockname()[1], flush=True)
		client = listener.accept()[0]
		server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		threading.Thread(target=up, args=(client, server), daemon=True).start()
		while data := server.recv(50000):
		    client.sendall(data)
		    time.sleep(len(data) / 1e6)
	END
	wait_for 10 test -s "$test_dir/thin.port"
}

@test 'what takes long to come is not asked for twice' {
	local i
	start_nats one
	for ((i = 0; i < 70; i++)); do head -c 100000 /dev/zero | on sender qsend -q jobs >/dev/null; done
	push sender
	start_thin_proxy
	start_on worker qrelay pull -q jobs --room 40 "nats://127.0.0.1:$(<"$test_dir/thin.port")"
	QSPOOL=$test_dir/worker wait_for 30 jobs_are 40 new jobs
	wait_for 20 after_ms $(($(now_ms) + 1000))
	relay_says in_flight 40
}

# send_all NUMBER: one qsend after the other, of all priorities; sets `took`, in milliseconds.
send_all() {
	local begin i
	begin=$(now_ms)
	for ((i = 0; i < $1; i++)); do
		echo "$i" | QSPOOL=$test_dir/sender qsend -q jobs -p $((i * 7 % 100)) >/dev/null || return 1
	done
	took=$(($(now_ms) - begin))
}

@test 'a thousand jobs that are sent while the engine is down arrive when it is back, by priority' {
	start_nats one
	start_on sender qrelay push -q jobs -v "${nats_url[one]}"
	wait_for 10 grep -q 'connected to' "$test_dir/sender.qrelay.log"
	send_all 200
	up=$((took * 5))
	QSPOOL=$test_dir/sender wait_for 30 jobs_are 0 new jobs
	wait_for 10 stream_has 200 QSPOOL_JOBS_jobs
	kill_nats one
	wait_for 10 grep -q 'not connected' "$test_dir/sender.qrelay.log"
	: >"$test_dir/sender.qrelay.log"
	send_all 1000
	echo "# 1,000 jobs sent with the engine up: $up ms (by 200), down: $took ms" >&3
	QSPOOL=$test_dir/sender assert jobs_are 1000 new jobs
	(cd "$test_dir/sender/jobs/new" && printf '%s\n' *) | cut -d . -f 2 >"$test_dir/wanted"
	start_nats one
	QSPOOL=$test_dir/sender wait_for 60 jobs_are 0 new jobs
	wait_for 10 stream_has 1200 QSPOOL_JOBS_jobs
	# It logs what the stream has answered, in the order in which that was published.
	sed -n 's/.* job=\([^ ]*\) outcome=relayed.*/\1/p' "$test_dir/sender.qrelay.log" >"$test_dir/got"
	assert cmp "$test_dir/wanted" "$test_dir/got"
}

@test 'a host that is started works soon' {
	start_nats one
	seq 100 | on sender qsend -q jobs --lines >/dev/null
	push sender
	begin=$(now_ms)
	start_worker worker
	start_pull worker
	WAIT_PAUSE=0.02 wait_for 10 test -s "$test_dir/done.worker"
	echo "# the first job after $(($(now_ms) - begin)) ms" >&3
}

# was_connected TIMES: the relay of the worker.
was_connected() { [[ $(grep -c 'connected to' "$test_dir/worker.qrelay.log") == "$1" ]]; }

@test 'a job that its relay does not know any more is found when the stream gives it out again' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs -A 5)
	push sender
	start_pull worker --room 5 --lease 2s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	kill -KILL "$started"
	# Where no relay looks when it starts.
	mv "$test_dir/worker/jobs/new"/* "$test_dir/aside"
	start_pull worker --room 5
	wait_for 10 was_connected 2
	mv "$test_dir/aside" "$test_dir/worker/jobs/new/50.$id.0,m"
	wait_for 20 relay_says redelivered 1
	start_worker worker
	wait_for 20 done_are 1
	run cat "$test_dir/done.worker"
	assert_output "hello attempt=1 id=$id"
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
}

@test 'nor by a relay that was started anew since' {
	start_nats one
	echo old | on sender qsend -q jobs
	push sender
	start_pull worker --room 1 --lease 3s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	kill -KILL "$started"
	kill_nats one
	rm -r "$test_dir/one/js"
	start_nats one
	echo new | on sender qsend -q jobs
	push sender
	start_worker worker
	wait_for 20 done_are 1
	start_pull worker --room 1
	wait_for 20 done_are 2
	assert grep -q new "$test_dir/done.worker"
}
