#!/usr/bin/env bats
# What fails or ends in the midst of a change: the tool tells the truth, and nothing is lost.
# This is the short part of the sweep; `make faults` makes all of it.

load ../cli/helper

faults() { timeout -k 10 500 python3 -B "$BATS_TEST_DIRNAME/faults.py" --tools "$QSPOOL_BIN" "$@"; }
# hooked FAULT TOOL [ARG...]: runs that tool with that fault.
hooked() {
	QSPOOL_FAULT=$1 run_tool timeout -k 10 60 "$QSPOOL_BIN/../test/crash/tools/$2" "${@:3}"
}

@test 'each call of some scenarios fails, and is the last one' {
	need_command python3
	run_tool faults --short
	assert_success
	assert_line --regexp '^faults: .* 0 broken promises'
}

# broken FAULT SCENARIO: the sweep sees what this fault breaks.
broken() {
	TMPDIR=$test_dir run_tool faults --only "$2" --fault "$1"
	assert_failure 1
	assert_line --regexp "^BROKEN: $2: .*$3"
}

@test 'the sweep sees a sync that is left out' {
	need_command python3
	broken skip:fsync-file:1 'qsend of a payload' 'renamed before its content was synced'
	broken late:fsync-file:1 'qsend of a payload' 'renamed before its content was synced'
	broken skip:fsync-dir:1 'qsend of a payload' 'waits for a sync of .*/new'
	broken skip:fsync-dir:4 'qkick of a buried job' 'waits for a sync of .*/buried'
	broken skip:fsync-dir:2 'qsend with a key' 'waits for a sync of .*/.key'
	broken skip:fsync-dir:2 'qsend after a job' '/.wait waits for a sync of'
	broken skip:fsync-dir:3 'qsend after what others wait for' 'before the mark in .* was synced'
	broken skip:fsync-dir:1 'qfsck of a link' 'may come back'
	broken skip:fsync-dir:3 'qlimit makes' 'a power cut may undo it'
	broken skip:fsync-dir:2 'qlimit closes a breaker' 'a power cut may undo it'
	broken skip:fsync-file:1 'qpause for a time' 'a power cut may undo it'
	broken skip:fsync-dir:2 'qpause for a time' 'a power cut may undo it'
	broken skip:fsync-dir:1 'qpause resumes' 'a power cut may undo it'
}

@test 'the sweep sees a job that is half there, lost or left over' {
	need_command python3
	broken skip:write:1 'qsend of a payload' 'another content'
	broken skip:rename:1 'qsend of a payload' 'is not there'
	broken skip:rename:1 'qwork finishes' 'the attempts'
	broken skip:unlink:1 'qfsck of a link' 'no such job names this'
	broken ENOSPC:write:1,skip:unlink:1 'qsend of a payload' 'it leaves'
}

@test 'a job that was moved, and a sync that failed: exit 75, the job is named' {
	id=$(send x)
	hooked EIO:fsync-dir:2 qbury "$id"
	assert_failure 75
	assert_regex "$stderr" "^qbury: job $id was buried, but a power cut may undo it: .*/new: Input/output error"
	assert_job "$id" buried
	hooked EIO:fsync-dir:5 qkick "$id"
	assert_failure 75
	assert_regex "$stderr" "job $id was kicked, but a power cut may undo it: .*/new: "
	assert_job "$id" new
	hooked EIO:fsync-dir:1 qdel "$id"
	assert_failure 75
	assert_regex "$stderr" "job $id was deleted, but a power cut may undo it: .*/new: "
	assert jobs_are 0 new
}

@test 'a deleted job whose options cannot be removed: exit 74, what is left is named' {
	id=$(send x -A 3)
	hooked EIO:unlink:2 qdel "$id"
	assert_failure 74
	assert_regex "$stderr" "job $id was deleted, but this is left of it .*/meta/$id: Input/output error"
	assert jobs_are 0 new
}

@test 'a finished job whose options cannot be removed, and leftovers that cannot be: qwork says so' {
	id=$(send x -A 3)
	hooked EIO:unlink:2 qwork --drain -- true </dev/null
	assert_success
	assert_regex "$stderr" "left for the sweep.*/meta/$id"
	touch -d '2 hours ago' "$QSPOOL/default/meta/$id" "$QSPOOL/default/tmp/left"
	hooked EIO:unlink:0 qwork --drain -- true </dev/null
	assert_success
	assert_regex "$stderr" "could not be swept.*/tmp/left"
	assert_regex "$stderr" "could not be swept.*/meta/$id"
	assert_exists "$QSPOOL/default/meta/$id"
}

@test 'a ready job is started as soon as another could be moved on' {
	printf '%s\n' one two | qsend --lines
	hooked EIO:unlink:1 qwork --drain -- cat </dev/null
	assert_success
	assert_output $'one\ntwo'
}

@test 'without RENAME_NOREPLACE, and the old name stays: a job is sent with its options, or not moved at all' {
	send first
	hooked EINVAL:rename:0,EIO:unlink:1 qsend -A 3 </dev/null
	assert_success
	id=$output
	assert_job "$id" new
	assert_exists "$QSPOOL/default/meta/$id"
	hooked EINVAL:rename:0,EIO:unlink:1 qbury "$id"
	assert_failure 74
	assert_job "$id" new
	assert jobs_are 0 buried
	assert jobs_are 2 new
}

@test 'a directory or a history that does not get its mode is not left behind' {
	umask 0277 # so that there is something to set
	hooked EIO:fchmod:2 qsend </dev/null
	assert_failure 74
	assert_equal "$(ls -A "$QSPOOL")" ''
	id=$(umask 022 && send x)
	hooked EIO:fchmod:1 qbury "$id"
	assert_failure 74
	assert jobs_are 0 log
}
