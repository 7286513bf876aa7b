/*
 * log/ID: what is known of a job's failed attempts and of what people did to it.
 * One line an event, in logfmt after its time; then, for an attempt, the last
 * lines that the handler wrote to stderr, each behind "  | ". Everything is
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
	unsigned of;       /* budget of attempts */
	const char *cause; /* "failed", "timed out", "worker lost", ... */
	int status;        /* as of wait(2), -1 if unknown */
	double seconds;
	const struct rusage *used; /* NULL if unknown */
	const char *tail;          /* raw end of stderr */
	size_t tail_len;
};

/* Both append an event and set job->name.log, so that the transition that follows
 * carries the mark. A log that cannot be written (full disk) does not stop the
 * job: -1 with errno is for telling, the job goes on. */
NODISCARD int log_attempt(struct job *job, const struct attempt *attempt);
/* EVENT is "buried", "kicked", ...; REASON may be NULL. With SYNC it is durable. */
NODISCARD int log_event(struct job *job, const char *event, const char *reason, bool sync);

#endif
