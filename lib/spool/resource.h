/*
 * .resource/LABEL/: what jobs share, and how many may have it (spool-layout.md, "Resources").
 *
 * Settings are read at every attempt and never kept, so that an edit by hand is noticed at once.
 * What is written here besides them (state, open, window) is not made durable: after a power
 * cut a breaker may be closed again, and finds out anew.
 *
 * A file of one line is replaced by another beside it, under the lock of `state`; a crash leaves a
 * `.draft-NAME`, which the next one removes.
 */
#ifndef QSPOOL_SPOOL_RESOURCE_H
#define QSPOOL_SPOOL_RESOURCE_H

#include "spool/spool.h"

struct resource {
	struct spool *spool;
	char label[LABEL_SIZE];
	int fd; /* -1: there is no such directory, and nothing is set */
};
/* With CREATE it is made if it is missing. 0 / -1. resource_leave() afterwards in any case. */
NODISCARD int resource_enter(
    struct resource *r, struct spool *spool, const char *name, bool create);
/* The same by its label; it is not made. */
NODISCARD int resource_enter_label(struct resource *r, struct spool *spool, const char *label);
void resource_leave(struct resource *r); /* errno survives */
/* Notes that an error was about FILE in it; -1. */
int resource_fail(const struct resource *r, const char *file);

/* All of its settings as they are now. 0, also if one is not understood; -1. */
NODISCARD int resource_limits(const struct resource *r, struct limits *limits);
/* Only `open`, into limits->open and limits->until. */
NODISCARD int resource_read_open(const struct resource *r, struct limits *limits);
/* Replaces FILE by a line, or removes it if TEXT is NULL. The caller holds the lock of `state`. */
NODISCARD int resource_put(const struct resource *r, const char *file, const char *text, bool sync);

/* Locks `state` and reads it; it is made if it is missing. The descriptor, which unlocks when it is closed; -1 with
 * EAGAIN: somebody keeps it. Only the first time that is waited for, a tenth of a second. */
NODISCARD int resource_lock(const struct resource *r, struct limit_state *state);
NODISCARD int resource_put_state(const struct resource *r, int fd, const struct limit_state *state);
/* What it says, without its lock. */
void resource_peek_state(const struct resource *r, struct limit_state *state);

/* --- whose turn it is to probe (rule IN-TURN) --- */

/* "PP.ID", which sorts as jobs do; "" comes before all. */
enum { TURN_SIZE = 3 + JOB_ID_LEN + 1 };
void turn_format(unsigned priority, const char *id, char turn[TURN_SIZE]);
const char *turn_id(const char *turn); /* of one that is not "" */
/* Whose was the last probe; "" if that is not known. */
NODISCARD int resource_last_probe(const struct resource *r, char turn[TURN_SIZE]);

enum breaker_stands { BREAKER_ERROR = -1, BREAKER_CLOSED, BREAKER_OPEN, BREAKER_DUE };
/* How the breaker of LABEL stands. BREAKER_DUE: the job behind AFTER may probe, since SINCE_MS (real time). */
NODISCARD enum breaker_stands resource_look_at_breaker(
    struct spool *spool, const char *label, char after[TURN_SIZE], int64_t *since_ms);

/* --- what a running job has --- */

struct grip_part {
	int slot, probe; /* locked; -1: none */
	bool probing;    /* this attempt finds out whether a breaker may be closed */
	/* If so: what was written into `open` (0: nothing yet), and the wait that was there before. */
	int64_t until_ms, wait_before_ms;
};
/* Of each resource of the job, in their order. All zero is none. */
struct grip {
	struct grip_part *part;
	size_t count;
};

enum take { TAKE_ERROR = -1, TAKE_LACKS, TAKE_DONE };
struct lack {
	size_t resource;   /* one that is missing, an index */
	int64_t at_ms;     /* real time at which trying again makes sense, or one of LACK_* */
	const char *wrong; /* a setting of it that is not understood, or NULL */
};
#define LACK_EVENT INT64_MAX
#define LACK_BUSY                                                                                  \
	(INT64_MAX - 1) /* somebody keeps the lock of its state, of whose end no event tells */
/* Takes all that the job NAME with META needs, or nothing. If it waits in .wait/WAITS ("": in none) and that one is
 * still missing, LACK says so, whatever else is. TAKE_DONE: GRIP has it, and where it probes, that and
 * the next time until which the breaker stays open are written (PROBE-WRITTEN). A crash gives the slots back. */
NODISCARD enum take resource_take(struct spool *spool, const struct job_name *name,
    const struct meta *meta, const char *waits, struct grip *grip, struct lack *lack);
/* For who took all that, and then could not start the job: where it was to probe, that did not fail, and the next
 * probe is due at once, with the wait as it was. 0; -1: one comes when the time is over that was written. */
NODISCARD int resource_not_probed(
    struct spool *spool, const struct meta *meta, const struct grip *grip);
/* Closes the descriptors, once the handler has inherited them: it remembers who probes. */
void grip_close(struct grip *grip);
void grip_release(struct grip *grip);

/* --- the end of an attempt --- */

enum attempt_end { END_NEITHER, END_SUCCESS, END_FAILURE };
struct breaker_news {
	bool was_open; /* before */
	bool opened, closed;
	int64_t until_ms; /* of an open one, or OPEN_FOR_GOOD */
};
/* What an attempt's end means for the breaker of one of its resources. -1: NEWS says how it was before, if that
 * could be read. */
NODISCARD int resource_settle(struct spool *spool, const char *name, enum attempt_end end,
    bool probing, struct breaker_news *news);
/* The handler said that nobody gets it for FOR_MS (0: as long as the breaker says). */
NODISCARD int resource_trip(
    struct spool *spool, const char *name, int64_t for_ms, bool probing, struct breaker_news *news);

#endif
