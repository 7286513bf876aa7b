#include "format/histogram.h"

#include "unit.h"

enum { LAST = HISTOGRAM_BUCKETS - 1 };

static void each_bucket_begins_where_the_one_before_ends(void)
{
	for (size_t i = 1; i < HISTOGRAM_BUCKETS; i++) {
		CHECK_INT((int64_t)histogram_bucket(histogram_begin(i)), (int64_t)i);
		CHECK_INT((int64_t)histogram_bucket(histogram_begin(i) - 1), (int64_t)i - 1);
	}
}

static void what_is_too_short_or_too_long_is_counted(void)
{
	CHECK_INT((int64_t)histogram_bucket(INT64_MIN), 0);
	CHECK_INT((int64_t)histogram_bucket(-1), 0);
	CHECK_INT((int64_t)histogram_bucket(0), 0);
	CHECK_INT((int64_t)histogram_bucket(INT64_MAX), LAST);
	CHECK(histogram_begin(LAST) > INT64_C(12) * 7 * 86400000);
}

/* The bound that the header promises, for what is alone in its bucket. */
static void a_percentile_is_within_an_eighth(void)
{
	for (int64_t ms = 0; ms < histogram_begin(LAST); ms += ms / 37 + 1) {
		struct histogram h = {0};
		int64_t told;

		h.bucket[histogram_bucket(ms)] = 1;
		told = histogram_percentile(&h, 50);
		if (!CHECK(8 * (told > ms ? told - ms : ms - told) <= ms))
			return;
	}
}

static void percentiles_are_of_the_nearest_rank(void)
{
	struct histogram h = {0};

	for (int64_t ms = 0; ms < 4; ms++)
		h.bucket[histogram_bucket(ms)] = 25;
	CHECK_INT(histogram_percentile(&h, 1), 0);
	CHECK_INT(histogram_percentile(&h, 25), 0);
	CHECK_INT(histogram_percentile(&h, 26), 1);
	CHECK_INT(histogram_percentile(&h, 50), 1);
	CHECK_INT(histogram_percentile(&h, 75), 2);
	CHECK_INT(histogram_percentile(&h, 99), 3);
	CHECK_INT(histogram_percentile(&h, 100), 3);
}

static void one_of_a_few_is_its_own_percentile(void)
{
	struct histogram h = {0};

	h.bucket[1] = 1;
	CHECK_INT(histogram_percentile(&h, 1), 1);
	CHECK_INT(histogram_percentile(&h, 99), 1);
	h.bucket[3] = 1;
	CHECK_INT(histogram_percentile(&h, 50), 1);
	CHECK_INT(histogram_percentile(&h, 51), 3);
}

static void of_nothing_there_is_none(void)
{
	struct histogram h = {0};

	CHECK_INT(histogram_percentile(&h, 50), -1);
}

/* A file may say anything. */
static void any_words_have_a_percentile(void)
{
	struct histogram h;

	memset(&h, 0xff, sizeof h);
	CHECK(histogram_percentile(&h, 99) >= 0);
	h = (struct histogram){{0}};
	h.bucket[LAST] = UINT64_MAX;
	CHECK(histogram_percentile(&h, 99) >= histogram_begin(LAST));
}

int main(void)
{
	return UNIT_RUN(TEST(each_bucket_begins_where_the_one_before_ends),
	    TEST(what_is_too_short_or_too_long_is_counted), TEST(a_percentile_is_within_an_eighth),
	    TEST(percentiles_are_of_the_nearest_rank), TEST(one_of_a_few_is_its_own_percentile),
	    TEST(of_nothing_there_is_none), TEST(any_words_have_a_percentile));
}
