#!/usr/bin/env bats
# A backlog that is longer than what a qwork keeps in mind (65,536 names) still runs in
# order, and nobody sleeps beside it.

load helper

KEPT=65536

# So many files are made and removed in a second or two in memory, in many on a busy disk.
setup() {
	common_setup
	if [[ -w /dev/shm ]] && memory=$(mktemp -d /dev/shm/backlog.XXXXXX); then
		ln -s "$memory" "$test_dir/memory"
		QSPOOL=$test_dir/memory/spool
	fi
}
teardown() {
	local result=0
	common_teardown || result=$?
	[[ -z ${memory:-} ]] || rm -r "$memory"
	return $result
}

# A qwork that has scanned a backlog of KEPT + $1 jobs, 1 2 3..., and runs the first of
# them until the gate opens. Handlers print their payload; no scan is due for long.
start_on_backlog() {
	seq $((KEPT + $1)) | qsend --lines --no-sync >"$test_dir/ids"
	start_qwork --scan 10m -- sh -c '
		read -r n; echo "$n"; [ "$n" != 1 ] || until [ -e "$0" ]; do sleep 0.05; done' "$test_dir/open"
	wait_for 60 lines_are 1 "$qwork_out"
}

# remove_through NUMBER: the ready jobs 2 to NUMBER, as if others had run them.
remove_through() {
	(cd "$QSPOOL/default/new" && find . -printf '%f\n' | grep '^50' | LC_ALL=C sort | head -n $(($1 - 1)) | xargs rm)
}

@test 'a new job does not overtake those that were left out' {
	start_on_backlog 40
	echo 99999 | qsend --no-sync
	remove_through $((KEPT - 10))
	touch "$test_dir/open"
	wait_for 60 jobs_are 0 new
	wait_for 20 spool_is_idle
	# 1, the last ten that were kept in mind, the 40 beyond, and the one that came later.
	printf '%s\n' 1 "$(seq $((KEPT - 9)) $((KEPT + 40)))" 99999 >"$test_dir/wanted"
	assert cmp "$test_dir/wanted" "$qwork_out"
}

@test 'what was left out is looked for as soon as the rest is gone' {
	start_on_backlog 40
	remove_through $((KEPT + 10))
	touch "$test_dir/open"
	wait_for 60 jobs_are 0 new
	wait_for 20 spool_is_idle
	printf '%s\n' 1 "$(seq $((KEPT + 11)) $((KEPT + 40)))" >"$test_dir/wanted"
	assert cmp "$test_dir/wanted" "$qwork_out"
}

@test 'a job that comes while the first scan goes on is not overlooked' {
	local -i i
	seq 60000 | qsend --lines --no-sync -d 1d >"$test_dir/ids"
	start_qwork --scan 10m -- cat
	for ((i = 0; i < 100; i++)); do echo "$i" | qsend --no-sync; done
	wait_for 60 lines_are 100 "$qwork_out"
	wait_for 20 jobs_are 0 cur
}

@test 'a job that falls due while --drain looks for the last time is run without sleeping' {
	local -i percent began took ms
	local id path due
	seq 60000 | qsend --lines --no-sync -d 1d >"$test_dir/ids"
	began=$(now_ms)
	qwork --drain -- cat
	took=$(($(now_ms) - began))
	# The last look is in the second half. One of these times hits it; then a qwork that
	# sleeps does so for a minute.
	for ((percent = 40; percent < 100; percent += 5)); do
		id=$(send due -d 1h)
		path=$(job_path "$id" delay)
		ms=$(($(now_ms) + took * percent / 100))
		due=$(date -u -d "@$((ms / 1000)).$(printf %03d $((ms % 1000)))" +%Y%m%dT%H%M%S.%3NZ)
		mv "$path" "${path%/*}/$due.${path##*Z.}"
		began=$(now_ms)
		timeout -k 10 90 qwork --drain -- cat >"$test_dir/out"
		assert [ $(($(now_ms) - began)) -lt 30000 ]
		rm -f "$QSPOOL/default"/*/*".$id."*
	done
}
