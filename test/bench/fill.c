/*
 * Makes a backlog: COUNT empty jobs with the names that qsend gives them, directly in QUEUE/new, or with -d in QUEUE/delay, the first
 * due at that time (ms since the epoch), the others STEP ms after one another. Nothing is synced. Prints how many a second.
 */
#include "bench.h"

#include "format/name.h"

static void make(int dir, const struct job_name *name)
{
	char file[JOB_NAME_SIZE];
	int fd;

	job_name_format(name, file);
	fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || close(fd) != 0)
		err(1, "%s", file);
}

static void fill(int dir, long count, int64_t due_ms, long step)
{
	uint64_t sent_ns = (uint64_t)(time_of_day() * 1e9) - (uint64_t)count;
	double begin = now();

	for (long i = 0; i < count; i++) {
		struct job_name name = {.due_ms = due_ms, .priority = JOB_PRIORITY_DEFAULT};

		if (due_ms != JOB_DUE_NONE)
			name.due_ms += i * step;
		job_id_format(sent_ns + (uint64_t)i, (uint64_t)random(), name.id);
		make(dir, &name);
	}
	print_rate(stdout, count, begin);
}

int main(int argc, char **argv)
{
	int64_t due_ms = JOB_DUE_NONE;
	long step = 1;
	int c, queue;

	while ((c = getopt(argc, argv, "d:s:")) != -1) {
		if (c == 'd')
			due_ms = number(optarg);
		else if (c == 's')
			step = number(optarg);
	}
	if (argc - optind != 2)
		errx(EXIT_USAGE, "usage: fill [-d DUE] [-s STEP] QUEUE COUNT");
	queue = open_dir(AT_FDCWD, argv[optind]);
	fill(open_dir(queue, due_ms == JOB_DUE_NONE ? "new" : "delay"), number(argv[optind + 1]),
	    due_ms, step);
	return 0;
}
