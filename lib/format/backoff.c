#include "format/backoff.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

int backoff_parse(const char *text, struct backoff *backoff)
{
	const char *dots = strstr(text, "..");
	char base[64];
	size_t len = dots ? (size_t)(dots - text) : strlen(text);

	if (len >= sizeof base)
		return -1;
	memcpy(base, text, len);
	base[len] = '\0';
	if (duration_parse(base, &backoff->base_ms) == -1)
		return -1;
	if (!dots) {
		backoff->cap_ms = backoff->base_ms;
		return 0;
	}
	if (duration_parse(dots + 2, &backoff->cap_ms) == -1)
		return -1;
	return backoff->base_ms <= backoff->cap_ms ? 0 : -1;
}

void backoff_format(const struct backoff *backoff, char text[static BACKOFF_SIZE])
{
	char base[WHEN_SIZE], cap[WHEN_SIZE];

	duration_format(backoff->base_ms, base);
	if (backoff->base_ms == backoff->cap_ms) {
		snprintf(text, BACKOFF_SIZE, "%s", base);
		return;
	}
	duration_format(backoff->cap_ms, cap);
	snprintf(text, BACKOFF_SIZE, "%s..%s", base, cap);
}

static uint64_t longest_wait_ms(const struct backoff *backoff, unsigned attempt)
{
	uint64_t cap = (uint64_t)backoff->cap_ms;
	uint64_t wait = (uint64_t)backoff->base_ms;

	/* Zero would be doubled as often as there were attempts. */
	if (wait == 0)
		return 0;
	for (unsigned n = 1; n < attempt && wait < cap; n++)
		wait *= 2;
	return wait < cap ? wait : cap;
}

/* CHANCE scaled to 0..LIMIT-1. In two halves: the product may need 95 bits. */
static uint64_t scale(uint32_t chance, uint64_t limit)
{
	return (limit >> 32) * chance + ((limit & UINT32_MAX) * chance >> 32);
}

int64_t backoff_wait_ms(const struct backoff *backoff, unsigned attempt, uint32_t chance)
{
	uint64_t longest = longest_wait_ms(backoff, attempt);
	uint64_t spread = longest / 2;

	return (int64_t)(longest - spread + scale(chance, spread + 1));
}
