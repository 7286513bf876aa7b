/* Durations, and the waits of a backoff. */
#include "fuzz.h"

#include "format/backoff.h"
#include "format/when.h"

#define LONGEST_MS (INT64_C(36525) * 24 * 60 * 60 * 1000)
#define UNTOUCHED INT64_C(-77)

static int64_t parsed(const char *text)
{
	int64_t ms = UNTOUCHED;

	MUST(duration_parse(text, &ms) == 0);
	return ms;
}

/* Each unit once at most, largest first, and a fraction in the last part only. */
static void check_form(const char *text)
{
	static const char *const units[] = {"w", "d", "h", "m", "s", "ms"};
	size_t next = 0;

	while (*text) {
		size_t number = strspn(text, "0123456789."),
		       unit = strcspn(text + number, "0123456789.");

		MUST(number > 0 && (unit > 0 || next == 0));
		MUST(!memchr(text, '.', number) || text[number + unit] == '\0');
		while (unit > 0 && next < 6 &&
		    (strlen(units[next]) != unit || memcmp(units[next], text + number, unit) != 0))
			next++;
		MUST(next++ < 6);
		text += number + unit;
	}
}

static void check_duration(const char *text)
{
	char again[WHEN_SIZE];
	int64_t ms = UNTOUCHED;

	if (duration_parse(text, &ms) != 0) {
		MUST(ms == UNTOUCHED);
		return;
	}
	MUST(ms >= 0 && ms <= LONGEST_MS);
	check_form(text);
	duration_format(ms, again);
	MUST(parsed(again) == ms);
}

static void check_number(int64_t ms)
{
	char text[WHEN_SIZE], shorter[WHEN_SIZE];

	duration_format(ms, text);
	duration_format_short(ms, shorter);
	MUST(strlen(text) < WHEN_SIZE - 1 && strlen(shorter) <= strlen(text) + 1);
	if (ms < 0 || ms > LONGEST_MS)
		return;
	MUST(parsed(text) == ms);
	MUST(parsed(shorter) <= ms);
	MUST(ms - parsed(shorter) < 1000 || ms - parsed(shorter) < ms / 7);
}

/* What people are shown never puts the longer of two before the shorter. */
static void check_order(int64_t a, int64_t b)
{
	char text_a[WHEN_SIZE], text_b[WHEN_SIZE];

	if (a < 0 || b < 0 || a > LONGEST_MS || b > LONGEST_MS)
		return;
	duration_format_short(a < b ? a : b, text_a);
	duration_format_short(a < b ? b : a, text_b);
	MUST(parsed(text_a) <= parsed(text_b));
}

static void check_waits(const struct backoff *backoff, unsigned attempt, uint32_t chance)
{
	int64_t wait = backoff_wait_ms(backoff, attempt, chance);
	int64_t least = backoff_wait_ms(backoff, attempt, 0);
	int64_t most = backoff_wait_ms(backoff, attempt, UINT32_MAX);

	MUST(least >= 0 && least <= wait && wait <= most && most <= backoff->cap_ms);
	MUST(most - least <= least);
	MUST(attempt == UINT32_MAX || wait <= backoff_wait_ms(backoff, attempt + 1, chance));
}

static void check_backoff(const char *text, unsigned attempt, uint32_t chance)
{
	struct backoff backoff, again;
	char written[BACKOFF_SIZE];

	if (backoff_parse(text, &backoff) != 0)
		return;
	MUST(backoff.base_ms >= 0 && backoff.base_ms <= backoff.cap_ms);
	MUST(backoff.cap_ms <= LONGEST_MS);
	backoff_format(&backoff, written);
	MUST(backoff_parse(written, &again) == 0);
	MUST(again.base_ms == backoff.base_ms && again.cap_ms == backoff.cap_ms);
	check_waits(&backoff, attempt, chance);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t a = fuzz_number(data, size, 0), b = fuzz_number(data, size, 8);
	struct backoff any = {(int64_t)(a >> 1), (int64_t)(b >> 1)};
	unsigned attempt = (unsigned)(fuzz_number(data, size, 16) % 100) + 1;
	char *text = fuzz_text(data, size);

	check_duration(text);
	check_backoff(text, attempt, (uint32_t)a);
	check_number((int64_t)a);
	check_number((int64_t)(a % LONGEST_MS));
	check_order((int64_t)(a % LONGEST_MS), (int64_t)(b % LONGEST_MS));
	if (any.base_ms <= any.cap_ms)
		check_waits(&any, attempt, (uint32_t)(a ^ b));
	free(text);
	return 0;
}
