/* What the ends of attempts do to breakers, and what a person does to them. */
#include "spool/resource.h"

#include <errno.h>
#include <stdio.h>

#include "sys/chance.h"
#include "sys/clock.h"

static const struct breaker *breaker_of(const struct limits *limits)
{
	static const struct breaker usual = BREAKER_DEFAULT;

	return limits->has_breaker ? &limits->breaker : &usual;
}

static int put_open(const struct resource *r, const struct breaker_open *open, bool sync)
{
	char text[LIMIT_SIZE];

	breaker_open_format(open, text);
	return resource_put(r, "open", text, sync);
}

/* The window first: a crash between the two must not let all in at once. */
static int close_gradually(const struct resource *r, bool sync)
{
	return resource_put(r, "window", "1", sync) == 0 ? resource_put(r, "open", NULL, sync) : -1;
}

/* Wide enough is as good as none. */
static int widen(const struct resource *r, const struct limits *limits)
{
	unsigned wide = limits->window + 1;
	char text[16];

	if (wide >= WINDOW_WIDE || (limits->has_jobs && wide >= limits->jobs))
		return resource_put(r, "window", NULL, false);
	snprintf(text, sizeof text, "%u", wide);
	return resource_put(r, "window", text, false);
}

static int reset_failures(const struct resource *r, int lock, struct limit_state *state)
{
	if (state->failures == 0)
		return 0;
	state->failures = 0;
	return resource_put_state(r, lock, state);
}

static int open_first(
    const struct resource *r, const struct limits *limits, struct breaker_news *news)
{
	struct breaker_open open =
	    breaker_next(breaker_of(limits), NULL, clock_real_ms(), chance32());

	news->opened = true;
	news->until_ms = open.until_ms;
	return put_open(r, &open, false) == 0 ? resource_put(r, "window", NULL, false) : -1;
}

/* Under the lock of `state`. */
static int count_failure(const struct resource *r, const struct limits *limits, int lock,
    struct limit_state *state, struct breaker_news *news)
{
	if (limits->open || !limits->has_breaker)
		return 0;
	state->failures++;
	if (state->failures < limits->breaker.failures)
		return resource_put_state(r, lock, state);
	if (open_first(r, limits, news) != 0)
		return -1;
	return reset_failures(r, lock, state);
}

/* A success of what ran when the breaker opened says nothing; that of the probe does, unless somebody opened
 * it for good meanwhile. */
static int count_success(const struct resource *r, const struct limits *limits, bool probing,
    int lock, struct limit_state *state, struct breaker_news *news)
{
	if (limits->open && (!probing || limits->until.until_ms == OPEN_FOR_GOOD))
		return 0;
	if (limits->open) {
		news->closed = true;
		if (close_gradually(r, false) != 0)
			return -1;
	} else if (limits->window > 0 && widen(r, limits) != 0) {
		return -1;
	}
	return reset_failures(r, lock, state);
}

/* Most ends change nothing, and need no lock. */
static bool matters(const struct resource *r, const struct limits *limits, enum attempt_end end)
{
	struct limit_state state;

	if (end == END_NEITHER || r->fd < 0)
		return false;
	if (end == END_FAILURE || limits->open || limits->window > 0)
		return limits->has_breaker || limits->open || limits->window > 0;
	if (!limits->has_breaker)
		return false;
	resource_peek_state(r, &state);
	return state.failures > 0;
}

static void tell_before(const struct limits *limits, struct breaker_news *news)
{
	news->was_open = limits->open;
	news->until_ms = limits->until.until_ms;
}

static int settle(
    const struct resource *r, enum attempt_end end, bool probing, struct breaker_news *news)
{
	struct limit_state state;
	struct limits limits;
	int lock = resource_lock(r, &state);
	int result = lock < 0 ? -1 : resource_limits(r, &limits);

	if (result == 0) {
		tell_before(&limits, news);
		result = end == END_FAILURE
		    ? count_failure(r, &limits, lock, &state, news)
		    : count_success(r, &limits, probing, lock, &state, news);
	}
	sys_discard(&lock);
	return result;
}

int resource_settle(struct spool *spool, const char *name, enum attempt_end end, bool probing,
    struct breaker_news *news)
{
	struct limits limits;
	struct resource r;
	int result = -1;

	*news = (struct breaker_news){0};
	if (resource_enter(&r, spool, name, false) == 0)
		result = resource_limits(&r, &limits);
	if (result == 0)
		tell_before(&limits, news);
	if (result == 0 && matters(&r, &limits, end))
		result = settle(&r, end, probing, news);
	resource_leave(&r);
	return result;
}

/* Unless somebody wrote another time meanwhile. */
static int take_back(const struct resource *r, const struct grip_part *part)
{
	struct breaker_open open = {clock_real_ms(), part->wait_before_ms};
	struct limit_state unused;
	struct limits limits;
	int lock = resource_lock(r, &unused), result = -1;

	if (lock >= 0)
		result = resource_read_open(r, &limits);
	if (result == 0 && limits.open && limits.until.until_ms == part->until_ms)
		result = put_open(r, &open, false);
	sys_discard(&lock);
	return result;
}

int resource_not_probed(struct spool *spool, const struct meta *meta, const struct grip *grip)
{
	struct resource r;
	int result = 0;

	for (size_t i = 0; i < grip->count; i++) {
		if (!grip->part[i].probing || grip->part[i].until_ms == 0)
			continue;
		if (resource_enter(&r, spool, meta->resource[i].name, false) != 0 ||
		    (r.fd >= 0 && take_back(&r, &grip->part[i]) != 0))
			result = -1;
		resource_leave(&r);
	}
	return result;
}

/* A wait that was asked for is no reason to wait longer the next time; of two the longer one counts, but a probe
 * knows better than what was said before it. */
static int trip(const struct resource *r, int64_t for_ms, bool probing, struct breaker_news *news)
{
	struct breaker_open open;
	struct limits limits;

	if (resource_limits(r, &limits) != 0)
		return -1;
	open = limits.until;
	tell_before(&limits, news);
	if (limits.open && (for_ms == 0 || open.until_ms == OPEN_FOR_GOOD))
		return 0;
	if (!limits.open && open_first(r, &limits, news) != 0)
		return -1;
	if (for_ms == 0)
		return 0;
	if (!limits.open)
		open.wait_ms = breaker_of(&limits)->wait.base_ms;
	if (!limits.open || probing || open.until_ms < clock_real_ms() + for_ms)
		open.until_ms = clock_real_ms() + for_ms;
	news->until_ms = open.until_ms;
	return put_open(r, &open, false);
}

int resource_trip(
    struct spool *spool, const char *name, int64_t for_ms, bool probing, struct breaker_news *news)
{
	struct limit_state state;
	struct resource r;
	int lock = -1, result = -1;

	*news = (struct breaker_news){0};
	if (resource_enter(&r, spool, name, true) == 0 && (lock = resource_lock(&r, &state)) >= 0)
		result = trip(&r, for_ms, probing, news);
	if (result == 0)
		result = reset_failures(&r, lock, &state);
	sys_discard(&lock);
	resource_leave(&r);
	return result;
}

/* --- by hand --- */

int resource_open(struct spool *spool, const char *name, int64_t for_ms)
{
	struct breaker_open open = {OPEN_FOR_GOOD, 0};
	struct limit_state state;
	struct limits limits;
	struct resource r;
	int lock = -1, result = -1;

	if (resource_enter(&r, spool, name, true) == 0 && (lock = resource_lock(&r, &state)) >= 0 &&
	    resource_limits(&r, &limits) == 0) {
		if (for_ms > 0)
			open = (struct breaker_open){
			    clock_real_ms() + for_ms, breaker_of(&limits)->wait.base_ms};
		result = put_open(&r, &open, true);
	}
	if (result == 0)
		result = sys_fsync(spool_dir(spool, SPOOL_RESOURCE, false));
	sys_discard(&lock);
	resource_leave(&r);
	return result;
}

int resource_close(struct spool *spool, const char *name)
{
	struct limit_state state;
	struct limits limits;
	struct resource r;
	int lock = -1, result = -1;

	if (resource_enter(&r, spool, name, false) == 0)
		result = resource_limits(&r, &limits);
	if (result == 0 && limits.open) {
		lock = resource_lock(&r, &state);
		result = lock >= 0 && close_gradually(&r, true) == 0 ? 1 : -1;
	}
	sys_discard(&lock);
	resource_leave(&r);
	return result;
}
