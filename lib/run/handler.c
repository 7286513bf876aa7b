#include "run/handler.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/settings.h"
#include "spool/job.h"

enum { SETTINGS_MAX = 65536 };

/* Whether only root and we can exchange what the directory holds of root's and ours. */
static bool keeps_ours(const struct stat *dir)
{
	return (dir->st_uid == 0 || dir->st_uid == geteuid()) &&
	    ((dir->st_mode & (S_IWGRP | S_IWOTH)) == 0 || (dir->st_mode & S_ISVTX));
}

/* Whether nobody else can exchange a directory above the spool, up to the root. */
static bool path_is_ours(const struct spool *spool)
{
	char up[PATH_MAX] = "..";
	struct stat st, last = {0};

	for (size_t len = 2; len + 4 < sizeof up; len += 3) {
		if (fstatat(spool->fd, up, &st, 0) != 0 || !keeps_ours(&st))
			return false;
		if (same_file(&st, &last))
			return true;
		last = st;
		memcpy(up + len, "/..", 4);
	}
	return false;
}

/* Whether somebody else could put another file in the place of what was checked. */
static bool replaceable(const struct spool *spool, int dir)
{
	struct stat top, st;

	return fstat(spool->fd, &top) != 0 || fstat(dir, &st) != 0 || !ours_alone(&top) ||
	    !ours_alone(&st);
}

/* Where others can make names, a second one may be a program's that was linked there. */
static bool trusted(const struct spool *spool, int dir, const struct stat *st)
{
	return S_ISREG(st->st_mode) && ours_alone(st) &&
	    (st->st_nlink == 1 || !replaceable(spool, dir));
}

/* An open descriptor of NAME in DIR, which is to be trusted. */
static int open_trusted(struct spool *spool, int dir, const char *dir_name, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0) {
		if (trusted(spool, dir, &st))
			return fd;
		errno = EPERM;
	}
	sys_discard(&fd);
	if (errno == ELOOP)
		errno = EPERM;
	return spool_fail(spool, dir_name, NULL, name);
}

int handler_find(
    struct handler *handler, struct spool *spool, int dir, const char *dir_name, const char *name)
{
	int fd = open_trusted(spool, dir, dir_name, name);

	*handler = (struct handler){.fd = -1};
	if (fd < 0)
		return -1;
	if (faccessat(dir, name, X_OK, AT_EACCESS) != 0 ||
	    asprintf(&handler->path, "%s/%s/%s", spool->path, dir_name, name) < 0) {
		sys_discard(&fd);
		return spool_fail(spool, dir_name, NULL, name);
	}
	/* By path where nobody can swap it, so that a script finds what lies beside it. */
	if (replaceable(spool, dir) || !path_is_ours(spool))
		handler->fd = fd;
	else
		sys_discard(&fd);
	return 0;
}

int handler_open(struct handler *handler, const struct queue *queue, char *const *command)
{
	*handler = (struct handler){.command = command, .fd = -1};
	return command ? 0 : handler_find(handler, queue->spool, queue->fd, queue->name, "handler");
}

void handler_release(struct handler *handler)
{
	sys_discard(&handler->fd);
	free(handler->path);
	handler->path = NULL;
}

char *settings_read(const struct queue *queue, size_t *len)
{
	int fd = open_trusted(queue->spool, queue->fd, queue->name, "settings");
	char *text = fd < 0 ? NULL : malloc(SETTINGS_MAX + 1);
	ssize_t got = text ? read(fd, text, SETTINGS_MAX + 1) : -1;

	if (got > SETTINGS_MAX) { /* half a line of it may say something else */
		errno = EFBIG;
		got = -1;
	}
	if (got < 0) {
		spool_fail(queue->spool, queue->name, NULL, "settings");
		free(text);
		text = NULL;
	}
	sys_discard(&fd);
	*len = got < 0 ? 0 : (size_t)got;
	return text;
}

static void ignore_wrong(void *arg, unsigned line, const char *why)
{
	(void)arg;
	(void)line;
	(void)why;
}

unsigned spool_attempts(struct spool *spool, const char *queue)
{
	struct settings settings;
	struct queue open;
	unsigned attempts = 0;
	size_t len = 0;
	char *text;

	if (queue_open(&open, spool, queue, false) != 0)
		return 0;
	settings_init(&settings);
	text = settings_read(&open, &len);
	if (text)
		settings_parse(text, len, &settings, ignore_wrong, NULL);
	if (settings.options.has_attempts)
		attempts = settings.options.attempts;
	settings_release(&settings);
	free(text);
	queue_close(&open);
	return attempts;
}
