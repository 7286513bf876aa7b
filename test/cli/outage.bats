#!/usr/bin/env bats
# An interface that many jobs use is down for a while: a real server, jobs of several queues, several workers.
# OUTAGE_JOBS=200 OUTAGE_PROBES=12 OUTAGE_OTHERS=100 OUTAGE_SLOWER=130 is the full size, `make bench`:
# OUTAGE_SLOWER is how long jobs of another resource may take from sending to starting, in percent of what
# they take while nothing fails; without it that is only told.

load helper

setup() {
	common_setup
	jobs=${OUTAGE_JOBS:-40} probes=${OUTAGE_PROBES:-5}
	others=${OUTAGE_OTHERS:-20} slower=${OUTAGE_SLOWER:-}
	queues=(mail orders reports sync)
	asked=$test_dir/asked
	: >"$asked"
}

# A server that answers 503 as long as $test_dir/down exists, and notes what it was asked and what it said.
start_server() {
	cat >"$test_dir/server.py" <<-'END'
		import http.server, os, sys, threading
		top = sys.argv[1]
		lock = threading.Lock()

		class Api(http.server.BaseHTTPRequestHandler):
		    def do_POST(self):
		        status = 503 if os.path.exists(top + "/down") else 200
		        with lock, open(top + "/asked", "a") as asked:
		            print(status, self.headers["X-Job"], file=asked)
		        self.send_response(status)
		        self.send_header("Content-Length", "0")
		        self.end_headers()

		    def log_message(self, *args):
		        pass

		class Server(http.server.ThreadingHTTPServer):
		    request_queue_size = 128

		server = Server(("127.0.0.1", 0), Api)
		with open(top + "/port.part", "w") as port:
		    print(server.server_port, file=port)
		os.rename(top + "/port.part", top + "/port")
		server.serve_forever()
	END
	start python3 -B "$test_dir/server.py" "$test_dir"
	wait_for 60 test -s "$test_dir/port"
}

# The handler tells the server who it is, when it asks, and what the breaker's file says.
make_client() {
	client=$test_dir/client
	cat >"$client" <<-END
		#!/bin/bash
		exec 5<>"/dev/tcp/127.0.0.1/$(cat "$test_dir/port")" || exit 1
		open=\$(cat "\$QSPOOL/.resource/api/open" 2>/dev/null)
		printf 'POST / HTTP/1.0\r\nX-Job: %s %s %s %s\r\n\r\n' "\$QJOB_ID" "\$QJOB_ATTEMPT" \
			"\$((\${EPOCHREALTIME/[.,]/} / 1000))" "\${open:--}" >&5
		read -r _ status _ <&5
		[[ \$status == 200 ]]
	END
	chmod 0755 "$client"
}

answers() { grep -c "^$1 " "$asked"; }
have_answers() { (($(answers "$1") >= $2)); }
no_attempt_runs() {
	local queue
	for queue in "${queues[@]}"; do jobs_are 0 cur "$queue" || return 1; done
}
all_wait() {
	[[ $(find "$QSPOOL/.wait/@api" -type f 2>/dev/null | wc -l) == "$jobs" ]]
}
nothing_is_left() {
	local queue
	for queue in "${queues[@]}"; do spool_is_idle "$queue" || return 1; done
	[[ -z $(find "$QSPOOL/.wait" -type f) ]]
}
others_are() { lines_are "$1" "$test_dir/others"; }

# Jobs of another resource, one after the other: sets median to the time from sending one to its start, in us.
run_others() {
	local i
	: >"$test_dir/others"
	for ((i = 0; i < others; i++)); do
		echo "other ${EPOCHREALTIME/[.,]/}" |
			qsend -q "${queues[i % ${#queues[@]}]}" --no-sync --resource other=5 >/dev/null
		wait_for 60 others_are $((i + 1))
	done
	median=$(sort -n "$test_dir/others" | sed -n "$((others / 2 + 1))p")
}

@test 'an outage: one probe a period, no job buried, no attempts spent, others go on, all finish' {
	start_server
	make_client
	qlimit --breaker 5,200ms..1s api
	# Whoever has the resource `other` has nothing to do with all this.
	script "$test_dir/handler" <<-END
		read -r what sent
		[ "\$what" = other ] || exec '$client'
		echo \$((\$(date +%s%6N) - sent)) >>'$test_dir/others'
	END
	for queue in "${queues[@]}"; do
		for _ in 1 2 3; do start_qwork -q "$queue" -j 4 -A 3 -b 10ms -- "$test_dir/handler"; done
	done
	run_others
	undisturbed=$median

	touch "$test_dir/down"
	for queue in "${queues[@]}"; do
		seq $((jobs / ${#queues[@]})) | qsend --lines --no-sync -q "$queue" --resource api >/dev/null
	done

	# What ran when the breaker opened comes back without having spent its attempt.
	wait_for 60 test -e "$QSPOOL/.resource/api/open"
	wait_for 120 all_wait
	before=$(answers 503)
	wait_for 120 have_answers 503 $((before + probes))
	run_others
	figures="another resource's jobs start after $median us, with nothing failing $undisturbed us: \
$((100 * median / undisturbed)) % of it${slower:+ (limit $slower %)}"
	echo "# $figures" >&3
	[[ -z $slower ]] || ((100 * median <= slower * undisturbed)) || fail "$figures"
	for queue in "${queues[@]}"; do jobs_are 0 buried "$queue"; done
	spent=$(find "$QSPOOL/.wait/@api" -type f -printf '%f\n' | awk -F'[.,@]' '{ sum += $3 } END { print sum }')
	assert_equal "$spent" 5

	rm "$test_dir/down"
	wait_for 300 nothing_is_left
	for queue in "${queues[@]}"; do jobs_are 0 buried "$queue"; done
	assert_equal "$(answers 200)" "$jobs"
	assert_equal "$(sed -n 's/^200 \([^ ]*\) .*/\1/p' "$asked" | sort -u | wc -l)" "$jobs"
	assert_not_exists "$QSPOOL/.resource/api/open"

	# Each probe began when the time before it was over, and with another time written already: a busy machine may
	# let a few come so late that this one is over, too.
	python3 - "$asked" "$before" <<-'END'
		import datetime, sys
		last, late, seen = 0, 0, set()
		def ms(text):
		    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
		for line in open(sys.argv[1]).readlines()[int(sys.argv[2]):]:
		    status, job, attempt, at, until = line.split()[:5]
		    if status != "503":
		        break
		    assert int(at) >= last, (line, last)
		    late += int(at) >= ms(until)
		    assert until not in seen, line
		    seen.add(until)
		    last = ms(until)
		assert len(seen) >= 5, seen
		assert late < len(seen) / 2, (late, seen)
	END
}
