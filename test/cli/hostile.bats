#!/usr/bin/env bats
# What does not belong into a spool: qwork keeps serving the jobs around it, follows,
# deletes and overwrites nothing of it, and tells of it once.

load helper

setup() {
	common_setup
	qdel "$(send x)"
	new=$QSPOOL/default/new
}

# Runs `qwork --drain` with a job before and a job behind what lies in new/; both must
# run. Handlers print the name and the content.
drain_around() {
	send before -p 10
	send behind -p 90
	drain "$@" -- sh -c 'printf "%s: " "$QJOB_NAME" | tr "\n" "?"; cat; echo'
	assert_success
	assert_line --partial ': before'
	assert_line --partial ': behind'
}

# assert_set_aside NAME REASON: it is still there, was told of once, and qstat knows it.
assert_set_aside() {
	assert [ -e "$new/$1" -o -L "$new/$1" ]
	assert_equal "$(grep -c "outcome=strange.*$1" <<<"$stderr")" 1
	assert_regex "$stderr" "queue=default outcome=strange name=\"?$1\"? reason=\"?.*$2"
	assert_equal "$(qstat --json default | jq -c --arg name "$1" 'select(.name == $name) | .state' | sort)" '"strange"'
	assert_equal "$(qstat --json | jq .strange)" 1
}

make_socket() {
	python3 -c 'import os, socket, sys
os.chdir(sys.argv[1])
socket.socket(socket.AF_UNIX).bind(sys.argv[2])' "$new" "$1"
}

@test 'a symbolic link is neither followed nor deleted' {
	echo secret >"$test_dir/secret"
	ln -s "$test_dir/secret" "$new/link"
	drain_around
	refute_output --partial secret
	assert_set_aside link 'symbolic link'
	assert_symlink_to "$test_dir/secret" "$new/link"
	assert_file_contains "$test_dir/secret" '^secret$'
}

@test 'a symbolic link to /etc/passwd, to nowhere and to itself' {
	ln -s /etc/passwd "$new/passwd"
	ln -s "$test_dir/nowhere" "$new/nowhere"
	ln -s loop "$new/loop"
	before=$(stat -c '%i %s %Y' /etc/passwd)
	drain_around
	refute_output --partial root:
	assert_equal "$(stat -c '%i %s %Y' /etc/passwd)" "$before"
	assert_equal "$(grep -c 'outcome=strange' <<<"$stderr")" 3
	assert_not_exists "$test_dir/nowhere"
	assert_equal "$(job_count new)" 3
}

@test 'a symbolic link that has the name of a job is not followed either' {
	echo secret >"$test_dir/secret"
	id=$(forged_id 0)
	ln -s "$test_dir/secret" "$new/50.$id.0"
	drain_around
	refute_output --partial secret
	assert [ -L "$new/50.$id.0" ]
	assert_equal "$(grep -c 'outcome=strange' <<<"$stderr")" 1
}

@test 'a fifo does not block, and stays' {
	mkfifo "$new/fifo"
	drain_around
	assert_set_aside fifo fifo
	assert_fifo_exists "$new/fifo"
}

@test 'a directory stays, with what is in it' {
	mkdir "$new/directory"
	echo file >"$new/directory/file"
	drain_around
	assert_set_aside directory directory
	assert_file_contains "$new/directory/file" '^file$'
}

@test 'an empty directory that has the name of a job stays' {
	id=$(forged_id 0)
	mkdir "$new/50.$id.0"
	drain_around
	assert_dir_exists "$new/50.$id.0"
	assert_equal "$(grep -c 'outcome=strange' <<<"$stderr")" 1
}

@test 'a socket stays' {
	need_command python3
	make_socket socket
	drain_around
	assert_set_aside socket socket
	assert_socket_exists "$new/socket"
}

@test 'a device stays' {
	need_root
	mknod "$new/device" c 1 3 || skip 'cannot make a device here'
	drain_around
	assert_set_aside device ''
	assert [ -c "$new/device" ]
}

@test 'a file that qwork may not read stays' {
	need_command setpriv
	echo secret >"$new/unreadable"
	chmod 0 "$new/unreadable"
	touch -d '1 minute ago' "$new/unreadable"
	send before -p 10
	run_tool powerless timeout -k 10 60 qwork --drain -- cat </dev/null
	assert_success
	assert_output before
	assert_equal "$(grep -c 'outcome=strange name=unreadable' <<<"$stderr")" 1
	assert_exists "$new/unreadable"
	run_tool powerless qstat --json
	assert_equal "$(json strange)" 1
}

@test 'a foreign name with a newline is run once' {
	echo content >"$new/"$'new\nline'
	drain_around -v
	assert_line --partial 'new?line: content'
	assert_equal "$(grep -c ': content' <<<"$output")" 1
	assert_equal "$(grep -cv '^time=' <<<"$stderr")" 0
	assert_spool_empty
}

@test 'a foreign name of control bytes and of bytes that are no UTF-8 is run once' {
	echo content >"$new/"$'\033[31m\xff\xfe'
	drain_around -v
	assert_equal "$(grep -c ': content' <<<"$output")" 1
	refute_control_bytes <<<"$stderr"
	assert_spool_empty
}

@test 'a foreign name of 255 bytes is run once, its name complete' {
	name=$(printf 'n%.0s' {1..255})
	echo content >"$new/$name"
	drain_around
	assert_line "$name: content"
	assert_spool_empty
}

@test 'a name with a leading dot is left alone' {
	echo content >"$new/.dot"
	drain_around
	refute_output --partial content
	assert_exists "$new/.dot"
}

@test 'names that only look like ours are foreign: each is run once, none is lost' {
	id=$(forged_id 0)
	names=(50.x.3 "50.$id" "50.$id.01" "5.$id.0" "500.$id.0" "50.$id.0,x" "50.$id.-1" "50.${id^^}.0"
		"50.$id.0," "50.$id.0,l,l" "50.${id}0.0" "20261322T041551.123Z.50.$id.0" '50..0' '-rf' '*' '%n%s')
	for name in "${names[@]}"; do echo "content of $name" >"$new/$name"; done
	drain_around
	for name in "${names[@]}"; do
		assert_line "$name: content of $name"
	done
	assert_equal "$(grep -c ': content of' <<<"$output")" "${#names[@]}"
	assert_spool_empty
}

@test 'the same foreign name, dropped twice while the first still runs, is run twice' {
	make_gate
	start_qwork -j 2 -- sh -c '"$1"; echo "$QJOB_NAME: $(cat)"' handler "$gate"
	wait_for 20 watches "$qwork"
	for content in one two; do
		echo "$content" >"$test_dir/50.x.3"
		mv "$test_dir/50.x.3" "$new/50.x.3"
		wait_for 20 jobs_are 0 new
	done
	wait_for 20 all_at_gate 2
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(sort "$qwork_out")" $'50.x.3: one\n50.x.3: two'
	assert_spool_empty
}

@test 'two files that claim the same id are both run' {
	id=$(send one)
	echo two >"$test_dir/two"
	mv "$test_dir/two" "$new/40.$id.0"
	drain -- sh -c 'cat; echo'
	assert_success
	assert_equal "$(grep . <<<"$output" | sort)" $'one\ntwo'
	assert_spool_empty
}

@test 'a job whose meta is missing is buried with that reason' {
	send x -A 3
	rm "$(sole_job meta)"
	drain_around
	refute_output --partial ': x'
	assert_equal "$(payloads buried)" x
	assert_regex "$stderr" 'outcome=buried cause="its options are missing"'
	assert_file_contains "$(sole_job log)" 'its options are missing'
}

@test 'a job whose meta is damaged in any way is buried' {
	for queue in cut flipped empty long link directory; do send x -q "$queue" -A 3 -H 'A: b'; done
	truncate -s -1 "$(sole_job meta cut)"
	sed -i 's/^attempts 3/attempts 4/' "$(sole_job meta flipped)"
	truncate -s 0 "$(sole_job meta empty)"
	echo more >>"$(sole_job meta long)"
	path=$(sole_job meta link)
	mv "$path" "$test_dir/meta" && ln -s "$test_dir/meta" "$path"
	path=$(sole_job meta directory)
	rm "$path" && mkdir "$path"
	for queue in cut flipped empty long link directory; do
		drain -q "$queue" -- cat
		assert_success
		assert_equal "$queue: $output" "$queue: "
		assert_equal "$queue: $(job_count buried "$queue")" "$queue: 1"
		assert_regex "$stderr" 'outcome=buried'
	done
	assert_exists "$test_dir/meta"
}

@test 'a meta that is a fifo does not block' {
	send x -A 3
	path=$(sole_job meta)
	rm "$path" && mkfifo "$path"
	drain_around
	refute_output --partial ': x'
	assert_equal "$(payloads buried)" x
}

# plant_meta QUEUE FILE: a job of that queue whose whole meta is FILE.
plant_meta() {
	local id
	id=$(forged_id 0)
	send x -q "$1" >/dev/null
	cp "$2" "$QSPOOL/$1/meta/$id"
	mv "$(sole_job new "$1")" "$QSPOOL/$1/new/50.$id.0,m"
}

@test 'a bomb for a meta keeps qwork busy for no time and kills nothing' {
	need_command python3
	head -c 100M /dev/zero >"$test_dir/zeros"
	yes 'arg x' | head -c 100M >"$test_dir/long"
	yes 'arg x' | head -c 4M | head -n 690000 | framed_meta >"$test_dir/lines"
	{ printf 'arg ' && head -c 4M /dev/zero | tr '\0' x | head -c 4100000 && echo; } | framed_meta >"$test_dir/line"
	{ printf 'arg ' && head -c 4M /dev/zero | tr '\0' '\134' | head -c 4100000 && echo; } | framed_meta >"$test_dir/nested"
	printf 'arg a\0b\n' | framed_meta >"$test_dir/nul"
	printf 'arg \\000\n' | framed_meta >"$test_dir/encoded"
	for queue in zeros long lines line nested nul encoded; do
		plant_meta "$queue" "$test_dir/$queue"
		send other -q "$queue" -p 99 >/dev/null
		QWORK_SECONDS=40 drain -q "$queue" -- sh -c 'cat; echo " $#"'
		assert_success
		assert_equal "$queue: $output" "$queue: other 0"
		assert_equal "$queue: $(job_count buried "$queue")" "$queue: 1"
		qstat "$(basename "$(sole_job buried "$queue")")" >/dev/null
	done
}

@test 'a meta of a hundred thousand headers is sorted out at once' {
	need_command python3
	seq -f 'header h%.0f: v' 100000 | framed_meta >"$test_dir/headers"
	plant_meta headers "$test_dir/headers"
	QWORK_SECONDS=20 drain -q headers -- cat
	assert_success
	assert_regex "$stderr" 'outcome=buried cause="its arguments and environment are too long"'
	{ printf 'header h7: w\nheader H7: z\n' && seq -f 'header h%.0f: v' 2000; } | framed_meta >"$test_dir/some"
	plant_meta some "$test_dir/some"
	drain -q some -- sh -c 'echo "$QJOB_HEADER_H7 $QJOB_HEADER_H2000 $QJOB_ID" | cut -c -5'
	assert_output "w v $(cut -c 1 <<<"$(forged_id 0)")"
}

@test 'a file too large to be checked is buried, and nobody waits for it' {
	id=$(forged_id 0)
	truncate -s 1T "$new/00.$id.0,s1099511627776-00000000" || skip 'no sparse files here'
	QWORK_SECONDS=20 drain_around
	assert_regex "$stderr" 'outcome=buried cause="too long to be checked for what was sent"'
	assert_job "$id" buried
	qkick "$id"
	assert_job "$id" new
}

@test 'a long job that is sent with --no-sync is synced all the same, and has no mark' {
	head -c 64M /dev/zero | qsend --no-sync -q at
	head -c 67108865 /dev/zero | qsend --no-sync -q over -A 3
	assert_regex "$(sole_job new at)" ',s67108864-'
	assert_regex "$(sole_job new over)" '0,m$'
	for queue in at over; do
		drain -q "$queue" -- wc -c
		assert_success
	done
	assert_output 67108865
}

@test 'a payload that is cut short while its handler reads it harms nobody else' {
	make_gate
	id=$(send 1234567890)
	start_qwork -- sh -c 'head -c 1; "$1"; cat' handler "$gate"
	wait_for 20 at_gate "$id"
	: >"$(sole_job cur)"
	send other
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(cat "$qwork_out")" 1other
}

@test 'devices and links that have the names of jobs stay, in each state' {
	need_root
	for state in new delay cur buried; do
		due=
		[[ $state != delay ]] || due=20200101T000000.000Z.
		mknod "$QSPOOL/default/$state/${due}50.$(forged_id 1).0" c 1 3 || skip 'cannot make a device here'
		mknod "$QSPOOL/default/$state/${due}50.$(forged_id 2).0" b 7 200
		mkfifo "$QSPOOL/default/$state/${due}50.$(forged_id 3).0"
		ln -s /etc/passwd "$QSPOOL/default/$state/${due}50.$(forged_id 4).0"
	done
	drain_around
	refute_output --partial root:
	for state in new delay cur buried; do assert_equal "$state $(job_count "$state")" "$state 4"; done
	assert_equal "$(qstat --json | jq .strange)" 16
}

@test 'a crowd of things that cannot be jobs is told of in bounds' {
	seq -f "$new/junk%.0f" 3000 | xargs mkdir
	drain_around
	assert_equal "$(grep -c outcome=strange <<<"$stderr")" 1024
	assert_equal "$(grep -c 'more strange files than are named here' <<<"$stderr")" 1
	assert_equal "$(job_count new)" 3000
}

@test 'a kicked job whose meta is still missing is buried again, never run' {
	id=$(send x -A 3)
	rm "$(sole_job meta)"
	drain -- cat
	qkick "$id"
	drain -- cat
	assert_output ''
	assert_job "$id" buried
}

@test 'a waiting qwork tells of a strange thing once, whatever else happens' {
	start_qwork --scan 100ms -v -- cat
	wait_for 20 watches "$qwork"
	mkdir "$new/directory"
	wait_for 20 grep -q 'outcome=strange' "$qwork_log"
	for i in 1 2 3; do
		send "$i"
		wait_for 20 finished_are "$i"
	done
	assert_equal "$(grep -c 'outcome=strange' "$qwork_log")" 1
	rmdir "$new/directory"
	run_tool qstat
	refute_output --partial STRANGE
}

finished_are() { [[ $(grep -c outcome=finished "$qwork_log") == "$1" ]]; }

@test 'strange things in the other directories harm nothing' {
	for state in "${STATES[@]}"; do
		mkdir "$QSPOOL/default/$state/directory"
		ln -s /etc/passwd "$QSPOOL/default/$state/link"
		mkfifo "$QSPOOL/default/$state/fifo"
		echo file >"$QSPOOL/default/$state/file"
	done
	rm "$new/file"
	drain_around
	refute_output --partial root:
	refute_output --partial ': file'
	qstat
	qstat default
	for state in "${STATES[@]}"; do
		assert_dir_exists "$QSPOOL/default/$state/directory"
		assert [ -L "$QSPOOL/default/$state/link" ]
		assert_fifo_exists "$QSPOOL/default/$state/fifo"
	done
}

@test 'things in the spool that are no queues harm nothing' {
	echo file >"$QSPOOL/file"
	mkdir "$QSPOOL/.hidden" "$QSPOOL/with space" "$QSPOOL/bare"
	ln -s "$test_dir" "$QSPOOL/link"
	id=$(send x)
	run_tool qstat
	assert_success
	refute_output --partial hidden
	run_tool qcat "$id"
	assert_output x
}

@test 'a handler that is a symbolic link to nowhere is refused' {
	send x
	ln -s "$test_dir/nowhere" "$QSPOOL/default/handler"
	drain
	assert_failure 78
	assert_equal "$(job_count new)" 1
}

@test 'completing a word on the command line runs nothing, whatever a directory is named' {
	qdel "$(send x -q mail)"
	for name in '$(touch${IFS}evil)' '`touch evil`' '<(touch evil)' 'a$((evil[$(touch evil)]))' $'two\nlines'; do
		mkdir -p "$QSPOOL/$name/new"
	done
	cd "$test_dir"
	for words in 'qstat -q' 'qstat'; do
		# shellcheck disable=SC2086
		run bash -c '. "$0" && COMP_WORDS=("$@" "") && _qspool "$1" "" "${!#}" && printf "%s\n" "${COMPREPLY[@]}"' \
			"$BATS_TEST_DIRNAME/../../share/completions/bash/qsend" $words
		assert_output $'default\nmail'
	done
	assert_not_exists evil
}
