#!/usr/bin/env bats
# Batches: what waits for one runs once all of its members are over; rule SEAL of
# spool-layout.md. BATCH_MEMBERS=100000 is the full size.

load helper

: "${BATCH_MEMBERS:=3000}"

# members BATCH: how many are outstanding.
members() { find "$QSPOOL/.batch/$1/open" "$QSPOOL/.batch/$1/sealed" -type f 2>/dev/null | wc -l; }
# state BATCH: open, sealed, complete or unknown.
state() {
	local dir=$QSPOOL/.batch/$1
	if [[ -d $dir/open ]]; then
		echo open
	elif [[ -d $dir/sealed ]]; then
		echo sealed
	elif [[ -d $dir ]]; then
		echo complete
	else
		echo unknown
	fi
}
state_is() { [[ $(state "$1") == "$2" ]]; }
# in_an_hour [SECONDS]: a qwork that takes the time for an hour and more later, or for so much, and runs
# what there is to run.
in_an_hour() {
	need_command cc
	cc -O1 -shared -fPIC -o "$test_dir/clock.so" "$BATS_TEST_DIRNAME/clock.c"
	echo "${1:-4000}000" >"$test_dir/clock"
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0 LD_PRELOAD=$test_dir/clock.so \
		FAKE_CLOCK=$test_dir/clock run_tool timeout 60 qwork --drain -- true </dev/null
	assert_success
}
# waiting NAME: how many jobs wait for it.
waiting() { find "$QSPOOL/.wait/$1" -name '*@*' 2>/dev/null | wc -l; }
nothing_waits() { [[ $(find "$QSPOOL/.wait" -mindepth 1 2>/dev/null | wc -l) == 0 ]]; }

assert_refused() { # PATTERN ARG...
	local before
	before=$(find "$QSPOOL" -type f | wc -l)
	run_tool qsend "${@:2}" <<<x
	assert_failure
	assert_output ''
	assert_regex "$stderr" "$1"
	assert_equal "$(find "$QSPOOL" -type f | wc -l)" "$before"
}

@test 'a member is linked in its batch, which keeps the name as it was given' {
	id=$(send x --batch nightly/1)
	assert_equal "$(cat "$QSPOOL/.batch/nightly%2f1/name")" nightly/1
	assert [ "$QSPOOL/.batch/nightly%2f1/open/$id@default" -ef "$(sole_job new)" ]
	assert_equal "$(job_count tmp)" 0
}

@test 'members may come from several sends and queues, as long as nothing waits for it' {
	send a --batch B
	send b -q other --batch B -d 1h
	printf '%s\n' 1 2 3 | qsend --lines --batch B
	assert_equal "$(members B) $(state B)" '5 open'
	drain -- true
	assert_equal "$(members B) $(state B)" '1 open'
}

@test 'the first dependent seals it: nobody can join, which is told, exit 65' {
	send a --batch B
	id=$(send merge --after B)
	assert_equal "$(state B) $(members B) $(waiting B)" 'sealed 1 1'
	assert_exists "$QSPOOL/.wait/B/50.$id.0,m@default"
	assert_refused 'batch B is sealed' --batch B
	assert_refused 'batch B is sealed' --lines --batch B
	send merge2 --after B
	assert_equal "$(waiting B)" 2
}

@test 'what waits for it runs once, after the last member, and then the batch is complete' {
	seq 5 | qsend --lines --batch B
	send merge --after B
	drain -j 3 -- sh -c 'echo "$(cat)"'
	assert_success
	assert_equal "$(tail -n 1 <<<"$output")" merge
	assert_equal "$(wc -l <<<"$output")" 6
	assert_equal "$(state B)" complete
	assert nothing_waits
	assert_refused 'batch B is sealed' --batch B
}

@test 'a later --after on a complete batch is satisfied at once' {
	send a --batch B
	send merge --after B
	drain -- true
	id=$(send later --after B)
	assert_job "$id" new
	id=$(send later -d 1h --after B)
	assert_job "$id" delay
	assert nothing_waits
}

@test 'a batch that all members left before anybody waited: satisfied at once' {
	send a --batch B
	drain -- true
	assert_equal "$(state B)" open
	id=$(send merge --after B)
	assert_job "$id" new
	assert_equal "$(state B)" complete
}

@test 'a batch that was never begun is refused, exit 66' {
	send a
	run_tool qsend --after nowhere <<<x
	assert_failure 66
	assert_regex "$stderr" 'batch nowhere was never begun'
	assert_refused 'batch nowhere was never begun' --after nowhere
	assert_refused 'batch nowhere was never begun' --after "$(send y)" --after nowhere
}

@test 'an empty batch, begun with no records, is complete' {
	run_tool qsend --lines --batch B </dev/null
	assert_success
	assert_output ''
	assert_equal "$(state B)" open
	id=$(send merge --after B)
	assert_job "$id" new
	assert_equal "$(state B)" complete
}

@test 'a job after its own batch is refused' {
	assert_refused 'a job of batch B cannot run after that batch' --batch B --after B
	assert_equal "$(state B)" unknown
}

@test 'batches that would wait for each other are refused, also where one comes later in a list' {
	send a --batch A
	send b --batch B
	x=$(send x)
	send a2 --batch A --after "$x" --after B
	assert_refused 'batch B is sealed' --batch B --after A
	drain -- true
	assert_equal "$(job_count new)" 0
	send later --after A
	drain -- true
	assert nothing_waits
}

@test 'names may hold any bytes' {
	for name in a/b a%2fb A a .x ' ' "$(printf 'b%.0s' {1..300})" "$(printf 'b%.0s' {1..301})" $'line\nbreak' \
		$'\xff' 'grün' @x name open ..; do
		send x --batch "$name"
		send y --after "$name"
	done
	assert_equal "$(job_count new)" 15
	drain -- true
	assert_success
	assert nothing_waits
	assert_equal "$(find "$QSPOOL/.batch" -mindepth 2 -name open -o -mindepth 2 -name sealed | wc -l)" 0
	assert_spool_empty
}

@test 'wrong options exit 64' {
	assert_usage qsend --batch ''
	assert_usage qsend --batch a --batch b
	assert_usage qsend --batch "$(forged_id 0)"
	assert_usage qsend --after ''
	assert_not_exists "$QSPOOL"
}

@test 'a buried member keeps what waits for the batch; kicked and finished, it lets it go' {
	member=$(send x --batch B)
	id=$(send merge --after B)
	drain -A 1 -- false
	assert_job "$member" buried
	assert_equal "$(waiting B) $(members B)" '1 1'
	drain -- true
	assert_equal "$(waiting B)" 1
	qkick "$member"
	drain -- sh -c 'echo "$(cat)"'
	assert_output --partial merge
	assert nothing_waits
}

@test 'a deleted member buries what waits for the batch, with the reason' {
	member=$(send x --batch B)
	other=$(send y --batch B)
	id=$(send merge --after B)
	qdel "$member"
	assert_job "$id" buried
	assert_file_contains "$QSPOOL/default/log/$id" 'a job of batch B, which it waited for, was deleted'
	assert_job "$other" new
	assert_equal "$(members B)" 1
	drain -- true
	assert_equal "$(state B)" complete
	qkick "$id"
	drain -- sh -c 'echo "$(cat)"'
	assert_output merge
}

@test 'a buried member that is deleted buries it, too; one of an open batch just leaves' {
	member=$(send x --batch B)
	qdel "$member"
	assert_equal "$(members B) $(state B)" '0 open'
	member=$(send x --batch B)
	id=$(send merge --after B)
	qbury "$member"
	qdel "$member"
	assert_job "$id" buried
	assert_equal "$(state B)" complete
}

@test 'a member removed with rm is over: the next qwork finds out' {
	member=$(send x --batch B)
	keyed=$(send y --batch B --key k)
	waited=$(send z --batch B --key l)
	send after --after "$waited"
	send merge --after B
	rm "$(job_path "$member" new)" "$(job_path "$keyed" new)" "$(job_path "$waited" new)"
	drain -- sh -c 'echo "$(cat)"'
	assert_success
	assert_equal "$(sort <<<"$output")" after$'\n'merge
	assert_equal "$(state B)" complete
	assert_equal "$(find "$QSPOOL/.key" -type f | wc -l)" 0
	assert nothing_waits
}

@test 'what is removed by hand below .batch/ keeps nobody waiting' {
	member=$(send x -d 1h --batch B)
	send merge --after B
	rm "$QSPOOL/.batch/B/sealed/$member@default"
	drain -- sh -c 'echo "$(cat)"'
	assert_output merge
	send x -d 1h --batch C
	send merge2 --after C
	rm -r "$QSPOOL/.batch/C"
	drain -- sh -c 'echo "$(cat)"'
	assert_output merge2
	send x -d 1h --batch D
	send merge3 --after D
	rm -r "$QSPOOL/.batch"
	drain -- sh -c 'echo "$(cat)"'
	assert_output merge3
}

@test 'a member that is retried or moved by hand stays one' {
	member=$(send x --batch B)
	send merge --after B
	drain -b 1h..1h -- false
	assert_equal "$(members B) $(waiting B)" '1 1'
	mv "$(job_path "$member" delay)" "$QSPOOL/default/new/50.$member.1,l,m"
	drain -- sh -c 'echo "$(cat)"'
	assert_output x$'\n'merge
}

@test 'a complete batch is forgotten after a week, but not as long as somebody waits' {
	send x --batch B
	send merge --after B
	drain -- true
	touch -d '6 days ago' "$QSPOOL/.batch/B"
	drain -- true
	assert_equal "$(state B)" complete
	touch -d '8 days ago' "$QSPOOL/.batch/B"
	drain -- true
	assert_equal "$(state B)" unknown
	assert_refused 'batch B was never begun, or was complete long ago' --after B
	run_tool qsend --batch B <<<x
	assert_success
}

@test 'a dependency later in the list may have been complete for so long that it is forgotten' {
	first=$(send first)
	send x -q other --batch B
	id=$(send merge --after "$first" --after B)
	drain -q other -- true
	assert_equal "$(state B)" complete
	touch -d '8 days ago' "$QSPOOL/.batch/B"
	drain -q other -- true
	assert_equal "$(state B)" unknown
	drain -- sh -c 'echo "$(cat)"'
	assert_output first$'\n'merge
	assert nothing_waits
}

@test 'a batch of a name that was begun anew, while somebody still waits for the old one' {
	first=$(send first)
	send x -q other --batch B
	send merge --after "$first" --after B
	rm -r "$QSPOOL/.batch/B"
	send y -q third --batch B
	drain -- sh -c 'echo "$(cat)"'
	assert_output first
	assert_equal "$(state B)" sealed
	drain -q third -- true
	drain -- sh -c 'echo "$(cat)"'
	assert_output merge
}

@test 'two senders that begin a batch at once are both members of the same' {
	for round in $(seq 10); do
		senders=()
		for n in 1 2 3 4; do
			start qsend --batch "B$round" <<<"$n" >/dev/null
			senders+=("$started")
		done
		assert_all_succeed "${senders[@]}"
		assert_equal "$(members "B$round")" 4
	done
	assert_equal "$(find "$QSPOOL/.batch" -name '.draft*' | wc -l)" 0
}

@test 'sealing while others join: each send is refused, or its job is waited for' {
	send first --batch B
	for n in $(seq 12); do
		start qsend --batch B <<<"$n" >"$test_dir/joined.$n" 2>/dev/null
		senders+=("$started")
	done
	send merge --after B
	for pid in "${senders[@]}"; do wait_for 60 gone "$pid"; done
	joined=$(cat "$test_dir"/joined.* | wc -l)
	assert_equal "$(members B) $(job_count new)" "$((joined + 1)) $((joined + 1))"
	drain -j 2 -- sh -c 'echo "$(cat)"'
	assert_equal "$(tail -n 1 <<<"$output")" merge
	assert_equal "$(wc -l <<<"$output")" $((joined + 2))
}

@test 'a member whose sender was killed before it was sent keeps nobody waiting' {
	need_hooked
	send first --batch B
	run_tool hooked kill-before:rename:1 qsend --batch B <<<x
	assert_equal "$status $(job_count tmp) $(members B)" '137 1 2'
	send merge --after B
	drain -- true
	assert_equal "$(waiting B) $(job_count tmp)" '1 1'
	in_an_hour 120
	assert_equal "$(job_count tmp) $(state B)" '0 complete'
	assert_equal "$(wc -c <"$QSPOOL/.batch/B/finished")" 1 # that one is none of its members
	assert nothing_waits
	in_an_hour
	assert_spool_empty
}

@test 'many members: all are done once, then what waits runs' {
	seq "$BATCH_MEMBERS" | qsend --lines --no-sync --batch B >/dev/null
	assert_equal "$(members B)" "$BATCH_MEMBERS"
	send merge --after B
	start_qwork -j 2 -- sh -c 'read -r n; [ "$n" != merge ] || echo merge'
	wait_for 600 grep -q merge "$qwork_out"
	wait_for 60 spool_is_idle
	assert_equal "$(state B) $(wc -l <"$qwork_out")" 'complete 1'
	assert nothing_waits
	assert_spool_empty
}

# A sender that stays in syncfs(2) until $test_dir/gate is there; ends by itself then.
make_slow_disk() {
	need_command cc
	cat >"$test_dir/slow.c" <<-'END'
		#include <stdlib.h>
		#include <unistd.h>
		int syncfs(int fd)
		{
			(void)fd;
			(void)!creat(getenv("IN_SYNCFS"), 0600);
			while (access(getenv("GATE"), F_OK) != 0)
				usleep(10000);
			return 0;
		}
	END
	sed -i '1i #include <fcntl.h>' "$test_dir/slow.c"
	cc -O1 -shared -fPIC -o "$test_dir/slow.so" "$test_dir/slow.c"
	export GATE=$test_dir/gate
}
# start_slow_send NAME OPTION...: of ten jobs, which share a syncfs; its standard error in NAME.err.
start_slow_send() {
	seq 10 >"$test_dir/ten"
	start env IN_SYNCFS="$test_dir/$1.syncs" LD_PRELOAD="$test_dir/slow.so" \
		ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" \
		"$QSPOOL_BIN/../test/crash/tools/qsend" --lines -f "$test_dir/ten" "${@:2}" >"$test_dir/$1.ids" 2>"$test_dir/$1.err"
	wait_for 60 test -e "$test_dir/$1.syncs"
}

@test 'drafts whose sync takes minutes are not swept' {
	make_slow_disk
	send x
	start_slow_send crowd --batch B
	in_an_hour 120
	touch "$GATE"
	wait "$started"
	assert_equal "$(wc -l <"$test_dir/crowd.ids") $(members B)" '10 10'
}

@test 'two batches that are sent at the same time, each after the other, do not wait for each other' {
	local batch
	make_slow_disk
	for batch in A B; do qsend --lines --batch "$batch" </dev/null; done
	start_slow_send a --batch A --after B
	start_slow_send b --batch B --after A
	touch "$GATE"
	wait_for 60 gone "${started_pids[0]}"
	wait_for 60 gone "${started_pids[1]}"
	drain_all -- true
	assert_success
	nothing_waits
	assert_regex "$(cat "$test_dir"/[ab].err)" 'is sealed'
}

@test 'links that cannot be removed are swept, since the options stay with them' {
	local dirs=("$QSPOOL/.key/K" "$QSPOOL/.batch/B/open")
	send x --key K --batch B
	chmod a-w "${dirs[@]}"
	run_tool powerless timeout 60 qwork --drain -- true </dev/null
	chmod u+w "${dirs[@]}"
	assert_equal "$(job_count cur) $(members B)" '0 1'
	in_an_hour
	assert_equal "$(find "$QSPOOL/.key" -type f | wc -l) $(members B) $(job_count meta)" '0 0 0'
}
