/*
 * Taking a job that is ready: T3 (claim) and T4 (adopt) of spool-layout.md.
 *
 * In two steps, so that a job may be opened and locked ahead of need:
 * claim_open() holds it and looks whether it may run; then job_move(T_CLAIM)
 * counts the attempt, and only then may the handler start.
 */
#ifndef QSPOOL_SPOOL_CLAIM_H
#define QSPOOL_SPOOL_CLAIM_H

#include "spool/job.h"

enum claim {
	CLAIM_ERROR = -1,
	CLAIM_GONE,    /* somebody else was first */
	CLAIM_LOCKED,  /* a sender or a person holds it: come back */
	CLAIM_YOUNG,   /* foreign, and may still be being written: come back */
	CLAIM_STRANGE, /* cannot be a job: *WHY, and it stays where it is */
	CLAIM_UNFIT,   /* held, but must be buried: *WHY */
	CLAIM_OPEN     /* held, with its options in META */
};

/* ctime of a foreign file that was found, not renamed in, must be so old. */
enum { FOREIGN_AGE_MS = 2000 };

/* Holds FILE of STATE (JOB_READY or JOB_DELAYED). A foreign file gets an id, and
 * with it a meta file that keeps its name; RENAMED_IN says that an event showed
 * that it came whole. META must be initialised. With CLAIM_UNFIT and CLAIM_OPEN
 * the caller releases JOB. */
NODISCARD enum claim claim_open(struct job *job, const struct queue *queue, enum job_state state,
    const char *file, bool renamed_in, struct meta *meta, const char **why);

/* The same of FILE in .wait/WAIT, which waits for a resource. */
NODISCARD enum claim claim_open_waiting(struct job *job, const struct queue *queue,
    const char *wait, const char *file, struct meta *meta, const char **why);

/* A job sent without sync may be torn after a power cut: compares the file FD with its NAME,
 * which has the mark. Why it is torn, or NULL. */
const char *job_torn(int fd, const struct stat *st, const struct job_name *name);

/* Why a file that HOLD_STRANGE or an error of claim_open() was about cannot be a job. */
const char *strange_reason(int error);

/* The same for what a stat says is no regular file. */
const char *strange_reason_of(mode_t mode);

/* Why FILE in DIR cannot be a job as it is now; NULL if it can, or is gone. */
const char *strange_now(const struct queue *queue, enum queue_dir dir, const char *file);

/* Holds FILE of cur/ if nobody else does, which means that its worker is lost.
 * By a read-only descriptor, so that probing wakes no other watcher. */
NODISCARD enum hold recover_hold(struct job *job, const struct queue *queue, const char *file);

#endif
