# shellcheck shell=bash
# For tests with nats-servers, which listen on the loopback only, and with several hosts, which are spools
# below the test's directory.

need_nats() {
	# shellcheck disable=SC2034 # by wait_for
	WAIT_PAUSE=0.2 # what is asked of servers costs more than a look at files
	[[ -x $QSPOOL_BIN/qrelay ]] || skip 'qrelay is not built: libnats-dev or libjansson-dev is missing'
	command -v nats-server >/dev/null || skip 'nats-server is missing'
}

# start_nats NAME [OPTION...]: a server of that name, at the port it had before if there was one; its id in
# $started, the URL in ${nats_url[NAME]}.
declare -gA nats_url nats_port nats_pid
start_nats() {
	local name=$1
	mkdir -p "$test_dir/$name"
	rm -f "$test_dir/$name"/*.ports
	start nats-server -js -sd "$test_dir/$name/js" -n "$name" -a 127.0.0.1 -m -1 -p "${nats_port[$name]:--1}" \
		--ports_file_dir "$test_dir/$name" "${@:2}" >>"$test_dir/$name.log" 2>&1
	nats_pid[$name]=$started
	wait_for 20 nats_listens "$name"
}
nats_listens() {
	local url
	url=$(jq -r '.nats[0]' "$test_dir/$1"/*.ports 2>/dev/null) && [[ -n $url ]] || return 1
	nats_port[$1]=${url##*:}
	nats_url[$1]=$url
	# shellcheck disable=SC2034
	nats_monitor=$(jq -r '.monitoring[0]' "$test_dir/$1"/*.ports)
}

# A condition: stream_has NUMBER STREAM.
stream_has() {
	[[ $(curl -sf "$nats_monitor/jsz?streams=true" |
		jq "[.account_details[].stream_detail[]? | select(.name == \"$2\") | .state.messages] | add // 0") == "$1" ]]
}

# kill_nats NAME: at once, and waits until it is gone.
kill_nats() {
	kill -KILL "${nats_pid[$1]}"
	wait_for 10 gone "${nats_pid[$1]}"
}

# start_cluster: three servers a, b and c that are one; $cluster_url has all of them.
start_cluster() {
	local routes name
	local -a ports
	mapfile -t ports < <(free_ports 3)
	routes=$(printf ',nats://127.0.0.1:%s' "${ports[@]}")
	routes=${routes#,}
	for name in a b c; do
		cluster_options[$name]="--cluster_name test --cluster nats://127.0.0.1:${ports[0]} --routes $routes"
		ports=("${ports[@]:1}")
		start_member "$name"
	done
	# shellcheck disable=SC2034
	cluster_url=${nats_url[a]},${nats_url[b]},${nats_url[c]}
}
declare -gA cluster_options
# shellcheck disable=SC2086
start_member() { start_nats "$1" ${cluster_options[$1]}; }

free_ports() {
	python3 -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
for each in held: print(each.getsockname()[1])' "$1"
}

# on HOST COMMAND...: with the spool of that host.
on() { QSPOOL=$test_dir/$1 "${@:2}"; }

# start_on HOST COMMAND...: in the background, what it says in the file HOST.COMMAND.log.
start_on() {
	local log=$test_dir/$1.${2##*/}.log
	qwork_logs+=("$log")
	QSPOOL=$test_dir/$1 start env --default-signal=INT,QUIT "${@:2}" </dev/null >>"$log" 2>&1
}

# nats_request SUBJECT TEXT: what the server one answers.
nats_request() {
	python3 - "${nats_port[one]}" "$1" "$2" <<-'END'
		import socket, sys
		link = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		text = sys.argv[3].encode()
		link.sendall(b'CONNECT {"verbose":false}\r\nSUB answer 1\r\nPUB %s answer %d\r\n%s\r\n'
		             % (sys.argv[2].encode(), len(text), text))
		lines = link.makefile("rb")
		for line in lines:
		    if line.startswith(b"MSG "):
		        print(lines.read(int(line.split()[-1])).decode())
		        break
	END
}

# make_certificates: of an authority, of a server on the loopback and of a client, in $test_dir.
make_certificates() {
	local name
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca \
		-keyout "$test_dir/ca.key" -out "$test_dir/ca.pem" 2>/dev/null
	for name in server client; do
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" \
			-keyout "$test_dir/$name.key" -out "$test_dir/$name.csr" 2>/dev/null
		openssl x509 -req -in "$test_dir/$name.csr" -CA "$test_dir/ca.pem" -CAkey "$test_dir/ca.key" \
			-CAcreateserial -days 2 -out "$test_dir/$name.pem" \
			-extfile <(echo 'subjectAltName=IP:127.0.0.1') 2>/dev/null
	done
}

# make_nkey: a user's key, its seed in the file nkey.seed; prints the public one. As of
# github.com/nats-io/nkeys: a prefix, 32 bytes and their CRC-16 in base 32.
make_nkey() {
	openssl genpkey -algorithm ed25519 -out "$test_dir/nkey.pem"
	python3 - "$test_dir/nkey.seed" \
		"$(openssl pkey -in "$test_dir/nkey.pem" -outform DER | tail -c 32 | base64 -w0)" \
		"$(openssl pkey -in "$test_dir/nkey.pem" -pubout -outform DER | tail -c 32 | base64 -w0)" <<-'END'
		import base64, binascii, sys
		USER, SEED = 20 << 3, 18 << 3
		def encode(prefix, key):
		    raw = bytes(prefix) + base64.b64decode(key)
		    raw += binascii.crc_hqx(raw, 0).to_bytes(2, "little")
		    return base64.b32encode(raw).decode().rstrip("=")
		with open(sys.argv[1], "w") as file:
		    print(encode([SEED | USER >> 5, (USER & 31) << 3], sys.argv[2]), file=file)
		print(encode([USER], sys.argv[3]))
	END
}

# nats_publish SUBJECT TEXT HEADER...: a message with such headers, "Name: value", to the server one; what is answered.
nats_publish() {
	python3 - "${nats_port[one]}" "$@" <<-'END'
		import os, socket, sys
		link = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		subject, text, *headers = map(os.fsencode, sys.argv[2:])
		head = b"NATS/1.0\r\n" + b"".join(header + b"\r\n" for header in headers) + b"\r\n"
		link.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB answer 1\r\n'
		             b'HPUB %s answer %d %d\r\n%s%s\r\n' % (subject, len(head), len(head + text), head, text))
		lines = link.makefile("rb")
		for line in lines:
		    if line[:4] in (b"MSG ", b"HMSG"):
		        print(lines.read(int(line.split()[-1])).decode())
		        break
	END
}

# make_jwts [SECONDS]: an operator and an account with JetStream in $test_dir/jwt/server.conf, and NAME.creds of its users: one
# for each that SECURITY of qrelay(1) lets in, with those permissions; "short", over in SECONDS; "expired"; and "stranger", of an
# account that the server does not know. As of github.com/nats-io/jwt: what the one above has signed.
make_jwts() {
	mkdir "$test_dir/jwt"
	python3 - "$test_dir/jwt" "$BATS_TEST_DIRNAME/../../man/qrelay.1" "${1:-0}" <<-'END'
		import base64, binascii, json, os, re, subprocess, sys, time
		where, page, seconds = sys.argv[1:]
		PREFIX, SEED = {"operator": 14 << 3, "account": 0, "user": 20 << 3}, 18 << 3
		def encode(prefix, key):
		    raw = bytes(prefix) + key
		    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")
		def base64url(data): return base64.urlsafe_b64encode(data).decode().rstrip("=")
		def openssl(*words):
		    return subprocess.run(("openssl",) + words, check=True, capture_output=True, cwd=where).stdout
		class Key:
		    def __init__(self, kind):
		        self.kind, self.file, prefix = kind, os.urandom(8).hex() + ".key", PREFIX[kind]
		        openssl("genpkey", "-algorithm", "ed25519", "-out", self.file)
		        of = ("pkey", "-in", self.file, "-outform", "DER")
		        self.seed = encode([SEED | prefix >> 5, (prefix & 31) << 3], openssl(*of)[-32:])
		        self.public = encode([prefix], openssl(*of, "-pubout")[-32:])
		    def sign(self, subject, nats, **claims):
		        claims.update(iat=int(time.time()), iss=self.public, sub=subject.public, jti=os.urandom(8).hex(),
		                      nats=dict(nats, type=subject.kind, version=2))
		        text = ".".join(base64url(json.dumps(part).encode())
		                        for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims))
		        with open(where + "/text", "w") as file: file.write(text)
		        return text + "." + base64url(openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.file, "-in", "text"))
		def user(name, account, permissions, **claims):
		    key = Key("user")
		    token = account.sign(key, dict(permissions, subs=-1, data=-1, payload=-1), **claims)
		    with open("%s/%s.creds" % (where, name), "w") as file:
		        print("-----BEGIN NATS USER JWT-----", token, "------END NATS USER JWT------", "",
		              "-----BEGIN USER NKEY SEED-----", key.seed, "------END USER NKEY SEED------", sep="\n", file=file)
		operator, system, account = Key("operator"), Key("account"), Key("account")
		def unlimited(*names): return dict.fromkeys(names, -1)
		limits = dict(unlimited("subs", "data", "payload", "imports", "exports", "conn", "leaf"), wildcards=True)
		stored = dict(limits, **unlimited("mem_storage", "disk_storage", "streams", "consumer"))
		with open(where + "/server.conf", "w") as file:
		    print("operator:", operator.sign(operator, {"system_account": system.public}), file=file)
		    print("system_account:", system.public, file=file)
		    print("resolver: MEMORY, resolver_preload: {", file=file)
		    for each, has in ((system, limits), (account, stored)):
		        print(each.public + ":", operator.sign(each, {"limits": has}), file=file)
		    print("}", file=file)
		with open(page) as file: security = file.read().split("authorization {")[1].split(".Ed")[0]
		def subjects(entry, verb):
		    found = re.search(verb + r": \[(.*?)\]", entry, re.S)
		    return {"allow": re.findall(r'"(.*?)"', found[1])} if found else {}
		for entry in security.split("{ user: ")[1:]:
		    permissions = {"pub": subjects(entry, "publish"), "sub": subjects(entry, "subscribe")}
		    if "allow_responses" in entry: permissions["resp"] = {"max": 1, "ttl": 0}
		    user(entry.split(",")[0], account, permissions)
		user("expired", account, {}, exp=int(time.time()) - 60)
		user("short", account, {}, exp=int(time.time()) + int(seconds))
		user("stranger", Key("account"), {})
	END
}
