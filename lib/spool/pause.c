#include "spool/pause.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "spool/job.h"
#include "sys/chance.h"
#include "sys/clock.h"

enum { LOCK_TRIES = 20, LOCK_WAIT_MS = 10, DRAFT_SIZE = 24 };

static const char file[] = "paused";

static int64_t written_ms(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
}

static struct pause understand(char *text, size_t len, const struct stat *st)
{
	struct pause pause = {PAUSE_UNCLEAR, JOB_DUE_NONE};
	int64_t until_ms;

	if (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	if (len == 0)
		pause.kind = PAUSE_OPEN;
	else if (strlen(text) == len && when_rfc3339_parse(text, &until_ms) == 0 &&
	    until_ms > written_ms(st)) {
		bool over = until_ms <= clock_real_ms();

		pause.kind = over ? PAUSE_OVER : PAUSE_TIMED;
		pause.until_ms = over ? JOB_DUE_NONE : until_ms;
	}
	return pause;
}

/* Whether it is there is asked first: what keeps it from being opened, such as a lack of
 * descriptors, must not pause a queue that has none. */
struct pause pause_look(const struct queue *queue)
{
	struct pause pause = {PAUSE_NONE, JOB_DUE_NONE};
	char *text = NULL;
	struct stat st;
	size_t len;

	if (fstatat(queue->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		text = read_small(queue->fd, file, WHEN_SIZE, &len, &st);
	if (text)
		pause = understand(text, len, &st);
	else if (errno != ENOENT)
		pause.kind = PAUSE_UNCLEAR;
	free(text);
	return pause;
}

bool pause_holds(const struct pause *pause)
{
	return pause->kind > PAUSE_OVER;
}

/* Whoever replaces the file, or removes one that is over, holds the lock of the queue's
 * directory; otherwise a new pause could be removed for the old one. 1, 0 if another has it. */
static int lock_once(const struct queue *queue)
{
	if (flock(queue->fd, LOCK_EX | LOCK_NB) == 0)
		return 1;
	return errno == EWOULDBLOCK ? 0 : -1;
}

static int lock(const struct queue *queue)
{
	int locked = 0;

	for (int i = 0; locked == 0 && i < LOCK_TRIES; i++) {
		if (i > 0)
			poll(NULL, 0, LOCK_WAIT_MS);
		locked = lock_once(queue);
	}
	if (locked != 0) /* where directories cannot be locked nobody removes it */
		return 0;
	errno = EBUSY;
	return spool_fail(queue->spool, queue->name, NULL, NULL);
}

int pause_sweep(const struct queue *queue)
{
	int result = 0;

	if (lock_once(queue) != 1)
		return 0;
	if (pause_look(queue).kind == PAUSE_OVER && sys_unlink(queue->fd, file) != 0 &&
	    errno != ENOENT)
		result = spool_fail(queue->spool, queue->name, file, NULL);
	flock(queue->fd, LOCK_UN);
	return result;
}

static void remove_draft(const struct queue *queue, const char *draft)
{
	int saved = errno;

	(void)!sys_unlink(queue->dir[DIR_TMP], draft); /* else the sweep does */
	errno = saved;
}

/* By the clock of the file system, by which it will be judged. */
static int still_to_come(const struct queue *queue, const char *draft, int64_t until_ms)
{
	struct stat st;

	if (until_ms == JOB_DUE_NONE)
		return 0;
	if (fstatat(queue->dir[DIR_TMP], draft, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (until_ms > written_ms(&st))
		return 0;
	errno = ETIME;
	return -1;
}

static int write_draft(const struct queue *queue, const char *draft, int64_t until_ms)
{
	char text[WHEN_SIZE] = "";
	int fd = sys_create(queue->dir[DIR_TMP], draft, queue->spool->file_mode);

	if (fd < 0)
		return queue_fail(queue, DIR_TMP, draft);
	if (until_ms != JOB_DUE_NONE) {
		when_rfc3339(until_ms, text);
		strcat(text, "\n");
	}
	if (write_and_close(fd, text, strlen(text), true) == 0 &&
	    still_to_come(queue, draft, until_ms) == 0)
		return 0;
	queue_fail(queue, DIR_TMP, draft);
	remove_draft(queue, draft);
	return -1;
}

/* SOURCE-THEN-TARGET, ONCE. */
static int settle(const struct queue *queue)
{
	int result = 1;

	if (sys_fsync(queue->dir[DIR_TMP]) != 0) {
		queue_fail(queue, DIR_TMP, NULL);
		result = SPOOL_UNSURE;
	}
	if (sys_fsync(queue->fd) != 0) {
		spool_fail(queue->spool, queue->name, NULL, NULL);
		result = SPOOL_UNSURE;
	}
	return result;
}

static int put_in_place(const struct queue *queue, const char *draft)
{
	if (lock(queue) != 0)
		return -1;
	if (sys_replace(queue->dir[DIR_TMP], draft, queue->fd, file) != 0)
		return spool_fail(queue->spool, queue->name, file, NULL);
	return settle(queue);
}

int spool_pause(struct spool *spool, const char *name, int64_t until_ms)
{
	char draft[DRAFT_SIZE];
	struct queue queue;
	int result;

	if (queue_open(&queue, spool, name, false) != 0)
		return -1;
	snprintf(draft, sizeof draft, "%s-%08x", file, (unsigned)chance32());
	result = write_draft(&queue, draft, until_ms);
	if (result == 0) {
		result = put_in_place(&queue, draft);
		if (result < 0)
			remove_draft(&queue, draft);
	}
	queue_close(&queue); /* and so unlocked */
	return result;
}

int spool_resume(struct spool *spool, const char *name)
{
	struct queue queue;
	int result = 1;

	if (queue_open(&queue, spool, name, false) != 0)
		return -1;
	if (sys_unlink(queue.fd, file) != 0)
		result = errno == ENOENT ? 0 : spool_fail(spool, name, file, NULL);
	else if (sys_fsync(queue.fd) != 0) {
		spool_fail(spool, name, NULL, NULL);
		result = SPOOL_UNSURE;
	}
	queue_close(&queue);
	return result;
}
