/*
 * Keys: at most one job that is not over, buried or kept holds a key. .key/LABEL/ID@QUEUE is a hard
 * link to that job. Taken by renaming a directory with the link in it to .key/LABEL, which fails
 * unless that is missing or empty; released by unlinking the link under the job's lock.
 */
#ifndef QSPOOL_SPOOL_KEY_H
#define QSPOOL_SPOOL_KEY_H

#include "spool/links.h"

/* The directory below .key/ that is prepared for the job ID. */
enum { KEY_DRAFT_SIZE = JOB_ID_LEN + 16 };
void key_draft(char draft[static KEY_DRAFT_SIZE], const char *id);

/* 1: the job has it now, durably, or had it already. 0: another has it, *HOLDER, which is on disk. -1: errno; EBUSY if
 * the other, *HOLDER, is still being sent, or just ended, PATIENCE_MS later. A crash leaves a draft,
 * which the sweep removes, or the link of a job that is not sent, which is found out by who wants the
 * key next. */
enum {
	KEY_PATIENCE_MS = 60 * 1000
}; /* a sender that holds a key is past its payload, and only syncs */
NODISCARD int key_take(const struct link_source *source, const char *key, int64_t patience_ms,
    struct link_name *holder);
/* 1 if the job has it, 0 if not, -1. */
NODISCARD int key_has(const struct link_source *source, const char *key);
/* Gives it back if the job ID of QUEUE has it. 0 / -1. */
NODISCARD int key_release(const struct queue *queue, const char *id, const char *key);

#endif
