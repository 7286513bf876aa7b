/* Holding a job at rest for another engine that is to have it: T23 of spool-layout.md, of one job that is known by its place. */
#include "spool/after.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "sys/chance.h"

struct receiver {
	struct queue queue;
};

struct spool_hold {
	struct job job;
};

struct spool_hold *spool_hold(const struct receiver *receiver, const struct job_place *place)
{
	struct spool_hold *hold = calloc(1, sizeof *hold);
	int held;

	if (!hold)
		return NULL;
	held = job_hold_resting(&hold->job, &receiver->queue, place);
	if (held == 1)
		return hold;
	if (held == 0)
		errno = ENOENT;
	free(hold);
	return NULL;
}

int spool_hand_over(struct spool_hold *hold)
{
	struct job *job = &hold->job;
	int moved = job_move(job, T_HAND_OVER, JOB_DUE_NONE);

	if (moved > 0) /* what fails here, the sweep does */
		(void)!after_let_go(job->queue->spool, job->name.id, &job->over);
	return moved;
}

void spool_let_go(struct spool_hold *hold)
{
	if (!hold)
		return;
	job_release(&hold->job);
	free(hold);
}

struct receiver *receiver_open(struct spool *spool, const char *queue)
{
	struct receiver *receiver = malloc(sizeof *receiver);

	if (!receiver)
		return NULL;
	if (queue_open(&receiver->queue, spool, queue, true) != 0) {
		free(receiver);
		return NULL;
	}
	if (flock(receiver->queue.dir[DIR_META], LOCK_EX | LOCK_NB) == 0)
		return receiver;
	queue_fail(&receiver->queue, DIR_META, NULL);
	receiver_close(receiver);
	return NULL;
}

bool receiver_in_place(const struct receiver *receiver)
{
	return queue_in_place(&receiver->queue);
}

static int replace_options(const struct queue *queue, const char *id, const struct meta *meta)
{
	char draft[JOB_ID_LEN + 16];
	size_t len;
	char *text = meta_format(meta, &len);
	int fd, saved, result = -1;

	if (!text)
		return -1;
	snprintf(draft, sizeof draft, "%s-%08x", id, (unsigned)chance32());
	fd = sys_create(queue->dir[DIR_TMP], draft, queue->spool->file_mode & 0644);
	if (fd >= 0 && write_and_close(fd, text, len, true) == 0 &&
	    sys_replace(queue->dir[DIR_TMP], draft, queue->dir[DIR_META], id) == 0)
		result = 0;
	saved = errno;
	free(text);
	if (result == 0)
		return 0;
	if (fd >= 0)
		(void)!sys_unlink(queue->dir[DIR_TMP], draft);
	errno = saved;
	return queue_fail(queue, DIR_TMP, draft);
}

int receiver_relay(const struct receiver *receiver, const char *id, const char *relay)
{
	struct job_name name = {.meta = true};
	const char *why;
	struct meta meta;
	char *old;
	int result = -1;

	snprintf(name.id, sizeof name.id, "%s", id);
	meta_init(&meta);
	if (job_meta(&receiver->queue, &name, &meta, &why) == 1) {
		old = meta.relay;
		meta.relay = strdup(relay);
		if (meta.relay)
			result = replace_options(&receiver->queue, id, &meta);
		free(old);
	}
	meta_release(&meta);
	return result;
}

void receiver_close(struct receiver *receiver)
{
	if (!receiver)
		return;
	queue_close(&receiver->queue);
	free(receiver);
}
