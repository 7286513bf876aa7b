/* Options of jobs on disk: meta/ID. */
#include "spool/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char *read_small(int dir, const char *name, size_t max, size_t *len, struct stat *st)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char *text = NULL;
	ssize_t n = 0;

	*len = 0;
	if (fd < 0 || fstat(fd, st) != 0)
		goto out;
	if (!S_ISREG(st->st_mode) || st->st_size > (off_t)max) {
		errno = S_ISREG(st->st_mode) ? EFBIG : EINVAL;
		goto out;
	}
	text = malloc((size_t)st->st_size + 1);
	while (text && *len < (size_t)st->st_size &&
	    (n = read(fd, text + *len, (size_t)st->st_size - *len)) > 0)
		*len += (size_t)n;
	if (text && n < 0) {
		free(text);
		text = NULL;
	}
	if (text)
		text[*len] = '\0';
out:
	sys_discard(&fd);
	return text;
}

bool ours_alone(const struct stat *st)
{
	return (st->st_uid == 0 || st->st_uid == geteuid()) &&
	    (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int damaged(const char **why, const char *reason)
{
	*why = reason;
	errno = EBADMSG;
	return -1;
}

int job_meta(
    const struct queue *queue, const struct job_name *name, struct meta *meta, const char **why)
{
	struct stat st;
	char *text;
	size_t len;
	int result;

	*why = NULL;
	if (!name->meta)
		return 0;
	text = read_small(queue->dir[DIR_META], name->id, META_SIZE_MAX, &len, &st);
	if (!text && (errno == ENOENT || errno == EFBIG || errno == EINVAL || errno == ELOOP))
		return damaged(why, errno == ENOENT ? "missing" : "not a readable file");
	if (!text)
		return queue_fail(queue, DIR_META, name->id);
	result = meta_parse(text, len, meta, why);
	meta->trusted = result == 0 && ours_alone(&st);
	free(text);
	return result == 0 ? 1 : -1;
}

int write_and_close(int fd, const char *text, size_t len, bool sync)
{
	if (sys_write(fd, text, len) == 0 && (!sync || sys_fsync(fd) == 0))
		return sys_close(fd);
	sys_discard(&fd);
	return -1;
}

int meta_write(const struct queue *queue, const char *id, const struct meta *meta, bool sync)
{
	size_t len;
	char *text = meta_format(meta, &len);
	int fd = -1, result = -1;

	if (!text)
		return -1;
	if (len > META_SIZE_MAX) { /* nobody would read it */
		free(text);
		errno = E2BIG;
		return queue_fail(queue, DIR_META, id);
	}
	fd = sys_create(queue->dir[DIR_META], id, queue->spool->file_mode & 0644);
	if (fd >= 0)
		result = write_and_close(fd, text, len, sync);
	if (result == 0 && sync)
		result = sys_fsync(queue->dir[DIR_META]);
	free(text);
	if (result == 0)
		return 0;
	queue_fail(queue, DIR_META, id);
	if (fd >= 0)
		meta_remove(queue, id);
	return -1;
}

int meta_sync(const struct queue *queue, const char *id)
{
	int fd = openat(
	    queue->dir[DIR_META], id, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int result = fd < 0 ? -1 : sys_fsync(fd);

	sys_discard(&fd);
	return result == 0 ? 0 : queue_fail(queue, DIR_META, id);
}

void meta_remove(const struct queue *queue, const char *id)
{
	int saved = errno;

	(void)!sys_unlink(queue->dir[DIR_META], id);
	errno = saved;
}
