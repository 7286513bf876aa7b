#include "format/when.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DURATION_MAX_MS (INT64_C(36525) * 24 * 60 * 60 * 1000)

static const struct unit {
	const char *name;
	int64_t ms;
} units[] = {
    {"w", 7 * 24 * 60 * 60 * 1000},
    {"d", 24 * 60 * 60 * 1000},
    {"h", 60 * 60 * 1000},
    {"m", 60 * 1000},
    {"s", 1000},
    {"ms", 1},
};

/* Places in units[]. */
enum { UNIT_SECOND = 4, UNIT_COUNT = sizeof units / sizeof *units };

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A whole number of at most MAX. */
static bool scan_number(const char **text, int64_t max, int64_t *number)
{
	const char *at = *text;

	*number = 0;
	for (; is_digit(*at); at++) {
		*number = *number * 10 + (*at - '0');
		if (*number > max)
			return false;
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

/* ".5" as a part of WHOLE, rounded down; nothing at all is 0. Digits behind the
 * ninth are not worth a millisecond, even of a week. */
static bool scan_fraction(const char **text, int64_t whole, int64_t *part)
{
	const char *at = *text;
	int64_t digits = 0, scale = 1;

	*part = 0;
	if (*at != '.')
		return true;
	if (!is_digit(*++at))
		return false;
	for (; is_digit(*at); at++) {
		if (scale == 1000000000)
			continue;
		digits = digits * 10 + (*at - '0');
		scale *= 10;
	}
	*part = whole * digits / scale;
	*text = at;
	return true;
}

static size_t scan_unit(const char **text)
{
	size_t len = strspn(*text, "abcdefghijklmnopqrstuvwxyz");
	size_t i = 0;

	while (i < UNIT_COUNT &&
	    (strlen(units[i].name) != len || memcmp(*text, units[i].name, len) != 0))
		i++;
	*text += len;
	return i;
}

/* One "1.5h"; FIRST is the largest unit that may still come. */
static bool scan_part(const char **text, size_t *first, int64_t *ms)
{
	const char *at = *text, *end = at + strspn(at, "0123456789."), *number_end = end;
	bool fraction = memchr(at, '.', (size_t)(end - at)) != NULL;
	bool bare = *first == 0 && *end == '\0';
	size_t unit = bare ? UNIT_SECOND : scan_unit(&end);
	int64_t whole, part;

	if (unit < *first || unit >= UNIT_COUNT)
		return false;
	if (!scan_number(&at, DURATION_MAX_MS / units[unit].ms, &whole) ||
	    !scan_fraction(&at, units[unit].ms, &part) || at != number_end)
		return false;
	*ms = whole * units[unit].ms + part;
	*first = fraction ? UNIT_COUNT : unit + 1;
	*text = end;
	return true;
}

int duration_parse(const char *text, int64_t *ms)
{
	size_t first = 0;
	int64_t total = 0;

	do {
		int64_t part;

		if (!scan_part(&text, &first, &part))
			return -1;
		total += part;
		if (total > DURATION_MAX_MS)
			return -1;
	} while (*text);
	*ms = total;
	return 0;
}

__attribute__((format(printf, 3, 4))) static size_t append(
    char text[static WHEN_SIZE], size_t len, const char *format, ...)
{
	va_list args;
	int added;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, just above */
	added = vsnprintf(text + len, WHEN_SIZE - len, format, args);
	va_end(args);
	return len + (size_t)added;
}

static size_t append_units(char text[static WHEN_SIZE], size_t len, uint64_t number, size_t unit)
{
	return append(text, len, "%" PRIu64 "%s", number, units[unit].name);
}

static uint64_t magnitude(int64_t ms)
{
	return ms < 0 ? -(uint64_t)ms : (uint64_t)ms;
}

/* "1.5s" of 1500, "250ms" of 250. */
static void append_seconds(char text[static WHEN_SIZE], size_t len, unsigned ms)
{
	unsigned fraction = ms % 1000;
	int width = 3;

	if (ms < 1000) {
		append_units(text, len, ms, UNIT_SECOND + 1);
		return;
	}
	len = append(text, len, "%u", ms / 1000);
	if (fraction > 0) {
		for (; fraction % 10 == 0; fraction /= 10)
			width--;
		len = append(text, len, ".%0*u", width, fraction);
	}
	append(text, len, "s");
}

void duration_format(int64_t ms, char text[static WHEN_SIZE])
{
	uint64_t rest = magnitude(ms);
	size_t len = append(text, 0, "%s", ms < 0 ? "-" : rest == 0 ? "0s" : "");

	for (size_t i = 0; i < UNIT_SECOND; i++) {
		uint64_t unit = (uint64_t)units[i].ms;

		if (rest >= unit)
			/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): no unit is 0 */
			len = append_units(text, len, rest / unit, i);
		rest %= unit;
	}
	if (rest > 0)
		append_seconds(text, len, (unsigned)rest);
}

void duration_format_short(int64_t ms, char text[static WHEN_SIZE])
{
	uint64_t rest = magnitude(ms), unit, next;
	size_t i = 0, len;

	while (i < UNIT_SECOND && rest < (uint64_t)units[i].ms)
		i++;
	unit = (uint64_t)units[i].ms;
	len = append(text, 0, "%s", ms < 0 && rest >= unit ? "-" : "");
	len = append_units(text, len, rest / unit, i);
	if (i == UNIT_SECOND)
		return;
	next = rest % unit / (uint64_t)units[i + 1].ms;
	if (next > 0)
		append_units(text, len, next, i + 1);
}

/* Fields of a date, as scan_form() leaves them. */
enum { YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, MILLISECOND, FIELD_COUNT };

/* Reads TEXT by FORM, in which a digit asks for as many digits, whose number goes
 * to the next FIELD, and everything else for itself. */
static bool scan_form(const char **text, const char *form, int *field)
{
	const char *at = *text;

	for (; *form; form++) {
		if (!is_digit(*form)) {
			if (*at++ != *form)
				return false;
			continue;
		}
		*field = 0;
		for (int n = *form - '0'; n > 0; n--, at++) {
			if (!is_digit(*at))
				return false;
			*field = *field * 10 + (*at - '0');
		}
		field++;
	}
	*text = at;
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

/* The Gregorian calendar with years that start in March, so that the odd day comes
 * last; one period of 400 years is added, so that the year 0 needs no care. */
static int64_t days_since_epoch(int year, int month, int day)
{
	int64_t y = year + 400 - (month <= 2);
	int64_t m = (month + 9) % 12;

	return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 865565;
}

static bool clock_ok(int hour, int minute)
{
	return hour <= 23 && minute <= 59;
}

/* False if there is no such date. */
static bool date_ms(const int field[static FIELD_COUNT], int64_t *ms)
{
	if (field[MONTH] < 1 || field[MONTH] > 12 || field[DAY] < 1 ||
	    field[DAY] > days_in_month(field[YEAR], field[MONTH]) ||
	    !clock_ok(field[HOUR], field[MINUTE]) || field[SECOND] > 59)
		return false;
	*ms = days_since_epoch(field[YEAR], field[MONTH], field[DAY]);
	*ms = *ms * 24 + field[HOUR];
	*ms = *ms * 60 + field[MINUTE];
	*ms = *ms * 60 + field[SECOND];
	*ms = *ms * 1000 + field[MILLISECOND];
	return true;
}

/* "Z" or "+02:00". */
static bool scan_zone(const char **text, int64_t *ms)
{
	int field[2];
	char sign = *(*text)++;

	*ms = 0;
	if (sign == 'Z' || sign == 'z')
		return true;
	if ((sign != '+' && sign != '-') || !scan_form(text, "2:2", field) ||
	    !clock_ok(field[0], field[1]))
		return false;
	*ms = (field[0] * 60 + field[1]) * (sign == '-' ? -60000 : 60000);
	return true;
}

static int in_range(int64_t ms, int64_t *when_ms)
{
	if (ms > WHEN_MAX_MS)
		return -1;
	*when_ms = ms < 0 ? 0 : ms;
	return 0;
}

int when_rfc3339_parse(const char *text, int64_t *when_ms)
{
	int field[FIELD_COUNT] = {0};
	int64_t ms, fraction, zone;
	bool leap;

	if (!scan_form(&text, "4-2-2", field) || *text == '\0' || !strchr("Tt ", *text))
		return -1;
	text++;
	if (!scan_form(&text, "2:2:2", field + HOUR))
		return -1;
	leap = field[SECOND] == 60;
	if (leap)
		field[SECOND] = 59;
	if (!date_ms(field, &ms) || !scan_fraction(&text, 1000, &fraction) ||
	    !scan_zone(&text, &zone) || *text)
		return -1;
	ms += (leap ? 1000 : 0) - zone;
	/* A leap second is the last one of a day in UTC. */
	if (leap && ms % (24 * 60 * 60 * 1000) != 0)
		return -1;
	return in_range(ms + fraction, when_ms);
}

static int epoch_parse(const char *text, int64_t *when_ms)
{
	int64_t seconds, fraction;

	if (!scan_number(&text, WHEN_MAX_MS / 1000, &seconds) ||
	    !scan_fraction(&text, 1000, &fraction) || *text)
		return -1;
	return in_range(seconds * 1000 + fraction, when_ms);
}

enum { DAY_MINUTES = 24 * 60 };

/* Minutes of local time since the clock last showed TARGET. -1 on failure. */
static int minutes_past(time_t when, int target)
{
	struct tm tm;

	if (!localtime_r(&when, &tm))
		return -1;
	return (tm.tm_hour * 60 + tm.tm_min - target + DAY_MINUTES) % DAY_MINUTES;
}

/* The clock is followed minute by minute. mktime() would be quicker, but of an
 * hour that comes twice it picks one, which may be over, and for one that is left
 * out it answers with another; here a time left out comes with the jump over it. */
static int next_local(int target, int64_t now_ms, int64_t *when_ms)
{
	time_t minute = (time_t)(now_ms / 60000 * 60);
	int past = minutes_past(minute, target);

	for (int n = 0; n < 3 * DAY_MINUTES; n++) {
		int before = past, step;

		minute += 60;
		past = minutes_past(minute, target);
		if (before == -1 || past == -1)
			return -1;
		step = (past - before + DAY_MINUTES) % DAY_MINUTES;
		if (past == 0 || (step < DAY_MINUTES / 2 && before + step > DAY_MINUTES))
			return in_range((int64_t)minute * 1000, when_ms);
	}
	return -1;
}

int when_parse(const char *text, int64_t now_ms, int64_t *when_ms)
{
	const char *end = text;
	int field[2];

	if (*text == '@')
		return epoch_parse(text + 1, when_ms);
	if (!scan_form(&end, "2:2", field) || *end)
		return when_rfc3339_parse(text, when_ms);
	if (!clock_ok(field[0], field[1]))
		return -1;
	/* localtime_r() need not look at TZ by itself. */
	tzset();
	return next_local(field[0] * 60 + field[1], now_ms, when_ms);
}

/* FORM is strftime's, of all but the milliseconds. */
static void format_utc(int64_t when_ms, const char *form, char text[static WHEN_SIZE])
{
	int64_t ms = when_ms < 0 ? 0 : when_ms > WHEN_MAX_MS ? WHEN_MAX_MS : when_ms;
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(text, WHEN_SIZE, form, &tm);
	append(text, len, ".%03dZ", (int)(ms % 1000));
}

void when_stamp(int64_t when_ms, char text[static WHEN_SIZE])
{
	format_utc(when_ms, "%Y%m%dT%H%M%S", text);
}

bool when_stamp_parse(const char *text, int64_t *when_ms)
{
	int field[FIELD_COUNT];
	int64_t ms;

	if (!scan_form(&text, "422T222.3Z", field) || !date_ms(field, &ms) || ms < 0)
		return false;
	*when_ms = ms;
	return true;
}

void when_rfc3339(int64_t when_ms, char text[static WHEN_SIZE])
{
	format_utc(when_ms, "%Y-%m-%dT%H:%M:%S", text);
}
