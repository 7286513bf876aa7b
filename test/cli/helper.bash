# shellcheck shell=bash
# What the tests of the tools share. Each .bats file loads it.
#
# The tools are taken from $QSPOOL_BIN, ../../bin if it is not set. Every test has
# a spool of its own ($QSPOOL, not yet existing) and may run beside all the others.
#
# Tests wait for a condition with a deadline (wait_for), never for a time. What a
# test leaves running, the teardown ends: `start_qwork` and `start` record their
# process ids, and handlers are known by the spool in their environment.

bats_require_minimum_version 1.5.0
export BATS_LIB_PATH=${BATS_LIB_PATH:+$BATS_LIB_PATH:}/usr/lib/bats
# load_library NAME: bats_load_library starts a process for each of its files, in each test: that took longer
# than many tests do.
load_library() {
	local dir file
	while IFS= read -rd : dir; do
		[[ -d $dir/$1/src ]] || continue
		# shellcheck source=/dev/null
		for file in "$dir/$1/src"/*.bash; do source "$file"; done
		return
	done <<<"$BATS_LIB_PATH:"
	bats_load_library "$1"
}
load_library bats-support
load_library bats-assert
load_library bats-file

: "${QSPOOL_BIN:=$(cd "$BATS_TEST_DIRNAME/../../bin" && pwd)}"
PATH=$QSPOOL_BIN:$PATH
export QSPOOL_BIN PATH

# Used by the tests.
# shellcheck disable=SC2034
ID='[0-9a-hjkmnp-tv-z]{20}' STAMP='[0-9]{8}T[0-9]{6}\.[0-9]{3}Z'
# shellcheck disable=SC2034
RFC3339='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z'
# shellcheck disable=SC2034
STATES=(tmp new cur delay buried meta log)

setup() { common_setup; }
teardown() { common_teardown; }

common_setup() {
	umask 022
	test_dir=$BATS_TEST_TMPDIR
	export QSPOOL=$test_dir/spool
	unset XDG_STATE_HOME
	started_pids=()
	qwork_logs=()
}

# Ends what the test started. A qwork that does not end on TERM, although its
# handlers are gone, fails the test.
common_teardown() {
	local pid stubborn=
	for pid in "${started_pids[@]}"; do
		if is_child "$pid"; then
			# In this order: CONT would undo the STOP of LeakSanitizer's tracer at the end.
			kill -CONT "$pid" 2>/dev/null || true
			kill -TERM "$pid" 2>/dev/null || true
		fi
	done
	for pid in "${started_pids[@]}"; do
		wait_for 20 gone_without_handlers "$pid" || { stubborn+=" $pid" && show_stubborn "$pid"; }
	done
	wait_for 10 nothing_runs
	# What a test forbade is in the way of bats, which removes the directory.
	((EUID == 0)) || chmod -R u+rwX "$test_dir"
	[[ -z $stubborn ]] || fail "did not end on TERM:$stubborn"
}

# What a process does that should have ended.
show_stubborn() {
	grep -E '^(State|PPid|SigPnd|ShdPnd|SigBlk)' "/proc/$1/status"
	cat "/proc/$1/syscall" "/proc/$1/stack" "/proc/$1/task/$1/children"
} 2>/dev/null

# Another process may have the number of one that ended.
is_child() { grep -qs "^PPid:[[:space:]]*$BASHPID\$" "/proc/$1/status"; }

# Processes of this test: those that have a spool of it in their environment.
test_processes() { processes_with QSPOOL; }

# processes_with VARIABLE: those that were started with it naming what is in the test's directory, but for
# those that look.
processes_with() (
	unset "$1"
	found=$(
		{
			grep -lzF "$1=$test_dir/" /proc/[0-9]*/environ
			open_by_qworks
		} 2>/dev/null
	)
	[[ -z $found ]] || sed 's:^/proc/::; s:/.*::' <<<"$found" | sort -u
)

# The title of a qwork lies over its environment, but what it serves it has open.
open_by_qworks() {
	local comm
	while read -r comm; do
		find "${comm%comm}fd" -lname "$test_dir/*"
	done < <(grep -lx qwork /proc/[0-9]*/comm)
}

is_handler() { grep -qz '^QJOB_QUEUE=' "/proc/$1/environ" 2>/dev/null; }

# A condition that helps: kills handlers until PID has ended. (The teardown may run in a
# trap, where `return` alone would return what was before the trap.)
gone_without_handlers() {
	local pid
	gone "$1" && return 0
	for pid in $(test_processes); do
		if is_handler "$pid"; then kill -KILL "$pid" 2>/dev/null; fi
	done
	return 1
}

nothing_runs() {
	local pid pids
	pids=$(test_processes)
	for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
	[[ -z $pids ]]
}

# --- time ---------------------------------------------------------------------

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# wait_for SECONDS CONDITION [ARG...]: until the command CONDITION succeeds, which is looked at every
# $WAIT_PAUSE seconds. The only place that sleeps.
wait_for() {
	local deadline=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000)) silence
	shift
	exec {silence}<> <(:) # a pipe of which nothing comes, to sleep at without a process
	until "$@"; do
		if ((${EPOCHREALTIME/[.,]/} > deadline)); then
			show_spool >&2
			echo "waited in vain for: $*" | batslib_decorate 'deadline' | fail
			return 1
		fi
		read -rt "${WAIT_PAUSE:-0.02}" -u "$silence" || :
	done
	exec {silence}>&-
}

# Conditions: a time is over, a file has so many lines.
after_ms() { ((${EPOCHREALTIME/[.,]/} / 1000 > $1)); }
lines_are() { [[ $(wc -l <"$2") == "$1" ]]; }

# Some moment of the next tenth of a second, to hit a program wherever it may be.
a_random_moment() { sleep "0.$(printf %03d $((RANDOM % 100)))"; }

# What there is to see when a test failed.
show_spool() {
	[[ ! -d $QSPOOL ]] || (cd "$QSPOOL" && find . -mindepth 2 -printf '%y %m %s %P\n' | sort -k4 | head -n 60)
	[[ ${#qwork_logs[@]} == 0 ]] || tail -n 20 "${qwork_logs[@]}"
}

# --- processes ----------------------------------------------------------------

# start COMMAND...: in the background, ended by the teardown. Its id in $started. Its
# standard input is that of `start`; the shell would give it /dev/null.
start() {
	"$@" <&0 3>&- &
	started=$!
	started_pids+=("$started")
}

# start_qwork [OPTION...]: its id in $qwork, what it logs in the file $qwork_log, the
# output of its handlers in $qwork_out.
start_qwork() {
	qwork_log=$test_dir/qwork.${#qwork_logs[@]}.log
	qwork_out=$test_dir/qwork.${#qwork_logs[@]}.out
	qwork_logs+=("$qwork_log")
	# The shell starts what is in the background with INT ignored.
	start env --default-signal=INT,QUIT qwork "$@" </dev/null >"$qwork_out" 2>"$qwork_log"
	# shellcheck disable=SC2034
	qwork=$started
}

# log_has NUMBER REGEX: a condition; so many lines of $qwork_log match, or more.
log_has() { (($(grep -c "$2" "$qwork_log") >= $1)); }

# deaf_qwork OPTION...: in a user namespace without inotify instances.
deaf_qwork() {
	# shellcheck disable=SC2034
	qwork_log=$test_dir/qwork.log qwork_out=$test_dir/qwork.out
	qwork_logs+=("$qwork_log")
	start unshare --user --map-root-user sh -c 'echo 0 >/proc/sys/user/max_inotify_instances &&
		exec "$@"' sh qwork "$@" </dev/null >"$qwork_out" 2>"$qwork_log"
	qwork=$started
}
need_user_namespaces() {
	need_root
	unshare --user --map-root-user sh -c 'echo 0 >/proc/sys/user/max_inotify_instances' 2>/dev/null ||
		skip 'needs user namespaces that limit inotify'
}
allow_inotify() {
	nsenter --user --target "$qwork" sh -c 'echo 10 >/proc/sys/user/max_inotify_instances'
}

# True once process PID has ended; one that is not waited for counts as ended.
gone() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	[[ ${stat##*) } == [ZX]* ]]
}

# The exit status of a started process, which must end within SECONDS.
# exit_status SECONDS PID: the status in $status.
exit_status() {
	wait_for "$1" gone "$2"
	status=0
	wait "$2" || status=$?
}

# Each of the started processes ends with 0.
# assert_all_succeed PID...
assert_all_succeed() {
	local pid
	for pid; do
		exit_status 120 "$pid"
		assert_equal "$status" 0
	done
}

# True once process PID watches: it sees whatever changes from then on.
watches() { grep -qs '^inotify ' "/proc/$1/fdinfo/"*; }

# True while a process has a child: of qwork, a handler.
has_handler() { [[ -n $(cat "/proc/$1/task/$1/children" 2>/dev/null) ]]; }

# signal_taken NAME PID: no such signal is pending (a second one would be lost).
signal_taken() {
	local pending number
	number=$(kill -l "$1")
	pending=$(sed -n 's/^ShdPnd:[[:space:]]*/0x/p' "/proc/$2/status")
	((((${pending:-0} >> (number - 1)) & 1) == 0))
}

# run_tool COMMAND...: `run`s it with standard error apart, in $stderr, and shows that
# so that a failed test tells what the tool said.
run_tool() {
	run --separate-stderr "$@" 3>&-
	[[ -z ${stderr:-} ]] || printf 'stderr: %s\n' "$stderr"
}

# `run`s a qwork, which must end by itself and in time.
run_qwork() { run_tool timeout -k 10 "${QWORK_SECONDS:-60}" qwork "$@" </dev/null; }
drain() { run_qwork --drain "$@"; }
drain_all() { run_qwork --drain=all "$@"; }

# Runs a command as root without root's right to read and write everything, so
# that modes count; as any other user simply runs it.
powerless() {
	if ((EUID == 0)); then
		setpriv --bounding-set=-dac_override,-dac_read_search "$@"
	else
		"$@"
	fi
}

# --- jobs ---------------------------------------------------------------------

# send PAYLOAD [OPTION...]: prints the id.
send() { printf %s "$1" | qsend "${@:2}"; }

# send_alike COUNT: sets `ids` to those of new jobs, and `prefix` to that which they share: most often the first try has one.
send_alike() {
	wait_for 60 sent_alike "$1"
}
sent_alike() {
	mapfile -t ids < <(seq "$1" | qsend --lines)
	prefix=${ids[0]:0:6}
	[[ ${ids[-1]} == "$prefix"* ]] || { qdel "${ids[@]}" && return 1; }
}

# job_count STATE [QUEUE]: how many names there are, whatever they are.
job_count() {
	local dir=$QSPOOL/${2:-default}/$1
	[[ -d $dir ]] || { echo 0 && return; }
	find "$dir" -mindepth 1 -maxdepth 1 -printf x | wc -c
}

# jobs_are NUMBER STATE [QUEUE]: a condition.
jobs_are() { [[ $(job_count "${@:2}") == "$1" ]]; }

# sole_job STATE [QUEUE]: the path of the only job there.
sole_job() {
	local -a paths=("$QSPOOL/${2:-default}/$1"/*)
	[[ ${#paths[@]} == 1 && -e ${paths[0]} ]] || {
		fail "not exactly one job in $1/: ${paths[*]##*/}" && return 1
	}
	echo "${paths[0]}"
}

# job_path ID STATE [QUEUE]: the path of that job in that state.
job_path() {
	local -a paths=("$QSPOOL/${3:-default}/$2"/*"$1".*)
	[[ ${#paths[@]} == 1 && -e ${paths[0]} ]] || return 1
	echo "${paths[0]}"
}

# job_is ID STATE [QUEUE]: a condition.
job_is() { job_path "$@" >/dev/null; }

assert_job() { job_is "$@" || { show_spool && fail "job $1 is not in $2/"; }; }

# No job in any state, and nothing else left of one.
assert_spool_empty() {
	local state
	for state in "${STATES[@]}"; do
		jobs_are 0 "$state" "$@" || { show_spool && fail "$state/ is not empty" && return 1; }
	done
}

# A condition: no job waits or runs. One that went from delay/ to cur/ meanwhile was seen in neither.
spool_is_idle() {
	local moved
	moved=$(when_moved "$@")
	jobs_are 0 new "$@" && jobs_are 0 cur "$@" && jobs_are 0 delay "$@" &&
		[[ $moved == "$(when_moved "$@")" ]]
}
when_moved() {
	local dir=$QSPOOL/${1:-default}
	stat -c %y "$dir/new" "$dir/cur" "$dir/delay" 2>/dev/null || true
}

# unique_prefix ID OTHER...: the shortest prefix of ID that tells it from the others and
# is long enough to be taken.
unique_prefix() {
	local len=6 other
	for other in "${@:2}"; do
		while [[ ${1:0:len} == "${other:0:len}" ]]; do len=$((len + 1)); done
	done
	echo "${1:0:len}"
}

# payloads STATE [QUEUE]: each on one line, in the order of `ls`, joined by spaces.
payloads() {
	local path
	for path in "$QSPOOL/${2:-default}/$1"/*; do
		[[ ! -e $path ]] || { cat "$path" && echo; }
	done | grep . | paste -sd ' '
}

# The attempts in a path's name.
attempts_in() {
	local name=${1##*/}
	name=${name%%,*}
	echo "${name##*.}"
}

# The DUE of a path in delay/, ms since the epoch.
due_in() {
	local due=${1##*/}
	due=${due:0:20}
	date -u -d "${due:0:4}-${due:4:2}-${due:6:2}T${due:9:2}:${due:11:2}:${due:13}" +%s%3N
}

# forged_id SECONDS: an id as of a job sent that long ago.
forged_id() {
	local digits=0123456789abcdefghjkmnpqrstvwxyz id='' n i
	n=$(($(date +%s%N) - $1 * 1000000000))
	for ((i = 0; i < 13; i++)); do
		id=${digits:n%32:1}$id
		n=$((n / 32))
	done
	printf '%s%07d\n' "$id" $((RANDOM * 100 + RANDOM % 100))
}

# framed_meta: the options on standard input as a whole file of meta/ on standard output.
framed_meta() {
	python3 -c '
import sys
table = [0] * 256
for i in range(256):
    crc = i
    for _ in range(8):
        crc = crc >> 1 ^ (crc & 1) * 0x82F63B78
    table[i] = crc
text = b"qspool 1\n" + sys.stdin.buffer.read()
crc = 0xFFFFFFFF
for byte in text:
    crc = crc >> 8 ^ table[(crc ^ byte) & 255]
sys.stdout.buffer.write(text + b"end %08x\n" % (crc ^ 0xFFFFFFFF))'
}

# --- handlers -----------------------------------------------------------------

# script PATH: makes an executable of standard input, whole before it is there.
script() {
	{ echo '#!/bin/sh' && cat; } >"$1.part"
	chmod 0755 "$1.part"
	mv "$1.part" "$1"
}

# A handler that runs until the test opens the gate. $gate is its path; with an
# argument it ends with that status. For each job it leaves its process id in
# gate.started.ID.
make_gate() {
	gate=$test_dir/gate
	script "$gate" <<-END
		echo \$\$ >'$gate.part.'\$\$
		mv '$gate.part.'\$\$ '$gate.started.'"\$QJOB_ID"
		until [ -e '$gate.open' ]; do sleep 0.02; done
		exit \${1:-0}
	END
}
open_gate() { : >"$gate.open"; }
shut_gate() { rm "$gate.open"; }
# at_gate ID: a condition. The handler's process id is then in $handler.
# shellcheck disable=SC2034
at_gate() { { read -r handler <"$gate.started.$1"; } 2>/dev/null; }
all_at_gate() { (($(find "$test_dir" -maxdepth 1 -name 'gate.started.*' | wc -l) >= $1)); }

# start_running PAYLOAD [OPTION...]: one job that runs in qwork $qwork until the gate
# opens, its id in $id, its handler's process in $handler. Options are qsend's.
start_running() {
	[[ -n ${gate:-} ]] || make_gate
	id=$(send "$@")
	start_qwork -- "$gate"
	wait_for 20 at_gate "$id"
}

# --- between two system calls --------------------------------------------------

# hooked FAULT TOOL [ARG...]: the tool with a fault of test/crash/hook.c; options of run_tool's.
hooked() { QSPOOL_FAULT=$1 "$QSPOOL_BIN/../test/crash/tools/$2" "${@:3}"; }

# start_stopped CALL TOOL [ARG...]: it runs up to that call (rename:1: the first one) and is
# stopped there; `kill -CONT $started` lets it go on. Its output is in $test_dir/stopped.
start_stopped() {
	need_hooked
	start hooked "stop:$1" "${@:2}" >"$test_dir/stopped" 2>"$test_dir/stopped.err"
	wait_for 20 is_stopped "$started"
}
# The function is run by a shell, whose child the tool is.
is_stopped() {
	local child children
	read -ra children < <(cat "/proc/$1/task/$1/children" 2>/dev/null && echo)
	for child in "${children[@]}"; do
		if grep -q '^State:.*T (stopped)' "/proc/$child/status"; then
			# shellcheck disable=SC2034
			stopped=$child
			return 0
		fi
	done
	return 1
}
go_on() { kill -CONT "$stopped" && exit_status 60 "$started"; }
need_hooked() { [[ -x $QSPOOL_BIN/../test/crash/tools/qsend ]] || skip 'needs test/crash/tools'; }

# --- what all tools promise ---------------------------------------------------

# assert_usage ARG...: a wrong command line exits 64, says why, and prints nothing.
assert_usage() {
	run_tool timeout 20 "$@" </dev/null
	assert_equal "$* -> $status" "$* -> 64"
	assert_equal "$output" ''
	assert_regex "$stderr" "(^|[/-])${1}: "
}

# assert_common_options TOOL [ARG...]: ARGs make it a complete command line.
assert_common_options() {
	local option
	for option in -h --help; do
		run_tool "$1" "$option"
		assert_success
		assert_output --partial "$1"
		assert_output --partial '--help'
		assert_equal "$stderr" ''
	done
	for option in -V --version; do
		run_tool "$1" "$option"
		assert_success
		assert_output --regexp "^$1 \(qspool\) [0-9]+\.[0-9]+"
		assert_equal "$stderr" ''
	done
	assert_usage "$1" --no-such-option
	assert_usage "$1" -X
	assert_usage "$1" -s
	assert_usage "$1" -q
	for option in .hidden a/b .. '' 'with space' "$(printf 'q%.0s' {1..65})"; do
		assert_usage "$1" -q "$option" "${@:2}"
	done
	assert_not_exists "$QSPOOL"
}

# Standard input is text without control bytes, which could drive a terminal.
refute_control_bytes() {
	if LC_ALL=C grep -an $'[\001-\010\013-\037\177]' | cat -v | grep .; then
		fail 'control bytes'
	fi
}

# json FIELD: its value in $output, which is one JSON object.
json() { jq -r --arg field "$1" '.[$field]' <<<"$output"; }

need_root() { ((EUID == 0)) || skip 'needs root'; }
# For tests that trace: LeakSanitizer cannot work in a process that is traced.
need_strace() {
	need_command strace
	strace -o /dev/null true 2>/dev/null || skip 'strace may not trace here'
	export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
}
need_command() { command -v "$1" >/dev/null || skip "needs $1"; }
# Mounts need a namespace of their own.
need_mounts() {
	need_root
	unshare -m true 2>/dev/null || skip 'needs a mount namespace'
}
