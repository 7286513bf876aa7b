/* Points in time. The first eight bytes of the input are "now", the rest is the text. */
#include "fuzz.h"

#include <time.h>

#include "format/when.h"

#define UNTOUCHED INT64_C(-77)
#define DAY_MS (INT64_C(24) * 60 * 60 * 1000)

static const char *const zones[] = {
    "UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "IST-5:30", "NZST-12NZDT,M9.5.0,M4.1.0/3"};

static void check_time(int64_t ms)
{
	char text[WHEN_SIZE];
	int64_t again = UNTOUCHED;

	MUST(ms >= 0 && ms <= WHEN_MAX_MS);
	when_rfc3339(ms, text);
	MUST(strlen(text) == WHEN_RFC3339_LEN);
	MUST(when_parse(text, 0, &again) == 0 && again == ms);
	when_stamp(ms, text);
	MUST(strlen(text) == WHEN_STAMP_LEN);
	MUST(when_stamp_parse(text, &again) && again == ms);
}

/* Seconds in UTC of what the C library makes of the same date, zone and fraction aside. */
static int64_t seconds_of(const char *text)
{
	struct tm tm = {0}, given;
	int64_t seconds;

	MUST(sscanf(text, "%4d-%2d-%2d%*c%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
	         &tm.tm_hour, &tm.tm_min, &tm.tm_sec) == 6);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	given = tm;
	seconds = timegm(&tm);
	/* There is such a day; a leap second alone belongs to the next. */
	MUST(given.tm_sec == 60 || (given.tm_mday == tm.tm_mday && given.tm_hour == tm.tm_hour));
	return seconds;
}

/* Minutes east of UTC. */
static int zone_of(const char *text)
{
	const char *sign = strpbrk(text + 11, "+-");
	int hours, minutes;

	if (!sign)
		return 0;
	MUST(sscanf(sign + 1, "%2d:%2d", &hours, &minutes) == 2);
	return (hours * 60 + minutes) * (*sign == '-' ? -1 : 1);
}

static void check_rfc3339(const char *text, int64_t ms)
{
	int64_t seconds = seconds_of(text) - zone_of(text) * 60;

	MUST(ms / 1000 == (seconds < 0 ? 0 : seconds));
	MUST(strchr(text, '.') || ms % 1000 == 0);
}

/* The next time that a clock shows HH:MM: after now, and within two days. */
static void check_clock(int64_t now, int64_t ms)
{
	MUST(ms > now && ms <= now + 2 * DAY_MS);
	MUST(ms % 60000 == 0);
}

static void check_text(const char *text, int64_t now)
{
	int64_t ms = UNTOUCHED;

	if (when_parse(text, now, &ms) != 0) {
		MUST(ms == UNTOUCHED);
		return;
	}
	check_time(ms);
	if (text[0] == '@')
		MUST(ms / 1000 == strtoll(text + 1, NULL, 10));
	else if (strlen(text) == 5)
		check_clock(now, ms);
	else
		check_rfc3339(text, ms);
}

/* It reads what it writes, and only that. */
static void check_stamp(const char *text)
{
	char again[WHEN_SIZE];
	int64_t ms = UNTOUCHED;

	if (!when_stamp_parse(text, &ms)) {
		MUST(ms == UNTOUCHED);
		return;
	}
	check_time(ms);
	when_stamp(ms, again);
	MUST(strncmp(text, again, WHEN_STAMP_LEN) == 0);
}

/* As texts they sort as they do as numbers. Before and after what has a stamp, by the nearest. */
static void check_order(int64_t a, int64_t b)
{
	char text_a[WHEN_SIZE], text_b[WHEN_SIZE];
	bool in_range = a >= 0 && b >= 0 && a <= WHEN_MAX_MS && b <= WHEN_MAX_MS;
	int order;

	when_stamp(a, text_a);
	when_stamp(b, text_b);
	order = fuzz_sign(strcmp(text_a, text_b));
	MUST(order == (a > b) - (a < b) || (order == 0 && !in_range));
	when_rfc3339(a, text_a);
	when_rfc3339(b, text_b);
	MUST(fuzz_sign(strcmp(text_a, text_b)) == order);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t a = fuzz_number(data, size, 0), b = fuzz_number(data, size, 8);
	size_t head = size < 8 ? size : 8;
	char *text = fuzz_text(data + head, size - head);

	setenv("TZ", zones[a % 4], 1);
	check_text(text, (int64_t)(a % (WHEN_MAX_MS + 1)));
	check_stamp(text);
	check_time((int64_t)(a % (WHEN_MAX_MS + 1)));
	check_order((int64_t)a, (int64_t)b);
	check_order((int64_t)(a % (WHEN_MAX_MS + 1)), (int64_t)(b % (WHEN_MAX_MS + 1)));
	free(text);
	return 0;
}
