# shellcheck shell=bash
# Jobs that eat memory, for memory.bats and groups.bats.

# What the jobs say that they do.
make_handler() {
	handler=$test_dir/handler
	script "$handler" <<-END
		read -r word
		case \$word in
		greedy) exec tail /dev/zero ;;
		child) tail /dev/zero ; exit 3 ;;
		python) exec python3 -c 'x = bytearray(1 << 30)' ;;
		fails) echo no luck >&2 ; exit 1 ;;
		behind) sleep 1000 & setsid sleep 1000 & exit 0 ;;
		hangs) trap '' TERM ; setsid sleep 1000 & sleep 1000 & wait ; sleep 1000 ;;
		patient) until [ -e '$test_dir/open' ]; do sleep 0.05; done ;;
		limit)
			data=\$(ulimit -d)
			if [ \$data != unlimited ]; then
				echo \$((data / 1024))M
			else
				echo \$((\$(cat /sys/fs/cgroup/\$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.max) >> 20))M
			fi
			;;
		esac
	END
}

# How many processes run `sleep 1000` in the group or, without one, for a job of this test.
sleepers() { test_processes | xargs -r ps -o args= -p | grep -c '^sleep 1000' || true; }
no_sleepers() { [[ $(sleepers) == 0 ]]; }

# A small picture whose animation takes 8 MB a frame.
make_bomb() {
	convert -size 1000x1000 xc:red "$1.gif"
	python3 - "$1.gif" "$1" <<-'END'
		import sys
		gif = open(sys.argv[1], "rb").read()
		head = 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 128 else 0)
		open(sys.argv[2], "wb").write(gif[:head] + gif[head:-1] * 200 + gif[-1:])
	END
	rm "$1.gif"
}

# queue_with NAME SETTINGS: a queue whose handler is standard input.
queue_with() {
	qdel "$(send x -q "$1")" >/dev/null
	script "$QSPOOL/$1/handler"
	printf '%s\n' "${@:2}" >"$QSPOOL/$1/settings"
}

thumbnails() {
	need_command identify
	queue_with thumbs 'memory 96M' 'attempts 2' 'backoff 100ms' <<-END
		export MAGICK_THREAD_LIMIT=1 MAGICK_MAP_LIMIT=0 MAGICK_DISK_LIMIT=0
		exec convert - -thumbnail 64x64 "$test_dir/thumb.\$QJOB_ID.png"
	END
	queue_with simple <<<"exec cat >>'$test_dir/done'"
	convert -size 640x480 plasma: gradient:blue-red xc:white rose: -resize 640x480! "$test_dir/picture%d.jpg"
	make_bomb "$test_dir/bomb"
	for picture in "$test_dir"/picture*.jpg; do qsend -q thumbs -f "$picture" >/dev/null; done
	bomb=$(qsend -q thumbs -f "$test_dir/bomb")
	for picture in "$test_dir"/picture*.jpg; do qsend -q thumbs -f "$picture" >/dev/null; done
	seq 40 | qsend -q simple --lines >/dev/null
}

assert_thumbnails() {
	exit_status 120 "$qwork"
	assert_equal "$status" 0
	assert_job "$bomb" buried thumbs
	assert jobs_are 1 buried thumbs
	assert_equal "$(grep -c 'attempt=[12] of=2 cause="out of memory" ' "$QSPOOL/thumbs/log/$bomb")" 2
	# ImageMagick would have taken 256 MB.
	assert [ "$(sed -n 's/.* maxrss=\([0-9]*\)K.*/\1/p' "$QSPOOL/thumbs/log/$bomb" | sort -n | tail -n 1)" -lt 150000 ]
	assert_equal "$(find "$test_dir" -name 'thumb.*.png' -size +0 | wc -l)" 8
	assert_equal "$(sort -n "$test_dir/done")" "$(seq 40)"
	assert_spool_empty simple
	spool_is_idle thumbs
	assert_equal "$(grep -cE 'outcome=(retry|buried|returned)' "$qwork_log")" 2
}
