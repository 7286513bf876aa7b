/*
 * log/ID: what is known of a job's failed attempts and of what people did to it.
 * One line an event, in logfmt after its time; then, for an attempt, the last
 * what the handler noted, each behind "  note: ", and the last lines that it wrote to
 * stderr, each behind "  | ". Everything is
 * encoded with vis(3), so that `cat` shows a terminal nothing raw.
 */
#ifndef QSPOOL_SPOOL_LOG_H
#define QSPOOL_SPOOL_LOG_H

#include <sys/resource.h>

#include "spool/job.h"

enum {
	LOG_TAIL_MAX = 4096,      /* bytes of stderr kept of an attempt */
	LOG_SIZE_MAX = 64 * 1024, /* a log that is longer gets events, but no more stderr */
};

struct attempt {
	unsigned of;        /* budget of attempts */
	const char *cause;  /* "failed", "timed out", "worker lost", ... */
	const char *reason; /* that the handler gave, or NULL */
	int status;         /* as of wait(2), -1 if unknown */
	double seconds;
	const struct rusage *used; /* NULL if unknown */
	const char *tail;          /* raw end of stderr */
	size_t tail_len;
	const struct strings *notes; /* what the handler noted, raw; NULL if unknown */
};

/* Both append an event and set job->name.log, so that the transition that follows
 * carries the mark. A log that cannot be written (full disk) does not stop the
 * job: -1 with errno is for telling, the job goes on. */
NODISCARD int log_attempt(struct job *job, const struct attempt *attempt);
/* What the handler noted in an attempt that did not fail; nothing if that is nothing. */
NODISCARD int log_notes(struct job *job, const char *event, const struct strings *notes);
/* EVENT is "buried", "kicked", ...; REASON may be NULL. With SYNC it is durable. */
NODISCARD int log_event(struct job *job, const char *event, const char *reason, bool sync);

/* Opens the log of a held job for reading; it stays readable when it is removed. The caller's to close; -1. */
NODISCARD int log_open(const struct job *job);

#endif
