#include "format/histogram.h"

enum { LAST = HISTOGRAM_BUCKETS - 1 };

size_t histogram_bucket(int64_t ms)
{
	unsigned octave = 0;

	if (ms < 4)
		return ms > 0 ? (size_t)ms : 0;
	if (ms >= histogram_begin(LAST))
		return LAST;
	while (ms >> octave >= 8)
		octave++;
	return 4 * octave + (size_t)(ms >> octave);
}

int64_t histogram_begin(size_t bucket)
{
	return bucket < 4 ? (int64_t)bucket : (int64_t)(4 + bucket % 4) << (bucket / 4 - 1);
}

static int64_t middle(size_t bucket)
{
	int64_t begin = histogram_begin(bucket);

	return begin + (histogram_begin(bucket + 1) - begin) / 2;
}

int64_t histogram_percentile(const struct histogram *histogram, unsigned percent)
{
	uint64_t all = 0, rank;
	size_t i = 0;

	for (size_t k = 0; k < HISTOGRAM_BUCKETS; k++)
		all += histogram->bucket[k];
	if (all == 0)
		return -1;
	rank = all / 100 * percent + (all % 100 * percent + 99) / 100;
	for (uint64_t seen = histogram->bucket[0]; seen < rank && i < LAST;)
		seen += histogram->bucket[++i];
	return middle(i);
}
