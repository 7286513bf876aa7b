#!/usr/bin/env bats
# qrelay between hosts that fail: three servers, two hosts that send and three that work, each with a network, processes
# and a spool of its own. In full size, with the usual lease: RELAY_JOBS=20000 RELAY_CUT=60.

load helper
load nats
load hosts

setup() {
	common_setup
	need_nats
	need_hosts
	jobs=${RELAY_JOBS:-300} cut=${RELAY_CUT:-8} lease=${RELAY_LEASE:-}
	((cut >= 30)) || lease=${lease:-3s}
	ran=$test_dir/ran sent=$test_dir/sent
	mkdir "$ran" "$sent"
}
teardown() {
	kill_hosts
	common_teardown
}

# --- servers ------------------------------------------------------------------

servers=(n1 n2 n3)
start_servers() {
	local name routes=''
	for name in "${servers[@]}"; do
		start_host "$name"
		routes+=,nats://${host_address[$name]}:6222
		url+=${url:+,}nats://${host_address[$name]}
	done
	for name in "${servers[@]}"; do
		start_at "$name" nats-server -js -sd "$test_dir/$name/js" -n "$name" -a "${host_address[$name]}" -m 8222 \
			--cluster_name test --cluster "nats://${host_address[$name]}:6222" --routes "${routes#,}"
		server_pid[$name]=$started
	done
	wait_for 30 is_cluster
}
declare -gA server_pid

# ask SERVER PATH FILTER: what jq finds in the answer of its monitor.
ask() { on_switch curl -sf "http://${host_address[$1]}:8222/$2" | jq -r "$3"; }
is_cluster() {
	local name
	for name in "${servers[@]}"; do
		[[ $(ask "$name" jsz '.meta_cluster | "\(.cluster_size) \(.leader // "")"') == '3 n'? ]] || return 1
	done
}

# ask_consumer SERVER FILTER: the same of what gives out the jobs.
ask_consumer() {
	ask "$1" 'jsz?consumers=true' ".account_details[].stream_detail[]? |
		select(.name == \"QSPOOL_JOBS_jobs\").consumer_detail[]? | select(.name == \"normal\")$2"
}
# Conditions: it has a leader, now $leader, the only one to know which host has what; and that knows so many hosts that wait for jobs.
find_leader() { leader=$(ask_consumer "${servers[0]}" .cluster.leader) && [[ $leader == n? ]]; }
hosts_wait() { find_leader && [[ $(ask_consumer "$leader" .num_waiting) == "$1" ]]; }

# A condition: SERVER, one that lives, has so many messages of a stream.
holds() {
	[[ $(ask "$1" 'jsz?streams=true' \
		"[.account_details[]?.stream_detail[]? | select(.name == \"$3\").state.messages] | add // 0") == "$2" ]]
}

# A server ends at once; its host is there still, and refuses connections.
kill_server() {
	at "$1" sh -c 'kill -KILL "$(pidof nats-server)"'
	wait_for 10 gone "${server_pid[$1]}"
	read -ra servers <<<"${servers[*]/$1/}"
}

# --- hosts --------------------------------------------------------------------

senders=(s1 s2) workers=(w1 w2 w3)
start_senders() {
	local host
	for host in "${senders[@]}"; do
		start_host "$host"
		start_at "$host" qrelay push -q jobs -v --replicas 3 "$url"
	done
}
# send_share EIGHTHS: so much of all jobs; both hosts send, each half of them.
send_share() { send_jobs $((jobs * $1 / 8)); }
send_jobs() {
	local host number
	local -a sending=()
	for host in "${senders[@]}"; do
		[[ $host == s1 ]] && number=$(($1 / 2)) || number=$(($1 - $1 / 2))
		seq "$number" | at "$host" qsend -q jobs --lines >>"$sent/$host" &
		sending+=($!)
	done
	assert_all_succeed "${sending[@]}"
}

# A handler takes as long as that the two slots of one host need the whole cut for what is left when it begins.
start_workers() {
	local host
	script "$test_dir/handler" <<-END
		sleep $(printf '%d.%03d' $((cut * 3200 / jobs / 1000)) $((cut * 3200 / jobs % 1000)))
		echo "\$1 \$QJOB_ID" >>'$ran'/"\$1"
	END
	for host in "${workers[@]}"; do
		start_host "$host"
		start_at "$host" qwork -q jobs -j 2 -- "$test_dir/handler" "$host"
		start_at "$host" qrelay pull -q jobs --room 10 -v --replicas 3 ${lease:+--lease "$lease"} "$url"
	done
}
ran_are() { (($(cat "$ran"/* 2>/dev/null | wc -l) >= $1)); }
taken_in() { sed -n 's/.* job=\([^ ]*\) .*cause="taken in".*/\1/p' "$test_dir/$1.qrelay.log"; }

# A condition: a host has taken in more than NUMBER. Until then there is always something to take, besides what others
# have room for.
takes_part() {
	(($(taken_in "$1" | wc -l) <= $2)) || return 0
	if find_leader && (($(ask_consumer "$leader" .num_pending) < 10)); then send_jobs 10; fi
	return 1
}

# --- judging ------------------------------------------------------------------

# Sets `lost`, `foreign` and `innocent`: the number of those that ran again though they were at no host that failed, or
# ran twice at the one that did not.
judge() {
	cat "$sent"/* | sort >"$test_dir/all"
	cat "$ran"/* | sort -k 2 >"$test_dir/runs"
	awk '{ print $2 }' "$test_dir/runs" | uniq >"$test_dir/run"
	lost=$(comm -23 "$test_dir/all" "$test_dir/run" | wc -l)
	foreign=$(comm -13 "$test_dir/all" "$test_dir/run" | wc -l)
	awk '{ print $2 }' "$test_dir/runs" | uniq -d >"$test_dir/repeated"
	{
		{ taken_in w2 && taken_in w3; } | sort -u | comm -13 - "$test_dir/repeated"
		sort "$ran/w1" | uniq -d | awk '{ print $2 }'
	} | sort -u >"$test_dir/innocent"
	innocent=$(wc -l <"$test_dir/innocent")
}
figure() { printf '# %-34s %s\n' "$1" "$2" | tee -a "$test_dir/figures" >&3; }
show_figures() {
	local host
	figure 'jobs' "$(wc -l <"$test_dir/all")"
	for host in "${senders[@]}"; do figure "sent by $host" "$(grep -c outcome=relayed "$test_dir/$host.qrelay.log")"; done
	for host in "${workers[@]}"; do figure "ran at $host${failed[$host]:+, which was ${failed[$host]}}" "$(wc -l <"$ran/$host")"; done
	for host in "${!failed[@]}"; do
		figure "ran again, of those at $host" "$(taken_in "$host" | sort -u | comm -12 - "$test_dir/repeated" | wc -l)"
	done
	figure 'ran again, of others' "$innocent"
	figure 'lost' "$lost"
	figure 'seconds' $((($(now_ms) - began) / 1000))
}
# What is known of the first of those that are not as they should be.
tell_of_some() {
	{ comm -3 "$test_dir/all" "$test_dir/run" | tr -d '\t' | head -n 5 && head -n 5 "$test_dir/innocent"; } |
		while read -r id; do grep "$id" "$test_dir"/{runs,*.log}; done
}

@test 'a server and a host die and a host is cut off: nothing is lost, and only jobs of those hosts run again' {
	local -A failed=([w2]=killed [w3]='cut off')
	start_switch
	start_servers
	start_senders
	start_workers
	wait_for 60 hosts_wait "${#workers[@]}"
	began=$(now_ms)

	send_share 4
	wait_for 60 ran_are $((jobs / 8))
	assert find_leader
	send_share 2 &
	second=$!
	kill_server "$leader"
	wait_for 120 ran_are $((jobs / 4))
	kill_host w2
	wait_for 120 ran_are $((jobs * 3 / 8))
	cut_off w3
	before=$(taken_in w3 | wc -l)
	wait_for $((cut + 10)) after_ms $(($(now_ms) + cut * 1000))
	cut_on w3
	exit_status 60 "$second"
	assert_equal "$status" 0
	send_share 2
	wait_for 60 takes_part w3 "$before"

	wait_for 300 holds "${servers[0]}" 0 QSPOOL_JOBS_jobs
	judge
	show_figures
	((lost + foreign + innocent == 0)) || tell_of_some
	assert_equal "lost $lost, never sent $foreign, repeated without need $innocent" \
		'lost 0, never sent 0, repeated without need 0'
	for host in s1 s2 w1 w3; do
		QSPOOL=$test_dir/$host wait_for 60 jobs_are 0 'done' jobs
		QSPOOL=$test_dir/$host assert_spool_empty jobs
	done
	assert holds "${servers[0]}" 0 QSPOOL_BURIED_jobs
	for host in "${senders[@]}"; do assert grep -q outcome=relayed "$test_dir/$host.qrelay.log"; done
	for host in "${workers[@]}"; do assert test -s "$ran/$host"; done
}

@test 'a server that falls silent is left for another one, however much there is to tell it' {
	local number=500
	start_switch
	start_servers
	start_host s1
	start_host w1
	seq "$number" | at s1 qsend -q jobs --lines >"$test_dir/ids"
	at s1 qrelay push -q jobs --drain --replicas 3 "$url"
	start_at w1 qrelay pull -q jobs -v --room "$number" --lease 3s "$url"
	QSPOOL=$test_dir/w1 wait_for 40 jobs_are "$number" new jobs
	silent=$(sed -n 's/.*connected to nats:..\(.*\):4222"/\1/p' "$test_dir/w1.qrelay.log" | tail -n 1)
	for server in "${servers[@]}"; do
		[[ ${host_address[$server]} != "$silent" ]] || cut_off "$server"
	done
	# All of these ends are told again and again.
	start_at w1 qwork -q jobs -j 2 -- sh -c 'echo "$QJOB_ID" >>"$0"' "$ran/w1"
	wait_for 60 ran_are "$number"
	wait_for 40 is_connected_elsewhere
	QSPOOL=$test_dir/w1 wait_for 60 jobs_are 0 'done' jobs
	QSPOOL=$test_dir/w1 assert_spool_empty jobs
}
is_connected_elsewhere() {
	grep 'connected to' "$test_dir/w1.qrelay.log" | tail -n 1 | grep -qvF "$silent"
}
