/*
 * Batches: .batch/LABEL/ has the file name, and hard links ID@QUEUE to the members that are not
 * over in open/ or, once nobody can join any more, in sealed/. With neither of the two it is
 * complete; so it stays for a week.
 */
#ifndef QSPOOL_SPOOL_BATCH_H
#define QSPOOL_SPOOL_BATCH_H

#include "spool/links.h"

enum batch_state { BATCH_UNKNOWN, BATCH_OPEN, BATCH_SEALED, BATCH_COMPLETE };

/* What BATCH is, or -1 with errno. */
NODISCARD int batch_state(struct spool *spool, const char *batch);
/* Begins it, durably, if it is unknown. 0 / -1. */
NODISCARD int batch_begin(struct spool *spool, const char *batch);
/* Makes the job a member, and begins the batch if there is none. 1; 0 if it is sealed or complete;
 * -1. Durable after batch_sync(). */
NODISCARD int batch_join(const struct link_source *source, const char *batch);
NODISCARD int batch_sync(struct spool *spool, const char *batch);
/* The member is over or, unless it WAS_SENT, will never be one. 1 if that completed the batch, 0, -1. */
NODISCARD int batch_leave(
    const struct queue *queue, const char *id, const char *batch, bool was_sent);
/* Nobody can join any more, durably. 1: members are outstanding, 0: it is complete, -1: ENOENT if it
 * was never begun. */
NODISCARD int batch_seal(struct spool *spool, const char *batch);
/* Completes it if it is sealed and has no members. 1 if that is what it is now or was already, or if it is no
 * more: who asks knows that it was, and what waited for what a person removed goes on. 0, -1. */
NODISCARD int batch_complete(struct spool *spool, const char *label);
/* Whether what waits for it may go on: 1 if it is complete, also if that was so long ago that it was swept
 * or somebody removed it; 0, and then it is sealed; -1. */
NODISCARD int batch_over(struct spool *spool, const char *label);
/* Opens sealed/ or open/ of a LABEL for reading; -1 with ENOENT if it has neither. */
NODISCARD int batch_open_members(struct spool *spool, const char *label);

/* How far it is: members that are over (a count that a crash may make wrong by one), and those that
 * are not, with how many of these are buried. 0 / -1. Costs a scan of their queues' buried/. */
struct batch_progress {
	size_t finished, outstanding, buried;
};
NODISCARD int batch_progress(
    struct spool *spool, const char *label, struct batch_progress *progress);
#endif
