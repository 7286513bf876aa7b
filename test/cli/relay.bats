#!/usr/bin/env bats
# qrelay: jobs go from spool to spool by way of real nats-servers.

load helper
load nats

setup() {
	common_setup
	need_nats
}

# push HOST [OPTION...]: all that is there, and ends.
push() { on "$1" run_tool timeout 60 qrelay push -q jobs --drain "${@:2}" "${nats_url[one]}"; }

# start_pull HOST [OPTION...]
start_pull() { start_on "$1" qrelay pull -q jobs "${@:2}" "${nats_url[one]}"; }

# A handler that writes what it was given, one line a job, to the file done of its host.
start_worker() {
	start_on "$1" qwork -q jobs "${@:2}" -- sh -c \
		'read -r text; echo "$text attempt=$QJOB_ATTEMPT id=$QJOB_ID" >>"$QSPOOL/../done.$0"' "$1"
}
done_are() { (($(cat "$test_dir"/done.* 2>/dev/null | wc -l) == $1)); }

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
# relay_says KEY VALUE: a condition.
relay_says() {
	[[ $(qrelay stat -j "${nats_url[one]}" | jq ".$1") == "$2" ]]
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

# A server without TLS that takes note of all it is told, in $test_dir/told. Its port is in $plain_port.
start_plain() {
	start python3 - "$test_dir/told" <<-'END' >"$test_dir/plain.port"
		import socket, sys
		listener = socket.create_server(("127.0.0.1", 0))
		print(listener.getsockname()[1], flush=True)
		while True:
		    link = listener.accept()[0]
		    link.settimeout(1)
		    try:
		        link.sendall(b'INFO {"server_id":"x","version":"2.9.0","headers":true,"max_payload":1048576}\r\n')
		        while data := link.recv(65536):
		            with open(sys.argv[1], "ab") as told: told.write(data)
		    except OSError: pass
		    with open(sys.argv[1], "ab") as told: told.write(b"over\n")
		    link.close()
	END
	wait_for 10 test -s "$test_dir/plain.port"
	plain_port=$(<"$test_dir/plain.port")
}

@test 'a server without TLS is not told who we are where TLS is demanded' {
	start_plain
	echo hello | on sender qsend -q jobs
	start_on sender qrelay push -q jobs "tls://somebody:secret@127.0.0.1:$plain_port"
	wait_for 20 grep -q over "$test_dir/told"
	refute grep -qv over "$test_dir/told"
	run_tool qrelay stat "tls://127.0.0.1:$plain_port,nats://127.0.0.1:$plain_port"
	assert_failure 64
	assert_regex "$stderr" 'tls:// of all'
}

@test 'a URL that cannot be used is named, without its password' {
	local url
	for url in http://me:secret@127.0.0.1 nats://me:secret@ nats:// nats://127.0.0.1:0 nats://127.0.0.1:65536 \
		nats://127.0.0.1: nats://me:secret 'nats://127.0.0.1 ' nats://127.0.0.1/x nats://[::1 ::1 \
		nats://127.0.0.1,nats://me:secret@127.0.0.1:4x; do
		run_tool timeout 10 qrelay stat "$url"
		assert_failure 78
		assert_regex "$stderr" '^qrelay: URL [^ ]*'
		refute_regex "$stderr" secret
	done
}

# bury_alien LETTER [HEADER...]: a job that is put on the stream of buried ones by somebody else. Its payload is the letter.
bury_alien() {
	nats_publish "qspool.buried.jobs.1htnv19vbeh6a7hbp4t$1" "$1" "Qspool-Job: 50.1htnv19vbeh6a7hbp4t$1.3" "${@:2}"
}
make_streams() {
	echo first | on sender qsend -q jobs >/dev/null
	push sender
}

@test 'a buried job that says of itself which number it has does not take the place of another one' {
	start_nats one
	export QRELAY_URL=${nats_url[one]}
	make_streams
	bury_alien g 'Nats-Sequence: 2'
	bury_alien h
	bury_alien j 'Nats-Sequence: 1' 'Nats-Time-Stamp: never'
	bury_alien k 'Status: 404'
	run_tool timeout 20 qrelay buried
	assert_success
	assert_equal "${#lines[@]}" 4
	assert_equal "$(qrelay buried --payload 1htnv19vbeh6a7hbp4tj)" j
	run_tool timeout 20 qrelay kick -v 1htnv19vbeh6a7hbp4tg
	assert_output 1htnv19vbeh6a7hbp4tg
	run_tool timeout 20 qrelay buried
	assert_equal "${#lines[@]}" 3
	run_tool timeout 20 qrelay kick -v --all
	assert_success
	assert_equal "${#lines[@]}" 3
	assert stream_has 0 QSPOOL_BURIED_jobs
	start_worker worker
	start_pull worker --room 5
	wait_for 20 done_are 5
	run sort "$test_dir/done.worker"
	assert_output --regexp $'^first .*\ng .*\nh .*\nj .*\nk '
}

@test 'what buried jobs bring does nothing to a terminal' {
	start_nats one
	export QRELAY_URL=${nats_url[one]}
	make_streams
	bury_alien g $'Qspool-Host: \e]0;host\a' $'Qspool-Reason: \e[31mred'
	bury_alien h 'Qspool-Log: attempt=1 \033[2J\n'
	for job in '' 1htnv19vbeh6a7hbp4tg 1htnv19vbeh6a7hbp4th; do
		run_tool qrelay buried $job
		assert_success
		refute_control_bytes <<<"$output"
	done
}

# make_stream NAME SUBJECT [SETTINGS]: on the server one.
make_stream() {
	nats_request "\$JS.API.STREAM.CREATE.$1" \
		"{\"name\": \"$1\", \"subjects\": [\"$2\"], \"storage\": \"file\", \"num_replicas\": 1 ${3+, $3}}" >/dev/null
}

@test 'where there is no stream of buried jobs there are none, and one that cannot be read is not in the way of others' {
	start_nats one
	export QRELAY_URL=${nats_url[one]}
	make_streams
	make_stream QSPOOL_JOBS_a 'qspool.jobs.a.>'
	make_stream QSPOOL_JOBS_b 'qspool.jobs.b.>'
	make_stream QSPOOL_BURIED_b 'qspool.buried.b.*'
	bury_alien g
	bury_alien h
	run_tool qrelay buried -q a
	assert_success
	assert_output ''
	run_tool qrelay buried
	assert_failure 69
	assert_equal "${#lines[@]}" 2
	assert_regex "$stderr" '^qrelay: queue b: the stream does not answer'
	run_tool qrelay kick -v 1htnv19vbeh6a7hbp4tg
	assert_failure 69
	assert_output 1htnv19vbeh6a7hbp4tg
	assert_equal "$(wc -l <<<"$stderr")" 1
	run_tool qrelay buried -q nosuch
	assert_failure 69
	assert_regex "$stderr" 'queue nosuch: .*nobody has pushed or pulled'
}

messages_in() { curl -sf "$nats_monitor/varz" | jq .in_msgs; }
notes_are() { (($(grep -c outcome=note "$test_dir/sender.qrelay.log") == $1)); }

@test 'a stream that is full is tried with some jobs a second, and told of once' {
	local before begin
	start_nats one
	make_stream QSPOOL_JOBS_jobs 'qspool.jobs.jobs.>' '"retention": "workqueue", "discard": "new", "max_msgs": 3'
	seq 300 | on sender qsend -q jobs --lines >/dev/null
	start_on sender qrelay push -q jobs "${nats_url[one]}"
	wait_for 10 grep -q 'queue=jobs outcome=note cause="a stream does not take' "$test_dir/sender.qrelay.log"
	before=$(messages_in)
	begin=$(now_ms)
	wait_for 10 after_ms $((begin + 4000))
	# What was on its way, and 16 a second.
	assert test $(($(messages_in) - before)) -lt 600
	assert notes_are 2 # that it is connected, too
	nats_request '$JS.API.STREAM.UPDATE.QSPOOL_JOBS_jobs' '{"name": "QSPOOL_JOBS_jobs", "subjects": ["qspool.jobs.jobs.>"],
		"retention": "workqueue", "storage": "file", "discard": "new", "num_replicas": 1}' >/dev/null
	wait_for 10 stream_has 300 QSPOOL_JOBS_jobs
}

@test 'that no stream takes jobs of a queue is told once' {
	start_nats one
	make_stream QSPOOL_JOBS_jobs elsewhere '"retention": "workqueue", "discard": "new"'
	seq 300 | on sender qsend -q jobs --lines >/dev/null
	start_on sender qrelay push -q jobs "${nats_url[one]}"
	wait_for 10 grep -q 'queue=jobs outcome=note cause="no stream takes qspool.jobs.jobs.>' "$test_dir/sender.qrelay.log"
	wait_for 10 after_ms $(($(now_ms) + 3000))
	assert notes_are 2
}

@test 'a job whose headers are longer than a stream takes is buried with the reason' {
	start_nats one
	echo hello | on sender qsend -q jobs -H "X: $(head -c 70000 /dev/zero | tr '\0' x)"
	push sender
	assert_success
	assert_regex "$stderr" 'outcome=buried cause="too long for a stream: 700[0-9]* bytes of options'
	QSPOOL=$test_dir/sender assert jobs_are 1 buried jobs
}

# start_silent: a server that accepts connections and says nothing, on $silent_port; its id in $started.
start_silent() {
	start python3 - <<-'END' >"$test_dir/silent.port"
		import socket
		listener = socket.create_server(("127.0.0.1", 0))
		print(listener.getsockname()[1], flush=True)
		held = []
		while True: held.append(listener.accept()[0])
	END
	wait_for 10 test -s "$test_dir/silent.port"
	silent_port=$(<"$test_dir/silent.port")
}

@test 'a server that says nothing is tried until it does' {
	local silent
	start_silent
	silent=$started
	echo hello | on sender qsend -q jobs
	start_on sender qrelay push -q jobs "nats://somebody:secret@127.0.0.1:$silent_port"
	start_on worker qrelay pull -q jobs --room 5 "nats://127.0.0.1:$silent_port"
	run_tool timeout 30 qrelay stat "nats://127.0.0.1:$silent_port"
	assert_failure 69
	assert_equal "$stderr" "qrelay: not connected to nats://127.0.0.1:$silent_port: Timeout"
	assert grep -q "cause=\"not connected to nats://127.0.0.1:$silent_port, and trying again: Timeout\"" \
		"$test_dir/sender.qrelay.log"
	kill -KILL "$silent"
	wait_for 10 gone "$silent"
	nats_port[one]=$silent_port
	start_nats one
	QSPOOL=$test_dir/worker wait_for 30 jobs_are 1 new jobs
	run_tool qrelay stat -j "${nats_url[one]}"
	assert_equal "$(jq -c '[.in_flight, .hosts[0].in_flight]' <<<"$output")" '[1,1]'
}

@test 'a server whose certificate is not to be trusted is tried until it is' {
	make_certificates
	mv "$test_dir/server.pem" "$test_dir/other.pem"
	mv "$test_dir/server.key" "$test_dir/other.key"
	make_certificates # by another authority
	start_nats one --tls --tlscert "$test_dir/other.pem" --tlskey "$test_dir/other.key"
	echo hello | on sender qsend -q jobs
	start_on sender qrelay push -q jobs --tls-ca "$test_dir/ca.pem" "tls://127.0.0.1:${nats_port[one]}"
	wait_for 20 grep -q 'trying again: .*certificate' "$test_dir/sender.qrelay.log"
	kill_nats one
	start_nats one --tls --tlscert "$test_dir/server.pem" --tlskey "$test_dir/server.key"
	QSPOOL=$test_dir/sender wait_for 30 jobs_are 0 new jobs
}

@test 'it is told that there is no JetStream, or no such stream' {
	cat >"$test_dir/nats.conf" <<-'END'
		accounts {
			A { users: [ { user: without, password: x } ] }
			B { jetstream: enabled, users: [ { user: with, password: x } ] }
		}
		no_auth_user: with
	END
	start_nats one -c "$test_dir/nats.conf"
	run_tool qrelay stat "nats://without:x@127.0.0.1:${nats_port[one]}"
	assert_failure 69
	assert_equal "$stderr" 'qrelay: this account has no JetStream'
	run_tool qrelay stat -q nosuch "${nats_url[one]}"
	assert_failure 69
	assert_equal "$stderr" 'qrelay: queue nosuch: there is no such stream: nobody has pushed or pulled that queue'
	start nats-server -a 127.0.0.1 -p -1 --ports_file_dir "$test_dir" >/dev/null 2>&1
	wait_for 20 has_ports
	run_tool qrelay stat "$(jq -r '.nats[0]' "$test_dir"/*.ports)"
	assert_failure 69
	assert_regex "$stderr" '^qrelay: this server has no JetStream: '
}
has_ports() { jq -e '.nats[0]' "$test_dir"/*.ports >/dev/null 2>&1; }

@test 'credentials that are none are named before any server is asked' {
	local file
	mkdir "$test_dir/directory"
	: >"$test_dir/empty"
	printf '%s\n' '-----BEGIN NATS USER JWT-----' eyJ.eyJ.x '------END NATS USER JWT------' >"$test_dir/seedless"
	echo SUAX >"$test_dir/seed"
	for file in directory empty seedless seed; do
		run_tool timeout 5 qrelay stat --creds "$test_dir/$file" nats://127.0.0.1:1
		assert_failure 78
		assert_regex "$stderr" "^qrelay: --creds $test_dir/$file: there is no (JWT|seed) of a user in it"
	done
	run_tool timeout 5 qrelay stat --nkey UX --nkey-seed "$test_dir/empty" nats://127.0.0.1:1
	assert_failure 78
}

@test 'who it is on the command line goes before who it is in the environment' {
	local queues
	key=$(make_nkey)
	printf 'authorization { users: [ { nkey: %s } ] }\n' "$key" >"$test_dir/nats.conf"
	start_nats one -c "$test_dir/nats.conf"
	QRELAY_CREDS=$test_dir/nowhere run_tool qrelay stat --nkey "$key" --nkey-seed "$test_dir/nkey.seed" "${nats_url[one]}"
	assert_success
	QRELAY_NKEY=$key QRELAY_NKEY_SEED=$test_dir/nkey.seed \
		run_tool qrelay stat --creds "$test_dir/nowhere" "${nats_url[one]}"
	assert_failure 66
	mapfile -t queues < <(seq -f -qq%.0f 257)
	run_tool qrelay stat "${queues[@]}" "${nats_url[one]}"
	assert_failure 64
	assert_regex "$stderr" '--queue q257: that is more than 256'
}

# as USER COMMAND...: known by a JWT.
as() { QRELAY_CREDS=$test_dir/jwt/$1.creds "${@:2}"; }

@test 'users with the permissions that qrelay(1) tells of can do what they are for, and strangers nothing' {
	make_jwts
	start_nats one -c "$test_dir/jwt/server.conf"
	export QRELAY_URL=${nats_url[one]}
	as admin start_on worker qrelay pull -q mail --room 1
	wait_for 20 grep -q connected "$test_dir/worker.qrelay.log" # then it makes what is missing
	kill -TERM "$started"
	wait_for 20 gone "$started"
	id=$(echo hello | on sender qsend -q mail -A 1)
	as push on sender run_tool timeout 20 qrelay push -q mail --drain
	assert_success
	start_on worker qwork -q mail -- sh -c 'test -e "$QSPOOL/../mended"'
	as pull start_on worker qrelay pull -q mail --lease 3s
	wait_for 20 as watch buried_is "$id"
	touch "$test_dir/mended"
	as kick run_tool timeout 20 qrelay kick "$id"
	assert_success
	wait_for 20 as watch none_is_left
	as stranger run_tool timeout 20 qrelay stat
	assert_failure 77
	assert_regex "$stderr" '^qrelay: refused by nats://127.0.0.1:[0-9]*: Authorization Violation$'
	as expired run_tool timeout 20 qrelay stat
	assert_failure 77
	assert_regex "$stderr" "Authorization Violation: $test_dir/jwt/expired.creds expired at $RFC3339"
}
buried_is() { [[ $(qrelay buried -q mail) == "$1 "* ]]; }
none_is_left() { [[ $(qrelay stat -q mail -j | jq '.depth + .buried') == 0 ]]; }

@test 'that credentials have expired meanwhile is told' {
	make_jwts 10
	start_nats one -c "$test_dir/jwt/server.conf"
	as short start_on worker qrelay pull -q mail --room 1 "${nats_url[one]}"
	wait_for 10 grep -q '"connected to' "$test_dir/worker.qrelay.log"
	exit_status 30 "$started"
	assert_equal "$status" 77
	assert grep -q 'trying again: User Authentication Expired' "$test_dir/worker.qrelay.log"
	assert grep -q 'refused by .*xpired' "$test_dir/worker.qrelay.log"
}

@test 'a limit is shown beside what it bounds' {
	start_nats one
	seq 5 | on sender qsend -q jobs --lines
	push sender
	run_tool qrelay stat -j "${nats_url[one]}"
	assert_equal "$(jq .limit <<<"$output")" null
	start_pull worker --room 10 --limit 3
	QSPOOL=$test_dir/worker wait_for 20 jobs_are 3 new jobs
	run_tool qrelay stat "${nats_url[one]}"
	assert_line --regexp '^jobs +2 +3/3 +0 '
	run_tool qrelay stat -j "${nats_url[one]}"
	assert_equal "$(jq .limit <<<"$output")" 3
}

@test 'the units of a host are ended in the order that qspool-cluster(7) tells of' {
	local units=$BATS_TEST_DIRNAME/../../share/systemd
	assert grep -qx 'Before=qwork.service qwork@%i.service' "$units/qrelay-pull@.service.in"
	assert grep -qx 'Before=qrelay-pull@%i.service qwork.service qwork@%i.service' "$units/qrelay-push@.service.in"
}

# completed WORD...: what the last one may become.
completed() {
	bash -c '. "$0"; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _qspool "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
		printf "%s\n" "${COMPREPLY[@]}"' "$BATS_TEST_DIRNAME/../../share/completions/bash/qsend" "$@"
}

@test 'the shell completes what qrelay knows, and no ids where a URL is wanted' {
	echo hello | qsend -q jobs
	assert_equal "$(completed qrelay push --acc)" --accept-env
	assert_equal "$(completed qstat --relay '')" ''
	refute [ "$(completed qstat '')" = '' ]
}
