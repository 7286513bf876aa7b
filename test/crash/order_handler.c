/*
 * The handler of interleave.py. Its payload is "TOKEN KEY PLAN": KEY is a file in $ORDER/keys/ that only
 * one handler may hold locked at a time, or "-". Each start and end is appended to $ORDER/history by
 * one write, so that its lines are in the order in which things happened:
 *
 *   start TOKEN ID NS      ok TOKEN ID NS      failed TOKEN ID NS      overlap TOKEN ID NS
 *
 * While $ORDER/calm exists every job succeeds.
 */
#include <bsd/stdlib.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_AGAIN = 1, EXIT_BURY = 65, EXIT_WRONG = 99, RUN_MAX_US = 3000 };

static int order, history;
static char token[128], key[128], plan[32];
static const char *id;

static void record(const char *what)
{
	char line[400];
	struct timespec now;
	int len;

	clock_gettime(CLOCK_MONOTONIC, &now);
	len = snprintf(line, sizeof line, "%s %s %s %" PRId64 "\n", what, token, id,
	    (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
	if (write(history, line, (size_t)len) != len)
		exit(EXIT_WRONG);
}

/* Kept until this process ends, however it does. */
static void lock_key(void)
{
	char path[160];
	int fd;

	snprintf(path, sizeof path, "keys/%s", key);
	fd = openat(order, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		exit(EXIT_WRONG);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		record("overlap");
}

static int end_as_planned(void)
{
	bool calm = faccessat(order, "calm", F_OK, 0) == 0;
	const char *attempt = getenv("QJOB_ATTEMPT");

	if (!calm && strcmp(plan, "bad") == 0)
		return EXIT_BURY;
	if (!calm && strcmp(plan, "again") == 0 && attempt && strcmp(attempt, "1") == 0)
		return EXIT_AGAIN;
	return EXIT_SUCCESS;
}

int main(void)
{
	const char *directory = getenv("ORDER");
	int status;

	id = getenv("QJOB_ID");
	order = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	history = openat(order, "history", O_WRONLY | O_APPEND | O_CLOEXEC);
	if (!id || history < 0 || scanf("%127s %127s %31s", token, key, plan) != 3)
		return EXIT_WRONG;
	if (strcmp(key, "-") != 0)
		lock_key();
	record("start");
	usleep(arc4random_uniform(RUN_MAX_US));
	status = end_as_planned();
	record(status == EXIT_SUCCESS ? "ok" : "failed");
	return status;
}
