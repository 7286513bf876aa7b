#!/usr/bin/env bats
# Keys: at most one job of a key that is not finished; rules ONE-KEY, KEY-BEFORE-RUN and
# UNKEY-FIRST of spool-layout.md. KEY_SENDERS=100 is the full size.

load helper

: "${KEY_SENDERS:=30}"

# How many links there are in all of .key/.
links() { find "$QSPOOL/.key" -type f 2>/dev/null | wc -l; }
no_links() { [[ $(links) == 0 ]]; }

# assert_held_by ID OPTION...: a send prints that job's id and leaves nothing.
assert_held_by() {
	local before
	before=$(find "$QSPOOL" -type f | wc -l)
	run_tool qsend "${@:2}" <<<second
	assert_success
	assert_output "$1"
	assert_equal "$stderr" ''
	assert_equal "$(find "$QSPOOL" -type f | wc -l)" "$before"
}

# assert_free [OPTION...]: a send takes the key; the new job's id in $id.
assert_free() {
	local old=${id:-}
	run_tool qsend "$@" <<<another
	assert_success
	assert_output --regexp "^$ID\$"
	assert_not_equal "$output" "$old"
	id=$output
}

@test 'a key that is free is taken: the job is sent, and a link says who has it' {
	id=$(send x --key report)
	assert_job "$id" new
	assert_equal "$(cd "$QSPOOL/.key" && find . -type f)" "./report/$id@default"
	assert [ "$QSPOOL/.key/report/$id@default" -ef "$(sole_job new)" ]
	assert_equal "$(job_count tmp)" 0
}

@test 'a held key: nothing is sent, the id of the holder is printed, exit 0' {
	id=$(send x --key report)
	assert_held_by "$id" --key report
	assert_held_by "$id" --key report -d 1h -p 7 -- argument
	assert_equal "$(job_count new) $(job_count delay) $(job_count tmp) $(job_count meta)" '1 0 0 1'
	assert_equal "$(ls -A "$QSPOOL/.key")" report
}

@test 'a held key: --verbose says by which job of which queue' {
	id=$(send x -q exports --key report)
	run_tool qsend -v --key report <<<y
	assert_success
	assert_regex "$stderr" "nothing was sent: job $id in queue exports has the key"
}

@test '--new-only: a held key exits 1 and still prints the holder; a free one is taken' {
	run_tool qsend --new-only --key report <<<x
	assert_success
	id=$output
	run_tool qsend --new-only --key report <<<y
	assert_failure 1
	assert_output "$id"
	assert_equal "$(job_count new)" 1
}

@test 'keys are spool-wide: a job of another queue holds it' {
	id=$(send x -q one --key report)
	assert_held_by "$id" -q two --key report
	assert_equal "$(job_count new two)" 0
}

@test 'different keys do not meet, also where their labels could' {
	for key in a A a/b a%2fb a%2Fb .a ' ' '%' "$(printf 'k%.0s' {1..300})" "$(printf 'k%.0s' {1..299})" \
		$'line\nbreak' $'\xff\xfe' 'grün' @name .draft-x ..; do
		run_tool qsend --new-only --key "$key" <<<x
		assert_success
		id=$output
		run_tool qsend --new-only --key "$key" <<<x
		assert_failure 1
		assert_output "$id"
	done
	assert_equal "$(job_count new) $(links)" '16 16'
	drain -j 4 -- true
	assert_success
	assert_equal "$(job_count new) $(links) $(ls -A "$QSPOOL/.key")" '0 0 '
}

@test 'wrong options exit 64 and send nothing' {
	assert_usage qsend --key ''
	assert_usage qsend --key
	assert_usage qsend --key a --key b
	assert_usage qsend --key a --lines
	assert_usage qsend --key a --null
	assert_usage qsend --key a --key-until never
	assert_usage qsend --key-until start
	assert_usage qsend --new-only
	assert_not_exists "$QSPOOL"
}

@test 'a finished job frees its key' {
	id=$(send x --key report)
	drain -- true
	assert_free --key report
	assert_equal "$(links)" 1
}

@test 'a key is held while its job runs, and while it waits for a retry' {
	start_running x --key report
	assert_held_by "$id" --key report
	open_gate
	wait_for 20 no_links
	kill -TERM "$qwork"
	exit_status 20 "$qwork"
	id=$(send x --key report)
	drain -b 1h..1h -- false
	assert_job "$id" delay
	assert_held_by "$id" --key report
}

@test 'a job that was stopped with its qwork is handed back with its key' {
	start_running x --key report
	kill -TERM "$qwork"
	kill -TERM "$qwork" || true
	wait_for 20 signal_taken TERM "$qwork"
	kill -TERM "$qwork" 2>/dev/null || true
	exit_status 30 "$qwork"
	assert_held_by "$id" --key report
}

@test 'burying frees the key: by hand, by the last attempt, by exit 65, by expiry' {
	id=$(send x --key report)
	qbury "$id"
	assert_free --key report
	drain -A 1 -- false
	assert_job "$id" buried
	assert_free --key report
	drain -- sh -c 'exit 65'
	assert_job "$id" buried
	assert_free --key report -T 1ms
	wait_for 10 after_ms $(($(now_ms) + 5))
	drain -- true
	assert_job "$id" buried
	assert_equal "$(links)" 0
	assert_equal "$(job_count buried)" 4
}

@test 'deleting frees the key, wherever the job is' {
	id=$(send x --key report)
	qdel "$id"
	assert_free --key report -d 1h
	qdel "$id"
	assert_free --key report
	qbury "$id"
	qdel "$id"
	other=$(send x)
	assert_free --key report --after "$other"
	qdel "$id"
	assert_free --key report
	assert_equal "$(links)" 1
}

@test 'the key of a job that was removed with rm is free at once' {
	id=$(send x --key report)
	rm "$(job_path "$id" new)"
	assert_free --key report
	rm "$(job_path "$id" new)"
	drain -- true
	assert_success
	assert_equal "$(links)" 0
	assert_free --key report
}

@test 'the key of a job of which a power cut left only links is free at once' {
	id=$(send x --key report --batch B)
	rm "$QSPOOL/default/new/50.$id.0,m" "$QSPOOL/default/meta/$id"
	assert_free --key report
}

@test 'the key of a job that was removed with its queue is free' {
	id=$(send x -q doomed --key report)
	rm -r "$QSPOOL/doomed"
	assert_free --key report
	id=$(send x -q doomed --key other --batch members)
	send x --after members
	rm -r "$QSPOOL/doomed"
	drain -- true
	assert_equal "$(links)" 0
	assert_equal "$(job_count new)" 0
}

@test 'a job that was set aside with mv holds nothing; one that was moved elsewhere does' {
	id=$(send x --key report -d 1h)
	mv "$(job_path "$id" delay)" "$QSPOOL/default/new/50.$id.0,m"
	assert_held_by "$id" --key report
	mv "$(job_path "$id" new)" "$QSPOOL/default/buried/"
	assert_free --key report
	assert_equal "$(job_count new) $(job_count buried)" '1 1'
}

@test 'a copy by hard links keeps no key of what finished' {
	id=$(send x --key report)
	cp -al "$QSPOOL" "$test_dir/backup"
	assert_held_by "$id" --key report
	drain -- true
	assert_free --key report
}

@test 'a job that is ready or waits is found to have its key without reading what is set aside or kept' {
	need_strace
	qlimit --open db
	first=$(send first -d 1h)
	local -A has=([ready]=$(send x --key ready --keep 1d)
		[after]=$(send x --key after --keep 1d --after "$first")
		[blocked]=$(send x --key blocked --keep 1d --resource db))
	mkdir "$QSPOOL/default/done" "$QSPOOL/.wait/@db"
	mv "$QSPOOL/default/new/50.${has[blocked]}.0,m" "$QSPOOL/.wait/@db/50.${has[blocked]}.0,m@default"
	for key in "${!has[@]}"; do
		run_tool strace -y -o "$test_dir/trace" -e trace=getdents64 qsend --key "$key" </dev/null
		assert_output "${has[$key]}"
		run ! grep -E '/(buried|done)>' "$test_dir/trace"
	done
}

@test 'a kept job whose worker was killed before it gave the key back does not have it' {
	id=$(send x --key a --keep 1d)
	hooked kill-before:unlink@.key:1 qwork --drain -- true </dev/null || true
	assert_job "$id" 'done'
	assert_exists "$QSPOOL/.key/a/$id@default"
	run_tool qsend --key a </dev/null
	assert_success
	refute_output "$id"
}

@test 'a link removed by hand frees the key' {
	id=$(send x --key report)
	rm "$QSPOOL/.key/report/"*
	assert_free --key report
	rm -r "$QSPOOL/.key"
	assert_free --key report
}

@test 'qkick takes the key again' {
	id=$(send x --key report)
	qbury "$id"
	assert_equal "$(links)" 0
	qkick "$id"
	assert_held_by "$id" --key report
	drain -- true
	assert_equal "$(job_count new) $(job_count buried) $(links)" '0 0 0'
}

@test 'qkick of a job whose key another one has says who, exits 75, and leaves it buried' {
	first=$(send x --key report)
	qbury "$first"
	second=$(send y --key report)
	run_tool qkick "$first"
	assert_failure 75
	assert_regex "$stderr" "job $first: job $second has its key"
	assert_job "$first" buried
	assert_job "$second" new
	assert_held_by "$second" --key report
	qdel "$second"
	qkick "$first"
	assert_job "$first" new
}

@test 'mv of a buried job whose key another one has: it is buried again, with the reason' {
	first=$(send x --key report)
	qbury "$first"
	second=$(send y -d 1h --key report)
	mv "$(job_path "$first" buried)" "$QSPOOL/default/new/"
	drain -- true
	assert_job "$first" buried
	assert_file_contains "$QSPOOL/default/log/$first" "its key is held by job $second"
	assert_job "$second" delay
	assert_held_by "$second" --key report
}

@test 'mv of a buried job whose key is free: it runs with the key' {
	first=$(send x --key report)
	qbury "$first"
	mv "$(job_path "$first" buried)" "$QSPOOL/default/new/"
	make_gate
	start_qwork -- "$gate"
	wait_for 20 at_gate "$first"
	assert_held_by "$first" --key report
	open_gate
	wait_for 20 no_links
}

@test '--key-until start: the key is free once the job runs' {
	start_running x --key report --key-until start
	assert_equal "$(links)" 0
	first=$id
	assert_free --key report --key-until start
	assert_held_by "$id" --key report
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(job_count buried) $(links)" '0 0'
	assert_not_equal "$first" "$id"
}

@test '--key-until start: what is handed back runs, though the next one waits already' {
	start_running x --key report --key-until start
	first=$id
	assert_free --key report --key-until start
	second=$id
	kill -TERM "$qwork"
	wait_for 20 grep -q 'told to end' "$qwork_log"
	kill -TERM "$qwork"
	exit_status 30 "$qwork"
	assert_job "$first" new
	drain -- sh -c 'echo "$QJOB_ID"'
	assert_success
	assert_output "$first"$'\n'"$second"
	assert_equal "$(job_count buried) $(links)" '0 0'
}

@test '--key-until finish is what is meant without it' {
	start_running x --key report --key-until finish
	assert_held_by "$id" --key report
	open_gate
	wait_for 20 no_links
}

@test 'many sends of one key at once give one job, and all print its id' {
	senders=()
	for ((n = 0; n < KEY_SENDERS; n++)); do
		start qsend -q "q$((n % 3))" --key report <<<"$n" >"$test_dir/id.$n"
		senders+=("$started")
	done
	assert_all_succeed "${senders[@]}"
	assert_equal "$(cat "$test_dir"/id.* | sort -u | wc -l)" 1
	assert_equal "$(cat "$test_dir"/id.* | wc -l)" "$KEY_SENDERS"
	assert_equal "$(cd "$QSPOOL" && find . -type f ! -name stats | wc -l) $(links)" '3 1' # the job, its options, the link
}

@test 'many sends of one key while it is worked on: each id runs once, none beside another' {
	script "$test_dir/alone" <<-END
		mkdir '$test_dir/busy' || echo "\$QJOB_ID" >>'$test_dir/overlap'
		echo "\$QJOB_ID" >>'$test_dir/ran'
		rmdir '$test_dir/busy'
	END
	start_qwork -j 4 -- "$test_dir/alone"
	start_qwork -j 4 -- "$test_dir/alone"
	senders=()
	for ((n = 0; n < KEY_SENDERS; n++)); do
		start qsend --key report <<<"$n" >"$test_dir/id.$n"
		senders+=("$started")
	done
	assert_all_succeed "${senders[@]}"
	wait_for 60 spool_is_idle
	wait_for 60 no_links
	assert_not_exists "$test_dir/overlap"
	assert_equal "$(sort "$test_dir/ran")" "$(cat "$test_dir"/id.* | sort -u)"
	assert_equal "$(job_count buried)" 0
}

@test 'a holder that is still being sent is waited for' {
	send gone && qdel -q default --all
	start_stopped rename:1 qsend --key report <<<x
	assert_equal "$(job_count new) $(job_count tmp)" '0 1'
	start qsend --key report <<<y >"$test_dir/second"
	second=$started
	wait_for 20 watches_key
	refute gone "$second"
	assert_equal "$(cat "$test_dir/second")" ''
	go_on
	assert_equal "$status" 0
	exit_status 60 "$second"
	assert_equal "$status" 0
	assert_equal "$(cat "$test_dir/second")" "$(cat "$test_dir/stopped")"
	assert_equal "$(job_count new) $(job_count tmp)" '1 0'
}
# The second sender's draft is there: it sleeps between two looks.
watches_key() { [[ $(job_count tmp) == 2 ]]; }

@test 'the draft of a key is not swept while its sender sleeps, for however long' {
	start_stopped replace@.key:1 qsend --key report <<<x
	touch -d '2 hours ago' "$QSPOOL"/.key/.draft-*
	drain -- true
	assert_success
	assert_equal "$(links)" 1
	go_on
	assert_equal "$status" 0
	id=$(<"$test_dir/stopped")
	assert_job "$id" new
	assert_exists "$QSPOOL/.key/report/$id@default"
}

@test 'a holder whose sender was killed before it was sent holds nothing' {
	need_hooked
	send gone && qdel -q default --all
	run_tool hooked kill-before:rename:1 qsend --key report <<<x
	assert_equal "$status $(links) $(job_count tmp)" '137 1 1'
	assert_free --key report
	assert_equal "$(job_count new) $(links)" '1 1'
	drain -- true
	assert_equal "$(links)" 0
}

@test 'a job whose sender was killed before it could tell has the key, and is durable when it is told' {
	need_hooked
	send gone && qdel -q default --all
	run_tool hooked kill-after:rename:1 qsend --key report <<<x
	assert_equal "$status $output $(job_count new)" '137  1'
	id=$(basename "$(sole_job new)" | cut -d. -f2)
	QSPOOL_FAULT_LOG=$test_dir/calls run_tool "$QSPOOL_BIN/../test/crash/tools/qsend" --key report <<<y
	assert_success
	assert_output "$id"
	for dir in tmp new; do
		assert_file_contains "$test_dir/calls" "fsync-dir.*/default/$dir\$"
	done
}

@test 'a key that was taken by a qwork killed in burying is not lost, and the next job gets it' {
	need_hooked
	id=$(send x --key report)
	for k in 1 2 3 4 5 6 7 8; do
		run_tool hooked "kill-before:any:$k" qbury "$id"
	done
	drain -- true
	assert_free --key report
	assert_equal "$(links)" 1
}
