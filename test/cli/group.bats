#!/usr/bin/env bats
# A spool of a group: two users, whatever their umasks, send, work, bury, kick and delete
# each other's jobs; but nobody obeys what the other could have written.

load helper
load users

# for_all_umasks FUNCTION: with the names of two users, each with its umask.
for_all_umasks() {
	local a b
	for a in 022 077; do
		for b in 022 077; do
			"$1" "$ANNA" "$a" "$BERT" "$b"
			"$1" "$BERT" "$b" "$ANNA" "$a"
		done
	done
}

works_for_the_other() {
	as_user "$1" "$2" qsend -q work -A 2 -H 'X: y' <<<payload
	work_as "$3" "$4" -q work -- sh -c 'cat; echo "$QJOB_HEADER_X $QJOB_SENDER"'
	assert_success
	assert_output "payload"$'\n'"y $(id -u "$1")"
	assert_spool_empty work
}

@test "each works on the other's jobs" {
	for_all_umasks works_for_the_other
}

buries_and_kicks_for_the_other() {
	local id
	id=$(as_user "$1" "$2" qsend -q bury <<<payload)
	as_user "$3" "$4" qbury -r why "$id"
	assert_job "$id" buried bury
	as_user "$1" "$2" qkick "$id"
	assert_job "$id" new bury
	as_user "$1" "$2" qbury -r again "$id"
	as_user "$3" "$4" qkick "$id"
	assert_job "$id" new bury
	run_tool as_user "$3" "$4" qstat "$id"
	assert_success
	assert_output --partial "kicked by=$(id -u "$1")"
	run_tool as_user "$3" "$4" qcat "$id"
	assert_output payload
	as_user "$3" "$4" qdel "$id"
	assert_spool_empty bury
}

@test "each buries, kicks, reads and deletes the other's jobs" {
	for_all_umasks buries_and_kicks_for_the_other
}

fails_and_is_mended_by_the_other() {
	local id
	id=$(as_user "$1" "$2" qsend -q mend <<<payload)
	work_as "$3" "$4" -q mend -A 2 -b 1ms -- sh -c 'echo oops >&2; exit 1'
	assert_job "$id" buried mend
	as_user "$1" "$2" qkick "$id"
	work_as "$1" "$2" -q mend -A 1 -- sh -c 'echo oops >&2; exit 1'
	assert_job "$id" buried mend
	run grep -c oops "$QSPOOL/mend/log/$id"
	assert_output 3
	as_user "$3" "$4" qkick "$id"
	work_as "$3" "$4" -q mend -- cat
	assert_output payload
	assert_spool_empty mend
}

@test "each writes on in the log that the other began" {
	for_all_umasks fails_and_is_mended_by_the_other
}

makes_a_queue_for_the_other() {
	local queue=by.$1.$2.$3.$4
	as_user "$1" "$2" qsend -q "$queue" <<<one
	as_user "$3" "$4" qsend -q "$queue" <<<two
	assert_equal "$(payloads new "$queue")" 'one two'
	assert_equal "$(find "$QSPOOL/$queue" -type d ! -perm 2770)" ''
	assert_equal "$(find "$QSPOOL/$queue" -type f ! -perm 660)" ''
	assert_equal "$(find "$QSPOOL/$queue" ! -group "$GROUP")" ''
}

@test "each sends to the queue that the other made" {
	for_all_umasks makes_a_queue_for_the_other
}

recovers_for_the_other() {
	local id
	id=$(as_user "$1" "$2" qsend -q lost <<<payload)
	start as_user "$1" "$2" qwork -q lost -- sh -c 'exec sleep 300' </dev/null
	wait_for 20 job_is "$id" cur lost
	kill -KILL "$started"
	work_as "$3" "$4" -q lost -b 1ms -- sh -c 'echo "$QJOB_ATTEMPT"'
	assert_success
	assert_output 2
	assert_spool_empty lost
}

@test "each recovers the jobs of the other's lost worker" {
	for_all_umasks recovers_for_the_other
}

@test "a handler that the group can write is refused with a message" {
	as_user "$ANNA" 022 qsend <<<payload
	script "$QSPOOL/default/handler" <<<'echo run'
	chown "$ANNA:$GROUP" "$QSPOOL/default/handler"
	chmod 0775 "$QSPOOL/default/handler"
	work_as "$ANNA" 022
	assert_failure 78
	assert_output ''
	assert_regex "$stderr" "^qwork: .*$QSPOOL/default/handler"
	chmod 0755 "$QSPOOL/default/handler"
	work_as "$ANNA" 022
	assert_success
	assert_output run
}

@test "a handler that belongs to the other is refused with a message" {
	as_user "$ANNA" 022 qsend <<<payload
	script "$QSPOOL/default/handler" <<<'echo run'
	chown "$BERT:$GROUP" "$QSPOOL/default/handler"
	work_as "$ANNA" 022
	assert_failure 78
	assert_output ''
	assert_regex "$stderr" "^qwork: .*$QSPOOL/default/handler"
	assert_equal "$(job_count new)" 1
}

@test "root's handler is obeyed by both" {
	as_user "$ANNA" 022 qsend <<<payload
	script "$QSPOOL/default/handler" <<<'echo run'
	chmod 0755 "$QSPOOL/default/handler"
	work_as "$BERT" 022
	assert_success
	assert_output run
}

@test "settings that the group can write, or that belong to the other, are refused with a message" {
	as_user "$ANNA" 022 qsend <<<payload
	echo 'attempts 3' >"$QSPOOL/default/settings"
	chmod 0664 "$QSPOOL/default/settings"
	chown "$ANNA:$GROUP" "$QSPOOL/default/settings"
	work_as "$ANNA" 022 -b 1ms -- sh -c 'echo "$QJOB_ATTEMPTS"'
	assert_success
	assert_output 10
	assert_regex "$stderr" settings
	as_user "$ANNA" 022 qsend <<<payload
	chmod 0644 "$QSPOOL/default/settings"
	chown "$BERT:$GROUP" "$QSPOOL/default/settings"
	work_as "$ANNA" 022 -- sh -c 'echo "$QJOB_ATTEMPTS"'
	assert_output 10
	assert_regex "$stderr" settings
	as_user "$ANNA" 022 qsend <<<payload
	chown "$ANNA:$GROUP" "$QSPOOL/default/settings"
	work_as "$ANNA" 022 -- sh -c 'echo "$QJOB_ATTEMPTS"'
	assert_output 3
}

@test "the environment that the other's job brings is limited to language and time zone" {
	as_user "$ANNA" 022 qsend -e LD_PRELOAD=/evil.so -e PATH=/evil -e LANG=xx -e LC_TIME=yy -e TZ=Asia/Tokyo <<<payload
	work_as "$BERT" 022 -- sh -c 'echo "${LD_PRELOAD-none} $LANG $LC_TIME $TZ"; case $PATH in /evil) echo evil; esac'
	assert_success
	assert_output 'none xx yy Asia/Tokyo'
	as_user "$ANNA" 022 qsend -e OWN=value <<<payload
	work_as "$ANNA" 022 -- sh -c 'echo "$OWN"'
	assert_output value
}

@test 'somebody of another group gets exit 77 from every tool' {
	id=$(as_user "$ANNA" 022 qsend <<<payload)
	for tool in qsend 'qwork --drain -- true' "qbury $id" "qkick $id" "qdel $id" "qcat $id" qstat qfsck 'qpause default'; do
		# shellcheck disable=SC2086
		run_tool setpriv --reuid=65534 --regid=65534 --clear-groups timeout 20 $tool </dev/null
		assert_equal "$tool -> $status" "$tool -> 77"
		assert_output ''
	done
	assert_job "$id" new
}

@test "--kill cannot end the other's handler, and says so" {
	id=$(as_user "$ANNA" 022 qsend <<<payload)
	start as_user "$ANNA" 022 qwork -- sh -c 'exec sleep 300' </dev/null
	wait_for 20 job_is "$id" cur
	run_tool as_user "$BERT" 022 timeout 60 qdel --kill "$id"
	assert_failure 77
	assert_job "$id" cur
}

@test 'a foreign file of either is a job for the other' {
	as_user "$ANNA" 022 qsend -q default <<<first
	as_user "$BERT" 022 sh -c 'echo dropped >"$QSPOOL/default/tmp/f" && chmod 660 "$QSPOOL/default/tmp/f" && mv "$QSPOOL/default/tmp/f" "$QSPOOL/default/new/f"'
	work_as "$ANNA" 022 -- cat
	assert_success
	assert_output $'first\ndropped'
	assert_spool_empty
}
