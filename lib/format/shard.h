/*
 * Ranges of numbers, cut into smaller ones: each number is in exactly one of them, and
 * none is empty. What is cut is FROM..TO, both included, with FROM <= TO.
 *
 * In buckets by distance ("inverse logarithmic") the new end is TO. A bucket in front of
 * which, towards TO, there are D numbers has min(MAX, max(MIN, D / 10)) of them, rounded
 * down; the oldest has what is left. So at a distance of 10 * MIN to 10 * MAX each bucket
 * is a tenth longer than its newer neighbour, and their number grows with the logarithm
 * of the distance. A tenth: with MIN and MAX as below, 100 million numbers make 83
 * buckets, and each further 10 million one more.
 *
 * A range of all int64_t has one number more than uint64_t can say. Therefore lengths are
 * spans: of 3..7 it is 4.
 */
#ifndef QSPOOL_FORMAT_SHARD_H
#define QSPOOL_FORMAT_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHARD_BUCKET_MIN = 10000, SHARD_BUCKET_MAX = 10000000 };

struct shard {
	int64_t from, to;
};

/* The cut itself, in constant memory: COUNT neighbouring shards of one SPAN are a run. With
 * MIN = 1 all of int64_t makes 457 of them, and nothing makes many more. */
enum { SHARD_RUNS_MAX = 480 };

struct shard_run {
	uint64_t span, count;
};

struct shards {
	struct shard left; /* what has not been taken yet: */
	size_t newest;     /* its first run */
	size_t end;        /* behind its oldest run */
	struct shard_run runs[SHARD_RUNS_MAX];
};

/* SIZE numbers in each, counted from FROM; the newest has what is left. SIZE >= 1. */
void shards_of_size(struct shards *shards, struct shard all, uint64_t size);
/* COUNT shards, of which the older ones may have one number more than the others; as many
 * as there are numbers if that is less. COUNT >= 1. */
void shards_into(struct shards *shards, struct shard all, uint64_t count);
/* Buckets by distance, see above. 1 <= MIN <= MAX. */
void shards_by_distance(struct shards *shards, struct shard all, uint64_t min, uint64_t max);

/* Takes the next one off the old or the new end; false if none is left. */
bool shards_take_oldest(struct shards *shards, struct shard *shard);
bool shards_take_newest(struct shards *shards, struct shard *shard);

uint64_t shard_span(struct shard shard);

#endif
