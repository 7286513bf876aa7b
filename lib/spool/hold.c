/* Holding a job at rest for another engine that is to have it: T23 of spool-layout.md, of one job that is known by its place. */
#include "spool/after.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

struct spool_hold {
	struct queue queue;
	struct job job;
};

struct spool_hold *spool_hold(struct spool *spool, const struct job_place *place)
{
	struct spool_hold *hold = calloc(1, sizeof *hold);
	int held;

	if (!hold)
		return NULL;
	if (queue_open(&hold->queue, spool, place->queue, false) != 0) {
		free(hold);
		return NULL;
	}
	held = job_hold_resting(&hold->job, &hold->queue, place);
	if (held == 1)
		return hold;
	if (held == 0)
		errno = ENOENT;
	queue_close(&hold->queue);
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
	queue_close(&hold->queue);
	free(hold);
}

int spool_receive(struct spool *spool, const char *queue)
{
	struct queue open;
	int fd = -1;

	if (queue_open(&open, spool, queue, true) != 0)
		return -1;
	fd = open.dir[DIR_META];
	open.dir[DIR_META] = -1;
	queue_close(&open);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		spool_fail(spool, queue, queue_dir_name[DIR_META], NULL);
		sys_discard(&fd);
	}
	return fd;
}

int spool_receives(struct spool *spool, const char *queue, int right)
{
	struct queue open;
	struct stat had, is;
	int result = -1;

	if (queue_open(&open, spool, queue, false) != 0)
		return errno == ENOENT ? 0 : -1;
	if (fstat(right, &had) == 0 && fstat(open.dir[DIR_META], &is) == 0)
		result = same_file(&had, &is);
	queue_close(&open);
	return result;
}
