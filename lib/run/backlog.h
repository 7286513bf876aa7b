/*
 * What qwork remembers of the names that wait: those that may run now, in the order
 * in which they will, and those that are to be looked at at a given time, by that
 * time. Both are windows of at most BACKLOG_MAX names: of a longer queue only the
 * foremost are kept, and a scan fetches the next before the window has run empty. So
 * ten million jobs cost disk, not memory.
 *
 * A name here is a hint. Whether the job is still there the claim finds out.
 */
#ifndef QSPOOL_RUN_BACKLOG_H
#define QSPOOL_RUN_BACKLOG_H

#include <bsd/sys/tree.h>

#include "qspool.h"

enum {
	BACKLOG_MAX = 65536,
	BACKLOG_LOW =
	    16, /* when no more than this part of it is left, the next names are fetched */
};

struct waiting {
	RB_ENTRY(waiting) link;
	int64_t at_ms;        /* real time from which it may run; 0: any */
	enum job_state state; /* JOB_READY, JOB_DELAYED, or JOB_WAITING for a resource */
	bool renamed_in;      /* foreign, and known to have come whole */
	unsigned char tries;  /* how often it was met locked */
	unsigned char priority;
	char id[JOB_ID_LEN + 1]; /* of a foreign name: made from its ctime */
	char file[];             /* of JOB_WAITING, from .wait/ on: "@LABEL/NAME" */
};

RB_HEAD(waiting_tree, waiting);

struct window {
	struct waiting_tree tree;
	size_t count, max;
	size_t ready;          /* of them, JOB_READY ones */
	struct waiting *fence; /* the first of those that were left out; NULL if none was */
};

void window_init(struct window *window, size_t max);
void window_clear(struct window *window);
/* An entry of its own, which the caller owns; NULL with ENOMEM. */
struct waiting *waiting_new(const struct waiting *model, const char *file);
/* Owns ENTRY from here on: it is dropped if its name is known already, or is behind the fence. */
void window_put(struct window *window, struct waiting *entry);
/* FENCE, which it owns from here on, and all behind it are left out. */
void window_limit(struct window *window, struct waiting *fence);
/* The first, which stays; NULL if none. */
const struct waiting *window_first(struct window *window);
/* Takes out the first, which is the caller's; NULL if none. */
struct waiting *window_take(struct window *window);
/* Forgets the one that is the same as ENTRY. */
void window_drop(struct window *window, struct waiting *entry);

struct backlog {
	struct window ready, later; /* later.ready: locked or young ones */
};

void backlog_init(struct backlog *backlog);
void backlog_clear(struct backlog *backlog);

/* Remembers a name, in the window that AT_MS and NOW_MS say. 0, or -1 with ENOMEM. */
int backlog_add(
    struct backlog *backlog, const struct waiting *model, const char *file, int64_t now_ms);
/* Moves what has become due by NOW_MS to the ready ones. */
void backlog_promote(struct backlog *backlog, int64_t now_ms);
/* Takes out the first that may run; NULL if none. The caller frees it, or gives it
 * to backlog_postpone(). */
struct waiting *backlog_take(struct backlog *backlog);
/* Puts back what was taken, to be looked at again at AT_MS. */
void backlog_postpone(struct backlog *backlog, struct waiting *waiting, int64_t at_ms);
/* When the next of the later ones is due, or JOB_DUE_NONE. */
int64_t backlog_next_ms(struct backlog *backlog);
/* A window has run low although names beyond it exist. */
bool backlog_wants_scan(const struct backlog *backlog);

#endif
