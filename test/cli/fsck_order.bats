#!/usr/bin/env bats
# qfsck and order among jobs: keys, batches, dependencies and what is kept are sound; each thing that is
# not is named; what a qwork mends is pending, and gone after it; --repair mends the rest.

load helper
load fsck

setup() {
	common_setup
	queue=$QSPOOL/default
	export finding_path='[.queue, .dir, .file]'
}

# outlive LINK... -- COMMAND...: runs COMMAND, and then has these links again, as a crash leaves them.
outlive() {
	local path links=()
	while [[ $1 != -- ]]; do links+=("$1") && shift; done
	shift
	for path in "${links[@]}"; do ln "$path" "$test_dir/${path//\//=}"; done
	"$@"
	for path in "${links[@]}"; do
		mkdir -p "${path%/*}"
		[[ -e $path ]] || mv "$test_dir/${path//\//=}" "$path"
		rm -f "$test_dir/${path//\//=}"
	done
}

@test 'keys, batches and what waits are sound, also beside links of backups' {
	key=$(send k --key 'any /key')
	send m --batch B --key M
	send m --batch B -q other
	send d --after B --after "$key"
	send e --after "$key" -d 1h --batch C
	send plain --after "$key" -q third
	run_tool qfsck -v
	assert_output '6 jobs, 0 faults, 0 pending, 0 repaired'
	run_tool qfsck -v -q default
	assert_output '4 jobs, 0 faults, 0 pending, 0 repaired'
	ln "$queue/new/50.$key.0,m" "$test_dir/backup"
	assert_findings 0 "note links default/new/50.$key.0,m"
}

@test 'what ran, failed, was buried, kicked and released leaves a sound spool' {
	for i in {1..3}; do send "$i" --key "$i" --batch B; done
	send after --after B
	drain -A 1 -- false
	jobs_are 3 buried
	findings
	assert_equal "$found" ''
	qkick -q default --all
	drain_all -- true
	run_tool qfsck -v
	assert_output '0 jobs, 0 faults, 0 pending, 0 repaired'
}

@test 'a link whose job is over is pending, and a qwork removes it' {
	id=$(send x --key K --batch B)
	send y --after B
	outlive "$QSPOOL/.key/K/$id@default" "$QSPOOL/.batch/B/sealed/$id@default" -- rm "$queue/new/50.$id.0,m"
	assert_findings 0 "pending link .key/K/$id@default" "pending link .batch/B/sealed/$id@default" \
		"pending orphan default/meta/$id"
	drain -- cat
	old "$queue/meta"/*
	drain -- cat
	assert_findings 0
	assert_spool_empty
}

@test 'links are pending that a power cut left without the name and the options of their job' {
	id=$(send x --key K --batch B)
	send y --after "$id"
	rm "$queue/new/50.$id.0,m" "$queue/meta/$id"
	assert_findings 0 "pending link .key/K/$id@default" "pending link .batch/B/open/$id@default"
	drain -- true
	drain -- true
	assert_findings 0
	assert_spool_empty
}

@test 'what waits for what is over is pending, and a qwork releases it' {
	id=$(send x)
	send job$'\n' --after "$id"
	send m --batch B
	send batch$'\n' --after B
	rm "$queue/new"/*
	rm "$QSPOOL/.batch/B/sealed"/*
	findings
	assert_equal "$status" 0
	assert_regex "$found" "pending wait .wait/$id"
	assert_regex "$found" 'pending batch .batch/B/sealed'
	drain -- cat
	assert_equal "$(sort <<<"$output")" $'batch\njob'
	findings
	refute_regex "$found" 'wait|batch'
}

@test 'a batch that was removed by hand keeps nobody waiting' {
	send m --batch B
	send after --after B
	rm -r "$QSPOOL/.batch/B"
	findings
	assert_regex "$found" 'pending wait .wait/B'
	drain -- sh -c 'cat; echo'
	assert_equal "$(sort <<<"$output")" $'after\nm'
	assert_findings 0
	send m --batch B
	send again --after B
	rm -r "$QSPOOL/.batch"
	drain -- sh -c 'cat; echo'
	assert_line again
}

@test 'a link of a job that names it in no option: --repair removes it' {
	plain=$(send plain)
	other=$(send other --key other --batch other)
	send held --key K
	send member --batch B
	rm "$QSPOOL"/.key/K/*
	ln "$queue/new/50.$plain.0" "$QSPOOL/.key/K/$plain@default"
	ln "$queue/new/50.$other.0,m" "$QSPOOL/.batch/B/open/$other@default"
	findings
	assert_equal "$status" 1
	assert_equal "$(grep ^fault <<<"$found")" "fault link .batch/B/open/$other@default
fault link .key/K/$plain@default"
	repair 0
	assert_not_exists "$QSPOOL/.key/K/$plain@default"
	assert_not_exists "$QSPOOL/.batch/B/open/$other@default"
	# The links beside it count for nothing until then; its own are left.
	assert_exists "$QSPOOL/.key/other/$other@default"
	assert_equal "$left" 'pending key'
	drain -- true
	assert_findings 0
}

@test 'a link of a queue that is no more is pending: the sweep frees the key' {
	id=$(send x --key K -q gone)
	ln "$QSPOOL/gone/new/50.$id.0,m" "$test_dir/kept"
	rm -r "$QSPOOL/gone"
	send y
	assert_findings 0 "pending link .key/K/$id@gone"
	drain -- true
	assert_findings 0
}

@test 'two jobs with one key: --repair takes it from the later one, whose claim takes it again' {
	first=$(send first --key K)
	mv "$QSPOOL/.key/K" "$test_dir/K"
	second=$(send second --key K)
	mv "$test_dir/K"/* "$QSPOOL/.key/K/"
	assert_findings 1 "fault link .key/K/$second@default"
	repair 0
	assert_equal "$left" 'pending key'
	run_qwork --once -- cat
	assert_output first
	assert_not_exists "$QSPOOL/.key/K/$first@default"
	drain -- cat
	assert_output second
	assert_findings 0
}

@test 'what is in the way of a key or a batch is told, and left alone' {
	send x --key K --batch B
	echo secret >"$QSPOOL/.key/K/file"
	ln -s /etc/passwd "$QSPOOL/.key/K/link"
	mkfifo "$QSPOOL/.batch/B/open/fifo"
	echo secret >"$QSPOOL/.batch/B/open/file"
	ln -s /etc "$QSPOOL/.key/symlink"
	mkdir "$QSPOOL/.wait" "$QSPOOL/.wait/dir"
	mkfifo "$QSPOOL/.wait/fifo" "$QSPOOL/.wait/dir/fifo"
	: >"$QSPOOL/.wait/README"
	: >"$QSPOOL/.batch/B/README"
	before=$(cd "$QSPOOL" && find . -printf '%p %y %m %l\n' | sort)
	expected=('fault name .key/K/file' 'fault strange .key/K/link' 'fault strange .batch/B/open/fifo'
		'fault name .batch/B/open/file' 'fault strange .key/symlink' 'fault strange .wait/fifo'
		'fault strange .wait/dir/fifo' 'note unknown .wait/README' 'note unknown .batch/B/README')
	assert_findings 1 "${expected[@]}"
	repair 1
	assert_findings 1 "${expected[@]}"
	assert_equal "$(cd "$QSPOOL" && find . -printf '%p %y %m %l\n' | sort)" "$before"
}

@test 'a job without its key takes it at its claim, one set aside holds none' {
	id=$(send x --key K)
	rm "$QSPOOL/.key/K"/*
	assert_findings 0 "pending key default/new/50.$id.0,m"
	run_tool qfsck --repair
	mv "$queue/new/50.$id.0,m" "$queue/buried/"
	ln "$queue/buried/50.$id.0,m" "$QSPOOL/.key/K/$id@default"
	assert_findings 0 "pending key default/buried/50.$id.0,m"
	send other --key K
	assert_findings 0
	qdel "$id"
	started=$(send x --key S --key-until start)
	mv "$queue/new/50.$started.0,m" "$queue/new/50.$started.1,m"
	rm "$QSPOOL/.key/S"/*
	assert_findings 0
}

@test 'a batch: no name, another name, open and sealed, a member that is none any more' {
	send x --batch B
	rm "$QSPOOL/.batch/B/name"
	assert_findings 0 'note batch .batch/B'
	echo C >"$QSPOOL/.batch/B/name"
	assert_findings 1 'fault name .batch/B/name'
	echo B >"$QSPOOL/.batch/B/name"
	mkdir "$QSPOOL/.batch/B/sealed"
	: >"$QSPOOL/.batch/B/sealed/.hidden"
	findings
	assert_regex "$found" '^fault batch .batch/B'
	rm -r "$QSPOOL/.batch/B/sealed"
	rm "$QSPOOL/.batch/B/open"/*
	assert_findings 0 "note batch default/new/$(basename "$queue"/new/*)"
}

@test 'a name that is too long for a label is kept beside it' {
	name=$(printf 'n%.0s' {1..300})
	send x --batch "$name" --key "$name"
	assert_findings 0
	sed -i s/n/m/ "$QSPOOL"/.batch/*/name
	findings
	assert_regex "$found" '^fault name .batch/n.*/name$'
}

@test 'a waiting job whose options are lost, or whose queue is gone' {
	first=$(send first)
	id=$(send x --after "$first")
	rm "$queue/meta/$id"
	assert_findings 1 "fault options .wait/$first/50.$id.0,m@default"
	repair 0
	assert_equal "$left" 'note options'
	assert_job "$id" buried
	id=$(send x --after "$first" -q other)
	mv "$QSPOOL/other" "$test_dir/"
	assert_findings 1 "fault misplaced .wait/$first/50.$id.0,m@other" "note options default/buried/$(basename "$queue"/buried/*)"
	mv "$test_dir/other" "$QSPOOL/"
	drain -- true
	run_qwork --drain -q other -- cat
	assert_output x
}

@test 'a job that waits where its options do not say' {
	first=$(send first)
	id=$(send x --after "$first")
	plain=$(send plain)
	mkdir -p "$QSPOOL/.wait/@R"
	mv "$QSPOOL/.wait/$first/50.$id.0,m@default" "$QSPOOL/.wait/@R/"
	mv "$queue/new/50.$plain.0" "$QSPOOL/.wait/$first/50.$plain.0@default"
	echo x >"$QSPOOL/.wait/@R/foreign"
	assert_findings 1 "note wait .wait/@R/50.$id.0,m@default" "note wait .wait/$first/50.$plain.0@default" \
		'fault name .wait/@R/foreign'
}

@test 'twins and doubles over .wait/: the one that waits is kept, a copy gets a life of its own' {
	first=$(send first)
	id=$(send x --after "$first")
	waiting=$QSPOOL/.wait/$first/50.$id.0,m@default
	ln "$waiting" "$queue/new/50.$id.0,m"
	assert_findings 0 "pending twins default/new/50.$id.0,m"
	repair 0
	assert_equal "$left" ''
	assert_not_exists "$queue/new/50.$id.0,m"
	assert_exists "$waiting"
	cp "$waiting" "$queue/new/50.$id.0,m"
	assert_findings 1 "fault double default/new/50.$id.0,m"
	repair 0
	assert_equal "$left" ''
	assert_exists "$waiting"
	jobs_are 1 buried
	send y -q other
	cp "$waiting" "$QSPOOL/.wait/$first/50.$id.0,m@other"
	findings
	assert_equal "$status" 1
	assert_regex "$found" "fault double .wait/$first/50.$id.0,m@other"
	run_tool qfsck --repair
	assert_success
	jobs_are 1 buried other
}

@test 'what is kept says until when, and is told once that is over' {
	mkdir -p "$queue/new" && send x
	mkdir "$queue/done" "$queue/out"
	id=$(forged_id 100)
	echo x >"$queue/done/20991231T000000.000Z.50.$id.1"
	echo out >"$queue/out/$id"
	echo out >"$queue/out/$(forged_id 50)"
	echo out >"$queue/out/foreign"
	assert_findings 1 "fault name default/out/foreign" \
		"pending orphan default/out/$(basename "$(find "$queue/out" -name '0*' -o -name '1*' | grep -v "$id")")"
	rm "$queue/out"/*
	mv "$queue/done"/* "$queue/done/20001231T000000.000Z.50.$id.1"
	assert_findings 0 "pending expired default/done/20001231T000000.000Z.50.$id.1"
	mv "$queue/done"/* "$queue/done/50.$id.1"
	echo foreign >"$queue/done/foreign"
	assert_findings 1 "fault name default/done/50.$id.1" "fault name default/done/foreign"
	repair 0
	assert_equal "$left" ''
	jobs_are 2 buried
}

@test 'what a finished job keeps waiting is pending' {
	id=$(send x --batch B --key K -A 3)
	send y --after "$id"
	send z --after B
	mkdir "$queue/done"
	mv "$queue/new/50.$id.0,m" "$queue/done/20991231T000000.000Z.50.$id.1,m"
	findings
	assert_equal "$status" 0
	assert_equal "$(cut -d ' ' -f 1,2 <<<"$found" | xargs)" 'pending batch pending key pending wait'
	drain_all -- cat
	assert_equal "$(fold -w 1 <<<"$output" | sort | xargs)" 'y z'
	assert_findings 0
}

@test 'drafts of keys and batches that a crash left are pending, and swept' {
	send x --key K --batch B
	mkdir -p "$QSPOOL/.key/.draft-1" "$QSPOOL/.batch/.draft-1/open"
	assert_findings 0
	old "$QSPOOL/.key/.draft-1" "$QSPOOL/.batch/.draft-1"
	assert_findings 0 'pending leftover .key/.draft-1' 'pending leftover .batch/.draft-1'
	drain -- true
	assert_findings 0
}

@test 'the draft of a dead sender holds its key until the sweep, with or without options' {
	send x
	id=$(forged_id 200)
	echo y >"$queue/tmp/$id"
	mkdir -p "$QSPOOL/.key/K"
	ln "$queue/tmp/$id" "$QSPOOL/.key/K/$id@default"
	assert_findings 0 "note links default/tmp/$id"
	touch -d '2 hours ago' "$queue/tmp/$id"
	assert_findings 0 "pending leftover default/tmp/$id" "note links default/tmp/$id"
	drain -- true
	assert_findings 0
}

@test 'modes of what orders jobs, also of a job that has links' {
	need_root
	first=$(send x --key K --batch B)
	send y --after "$first"
	mkdir -p "$QSPOOL/.resource/R/slot"
	echo 3 >"$QSPOOL/.resource/R/jobs"
	chmod 0700 "$QSPOOL"/.resource/R "$QSPOOL"/.resource/R/slot "$QSPOOL"/.resource
	chmod 2770 "$QSPOOL"
	findings
	assert_equal "$status" 1
	assert_equal "$(grep -c '^fault directory \.' <<<"$found")" 10
	repair 0
	assert_equal "$left" ''
	assert_equal "$(stat -c %a "$QSPOOL"/.wait "$QSPOOL"/.batch/B/open "$queue/new/50.$first.0,m" | xargs)" '2770 2770 660'
}

@test 'directories of the spool that are none, and strange files of a resource' {
	send x
	mkdir -p "$QSPOOL/.resource/R/slot"
	: >"$QSPOOL/.key"
	ln -s /etc "$QSPOOL/.batch"
	: >"$QSPOOL/.unknown"
	mkfifo "$QSPOOL/.resource/R/jobs"
	mkdir "$QSPOOL/.resource/S"
	echo 10/s >"$QSPOOL/.resource/S/rate"
	echo 5,30s..10m >"$QSPOOL/.resource/S/breaker"
	: >"$QSPOOL/.resource/S/open"
	: >"$QSPOOL/.resource/R/slot/1"
	: >"$QSPOOL/.resource/R/slot/one"
	: >"$QSPOOL/.resource/R/what"
	assert_findings 1 'fault directory .key' 'fault directory .batch' 'fault strange .resource/R/jobs' \
		'fault setting .resource/R/jobs' 'note unknown .resource/R/slot/one' 'note unknown .resource/R/what'
	echo many >"$QSPOOL/.resource/S/jobs"
	findings
	assert_regex "$found" 'fault setting .resource/S/jobs'
}

@test 'qfsck changes nothing without --repair' {
	send x --key K --batch B
	send y --after B
	rm "$queue"/new/*
	mkdir "$QSPOOL/.batch/B2" "$QSPOOL/.batch/B2/sealed"
	look() { cd "$QSPOOL" && find . -printf '%p %i %m %s %n %T@ %C@\n' | sort; }
	before=$(look)
	run_tool qfsck -v
	assert_equal "$(look)" "$before"
}

@test '--repair that is killed at any change loses nothing' {
	need_strace
	for call in renameat2 unlinkat fsync openat write; do
		for k in 1 2 3; do
			export QSPOOL=$test_dir/$call.$k
			first=$(send first)
			id=$(send second --after "$first")
			rm "$QSPOOL/default/meta/$id"
			send third --key K
			rm "$QSPOOL"/.key/K/*
			ln "$QSPOOL/default/new/50.$first.0" "$QSPOOL/.key/K/$first@default"
			strace -f -o /dev/null -e "trace=$call" -P "$QSPOOL/default/log" -P "$QSPOOL/default/buried" \
				-P "$QSPOOL/.wait/$first" -P "$QSPOOL/.key/K" \
				-e "inject=$call:signal=KILL:when=$k" qfsck --repair || true
			assert_equal "$call $k: $(find "$QSPOOL" -name '50.*' -exec cat {} \; -exec echo \; | sort | xargs)" \
				"$call $k: first second third"
			qfsck --repair
			assert_equal "$call $k: $(payloads new) $(payloads buried)" "$call $k: first third second"
		done
	done
}

@test 'beside senders, workers and operators nothing in motion is a fault' {
	send first
	keep sh -c 'seq 5 | while read n; do echo $n | qsend --key $((n % 3)) --batch $((n % 2)); done' &
	keep sh -c 'id=$(echo x | qsend --batch chain.$$); echo y | qsend --after $id --after chain.$$ --key chain' &
	keep sh -c 'echo z | qsend -q other --key-until start --key 1 --after 0' &
	keep qwork --drain -j 4 -b 5ms..20ms -- sh -c 'read x; case $x in *3) exit 1 ;; *4) exit 65 ;; esac' &
	keep qwork --drain -q other -- true &
	keep qbury -n 2 -q default &
	keep qkick --all --delayed -q default &
	keep qdel -n 1 -q default --state buried &
	assert_sound_meanwhile
}
