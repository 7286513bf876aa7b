/*
 * Sending: T1 and T2 of spool-layout.md.
 *
 * All payloads are written in tmp/, then all are made durable, then all are renamed,
 * then the directories are settled once. Data before rename, always: otherwise a
 * power cut shows a job of the right length full of zeros. The directories in the
 * order tmp, then new: with new alone btrfs may show both names.
 */
#include "spool/job.h"

#include <bsd/stdlib.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "format/crc32c.h"
#include "sys/clock.h"

/* Up to this many, each file is synced by itself; more share one syncfs, which
 * may have to wait for data of others, if the kernel's syncfs tells of errors. */
enum { FEW = 8 };

struct sending {
	struct job_name name;
	int fd; /* open only while all jobs of the batch are few */
};

struct sender {
	struct queue queue;
	struct send_options options;
	struct sending *batch;
	size_t count, room;
	bool writing; /* batch[count] is being written */
};

/* Strictly increasing in this process, also when the clock is set back meanwhile
 * or read twice in a nanosecond. */
static uint64_t next_sent_ns(void)
{
	static uint64_t last;
	uint64_t now = clock_real_ns();

	last = now > last ? now : last + 1;
	return last;
}

void job_id_fresh(char id[static JOB_ID_LEN + 1])
{
	uint64_t chance = (uint64_t)arc4random() << 3 | (arc4random() & 7);

	job_id_format(next_sent_ns(), chance, id);
}

struct sender *send_open(struct spool *spool, const char *queue, const struct send_options *options)
{
	struct sender *sender = calloc(1, sizeof *sender);

	if (!sender)
		return NULL;
	sender->options = *options;
	if (options->meta && meta_empty(options->meta))
		sender->options.meta = NULL;
	if (queue_open(&sender->queue, spool, queue, true) != 0) {
		free(sender);
		return NULL;
	}
	return sender;
}

static struct sending *make_room(struct sender *sender)
{
	size_t room = sender->room ? 2 * sender->room : FEW;
	struct sending *batch;

	if (sender->count < sender->room)
		return &sender->batch[sender->count];
	batch = reallocarray(sender->batch, room, sizeof *batch);
	if (!batch)
		return NULL;
	sender->batch = batch;
	sender->room = room;
	return &batch[sender->count];
}

/* The lock tells a sweep that this file's sender lives, however slow its input. */
static int begin(struct sender *sender)
{
	struct sending *job = make_room(sender);
	const struct queue *queue = &sender->queue;

	if (!job)
		return -1;
	*job = (struct sending){.name = {.due_ms = sender->options.due_ms,
	                            .priority = sender->options.priority,
	                            .meta = sender->options.meta != NULL,
	                            .unsynced = sender->options.no_sync}};
	job_id_fresh(job->name.id);
	job->fd = sys_create(queue->dir[DIR_TMP], job->name.id, queue->spool->file_mode);
	if (job->fd < 0)
		return queue_fail(queue, DIR_TMP, job->name.id);
	sender->writing = true;
	return flock(job->fd, LOCK_EX | LOCK_NB) == 0 ? 0
	                                              : queue_fail(queue, DIR_TMP, job->name.id);
}

int send_write(struct sender *sender, const void *data, size_t len)
{
	struct sending *job;

	if (!sender->writing && begin(sender) != 0)
		return -1;
	job = &sender->batch[sender->count];
	if (sys_write(job->fd, data, len) != 0)
		return queue_fail(&sender->queue, DIR_TMP, job->name.id);
	job->name.length += len;
	if (job->name.unsynced)
		job->name.crc = crc32c(job->name.crc, data, len);
	return 0;
}

static int close_job(const struct sender *sender, struct sending *job)
{
	int fd = job->fd;

	job->fd = -1;
	return fd < 0 || sys_close(fd) == 0 ? 0 : queue_fail(&sender->queue, DIR_TMP, job->name.id);
}

static int close_all(struct sender *sender)
{
	int result = 0;

	for (size_t i = 0; i < sender->count; i++)
		if (close_job(sender, &sender->batch[i]) != 0)
			result = -1;
	return result;
}

/* A long one is synced all the same, in its content: at the claim it could not be checked
 * without keeping other jobs waiting. */
static int sync_long(const struct sender *sender, struct sending *job)
{
	if (!job->name.unsynced || job->name.length <= JOB_UNSYNCED_MAX)
		return 0;
	job->name.unsynced = false;
	return sys_fsync(job->fd) == 0 ? 0 : queue_fail(&sender->queue, DIR_TMP, job->name.id);
}

int send_end(struct sender *sender)
{
	struct sending *job;

	if (!sender->writing && begin(sender) != 0)
		return -1;
	job = &sender->batch[sender->count++];
	sender->writing = false;
	if (sync_long(sender, job) != 0)
		return -1;
	if (sender->options.meta &&
	    meta_write(&sender->queue, job->name.id, sender->options.meta,
	        sender->options.no_sync && !job->name.unsynced) != 0)
		return -1;
	if (sender->count <= FEW && !sender->options.no_sync)
		return 0;
	return sender->count == FEW + 1 ? close_all(sender) : close_job(sender, job);
}

size_t send_pending(const struct sender *sender)
{
	return sender->count;
}

/* By an open descriptor, or by another one: Linux reports an error that nobody has seen
 * yet to the first who asks. */
static int sync_payload(const struct queue *queue, const struct sending *job)
{
	int fd = job->fd, result;

	if (fd < 0)
		fd = openat(queue->dir[DIR_TMP], job->name.id, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	result = fd < 0 ? -1 : sys_fsync(fd);
	if (job->fd < 0)
		sys_discard(&fd);
	return result == 0 ? 0 : queue_fail(queue, DIR_TMP, job->name.id);
}

static int sync_each(const struct sender *sender)
{
	const struct queue *queue = &sender->queue;

	for (size_t i = 0; i < sender->count; i++) {
		const struct sending *job = &sender->batch[i];

		if (sync_payload(queue, job) != 0)
			return -1;
		if (job->name.meta && meta_sync(queue, job->name.id) != 0)
			return -1;
	}
	if (sender->options.meta && sys_fsync(queue->dir[DIR_META]) != 0)
		return queue_fail(queue, DIR_META, NULL);
	return 0;
}

static int sync_content(const struct sender *sender)
{
	if (sender->options.no_sync)
		return 0;
	if (sender->count <= FEW)
		return sync_each(sender);
	if (sys_syncfs(sender->queue.spool->fd) == 0)
		return 0;
	return errno == ENOSYS ? sync_each(sender)
	                       : spool_fail(sender->queue.spool, NULL, NULL, NULL);
}

/* Unlocked before they are renamed: a worker that wakes must not meet our lock. */
static int prepare(struct sender *sender)
{
	if (sync_content(sender) != 0)
		return -1;
	return close_all(sender);
}

static enum queue_dir destination(const struct sender *sender)
{
	return sender->options.due_ms == JOB_DUE_NONE ? DIR_NEW : DIR_DELAY;
}

/* How many were published: all, or with errno those before the first failure. */
static size_t publish(const struct sender *sender)
{
	const struct queue *queue = &sender->queue;
	enum queue_dir to = destination(sender);
	char file[JOB_NAME_SIZE];

	for (size_t i = 0; i < sender->count; i++) {
		const struct sending *job = &sender->batch[i];

		job_name_format(&job->name, file);
		/* With both names it is sent all the same, and the sweep removes that in tmp/. */
		if (sys_rename(queue->dir[DIR_TMP], job->name.id, queue->dir[to], file) < 0) {
			queue_fail(queue, to, file);
			return i;
		}
	}
	return sender->count;
}

static int settle_dirs(const struct sender *sender)
{
	const struct queue *queue = &sender->queue;
	enum queue_dir to = destination(sender);

	if (sender->options.no_sync)
		return 0;
	if (sys_fsync(queue->dir[DIR_TMP]) != 0)
		return queue_fail(queue, DIR_TMP, NULL);
	return sys_fsync(queue->dir[to]) == 0 ? 0 : queue_fail(queue, to, NULL);
}

/* Removes the jobs from FIRST on, which this sender created and did not publish. The one
 * that is being written is no part of the batch yet: it begins the next. */
static void forget(struct sender *sender, size_t first)
{
	int saved = errno;

	for (size_t i = first; i < sender->count; i++) {
		struct sending *job = &sender->batch[i];

		sys_discard(&job->fd);
		if (sys_unlink(sender->queue.dir[DIR_TMP], job->name.id) != 0)
			errno = saved;
		if (job->name.meta)
			meta_remove(&sender->queue, job->name.id);
	}
	if (sender->writing)
		sender->batch[0] = sender->batch[sender->count];
	sender->count = 0;
	errno = saved;
}

int send_commit(struct sender *sender, send_report *report, void *arg)
{
	size_t published = 0;
	enum send_fate fate = SEND_DURABLE;
	int error = 0;

	if (sender->count == 0)
		return 0;
	if (prepare(sender) == 0)
		published = publish(sender);
	if (published < sender->count)
		error = errno;
	if (published > 0 && settle_dirs(sender) != 0) {
		error = errno;
		fate = SEND_UNSURE;
	}
	for (size_t i = 0; i < published; i++)
		report(arg, sender->batch[i].name.id, fate);
	forget(sender, published);
	errno = error;
	return error ? -1 : 0;
}

void send_close(struct sender *sender)
{
	int saved = errno;

	if (!sender)
		return;
	if (sender->writing)
		sender->count++;
	sender->writing = false;
	forget(sender, 0);
	queue_close(&sender->queue);
	free(sender->batch);
	free(sender);
	errno = saved;
}
