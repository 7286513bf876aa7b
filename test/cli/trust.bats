#!/usr/bin/env bats
# What a member of a spool's group cannot do to the others, though all files of the spool are
# hers to write, rename and replace. Anna plants; Bert, or root, works. What Anna could do
# only without fs.protected_hardlinks, root does for her.

load helper
load users

setup() {
	users_setup
	as_anna qsend </dev/null >/dev/null
	work_as "$BERT" 022 -- true
	queue=$QSPOOL/default
}

# One that all users may run.
need_python() {
	python=$(PATH=/usr/local/bin:/usr/bin:/bin type -P python3) || skip 'needs python3'
}

as_anna() { as_user "$ANNA" 022 "$@"; }
as_bert() { as_user "$BERT" 022 "$@"; }

# Writes standard input to a file of Anna's.
anna_writes() { as_anna sh -c 'cat >"$1"' sh "$1"; }

# A file that Anna may not read, of the user who works, as a program or a list of secrets is.
make_secret() {
	rm -f "$test_dir/secret"
	echo secret >"$test_dir/secret"
	chown "${1:-$BERT}" "$test_dir/secret"
	chmod "${2:-0600}" "$test_dir/secret"
	secret_before=$(stat -c '%U %G %a %i %s %Y %Z' "$test_dir/secret")
}
assert_secret_kept() {
	assert_equal "$(sed -n 1p "$test_dir/secret")" secret
	assert_equal "$(stat -c '%U %G %a %i %s %Y' "$test_dir/secret")" "${secret_before% *}"
}

@test "a file of the worker's that is linked into new/ is not run" {
	make_secret
	ln "$test_dir/secret" "$queue/new/foreign"
	ln "$test_dir/secret" "$queue/new/10.$(forged_id 0).0"
	as_anna qsend <<<other
	work_as "$BERT" 022 -- cat
	assert_success
	assert_output other
	assert_equal "$(grep -c 'outcome=strange .*reason="a link to a file' <<<"$stderr")" 2
	assert_equal "$(as_bert qstat --json default | jq -r 'select(.name == "foreign") | .state')" strange
	assert_equal "$(job_count new)" 2
	assert_secret_kept
}

@test 'a file with two names that its sender could read and write is a job' {
	as_anna sh -c 'umask 007; echo backed up >"$1/tmp/f"; ln "$1/tmp/f" "$2"; ln "$1/tmp/f" "$1/new/f"' \
		sh "$queue" "$QSPOOL/default/.backup"
	touch -d '1 minute ago' "$queue/new/f"
	work_as "$BERT" 022 -- cat
	assert_output 'backed up'
}

@test "a link to a program is no handler, and a link to anything no settings" {
	as_anna qsend <<<'echo evil'
	cp /bin/sh "$test_dir/sh"
	ln "$test_dir/sh" "$queue/handler"
	work_as "$BERT" 022
	assert_failure 78
	assert_output ''
	assert_regex "$stderr" "^qwork: .*$queue/handler is refused"
	rm "$test_dir/sh"
	echo 'attempts 3' >"$test_dir/conf"
	ln "$test_dir/conf" "$queue/settings"
	work_as "$BERT" 022 -- sh -c 'echo "$QJOB_ATTEMPTS"'
	assert_output 10
	assert_regex "$stderr" 'settings are refused'
}

@test 'handler, settings and paused that are fifos or links block nobody and lead nowhere' {
	as_anna qsend <<<payload
	as_anna mkfifo "$queue/handler" "$queue/settings"
	work_as "$BERT" 022
	assert_failure 78
	work_as "$BERT" 022 -- cat
	assert_output payload
	assert_regex "$stderr" 'settings are refused'
	rm "$queue/handler"
	as_anna ln -s /bin/cat "$queue/handler"
	work_as "$BERT" 022
	assert_failure 78
	as_anna mkfifo "$queue/paused"
	as_anna qsend <<<payload
	work_as "$BERT" 022 -- cat
	assert_success
	assert_output ''
}

@test "the handler is run by no path that another could exchange" {
	local home=$test_dir/home
	install -d -o "$ANNA" -m 0755 "$home"
	export QSPOOL=$home/spool
	echo x | qsend >/dev/null
	script "$QSPOOL/default/handler" <<<'echo good'
	start_qwork
	wait_for 20 lines_are 1 "$qwork_out"
	as_anna mv "$home/spool" "$home/moved"
	as_anna mkdir -p "$home/spool/default"
	as_anna cp "$PUBLIC/bin/as_user" "$home/spool/default/handler"
	echo 'echo evil' | anna_writes "$home/spool/default/handler"
	echo y | qsend -s "$home/moved" >/dev/null
	wait_for 20 lines_are 2 "$qwork_out"
	assert_equal "$(cat "$qwork_out")" $'good\ngood'
}

@test "of the environment that another's job brings only harmless words reach the handler" {
	local name
	local -a evil=(LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT BASH_ENV ENV IFS PATH HOME SHELL PS4 SHELLOPTS
		PYTHONSTARTUP PYTHONPATH PERL5LIB PERL5OPT RUBYOPT NODE_OPTIONS GIT_DIR GIT_SSH_COMMAND EDITOR PAGER
		LANGUAGE LOCPATH NLSPATH GCONV_PATH TZDIR TMPDIR LOCALDOMAIN HOSTALIASES MALLOC_TRACE)
	local -a options=()
	for name in "${evil[@]}"; do options+=(-e "$name=/evil"); done
	as_anna qsend "${options[@]}" -e LANG=de_DE.UTF-8 -e LC_TIME=C <<<''
	work_as "$BERT" 022 -- env
	assert_success
	refute_output --partial /evil
	assert_line LANG=de_DE.UTF-8
	assert_line LC_TIME=C
}

@test "--accept-env: what is named there another's job may set, but not what is qspool's own" {
	as_anna qsend -e HTTP_PROXY=/any -e MAGICK_LIMIT='a b' -e MAGICK=1 -e LD_PRELOAD=/evil <<<''
	work_as "$BERT" 022 --accept-env 'HTTP_PROXY,MAGICK_*' --accept-env 'Q*' -- env
	assert_success
	assert_line HTTP_PROXY=/any
	assert_line 'MAGICK_LIMIT=a b'
	refute_line MAGICK=1
	refute_output --partial /evil
	assert_output --regexp "QSPOOL=$QSPOOL"
}

@test "a language or time zone that another's job brings cannot be a file's path" {
	local value
	unset LANG LC_ALL TZ
	for value in /evil ../evil a/../evil 'a%s' $'a\nb' 'a b' :/evil; do
		as_anna qsend -e "TZ=$value" -e "LANG=$value" -e "LC_ALL=$value" <<<''
	done
	as_anna qsend -e LANG=x/y -e TZ=:Europe/Berlin <<<''
	work_as "$BERT" 022 -- sh -c 'echo "$TZ,$LANG,$LC_ALL"'
	assert_success
	assert_equal "$(sort -u <<<"$output")" $',,\n:Europe/Berlin,,'
}

@test "a function for bash, and what is qspool's own, cannot stand in planted options" {
	local n=0 line id
	for line in 'env BASH_FUNC_x%%=() { echo evil; }' 'env QJOB_ID=evil' 'env QSPOOL=/evil' 'env =evil' 'env 1A=b' \
		'env A-B=c' 'env A' 'header QJOB_ID' 'header A B: c'; do
		n=$((n + 1))
		id=$(forged_id "$n")
		framed_meta <<<"$line" | anna_writes "$queue/meta/$id"
		echo "$line" | anna_writes "$queue/new/50.$id.0,m"
		chmod 0660 "$queue/new/50.$id.0,m"
	done
	work_as "$BERT" 022 -- cat
	assert_success
	assert_output ''
	assert_equal "$(job_count buried)" "$n"
	assert_equal "$(grep -c 'outcome=buried cause="its options are damaged"' <<<"$stderr")" "$n"
}

@test "a payload of the worker's under another's options, or the other way round, gets no environment" {
	local of_anna of_bert
	of_bert=$(as_bert qsend -e OWN=bert <<<bert)
	of_anna=$(as_anna qsend -e OWN=anna <<<anna)
	as_anna mv "$queue/new/50.$of_bert.0,m" "$queue/tmp/x"
	as_anna mv "$queue/new/50.$of_anna.0,m" "$queue/new/50.$of_bert.0,m"
	as_anna mv "$queue/tmp/x" "$queue/new/50.$of_anna.0,m"
	work_as "$BERT" 022 -- sh -c 'echo "$(cat) ${OWN-none}"'
	assert_success
	assert_equal "$(sort <<<"$output")" $'anna none\nbert none'
	as_bert qsend -e OWN=bert <<<bert
	work_as "$BERT" 022 -- sh -c 'echo "$(cat) ${OWN-none}"'
	assert_output 'bert bert'
}

@test "options that qfsck --repair writes anew for another's job bring no environment" {
	local copy of_bert
	copy=$(as_anna qsend -e OWN=anna -H 'A: kept' <<<anna)
	as_anna cp -p "$queue/new/50.$copy.0,m" "$queue/buried/50.$copy.1,m"
	run_tool as_bert qfsck --repair
	assert_success
	assert_output --partial 'repaired double'
	# The options of the copy are Bert's now; Anna puts a payload of Bert's under them.
	copy=$(sole_job buried)
	of_bert=$(as_bert qsend <<<bert)
	as_anna rm "$queue"/new/*,m
	as_anna mv -f "$queue/new/50.$of_bert.0" "$copy"
	as_anna qkick -q default --all
	work_as "$BERT" 022 -- sh -c 'echo "$(cat) $QJOB_HEADER_A ${OWN-none}"'
	assert_success
	assert_output 'bert kept none'
}

# plant_log COMMAND...: a failing job whose log/ID is made by COMMAND, which gets its path.
plant_log() {
	local id
	id=$(as_anna qsend -A 1 <<<payload)
	"$@" "$queue/log/$id"
	work_as "$BERT" 022 -- sh -c 'echo evil >&2; exit 1'
	assert_success
	assert_job "$id" buried
}

@test "a log that is a link, a fifo or a file of the worker's own is not written to" {
	make_secret
	plant_log ln -s "$test_dir/secret"
	plant_log ln "$test_dir/secret"
	plant_log ln -s "$test_dir/nowhere"
	plant_log mkfifo -m 0666
	plant_log mkdir
	assert_not_exists "$test_dir/nowhere"
	assert_secret_kept
	make_secret "$BERT" 0755
	plant_log mv "$test_dir/secret"
	refute grep -rs --devices=skip -e evil -e attempt= "$queue/log"
	assert_regex "$stderr" 'the post-mortem could not be written'
}

@test 'directories that became links lead nowhere, and qwork ends' {
	local dir
	mkdir "$test_dir/outside"
	chmod 0777 "$test_dir/outside"
	for dir in cur delay log meta new; do
		start as_user "$BERT" 022 qwork -b 1h -- sh -c 'exit 1' </dev/null
		wait_for 20 watches "$started"
		as_anna mv "$queue/$dir" "$queue/moved"
		as_anna ln -s "$test_dir/outside" "$queue/$dir"
		exit_status 20 "$started"
		assert_equal "$dir: $status" "$dir: 75"
		run_tool as_user "$BERT" 022 timeout 20 qwork --once -- true </dev/null
		assert_equal "$dir: $status" "$dir: 66"
		rm "$queue/$dir"
		mv "$queue/moved" "$queue/$dir"
	done
	assert_equal "$(ls "$test_dir/outside")" ''
}

@test 'a link that has the name of a queue is none' {
	mkdir -p "$test_dir/outside"/{tmp,new,cur,delay,buried,meta,log}
	chmod -R 0777 "$test_dir/outside"
	echo secret >"$test_dir/outside/new/file"
	as_anna ln -s "$test_dir/outside" "$QSPOOL/link"
	run_tool as_bert qstat
	assert_success
	refute_output --partial link
	work_as "$BERT" 022 -q link -- cat
	assert_output ''
	run_tool as_bert qsend -q link <<<x
	assert_failure
	assert_equal "$(ls "$test_dir/outside/tmp")" ''
	assert_exists "$test_dir/outside/new/file"
}

@test 'a queue that cannot be read hides none of the others' {
	local id
	as_anna mkdir -p "$QSPOOL"/aaa/{tmp,new,cur,delay,buried,meta,log}
	chmod 0711 "$QSPOOL/aaa"
	id=$(as_bert qsend <<<payload)
	run_tool as_bert qcat "$id"
	assert_success
	assert_output payload
	as_bert qbury "$id"
	as_bert qkick "$id"
	run_tool as_bert qbury -n 1
	assert_failure 77
	assert_job "$id" buried
	run_tool as_bert qdel "$(forged_id 0)"
	assert_failure 77
	assert_regex "$stderr" aaa
	as_bert qdel "$id"
}

@test 'a lock that a member keeps for ever, or a lease, keeps the others from nothing' {
	need_command flock
	need_python
	local locked leased
	locked=$(as_anna qsend -p 0 <<<locked)
	leased=$(as_anna qsend -p 1 <<<leased)
	start as_user "$ANNA" 022 flock "$queue/new/00.$locked.0" sleep 300
	start as_user "$ANNA" 022 "$python" -c 'import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
f = open(sys.argv[1])
fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_RDLCK)
signal.pause()' "$queue/new/01.$leased.0"
	wait_for 20 is_locked "$queue/new/00.$locked.0"
	wait_for 20 grep -q ' LEASE ' /proc/locks
	start as_user "$BERT" 022 qwork -- cat </dev/null >"$test_dir/out" 2>"$test_dir/log"
	as_anna qsend <<<one
	as_anna qsend -p 99 <<<two
	wait_for 20 lines_are 2 "$test_dir/out"
	assert_equal "$(cat "$test_dir/out")" $'one\ntwo'
	refute grep -q 'could not be opened' "$test_dir/log"
	assert_job "$locked" new
}

is_locked() { ! flock -n "$1" true; }

# A process of Anna's that has a file of cur/ locked as its standard input, in the session and
# process group of a process of somebody else's, whose number is in the file `leader`.
intrude() {
	"$python" -c 'import fcntl, os, pwd, signal, sys
path, user, pid_file = sys.argv[1:]
leader = os.fork()
if leader:
    os.waitpid(leader, 0)
    sys.exit()
os.setsid()
leader = os.getpid()
if os.fork() == 0:
    os.environ["QJOB_ID"] = path.split(".")[-2]
    user = pwd.getpwnam(user)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    if os.fork() == 0:
        os.dup2(fd, 0)
        os.execvp("sleep", ["sleep", "300"])
    os.execvp("sleep", ["sleep", "300"])
with open(pid_file + ".part", "w") as out:
    print(leader, file=out)
os.rename(pid_file + ".part", pid_file)
signal.pause()' "$1" "$ANNA" "$test_dir/leader"
}

@test "--kill does not signal the group of a stranger that a member made look like a handler" {
	need_python
	local id leader
	id=$(forged_id 0)
	echo payload | anna_writes "$queue/cur/50.$id.1"
	chmod 0660 "$queue/cur/50.$id.1"
	start intrude "$queue/cur/50.$id.1"
	wait_for 20 is_locked "$queue/cur/50.$id.1"
	wait_for 20 test -e "$test_dir/leader"
	read -r leader <"$test_dir/leader"
	run_tool timeout 60 qdel --kill "$id"
	refute gone "$leader"
	assert_failure 75
	assert_job "$id" cur
	kill -KILL -- -"$leader"
}

# The directory has changed since it was last asked for.
names_change() {
	local now
	now=$(stat -c %y "$1")
	[[ ${then:=$now} != "$now" ]]
}

@test "what is exchanged while it is claimed is never run without its lock" {
	need_python
	local i
	for i in $(seq 200); do as_anna qsend <<<"$i"; done >/dev/null
	start as_user "$ANNA" 022 "$python" -c 'import ctypes, os, random, sys
libc = ctypes.CDLL(None)
new, cur, tmp = (os.open(os.path.join(sys.argv[1], d), os.O_RDONLY) for d in ("new", "cur", "tmp"))
while True:
    names = os.listdir(new)
    if len(names) < 2:
        continue
    a, b = (name.encode() for name in random.sample(names, 2))
    how = random.randrange(4)
    if how < 2:
        libc.renameat2(new, a, new, b, 2)  # RENAME_EXCHANGE
    elif how == 2 and libc.renameat2(new, a, tmp, b"aside", 1) == 0:
        libc.renameat2(tmp, b"aside", new, a, 1)
    elif libc.linkat(new, a, tmp, b"link", 0) == 0:
        libc.renameat(tmp, b"link", new, b)' "$queue"
	wait_for 20 names_change "$queue/new"
	run_tool as_user "$BERT" 022 timeout -k 10 60 qwork --drain -j 4 -- sh -c '
		grep -q "^lock:.*FLOCK" /proc/self/fdinfo/0 || echo unlocked
		echo "ran $(cat)"' </dev/null
	assert_success
	assert_line --regexp '^ran [0-9]+$'
	refute_line unlocked
	refute_output --regexp 'ran *$'
}

@test "the state of a resource is not written into a file of the worker's" {
	local resource=$QSPOOL/.resource/r
	mkdir -p "${resource%/*}"
	mkdir -m 2770 "$resource"
	chgrp -R "$GROUP" "$QSPOOL/.resource"
	echo 1000/s >"$resource/rate"
	make_secret
	ln "$test_dir/secret" "$resource/state"
	as_anna qsend --resource r <<<payload
	work_as "$BERT" 022 -- cat
	assert_secret_kept
	rm "$resource/state"
	work_as "$BERT" 022 -- cat
	assert_output payload
	# A backup by hard links of what all may write is no such file.
	ln "$resource/state" "$QSPOOL/.backup"
	as_anna qsend --resource r <<<again
	work_as "$BERT" 022 -- cat
	assert_output again
}
