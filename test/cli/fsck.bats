#!/usr/bin/env bats
# qfsck: a sound spool is sound, each fault is named, what qwork mends is pending, and nothing
# in motion is a fault. --repair loses no job.

load helper
load fsck

setup() {
	common_setup
	queue=$QSPOOL/default
	export finding_path='[.dir, .file]' # one queue is enough here
}

@test 'qfsck: common options' {
	assert_common_options qfsck
	assert_usage qfsck argument
	assert_usage qfsck -q default argument
}

@test 'no spool and no queue' {
	run_tool qfsck
	assert_failure 66
	send x
	run_tool qfsck -q nowhere
	assert_failure 66
	assert_regex "$stderr" nowhere
	run_tool qfsck -q default -q nowhere
	assert_failure 66
}

@test 'a sound spool, all queues and those that are named' {
	send x
	send x -A 3 -q other
	send x --delay 1h -q third
	send x --no-sync
	: >"$queue/paused"
	echo 'attempts 3' >"$queue/settings"
	run_tool qfsck
	assert_success
	assert_output ''
	run_tool qfsck -v
	assert_output '4 jobs, 0 faults, 0 pending, 0 repaired'
	run_tool qfsck -q other -q third -q other --json
	assert_output '{"class":"summary","jobs":2,"faults":0,"pending":0,"repaired":0}'
}

@test 'jobs that ran, failed, were buried and kicked leave a sound spool' {
	for i in {1..5}; do send "$i"; send "$i" -A 2; done
	drain_all -A 2 -b 1ms -- false
	qkick -n 5 -q default
	run_tool qfsck -v
	assert_success
	assert_output '10 jobs, 0 faults, 0 pending, 0 repaired'
}

@test 'a job whose options are missing or damaged: --repair buries it' {
	id=$(send x -A 3)
	damaged=$(send y -A 3)
	rm "$queue/meta/$id"
	echo more >>"$queue/meta/$damaged"
	assert_findings 1 "fault options new/50.$id.0,m" "fault options new/50.$damaged.0,m"
	repair 0
	assert_equal "$left" 'note options note options'
	assert_job "$id" buried
	assert_file_contains "$queue/log/$id" 'set aside by=[0-9]* reason="its options are missing"'
	assert_file_contains "$queue/log/$damaged" 'its options are damaged'
}

@test 'a job without the mark of its options does not run without them once it is repaired' {
	id=$(send x -A 3)
	mv "$queue/new/50.$id.0,m" "$queue/new/50.$id.0"
	assert_findings 1 "fault options new/50.$id.0"
	repair 0
	assert_equal "$left" ''
	assert_exists "$queue/buried/50.$id.0,l,m"
}

@test 'what was sent without sync may be torn: pending, in buried/ where it belongs' {
	id=$(send payload --no-sync -A 3)
	name=$(basename "$(sole_job new)")
	truncate -s 3 "$queue/new/$name"
	rm "$queue/meta/$id"
	assert_findings 0 "pending torn new/$name" "pending options new/$name"
	mv "$queue/new/$name" "$queue/cur/$name"
	assert_findings 0 "pending torn cur/$name" "pending options cur/$name" "pending lost cur/$name"
	mv "$queue/cur/$name" "$queue/buried/$name"
	assert_findings 0 "note options buried/$name"
}

@test 'two files of one id: the copy gets a life of its own' {
	id=$(send first -H 'A: b')
	cp "$queue/new/50.$id.0,m" "$queue/buried/50.$id.2,m"
	echo second >"$queue/buried/50.$id.2,m"
	assert_findings 1 "fault double buried/50.$id.2,m"
	repair 0
	assert_equal "$left" ''
	assert_job "$id" new
	refute [ -e "$queue/buried/50.$id.2,m" ]
	assert_equal "$(payloads buried)" second
	assert_file_contains "$queue/log/"* "has the id of new/50.$id.0,m"
	qkick -q default --all
	drain -- sh -c 'echo "$(cat) $QJOB_HEADER_A"'
	assert_equal "$(sort <<<"$output")" $'first b\nsecond b'
}

@test 'two files of one id, one of which runs: the other is set aside' {
	start_running first
	cp "$queue/cur/50.$id.1" "$queue/new/50.$id.0"
	touch -d '1 hour ago' "$queue/new/50.$id.0"
	: >"$queue/paused"
	assert_findings 1 "fault double new/50.$id.0"
	repair 0
	assert_equal "$left" ''
	jobs_are 1 buried
	jobs_are 1 cur
}

@test 'a job counts once, whatever is done to it, and however many names it has' {
	id=$(send one -A 3)
	rm "$queue/meta/$id"
	twin=$(send two)
	ln "$queue/new/50.$twin.0" "$queue/cur/50.$twin.1"
	echo three >"$queue/new/three"
	echo draft >"$queue/tmp/$(forged_id 0)"
	for option in -v --repair -v; do
		run_tool qfsck -v "$option"
		assert_line --partial '3 jobs, '
	done
}

@test 'a job that was copied to another queue' {
	id=$(send x)
	send y -q other
	cp "$queue/new/50.$id.0" "$QSPOOL/other/new/"
	run_tool qfsck
	assert_failure 1
	assert_output "fault double other/new/50.$id.0: has the id of default/new/50.$id.0"
	repair 0
	assert_equal "$left" ''
	jobs_are 1 buried other
	assert_job "$id" new
}

@test 'files in no valid state become jobs in buried/ that keep their names' {
	send x
	echo one >"$queue/cur/one"
	echo two >"$queue/buried/two"$'\033[31m'
	echo three >"$queue/delay/three"
	id=$(send four)
	mv "$queue/new/50.$id.0" "$queue/delay/"
	run_tool qfsck
	assert_failure 1
	assert_equal "$(grep -c '^fault name default/' <<<"$output")" 4
	repair 0
	assert_equal "$left" ''
	assert_job "$id" buried
	assert_equal "$(payloads buried | tr ' ' '\n' | sort | xargs)" 'four one three two'
	qkick -q default --all
	drain -- sh -c 'printf "%s=%s\n" "$QJOB_NAME" "$(cat)"'
	assert_line 'one=one'
	assert_line 'three=three'
	assert_line --partial '=two'
}

@test 'what is no regular file is told of, never followed, opened or removed' {
	send x
	echo secret >"$test_dir/secret"
	for state in "${STATES[@]}"; do
		ln -s "$test_dir/secret" "$queue/$state/link"
		mkfifo "$queue/$state/fifo"
		mkdir "$queue/$state/directory"
	done
	ln -s "$test_dir/secret" "$queue/new/50.$(forged_id 1).0"
	before=$(cd "$queue" && find . -printf '%p %y %m %l\n' | sort)
	findings
	assert_equal "$(cut -d ' ' -f 1,2 <<<"$found" | sort | uniq -c | xargs)" '22 fault strange'
	repair 1
	assert_equal "$(sort <<<"$left" | tr ' ' '\n' | sort | uniq -c | xargs)" '22 fault 22 strange'
	assert_equal "$(cd "$queue" && find . -printf '%p %y %m %l\n' | sort)" "$before"
	assert_equal "$(cat "$test_dir/secret")" secret
}

@test 'leftovers and orphans are pending, and a qwork removes just those' {
	id=$(send x -A 3)
	orphan=$(forged_id 9999)
	echo draft >"$queue/tmp/$(forged_id 9000)"
	echo young >"$queue/tmp/young"
	cp "$queue/meta/$id" "$queue/meta/$orphan"
	echo line >"$queue/log/$orphan"
	mkdir -p "$QSPOOL/.draft-new-1/new"
	old "$queue"/tmp/[0-9]* "$queue/meta/$orphan" "$queue/log/$orphan" "$QSPOOL/.draft-new-1"
	findings
	assert_equal "$status" 0
	assert_equal "$(cut -d ' ' -f 1,2 <<<"$found" | uniq -c | xargs)" '2 pending leftover 2 pending orphan'
	drain -- cat
	assert_output x
	assert_findings 0
	assert_exists "$queue/tmp/young"
	assert_not_exists "$QSPOOL/.draft-new-1"
}

@test 'a living sender is no leftover' {
	mkfifo "$test_dir/fifo"
	exec 7<>"$test_dir/fifo"
	start qsend <&7 >"$test_dir/id"
	echo x >&7
	wait_for 20 jobs_are 1 tmp
	old "$queue"/tmp/*
	assert_findings 0
	exec 7>&-
}

@test 'a running job is sound, one that lost its worker is pending' {
	start_running x
	assert_findings 0
	kill -KILL "$qwork" "$handler" # first who would settle the job
	wait_for 20 gone "$qwork"
	# What the handler had started ends a little later.
	wait_for 20 flock -n "$QSPOOL/default/cur/50.$id.1" true
	assert_findings 0 "pending lost cur/50.$id.1"
}

@test 'the mode of a job is that of its spool' {
	need_root
	send x && send y -A 3
	chmod 2770 "$QSPOOL"
	findings
	assert_equal "$status" 1
	# Seven directories, two jobs and the options of one.
	assert_equal "$(cut -d ' ' -f 1,2 <<<"$found" | sort | uniq -c | xargs)" '7 fault directory 3 fault mode'
	repair 0
	assert_equal "$left" ''
	assert_equal "$(stat -c %a "$queue"/new "$queue"/new/* "$queue"/meta/* | xargs)" '2770 660 660 640'
	chgrp 12345 "$queue"/new/*,m
	assert_findings 1 "fault mode new/$(basename "$queue"/new/*,m)"
	repair 1
}

@test 'a file that has other names keeps its mode: it may belong to somebody' {
	echo secret >"$test_dir/secret"
	chmod 0400 "$test_dir/secret"
	id=$(send x)
	ln "$test_dir/secret" "$queue/new/planted"
	repair 1
	assert_equal "$(stat -c %a "$test_dir/secret")" 400
}

@test 'directories: missing ones are made by who works, others are faults' {
	send x
	rmdir "$queue/delay" "$queue/log"
	echo file >"$queue/log"
	run_tool qfsck -v
	assert_failure 1
	assert_line 'pending directory default/delay: is missing; a qsend or qwork makes it'
	assert_line 'fault directory default/log: is no directory'
	rm "$queue/log"
	send y
	assert_findings 0
}

@test 'a directory on another mount' {
	need_mounts
	send x
	run_tool unshare -m sh -c 'mount --bind "$0" "$0" && qfsck' "$queue/delay"
	assert_failure 1
	assert_output 'fault directory default/delay: is on another mount'
}

@test 'a directory that cannot be read is an error, and the rest is checked' {
	need_command setpriv
	send x
	echo foreign >"$queue/cur/foreign"
	chmod 0 "$queue/new"
	run_tool powerless qfsck
	chmod 0700 "$queue/new"
	assert_failure 77
	assert_regex "$stderr" 'default/new: Permission denied'
	assert_line 'fault name default/cur/foreign: not the name of a job'
}

@test 'what lies beside the directories: a job is misplaced, the rest is a note' {
	id=$(send x)
	mkdir "$QSPOOL/lost+found" "$QSPOOL/empty"
	echo text >"$queue/README"
	echo text >"$queue/handler"
	mv "$queue/new/50.$id.0" "$queue"
	: >"$QSPOOL/50.$id.0"
	run_tool qfsck
	assert_failure 1
	assert_output "fault misplaced 50.$id.0: a job's name, where nobody looks for one
fault misplaced default/50.$id.0: a job's name, where nobody looks for one"
	run_tool qfsck -v
	assert_equal "$(grep -c '^note unknown' <<<"$output")" 3
}

@test 'a handler or settings that no qwork would obey, since they are no files' {
	send x
	mkdir "$queue/paused"
	ln -s /bin/cat "$queue/handler"
	mkdir "$queue/settings"
	run_tool qfsck
	assert_failure 1
	assert_output $'fault strange default/handler: symbolic link\nfault strange default/settings: directory'
}

@test 'hooks that no qwork would call, and a handler that none would run' {
	send x
	echo text >"$queue/handler"
	mkdir -p "$QSPOOL/.hooks/failed"
	ln -s /bin/cat "$QSPOOL/.hooks/buried"
	echo text >"$QSPOOL/.hooks/finished"
	install -m 0755 /dev/null "$QSPOOL/.hooks/breaker"
	install -m 0775 /dev/null "$QSPOOL/.hooks/drained"
	echo text >"$QSPOOL/.hooks/webhook.conf"
	run_tool qfsck -v
	assert_failure 1
	assert_equal "$(sort <<<"$output")" "$(sort <<-'END'
		fault strange .hooks/buried: symbolic link
		fault strange .hooks/failed: directory
		note refused .hooks/drained: others can write it; no qwork obeys it
		note refused .hooks/finished: is not executable
		note refused default/handler: is not executable
		1 jobs, 2 faults, 0 pending, 0 repaired
	END
	)"
	rm -r "$QSPOOL/.hooks"
	: >"$QSPOOL/.hooks"
	run_tool qfsck
	assert_failure 1
	assert_output 'fault directory .hooks: is no directory'
}

@test 'names with control bytes, quotes and bytes that are no UTF-8 reach nobody raw' {
	send x
	for name in $'\033]0;title\007' $'new\nfault name' $'\xff\xfe' 'quote"back\slash' $'tab\t'; do
		echo file >"$queue/buried/$name"
		echo file >"$queue/$name"
	done
	run_tool qfsck -v
	refute_control_bytes <<<"$output"
	assert_equal "$(grep -c '^fault name ' <<<"$output")" 5
	assert_equal "$(grep -c '^note unknown ' <<<"$output")" 5
	findings
	refute_control_bytes <<<"$output"
	assert_equal "$(jq -r 'select(.file == "quote\"back\\slash") | .class' <<<"$output" | sort | xargs)" 'fault note'
}

@test 'qfsck changes nothing without --repair' {
	send x -A 3
	id=$(send y)
	ln "$queue/new/50.$id.0" "$queue/cur/50.$id.1"
	echo file >"$queue/cur/file"
	truncate -s 0 "$queue"/meta/*
	look() { cd "$QSPOOL" && find . -printf '%p %i %m %s %n %T@ %C@\n' | sort; }
	before=$(look)
	run_tool qfsck -v
	assert_equal "$(look)" "$before"
}

@test '--repair that is killed at any change loses nothing' {
	need_strace
	for call in renameat2 fsync openat write; do
		for k in 1 2 3 4 5; do
			spool=$test_dir/$call.$k
			QSPOOL=$spool qsend -A 3 <<<options
			rm "$spool"/default/meta/*
			echo foreign >"$spool/default/delay/foreign"
			QSPOOL=$spool strace -f -o /dev/null -e "trace=$call" -P "$spool/default/log" -P "$spool/default/meta" \
				-P "$spool/default/buried" -P "$spool/default/new" -P "$spool/default/delay" \
				-e "inject=$call:signal=KILL:when=$k" qfsck --repair || true
			assert_equal "$call $k: $(cat "$spool"/default/{new,delay,buried}/* | sort | xargs)" \
				"$call $k: foreign options"
			QSPOOL=$spool qfsck --repair
			assert_equal "$call $k: $(cat "$spool"/default/buried/* | sort | xargs)" "$call $k: foreign options"
		done
	done
}

@test 'at a terminal a large spool shows how far it is' {
	need_strace
	env script --version >/dev/null || skip 'needs script'
	seq 10000 | qsend --lines >"$test_dir/ids"
	run_tool env script -qec 'strace -o /dev/null -e trace=newfstatat -e inject=newfstatat:delay_exit=50 qfsck' /dev/null </dev/null
	assert_success
	assert_output --partial 'qfsck: default: 4096'
	run_tool qfsck
	assert_equal "$stderr$output" ''
}

@test 'beside senders, workers and operators nothing in motion is a fault' {
	send first
	keep sh -c 'seq 40 | qsend --lines -A 3 -b 10ms' &
	keep sh -c 'seq 40 | qsend --lines --no-sync' &
	keep sh -c 'seq 3 | qsend -q other' &
	keep qwork --drain=all -j 4 -b 5ms..20ms -- sh -c 'read x; case $x in *3) exit 1 ;; *7) exit 65 ;; esac' &
	keep qwork --drain -j 2 -b 5ms -- true &
	keep qwork --drain -q other -- true &
	keep qbury -n 3 -q default &
	keep qkick --all --delayed -q default &
	keep qdel -n 2 -q default --state buried &
	assert_sound_meanwhile
}
