#include "run/means.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	SETTLES_MS = 1000,
	AGAIN_MS = 100,
	PATIENT_MS = 1000,
	QUIET_MS = 10 * 1000,
	REASON_SIZE = sizeof((struct means *)NULL)->reason,
};

bool means_limited(const struct work_means *limits)
{
	return limits->max_load > 0 || limits->min_free > 0 || limits->max_pressure > 0;
}

void means_init(struct means *m, const struct work_means *limits,
    void (*read)(void *arg, struct gauges *gauges), void *arg)
{
	*m = (struct means){.limits = *limits,
	    .read = read,
	    .arg = arg,
	    .again_at = INT64_MAX,
	    .crowded_at = INT64_MAX};
}

/* How much of a change that began at SINCE is believed. */
static double settled(int64_t since, int64_t now)
{
	return now - since >= SETTLES_MS ? 1 : (double)(now - since) / SETTLES_MS;
}

void means_count(struct means *m, unsigned running, int64_t now)
{
	m->usual += (m->running - m->usual) * settled(m->counted_at, now);
	if (running > m->running)
		m->sampled_at = now; /* as much is known of what starts now */
	m->busy += (double)running - m->running;
	if (m->busy < 0)
		m->busy = 0;
	m->running = running;
	m->counted_at = now;
	if (now >= m->again_at)
		m->again_at = INT64_MAX;
}

static void take_sample(struct means *m, double runnable, int64_t now)
{
	if (runnable >= m->busy)
		m->busy = runnable;
	else
		m->busy -= (m->busy - runnable) * settled(m->sampled_at, now);
	m->sampled_at = now;
}

/* Where a number is not known it limits nothing. Half a process is room for one: more will never be believed to be
 * quite gone. */
static bool load_allows(struct means *m, const struct gauges *g, int64_t now, char *reason)
{
	double most = m->limits.max_load;

	if (most <= 0 || g->load < 0)
		return true;
	take_sample(m, g->runnable, now);
	snprintf(reason, REASON_SIZE, "load %.2f, and %.0f processes run, the limit is %g", g->load,
	    g->runnable, most);
	return g->load < most && m->busy + 0.5 <= most;
}

static bool memory_allows(const struct means *m, const struct gauges *g, char *reason)
{
	snprintf(reason, REASON_SIZE,
	    "%" PRId64 "M of memory are available, less than %" PRId64 "M", g->available >> 20,
	    m->limits.min_free >> 20);
	return g->available < 0 || g->available >= m->limits.min_free;
}

static bool pressure_allows(const struct means *m, const struct gauges *g, char *reason)
{
	snprintf(reason, REASON_SIZE,
	    "for %.2f%% of the time memory or disks were waited for, the limit is %g%%",
	    g->pressure, m->limits.max_pressure);
	return m->limits.max_pressure <= 0 || g->pressure < m->limits.max_pressure;
}

static bool limits_allow(struct means *m, int64_t now)
{
	char reason[REASON_SIZE];
	struct gauges g;

	m->read(m->arg, &g);
	if (load_allows(m, &g, now, reason) && memory_allows(m, &g, reason) &&
	    pressure_allows(m, &g, reason))
		return true;
	if (!m->holds)
		memcpy(m->reason, reason, sizeof reason);
	m->holds = true;
	m->refused_at = now;
	return false;
}

/* What was just started has not shown yet what it takes. */
static bool ramp_allows(const struct means *m)
{
	return (m->limits.min_free <= 0 && m->limits.max_pressure <= 0) ||
	    m->running <= 2 * m->usual;
}

/* A short queue is left to those that run, unless they take long. */
static bool length_allows(struct means *m, unsigned running, unsigned waiting, int64_t now)
{
	if (!m->limits.by_length || running < waiting) {
		m->crowded_at = INT64_MAX;
		return true;
	}
	if (m->crowded_at == INT64_MAX)
		m->crowded_at = now;
	if (now - m->crowded_at < PATIENT_MS) {
		m->again_at = m->crowded_at + PATIENT_MS;
		return false;
	}
	return true;
}

bool means_allow(struct means *m, unsigned running, unsigned waiting, int64_t now)
{
	means_count(m, running, now);
	if (running < m->limits.min)
		return true;
	if (!length_allows(m, running, waiting, now))
		return false;
	if (!means_limited(&m->limits) || (limits_allow(m, now) && ramp_allows(m))) {
		m->crowded_at = INT64_MAX;
		return true;
	}
	m->again_at = now + AGAIN_MS;
	return false;
}

int64_t means_next(const struct means *m)
{
	int64_t quiet = m->told ? m->refused_at + QUIET_MS : INT64_MAX;

	return quiet < m->again_at ? quiet : m->again_at;
}

enum means_news means_news(struct means *m, int64_t now)
{
	if (m->holds && !m->told) {
		m->told = true;
		return MEANS_HOLDS;
	}
	if (!m->told || now < m->refused_at + QUIET_MS)
		return MEANS_NO_NEWS;
	m->holds = m->told = false;
	return MEANS_LETS_GO;
}
