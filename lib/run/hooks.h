/*
 * Hooks: executables in SPOOL/.hooks/ that are told what happened, trusted as a handler is (handler.h).
 *
 * Each runs beside the work, as a child in a session of its own, of one kind at most one at a time. Events are
 * counted, and a call tells of all that were not told: the first one at once; while they keep coming the next ones
 * after 1 s, 2 s, 4 s, up to 1 min. So a storm makes a handful of calls, whose counts add up. What a call says
 * beside their number is what the first of them was, with the history of its job on standard input.
 *
 * Nothing waits for a hook but hooks_finish(). What goes wrong with one is reported once, until it succeeds. Where
 * there is no hook its events are forgotten; where it cannot be started they are kept, and it is tried again. Events
 * that were not told die with this process: what a crash leaves is in buried/ and log/, for who looks there.
 */
#ifndef QSPOOL_RUN_HOOKS_H
#define QSPOOL_RUN_HOOKS_H

#include "run/child.h"

enum {
	HOOK_AGAIN_MS = 1000,
	HOOK_AGAIN_CAP_MS = 60 * 1000,
	HOOK_TIMEOUT_MS = 30 * 1000, /* then TERM to its group, and KILL after WORK_KILL_AFTER_MS */
	HOOK_END_MS = 10 * 1000,     /* for all of them, at qwork's end */
	HOOK_LIST_MAX = 20,          /* of what happened, so many are named */
};

/* What one event is about. Copied. */
struct hook_news {
	const char *queue;
	const struct job *job;   /* NULL: none, or one that has no id */
	const struct meta *meta; /* the job's */
	unsigned attempts;       /* its budget */
	const char *cause;       /* or NULL, as the rest */
	const char *reason;
	const char *resource;
};

struct hook {
	unsigned long count;         /* events that are not told yet; of the first one: */
	int64_t since;               /* when it was, real ms */
	char queue[QUEUE_NAME_SIZE]; /* where */
	struct strings about;        /* variables that tell of it */
	int history;                 /* of its job, open; or -1 */
	struct strings list;         /* what all are about, the first HOOK_LIST_MAX */
	int64_t at, wait;            /* when the next call may be; how long that was put off */
	struct child child;
	int64_t started, end_at; /* of it; when its group is to be signalled next */
	int end_signal;
	const char *said; /* what went wrong last, and was reported */
	int said_code;
};

struct hooks {
	struct spool *spool;
	struct child_base *base;
	void (*report)(void *arg, const struct work_event *event);
	void *arg;
	struct hook hook[HOOK_KINDS];
};

/* Fills all but what the caller set before: up to arg. */
void hooks_init(struct hooks *hooks);
/* Forgets what is not told. */
void hooks_release(struct hooks *hooks);

void hooks_event(struct hooks *hooks, enum hook_kind kind, const struct hook_news *news);
/* Calls those whose time it is, and ends those that take too long. Monotonic ms. */
void hooks_tick(struct hooks *hooks, int64_t now);
/* When there is something to do next, or INT64_MAX. */
int64_t hooks_next(const struct hooks *hooks);
/* PID has ended with STATUS, and is reaped: true if that is a hook. */
bool hooks_ended(struct hooks *hooks, pid_t pid, int status);
/* Whether PID, or if it is 0 any, is a hook that was told to end. */
bool hooks_told_to_end(const struct hooks *hooks, pid_t pid);
bool hooks_any_runs(const struct hooks *hooks);

/* At qwork's end: tells what is not told, and returns when all hooks have ended: after HOOK_END_MS those that run
 * get TERM, and each TERM or INT that comes meanwhile brings that, and then KILL, forward. SIGCHLD and these are blocked.
 * errno survives. */
void hooks_finish(struct hooks *hooks);

#endif
