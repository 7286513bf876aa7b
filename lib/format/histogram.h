/*
 * How often something took how long, in buckets that widen with what they count: a few words
 * tell of milliseconds and of weeks. Pure.
 *
 * Up to 3 ms each ms has a bucket of its own; beyond, each octave has four of the same width.
 * Bucket B, of 4 or more, begins at (4 + B % 4) << (B / 4 - 1) ms, and the last, at 7 << 30 ms
 * (87 days), has no end.
 */
#ifndef QSPOOL_FORMAT_HISTOGRAM_H
#define QSPOOL_FORMAT_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 128 };

struct histogram {
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

/* The bucket that counts MS; what is negative counts as 0. */
size_t histogram_bucket(int64_t ms);
/* Where it begins, in ms. */
int64_t histogram_begin(size_t bucket);
/* The time that PERCENT (1..100) of all did not exceed: the middle of the bucket in which that one
 * is (nearest rank), and so within an eighth of it. -1 if nothing was counted. */
int64_t histogram_percentile(const struct histogram *histogram, unsigned percent);

#endif
