#!/usr/bin/env bats
# The spool is moved by hand: files dropped into new/, and what a person may move,
# remove and touch while qwork runs.

load helper

# drop NAME [CONTENT]: renames a file into new/, as rsync and mv do.
drop() {
	mkdir -p "$test_dir/outside"
	printf %s "${2-$1}" >"$test_dir/outside/$1"
	mv "$test_dir/outside/$1" "$QSPOOL/default/new/$1"
}

make_queue() { qdel "$(send x -q "${1:-default}")"; }

@test 'a foreign file that is renamed into new/ is a job at once' {
	start_qwork -- sh -c 'date +%s%3N; cat'
	wait_for 20 watches "$qwork"
	dropped=$(now_ms)
	drop report.csv content
	wait_for 20 grep -q content "$qwork_out"
	# One that was only found would be taken 2 s after its last change.
	assert [ "$(head -n 1 "$qwork_out")" -lt $((dropped + 1900)) ]
	wait_for 20 spool_is_idle
	assert_spool_empty
}

@test 'an empty foreign file is a job too' {
	make_queue
	drop empty ''
	drain -- sh -c 'wc -c <&0; echo "$QJOB_NAME"'
	assert_output $'0\nempty'
	assert_spool_empty
}

@test 'its old name is $QJOB_NAME, its id is fresh, its owner the sender' {
	make_queue
	drop 'a name with spaces'
	drain -- sh -c 'echo "$QJOB_NAME"; echo "$QJOB_ID"; echo "$QJOB_SENDER"; test -f "$QJOB_FILE" && basename "$QJOB_FILE"'
	assert_line --index 0 'a name with spaces'
	assert_line --index 1 --regexp "^$ID\$"
	assert_line --index 2 "$(id -u)"
	assert_line --index 3 --regexp "^50\.${lines[1]}\.1"
}

@test 'the old name is kept over retries, burial and kicking' {
	make_queue
	drop report.csv
	drain_all -A 2 -b 1ms -- sh -c 'echo "$QJOB_NAME $QJOB_ATTEMPT"; exit 1'
	assert_output $'report.csv 1\nreport.csv 2'
	qkick -q default --all
	drain -- sh -c 'echo "$QJOB_NAME"; cat'
	assert_output $'report.csv\nreport.csv'
	assert_spool_empty
}

@test 'a foreign file that was found lying there is taken 2 s after its last change' {
	make_queue
	start_qwork -- sh -c 'date +%s%3N; cat'
	wait_for 20 watches "$qwork"
	printf 'first ' >"$QSPOOL/default/new/slow"
	written=$(now_ms)
	wait_for 5 after_ms $((written + 1000))
	printf 'second' >>"$QSPOOL/default/new/slow"
	changed=$(stat -c %.3Z "$QSPOOL/default/new/slow" | tr -d .)
	wait_for 20 grep -q 'first second' "$qwork_out"
	assert [ "$(head -n 1 "$qwork_out")" -ge $((changed + 1990)) ]
}

@test '--drain waits for a file that is too fresh to be taken' {
	make_queue
	echo content >"$QSPOOL/default/new/fresh"
	drain -- cat
	assert_success
	assert_output content
	assert_spool_empty
}

@test 'a name with a leading dot is never taken, nor deleted' {
	make_queue
	drop .hidden
	drop .rsync.tmp.x8kQ2
	drain -- cat
	assert_success
	assert_output ''
	assert_exists "$QSPOOL/default/new/.hidden"
	assert_exists "$QSPOOL/default/new/.rsync.tmp.x8kQ2"
	mv "$QSPOOL/default/new/.hidden" "$QSPOOL/default/new/hidden"
	drain -- cat
	assert_output .hidden
}

@test 'the same name may be dropped again while the first still runs' {
	make_queue
	make_gate
	start_qwork -j 2 -- sh -c '"$1"; echo "$QJOB_NAME $(cat)"' handler "$gate"
	wait_for 20 watches "$qwork"
	drop again one
	wait_for 20 all_at_gate 1
	drop again two
	wait_for 20 all_at_gate 2
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(sort "$qwork_out")" $'again one\nagain two'
	assert_spool_empty
}

@test 'many foreign files are each run once' {
	make_queue
	start_qwork -j 4 -- sh -c 'echo "$QJOB_NAME $(cat)"'
	for i in $(seq 50); do drop "file.$i" "content.$i"; done
	wait_for 60 spool_is_idle
	assert_equal "$(sort "$qwork_out")" "$(for i in $(seq 50); do echo "file.$i content.$i"; done | sort)"
}

@test 'foreign files run in the order of ready jobs with the default priority' {
	send first -p 10
	send last -p 90
	drop between
	wait_for 5 after_ms $(($(now_ms) + 2100)) # now it may be taken as it lies there
	drain -- sh -c 'cat; echo'
	assert_output $'first\nbetween\nlast'
}

@test 'mv buried/X new/ runs a job again' {
	send x
	drain -A 1 -- false
	mv "$(sole_job buried)" "$QSPOOL/default/new/"
	drain -- sh -c 'cat; echo " $QJOB_ATTEMPT"'
	assert_output 'x 2'
	assert_spool_empty
}

@test 'mv delay/X new/ runs a job now, its DUE ignored' {
	id=$(send x -d 1h)
	mv "$(sole_job delay)" "$QSPOOL/default/new/"
	run_tool qstat default
	assert_line --regexp "^ready .*$id"
	drain -- cat
	assert_output x
	assert_spool_empty
}

@test 'mv new/X buried/ sets a job aside' {
	id=$(send x)
	mv "$(sole_job new)" "$QSPOOL/default/buried/"
	drain -- cat
	assert_output ''
	run_tool qkick "$id"
	assert_success
	assert_job "$id" new
}

@test 'mv within new/ changes the priority, and mv to a name that ends in .0 gives all attempts anew' {
	send first$'\n' >/dev/null
	id=$(send second$'\n')
	mv -n "$QSPOOL/default/new/50.$id.0" "$QSPOOL/default/new/10.$id.0"
	drain -A 1 -b 1h -- sh -c 'cat; exit 1'
	assert_output $'second\nfirst'
	mv -n "$(job_path "$id" buried)" "$QSPOOL/default/new/10.$id.0,l"
	drain -- sh -c 'echo "$QJOB_ATTEMPT $(cat)"'
	assert_output '1 second'
}

@test 'a buried payload that is replaced is what the next attempt reads' {
	id=$(send wrong)
	qbury "$id"
	echo right >"$QSPOOL/default/tmp/right"
	mv "$QSPOOL/default/tmp/right" "$(job_path "$id" buried)"
	qkick "$id"
	drain -- cat
	assert_output right
}

@test 'mv between queues takes a plain job along' {
	id=$(send x)
	make_queue other
	mv "$(sole_job new)" "$QSPOOL/other/new/"
	drain -q other -- sh -c 'echo "$QJOB_ID $(cat)"'
	assert_output "$id x"
}

@test 'hand moves reach a waiting qwork at once' {
	buried=$(send buried)
	qbury "$buried"
	delayed=$(send delayed -d 1h)
	start_qwork -- sh -c 'cat; echo'
	wait_for 20 watches "$qwork"
	mv "$(job_path "$buried" buried)" "$QSPOOL/default/new/"
	wait_for 20 grep -q buried "$qwork_out"
	mv "$(job_path "$delayed" delay)" "$QSPOOL/default/new/"
	wait_for 20 grep -q delayed "$qwork_out"
	wait_for 20 spool_is_idle
}

@test 'a job removed with rm is gone, and nobody minds' {
	make_gate
	send gone
	start_qwork -- sh -c '"$1"; cat; echo' handler "$gate"
	wait_for 20 all_at_gate 1
	mapfile -t ids < <(seq 3 | qsend --lines)
	rm "$(job_path "${ids[1]}" new)"
	open_gate
	wait_for 20 spool_is_idle
	assert_equal "$(cat "$qwork_out")" $'gone\n1\n\n3'
	refute gone "$qwork"
}

@test 'a running job removed with rm is finished' {
	start_running x
	rm "$(sole_job cur)"
	open_gate
	next=$(send y)
	wait_for 20 at_gate "$next"
	wait_for 20 spool_is_idle
	assert_spool_empty
}

@test 'a running job removed with rm does not come back when it fails' {
	make_gate
	id=$(send x)
	start_qwork -- "$gate" 1
	wait_for 20 at_gate "$id"
	rm "$(sole_job cur)"
	next=$(send y)
	open_gate
	wait_for 20 at_gate "$next"
	for state in new cur delay buried; do refute job_is "$id" "$state"; done
	refute gone "$qwork"
}
