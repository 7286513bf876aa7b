/* Ranges of numbers, cut into smaller ones. */
#include "fuzz.h"

#include "format/shard.h"

enum { SHARDS_MAX = 2000 };

/* N or more, so that no more than SHARDS_MAX of them make up SPAN. */
static uint64_t at_least(uint64_t n, uint64_t span)
{
	uint64_t least = span / SHARDS_MAX + 1;

	return n < least ? least : n;
}

/* Taken from the ends as the bits of CHOICE say: each number comes once. */
static size_t check_cover(struct shards *shards, struct shard left, uint64_t choice)
{
	struct shard shard;
	size_t count = 0;

	for (;; choice = choice >> 1 | choice << 63, count++) {
		bool newest = choice & 1;

		if (!(newest ? shards_take_newest(shards, &shard)
		             : shards_take_oldest(shards, &shard)))
			break;
		MUST(left.from <= shard.from && shard.from <= shard.to && shard.to <= left.to);
		MUST(newest ? shard.to == left.to : shard.from == left.from);
		if (shard_span(shard) == shard_span(left))
			left = (struct shard){1, 0};
		else if (newest)
			left.to = shard.from - 1;
		else
			left.from = shard.to + 1;
	}
	MUST(left.from == 1 && left.to == 0);
	return count;
}

static void check(struct shard all, uint64_t a, uint64_t b, uint64_t choice)
{
	uint64_t span = shard_span(all), min = a % INT64_MAX + 1;
	uint64_t max = at_least(b % INT64_MAX + 1, span), pieces = a % SHARDS_MAX + 1;
	struct shards shards;

	shards_of_size(&shards, all, at_least(min, span));
	MUST(check_cover(&shards, all, choice) == span / at_least(min, span) + 1);
	shards_into(&shards, all, pieces);
	MUST(check_cover(&shards, all, choice) == (pieces - 1 < span ? pieces : span + 1));
	shards_by_distance(&shards, all, min < max ? min : max, max);
	MUST(shards.end <= SHARD_RUNS_MAX);
	MUST(check_cover(&shards, all, choice) <= SHARDS_MAX + SHARD_RUNS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t one = (int64_t)fuzz_number(data, size, 0),
	        other = (int64_t)fuzz_number(data, size, 8);
	struct shard all = {one < other ? one : other, one < other ? other : one};

	check(all, fuzz_number(data, size, 16), fuzz_number(data, size, 24),
	    fuzz_number(data, size, 32));
	return 0;
}
