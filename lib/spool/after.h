/*
 * Dependencies: a job sent "after" another job or a batch waits in .wait/NAME/ until that is over.
 * Of a job, .wait/ID/.job is a hard link to it: the mark that it is not over. spool-layout.md, T16
 * and T17, and the rules SEAL and OVER-FIRST.
 */
#ifndef QSPOOL_SPOOL_AFTER_H
#define QSPOOL_SPOOL_AFTER_H

#include "spool/links.h"

#define AFTER_MARK ".job"

/* NAME below .wait/ of the job or batch AFTER: a well-formed id is a job. 0, or -1 with EINVAL. */
NODISCARD int after_wait_name(const char *after, char name[static WAIT_NAME_SIZE]);
/* Before a job is made to wait: seals the batches and marks the jobs of its list that are not over,
 * durably. What of them has neither members nor a mark is over from then on, which costs no search.
 * 0, or -1 with errno and *WHICH: ENOENT for a batch that was never begun; ECANCELED for what is over
 * and was deleted; EAGAIN for a job of which it cannot be told. A crash leaves marks, which the sweep
 * removes when they are the last. */
NODISCARD int after_prepare(struct spool *spool, const struct strings *after, size_t *which);
/* Whether what waits in NAME may go on, or -1. */
enum after_state {
	AFTER_WAITS,
	AFTER_OVER,
	AFTER_DELETED /* over, but what depends on it must not run: rule DELETED-FIRST */
};
NODISCARD int after_look(struct spool *spool, const char *name);
/* The first of a prepared list, from *AT on, that is not just over: AFTER_WAITS: wait in NAME, and then
 * after_look(); AFTER_DELETED. *AT and NAME say which. AFTER_OVER: all are. -1. */
NODISCARD int after_next(
    struct spool *spool, const struct strings *after, size_t *at, char name[static WAIT_NAME_SIZE]);
/* The job ID is over: 1 if something may wait for it, 0, -1. */
NODISCARD int after_unmark(struct spool *spool, const char *id);
/* Whether the job ID is over: 1, 0, -1; and removes the mark of one that is, but not one that somebody just
 * makes, of whom only the directory was there. */
NODISCARD int after_unmark_last(struct spool *spool, const char *id);
/* T17 of at most MAX of the jobs that wait in .wait/NAME, which is over, and the end of the directory; T9
 * where it was deleted, which takes long and counts as 20.
 * 1: none is left; 0: there are more; AFTER_HELD: those that are left somebody holds just now; -1:
 * those that could go on did. */
enum { AFTER_HELD = 2 };
NODISCARD int after_release(struct spool *spool, const char *name, size_t max);
/* What waits for the job ID and for what OVER says goes on. 0 / -1. */
NODISCARD int after_let_go(struct spool *spool, const char *id, const struct over *over);
/* Buries what waits in .wait/NAME, which is being deleted. 0 / -1: EBUSY if somebody holds one and keeps it. */
NODISCARD int after_bury(struct spool *spool, const char *name);

#endif
