/* What jobs share: taking it for a job that is to start, and what the end of its attempt says of it. */
#include "run/worker.h"

#include <errno.h>
#include <string.h>

#include "spool/links.h"
#include "sys/clock.h"

/* --- taking --- */

/* T18, or nothing if it waits for that already. 1; 0 if it was moved meanwhile; -1. */
static int block(struct worker *w, struct job *job, const char *wait_name, int64_t lacks_until)
{
	int moved;

	if (job->state == JOB_WAITING && strcmp(job->wait_name, wait_name) == 0) {
		blocked_stays(w, wait_name, lacks_until);
		return 1;
	}
	moved = job_move_to_wait(job, T_BLOCK, wait_name, JOB_DUE_NONE);
	if (moved == 1)
		blocked_add(w, job, lacks_until);
	return moved;
}

static void report(const struct worker *w, const struct job *job, const char *cause,
    const char *resource, int64_t due_ms)
{
	struct work_event event = settle_event(w, job, WORK_NOTE);

	event.cause = cause;
	event.reason = resource;
	event.due_ms = due_ms;
	worker_report(w, &event);
}

static void report_probes(const struct worker *w, const struct running *r)
{
	for (size_t i = 0; i < r->grip.count; i++)
		if (r->grip.part[i].probing)
			report(w, &r->job, "probes the breaker", r->meta.resource[i].name,
			    JOB_DUE_NONE);
}

static void report_wrong(struct worker *w, const char *wait_name, const char *setting)
{
	spool_fail(w->queue.spool, spool_dir_name[SPOOL_RESOURCE], wait_name + 1, setting);
	worker_trouble(w, "a resource's setting is not understood, and its jobs wait", EINVAL);
}

int resources_take(struct worker *w, struct running *r)
{
	static const char cause[] = "a job could not get its resources";
	char wait_name[WAIT_NAME_SIZE];
	struct lack lack;
	int result = -1;

	if (r->meta.resources == 0)
		return 1;
	switch (resource_take(
	    w->queue.spool, &r->job.name, &r->meta, r->job.wait_name, &r->grip, &lack)) {
	case TAKE_DONE:
		report_probes(w, r);
		return 1;
	case TAKE_LACKS:
		if (resource_wait_name(r->meta.resource[lack.resource].name, wait_name) == 0)
			result = block(w, &r->job, wait_name, lack.at_ms) < 0 ? -1 : 0;
		if (result == 0 && lack.wrong)
			report_wrong(w, wait_name, lack.wrong);
		break;
	case TAKE_ERROR:
		break;
	}
	if (result < 0)
		start_job_failed(w, cause, errno);
	job_release(&r->job);
	meta_release(&r->meta);
	return result;
}

void resources_not_used(struct worker *w, struct running *r)
{
	int saved = errno;

	grip_close(&r->grip);
	if (resource_not_probed(w->queue.spool, &r->meta, &r->grip) != 0)
		worker_trouble(
		    w, "a breaker takes what did not start for a probe that failed", errno);
	grip_release(&r->grip);
	errno = saved;
}

/* --- the end of an attempt --- */

static int64_t due_of(const struct breaker_news *news)
{
	return news->until_ms == OPEN_FOR_GOOD ? JOB_DUE_NONE : news->until_ms;
}

static void tell_hook(struct worker *w, const struct running *r, const char *name, const char *what)
{
	struct hook_news news = {.queue = w->name,
	    .job = &r->job,
	    .meta = &r->meta,
	    .attempts = r->attempts,
	    .cause = what,
	    .resource = name};

	hooks_event(&w->pool->hooks, HOOK_BREAKER, &news);
}

static void report_news(
    struct worker *w, const struct running *r, const char *name, const struct breaker_news *news)
{
	if (news->opened) {
		report(w, &r->job, "opens the breaker", name, due_of(news));
		tell_hook(w, r, name, "opened");
	}
	if (news->closed) {
		report(w, &r->job, "closes the breaker", name, JOB_DUE_NONE);
		tell_hook(w, r, name, "closed");
	}
}

static bool uses(const struct running *r, const char *name)
{
	for (size_t i = 0; i < r->meta.resources; i++)
		if (strcmp(r->meta.resource[i].name, name) == 0)
			return true;
	return false;
}

/* A handler may only speak of what its job uses. How many of its trips count. */
static size_t count_trips(
    const struct worker *w, const struct running *r, const struct control *said)
{
	size_t count = 0;

	for (size_t i = 0; i < said->trips; i++) {
		bool own = uses(r, said->tripped[i].resource);

		count += own;
		if (!own)
			report(w, &r->job, "a trip of what the job does not use is ignored",
			    said->tripped[i].resource, JOB_DUE_NONE);
	}
	return count;
}

static const struct control_trip *trip_of(const struct control *said, const char *name)
{
	for (size_t i = 0; i < said->trips; i++)
		if (strcmp(said->tripped[i].resource, name) == 0)
			return &said->tripped[i];
	return NULL;
}

/* True if the attempt is blamed on it though it was known to be down. */
static bool settle_one(struct worker *w, const struct running *r, size_t i, enum attempt_end end,
    const struct control_trip *trip, struct breaker_news *news)
{
	const char *name = r->meta.resource[i].name;
	bool probing = i < r->grip.count && r->grip.part[i].probing;
	struct spool *spool = w->queue.spool;
	int settled = trip ? resource_trip(spool, name, trip->for_ms, probing, news)
	                   : resource_settle(spool, name, end, probing, news);

	if (settled != 0)
		worker_trouble(w, "a breaker could not be told of an attempt's end", errno);
	report_news(w, r, name, news);
	return end == END_FAILURE && (news->was_open || probing);
}

/* A handler that was reaped has let go, which an event says a little too early. */
static void wake_who_wait(struct worker *w, const struct running *r)
{
	char wait_name[WAIT_NAME_SIZE];

	for (size_t i = 0; i < r->meta.resources; i++)
		if (resource_wait_name(r->meta.resource[i].name, wait_name) == 0)
			blocked_wake(w, wait_name);
}

const char *resources_settle(struct worker *w, struct running *r, const struct control *said,
    enum attempt_end end, int64_t *until_ms)
{
	size_t trips = count_trips(w, r, said);
	const char *back = NULL;

	wake_who_wait(w, r);
	for (size_t i = 0; i < r->meta.resources; i++) {
		const char *name = r->meta.resource[i].name;
		const struct control_trip *trip = trip_of(said, name);
		struct breaker_news news;

		if (trips > 0 && !trip && end == END_FAILURE)
			continue;
		if (settle_one(w, r, i, end, trip, &news) && !back &&
		    resource_wait_name(name, r->wait_name) == 0) {
			back = name;
			*until_ms = news.was_open || news.opened ? due_of(&news) : JOB_DUE_NONE;
		}
	}
	return back;
}
