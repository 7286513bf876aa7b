#!/usr/bin/env bats
# qrelay: servers and who we are to them, streams that are full or strange, and what is shown of all that.

load helper
load nats
load relay.bash

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
