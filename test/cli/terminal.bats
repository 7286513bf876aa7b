#!/usr/bin/env bats
# What others chose (names, payloads, options, logs) drives no terminal: its control bytes
# are made visible. What can be read stays readable, and a pipe gets what there is.

load helper

setup() {
	need_command python3
	common_setup
	export LC_ALL=C.UTF-8
	readable='Grüße, Łódź' # with 0x9b and other C1 bytes as parts of characters
	evil=$'\033]0;gotcha\a\r\b\177\x9b31m\xc2\x9b31m\xff'$readable
	new=$QSPOOL/default/new
}

# on_terminal COMMAND...: `run`s it with a terminal as its standard input, output and error,
# in the locale and in C; $output is what came in the locale, byte for byte also in the file
# terminal. Fails if there is a character in it that a terminal obeys, C1 and DEL included;
# in C, where no other are known, if anything but ASCII is. (JSON is UTF-8 everywhere.)
on_terminal() {
	run timeout -k 10 100 python3 -c '
import os, pty, sys

def shown(locale):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["LC_ALL"] = locale
        os.execvp(sys.argv[2], sys.argv[2:])
    out = b""
    try:
        while data := os.read(terminal, 65536):
            out += data
    except OSError:
        pass  # the other end is closed
    return out, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def obeyed(text):
    return [c for c in text.replace("\r\n", "\n")
            if ord(c) < 32 and c not in "\t\n" or 127 <= ord(c) < 160 or 0xdc80 <= ord(c) <= 0xdcff]

out, status = shown(os.environ["LC_ALL"])
in_c = shown("C")[0]
open(sys.argv[1], "wb").write(out)
sys.stdout.buffer.write(out)
bad = obeyed(out.decode("utf-8", "surrogateescape"))
bad += obeyed(in_c.decode("utf-8" if "--json" in sys.argv else "ascii", "surrogateescape"))
if bad and "RAW" not in os.environ:
    print("reached the terminal raw:", *map(repr, bad[:20]))
    status = 200
sys.exit(status)
' "$test_dir/terminal" "$@" 3>&-
	refute [ "$status" = 200 ]
}

# Of a file: text, and no character in it that a terminal obeys.
assert_harmless() {
	refute grep -aqP '[\x00-\x08\x0b-\x1f\x7f-\x{9f}]' "$1"
	iconv -f UTF-8 "$1" >/dev/null
}

# shows COMMAND...: it tells of something evil, harmlessly and readably.
shows() {
	on_terminal "$@"
	assert_output --partial "$readable"
}

# plant NAME: a foreign file that counts as having lain there for a while.
plant() { echo content >"$new/$1"; }

@test 'qstat: names of files that wait, and of such as cannot be jobs' {
	qdel "$(send x)"
	plant "$evil"
	mkdir "$new/$evil.directory"
	shows qstat default
	shows qstat --json default
	on_terminal qstat
	shows qstat "$new/$evil"
}

@test 'qstat: the options of a job' {
	id=$(send x -e "VARIABLE=$evil" -H "Header: $evil" -- "$evil")
	shows qstat "$id"
	shows qstat --json "$id"
}

@test 'qstat: the old name of an adopted file' {
	qdel "$(send x)"
	plant "$evil"
	drain_all -A 1 -- false
	id=$(qstat --json default | jq -r .id)
	shows qstat "$id"
	shows qstat --json "$id"
}

@test 'qstat: a log, whatever somebody wrote into it' {
	id=$(send x)
	drain_all -A 1 -- sh -c 'printf "%s\n" "$1" >&2; exit 1' handler "$evil"
	shows qstat "$id"
	printf '%s\nsecond line\0\n' "$evil" >"$QSPOOL/default/log/$id"
	shows qstat "$id"
	shows qstat --json "$id"
}

@test "a log that qwork wrote can be looked at with cat" {
	id=$(send x)
	drain_all -A 1 -- sh -c 'printf "%s\n" "$1" >&2; exit 1' handler "$evil"
	assert_harmless "$QSPOOL/default/log/$id"
	assert_file_contains "$QSPOOL/default/log/$id" "$readable"
	qkick "$id"
	qbury -r "$evil" "$id"
	assert_harmless "$QSPOOL/default/log/$id"
}

@test 'qstat: a spool whose own path is evil' {
	QSPOOL=$test_dir/$evil
	id=$(send x)
	shows qstat "$id"
	shows qstat -v
}

@test 'qcat makes a payload visible to a terminal, and only there' {
	id=$(send $'first\tline\n'"$evil"$'\n\\backslash\n')
	shows qcat "$id"
	assert_output --partial '\backslash'
	on_terminal qcat "$id"
	assert_output --partial $'first\tline\r\n'
	qcat "$id" >"$test_dir/piped"
	assert_equal "$(cat "$test_dir/piped")" "$(printf 'first\tline\n%s\n\\backslash\n' "$evil")"
}

@test 'qcat --raw writes to a terminal what there is: -r, --raw' {
	id=$(send $'\033[1mbold')
	for option in -r --raw; do
		RAW=1 on_terminal qcat "$option" "$id"
		assert_output $'\033[1mbold'
	done
}

@test 'qcat cuts no character of a long payload in two' {
	{ printf x && python3 -c 'print("ü" * 500000, end="")'; } >"$test_dir/payload"
	id=$(qsend -f "$test_dir/payload")
	on_terminal qcat "$id"
	assert_files_equal "$test_dir/terminal" "$test_dir/payload"
	head -c 300000 /dev/urandom >"$test_dir/payload"
	id=$(qsend -f "$test_dir/payload")
	on_terminal qcat "$id"
	printf 'cut \303' >"$test_dir/payload"
	id=$(qsend -f "$test_dir/payload")
	on_terminal qcat "$id"
	assert_success
	assert_output --partial 'cut M'
}

@test 'messages about jobs that are not there, and about files that are none yet' {
	qdel "$(send x)"
	plant "$evil"
	for tool in qbury qkick qdel; do
		shows "$tool" "$evil.none"
		shows "$tool" "$new/$evil"
	done
	shows qcat "$evil.none"
	shows qcat -v "$new/$evil"
	shows qstat "$evil.none"
	shows qpause "$evil.none"
	shows qlimit "$evil.none"
	mkdir "$new/$evil.directory"
	shows qcat "$new/$evil.directory"
}

@test 'messages about options: a file may be named like one, and * stands for it' {
	send x
	for tool in qsend qwork qbury qkick qdel qcat qstat qfsck qpause qlimit; do
		shows "$tool" "--$evil"
		shows "$tool" -q "$evil"
	done
	shows qsend --at "$evil"
	shows qshard "--$evil"
	shows qshard "$evil"
	shows qsend -f "$evil"
	shows qwork --drain="$evil"
}

@test 'messages about a spool whose path is evil' {
	for tool in 'qbury x' 'qkick x' 'qdel x' 'qcat x' qstat qfsck qlimit 'qpause x'; do
		# shellcheck disable=SC2086
		shows $tool -s "$test_dir/$evil"
	done
	: >"$test_dir/$evil"
	shows qsend -s "$test_dir/$evil" -f /dev/null
	shows qwork -s "$test_dir/$evil" -- true
}

@test 'qfsck: names of all that it tells of' {
	qdel "$(send x)"
	echo content >"$QSPOOL/default/buried/$evil"
	: >"$QSPOOL/default/$evil"
	shows qfsck -v
	shows qfsck --json
	shows qfsck --repair
	QSPOOL=$test_dir/none.$evil shows qfsck
}

@test 'qwork: names of files, and of what it runs, in its log' {
	qdel "$(send x)"
	plant "$evil"
	mkdir "$new/$evil.directory"
	shows qwork --drain -v -- "$test_dir/$evil.handler"
	assert_output --partial outcome=strange
	assert_output --partial outcome=held
}

@test 'qwork: settings and options that are no such thing' {
	id=$(send x -A 3)
	echo "$evil 3" >"$QSPOOL/default/settings"
	echo "$evil" >"$QSPOOL/default/meta/$id"
	on_terminal qwork --drain -- true
	assert_output --partial 'settings is ignored'
	assert_output --partial 'options are damaged'
}
