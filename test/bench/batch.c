/*
 * The limit of sending many: creates jobs of 200 bytes in QUEUE/tmp, SIZE (1000) at a time, makes them durable by one syncfs, renames them
 * to QUEUE/new and syncs the directories, with -t only the target. With -n nothing is synced. Prints how many a second.
 */
#include "bench.h"

#include <stdbool.h>
#include <string.h>
#include <sys/file.h>

static int tmp, new;
static bool unsynced, target_only;

static void name_of(long which, char name[static NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "50.0000000000%010ld.0", which);
}

static void create(long which)
{
	static const char payload[PAYLOAD];
	char name[NAME_SIZE];
	int fd;

	name_of(which, name);
	fd = openat(tmp, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		err(1, "%s", name);
	write_all(fd, payload, sizeof payload);
	if (close(fd) != 0)
		err(1, "%s", name);
}

static void publish(long which)
{
	char name[NAME_SIZE];

	name_of(which, name);
	move(tmp, name, new, name);
}

static void send_batch(long first, long end)
{
	for (long i = first; i < end; i++)
		create(i);
	if (!unsynced && syncfs(tmp) != 0)
		err(1, "syncfs");
	for (long i = first; i < end; i++)
		publish(i);
	if (unsynced)
		return;
	if (!target_only)
		sync_or_die(tmp);
	sync_or_die(new);
}

static void run(long count, long size)
{
	double begin = now();

	for (long i = 0; i < count; i += size)
		send_batch(i, count - i < size ? count : i + size);
	print_rate(stdout, count, begin);
}

int main(int argc, char **argv)
{
	long size = 1000;
	int queue, c;

	while ((c = getopt(argc, argv, "b:nt")) != -1) {
		if (c == 'b')
			size = number(optarg);
		unsynced |= c == 'n';
		target_only |= c == 't';
	}
	if (argc - optind != 2)
		errx(EXIT_USAGE, "usage: batch [-nt] [-b SIZE] QUEUE COUNT");
	queue = open_dir(AT_FDCWD, argv[optind]);
	tmp = open_dir(queue, "tmp");
	new = open_dir(queue, "new");
	run(number(argv[optind + 1]), size);
	return 0;
}
