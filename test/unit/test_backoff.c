#include "format/backoff.h"

#include "unit.h"

static void reads_and_writes(void)
{
	static const struct {
		const char *text;
		int64_t base_ms, cap_ms;
		const char *again;
	} good[] = {
	    {"1s..1h", 1000, 3600000, "1s..1h"},
	    {"30s", 30000, 30000, "30s"},
	    {"5..10", 5000, 10000, "5s..10s"},
	    {"1.5s..2.5s", 1500, 2500, "1.5s..2.5s"},
	    {"10s..10s", 10000, 10000, "10s"},
	    {"0s..1m", 0, 60000, "0s..1m"},
	    {"0", 0, 0, "0s"},
	    {"00000000000000000000000000000000000000000000000000000000000001s..2s", 1000, 2000,
	        "1s..2s"},
	    {"250ms..1w", 250, 604800000, "250ms..1w"},
	};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct backoff backoff;
		char text[BACKOFF_SIZE];

		if (!CHECK_INT(backoff_parse(good[i].text, &backoff), 0))
			continue;
		CHECK_INT(backoff.base_ms, good[i].base_ms);
		CHECK_INT(backoff.cap_ms, good[i].cap_ms);
		backoff_format(&backoff, text);
		CHECK_STR(text, good[i].again);
	}
}

static void refuses(void)
{
	static const char *const bad[] = {"", "..", "1s..", "..1s", "1s.1h", "1s...1h",
	    "1s..1h..2h", "2s..1s", "1h..59m", "1s-1h", "x..1s", "1s..x", "-1s..1s", "1s ..1h",
	    "1s.. 1h", "1s..36526d",
	    "000000000000000000000000000000000000000000000000000000000000001s..2s"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct backoff backoff;

		if (!CHECK_INT(backoff_parse(bad[i], &backoff), -1))
			printf("#   \"%s\"\n", bad[i]);
	}
}

static void longest_text_fits(void)
{
	struct backoff backoff = {INT64_MAX - 1, INT64_MAX};
	char text[BACKOFF_SIZE];

	backoff_format(&backoff, text);
	CHECK_STR(text, "15250284452w3d7h12m55.806s..15250284452w3d7h12m55.807s");
}

/* Half of it at least, never more than it, and both ends are met. */
static void check_range(const struct backoff *backoff, unsigned attempt, int64_t longest)
{
	int64_t most = backoff_wait_ms(backoff, attempt, UINT32_MAX);

	CHECK_INT(backoff_wait_ms(backoff, attempt, 0), longest - longest / 2);
	CHECK(most <= longest);
	CHECK(longest > UINT32_MAX || most == longest);
	for (uint32_t i = 1; i < 1000; i++) {
		int64_t wait = backoff_wait_ms(backoff, attempt, i * UINT32_C(4294967));

		CHECK(wait >= longest - longest / 2 && wait <= longest);
		CHECK(wait >= backoff_wait_ms(backoff, attempt, (i - 1) * UINT32_C(4294967)));
	}
}

static void doubles_up_to_the_cap(void)
{
	struct backoff backoff = {1000, 60000};

	check_range(&backoff, 1, 1000);
	check_range(&backoff, 2, 2000);
	check_range(&backoff, 3, 4000);
	check_range(&backoff, 6, 32000);
	check_range(&backoff, 7, 60000);
	check_range(&backoff, 8, 60000);
	check_range(&backoff, 999999, 60000);
	check_range(&backoff, UINT32_MAX, 60000);
}

static void is_spread_evenly(void)
{
	struct backoff backoff = {3, 3};

	/* 2 or 3, each for half of all chances */
	CHECK_INT(backoff_wait_ms(&backoff, 1, 0), 2);
	CHECK_INT(backoff_wait_ms(&backoff, 1, 0x7fffffff), 2);
	CHECK_INT(backoff_wait_ms(&backoff, 1, 0x80000000), 3);
	CHECK_INT(backoff_wait_ms(&backoff, 1, UINT32_MAX), 3);
}

static void small_ones(void)
{
	struct backoff none = {0, 60000}, one = {1, 1};

	CHECK_INT(backoff_wait_ms(&none, 1, UINT32_MAX), 0);
	CHECK_INT(backoff_wait_ms(&none, UINT32_MAX, UINT32_MAX), 0);
	CHECK_INT(backoff_wait_ms(&one, 1, 0), 1);
	CHECK_INT(backoff_wait_ms(&one, 1, UINT32_MAX), 1);
}

static void never_overflows(void)
{
	struct backoff far = {1, INT64_MAX}, most = {INT64_MAX, INT64_MAX};

	CHECK_INT(backoff_wait_ms(&far, 63, 0), INT64_C(1) << 61);
	CHECK_INT(backoff_wait_ms(&far, 64, 0), INT64_MAX - INT64_MAX / 2);
	CHECK_INT(backoff_wait_ms(&far, UINT32_MAX, 0), INT64_MAX - INT64_MAX / 2);
	CHECK(backoff_wait_ms(&most, UINT32_MAX, UINT32_MAX) > INT64_MAX - (INT64_C(1) << 32));
	check_range(&most, 2, INT64_MAX);
}

int main(void)
{
	return UNIT_RUN(TEST(reads_and_writes), TEST(refuses), TEST(longest_text_fits),
	    TEST(doubles_up_to_the_cap), TEST(is_spread_evenly), TEST(small_ones),
	    TEST(never_overflows));
}
