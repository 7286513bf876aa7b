# shellcheck shell=bash
# Hosts of a network of the test's own. Each has interfaces, processes, a hostname and, below the test's directory, a
# spool of its own; and it is gone, with all that runs there, when its first process is. No namespace has a name outside.

need_hosts() {
	need_root
	need_command ip
	need_command nsenter
	unshare --net --uts --mount --pid --fork --mount-proc true 2>/dev/null || skip 'needs namespaces'
	nsenter --net=/proc/self/ns/net true 2>/dev/null || skip 'needs nsenter'
}

# start_switch: what all hosts are connected to, and the place from which the test looks at them.
declare -gA host_keeper host_pid host_address
start_switch() {
	start_namespaces switch
	on_switch ip link add name bridge type bridge
	on_switch ip address add 10.0.0.254/24 dev bridge
	on_switch ip link set bridge up
	on_switch ip link set lo up
}
on_switch() { nsenter --target "${host_pid[switch]}" --net "$@"; }

# start_namespaces NAME: the first process in there in ${host_pid[NAME]}.
start_namespaces() {
	start unshare --net --uts --mount --pid --fork --kill-child --mount-proc \
		sh -c 'echo "$0" >/proc/sys/kernel/hostname && exec sleep infinity' "$1" </dev/null
	host_keeper[$1]=$started
	wait_for 20 namespaces_are_there "$1"
}
namespaces_are_there() {
	local pid
	pid=$(cat "/proc/${host_keeper[$1]}/task/${host_keeper[$1]}/children" 2>/dev/null)
	host_pid[$1]=${pid% }
	[[ $(cat "/proc/${host_pid[$1]}/comm" 2>/dev/null) == sleep ]]
}

# start_host NAME: its address in ${host_address[NAME]}.
start_host() {
	local address=10.0.0.$((${#host_address[@]} + 1))
	start_namespaces "$1"
	host_address[$1]=$address
	on_switch ip link add name "$1" type veth peer name eth0 netns "${host_pid[$1]}"
	on_switch ip link set "$1" master bridge up
	nsenter --target "${host_pid[$1]}" --net sh -c 'ip link set lo up && ip link set eth0 up &&
		ip address add "$0" dev eth0' "$address/24"
}

# at HOST COMMAND...: there, with its spool.
at() {
	QSPOOL=$test_dir/$1 nsenter --target "${host_pid[$1]}" --net --uts --mount --pid "${@:2}"
}
# start_at HOST COMMAND...: in the background, what it says in the file HOST.COMMAND.log. It ends with the host.
start_at() {
	local log=$test_dir/$1.${2##*/}.log
	qwork_logs+=("$log")
	QSPOOL=$test_dir/$1 start nsenter --target "${host_pid[$1]}" --net --uts --mount --pid \
		env --default-signal=INT,QUIT "${@:2}" </dev/null >>"$log" 2>&1
}

# kill_host HOST: it loses its power. What it wrote to its disk is there still.
kill_host() {
	kill -KILL "${host_keeper[$1]}"
	wait_for 20 gone "${host_keeper[$1]}"
	wait_for 20 gone "${host_pid[$1]:-0}"
	unset "host_keeper[$1]"
}
kill_hosts() {
	local host
	for host in "${!host_keeper[@]}"; do kill_host "$host"; done
}

# The cable of a host is pulled out, and put in again.
cut_off() { on_switch ip link set "$1" down; }
cut_on() { on_switch ip link set "$1" up; }
