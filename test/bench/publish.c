/*
 * The limit of one durable send: what qsend must do for a job of standard input, T1 of spool-layout.md, and nothing else, once.
 * QUEUE has tmp/ and new/. With -t only the target directory is synced, which is for file systems on which that
 * settles a rename. Linked as qsend is. Prints the name of the job.
 */
#include "bench.h"

#include <stdbool.h>
#include <string.h>
#include <sys/file.h>

enum { BUFFER = 64 << 10 };

static size_t read_all(char *data)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(STDIN_FILENO, data + len, BUFFER - len)) > 0)
		len += (size_t)n;
	if (n < 0 || len == BUFFER)
		errx(1, "no payload, or one that is too long");
	return len;
}

static void make_name(char name[static NAME_SIZE])
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	snprintf(name, NAME_SIZE, "50.%011lx%09lx.0", (unsigned long)t.tv_sec << 10,
	    (unsigned long)t.tv_nsec << 2);
}

static void write_draft(int tmp, const char *name, const char *data, size_t len)
{
	int fd = openat(tmp, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		err(1, "%s", name);
	write_all(fd, data, len);
	sync_or_die(fd);
	if (close(fd) != 0)
		err(1, "%s", name);
}

int main(int argc, char **argv)
{
	static char data[BUFFER];
	char name[NAME_SIZE];
	int queue, tmp, new;
	size_t len;
	bool target_only = argc > 1 && strcmp(argv[1], "-t") == 0;

	if (argc != 2 + target_only)
		errx(EXIT_USAGE, "usage: publish [-t] QUEUE <PAYLOAD");
	queue = open_dir(AT_FDCWD, argv[argc - 1]);
	tmp = open_dir(queue, "tmp");
	new = open_dir(queue, "new");
	len = read_all(data);
	make_name(name);
	write_draft(tmp, name, data, len);
	move(tmp, name, new, name);
	if (!target_only)
		sync_or_die(tmp);
	sync_or_die(new);
	write_all(STDOUT_FILENO, name, strlen(name));
	return 0;
}
