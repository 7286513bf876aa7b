/*
 * What the programs that measure share. None of them lets go on after an error: err(3). But for stream they link nothing but
 * libc, so that each can be linked as the tool that it is compared with.
 */
#ifndef QSPOOL_BENCH_H
#define QSPOOL_BENCH_H

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD = 200, NAME_SIZE = 64, LINE_SIZE = 128, EXIT_USAGE = 64, NOREPLACE = 1 };

/* Seconds, by the clock that nobody sets. */
static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline double time_of_day(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || end == text || value < 1)
		errx(EXIT_USAGE, "%s: a number is wanted", text);
	return value;
}

static inline void print_rate(FILE *report, long count, double begin)
{
	fprintf(report, "%.1f\n", (double)count / (now() - begin));
}

static inline int open_dir(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", name);
	return fd;
}

/* musl has no name for it. */
static inline void move(int from, const char *name, int to, const char *target)
{
	if (syscall(SYS_renameat2, from, name, to, target, NOREPLACE) != 0)
		err(1, "%s", target);
}

static inline void write_all(int fd, const void *data, size_t len)
{
	if (write(fd, data, len) != (ssize_t)len)
		err(1, "write");
}

static inline void sync_or_die(int fd)
{
	if (fsync(fd) != 0)
		err(1, "fsync");
}

/* FILE becomes standard input, from its beginning. */
static inline void open_input(const char *file)
{
	if (close(STDIN_FILENO) != 0 || open(file, O_RDONLY) != STDIN_FILENO)
		err(1, "%s", file);
}

/* Returns the output, which the children do not get: they have /dev/null. */
static inline FILE *keep_output(void)
{
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	FILE *report;

	if (out < 0 || null < 0 || dup2(null, STDOUT_FILENO) < 0)
		err(1, "standard output");
	report = fdopen(out, "w");
	if (!report)
		err(1, "fdopen");
	return report;
}

static inline pid_t start(char **argv)
{
	pid_t pid = vfork();

	if (pid < 0)
		err(1, "vfork");
	if (pid > 0)
		return pid;
	execve(argv[0], argv, environ);
	_exit(127);
}

/* Until one of those that were started has ended, with success. */
static inline pid_t wait_for_one(const char *program)
{
	int status;
	pid_t pid = wait(&status);

	if (pid < 0 || status != 0)
		errx(1, "%s ended with the status %#x", program, (unsigned)status);
	return pid;
}

#endif
