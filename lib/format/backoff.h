/*
 * Exponential backoff with jitter.
 *
 * The wait after attempt N (from 1) is d = min(cap, base * 2^(N-1)), then a
 * value of whole ms chosen evenly from [d/2, d] ("equal jitter": never less than half, so
 * that a flaky API gets its pause; never more than the cap). Source: M. Brooker,
 * "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
#ifndef QSPOOL_FORMAT_BACKOFF_H
#define QSPOOL_FORMAT_BACKOFF_H

#include <stdint.h>

#include "format/when.h"

struct backoff {
	int64_t base_ms; /* >= 0 */
	int64_t cap_ms;  /* >= base_ms */
};

enum { BACKOFF_SIZE = 2 * WHEN_SIZE + 2 };

/* "1s..1h", or "30s" for a constant one. 0 / -1. */
int backoff_parse(const char *text, struct backoff *backoff);
void backoff_format(const struct backoff *backoff, char text[BACKOFF_SIZE]);

/* ms to wait after ATTEMPT (>= 1); CHANCE is any 32 random bits. Never overflows. */
int64_t backoff_wait_ms(const struct backoff *backoff, unsigned attempt, uint32_t chance);

#endif
