/*
 * Removing what crashes leave: files in tmp/ whose sender died, and files in
 * meta/ and log/ whose job is no more. Only what is unlocked and unchanged for an
 * hour goes, and of the latter only what is in no state directory while all of
 * them are watched: a scan alone misses a job that moves.
 */
#ifndef QSPOOL_SPOOL_SWEEP_H
#define QSPOOL_SPOOL_SWEEP_H

#include <sys/stat.h>

#include "spool/spool.h"

enum { SWEEP_AGE_S = 3600 };

/* What was kept until now goes (T22), at any age. How many, or -1. */
int sweep_done(struct queue *queue);
/* Links of jobs that are kept, which a crash left: otherwise their keys and batches would wait until they
 * go. Costs a stat for each. 0 / -1. */
int sweep_kept(struct queue *queue);

/* These three: how many were removed, or -1. A crash at any point loses nothing. */
int sweep_drafts(const struct queue *queue);
int sweep_orphans(const struct queue *queue);
/* Drafts of lost senders that hold a key, or keep a batch from completing: after a minute. The same. */
int sweep_linked_drafts(const struct queue *queue);
/* Queues that nobody finished making; only what is empty goes. 0 / -1. */
int sweep_queues(struct spool *spool);

/* Whether it was not written for SWEEP_AGE_S. A time ahead of the clock (set back since)
 * is not old. */
bool sweep_is_old(const struct stat *st);

#endif
