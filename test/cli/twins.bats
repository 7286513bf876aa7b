#!/usr/bin/env bats
# Rule TWINS: a job whose file has two names, as a power cut may leave it, is one job.

load helper

# The name of job $id in each state, as a rename that was cut in two leaves it.
twin() {
	case $1 in
	tmp) echo "tmp/$id" ;;
	new) echo "new/50.$id.0" ;;
	cur) echo "cur/50.$id.1" ;;
	delay) echo "delay/20200101T000000.000Z.50.$id.1" ;;
	buried) echo "buried/50.$id.2" ;;
	esac
}

# plant QUEUE STATE[-STATE]...: one job $id, with a name in each.
plant() {
	local queue=$QSPOOL/$1 state
	local -a states
	IFS=- read -ra states <<<"$2"
	id=$(send "$1" -q "$1")
	mv "$queue/new/50.$id.0" "$test_dir/file"
	for state in "${states[@]}"; do ln "$test_dir/file" "$queue/$(twin "$state")"; done
	rm "$test_dir/file"
}

# From the safest on.
PAIRS=(new-delay new-buried new-cur delay-buried delay-cur buried-cur new-delay-buried-cur)
WITH_TMP=(new-tmp delay-tmp buried-tmp cur-tmp)

# only_in QUEUE STATE: $id has one name in the states, there.
only_in() {
	assert_equal "$1: $(cd "$QSPOOL/$1" && ls -d ./{new,delay,buried,cur}/* 2>/dev/null)" \
		"$1: ./$(twin "$2")"
}

@test 'every pair of names is run exactly once, or stays buried' {
	for pair in "${PAIRS[@]}" "${WITH_TMP[@]}"; do
		plant "$pair" "$pair"
		drain_all -q "$pair" -b 1ms -- sh -c 'cat; echo'
		assert_success
		case $pair in
		buried*)
			assert_equal "$pair: $output" "$pair: "
			only_in "$pair" buried
			;;
		*)
			assert_equal "$output" "$pair"
			for state in new delay buried cur; do jobs_are 0 "$state" "$pair"; done
			;;
		esac
	done
}

@test 'two names in one directory are one job, with the attempts of the higher' {
	for state in new delay cur; do
		plant "$state" "$state"
		name=$(twin "$state")
		ln "$QSPOOL/$state/$name" "$QSPOOL/$state/${name%.*}.7"
		drain_all -q "$state" -b 1ms -- sh -c 'echo "$QJOB_ATTEMPT"'
		assert_success
		assert_equal "$state: $output" "$state: 8"
		for dir in new delay buried cur; do jobs_are 0 "$dir" "$state"; done
	done
}

@test 'two names that several qworks reach for are one job' {
	for ((i = 0; i < 20; i++)); do plant default new-cur; done
	for ((i = 0; i < 20; i++)); do plant default delay-new; done
	for ((i = 0; i < 3; i++)); do
		start_qwork -j 4 -b 10ms -- sh -c 'echo "$QJOB_ID" >>"$0"' "$test_dir/ran"
	done
	wait_for 60 spool_is_idle
	assert_equal "$(wc -l <"$test_dir/ran")" 40
	assert_equal "$(sort -u "$test_dir/ran" | wc -l)" 40
}

@test 'a job that is run by its kept name is run once, although it is retried' {
	plant default new-cur
	drain_all -b 1ms -- sh -c 'echo "$QJOB_ATTEMPT"; [ "$QJOB_ATTEMPT" = 3 ]'
	assert_success
	assert_output $'1\n2\n3'
	jobs_are 0 new && jobs_are 0 cur && jobs_are 0 delay && jobs_are 0 buried
}

@test 'qdel deletes all names' {
	for pair in "${PAIRS[@]}"; do
		plant "$pair" "$pair"
		qdel "$id"
		run_tool qstat --json -q "$pair"
		for state in ready running delayed buried; do assert_equal "$pair: $(json "$state")" "$pair: 0"; done
	done
}

@test 'qbury buries one' {
	for pair in "${PAIRS[@]}"; do
		plant "$pair" "$pair"
		qbury "$id"
		for state in new delay cur; do jobs_are 0 "$state" "$pair"; done
		jobs_are 1 buried "$pair"
	done
}

@test 'qkick makes one ready' {
	for pair in delay-buried delay-cur buried-cur; do
		plant "$pair" "$pair"
		qkick --delayed "$id"
		for state in buried delay cur; do jobs_are 0 "$state" "$pair"; done
		jobs_are 1 new "$pair"
	done
}

@test 'options and history stay with the job' {
	id=$(send x -H 'A: b')
	ln "$QSPOOL/default/new/50.$id.0,m" "$QSPOOL/default/cur/50.$id.1,m"
	drain_all -- sh -c 'echo "$QJOB_HEADER_A"'
	assert_output b
	assert_spool_empty
}

@test 'a job that a backup holds by hard links runs, is retried and finished; the backup stays' {
	send x
	cp -al "$QSPOOL" "$test_dir/backup"
	drain_all -b 1ms -- sh -c 'cat; [ "$QJOB_ATTEMPT" = 2 ]'
	assert_success
	assert_output xx
	jobs_are 0 new && jobs_are 0 cur && jobs_are 0 delay && jobs_are 0 buried
	assert_equal "$(cat "$test_dir"/backup/default/new/*)" x
}

@test 'a job whose history a backup holds by hard links is kicked, retried, buried, each with a line of it' {
	id=$(send x)
	drain -A 1 -- false
	cp -al "$QSPOOL" "$test_dir/backup"
	run_tool qkick "$id"
	assert_success
	drain -A 1 -- false
	qkick "$id"
	qbury "$id"
	assert_equal "$(grep -c 'kicked by=' "$QSPOOL/default/log/$id")" 2
	assert_equal "$(grep -c 'attempt=1 of=1' "$QSPOOL/default/log/$id")" 2
	assert_equal "$(grep -c 'buried by=' "$QSPOOL/default/log/$id")" 1
}

@test 'the sweep takes the name in tmp/ away, and the job stays' {
	for state in new delay buried; do
		plant "$state" "tmp-$state"
		touch -d '2 hours ago' "$QSPOOL/$state/tmp/$id"
		touch "$QSPOOL/$state/paused"
		start_qwork -q "$state" -- cat
		wait_for 20 jobs_are 0 tmp "$state"
		only_in "$state" "$state"
	done
}

@test 'of a running job the name in tmp/ is not swept, and it is finished once' {
	start_running x
	ln "$QSPOOL/default/cur/50.$id.1" "$QSPOOL/default/tmp/$id"
	touch -d '2 hours ago' "$QSPOOL/default/tmp/$id"
	drain -- cat
	assert_output ''
	jobs_are 1 tmp
	open_gate
	wait_for 20 spool_is_idle
}

@test 'qfsck: pending, and --repair keeps the safest' {
	for pair in "${PAIRS[@]}"; do
		plant "$pair" "$pair"
		names=${pair//[^-]/}
		run_tool qfsck -q "$pair"
		assert_success
		assert_output ''
		run_tool qfsck --json -q "$pair"
		assert_success
		assert_equal "$(jq -r 'select(.kind == "twins") | .class' <<<"$output" | sort | uniq -c | xargs)" \
			"${#names} pending"
		run_tool qfsck --repair -q "$pair"
		assert_success
		only_in "$pair" "${pair%%-*}"
	done
	run_tool qfsck --json
	assert_equal "$(jq -r 'select(.kind == "twins")' <<<"$output")" ''
}

@test 'qfsck: what a backup links to is a note' {
	send x
	cp -al "$QSPOOL" "$test_dir/backup"
	run_tool qfsck -v
	assert_success
	assert_line --regexp '^note links default/new/'
	assert_line '1 jobs, 0 faults, 0 pending, 0 repaired'
}
