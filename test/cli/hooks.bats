#!/usr/bin/env bats
# Hooks: executables in SPOOL/.hooks that are told what happened, and that neither block nor lose a job.
# When they are called again, and what ends those that hang, test/unit/test_hooks.c shows by a clock of its own.

load helper

setup() {
	common_setup
	hooks=$QSPOOL/.hooks
	told=$test_dir/told
	: >"$told"
	mkdir -m 0700 "$QSPOOL" "$hooks"
}

# hook NAME: makes the script of it from standard input.
hook() { script "$hooks/$1"; }
# tells NAME: a hook that writes a line "NAME COUNT LIST", and leaves its environment and the history.
tells() {
	hook "$1" <<-END
		env | grep -E '^(Q|FOO=)' | sort >'$test_dir/$1.env'
		cat >'$test_dir/$1.history'
		echo "\$QHOOK \$QHOOK_COUNT \$QHOOK_LIST" >>'$told'
	END
}
# A condition: so many calls were made.
calls_are() { lines_are "$1" "$told"; }
assert_told() { assert_equal "$(cat "$told")" "$1"; }
assert_env() { assert_equal "$(grep "^$2=" "$test_dir/$1.env" | cut -d = -f 2-)" "$3"; }
history_of() { cat "$test_dir/$1.history"; }
sum_told() { awk '{ sum += $2 } END { print sum + 0 }' "$told"; }
complaints() { grep -c 'outcome=note .*place=\.hooks/' "$1" || true; }

# --- events -----------------------------------------------------------------------

@test 'buried is told of a job that has spent its attempts, with its history on standard input' {
	tells buried
	id=$(send x -q mail -H 'To-Whom: me' --env FOO=bar)
	drain -q mail -A 1 -- sh -c 'echo no such host >&2; exit 3'
	assert_told "buried 1 mail/$id"
	assert_env buried QHOOK buried
	assert_env buried QHOOK_CAUSE failed
	assert_env buried QSPOOL "$QSPOOL"
	assert_env buried QJOB_ID "$id"
	assert_env buried QJOB_QUEUE mail
	assert_env buried QJOB_ATTEMPT 1
	assert_env buried QJOB_ATTEMPTS 1
	assert_env buried QJOB_HEADER_TO_WHOM me
	assert_env buried FOO ''
	assert_regex "$(grep QHOOK_SINCE "$test_dir/buried.env")" "=$RFC3339\$"
	assert_equal "$(history_of buried)" "$(cat "$QSPOOL/mail/log/$id")"
	assert_regex "$(history_of buried)" 'attempt=1 of=1 cause=failed exit=3 .*no such host'
}

@test 'buried is told of what the handler buries, of what expired, and of a lost worker' {
	tells buried
	id=$(send x)
	drain -- sh -c 'echo "bury no such address" >>"$QJOB_CONTROL"'
	assert_env buried QHOOK_CAUSE 'buried by its handler'
	assert_env buried QHOOK_REASON 'no such address'
	id=$(send x --ttl 1ms)
	a_random_moment
	drain -- true
	assert_env buried QJOB_ID "$id"
	assert_env buried QHOOK_CAUSE expired
	make_gate
	id=$(send x)
	start_qwork -A 1 -- "$gate"
	wait_for 60 at_gate "$id"
	kill -KILL "$qwork" "$handler"
	wait_for 60 gone "$handler"
	drain --drain=all -A 1 -- true
	assert_env buried QJOB_ID "$id"
	assert_env buried QHOOK_CAUSE 'worker lost'
	calls_are 3
}

@test 'failed is told of an attempt after which there is another, finished of the last one' {
	tells failed
	tells finished
	tells buried
	id=$(send x)
	drain_all -b 1ms..1ms -- sh -c '[ $QJOB_ATTEMPT = 2 ] || { echo first; exit 1; }'
	assert_equal "$(sort "$told")" $'failed 1 default/'"$id"$'\nfinished 1 default/'"$id"
	assert_env failed QJOB_ATTEMPT 1
	assert_env finished QJOB_ATTEMPT 2
	assert_regex "$(history_of finished)" '^[^ ]+ attempt=1 of=10 cause=failed exit=1 '
	assert_spool_empty
}

@test 'what is deferred or handed back is told to nobody, and neither is what a person buries' {
	for name in buried failed finished; do tells "$name"; done
	send x
	drain -- sh -c 'echo "defer 1h" >>"$QJOB_CONTROL"; exit 1'
	id=$(send x)
	qbury "$id"
	make_gate
	id=$(send x)
	start_qwork -g 0s -- "$gate"
	wait_for 60 at_gate "$id"
	kill -TERM "$qwork"
	exit_status 60 "$qwork"
	assert_told ''
}

@test 'breaker is told that it was opened, and that it was closed' {
	tells breaker
	qlimit --breaker 1,1ms..1ms 'the api'
	id=$(send x --resource 'the api')
	drain -- sh -c '[ -e "$1" ]' handler "$test_dir/up"
	assert_regex "$(cat "$told")" "^breaker 1 opened:the%20api"
	assert_env breaker QHOOK_RESOURCE 'the api'
	assert_env breaker QHOOK_CAUSE opened
	assert_env breaker QJOB_ID "$id"
	touch "$test_dir/up"
	drain_all -b 1ms..1ms -- sh -c '[ -e "$1" ]' handler "$test_dir/up"
	assert_regex "$(tail -n 1 "$told")" '^breaker 1 closed:the%20api'
	assert_env breaker QHOOK_CAUSE closed
}

@test 'drained is told once when the last job has ended, and again when there was another' {
	tells drained
	send 1 && send 2 && send 3
	send later --delay 1h
	start_qwork -- true
	wait_for 60 calls_are 1
	assert_told 'drained 1 default'
	assert_env drained QJOB_QUEUE default
	assert_env drained QJOB_ID ''
	send 4
	wait_for 60 calls_are 2
	assert_equal "$(sum_told)" 2
}

@test 'drained is not told while another qwork has a job, or while jobs wait for a resource' {
	tells drained
	start_running first
	other=$qwork
	send second
	drain -- true
	assert_told ''
	qlimit --jobs 0 none
	id=$(send third --resource none)
	open_gate
	wait_for 60 spool_is_idle
	kill -TERM "$other"
	exit_status 60 "$other"
	assert_told ''
	qlimit --jobs 1 none
	drain -- true
	assert_told 'drained 1 default'
}

@test 'a job that a handler sends before it ends keeps its queue from being drained' {
	tells drained
	send 5
	drain -- sh -c 'read -r n || true; [ "$n" = 0 ] || echo -n "$((n - 1))" | qsend'
	assert_told 'drained 1 default'
}

@test 'of several queues in one qwork each is named, and each is drained by itself' {
	tells buried
	tells drained
	make_gate
	a=$(send x -q a)
	start_qwork -j 2 -q a -q b -A 1 -- sh -c '[ "$QJOB_QUEUE" = a ] || exec "$1" 1; exit 1' handler "$gate"
	wait_for 60 grep -q 'drained 1 a$' "$told"
	b=$(send x -q b)
	wait_for 60 at_gate "$b"
	assert_equal "$(grep -c '^drained' "$told")" 1
	open_gate
	wait_for 60 grep -q 'drained 1 b$' "$told"
	wait_for 60 grep -q "buried 1 b/$b\$" "$told"
	assert_equal "$(grep '^buried' "$told")" "buried 1 a/$a"$'\n'"buried 1 b/$b"
}

# --- what goes wrong ----------------------------------------------------------------

@test 'no hook, and no directory of hooks: nothing is said, nothing is made' {
	rmdir "$hooks"
	send x
	drain -A 1 -- false
	assert_success
	assert_equal "$(grep -c hook <<<"$stderr")" 0
	assert_not_exist "$hooks"
	assert_equal "$(job_count buried)" 1
}

# bad_hook REASON: what is there is no hook: it is said once, and the jobs go on.
bad_hook() {
	seq 20 | qsend --lines --no-sync >/dev/null
	drain -A 1 -- false
	assert_success
	assert_equal "$(job_count buried)" 20
	assert_regex "$stderr" "outcome=note cause=\"a hook $1"
	assert_regex "$stderr" 'cause="a hook was not told of all, since qwork ends" place=.hooks/buried reason="20 events"'
	assert_equal "$(grep -c 'place=.hooks/buried' <<<"$stderr")" 2
	assert_told ''
	rm "$QSPOOL"/default/buried/*
}

@test 'a hook that is not executable, no file, or that others can write is not run, which is said' {
	tells buried
	chmod 0644 "$hooks/buried"
	bad_hook 'could not be started" place=.hooks/buried reason="Permission denied"'
	chmod 0757 "$hooks/buried"
	bad_hook 'is refused: .*" place=.hooks/buried reason="Operation not permitted"'
	mv "$hooks/buried" "$test_dir/script"
	ln -s "$test_dir/script" "$hooks/buried"
	bad_hook 'is refused'
	rm "$hooks/buried"
	mkfifo "$hooks/buried"
	bad_hook 'is refused'
	rm "$hooks/buried"
	echo '#!/no/such/interpreter' >"$hooks/buried"
	chmod 0755 "$hooks/buried"
	bad_hook 'could not be started" place=.hooks/buried reason="No such file or directory"'
	rm -r "$hooks"
	: >"$hooks"
	bad_hook 'could not be started" place=.hooks/buried reason="Not a directory"'
}

@test 'a hook of somebody else is not run' {
	need_root
	tells buried
	chown 1 "$hooks/buried"
	bad_hook 'is refused'
}

@test 'a hook that fails is told of once, and what it said is heard' {
	hook buried <<<'echo out; echo err >&2; exit 3'
	send x && send x
	drain -A 1 -- false
	assert_equal "$output" ''
	assert_regex "$stderr" $'(^|\n)out\nerr\n'
	assert_equal "$(grep -c 'cause="a hook failed" place=.hooks/buried exit=3' <<<"$stderr")" 1
	assert_equal "$(job_count buried)" 2
}

@test 'a hook that is mended or replaced is called with all that it missed' {
	tells failed
	chmod 0644 "$hooks/failed"
	id=$(send x)
	start_qwork -b 50ms..50ms -A 100 -- sh -c '[ -e "$1" ]' handler "$test_dir/up"
	has_failed() { [[ -s $qwork_log ]] && grep -q 'not be started' "$qwork_log"; }
	wait_for 60 has_failed
	chmod 0755 "$hooks/failed"
	wait_for 60 calls_are 1
	hook failed <<<"echo \"replaced \$QHOOK_COUNT\" >>'$told'"
	wait_for 60 grep -q replaced "$told"
	touch "$test_dir/up"
	wait_for 60 jobs_are 0 delay
	kill -TERM "$qwork"
	exit_status 60 "$qwork"
	assert_equal "$(sum_told)" "$(grep -c 'outcome=retry' "$qwork_log")"
}

@test 'what a job brings does not keep its hook from being told, however long it is' {
	need_command python3
	tells buried
	send x
	drain -- true
	id=$(forged_id 0)
	seq -f 'header h%.0f: v' 100000 | framed_meta >"$QSPOOL/default/meta/$id"
	: >"$QSPOOL/default/new/50.$id.0,m"
	drain -- true
	assert_regex "$stderr" 'outcome=buried cause="its arguments and environment are too long"'
	assert_told "buried 1 default/$id"
	assert_env buried QJOB_ID ''
	refute_regex "$stderr" 'a hook'
}

hanging_hook() {
	hook "$1" <<-END
		echo \$\$ >'$test_dir/hanging.part'
		mv '$test_dir/hanging.part' '$test_dir/hanging'
		exec sleep 1000
	END
}
hangs() { read -r hanging <"$test_dir/hanging"; } 2>/dev/null

@test 'while a hook hangs all jobs run, other hooks are called, and the end waits for it no longer than told' {
	hanging_hook buried
	tells finished
	send bad
	start_qwork -B 7 -j 4 -- sh -c 'read -r p || true; [ "$p" != bad ] || exit 7'
	wait_for 60 hangs
	seq 200 | qsend --lines --no-sync >/dev/null
	wait_for 60 spool_is_idle
	wait_for 60 test -s "$told"
	assert_equal "$(gone "$hanging" && echo gone)" ''
	kill -TERM "$qwork"
	all_told() { [[ $(sum_told) == 200 ]]; }
	wait_for 60 all_told
	kill -TERM "$qwork" # at once, then
	exit_status 60 "$qwork"
	assert_equal "$status" 0
	wait_for 60 gone "$hanging"
	assert_regex "$(cat "$qwork_log")" 'cause="a hook took too long and was ended" place=.hooks/buried signal='
}

@test 'a drain waits ten seconds for a hook that hangs, not for ever' {
	hanging_hook buried
	send x
	before=$(now_ms)
	drain -A 1 -- false
	assert_success
	hangs
	gone "$hanging"
	(($(now_ms) - before >= 9000)) || fail 'the hook had no time'
	assert_regex "$stderr" 'a hook took too long and was ended'
}

@test 'a SIGKILL of qwork ends its hooks' {
	hanging_hook buried
	send x
	start_qwork -A 1 -- false
	wait_for 60 hangs
	kill -KILL "$qwork"
	wait_for 60 gone "$hanging"
}

@test 'who ends the handler of a job leaves the hook of that job alone' {
	hanging_hook failed
	make_gate
	id=$(send x)
	start_qwork -b 1ms..1ms -- sh -c '[ "$QJOB_ATTEMPT" = 1 ] && exit 1; exec "$1"' handler "$gate"
	wait_for 60 hangs
	wait_for 60 at_gate "$id"
	assert_equal "$(qstat --json "$id" | jq .handler)" "$handler"
	qpause default # or it would start again before it is deleted
	run_tool qdel --kill "$id"
	assert_success
	wait_for 60 gone "$handler"
	assert_equal "$(gone "$hanging" && echo gone)" ''
	kill -TERM "$hanging"
}

# --- storms -----------------------------------------------------------------------

@test 'a storm of burials makes a handful of calls, whose counts add up' {
	local jobs=${HOOK_BURIALS:-1000}
	tells buried
	seq "$jobs" | qsend --lines --no-sync --ttl 1ms >/dev/null
	a_random_moment
	drain -- true
	assert_success
	assert_equal "$(job_count buried)" "$jobs"
	assert_equal "$(sum_told)" "$jobs"
	(($(wc -l <"$told") <= 10)) || fail "$(wc -l <"$told") calls"
	assert_regex "$(head -n 1 "$told")" "^buried [0-9]+ default/$ID"
	assert_equal "$(awk 'NF > 22' "$told")" ''
}

@test 'four qworks tell of each of their jobs once' {
	tells finished
	seq 400 | qsend --lines --no-sync >/dev/null
	local pids=()
	for _ in 1 2 3 4; do
		start_qwork --drain -j 2 -- true
		pids+=("$qwork")
	done
	assert_all_succeed "${pids[@]}"
	assert_equal "$(sum_told)" 400
}

# --- examples ---------------------------------------------------------------------

examples() { echo "${top_srcdir:-$BATS_TEST_DIRNAME/../..}/share/examples/hooks"; }

# use NAME AS: installs an example.
use() { install -m 0755 "$(examples)/$1" "$hooks/$2"; }

# Something that should do no harm wherever it is put.
hostile() { printf 'a"b\\c $(touch %s/pwned) `id`\n.\nBcc: all\033[2J' "$test_dir"; }

@test 'example: mail' {
	mkdir "$test_dir/bin"
	printf '#!/bin/sh\nprintf "%%s\\n" "$*" >%s/args\ncat >%s/mail\n' "$test_dir" "$test_dir" >"$test_dir/bin/sendmail"
	chmod 0755 "$test_dir/bin/sendmail"
	use mail buried
	use mail breaker
	id=$(send x -H "Subject: $(hostile | tr -d '\n')")
	PATH=$test_dir/bin:$PATH MAILTO=ops@example.org drain -A 1 -- sh -c 'echo "bury not today" >>"$QJOB_CONTROL"; echo oops >&2; exit 1'
	assert_success
	assert_equal "$(cat "$test_dir/args")" '-i -- ops@example.org'
	assert_equal "$(sed -n '1,/^$/p' "$test_dir/mail" | cut -d : -f 1 | paste -sd ,)" \
		'To,Subject,Auto-Submitted,MIME-Version,Content-Type,Content-Transfer-Encoding,'
	assert_regex "$(cat "$test_dir/mail")" "Subject: qspool: buried .*default.*Job: +$id.*Cause: .*Reason: +not today.*attempt=1 of=1 .*\| oops"
	qlimit --breaker 1,1h..1h "$(hostile)"
	send x --resource "$(hostile)"
	PATH=$test_dir/bin:$PATH drain -- false
	assert_regex "$(cat "$test_dir/mail")" 'Subject: qspool: breaker a"b'
	assert_regex "$(cat "$test_dir/mail")" 'To: root'
	assert_equal "$(grep -c '^Bcc' "$test_dir/mail")" 0
	refute_control_bytes <"$test_dir/mail"
	assert_not_exist "$test_dir/pwned"
	rm "$test_dir/bin/sendmail"
	printf '#!/bin/sh\nexit 75\n' >"$test_dir/bin/sendmail"
	chmod 0755 "$test_dir/bin/sendmail"
	send x
	PATH=$test_dir/bin:$PATH drain -A 1 -- false
	assert_regex "$stderr" 'cause="a hook failed" place=.hooks/buried exit=75'
}

# Serves on loopback; each body that is posted becomes a line of $test_dir/posted. Its URL in $url.
start_server() {
	cat >"$test_dir/server.py" <<-'END'
		import http.server, sys

		class Taker(http.server.BaseHTTPRequestHandler):
		    def do_POST(self):
		        body = self.rfile.read(int(self.headers['Content-Length']))
		        with open(sys.argv[1] + '/posted', 'ab') as out:
		            out.write(self.headers['Content-Type'].encode() + b' ' + body.replace(b'\n', b' ') + b'\n')
		        self.send_response(500 if self.path == '/fail' else 204)
		        self.end_headers()

		    def log_message(self, *args):
		        pass

		server = http.server.HTTPServer(('127.0.0.1', 0), Taker)
		with open(sys.argv[1] + '/port.part', 'w') as out:
		    print(server.server_port, file=out)
		import os
		os.rename(sys.argv[1] + '/port.part', sys.argv[1] + '/port')
		server.serve_forever()
	END
	start python3 "$test_dir/server.py" "$test_dir"
	wait_for 60 test -e "$test_dir/port"
	url=http://127.0.0.1:$(cat "$test_dir/port")
}

@test 'example: a webhook' {
	need_command curl
	need_command jq
	need_command python3
	export no_proxy=127.0.0.1
	start_server
	use webhook buried
	use webhook breaker
	hostile_name='a"b\c $(touch pwned) `id`'
	send x >/dev/null
	printf x >"$QSPOOL/default/tmp/$hostile_name"
	mv "$QSPOOL/default/tmp/$hostile_name" "$QSPOOL/default/new/$hostile_name"
	touch -d '1 minute ago' "$QSPOOL/default/new/$hostile_name"
	qlimit --breaker 1,1h..1h "$(hostile)"
	send y --resource "$(hostile)" >/dev/null
	HOOK_URL=$url/hook drain_all -A 1 -- sh -c 'printf "h\303\244\"\\\\\n" >&2; exit 1'
	assert_success
	assert_equal "$stderr" "$(grep -v 'place=.hooks' <<<"$stderr")"
	assert_equal "$(cut -d ' ' -f 1 "$test_dir/posted" | sort -u)" application/json
	cut -d ' ' -f 2- "$test_dir/posted" >"$test_dir/bodies"
	assert_equal "$(jq -s 'map(select(.event == "buried").count) | add' "$test_dir/bodies")" 3
	assert_equal "$(jq -r 'select(.event == "breaker").resource' "$test_dir/bodies")" "$(hostile)"
	assert_equal "$(jq -r 'select(.event == "breaker") | .cause, .queue' "$test_dir/bodies")" $'opened\ndefault'
	assert_regex "$(jq -r 'select(.event == "buried").history' "$test_dir/bodies")" 'attempt=1 of=1 cause=failed exit=1 '
	assert_not_exist "$test_dir/pwned"
	send x
	HOOK_URL=$url/fail drain -A 1 -- false
	assert_regex "$stderr" 'cause="a hook failed" place=.hooks/buried exit=22'
}
