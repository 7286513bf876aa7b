/*
 * Durations and points in time, as people write them and as the spool shows
 * them. Times are ms since the epoch, durations are ms. Pure, except that HH:MM
 * is local time (tzset, localtime_r), which reads the time zone.
 */
#ifndef QSPOOL_FORMAT_WHEN_H
#define QSPOOL_FORMAT_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WHEN_STAMP_LEN = 20,   /* 20261122T041551.123Z */
	WHEN_RFC3339_LEN = 24, /* 2026-11-22T04:15:51.123Z */
	WHEN_SIZE = 32,        /* room for any text written here, with its NUL */
};

/* Latest time that has a stamp: 9999-12-31T23:59:59.999Z. The earliest is 0. */
#define WHEN_MAX_MS INT64_C(253402300799999)

/* "10m", "1h30m", "1.5s", "250ms", "2d", "1w", "90" (seconds). Units ms s m h d w,
 * each at most once, largest first; a fraction only in the last part, rounded down
 * to whole ms; a number without a unit only by itself. At most 100 years (of 365.25
 * days). 0 on success, -1 otherwise (no errno). */
int duration_parse(const char *text, int64_t *ms);

/* The exact form that duration_parse() reads back, no unit with 0 in it: "1h30m",
 * "1.5s", "250ms", "0s". MS is not negative. */
void duration_format(int64_t ms, char text[WHEN_SIZE]);

/* For people, two units at most (one and the next smaller), down to seconds, rounded
 * towards 0: "3d4h", "1w", "42s", "0s". Negative: "-5s". */
void duration_format_short(int64_t ms, char text[WHEN_SIZE]);

/* RFC 3339 with a zone ("2026-11-22T04:15:51Z", "...+02:00", fraction allowed,
 * 't', ' ' and 'z' too), "@EPOCH" (seconds, fraction allowed), or "HH:MM" (the
 * next such local time after NOW; on a day whose clock leaps over it, the moment of
 * the leap). Fractions are rounded down to ms. A time before 1970 comes out as 0, one
 * after WHEN_MAX_MS is refused. 0 / -1. */
int when_parse(const char *text, int64_t now_ms, int64_t *when_ms);
/* Only the first of these three. */
int when_rfc3339_parse(const char *text, int64_t *when_ms);

/* The stamp of DUE: exactly WHEN_STAMP_LEN characters, sorting as text. Times
 * outside 0..WHEN_MAX_MS are clamped. */
void when_stamp(int64_t when_ms, char text[WHEN_SIZE]);
/* Strict: reads only what when_stamp() writes. TEXT need not end after it. */
bool when_stamp_parse(const char *text, int64_t *when_ms);

/* RFC 3339 in UTC with milliseconds, WHEN_RFC3339_LEN characters; clamped likewise. */
void when_rfc3339(int64_t when_ms, char text[WHEN_SIZE]);

#endif
