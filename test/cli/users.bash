# shellcheck shell=bash
# For tests with two users, $ANNA and $BERT of $GROUP, and a spool of that group. The users
# are made for a file of tests and removed behind it, so this needs root.

setup_file() {
	((EUID == 0)) && command -v useradd setpriv >/dev/null || return 0
	export GROUP=qsg$$ ANNA=qsa$$ BERT=qsb$$ PUBLIC USERS=
	PUBLIC=$(mktemp -d /tmp/qspool-group.XXXXXX)
	chmod 0711 "$PUBLIC"
	publish_tools
	if groupadd "$GROUP" && useradd -M -N -g "$GROUP" "$ANNA" && useradd -M -N -g "$GROUP" "$BERT"; then
		USERS=made
	fi
}

teardown_file() {
	[[ -n ${PUBLIC:-} ]] || return 0
	rm -rf "$PUBLIC"
	userdel "$ANNA" || true
	userdel "$BERT" || true
	! getent group "$GROUP" >/dev/null || groupdel "$GROUP"
}

# The tools where the users can reach them, and `as_user USER UMASK COMMAND...`, which is
# a program so that it becomes the command.
publish_tools() {
	local tool
	mkdir "$PUBLIC/bin"
	for tool in qsend qwork qbury qkick qdel qcat qstat qfsck; do
		cp "$QSPOOL_BIN/$tool" "$PUBLIC/bin/"
	done
	script "$PUBLIC/bin/as_user" <<-'END'
		user=$1
		umask "$2"
		shift 2
		exec setpriv --reuid="$user" --regid="$GROUP" --clear-groups "$@"
	END
	chmod -R a+rX "$PUBLIC/bin"
}

setup() { users_setup; }
teardown() { users_teardown; }

users_setup() {
	need_root
	[[ -n ${USERS:-} ]] || skip 'cannot make users here'
	common_setup
	test_dir=$(mktemp -d "$PUBLIC/test.XXXXXX")
	chmod 0711 "$test_dir"
	QSPOOL=$test_dir/spool
	install -d -m 2770 -g "$GROUP" "$QSPOOL"
	PATH=$PUBLIC/bin:$PATH
	cd /
}

users_teardown() {
	[[ -n ${USERS:-} ]] || return 0
	common_teardown
	rm -rf "$test_dir"
}

# work_as USER UMASK OPTION...: `run`s a qwork --drain=all.
work_as() {
	run_tool as_user "$1" "$2" timeout -k 10 60 qwork --drain=all "${@:3}" </dev/null
}
