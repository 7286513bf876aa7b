# shellcheck shell=bash
# For tests of qfsck.

# "CLASS KIND PATH" of each finding in $found, sorted; qfsck's status in $status. $finding_path says what of
# a finding its PATH is made of.
findings() {
	run_tool qfsck --json
	found=$(jq -r 'select(.class != "summary") | "\(.class) \(.kind) \('"$finding_path"' | map(values) | join("/"))"' \
		<<<"$output" | sort)
}

# assert_findings STATUS [FINDING...]
assert_findings() {
	findings
	assert_equal "$found" "$(printf '%s\n' "${@:2}" | sort)"
	assert_equal "$status" "$1"
}

# repair STATUS: what is left afterwards, by class and kind, in $left.
# shellcheck disable=SC2034
repair() {
	run_tool qfsck --repair
	assert_equal "$status" "$1"
	findings
	left=$(cut -d ' ' -f 1,2 <<<"$found" | xargs)
}

old() { touch -h -d '2 hours ago' "$@"; }

# Until $test_dir/stop is there.
keep() { until [[ -e $test_dir/stop ]]; do "$@" || true; done >/dev/null 2>&1 </dev/null; }

# While those that keep() has started are at work, and then ends them.
assert_sound_meanwhile() {
	local end runs=0
	end=$(($(now_ms) + ${MOTION_SECONDS:-3} * 1000))
	until ((runs > 5)) && after_ms "$end"; do
		run_tool qfsck --repair
		assert_success
		assert_output ''
		runs=$((runs + 1))
	done
	: >"$test_dir/stop"
	wait
}
