/*
 * The limit of running jobs: for each of COUNT files, what claiming and finishing one takes (T3 and T5 of spool-layout.md), in one thread:
 * open in QUEUE/new, flock, rename to QUEUE/cur, unlink, close. It makes the files first. Prints how many a second.
 */
#include "bench.h"

#include <sys/file.h>

static void name_of(long which, int attempt, char name[static NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "50.0000000000%010ld.%d", which, attempt);
}

static void make(int dir, long which)
{
	static const char payload[PAYLOAD];
	char name[NAME_SIZE];
	int fd;

	name_of(which, 0, name);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		err(1, "%s", name);
	write_all(fd, payload, sizeof payload);
	close(fd);
}

static void run(int new, int cur, long which)
{
	char name[NAME_SIZE], claimed[NAME_SIZE];
	int fd;

	name_of(which, 0, name);
	name_of(which, 1, claimed);
	fd = openat(new, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		err(1, "%s", name);
	move(new, name, cur, claimed);
	if (unlinkat(cur, claimed, 0) != 0 || close(fd) != 0)
		err(1, "%s", claimed);
}

int main(int argc, char **argv)
{
	int queue, new, cur;
	double begin;
	long count;

	if (argc != 3)
		errx(EXIT_USAGE, "usage: claim QUEUE COUNT");
	queue = open_dir(AT_FDCWD, argv[1]);
	new = open_dir(queue, "new");
	cur = open_dir(queue, "cur");
	count = number(argv[2]);
	for (long i = 0; i < count; i++)
		make(new, i);
	begin = now();
	for (long i = 0; i < count; i++)
		run(new, cur, i);
	print_rate(stdout, count, begin);
	return 0;
}
