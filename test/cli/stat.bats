#!/usr/bin/env bats
# qstat: what there is to see, for people and for programs.

load helper

# A spool with a bit of everything in the queue "default", and an empty queue "aside".
make_variety() {
	qdel "$(send x -q aside)"
	ready=$(send ready -p 7)
	delayed=$(send delayed -d 1h)
	buried=$(send buried)
	qbury -r 'not today' "$buried"
}

# The fields of the table's row for a queue.
row() { awk -v queue="$1" '$1 == queue' <<<"$output"; }

# object FIELD VALUE: the one object in $output that has it.
object() { jq -ec --arg field "$1" --arg value "$2" 'select(.[$field] == $value)' <<<"$output"; }

@test 'qstat --help and --version answer on standard output, wrong options exit 64' {
	assert_common_options qstat
}

@test 'qstat shows a table of the queues, sorted by name' {
	make_variety
	run_tool qstat
	assert_success
	assert_equal "$stderr" ''
	assert_equal "$(tr -s ' ' <<<"${lines[0]}" | sed 's/ $//')" 'QUEUE READY RUNNING DELAYED BURIED OLDEST NEXT'
	assert_regex "${lines[1]}" '^aside +0 +0 +0 +0 +- +-'
	assert_regex "${lines[2]}" '^default +1 +0 +1 +1 +[0-9]+m?s +(59m|1h)'
	assert_equal "${#lines[@]}" 3
}

@test 'qstat -q and a queue by name restrict what is shown' {
	make_variety
	run_tool qstat -q aside
	assert_success
	refute_output --partial "$ready"
	refute_output --partial default
	run_tool qstat -q default "$ready"
	assert_success
	run_tool qstat -q aside "$ready"
	assert_failure 66
}

@test 'OLDEST is the age of the oldest ready job, NEXT the time until the next is due' {
	qdel "$(send x)"
	echo old >"$QSPOOL/default/tmp/old"
	mv "$QSPOOL/default/tmp/old" "$QSPOOL/default/new/50.$(forged_id 7230).0"
	send new
	send later -d 2d
	send sooner -d 10m
	run_tool qstat
	assert_regex "${lines[1]}" ' 2h(0m|1m)? +(9m5[0-9]s|10m)'
	run_tool qstat --json
	assert_equal "$(json oldest_seconds | cut -d. -f1 | cut -c1-3)" 723
	due=$(date -d "$(json next_due)" +%s)
	assert [ "$due" -gt $(($(date +%s) + 500)) ]
	assert [ "$due" -le $(($(date +%s) + 600)) ]
}

@test 'a paused queue is shown as paused' {
	send x
	touch "$QSPOOL/default/paused"
	run_tool qstat
	assert_line --regexp '^default \(paused\) +1 '
	run_tool qstat --json
	assert_equal "$(json paused)" true
}

@test 'STRANGE is shown where there is something strange' {
	send x
	run_tool qstat
	refute_output --partial STRANGE
	mkdir "$QSPOOL/default/new/directory"
	ln -s /etc/passwd "$QSPOOL/default/new/link"
	run_tool qstat
	assert_equal "$(tr -s ' ' <<<"${lines[0]}" | sed 's/ $//')" 'QUEUE READY RUNNING DELAYED BURIED STRANGE OLDEST NEXT'
	assert_regex "${lines[1]}" '^default +1 +0 +0 +0 +2 '
	run_tool qstat --json
	assert_equal "$(json strange)" 2
}

@test 'a running job is counted as running' {
	start_running x
	run_tool qstat
	assert_line --regexp '^default +0 +1 +0 +0 '
}

@test '--json is an object a line for each queue: -j, --json' {
	make_variety
	for option in -j --json; do
		run_tool qstat "$option"
		assert_success
		assert_equal "${#lines[@]}" 2
		output=${lines[0]}
		assert_equal "$(json queue) $(json ready) $(json oldest_seconds) $(json next_due)" 'aside 0 null null'
		output=${lines[1]}
		assert_equal "$(json queue) $(json ready) $(json running) $(json delayed) $(json buried) $(json strange) $(json paused)" \
			'default 1 0 1 1 0 false'
		assert_regex "$(json next_due)" "^$RFC3339\$"
		assert_equal "$(jq -r '.oldest_seconds | type' <<<"$output")" number
	done
}

@test 'qstat QUEUE lists its jobs' {
	make_variety
	run_tool qstat default
	assert_success
	assert_equal "$(tr -s ' ' <<<"${lines[0]}" | sed 's/ $//')" 'STATE PRIORITY ID ATTEMPTS SENT DUE'
	assert_line --regexp "^ready +0?7 +$ready +0 "
	assert_line --regexp "^delayed +50 +$delayed +0 "
	assert_line --regexp "^buried +50 +$buried +0 "
	assert_equal "${#lines[@]}" 4
}

@test 'qstat QUEUE --json is an object a line for each job' {
	make_variety
	run_tool qstat --json default
	assert_success
	assert_equal "${#lines[@]}" 3
	object id "$ready" | jq -e '.state == "ready" and .queue == "default" and .priority == 7 and .attempts == 0 and .due == null'
	object id "$delayed" | jq -e '.state == "delayed" and (.due | type) == "string"'
	object id "$buried" | jq -e '.state == "buried" and .priority == 50'
	assert_regex "$(object id "$ready" | jq -r .sent)" "^$RFC3339\$"
}

@test 'strange names are listed with their reason, encoded so that they stay on their line' {
	send x
	mkdir "$QSPOOL/default/new/"$'new\nline'
	ln -s /etc/passwd "$QSPOOL/default/new/link"
	run_tool qstat default
	assert_equal "${#lines[@]}" 4
	assert_line --regexp '^strange.* link'
	run_tool qstat --json default
	assert_equal "${#lines[@]}" 3
	object name link | jq -e '.state == "strange" and .reason == "symbolic link"'
	jq -e 'select(.state == "strange" and .reason == "directory")' <<<"$output"
}

@test 'qstat JOB tells all about one job' {
	id=$(send payload -p 7 -A 3 -H 'X-Trace: 17' -- argument)
	run_tool qstat "$id"
	assert_success
	assert_line --regexp "^id: *$id\$"
	assert_line --regexp '^queue: *default$'
	assert_line --regexp '^state: *ready$'
	assert_line --regexp '^priority: *0?7$'
	assert_line --regexp '^attempts: *0'
	assert_line --regexp "^sent: *$RFC3339"
	assert_line --regexp '^size: *7'
	assert_line --regexp "^sender: .*$(id -un)|^sender: *$(id -u)"
	assert_line --partial "$QSPOOL/default/new/07.$id.0"
	assert_output --partial 'X-Trace'
	assert_output --partial 'argument'
}

@test 'qstat JOB shows the history' {
	id=$(send x)
	drain -A 1 -- sh -c 'echo broken >&2; exit 3'
	qkick "$id"
	run_tool qstat "$id"
	assert_line 'history:'
	assert_line --regexp 'attempt=1 of=1 cause=failed exit=3 '
	assert_line --regexp '\| broken$'
	assert_line --regexp 'kicked by='
	run_tool qstat --json "$id"
	assert_equal "${#lines[@]}" 1
	assert_equal "$(json id) $(json state)" "$id ready"
	assert_regex "$(json history)" 'attempt=1 of=1 cause=failed exit=3 .*broken.*kicked by='
}

@test 'qstat JOB says who runs it' {
	start_running x
	run_tool qstat "$id"
	assert_success
	assert_line --regexp '^state: *running'
	assert_output --partial "qwork pid $qwork"
	assert_output --partial "handler pid $handler"
}

@test 'qstat finds a job by unique prefix and by path' {
	a=$(send a)
	b=$(send b)
	run_tool qstat "$(unique_prefix "$a" "$b")"
	assert_line --regexp "^id: *$a\$"
	run_tool qstat "$QSPOOL/default/new/50.$b.0"
	assert_line --regexp "^id: *$b\$"
}

@test 'a word that names a queue is a queue, several words are shown in turn' {
	a=$(send a -q one)
	b=$(send b -q two)
	run_tool qstat one "$b"
	assert_success
	assert_line --regexp "^ready .*$a"
	assert_line --regexp "^id: *$b\$"
}

@test 'what is neither queue nor job exits 66' {
	send x
	for word in nothing "$(forged_id 0)" default/new/x; do
		run_tool qstat "$word"
		assert_failure 66
		assert_output ''
		assert_regex "$stderr" '^qstat: '
	done
	run_tool qstat -q none
	assert_failure 66
}

@test 'an ambiguous prefix exits 65' {
	send_alike 2
	run_tool qstat "$prefix"
	assert_failure 65
	assert_regex "$stderr" 'ambiguous.* 2 jobs'
}

@test 'a spool that does not exist exits 66 and is not made' {
	run_tool qstat
	assert_failure 66
	assert_regex "$stderr" "^qstat: .*$QSPOOL"
	assert_not_exists "$QSPOOL"
}

@test 'looking changes nothing' {
	make_variety
	before=$(cd "$QSPOOL" && find . -printf '%p %T@ %C@\n' | sort)
	qstat
	qstat default
	qstat "$ready" "$delayed" "$buried"
	qstat --json
	qcat "$ready" "$delayed" "$buried"
	assert_equal "$(cd "$QSPOOL" && find . -printf '%p %T@ %C@\n' | sort)" "$before"
}

@test 'a spool that may not be read exits 77' {
	need_command setpriv
	send x
	chmod 0 "$QSPOOL/default/new"
	run_tool powerless qstat
	assert_failure 77
}

@test 'an output that cannot be written exits 74' {
	[[ -w /dev/full ]] || skip 'needs /dev/full'
	send x
	status=0
	qstat >/dev/full 2>"$test_dir/stderr" || status=$?
	assert_equal "$status" 74
}

@test 'payloads, names and headers cannot break the JSON or the terminal' {
	id=$(send x -H $'X-Odd: "\\\t\033[31m\xff' -- $'arg\n"')
	run_tool qstat --json "$id"
	assert_success
	assert_equal "$(json id)" "$id"
	run_tool qstat "$id"
	refute_control_bytes <<<"$output"
}

@test 'a job that waits is counted, listed and described, with what it waits for' {
	first=$(send first --batch 'a batch')
	job=$(send x --after "$first")
	batch=$(send x --after 'a batch')
	run_tool qstat
	assert_equal "$(tr -s ' ' <<<"${lines[0]}" | sed 's/ $//')" 'QUEUE READY RUNNING DELAYED WAITING BURIED OLDEST NEXT'
	assert_regex "${lines[1]}" '^default +1 +0 +0 +2 +0 '
	run_tool qstat --json
	assert_equal "$(json waiting) $(json finished)" '2 0'
	run_tool qstat default
	assert_line --regexp "^waiting +50 $job +0 .* - for job $first\$"
	assert_line --regexp "^waiting +50 $batch +0 .* - for batch a batch\$"
	run_tool qstat --json default
	object id "$job" | jq -e --arg id "$first" '.state == "waiting" and .waits_for.job == $id'
	object id "$batch" | jq -e '.waits_for.batch == "a batch"'
	object id "$first" | jq -e '.waits_for == null'
	run_tool qstat "$batch"
	assert_line 'state: waiting'
	assert_line 'waits-for: batch a batch'
	run_tool qcat "$batch"
	assert_output x
}
