#!/usr/bin/env bats
# A handler sees exactly the payload, whichever way it reads. PAYLOAD_SIZE=3G makes the
# large one as large as that.

load helper

setup() {
	common_setup
	need_command python3
	payload=$test_dir/payload
	script "$test_dir/readers" <<-'END'
		cat | sha256sum
		cat /dev/stdin | sha256sum
		python3 -c 'import hashlib
		h = hashlib.sha256()
		with open("/dev/stdin", "rb") as f:
		    while block := f.read(1 << 20): h.update(block)
		print(h.hexdigest(), "", "-")'
		sha256sum <"$QJOB_FILE"
		cat <"$QJOB_FILE" | sha256sum -
	END
}

# What all readers must see of the file $payload, arriving as a job by any road.
assert_payload_seen() {
	local sum size
	sum=$(sha256sum <"$payload")
	size=$(stat -c %s "$payload")
	drain -- "$test_dir/readers"
	assert_success
	assert_output "$sum"$'\n'"$sum"$'\n'"$sum"$'\n'"$sum"$'\n'"$sum"
	for sender in '<' --file; do
		if [[ $sender == '<' ]]; then qsend <"$payload"; else qsend --file "$payload"; fi
		drain -- sh -c 'wc -c <&0'
		assert_output "$size"
	done
	qsend <"$payload"
	drain -- sh -c 'sha256sum "$QJOB_FILE"'
	assert_output --regexp "^${sum%% *}  $QSPOOL/default/cur/"
	qsend <"$payload"
	drain -- python3 -c 'import sys; f = open("/dev/stdin", "rb"); print(len(f.read()))'
	assert_output "$size"
	assert_spool_empty
}

@test 'a payload of 0 bytes' {
	: >"$payload"
	qsend <"$payload"
	assert_payload_seen
}

@test 'a payload of 200 bytes' {
	head -c 200 /dev/urandom >"$payload"
	qsend <"$payload"
	assert_payload_seen
}

@test 'a payload full of NULs' {
	head -c 100000 /dev/zero >"$payload"
	qsend <"$payload"
	assert_payload_seen
}

@test 'a payload of 1 MiB and a byte, through a pipe in pieces' {
	head -c 1048577 /dev/urandom >"$payload"
	dd if="$payload" bs=1000 status=none | qsend
	assert_payload_seen
}

@test 'a payload of text without a newline at its end' {
	printf 'no newline' >"$payload"
	qsend <"$payload"
	assert_payload_seen
}

@test 'a large sparse payload, sent and dropped' {
	truncate -s "${PAYLOAD_SIZE:-64M}" "$payload"
	qsend --file "$payload"
	QWORK_SECONDS=600 drain -- "$test_dir/readers"
	assert_success
	assert_equal "${#lines[@]}" 5
	assert_equal "$(sort -u <<<"$output")" "$(sha256sum <"$payload")"
	size=$(stat -c %s "$payload")
	mv "$payload" "$QSPOOL/default/new/large"
	drain -- sh -c 'wc -c <&0'
	assert_output "$size"
	assert_spool_empty
}

@test 'a handler that reads nothing, or a part, is fine' {
	head -c 1000000 /dev/urandom >"$payload"
	for command in true 'head -c 10' 'head -n 1'; do
		qsend <"$payload"
		drain -- sh -c "$command >/dev/null"
		assert_success
		assert_spool_empty
	done
}

@test 'the payload stays what it was while a handler fails' {
	head -c 5000 /dev/urandom >"$payload"
	qsend <"$payload"
	drain -A 1 -- sh -c 'cat >/dev/null; exit 1'
	assert_files_equal "$payload" "$(sole_job buried)"
}

# The largest memory a process has used, KiB.
memory_of() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }
# What arrived of the only job being written, MiB.
tmp_has() { (($(find "$QSPOOL/default/tmp" -type f -printf %s) >= $1 << 20)); }

@test 'the memory of qsend does not grow with the payload' {
	mkfifo "$test_dir/input"
	start qsend <>"$test_dir/input" >/dev/null
	sender=$started
	head -c 2M /dev/zero >"$test_dir/input"
	wait_for 20 tmp_has 1
	little=$(memory_of "$sender")
	head -c 64M /dev/zero >"$test_dir/input"
	wait_for 60 tmp_has 65
	much=$(memory_of "$sender")
	echo "after 2 MiB $little KiB, after 66 MiB $much KiB"
	assert [ $((much - little)) -lt 8192 ]
}

@test 'the memory of qsend --lines does not grow with the length of a line' {
	mkfifo "$test_dir/input"
	start qsend --lines <>"$test_dir/input" >/dev/null
	sender=$started
	head -c 2M /dev/zero >"$test_dir/input"
	wait_for 20 tmp_has 1
	little=$(memory_of "$sender")
	head -c 32M /dev/zero >"$test_dir/input"
	wait_for 60 tmp_has 32
	assert [ $(($(memory_of "$sender") - little)) -lt 8192 ]
}
