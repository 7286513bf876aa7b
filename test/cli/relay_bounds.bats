#!/usr/bin/env bats
# qrelay: what is refused, what is bounded, and who is believed.

load helper
load nats
load relay.bash

@test 'TLS with certificates on both sides, and a user known by a key' {
	make_certificates
	key=$(make_nkey)
	cat >"$test_dir/nats.conf" <<-END
		authorization { users: [ { nkey: $key } ] }
		tls { cert_file: "$test_dir/server.pem", key_file: "$test_dir/server.key"
			ca_file: "$test_dir/ca.pem", verify: true }
	END
	start_nats one -c "$test_dir/nats.conf"
	url=tls://127.0.0.1:${nats_port[one]}
	echo hello | on sender qsend -q jobs
	QRELAY_TLS_CA=$test_dir/ca.pem on sender run_tool timeout 20 qrelay push -q jobs --drain \
		--tls-cert "$test_dir/client.pem" --tls-key "$test_dir/client.key" \
		--nkey "$key" --nkey-seed "$test_dir/nkey.seed" "$url"
	assert_success
	QSPOOL=$test_dir/sender assert_spool_empty jobs

	# Without the key it is told why it does not get in, and ends.
	on sender run_tool timeout 30 qrelay push -q jobs --tls-ca "$test_dir/ca.pem" \
		--tls-cert "$test_dir/client.pem" --tls-key "$test_dir/client.key" "$url"
	assert_failure 77
	assert_regex "$stderr" '[Aa]uthorization'
	on sender run_tool timeout 30 qrelay stat --tls-ca "$test_dir/ca.pem" \
		--tls-cert "$test_dir/client.pem" --tls-key "$test_dir/client.key" "$url"
	assert_failure 77
	assert_regex "$stderr" '[Aa]uthorization'
	# And that a certificate is not to be trusted, which may change.
	on sender run_tool timeout 30 qrelay stat "$url"
	assert_failure 69
	assert_regex "$stderr" '(SSL|TLS|certificate)'
}

@test 'a payload that is longer than the server takes is buried with the reason' {
	echo 'max_payload: 4096' >"$test_dir/nats.conf"
	start_nats one -c "$test_dir/nats.conf"
	head -c 5000 /dev/zero | on sender qsend -q jobs
	echo short | on sender qsend -q jobs
	push sender
	assert_success
	assert_regex "$stderr" 'outcome=buried cause="too long for the server: 5000 bytes of payload'
	QSPOOL=$test_dir/sender assert jobs_are 1 buried jobs
	QSPOOL=$test_dir/sender assert jobs_are 0 new jobs
	assert stream_has 1 QSPOOL_JOBS_jobs
}

@test 'what is tied to others of its spool is buried with the reason, and a paused queue is not pushed' {
	start_nats one
	keyed=$(echo keyed | on sender qsend -q jobs --key k)
	member=$(echo member | on sender qsend -q jobs --batch b)
	first=$(echo first | on sender qsend -q jobs)
	last=$(echo last | on sender qsend -q jobs --after "$first")
	push sender
	assert_success
	export QSPOOL=$test_dir/sender
	assert_job "$keyed" buried jobs
	assert_job "$member" buried jobs
	assert_job "$first" buried jobs
	run qstat "$first"
	assert_output --partial 'other jobs wait for it'
	refute job_is "$last" new jobs
	send paused -q jobs
	qpause -q jobs
	push sender
	assert jobs_are 1 new jobs
}

@test 'files that are dropped into a queue go, too, and what a lost worker had' {
	start_nats one
	echo one | on sender qsend -q jobs
	start_on sender qwork -q jobs -- sleep 60
	QSPOOL=$test_dir/sender wait_for 10 jobs_are 1 cur jobs
	kill -KILL "$started"
	echo two >"$test_dir/file"
	mv "$test_dir/file" "$test_dir/sender/jobs/new/dropped"
	wait_for 20 nothing_of_handlers
	start_on sender qrelay push -q jobs "${nats_url[one]}"
	QSPOOL=$test_dir/sender wait_for 20 jobs_are 0 new jobs
	wait_for 20 stream_has 2 QSPOOL_JOBS_jobs
	QSPOOL=$test_dir/sender assert_spool_empty jobs
}

# A condition: no handler is left that has a job locked.
nothing_of_handlers() {
	local pid
	for pid in $(test_processes); do
		if is_handler "$pid"; then return 1; fi
	done
}

@test 'wrong words are told, and nothing is done' {
	run_tool qrelay
	assert_failure 64
	run_tool qrelay shove
	assert_failure 64
	run_tool qrelay push nats://127.0.0.1:1
	assert_failure 64
	assert_regex "$stderr" 'of which queue'
	QRELAY_URL='' run_tool qrelay stat
	assert_failure 64
	run_tool qrelay stat --creds "$test_dir/nowhere" nats://127.0.0.1:1
	assert_failure 66
	run_tool qrelay kick nats://127.0.0.1:1
	assert_failure 64
	run_tool qrelay buried nats://127.0.0.1:1 not-an-id
	assert_failure 64
	run_tool qrelay stat nats://127.0.0.1:1
	assert_failure 69
	assert_regex "$stderr" 'No server available'
}

@test 'a password in the URL is not shown by ps' {
	start_nats one --user me --pass secret
	start_on worker qrelay pull -q jobs --room 5 "nats://me:secret@127.0.0.1:${nats_port[one]}"
	wait_for 10 grep -q connected "$test_dir/worker.qrelay.log"
	run cat "/proc/$started/cmdline"
	refute_output --partial secret
	refute grep -q secret "$test_dir/worker.qrelay.log"
}

@test 'what a host has at once is bounded, also where all fail or wait; told to end, it gives all of it back' {
	start_nats one
	seq 100 | on sender qsend -q jobs --lines --resource R
	push sender
	assert_equal "$stderr" ''
	on worker qlimit --open R
	start_worker worker
	start_pull worker --room 3 --lease 30s
	pull=$started
	QSPOOL=$test_dir/worker wait_for 20 waiting_are 30
	wait_for 5 relay_says in_flight 30
	kill -TERM "$pull"
	exit_status 30 "$pull"
	assert_equal "$status" 0
	QSPOOL=$test_dir/worker assert waiting_are 0
	wait_for 5 relay_says waiting 100
}

waiting_are() { [[ $(find "$QSPOOL/.wait" -name '*@jobs' 2>/dev/null | wc -l) == "$1" ]]; }

@test 'whose variables a handler would not get here, it does not get elsewhere' {
	need_root
	start_nats one
	echo hello | on sender qsend -q jobs --env FOO=evil --env TZ=UTC --env MAGICK_X=1
	chown 65534 "$test_dir"/sender/jobs/{new,meta}/*
	push sender --accept-env 'MAGICK_*'
	start_on worker qwork -q jobs -- sh -c 'echo "${FOO-} ${TZ-} ${MAGICK_X-}" >>"$QSPOOL/../done.worker"'
	start_pull worker --room 5
	wait_for 20 done_are 1
	assert grep -qx ' UTC 1' "$test_dir/done.worker"
}

# nats_say SUBJECT REPLY: publishes an empty message to the server one.
nats_say() {
	python3 - "${nats_port[one]}" "$1" "$2" <<-'END'
		import socket, sys
		link = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		link.sendall(b'CONNECT {"verbose":false}\r\nPUB %s %s 0\r\n\r\nPING\r\n'
		             % (sys.argv[2].encode(), sys.argv[3].encode()))
		for line in link.makefile("rb"):
		    if line.startswith(b"PONG"):
		        break
	END
}

@test 'who asks which jobs a host has cannot have it say that to the engine' {
	start_nats one
	seq 5 | on sender qsend -q jobs --lines
	push sender
	start_pull worker --room 1
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	nats_say qspool.ask.jobs '$JS.API.STREAM.PURGE.QSPOOL_JOBS_jobs'
	# By now it was heard, and answered.
	wait_for 10 relay_says in_flight 1
	assert_equal "$(relay_hosts)" 1
	assert stream_has 5 QSPOOL_JOBS_jobs
}

relay_hosts() { qrelay stat -j "${nats_url[one]}" | jq '.hosts | length'; }

# A proxy before the server one, for one connection: once a job was published, what the server says is held
# back for 6 seconds. Its port is in $test_dir/slow.port.
start_slow_proxy() {
	start python3 - "${nats_port[one]}" <<-'END' >"$test_dir/slow.port"
		import socket, sys, threading, time
		until = 0
		def up(client, server):
		    global until
		    while data := client.recv(65536):
		        if b"HPUB qspool.jobs." in data and not until: until = time.monotonic() + 6
		        server.sendall(data)
		listener = socket.create_server(("127.0.0.1", 0))
		print(listener.getsockname()[1], flush=True)
		client = listener.accept()[0]
		server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		threading.Thread(target=up, args=(client, server), daemon=True).start()
		while data := server.recv(65536):
		    time.sleep(max(0, until - time.monotonic()))
		    client.sendall(data)
	END
	wait_for 10 test -s "$test_dir/slow.port"
}

@test 'an answer that comes too late to a kick is not taken for that of the next' {
	start_nats one
	seq 2 | on sender qsend -q jobs --lines -A 1
	push sender
	start_on worker qwork -q jobs -- false
	start_pull worker --room 5 --lease 1s
	wait_for 20 stream_has 2 QSPOOL_BURIED_jobs
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	kill -TERM "${started_pids[1]}" "${started_pids[2]}"
	wait_for 20 gone "${started_pids[2]}"
	# There is room for the first one, whose answer is late.
	nats_request '$JS.API.STREAM.UPDATE.QSPOOL_JOBS_jobs' '{"name": "QSPOOL_JOBS_jobs",
		"subjects": ["qspool.jobs.jobs.>"], "retention": "workqueue", "storage": "file",
		"discard": "new", "max_msgs": 1, "num_replicas": 1}' >/dev/null
	start_slow_proxy
	run_tool qrelay kick --all "nats://127.0.0.1:$(<"$test_dir/slow.port")"
	assert_failure 75
	assert stream_has 1 QSPOOL_JOBS_jobs
	assert stream_has 2 QSPOOL_BURIED_jobs
}

@test 'a job that was kicked elsewhere and is here still goes to another host when this one is dead' {
	start_nats one
	id=$(echo hello | on sender qsend -q jobs -A 1)
	push sender
	start_pull first --room 5 --lease 2s
	first=$started
	QSPOOL=$test_dir/first wait_for 20 jobs_are 1 new jobs
	# Cut off for longer than its lease.
	kill -STOP "$first"
	start_pull second --room 5
	wait_for 20 stream_has 1 QSPOOL_BURIED_jobs
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
	kill -TERM "$started"
	wait_for 20 gone "$started"
	kill -CONT "$first"
	run_tool qrelay kick --all "${nats_url[one]}"
	assert_success
	wait_for 20 grep -q 'once is enough' "$test_dir/first.qrelay.log"
	kill -KILL "$first"
	# Which has spent its one attempt.
	start_pull third --room 5
	wait_for 20 stream_has 1 QSPOOL_BURIED_jobs
	assert grep -q "job=$id outcome=buried" "$test_dir/third.qrelay.log"
}

@test 'a job that came back to the spool that pushes it is not over when its first name goes' {
	start_nats one
	id=$(echo hello | on worker qsend -q jobs)
	# As a pusher that died before it removed what the stream had.
	cp -a "$test_dir/worker" "$test_dir/copy"
	push copy
	start_pull worker --room 5 --lease 3s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 2 new jobs
	push worker
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	# It would be acknowledged at once.
	wait_for 20 after_ms $(($(now_ms) + 2000))
	assert stream_has 1 QSPOOL_JOBS_jobs
	start_worker worker
	wait_for 20 done_are 1
	wait_for 20 stream_has 0 QSPOOL_JOBS_jobs
}

@test 'a stream that does not keep what it takes is given nothing' {
	local settings
	start_nats one
	echo hello | on sender qsend -q jobs
	for settings in '"retention": "interest"' '"retention": "workqueue", "no_ack": true' \
		'"retention": "workqueue", "discard": "old", "max_msgs": 1' \
		'"retention": "workqueue", "discard": "new", "max_msgs_per_subject": 1' \
		'"retention": "workqueue", "max_age": 3600000000000' \
		'"retention": "workqueue", "storage": "memory"'; do
		nats_request '$JS.API.STREAM.CREATE.QSPOOL_JOBS_jobs' "{\"name\": \"QSPOOL_JOBS_jobs\",
			\"subjects\": [\"qspool.jobs.jobs.>\"], \"storage\": \"file\", \"num_replicas\": 1, $settings}" >/dev/null
		on sender run_tool timeout 3 qrelay push -q jobs --drain "${nats_url[one]}"
		assert_regex "$stderr" 'a stream of jobs is not to be had.*the stream QSPOOL_JOBS_jobs '
		QSPOOL=$test_dir/sender assert jobs_are 1 new jobs
		nats_request '$JS.API.STREAM.DELETE.QSPOOL_JOBS_jobs' '' >/dev/null
	done
	push sender
	assert_success
	assert stream_has 1 QSPOOL_JOBS_jobs
}

@test 'the end of a job of a stream that was lost is not taken for that of a job of the new one' {
	start_nats one
	echo old | on sender qsend -q jobs
	push sender
	start_pull worker --room 1 --lease 3s
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 1 new jobs
	kill_nats one
	rm -r "$test_dir/one/js"
	start_nats one
	wait_for 20 connected_again
	echo new | on sender qsend -q jobs
	push sender
	start_worker worker
	wait_for 20 done_are 2
	assert grep -q new "$test_dir/done.worker"
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 0 'done' jobs
}

connected_again() { (($(grep -c '"connected to' "$test_dir/worker.qrelay.log") == 2)); }
