#include "format/limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/lines.h"

#define SECOND_NS INT64_C(1000000000)

static const struct {
	char unit;
	int64_t ns;
} units[] = {
    {'s', SECOND_NS}, {'m', 60 * SECOND_NS}, {'h', 3600 * SECOND_NS}, {'d', 24 * 3600 * SECOND_NS}};
enum { UNITS = sizeof units / sizeof *units };

/* Digits only: strtoul() alone takes blanks and signs. *END is behind them. */
static bool digits(const char *text, const char **end, unsigned long *number)
{
	size_t len = strspn(text, "0123456789");

	*end = text + len;
	if (len == 0 || len > 10)
		return false;
	*number = strtoul(text, NULL, 10);
	return true;
}

static const char *skip_blanks(const char *text)
{
	return text + strspn(text, BLANKS);
}

/* At most one newline, and nothing behind it. */
static bool is_end(const char *text)
{
	return text[strspn(text, BLANKS "\n")] == '\0';
}

int limit_number_parse(const char *text, unsigned min, unsigned max, unsigned *number)
{
	const char *end;
	unsigned long n;

	if (!digits(skip_blanks(text), &end, &n) || !is_end(end) || n < min || n > max)
		return -1;
	*number = (unsigned)n;
	return 0;
}

int rate_parse(const char *text, struct rate *rate)
{
	const char *end;
	unsigned long n;

	if (!digits(skip_blanks(text), &end, &n) || n < 1 || n > RATE_COUNT_MAX || *end != '/')
		return -1;
	for (size_t i = 0; i < UNITS; i++)
		if (end[1] == units[i].unit && is_end(end + 2)) {
			*rate = (struct rate){(unsigned)n, units[i].ns};
			return 0;
		}
	return -1;
}

void rate_format(const struct rate *rate, char text[static LIMIT_SIZE])
{
	for (size_t i = 0; i < UNITS; i++)
		if (units[i].ns == rate->per_ns)
			snprintf(text, LIMIT_SIZE, "%u/%c", rate->count, units[i].unit);
}

unsigned rate_burst(const struct rate *rate)
{
	int64_t burst = rate->count * (SECOND_NS / 10) / rate->per_ns;

	return burst < 1 ? 1 : (unsigned)burst;
}

int64_t rate_take(const struct rate *rate, unsigned burst, int64_t now_ns, int64_t *tat_ns)
{
	int64_t each = rate->per_ns / rate->count;
	int64_t longest = each <= INT64_MAX / 4 / burst ? each * burst : INT64_MAX / 4;
	int64_t tat = *tat_ns > now_ns ? *tat_ns : now_ns;

	if (tat - now_ns > longest)
		tat = now_ns + longest;
	if (tat - now_ns > longest - each)
		return tat - now_ns - (longest - each);
	*tat_ns = tat + each;
	return 0;
}

/* The text up to its end, without blanks around it; false if it is too long. */
static bool trim(const char *text, char trimmed[static LIMIT_SIZE])
{
	size_t len;

	text = skip_blanks(text);
	len = strcspn(text, "\n");
	while (len > 0 && is_blank(text[len - 1]))
		len--;
	if (len >= LIMIT_SIZE || !is_end(text + len))
		return false;
	memcpy(trimmed, text, len);
	trimmed[len] = '\0';
	return true;
}

int breaker_parse(const char *text, struct breaker *breaker)
{
	char trimmed[LIMIT_SIZE];
	const char *end;
	unsigned long n;

	if (!trim(text, trimmed) || !digits(trimmed, &end, &n) || n < 1 ||
	    n > BREAKER_FAILURES_MAX || *end != ',' ||
	    backoff_parse(end + 1, &breaker->wait) != 0 || breaker->wait.base_ms == 0)
		return -1;
	breaker->failures = (unsigned)n;
	return 0;
}

void breaker_format(const struct breaker *breaker, char text[static LIMIT_SIZE])
{
	char wait[BACKOFF_SIZE];

	backoff_format(&breaker->wait, wait);
	snprintf(text, LIMIT_SIZE, "%u,%s", breaker->failures, wait);
}

/* A person may write a time of any zone there, and may leave out the wait. */
void breaker_open_parse(const char *text, struct breaker_open *open)
{
	char trimmed[LIMIT_SIZE], *wait;

	*open = (struct breaker_open){OPEN_FOR_GOOD, 0};
	if (!trim(text, trimmed))
		return;
	wait = strchr(trimmed, ' ');
	if (wait)
		*wait++ = '\0';
	if (strchr(trimmed, '-') && when_parse(trimmed, 0, &open->until_ms) != 0)
		open->until_ms = OPEN_FOR_GOOD;
	if (open->until_ms == OPEN_FOR_GOOD || (wait && duration_parse(wait, &open->wait_ms) != 0))
		*open = (struct breaker_open){OPEN_FOR_GOOD, 0};
}

void breaker_open_format(const struct breaker_open *open, char text[static LIMIT_SIZE])
{
	char until[WHEN_SIZE], wait[WHEN_SIZE];

	text[0] = '\0';
	if (open->until_ms == OPEN_FOR_GOOD)
		return;
	when_rfc3339(open->until_ms, until);
	duration_format(open->wait_ms, wait);
	snprintf(text, LIMIT_SIZE, "%s %s", until, wait);
}

struct breaker_open breaker_next(
    const struct breaker *breaker, const struct breaker_open *last, int64_t now_ms, uint32_t chance)
{
	const struct backoff *wait = &breaker->wait;
	int64_t next = last ? last->wait_ms : wait->base_ms;

	if (last)
		next = next > wait->cap_ms / 2 ? wait->cap_ms : next * 2;
	if (next < wait->base_ms)
		next = wait->base_ms;
	return (struct breaker_open){
	    now_ms + backoff_wait_ms(&(struct backoff){next, next}, 1, chance), next};
}

void limit_state_parse(const char *text, struct limit_state *state)
{
	*state = (struct limit_state){0};
	if (sscanf(text, "failures %10u\ntoken %20" SCNd64, &state->failures, &state->tat_ns) < 2 ||
	    state->tat_ns < 0)
		*state = (struct limit_state){0};
}

void limit_state_format(const struct limit_state *state, char text[static LIMIT_STATE_LEN + 1])
{
	snprintf(text, LIMIT_STATE_LEN + 1, "failures %10u\ntoken %20" PRId64 "\n", state->failures,
	    state->tat_ns);
}
