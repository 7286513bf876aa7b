/*
 * The directories below .wait/, in which jobs of all queues wait: NAME is a job's id, the label
 * of a batch, or '@' and the label of a resource. A file in it is named as waiting_name_format() says.
 * A directory comes into being with the first that waits, and goes when it is empty.
 */
#ifndef QSPOOL_SPOOL_WAIT_H
#define QSPOOL_SPOOL_WAIT_H

#include "spool/spool.h"

/* The directory, for the caller to close; with CREATE it is made if it is missing. -1: ENOENT. */
NODISCARD int wait_open(struct spool *spool, const char *name, bool create);
/* Whether something may wait there. */
bool wait_exists(struct spool *spool, const char *name);
/* Removes it if it is empty. errno survives. */
void wait_remove(struct spool *spool, const char *name);
/* Notes where an error happened; -1. */
int wait_fail(struct spool *spool, const char *name, const char *file);

/* Calls VISIT for each NAME. 0, -1, or what VISIT returned to end it. */
int wait_each_name(struct spool *spool, int (*visit)(void *arg, const char *name), void *arg);
/* Visits the jobs in .wait/NAME, those of QUEUE only unless that is NULL. A file whose name is not
 * that of a waiting job is visited as not ours, with QUEUE "" and only without QUEUE. */
int wait_each(
    struct spool *spool, const char *name, const char *queue, job_visit *visit, void *arg);
/* The same in all of them. */
int wait_each_job(struct spool *spool, const char *queue, job_visit *visit, void *arg);

#endif
