#include "format/shard.h"

#include "unit.h"

#define WHOLE ((struct shard){INT64_MIN, INT64_MAX})

/* What was found of a cut that was taken off from one end. */
struct found {
	uint64_t count;
	uint64_t shortest, longest; /* spans */
};

static bool take(struct shards *shards, bool newest, struct shard *shard)
{
	return newest ? shards_take_newest(shards, shard) : shards_take_oldest(shards, shard);
}

/* The one next to where the last one ended, counted modulo 2^64: SHARD goes on there. */
static int64_t follow(struct shard shard, bool newest, int64_t edge)
{
	CHECK_INT(newest ? shard.to : shard.from, edge);
	return (int64_t)(newest ? (uint64_t)shard.from - 1 : (uint64_t)shard.to + 1);
}

/* Takes all: none empty, no gap, no overlap, nothing beyond the ends. */
static struct found take_all(struct shards shards, struct shard all, bool newest)
{
	struct found found = {0, UINT64_MAX, 0};
	int64_t edge = newest ? all.to : all.from;
	struct shard shard;

	while (take(&shards, newest, &shard)) {
		uint64_t span = shard_span(shard);

		if (!CHECK(shard.from <= shard.to && shard.from >= all.from && shard.to <= all.to))
			return found;
		edge = follow(shard, newest, edge);
		found.count++;
		found.shortest = span < found.shortest ? span : found.shortest;
		found.longest = span > found.longest ? span : found.longest;
	}
	CHECK_INT(edge, (int64_t)(newest ? (uint64_t)all.from - 1 : (uint64_t)all.to + 1));
	CHECK(!take(&shards, newest, &shard) && !take(&shards, !newest, &shard));
	return found;
}

/* From both ends alike. */
static struct found covered(const struct shards *shards, struct shard all)
{
	struct found up = take_all(*shards, all, false), down = take_all(*shards, all, true);

	CHECK(up.count == down.count && up.shortest == down.shortest && up.longest == down.longest);
	CHECK(shards->end <= SHARD_RUNS_MAX);
	return up;
}

static struct found of_size(struct shard all, uint64_t size)
{
	struct shards shards;

	shards_of_size(&shards, all, size);
	return covered(&shards, all);
}

static struct found into(struct shard all, uint64_t count)
{
	struct shards shards;

	shards_into(&shards, all, count);
	return covered(&shards, all);
}

static struct found by_distance(struct shard all, uint64_t min, uint64_t max)
{
	struct shards shards;

	shards_by_distance(&shards, all, min, max);
	return covered(&shards, all);
}

static void one_number_is_one_shard(void)
{
	static const int64_t numbers[] = {INT64_MIN, -1, 0, 1, INT64_MAX};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		struct shard one = {numbers[i], numbers[i]};

		CHECK_INT((int64_t)of_size(one, 1).count, 1);
		CHECK_INT((int64_t)of_size(one, INT64_MAX).count, 1);
		CHECK_INT((int64_t)into(one, 1).count, 1);
		CHECK_INT((int64_t)into(one, INT64_MAX).count, 1);
		CHECK_INT((int64_t)by_distance(one, 1, 1).count, 1);
		CHECK_INT((int64_t)by_distance(one, 1, INT64_MAX).count, 1);
	}
}

/* The formula itself, one bucket after the other. */
static void check_buckets(struct shard all, uint64_t min, uint64_t max)
{
	struct shards shards;
	struct shard shard;
	uint64_t distance = 0;

	shards_by_distance(&shards, all, min, max);
	while (shards_take_newest(&shards, &shard)) {
		uint64_t want = distance / 10;

		want = want < min ? min : want > max ? max : want;
		CHECK(shard_span(shard) == want - 1 ||
		    (shard.from == all.from && shard_span(shard) < want - 1));
		distance += shard_span(shard) + 1;
	}
}

/* By more sizes, numbers and limits than it has numbers. */
static void check_small(struct shard all)
{
	uint64_t numbers = shard_span(all) + 1;

	for (uint64_t n = 1; n <= 70; n++) {
		struct found sized = of_size(all, n), parts = into(all, n);

		CHECK(sized.count == (numbers + n - 1) / n);
		CHECK(sized.count == 1 || sized.longest == n - 1);
		CHECK(parts.count == (n < numbers ? n : numbers));
		CHECK(parts.longest - parts.shortest <= 1);
		for (uint64_t max = n; max <= 70; max += 7) {
			CHECK(by_distance(all, n, max).longest < max);
			check_buckets(all, n, max);
		}
	}
}

static void small_ranges_are_covered_once(void)
{
	for (int64_t span = 0; span < 60; span++) {
		check_small((struct shard){-7, span - 7});
		check_small((struct shard){INT64_MIN, INT64_MIN + span});
		check_small((struct shard){INT64_MAX - span, INT64_MAX});
	}
}

static void the_newest_of_a_size_has_what_is_left(void)
{
	struct shards shards;
	struct shard shard;

	shards_of_size(&shards, (struct shard){1, 10}, 4);
	CHECK(shards_take_newest(&shards, &shard));
	CHECK_INT(shard.from, 9);
	CHECK_INT(shard.to, 10);
	CHECK(shards_take_oldest(&shards, &shard));
	CHECK_INT(shard.from, 1);
	CHECK_INT(shard.to, 4);
	CHECK(shards_take_oldest(&shards, &shard));
	CHECK_INT(shard.from, 5);
	CHECK_INT(shard.to, 8);
	CHECK(!shards_take_oldest(&shards, &shard) && !shards_take_newest(&shards, &shard));
}

static void the_older_of_a_number_are_longer(void)
{
	static const uint64_t spans[] = {2, 2, 1, 1};
	struct shards shards;
	struct shard shard;

	shards_into(&shards, (struct shard){-5, 4}, 4);
	for (size_t i = 0; i < 4; i++)
		CHECK(shards_take_oldest(&shards, &shard) && shard_span(shard) == spans[i]);
	CHECK(!shards_take_oldest(&shards, &shard));
}

static void all_numbers_do_not_overflow(void)
{
	struct shards shards;
	struct shard shard;
	struct found found = into(WHOLE, 1);

	CHECK(found.count == 1 && found.longest == UINT64_MAX);
	found = into(WHOLE, 3);
	CHECK(found.count == 3 && found.longest == UINT64_MAX / 3);
	found = of_size(WHOLE, INT64_MAX);
	CHECK(found.count == 3 && found.shortest == 1 && found.longest == INT64_MAX - 1);
	/* Too many to be taken. */
	shards_of_size(&shards, WHOLE, 1);
	CHECK(shards_take_oldest(&shards, &shard) && shard.from == INT64_MIN &&
	    shard.to == INT64_MIN);
	CHECK(shards_take_newest(&shards, &shard) && shard.from == INT64_MAX &&
	    shard.to == INT64_MAX);
	shards_into(&shards, WHOLE, INT64_MAX);
	CHECK(shards_take_oldest(&shards, &shard) && shard.to == INT64_MIN + 2);
	CHECK(shards_take_newest(&shards, &shard) && shard.from == INT64_MAX - 1);
}

static void buckets_grow_with_the_distance(void)
{
	check_buckets((struct shard){1, 1000000000}, SHARD_BUCKET_MIN, SHARD_BUCKET_MAX);
	check_buckets((struct shard){-1000000000, 7}, 999, 1000000);
	check_buckets((struct shard){0, 1000000}, 1, 1000000);
	check_buckets(WHOLE, 1, INT64_MAX);
	check_buckets(WHOLE, INT64_MAX, INT64_MAX);
	check_buckets(WHOLE, INT64_MAX / 3, INT64_MAX / 2);
	CHECK_INT(
	    (int64_t)by_distance((struct shard){1, 100000000}, SHARD_BUCKET_MIN, SHARD_BUCKET_MAX)
	        .count,
	    83);
	CHECK_INT(
	    (int64_t)by_distance((struct shard){1, 110000000}, SHARD_BUCKET_MIN, SHARD_BUCKET_MAX)
	        .count,
	    84);
}

static void the_runs_have_room(void)
{
	size_t most = 0;

	for (uint64_t min = 1; min < INT64_MAX / 2; min += min / 8 + 1) {
		struct shards shards;

		shards_by_distance(&shards, WHOLE, min, INT64_MAX);
		most = shards.end > most ? shards.end : most;
		shards_by_distance(&shards, WHOLE, min, min * 2);
		most = shards.end > most ? shards.end : most;
	}
	for (uint64_t max = 1; max < INT64_MAX / 2; max += max / 8 + 1) {
		struct shards shards;

		shards_by_distance(&shards, WHOLE, 1, max);
		most = shards.end > most ? shards.end : most;
	}
	CHECK_INT((int64_t)most, 457);
}

int main(void)
{
	return UNIT_RUN(TEST(one_number_is_one_shard), TEST(small_ranges_are_covered_once),
	    TEST(the_newest_of_a_size_has_what_is_left), TEST(the_older_of_a_number_are_longer),
	    TEST(all_numbers_do_not_overflow), TEST(buckets_grow_with_the_distance),
	    TEST(the_runs_have_room));
}
