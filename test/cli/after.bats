#!/usr/bin/env bats
# Dependencies: a job sent --after others runs once they are over; T16 and T17 and the rule
# OVER-FIRST of spool-layout.md. AFTER_DEPENDENTS=10000 is the full size.

load helper

: "${AFTER_DEPENDENTS:=1000}"

# waits ID FOR [QUEUE]: a condition.
waits() {
	local -a paths=("$QSPOOL/.wait/$2"/*"$1".*@"${3:-default}")
	[[ ${#paths[@]} == 1 && -e ${paths[0]} ]]
}
# But for the marks of what was deleted.
nothing_waits() { [[ $(find "$QSPOOL/.wait" -mindepth 2 ! -name .deleted 2>/dev/null | wc -l) == 0 ]]; }
say() { drain "$@" -- sh -c 'echo "$(cat)"'; }
assert_ran() { assert_success && assert_output "$(printf '%s\n' "$@")"; }

@test 'a job after another waits in .wait/, marks it, and runs when that one has finished' {
	first=$(send first)
	id=$(send second --after "$first")
	assert_exists "$QSPOOL/.wait/$first/50.$id.0,m@default"
	assert [ "$QSPOOL/.wait/$first/.job" -ef "$(sole_job new)" ]
	say
	assert_ran first second
	assert nothing_waits
	assert_spool_empty
}

@test 'it waits while that one runs, and is started in time' {
	start_running first
	first=$id
	second=$(send second --after "$first")
	assert waits "$second" "$first"
	open_gate
	wait_for 20 at_gate "$second"
	wait_for 20 spool_is_idle
	assert nothing_waits
}

@test 'it goes on also if that one is retried, and not before' {
	first=$(send first)
	second=$(send second --after "$first")
	drain -b 1h..1h -- false
	assert_job "$first" delay
	assert waits "$second" "$first"
	mv "$(job_path "$first" delay)" "$QSPOOL/default/new/50.$first.1,l"
	say
	assert_ran first second
}

@test 'across queues: the queue of the dependent gets it back' {
	first=$(send first -q one)
	id=$(send second -q two --after "$first")
	assert waits "$id" "$first" two
	say -q two
	assert_output ''
	say -q one
	assert_ran first
	assert_job "$id" new two
	say -q two
	assert_ran second
}

@test 'a chain runs in order, however it is sent' {
	id=$(send 0)
	for n in 1 2 3 4 5; do id=$(send "$n" --after "$id"); done
	say -j 4
	assert_ran 0 1 2 3 4 5
	assert nothing_waits
}

@test 'after several: it runs after the last of them, whatever their order' {
	a=$(send a -q a) b=$(send b -q b) c=$(send c -q c)
	for order in "$a $b $c" "$c $b $a" "$b $c $a $b"; do
		read -ra ids <<<"$order"
		send "$order" -q end "${ids[@]/#/--after=}" >/dev/null
	done
	for queue in b a; do
		drain -q "$queue" -- true
		say -q end
		assert_output ''
	done
	drain -q c -- true
	say -q end
	assert_equal "$(wc -l <<<"$output")" 3
	assert nothing_waits
}

@test 'after a job and a batch' {
	first=$(send first -q one)
	send member -q two --batch B
	send last --after "$first" --after B
	send last2 --after B --after "$first"
	drain -q one -- true
	assert_equal "$(job_count new)" 0
	drain -q two -- true
	assert_equal "$(job_count new)" 2
	assert nothing_waits
}

@test 'what is over already keeps nobody waiting: an id that is nowhere' {
	first=$(send first)
	drain -- true
	id=$(send second --after "$first")
	assert_job "$id" new
	id=$(send third -d 1h --after "$(forged_id 10)")
	assert_job "$id" delay
	assert nothing_waits
}

@test 'a delayed dependent keeps its time while it waits, and then goes to delay/' {
	first=$(send first)
	id=$(send second -d 1h --after "$first")
	assert_exists "$QSPOOL/.wait/$first"/*Z.50."$id".0,m@default
	drain -- true
	assert_job "$id" delay
	assert [ "$(due_in "$(job_path "$id" delay)")" -gt "$(now_ms)" ]
	qdel "$id"
	first=$(send first)
	id=$(send second -d 1ms --after "$first")
	wait_for 10 after_ms $(($(now_ms) + 5))
	say
	assert_ran first second
}

@test 'a dependency may be delayed, waiting or buried when the dependent is sent' {
	delayed=$(send delayed -d 1h)
	waiting=$(send waiting --after "$delayed")
	buried=$(send buried -p 3)
	qbury "$buried"
	id=$(send last --after "$waiting" --after "$buried")
	assert waits "$id" "$waiting"
	mv "$(job_path "$delayed" delay)" "$QSPOOL/default/new/50.$delayed.0"
	say
	assert_ran delayed waiting
	assert waits "$id" "$buried"
	qkick "$buried"
	say
	assert_ran buried last
	assert nothing_waits
}

@test 'with a key: what waits holds it, what is refused waits for nothing' {
	first=$(send first)
	id=$(send second --key k --after "$first")
	run_tool qsend --key k --after "$first" <<<third
	assert_success
	assert_output "$id"
	assert_equal "$(find "$QSPOOL/.wait/$first" -name '*@*' | wc -l)" 1
	say
	assert_ran first second
	assert_equal "$(find "$QSPOOL/.key" -type f | wc -l)" 0
}

@test 'a buried dependency keeps it waiting; kicked and finished, it goes on' {
	first=$(send first)
	id=$(send second --after "$first")
	drain -A 1 -- false
	assert_job "$first" buried
	assert waits "$id" "$first"
	drain -- true
	assert waits "$id" "$first"
	qkick "$first"
	say
	assert_ran first second
}

@test 'a deleted dependency buries it, with the reason; kicked, it runs' {
	first=$(send first)
	id=$(send second --after "$first")
	third=$(send third --after "$id")
	qdel "$first"
	assert_job "$id" buried
	assert_file_contains "$QSPOOL/default/log/$id" "job $first, which it waited for, was deleted"
	assert waits "$third" "$id"
	say
	assert_output ''
	qkick "$id"
	say
	assert_ran second third
	assert nothing_waits
}

@test 'deleted while it waits for something earlier in its list: it is buried when its turn comes' {
	first=$(send first -q one)
	second=$(send second -q two)
	id=$(send third --after "$first" --after "$second")
	qdel "$second"
	assert waits "$id" "$first"
	assert_exists "$QSPOOL/.wait/$second/.deleted"
	assert [ ! -s "$QSPOOL/.wait/$second/.deleted" ]
	drain -q one -- true
	assert_job "$id" buried
	assert_file_contains "$QSPOOL/default/log/$id" "job $second, which it waited for, was deleted"
	assert nothing_waits
	qfsck
}

@test 'a member of a batch that is waited for, deleted: what has the batch later in its list is buried, too' {
	first=$(send first -q one)
	member=$(send member -q two --batch B)
	send other -q two --batch B
	id=$(send third --after "$first" --after B)
	qdel "$member"
	drain -q one -- true
	assert waits "$id" B
	late=$(send late --after B)
	drain -q two -- true
	assert_job "$id" buried
	assert_job "$late" buried
	assert_file_contains "$QSPOOL/default/log/$id" 'a job of batch B, which it waited for, was deleted'
	assert_equal "$(cd "$QSPOOL/.batch/B" && echo deleted*)" deleted
	run_tool qsend --after B <<<x
	assert_failure 66
	assert_equal "$stderr" "$(printf 'qsend: %s\n' 'a job of batch B was deleted: nothing can run after it' 'nothing was sent')"
	qfsck
}

@test 'a member that was deleted before anything waited for its batch keeps nobody from running' {
	member=$(send member --batch B)
	send other --batch B
	qdel "$member"
	send last --after B
	say
	assert_ran other last
}

@test 'nothing can be sent after a job that others waited for, and that was deleted' {
	first=$(send first)
	send second --after "$first" >/dev/null
	qdel "$first"
	alive=$(send alive -d 1h)
	run_tool qsend --after "$alive" --after "$first" <<<third
	assert_failure 66
	assert_equal "$output" ''
	assert_equal "$stderr" "$(printf 'qsend: %s\n' "job $first was deleted: nothing can run after it" 'nothing was sent')"
	assert_equal "$(job_count new) $(job_count tmp)" '0 0'
}

# Between the mark and the end of the job qdel is killed: it lives, and ends well.
@test 'a qdel that was killed before it deleted: what waits goes on when the job has finished' {
	need_hooked
	first=$(send first -q one)
	second=$(send second -q two --batch B)
	id=$(send third --after "$first" --after "$second" --after B)
	run_tool hooked kill-before:unlink:1 qdel "$second"
	assert_equal "$status" 137
	assert_job "$second" new two
	assert_exists "$QSPOOL/.wait/$second/.deleted"
	assert_exists "$QSPOOL/.batch/B/deleted.$second"
	qfsck
	late=$(send late -p 60 --after "$second")
	drain -q one -- true
	assert waits "$id" "$second"
	drain -q two -- true
	say
	assert_ran third late
	assert nothing_waits
	assert_equal "$(cd "$QSPOOL/.batch/B" && echo deleted*)" 'deleted*'
}

@test 'a qdel that was killed once it had deleted: what waits is buried' {
	need_hooked
	first=$(send first -q one)
	second=$(send second -q two --batch B)
	id=$(send third --after "$first" --after "$second")
	batch=$(send fourth --after "$first" --after B)
	run_tool hooked kill-after:unlink:1 qdel "$second"
	assert_equal "$status $(job_count new two)" '137 0'
	drain -q one -- true
	drain -q two -- true
	assert_job "$id" buried
	assert_job "$batch" buried
	say
	assert_ran
}

@test 'one that comes to wait while qdel deletes is buried' {
	first=$(send first)
	send second --after "$first" >/dev/null
	start_stopped unlink:1 qdel "$first"
	id=$(send third --after "$first")
	third=$(send fourth -d 1h -q one)
	merge=$(send merge --after "$third" --after "$first")
	assert waits "$id" "$first"
	go_on
	assert_equal "$status" 0
	assert_job "$id" buried
	mv "$(job_path "$third" delay one)" "$QSPOOL/one/new/50.$third.0"
	drain -q one -- true
	assert_job "$merge" buried
	assert nothing_waits
}

@test 'the marks of what was deleted go after a week, once nothing waits' {
	first=$(send first)
	send second --after "$first" --batch B >/dev/null
	send third --after B >/dev/null
	other=$(send other -d 1h)
	waiting=$(send waiting --after "$other")
	qdel "$first"
	qdel -q default --state buried
	assert_exists "$QSPOOL/.batch/B/deleted"
	drain -- true
	touch -d '8 days ago' "$QSPOOL/.wait/$first" "$QSPOOL/.batch/B"
	drain -- true
	assert_exists "$QSPOOL/.wait/$first/.deleted"
	assert_exists "$QSPOOL/.batch/B/deleted"
	qdel "$waiting"
	drain -- true
	assert_not_exists "$QSPOOL/.wait/$first"
	assert_not_exists "$QSPOOL/.batch/B"
}

@test 'what waits for what was deleted: qfsck and qstat say what becomes of it' {
	first=$(send first --batch B)
	second=$(send second --after "$first")
	third=$(send third --after B)
	touch "$QSPOOL/.wait/$first/.deleted" "$QSPOOL/.batch/B/deleted" # as by a qdel that died
	rm "$(job_path "$first" new)" "$QSPOOL/.batch/B/sealed/"*
	run_tool qfsck --json
	assert_output --partial 'what is waited for here was deleted; a qwork buries what waits'
	run_tool qstat --why "$second"
	assert_output --partial "it waited for job $first, which was deleted: a qwork buries it"
	run_tool qstat --why "$third"
	assert_output --partial 'it waited for batch B, of which a job was deleted: a qwork buries it'
	say
	assert_output ''
	assert_job "$second" buried
	assert_job "$third" buried
}

@test 'many that a qwork buries, each of them synced, keep no other job waiting' {
	need_hooked
	first=$(send first)
	second=$(send second)
	seq 150 | qsend --lines --no-sync --after "$first" --after "$second" >/dev/null
	qdel "$second"
	last=$(send last)
	QSPOOL_FAULT_LOG=$test_dir/calls "$QSPOOL_BIN/../test/crash/tools/qwork" --drain -- true 2>/dev/null
	jobs_are 150 buried
	before=$(sed "/\\/cur\\/.*$last/q" "$test_dir/calls" | grep -c 'rename.*/buried/') || :
	((before < 50)) || fail "$before were buried before the next job was started"
}

@test 'a deleted dependency buries what waits in other queues, and with it all of many' {
	first=$(send first)
	for queue in a b; do seq 20 | qsend -q "$queue" --lines --after "$first" >/dev/null; done
	qdel "$first"
	assert_equal "$(job_count buried a) $(job_count buried b)" '20 20'
	assert nothing_waits
}

@test 'a buried dependency that is deleted buries it' {
	first=$(send first)
	id=$(send second --after "$first")
	qbury "$first"
	qdel "$first"
	assert_job "$id" buried
}

@test 'a dependency removed with rm is over: the next scan finds out' {
	first=$(send first)
	id=$(send second --after "$first")
	rm "$(job_path "$first" new)"
	say
	assert_ran second
	first=$(send first -A 3 --key k --batch B)
	send second --after "$first"
	rm "$(job_path "$first" new)"
	say
	assert_ran second
	assert nothing_waits
}

@test 'a mark removed by hand lets it go, and a directory with all in it is gone' {
	first=$(send first -d 1h)
	send second --after "$first" --after "$first"
	rm "$QSPOOL/.wait/$first/.job"
	say
	assert_ran second
	send third --after "$first"
	rm -r "$QSPOOL/.wait/$first"
	say
	assert_success
	assert_job "$first" delay
}

@test 'one that waits is run now by qkick or mv, is deleted and buried' {
	first=$(send first -d 1h)
	kicked=$(send kicked --after "$first")
	moved=$(send moved -d 1h --after "$first")
	deleted=$(send deleted --after "$first")
	buried=$(send buried --after "$first")
	qkick "$kicked"
	path=$(echo "$QSPOOL/.wait/$first"/*"$moved"*)
	mv "$path" "$QSPOOL/default/new/50.$moved.0,m"
	qdel "$deleted"
	qbury "$buried"
	say
	assert_ran kicked moved
	assert_job "$buried" buried
	qkick "$buried"
	say
	assert_ran buried
	qdel "$first"
	assert nothing_waits
	assert_spool_empty
}

@test 'those that wait are among all that qdel and qbury take' {
	first=$(send first -d 1h)
	second=$(send second --after "$first")
	qdel -q default --state waiting
	refute waits "$second" "$first"
	send third --after "$first"
	qbury -q default --all
	assert_equal "$(job_count buried)" 2
	fourth=$(send fourth --after "$first")
	qdel -q default --all
	assert_spool_empty
	run_tool qdel "$fourth"
	assert_failure 66
}

@test 'options and history of what waits are kept, also by a sweep' {
	first=$(send first -d 1h)
	id=$(send second -H 'Kind: x' --after "$first")
	touch -d '1 day ago' "$QSPOOL/default/meta/$id"
	drain -- true
	assert_exists "$QSPOOL/default/meta/$id"
	qdel "$first"
	assert_job "$id" buried
}

@test 'a dependent that lost its options is let go, and buried for that' {
	first=$(send first)
	id=$(send second --after "$first")
	rm "$QSPOOL/default/meta/$id"
	drain -- true
	assert_job "$id" buried
	assert nothing_waits
}

@test 'one whose queue was removed keeps no other waiting' {
	first=$(send first)
	seq 300 | qsend -q doomed --lines --after "$first" >/dev/null
	id=$(send second --after "$first")
	rm -r "$QSPOOL/doomed"
	say
	assert_ran first second
}

# What qwork did between the end of a job and the release of what waits for it is cut at each
# of its calls; the next qwork finishes it.
@test 'qwork killed between the end of a job and the release of what waits: the next one does it' {
	need_hooked
	for ((k = 1; k <= 40; k++)); do
		QSPOOL=$test_dir/spool.$k
		first=$(send first --batch B)
		second=$(send second --after "$first")
		third=$(send third -q other --after B --after "$second")
		QSPOOL_FAULT=kill-before:any:$k run_tool timeout 60 \
			"$QSPOOL_BIN/../test/crash/tools/qwork" --drain -- true </dev/null
		[[ $status == 0 ]] && break
		drain -b 1ms..1ms -- true
		wait_for 20 spool_is_drained
		assert_equal "$k $(job_count new other)" "$k 1"
		drain -q other -- true
		assert nothing_waits
		assert_spool_empty
		assert_spool_empty other
	done
	assert [ "$k" -gt 8 ]
	assert_equal "$status" 0
}
spool_is_drained() { drain_all -b 1ms..1ms -- true && spool_is_idle && nothing_waits; }

@test 'a sender that was stopped before it looks again finds that all is over' {
	first=$(send first)
	start_stopped rename:1 qsend --after "$first" <<<second
	drain -- true
	assert_equal "$(job_count new)" 0
	go_on
	assert_equal "$status" 0
	assert_job "$(cat "$test_dir/stopped")" new
	assert nothing_waits
}

@test 'a sender that was killed after it sent: the next qwork lets the job go on' {
	need_hooked
	first=$(send first)
	start_stopped rename:1 qsend --after "$first" <<<second
	drain -- true
	kill -CONT "$stopped"
	exit_status 60 "$started"
	first=$(send first)
	QSPOOL_FAULT=kill-after:rename:1 run_tool "$QSPOOL_BIN/../test/crash/tools/qsend" --after "$first" <<<third
	assert_equal "$status" 137
	say
	assert_ran second first third
	assert nothing_waits
}

@test 'a mark that is being made is not taken for the last of what is over' {
	first=$(send first -d 1h)
	start_stopped link:1 qsend --after "$first" <<<second
	assert_dir_exists "$QSPOOL/.wait/$first"
	drain -- true
	go_on
	assert_equal "$status" 0
	id=$(cat "$test_dir/stopped")
	assert waits "$id" "$first"
	drain -- true
	assert waits "$id" "$first"
}

@test 'many dependents: none before, each once, after the one they wait for' {
	first=$(send first -q first)
	seq "$AFTER_DEPENDENTS" | qsend --lines --no-sync --after "$first" >/dev/null
	start_qwork -j 2 -- sh -c 'echo "$(cat)"' # cat(1) alone may overwrite what another one wrote
	wait_for 20 watches "$qwork"
	assert_equal "$(job_count new) $(wc -l <"$qwork_out")" '0 0'
	drain -q first -- true
	wait_for 300 lines_are "$AFTER_DEPENDENTS" "$qwork_out"
	wait_for 60 spool_is_idle
	assert_equal "$(sort -n "$qwork_out")" "$(seq "$AFTER_DEPENDENTS")"
	assert nothing_waits
	assert_spool_empty
}

@test 'what waits for a job of which a power cut left only links goes on' {
	lost=$(send lost --batch B --key K)
	send next$'\n' --after "$lost"
	rm "$QSPOOL/default/new/"*"$lost"* "$QSPOOL/default/meta/$lost"
	drain -- cat
	drain -- cat
	assert_equal "$(cat "$QSPOOL"/default/new/* 2>/dev/null)" ''
	assert [ ! -e "$QSPOOL/.wait/$lost" ]
	send again --key K >"$BATS_TEST_TMPDIR/id"
	refute [ "$(cat "$BATS_TEST_TMPDIR/id")" = "$lost" ]
}

@test 'a job whose deletion left what cannot be removed waits by itself, and keeps no other waiting' {
	first=$(echo first | qsend -p 1)
	echo second | qsend --after "$first"
	echo other | qsend
	mkdir "$QSPOOL/.wait/$first/.deleted"
	start_qwork -- cat
	wait_for 60 grep -qx other "$qwork_out"
	rmdir "$QSPOOL/.wait/$first/.deleted"
	wait_for 60 grep -qx second "$qwork_out"
	assert_equal "$(cat "$qwork_out")" $'other\nfirst\nsecond'
}
