/* Holding a job at rest for another engine that is to have it: T23 of spool-layout.md, of one job that is known by its place. */
#include "spool/after.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

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

void receiver_close(struct receiver *receiver)
{
	if (!receiver)
		return;
	queue_close(&receiver->queue);
	free(receiver);
}
