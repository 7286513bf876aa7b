#include "format/when.h"

#include <time.h>

#include "unit.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)

static void only_rfc3339(void)
{
	static const char *const bad[] = {"", "@0", "@1764000000", "12:00", "2026-11-22",
	    "2026-11-22T04:15:51Z\n", " 2026-11-22T04:15:51Z", "2026-11-22T04:15:51"};
	int64_t ms = 12345;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!CHECK_INT(when_rfc3339_parse(bad[i], &ms), -1) || !CHECK_INT(ms, 12345))
			printf("#   \"%s\"\n", bad[i]);
	CHECK_INT(when_rfc3339_parse("1970-01-02T01:00:00.25+01:00", &ms), 0);
	CHECK_INT(ms, DAY + 250);
}

static void durations(void)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {{"0", 0}, {"0s", 0}, {"0ms", 0}, {"0w", 0}, {"90", 90 * SECOND}, {"1.5", 1500},
	    {"007", 7 * SECOND}, {"10m", 10 * MINUTE}, {"1h30m", 90 * MINUTE}, {"1.5s", 1500},
	    {"250ms", 250}, {"2d", 2 * DAY}, {"1w", WEEK},
	    {"1w2d3h4m5s6ms", WEEK + 2 * DAY + 3 * HOUR + 4 * MINUTE + 5 * SECOND + 6},
	    {"1w6ms", WEEK + 6}, {"90m", 90 * MINUTE}, {"1h90m", 150 * MINUTE},
	    {"1h0.5m", HOUR + 30 * SECOND}, {"0.5w", WEEK / 2}, {"1.25h", 75 * MINUTE},
	    {"0.001s", 1}, {"0.0009s", 0}, {"1.9ms", 1}, {"0.9999", 999},
	    {"0.333333333333333333333333333333h", 1199999}, {"36525d", 36525 * DAY},
	    {"3155760000", 36525 * DAY}, {"0000000000000000000000000000000000000001s", SECOND}};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		int64_t ms = -1;

		if (!CHECK_INT(duration_parse(good[i].text, &ms), 0) || !CHECK_INT(ms, good[i].ms))
			printf("#   \"%s\"\n", good[i].text);
	}
}

static void wrong_durations(void)
{
	static const char *const bad[] = {"", " ", "s", "m", ".", ".5", ".5s", "1.", "1.s", "1..5s",
	    "1.5.5s", "1.5.", "1s.", "-1", "+1", "-1s", "1 s", " 1s", "1s ", "1s\n", "1S", "1M",
	    "1x", "1sec", "1min", "1mss", "1y", "1h30", "30 1h", "1s1s", "1m1h", "1s1m", "1ms1s",
	    "1h1h", "1.5h30m", "1.0h1m", "1,5s", "0x10", "1e3", "36525d1ms", "36526d", "5218w",
	    "3155760001", "3155760000.001", "9223372036854775807", "9223372036854775808ms",
	    "99999999999999999999999999w", "18446744073709551617s", "15250284452w1s", "1h\xc2\xb5"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t ms = 12345;

		if (!CHECK_INT(duration_parse(bad[i], &ms), -1) || !CHECK_INT(ms, 12345))
			printf("#   \"%s\"\n", bad[i]);
	}
}

static void durations_written(void)
{
	static const struct {
		int64_t ms;
		const char *text;
	} good[] = {{0, "0s"}, {1, "1ms"}, {250, "250ms"}, {999, "999ms"}, {1000, "1s"},
	    {1001, "1.001s"}, {1010, "1.01s"}, {1100, "1.1s"}, {1500, "1.5s"}, {59999, "59.999s"},
	    {MINUTE, "1m"}, {MINUTE + 5, "1m5ms"}, {MINUTE + 1005, "1m1.005s"},
	    {90 * MINUTE, "1h30m"}, {HOUR + 1, "1h1ms"}, {DAY, "1d"}, {36 * HOUR, "1d12h"},
	    {WEEK, "1w"}, {8 * DAY, "1w1d"}, {36525 * DAY, "5217w6d"},
	    {36525 * DAY - 1, "5217w5d23h59m59.999s"}};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char text[WHEN_SIZE];
		int64_t ms;

		duration_format(good[i].ms, text);
		CHECK_STR(text, good[i].text);
		CHECK_INT(duration_parse(text, &ms), 0);
		CHECK_INT(ms, good[i].ms);
	}
}

static void every_duration_is_read_back(void)
{
	for (int64_t ms = 0; ms < 36525 * DAY; ms += 1 + ms / 777) {
		char text[WHEN_SIZE];
		int64_t again = -1;

		duration_format(ms, text);
		CHECK_INT(duration_parse(text, &again), 0);
		CHECK_INT(again, ms);
	}
}

static void durations_for_people(void)
{
	static const struct {
		int64_t ms;
		const char *text;
	} good[] = {{0, "0s"}, {1, "0s"}, {999, "0s"}, {42999, "42s"}, {MINUTE - 1, "59s"},
	    {MINUTE, "1m"}, {61 * SECOND, "1m1s"}, {HOUR - 1, "59m59s"}, {HOUR, "1h"},
	    {HOUR + 59 * SECOND, "1h"}, {HOUR + MINUTE, "1h1m"}, {76 * HOUR, "3d4h"},
	    {DAY + 59 * MINUTE, "1d"}, {WEEK - 1, "6d23h"}, {WEEK, "1w"}, {8 * DAY - 1, "1w"},
	    {8 * DAY, "1w1d"}, {-1, "0s"}, {-999, "0s"}, {-1000, "-1s"}, {-5500, "-5s"},
	    {-76 * HOUR, "-3d4h"}, {INT64_MAX, "15250284452w3d"}, {INT64_MIN, "-15250284452w3d"}};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char text[WHEN_SIZE];

		duration_format_short(good[i].ms, text);
		CHECK_STR(text, good[i].text);
	}
}

static void stamps(void)
{
	static const struct {
		int64_t ms;
		const char *stamp, *rfc3339;
	} good[] = {{0, "19700101T000000.000Z", "1970-01-01T00:00:00.000Z"},
	    {951782399999, "20000228T235959.999Z", "2000-02-28T23:59:59.999Z"},
	    {951782400000, "20000229T000000.000Z", "2000-02-29T00:00:00.000Z"},
	    {1709251199000, "20240229T235959.000Z", "2024-02-29T23:59:59.000Z"},
	    {1795320951123, "20261122T041551.123Z", "2026-11-22T04:15:51.123Z"},
	    {4107542400000, "21000301T000000.000Z", "2100-03-01T00:00:00.000Z"},
	    {WHEN_MAX_MS, "99991231T235959.999Z", "9999-12-31T23:59:59.999Z"}};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char text[WHEN_SIZE];
		int64_t ms = -1;

		when_stamp(good[i].ms, text);
		CHECK_STR(text, good[i].stamp);
		CHECK_INT((int64_t)strlen(text), WHEN_STAMP_LEN);
		CHECK(when_stamp_parse(text, &ms));
		CHECK_INT(ms, good[i].ms);
		when_rfc3339(good[i].ms, text);
		CHECK_STR(text, good[i].rfc3339);
		CHECK_INT((int64_t)strlen(text), WHEN_RFC3339_LEN);
		CHECK_INT(when_parse(text, 0, &ms), 0);
		CHECK_INT(ms, good[i].ms);
	}
}

static void stamps_are_clamped(void)
{
	static const int64_t early[] = {-1, -DAY, INT64_MIN};
	static const int64_t late[] = {WHEN_MAX_MS + 1, INT64_MAX};
	char text[WHEN_SIZE];

	for (size_t i = 0; i < sizeof early / sizeof *early; i++) {
		when_stamp(early[i], text);
		CHECK_STR(text, "19700101T000000.000Z");
		when_rfc3339(early[i], text);
		CHECK_STR(text, "1970-01-01T00:00:00.000Z");
	}
	for (size_t i = 0; i < sizeof late / sizeof *late; i++) {
		when_stamp(late[i], text);
		CHECK_STR(text, "99991231T235959.999Z");
		when_rfc3339(late[i], text);
		CHECK_STR(text, "9999-12-31T23:59:59.999Z");
	}
}

static void every_day_is_read_back(void)
{
	char last[WHEN_SIZE] = "";

	for (int64_t ms = DAY - 1; ms <= WHEN_MAX_MS; ms += DAY) {
		char text[WHEN_SIZE];
		int64_t again = -1;

		when_stamp(ms, text);
		CHECK(strcmp(last, text) < 0);
		CHECK(when_stamp_parse(text, &again));
		CHECK_INT(again, ms);
		memcpy(last, text, sizeof last);
	}
}

static void wrong_stamps(void)
{
	static const char *const bad[] = {"", "2", "20261122", "20260230T000000.000Z",
	    "20230229T000000.000Z", "19000229T000000.000Z", "20260431T000000.000Z",
	    "20260001T000000.000Z", "20261301T000000.000Z", "20260100T000000.000Z",
	    "20260132T000000.000Z", "20261122T240000.000Z", "20261122T006000.000Z",
	    "20261122T000060.000Z", "19691231T235959.999Z", "20261122t041551.123Z",
	    "20261122T041551.123z", "20261122T041551.12Z", "20261122T041551,123Z",
	    "20261122T041551.1234Z", "+0261122T041551.123Z", "2026 122T041551.123Z",
	    "2026112\xb2T041551.123Z"};
	int64_t ms = 12345;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!CHECK(!when_stamp_parse(bad[i], &ms)))
			printf("#   \"%s\"\n", bad[i]);
	CHECK_INT(ms, 12345);
	CHECK(when_stamp_parse("20261122T041551.123Z.50.rest", &ms));
	CHECK_INT(ms, 1795320951123);
}

static void points_in_time(void)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {{"2026-11-22T04:15:51Z", 1795320951000},
	    {"2026-11-22T04:15:51.123Z", 1795320951123}, {"2026-11-22t04:15:51z", 1795320951000},
	    {"2026-11-22 04:15:51Z", 1795320951000}, {"2026-11-22T06:15:51+02:00", 1795320951000},
	    {"2026-11-21T22:45:51-05:30", 1795320951000},
	    {"2026-11-22T04:15:51-00:00", 1795320951000},
	    {"2026-11-22T04:15:51.5+00:00", 1795320951500},
	    {"2026-11-22T04:15:51.1239999999999999999999Z", 1795320951123},
	    {"2026-11-22T04:15:51.0009Z", 1795320951000},
	    {"2026-11-23T04:14:51+23:59", 1795320951000}, {"1970-01-01T00:00:00Z", 0},
	    {"1970-01-01T01:00:00+01:00", 0}, {"1969-12-31T23:30:00-01:00", 30 * MINUTE},
	    {"1969-12-31T23:59:59.999Z", 0}, {"1970-01-01T00:00:00+01:00", 0},
	    {"0000-01-01T00:00:00Z", 0}, {"0000-02-29T00:00:00Z", 0},
	    {"2016-12-31T23:59:60Z", 1483228800000}, {"2016-12-31T23:59:60.5Z", 1483228800500},
	    {"2017-01-01T00:59:60+01:00", 1483228800000}, {"9999-12-31T23:59:59.999Z", WHEN_MAX_MS},
	    {"9999-12-31T22:59:59.999-01:00", WHEN_MAX_MS}, {"@0", 0},
	    {"@1795320951", 1795320951000}, {"@1795320951.25", 1795320951250},
	    {"@0.0019999999999999", 1}, {"@253402300799.999", WHEN_MAX_MS}};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		int64_t ms = -1;

		if (!CHECK_INT(when_parse(good[i].text, 0, &ms), 0) || !CHECK_INT(ms, good[i].ms))
			printf("#   \"%s\"\n", good[i].text);
	}
}

static void wrong_points_in_time(void)
{
	static const char *const bad[] = {"", "now", "@", "@-1", "@+1", "@1x", "@1.", "@.5", "@ 1",
	    "@1 ", "@253402300800", "@9223372036854775807", "@99999999999999999999", "2026-11-22",
	    "2026-11-22T04:15:51", "2026-11-22T04:15:51.Z", "2026-11-22T04:15Z",
	    "2026-11-22T04:15:51,5Z", "2026-11-22T04:15:51Zx", "2026-11-22T04:15:51Z ",
	    " 2026-11-22T04:15:51Z", "2026-11-22T04:15:51+0200", "2026-11-22T04:15:51+02",
	    "2026-11-22T04:15:51+24:00", "2026-11-22T04:15:51+02:60", "2026-11-22T04:15:51 +02:00",
	    "2026-11-22T04:15:51+02:00Z", "2026-11-22_04:15:51Z", "2026-11-22", "2026-11-22T",
	    "2026-1-22T04:15:51Z", "26-11-22T04:15:51Z", "2026-02-30T04:15:51Z",
	    "2023-02-29T04:15:51Z", "1900-02-29T04:15:51Z", "2026-13-01T04:15:51Z",
	    "2026-00-01T04:15:51Z", "2026-01-00T04:15:51Z", "2026-11-31T04:15:51Z",
	    "2026-11-22T24:00:00Z", "2026-11-22T23:60:00Z", "2026-11-22T04:15:60Z",
	    "2016-12-31T23:59:61Z", "2016-12-31T23:59:60+01:00", "9999-12-31T23:59:59-00:01",
	    "9999-12-31T23:00:00-01:00", "10000-01-01T00:00:00Z", "20261122T041551.123Z"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t ms = 12345;

		if (!CHECK_INT(when_parse(bad[i], 0, &ms), -1) || !CHECK_INT(ms, 12345))
			printf("#   \"%s\"\n", bad[i]);
	}
}

/* No zone data is needed for these; the first has the rules of central Europe. */
#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define KOLKATA "IST-5:30"

static void check_local(const char *zone, const char *now, const char *clock, const char *want)
{
	int64_t now_ms = -1, when_ms = -1;
	char text[WHEN_SIZE];

	setenv("TZ", zone, 1);
	CHECK_INT(when_parse(now, 0, &now_ms), 0);
	CHECK_INT(when_parse(clock, now_ms, &when_ms), 0);
	when_rfc3339(when_ms, text);
	if (!CHECK_STR(text, want))
		printf("#   %s at %s in %s\n", clock, now, zone);
}

static void local_clock(void)
{
	check_local("UTC0", "2026-11-22T04:15:51Z", "04:16", "2026-11-22T04:16:00.000Z");
	check_local("UTC0", "2026-11-22T04:15:51Z", "04:15", "2026-11-23T04:15:00.000Z");
	check_local("UTC0", "2026-11-22T04:15:00Z", "04:15", "2026-11-23T04:15:00.000Z");
	check_local("UTC0", "2026-11-22T04:14:59.999Z", "04:15", "2026-11-22T04:15:00.000Z");
	check_local("UTC0", "2026-11-22T04:15:51Z", "04:14", "2026-11-23T04:14:00.000Z");
	check_local(KOLKATA, "2026-11-22T04:15:51Z", "09:46", "2026-11-22T04:16:00.000Z");
}

static void local_clock_across_midnight(void)
{
	check_local("UTC0", "2026-12-31T23:59:59Z", "00:00", "2027-01-01T00:00:00.000Z");
	check_local("UTC0", "2026-12-31T23:59:59Z", "23:59", "2027-01-01T23:59:00.000Z");
	check_local("UTC0", "2024-02-28T12:00:00Z", "11:59", "2024-02-29T11:59:00.000Z");
	check_local(BERLIN, "2026-11-22T22:59:59Z", "00:00", "2026-11-22T23:00:00.000Z");
	check_local(BERLIN, "2026-11-22T23:30:00Z", "00:15", "2026-11-23T23:15:00.000Z");
}

/* 2026-03-29, 02:00 becomes 03:00: half past two comes with the leap. */
static void local_clock_in_spring(void)
{
	check_local(BERLIN, "2026-03-28T22:00:00Z", "01:59", "2026-03-29T00:59:00.000Z");
	check_local(BERLIN, "2026-03-28T22:00:00Z", "02:00", "2026-03-29T01:00:00.000Z");
	check_local(BERLIN, "2026-03-28T22:00:00Z", "02:30", "2026-03-29T01:00:00.000Z");
	check_local(BERLIN, "2026-03-28T22:00:00Z", "03:00", "2026-03-29T01:00:00.000Z");
	check_local(BERLIN, "2026-03-28T22:00:00Z", "04:00", "2026-03-29T02:00:00.000Z");
	check_local(BERLIN, "2026-03-29T00:59:59Z", "02:30", "2026-03-29T01:00:00.000Z");
	check_local(BERLIN, "2026-03-29T01:00:00Z", "02:30", "2026-03-30T00:30:00.000Z");
	check_local(BERLIN, "2026-03-28T12:00:00Z", "12:00", "2026-03-29T10:00:00.000Z");
}

/* 2026-10-25, 03:00 becomes 02:00: half past two comes twice. */
static void local_clock_in_autumn(void)
{
	check_local(BERLIN, "2026-10-24T22:00:00Z", "02:30", "2026-10-25T00:30:00.000Z");
	check_local(BERLIN, "2026-10-25T00:30:00Z", "02:30", "2026-10-25T01:30:00.000Z");
	check_local(BERLIN, "2026-10-25T00:59:59Z", "02:00", "2026-10-25T01:00:00.000Z");
	check_local(BERLIN, "2026-10-25T01:30:00Z", "02:30", "2026-10-26T01:30:00.000Z");
	check_local(BERLIN, "2026-10-25T00:30:00Z", "01:30", "2026-10-26T00:30:00.000Z");
	check_local(BERLIN, "2026-10-25T00:30:00Z", "03:00", "2026-10-25T02:00:00.000Z");
	check_local(BERLIN, "2026-10-24T12:00:00Z", "12:00", "2026-10-25T11:00:00.000Z");
}

static void wrong_local_clock(void)
{
	static const char *const bad[] = {"24:00", "12:60", "7:05", "07:5", "007:05", "12:00:00",
	    "12:00 ", " 12:00", "12.00", "1200", "12:", ":00", "-1:00", "12:00Z"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t ms = 12345;

		if (!CHECK_INT(when_parse(bad[i], 0, &ms), -1) || !CHECK_INT(ms, 12345))
			printf("#   \"%s\"\n", bad[i]);
	}
}

int main(void)
{
	return UNIT_RUN(TEST(durations), TEST(wrong_durations), TEST(durations_written),
	    TEST(every_duration_is_read_back), TEST(durations_for_people), TEST(stamps),
	    TEST(stamps_are_clamped), TEST(every_day_is_read_back), TEST(wrong_stamps),
	    TEST(points_in_time), TEST(wrong_points_in_time), TEST(only_rfc3339), TEST(local_clock),
	    TEST(local_clock_across_midnight), TEST(local_clock_in_spring),
	    TEST(local_clock_in_autumn), TEST(wrong_local_clock));
}
