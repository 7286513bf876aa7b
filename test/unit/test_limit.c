#include "format/limit.h"

#include "unit.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

static void reads_and_writes_rates(void)
{
	static const struct {
		const char *text, *again;
		int64_t per_ns;
		unsigned count, burst;
	} good[] = {
	    {"10/s", "10/s", SECOND, 10, 1},
	    {"50/s\n", "50/s", SECOND, 50, 5},
	    {" 600/m \n", "600/m", 60 * SECOND, 600, 1},
	    {"1000000/s", "1000000/s", SECOND, 1000000, 100000},
	    {"1/h", "1/h", 3600 * SECOND, 1, 1},
	    {"1000000/d", "1000000/d", 86400 * SECOND, 1000000, 1},
	};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char text[LIMIT_SIZE];
		struct rate rate;

		if (!CHECK_INT(rate_parse(good[i].text, &rate), 0))
			continue;
		CHECK_INT(rate.count, good[i].count);
		CHECK_INT(rate.per_ns, good[i].per_ns);
		CHECK_INT(rate_burst(&rate), good[i].burst);
		rate_format(&rate, text);
		CHECK_STR(text, good[i].again);
	}
}

static void refuses_rates(void)
{
	static const char *const bad[] = {"", "\n", "10", "10/", "/s", "0/s", "-1/s", "+1/s",
	    "1000001/s", "99999999999/s", "10/x", "10/ss", "10 /s", "10/s x", "10/s\nx", "1.5/s"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct rate rate;

		if (!CHECK_INT(rate_parse(bad[i], &rate), -1))
			printf("#   \"%s\"\n", bad[i]);
	}
}

/* Takes as often as it can until END_NS, at the very instants at which it may. */
static unsigned takes(const struct rate *rate, unsigned burst, int64_t from_ns, int64_t end_ns)
{
	int64_t now = from_ns, tat = 0;
	unsigned taken = 0;

	while (now < end_ns) {
		int64_t wait = rate_take(rate, burst, now, &tat);

		if (wait == 0)
			taken++;
		now += wait;
	}
	return taken;
}

static void lets_through_what_the_rate_says(void)
{
	const struct rate rate = {50, SECOND};

	CHECK_INT(takes(&rate, 1, 7, 7 + 10 * SECOND), 500);
	CHECK_INT(takes(&rate, 5, 7, 7 + 10 * SECOND), 504);
	CHECK_INT(takes(&rate, 100, 0, SECOND), 149);
}

static void a_rest_earns_a_burst_and_no_more(void)
{
	const struct rate rate = {10, SECOND};
	int64_t tat = 0;

	for (int i = 0; i < 3; i++)
		CHECK_INT(rate_take(&rate, 3, 1000 * SECOND, &tat), 0);
	CHECK_INT(rate_take(&rate, 3, 1000 * SECOND, &tat), 100 * MS);
	CHECK_INT(rate_take(&rate, 3, 1000 * SECOND + 40 * MS, &tat), 60 * MS);
	CHECK_INT(rate_take(&rate, 3, 1000 * SECOND + 100 * MS, &tat), 0);
	CHECK_INT(rate_take(&rate, 3, 1000 * SECOND + 100 * MS, &tat), 100 * MS);
}

/* Who was refused has changed nothing; a clock that was set back by a day costs a bucket's time. */
static void a_clock_set_back_costs_little(void)
{
	const struct rate rate = {10, SECOND};
	int64_t tat = 86400 * SECOND;

	CHECK_INT(rate_take(&rate, 2, 5 * SECOND, &tat), 100 * MS);
	CHECK_INT(tat, 86400 * SECOND);
	CHECK_INT(rate_take(&rate, 2, 5 * SECOND, &tat), 100 * MS);
	tat = INT64_MAX;
	CHECK_INT(rate_take(&(struct rate){1, 86400 * SECOND}, BURST_MAX, 0, &tat) > 0, 1);
}

static void reads_and_writes_breakers(void)
{
	struct breaker breaker;
	char text[LIMIT_SIZE];

	CHECK_INT(breaker_parse(" 5,30s..10m\n", &breaker), 0);
	CHECK_INT(breaker.failures, 5);
	CHECK_INT(breaker.wait.base_ms, 30000);
	CHECK_INT(breaker.wait.cap_ms, 600000);
	breaker_format(&breaker, text);
	CHECK_STR(text, "5,30s..10m");
	CHECK_INT(breaker_parse("1,100ms", &breaker), 0);
	CHECK_INT(breaker.wait.cap_ms, 100);
}

static void refuses_breakers(void)
{
	static const char *const bad[] = {"", "5", "5,", ",30s", "0,30s", "5,0..10m", "5,10m..30s",
	    "5 30s..10m", "5,30s..10m x", "x,30s", "1000001,1s", "5,30s..10m\n5"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct breaker breaker;

		if (!CHECK_INT(breaker_parse(bad[i], &breaker), -1))
			printf("#   \"%s\"\n", bad[i]);
	}
}

static void an_open_breaker_is_a_text(void)
{
	struct breaker_open open = {1795321155123, 30000};
	char text[LIMIT_SIZE];

	breaker_open_format(&open, text);
	CHECK_STR(text, "2026-11-22T04:19:15.123Z 30s");
	open = (struct breaker_open){0};
	breaker_open_parse(text, &open);
	CHECK_INT(open.until_ms, 1795321155123);
	CHECK_INT(open.wait_ms, 30000);
	breaker_open_parse("2026-11-22T05:19:15+01:00\n", &open);
	CHECK_INT(open.until_ms, 1795321155000);
	CHECK_INT(open.wait_ms, 0);
}

static void what_is_not_understood_is_open_for_good(void)
{
	static const char *const texts[] = {"", "\n", "x", "10m", "12:30", "@5", "2026-11-22",
	    "2026-11-22T04:19:15Z x", "2026-11-22T04:19:15Z 1s 2s", "2026-11-22T04:19:15Z\nx"};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct breaker_open open = {0};

		breaker_open_parse(texts[i], &open);
		if (!CHECK_INT(open.until_ms, OPEN_FOR_GOOD))
			printf("#   \"%s\"\n", texts[i]);
	}
	{
		struct breaker_open open = {OPEN_FOR_GOOD, 5};
		char text[LIMIT_SIZE];

		breaker_open_format(&open, text);
		CHECK_STR(text, "");
	}
}

static void waits_double_up_to_the_cap(void)
{
	static const int64_t waits[] = {1000, 2000, 4000, 8000, 10000, 10000};
	const struct breaker breaker = {5, {1000, 10000}};
	struct breaker_open open = {0};

	for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
		struct breaker_open low = breaker_next(&breaker, i ? &open : NULL, 500, 0);
		struct breaker_open high =
		    breaker_next(&breaker, i ? &open : NULL, 500, UINT32_MAX);

		CHECK_INT(low.wait_ms, waits[i]);
		CHECK_INT(low.until_ms, 500 + waits[i] / 2);
		CHECK_INT(high.until_ms, 500 + waits[i]);
		open = low;
	}
}

/* Written by hand without a wait, or before the setting was raised. */
static void a_wait_is_never_below_the_base(void)
{
	const struct breaker breaker = {5, {1000, 10000}};
	const struct breaker_open last = {0, 0};

	CHECK_INT(breaker_next(&breaker, &last, 0, UINT32_MAX).wait_ms, 1000);
}

static void numbers_are_whole(void)
{
	unsigned number = 7;

	CHECK_INT(limit_number_parse(" 5 \n", 0, 10, &number), 0);
	CHECK_INT(number, 5);
	CHECK_INT(limit_number_parse("0", 0, 10, &number), 0);
	CHECK_INT(limit_number_parse("0", 1, 10, &number), -1);
	CHECK_INT(limit_number_parse("11", 1, 10, &number), -1);
	CHECK_INT(limit_number_parse("", 0, 10, &number), -1);
	CHECK_INT(limit_number_parse("\n", 0, 10, &number), -1);
	CHECK_INT(limit_number_parse("5 6", 0, 10, &number), -1);
	CHECK_INT(limit_number_parse("-5", 0, 10, &number), -1);
	CHECK_INT(limit_number_parse("99999999999", 0, 10, &number), -1);
}

static void state_has_one_length(void)
{
	static const struct limit_state states[] = {
	    {0, 0}, {3, 1795321155123456789}, {UINT32_MAX, INT64_MAX}};

	for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
		char text[LIMIT_STATE_LEN + 1];
		struct limit_state again;

		limit_state_format(&states[i], text);
		CHECK_INT((int64_t)strlen(text), LIMIT_STATE_LEN);
		limit_state_parse(text, &again);
		CHECK_INT(again.failures, states[i].failures);
		CHECK_INT(again.tat_ns, states[i].tat_ns);
	}
}

static void damaged_state_is_none(void)
{
	static const char *const texts[] = {"", "failures", "failures 3\n", "token 5\n",
	    "failures          3\ntoken                   -5\n"};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct limit_state state = {9, 9};

		limit_state_parse(texts[i], &state);
		CHECK_INT(state.failures, 0);
		CHECK_INT(state.tat_ns, 0);
	}
}

int main(void)
{
	return UNIT_RUN(TEST(reads_and_writes_rates), TEST(refuses_rates),
	    TEST(lets_through_what_the_rate_says), TEST(a_rest_earns_a_burst_and_no_more),
	    TEST(a_clock_set_back_costs_little), TEST(reads_and_writes_breakers),
	    TEST(refuses_breakers), TEST(an_open_breaker_is_a_text),
	    TEST(what_is_not_understood_is_open_for_good), TEST(waits_double_up_to_the_cap),
	    TEST(a_wait_is_never_below_the_base), TEST(numbers_are_whole),
	    TEST(state_has_one_length), TEST(damaged_state_is_none));
}
