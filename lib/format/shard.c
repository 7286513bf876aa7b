#include "format/shard.h"

uint64_t shard_span(struct shard shard)
{
	return (uint64_t)shard.to - (uint64_t)shard.from;
}

static void begin(struct shards *shards, struct shard all)
{
	shards->left = all;
	shards->newest = shards->end = 0;
}

/* Runs are added from the new end on. */
static void add(struct shards *shards, uint64_t span, uint64_t count)
{
	if (count > 0)
		shards->runs[shards->end++] = (struct shard_run){span, count};
}

void shards_of_size(struct shards *shards, struct shard all, uint64_t size)
{
	uint64_t span = shard_span(all);

	begin(shards, all);
	add(shards, span % size, 1);
	add(shards, size - 1, span / size);
}

void shards_into(struct shards *shards, struct shard all, uint64_t count)
{
	uint64_t each = shard_span(all) / count, odd = shard_span(all) % count + 1;

	begin(shards, all);
	if (each > 0)
		add(shards, each - 1, count - odd);
	add(shards, each, odd);
}

static uint64_t bucket_size(uint64_t distance, uint64_t min)
{
	return distance / 10 < min ? min : distance / 10;
}

void shards_by_distance(struct shards *shards, struct shard all, uint64_t min, uint64_t max)
{
	uint64_t span = shard_span(all), distance = 0, size;

	begin(shards, all);
	while ((size = bucket_size(distance, min)) < max && size <= span - distance) {
		add(shards, size - 1, 1);
		distance += size;
	}
	/* None of MAX, if less than the next one would have is left. */
	/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): MAX is not 0 */
	add(shards, max - 1, (span - distance) / max);
	add(shards, (span - distance) % max, 1);
}

bool shards_take_oldest(struct shards *shards, struct shard *shard)
{
	struct shard_run *run;

	if (shards->newest == shards->end)
		return false;
	run = &shards->runs[shards->end - 1];
	shard->from = shards->left.from;
	shard->to = (int64_t)((uint64_t)shard->from + run->span);
	shards->left.from = (int64_t)((uint64_t)shard->to + 1);
	if (--run->count == 0)
		shards->end--;
	return true;
}

bool shards_take_newest(struct shards *shards, struct shard *shard)
{
	struct shard_run *run = &shards->runs[shards->newest];

	if (shards->newest == shards->end)
		return false;
	shard->to = shards->left.to;
	shard->from = (int64_t)((uint64_t)shard->to - run->span);
	shards->left.to = (int64_t)((uint64_t)shard->from - 1);
	if (--run->count == 0)
		shards->newest++;
	return true;
}
