/*
 * What limits a resource, as people write it into the files of .resource/LABEL/: how often
 * jobs may start (a token bucket), and when a circuit breaker opens. Pure.
 *
 * All texts are one line; blanks around it do not count.
 */
#ifndef QSPOOL_FORMAT_LIMIT_H
#define QSPOOL_FORMAT_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "format/backoff.h"

enum {
	RATE_COUNT_MAX = 1000000,
	BURST_MAX = 1000000,
	BREAKER_FAILURES_MAX = 1000000,
	LIMIT_SIZE = BACKOFF_SIZE + 16, /* room for any text written here, with its NUL */
	WINDOW_WIDE = 64,               /* so many at once are as good as no window */
};

/* "10/s", "600/m", "5000/h" or "20/d": COUNT (1..RATE_COUNT_MAX) in PER_NS. */
struct rate {
	unsigned count;
	int64_t per_ns;
};
int rate_parse(const char *text, struct rate *rate); /* 0 / -1 */
void rate_format(const struct rate *rate, char text[LIMIT_SIZE]);
/* How many may start at once where nothing is said: what the rate gives in 100 ms, at least 1. */
unsigned rate_burst(const struct rate *rate);

/* The generic cell rate algorithm (ITU-T I.371; a token bucket that is one number): *TAT_NS is
 * when, at this rate and without a burst, the next would be due. 0: one may start at NOW_NS, and
 * *TAT_NS is moved on; otherwise so many ns are to be waited. BURST >= 1. A clock that was set
 * back makes nobody wait longer than a full bucket takes. */
int64_t rate_take(const struct rate *rate, unsigned burst, int64_t now_ns, int64_t *tat_ns);

/* "5,30s..10m": opens after so many failures in a row, for 30 s at first. The base is not 0. */
struct breaker {
	unsigned failures; /* 1..BREAKER_FAILURES_MAX */
	struct backoff wait;
};
int breaker_parse(const char *text, struct breaker *breaker); /* 0 / -1 */
void breaker_format(const struct breaker *breaker, char text[LIMIT_SIZE]);
/* Of one that a handler trips though it has no setting. */
#define BREAKER_DEFAULT ((struct breaker){0, {30000, 600000}})

/* An open breaker: "2026-11-22T04:15:51.123Z 30s". Until when, and the wait without jitter, from
 * which the next is doubled. */
struct breaker_open {
	int64_t until_ms; /* OPEN_FOR_GOOD: until somebody closes it */
	int64_t wait_ms;
};
#define OPEN_FOR_GOOD INT64_MAX
/* Never fails: what is no such text, an empty one too, is open for good. */
void breaker_open_parse(const char *text, struct breaker_open *open);
void breaker_open_format(const struct breaker_open *open, char text[LIMIT_SIZE]);
/* The first time, with LAST NULL, or the one after LAST: the wait doubles up to the cap, and of it
 * the upper half is random; CHANCE is any 32 random bits. */
struct breaker_open breaker_next(const struct breaker *breaker, const struct breaker_open *last,
    int64_t now_ms, uint32_t chance);

/* A whole number of MIN to MAX. 0 / -1. */
int limit_number_parse(const char *text, unsigned min, unsigned max, unsigned *number);

/* What changes with each job, of a length that never changes: "failures " and "token ". */
struct limit_state {
	unsigned failures; /* in a row */
	int64_t tat_ns;    /* as in rate_take() */
};
enum { LIMIT_STATE_LEN = 47 };
/* Never fails: what is no such text is as nothing. */
void limit_state_parse(const char *text, struct limit_state *state);
void limit_state_format(const struct limit_state *state, char text[LIMIT_STATE_LEN + 1]);

#endif
