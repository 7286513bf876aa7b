#!/usr/bin/env bats
# qshard: a range of numbers becomes ranges, which become jobs.

load helper

LOWEST=-9223372036854775808 HIGHEST=9223372036854775807

# shards EXPECTED ARG...: what qshard prints, its lines joined by commas.
shards() {
	run_tool qshard "${@:2}"
	assert_success
	assert_equal "$* -> $(paste -sd , <<<"$output")" "$* -> $1"
	assert_equal "$stderr" ''
}

# assert_covers FROM TO: the ranges on standard input hold each of these numbers once.
assert_covers() {
	run awk -v next_from="$1" '
		NF != 2 || $1 != next_from || $2 < $1 { print "wrong: " $0; exit }
		{ next_from = $2 + 1 }
		END { print "up to " next_from - 1 }'
	assert_output "up to $2"
}

@test 'qshard --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qshard 1 10 --size 5
}

@test 'ranges of a size: --size; the last one has what is left' {
	shards '1 4,5 8,9 10' 1 10 --size 4
	shards '1 5,6 10' 1 10 --size 5
	shards '1 10' 1 10 --size 11
	shards '7 7' 7 7 --size 1
}

@test 'a number of ranges: --into; they differ by one at most' {
	shards '1 334,335 667,668 1000' 1 1000 --into 3
	shards '1 3,4 6,7 8,9 10' 1 10 --into 4
	shards '1 1,2 2,3 3' 1 3 --into 1000000000000
	shards '7 7' 7 7 --into 1
}

@test 'ranges that grow with the distance from TO: --log, --min, --max' {
	run_tool qshard 1 100000000 --log
	assert_success
	assert_equal "${#lines[@]}" 83
	assert_equal "${lines[-1]}" '99990001 100000000'
	assert_equal "${lines[-12]}" '99879001 99890000'
	assert_covers 1 100000000 <<<"$output"
	qshard 1 1000000000 --log | awk '{ print $2 - $1 + 1 }' | sort -n | sed -n '$p' >"$test_dir/longest"
	assert_equal "$(cat "$test_dir/longest")" 10000000
}

@test 'the limits of --log may be changed: --min, --max' {
	shards '1 2,3 5,6 8,9 11,12 14,15 17,18 20' 1 20 --log --min 3 --max 3
	shards '1 5,6 25' 1 25 --log --min 20
	run_tool qshard 1 100000 --log --min 10 --max 100
	assert_equal "${lines[-1]}" '99991 100000'
	assert_equal "$(awk '{ print $2 - $1 + 1 }' <<<"${lines[1]}")" 100
	assert_covers 1 100000 <<<"$output"
	shards '1 10' 1 10 --log --min 20000 --max 20000
}

@test 'the same ranges from the new end: -r, --newest-first' {
	shards '9 10,5 8,1 4' -r 1 10 --size 4
	shards '9 10,7 8,4 6,1 3' 1 10 --into 4 --newest-first
	qshard 1 50000000 --log | tac >"$test_dir/turned"
	qshard 1 50000000 --log -r >"$test_dir/newest"
	assert_files_equal "$test_dir/newest" "$test_dir/turned"
}

@test 'negative numbers, with and without --, before and behind options' {
	shards '-5 -1,0 4' -5 4 --into 2
	shards '-5 -1,0 4' --into 2 -- -5 4
	shards '-5 -1,0 4' -5 --into 2 4
	shards '-5 -5,-4 -4' --size 1 -5 -4
	shards '-10 -5' -10 -5 --log
	shards '-1 -1,-3 -2' -r -- -3 -1 --size 2
	assert_usage qshard -5 4 --into 2 -5x
}

@test 'the whole range of numbers does not overflow' {
	shards "$LOWEST $HIGHEST" $LOWEST $HIGHEST --into 1
	shards "$LOWEST -1,0 $HIGHEST" $LOWEST $HIGHEST --into 2
	shards "$LOWEST -2,-1 9223372036854775805,9223372036854775806 $HIGHEST" $LOWEST $HIGHEST --size $HIGHEST
	shards "$HIGHEST $HIGHEST" $HIGHEST $HIGHEST --size 1
	shards "$LOWEST $LOWEST" $LOWEST $LOWEST --log -r
	run_tool qshard --log --min 1 --max $HIGHEST $LOWEST $HIGHEST
	assert_success
	assert_equal "${lines[0]%% *} ${lines[-1]#* }" "$LOWEST $HIGHEST"
}

@test 'JSON, one object a line: -j, --json' {
	for option in -j --json; do
		shards '{"from":-1,"to":1,"count":3},{"from":2,"to":2,"count":1}' -1 2 --size 3 "$option"
	done
	qshard 1 1000000 --log --json | jq -s '[.[] | .to - .from + 1 - .count] | all(. == 0)' >"$test_dir/right"
	assert_equal "$(cat "$test_dir/right")" true
	shards "{\"from\":$LOWEST,\"to\":$HIGHEST,\"count\":18446744073709551616}" $LOWEST $HIGHEST --into 1 --json
}

@test 'variables for a shell: --sh' {
	shards 'FROM=-5 TO=-1,FROM=0 TO=4' -5 4 --into 2 --sh
	run bash -c 'qshard 1 10 --into 2 --sh | while read -r range; do eval "$range"; seq "$FROM" "$TO"; done'
	assert_equal "$output" "$(seq 10)"
}

@test '-v says how many ranges there are: -v, --verbose' {
	run_tool qshard -v 1 10 --size 3
	assert_equal "${#lines[@]}" 4
	assert_equal "$stderr" 'qshard: 4 ranges'
	run_tool qshard --verbose 1 10 --into 1
	assert_equal "$stderr" 'qshard: 1 range'
}

@test 'wrong numbers exit 64' {
	assert_usage qshard
	assert_usage qshard --size 5
	assert_usage qshard 1 --size 5
	assert_usage qshard 1 2 3 --size 5
	for value in '' x 1x 0x10 1.5 1e3 9223372036854775808 -9223372036854775809; do
		assert_usage qshard "$value" 10 --size 5
		assert_usage qshard 1 "$value" --size 5
		for option in --size --into; do assert_usage qshard 1 10 $option "$value"; done
		for option in --min --max; do assert_usage qshard 1 10 --log $option "$value"; done
	done
	for value in 0 -1; do
		for option in --size --into; do assert_usage qshard 1 10 $option $value; done
		for option in --min --max; do assert_usage qshard 1 10 --log $option $value; done
	done
	assert_usage qshard 10 1 --size 5
	assert_equal "$stderr" 'qshard: FROM 10 is greater than TO 1 (try qshard --help)'
}

@test 'none or two ways to cut, and limits that contradict, exit 64' {
	assert_usage qshard 1 10
	assert_regex "$stderr" '--size, --into and --log'
	assert_usage qshard 1 10 --size 5 --into 2
	assert_usage qshard 1 10 --log --into 2
	assert_usage qshard 1 10 --size 5 --size 5
	assert_usage qshard 1 10 --size 5 --min 2
	assert_usage qshard 1 10 --into 5 --max 2
	assert_usage qshard 1 10 --log --min 3 --max 2
	assert_usage qshard 1 10 --log --max 9999
	assert_usage qshard 1 10 --log --json --sh
}

@test 'an output that cannot be written exits 74, whether at the end or long before' {
	[[ -w /dev/full ]] || skip 'needs /dev/full'
	for to in 1 $HIGHEST; do
		status=0
		timeout 20 qshard 1 "$to" --size 1 >/dev/full 2>"$test_dir/stderr" || status=$?
		assert_equal "$status" 74
		assert_file_contains "$test_dir/stderr" '^qshard: standard output: '
	done
}

@test 'a reader that has enough ends it' {
	run --separate-stderr bash -c 'timeout 20 qshard 1 '$HIGHEST' --size 1 | head -n 1; echo "${PIPESTATUS[0]}"'
	assert_output "1 1"$'\n'"$((128 + $(kill -l PIPE)))"
	assert_equal "$stderr" ''
	run --separate-stderr bash -c 'trap "" PIPE; timeout 20 qshard 1 '$HIGHEST' --size 1 | head -n 1; echo "${PIPESTATUS[0]}"'
	assert_output "1 1"$'\n'74
}

@test 'each number of a range is worked on once' {
	qshard -100 899 --log --min 10 --max 200 -r | qsend --lines >/dev/null
	drain -j 4 -- sh -c 'read -r from to && seq "$from" "$to"'
	assert_success
	assert_equal "$(sort -n <<<"$output")" "$(seq -100 899)"
	assert_spool_empty
}

@test 'several ranges in a job' {
	qshard 1 1000 --into 100 | qsend --lines --per-job 10 >/dev/null
	assert_equal "$(job_count new)" 10
	drain -- sh -c 'while read -r from to; do seq "$from" "$to"; done'
	assert_equal "$output" "$(seq 1000)"
}
