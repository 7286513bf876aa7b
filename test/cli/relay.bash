# shellcheck shell=bash
# For the tests of qrelay.

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

# relay_says KEY VALUE: a condition.
relay_says() {
	[[ $(qrelay stat -j "${nats_url[one]}" | jq ".$1") == "$2" ]]
}
