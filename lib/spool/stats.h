/*
 * QUEUE/stats: how many jobs a queue has had, what became of them and how long they took, counted
 * in a file that all processes share in memory (sys/mapped.h), without locks.
 *
 * The file, of one size and in the byte order of the machine, is a struct stats_file: the totals
 * since it was made, and what these were at the beginning of each of the last thirteen spans of five
 * minutes of real time. A count is one relaxed atomic addition to the totals. Who is the first to count in a span copies the
 * totals before: it takes the span's place in `span` by compare-and-swap, which one process wins, and nobody waits for it. What
 * is counted meanwhile falls into this span or the one before. The last hour is the totals less those of the earliest
 * copy of the hour; where nothing was counted there is no copy, and none is needed. Rejected: counters of each
 * span, which somebody would have to clear while others count.
 *
 * A crash leaves each count as it was before or after, and at worst a copy that is not whole, which is not
 * read: what was counted in that span is missing from the last hour. A power cut takes what the kernel had
 * not written yet. Statistics are no part of what is promised of jobs: what fails here fails nothing
 * else. Errors leave errno and the place of the last one as they were, unless it is said that they are told.
 */
#ifndef QSPOOL_SPOOL_STATS_H
#define QSPOOL_SPOOL_STATS_H

#include <stdatomic.h>

#include "spool/spool.h"

enum {
	STATS_SPANS = 13,
	STATS_SPAN_MS = 300000,
	STATS_COUNTS = 16, /* room for as many as COUNTS */
	STATS_WAITED = STATS_COUNTS,
	STATS_RAN = STATS_WAITED + HISTOGRAM_BUCKETS,
	STATS_WORDS = STATS_RAN + HISTOGRAM_BUCKETS,
};
#define STATS_MAGIC "qspool stats 1\n"

typedef _Atomic uint64_t stats_word;

/* Changed only together with the 1 in its magic. Words are by enum stats_count, then those of the histograms
 * of waiting and of running. A span is 2 * its number since the epoch, + 1 while it is copied. */
struct stats_file {
	char magic[16];
	uint64_t order;    /* 1, by the machine that made it */
	uint64_t since_ms; /* real time at which it was made */
	stats_word span[STATS_SPANS];
	stats_word now[STATS_WORDS];
	stats_word then[STATS_SPANS][STATS_WORDS];
};

extern const char stats_name[];

/* What has happened. A time that is not counted is negative. */
struct stats_news {
	uint64_t count[COUNTS];
	int64_t waited_ms, ran_ms;
};

/* Counts, in what QUEUE keeps at hand or else in its file, if there is one. */
void stats_add(const struct queue *queue, const struct stats_news *news);

/* Keeps the file at hand until stats_close() or queue_close(), if there is one; anew, within a second, if another has its place. With MAKE a
 * missing one is made: as a draft in tmp/, whole and on disk, which is renamed into place and replaces nothing; a crash
 * leaves the draft for the sweep. What is open for writing keeps the file system from being remounted read-only: not longer
 * than jobs are sent or run, whose files are so, too. */
void stats_keep(struct queue *queue, bool make);
void stats_close(struct queue *queue);

/* 0 if the file is sound, or missing and, with MAKE, made; else -1 with errno, which is told: EBADMSG if what has its name
 * is none, or of another version. */
NODISCARD int stats_check(const struct queue *queue, bool make);

#endif
