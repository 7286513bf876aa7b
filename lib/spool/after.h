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
/* The first of AFTER, from FROM on, that is not over, and readies its directory: seals a batch,
 * marks a job. 1 and NAME: wait there, and then after_look(). 0: all are over. -1 with errno and *WHICH:
 * ENOENT for a batch that was never begun; EAGAIN for a job of which it cannot be told. */
NODISCARD int after_next(struct spool *spool, const struct strings *after, size_t from,
    char name[static WAIT_NAME_SIZE], size_t *which);
/* Whether what NAME waits for is over: 1, 0, -1. */
NODISCARD int after_look(struct spool *spool, const char *name);
/* The job ID is over: 1 if something may wait for it, 0, -1. */
NODISCARD int after_unmark(struct spool *spool, const char *id);
/* T17 of at most MAX of the jobs that wait in .wait/NAME, which is over, and of the directory. 1: none
 * is left; 0: some are (more than MAX, or somebody holds them just now); -1. */
NODISCARD int after_release(struct spool *spool, const char *name, size_t max);
/* T17 of a held job. As job_move(). */
NODISCARD int after_release_one(struct job *job);
/* What waits for the job ID and for what OVER says goes on, as after_release(). */
NODISCARD int after_let_go(
    struct spool *spool, const char *id, const struct over *over, size_t max);
/* Buries what waits in .wait/NAME. 0 / -1. */
NODISCARD int after_bury(struct spool *spool, const char *name, const char *reason);

#endif
