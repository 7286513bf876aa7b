/*
 * To know where a job is, or that it is nowhere, while jobs move: rule MOTION of spool-layout.md.
 */
#ifndef QSPOOL_SPOOL_MOTION_H
#define QSPOOL_SPOOL_MOTION_H

#include "spool/spool.h"

/* All state directories of the queues, and those below .wait/, are watched for what comes and goes. */
struct motion {
	int fd;
};
/* Watches those of QUEUE, or of all queues if that is NULL, and .wait/. -1 with errno: EAGAIN if
 * directories come there too quickly. */
NODISCARD int motion_watch(struct motion *motion, struct spool *spool, const char *queue);
void motion_close(struct motion *motion);
/* Calls VISIT for each name that came or went since. False if that is not known, since events
 * were lost, or if VISIT returned anything but 0. */
NODISCARD bool motion_read(
    const struct motion *motion, int (*visit)(void *arg, const char *name), void *arg);

/* Where the job ID is: 1 and PLACE, 0 if it is nowhere, -1 with errno: EAGAIN if it is not known. */
NODISCARD int motion_locate(struct spool *spool, const char *id, struct job_place *place);

#endif
