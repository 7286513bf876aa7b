/*
 * How many jobs the machine bears. Pure policy: what it decides by comes from READ, so that a test can replay a
 * course of loads.
 *
 * Load averages tell of the last minute, and what was started meanwhile would be seen too late. So the load is
 * limited by two numbers that must both be below the limit: the average, which does not forget, and the processes
 * that run at this very instant. The latter is a sample of what comes and goes within milliseconds: a higher one
 * counts at once, a lower one only as it lasts, for up to a second, and a job counts from its start to its end without
 * any sample having shown it. What a job will take of memory and disks no sample shows so soon: where these
 * are limited, the running jobs at most double within a second.
 */
#ifndef QSPOOL_RUN_MEANS_H
#define QSPOOL_RUN_MEANS_H

#include "qspool.h"
#include "sys/gauges.h"

/* Times are monotonic ms. */
struct means {
	struct work_means limits;
	void (*read)(void *arg, struct gauges *gauges);
	void *arg;
	unsigned running; /* jobs, when last counted */
	double usual;     /* jobs that ran within about the last second, on average */
	double busy;      /* processes that run or could */
	int64_t counted_at, sampled_at;
	int64_t crowded_at; /* since when as many run as wait, or more; or INT64_MAX */
	int64_t again_at;   /* when to ask again, or INT64_MAX */
	int64_t refused_at; /* by a limit, when last */
	bool holds, told;   /* a limit keeps jobs from being started, or did a short while ago */
	char reason[96];    /* which, and what was measured when it began */
};

void means_init(struct means *m, const struct work_means *limits,
    void (*read)(void *arg, struct gauges *gauges), void *arg);

/* Whether there are any but MIN. */
bool means_limited(const struct work_means *limits);

/* To be told in every round, for the time that passed. */
void means_count(struct means *m, unsigned running, int64_t now);

/* Whether beside RUNNING jobs one more may be started, of WAITING. No more than limits->min are ever
 * kept from running. Without limits nothing is read. */
bool means_allow(struct means *m, unsigned running, unsigned waiting, int64_t now);

/* When means_allow() may say something else, or means_news() has something, though no job came or
 * ended; INT64_MAX: not before. */
int64_t means_next(const struct means *m);

/* HOLDS once when a limit begins to keep jobs from being started, for m->reason; LETS_GO once when for 10
 * seconds it has kept none: a limit that is just reached would be news with every job. */
enum means_news { MEANS_NO_NEWS, MEANS_HOLDS, MEANS_LETS_GO };
enum means_news means_news(struct means *m, int64_t now);

#endif
