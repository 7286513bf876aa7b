/* What the log is told, and the hooks. */
#include "run/worker.h"

#include <string.h>

#include "sys/clock.h"

enum { TROUBLE_FIRST_MS = 10 * 1000, TROUBLE_CAP_MS = 3600 * 1000 };

struct work_event report_event(enum work_outcome outcome, const char *cause)
{
	return (struct work_event){.outcome = outcome,
	    .cause = cause,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};
}

static void report(const struct pool *p, const struct work_event *event)
{
	p->options->report(p->options->arg, event);
}

void worker_report(const struct worker *w, const struct work_event *event)
{
	struct work_event full = *event;

	full.queue = w->name;
	report(w->pool, &full);
}

void worker_ended(struct worker *w, const struct job *job, const struct meta *meta,
    const struct work_event *event)
{
	struct hooks *hooks = &w->pool->hooks;
	struct hook_news news = {.queue = w->name,
	    .job = event->id ? job : NULL,
	    .meta = meta,
	    .attempts = settle_attempts(w, meta),
	    .cause = event->cause,
	    .reason = event->reason};

	worker_report(w, event);
	if (event->outcome == WORK_BURIED)
		hooks_event(hooks, HOOK_BURIED, &news);
	else if (event->outcome == WORK_RETRY)
		hooks_event(hooks, HOOK_FAILED, &news);
	else if (event->outcome == WORK_FINISHED)
		hooks_event(hooks, HOOK_FINISHED, &news);
}

static struct work_event note(const struct pool *p, const char *cause, int error)
{
	struct work_event event = report_event(WORK_NOTE, cause);

	event.reason = error ? strerror(error) : NULL;
	event.name = error && *p->spool->place ? p->spool->place : NULL;
	return event;
}

void worker_note(const struct worker *w, const char *cause, int error)
{
	struct work_event event = note(w->pool, cause, error);

	worker_report(w, &event);
}

void pool_note(const struct pool *p, const char *cause, int error)
{
	struct work_event event = note(p, cause, error);

	report(p, &event);
}

/* The one that was said before, or the one that has been quiet for longest. */
static struct trouble *find_trouble(struct trouble *troubles, const char *cause, int error)
{
	struct trouble *oldest = &troubles[0];

	for (size_t i = 0; i < TROUBLES_MAX; i++) {
		struct trouble *t = &troubles[i];

		if (t->cause == cause && t->error == error)
			return t;
		if (t->quiet_until < oldest->quiet_until)
			oldest = t;
	}
	*oldest = (struct trouble){.cause = cause, .error = error};
	return oldest;
}

static bool is_to_be_said(struct trouble *troubles, const char *cause, int error)
{
	struct trouble *t = find_trouble(troubles, cause, error);
	int64_t now = clock_mono_ms();

	if (now < t->quiet_until)
		return false;
	if (t->wait == 0 || now > t->quiet_until + t->wait) /* new, or gone for long */
		t->wait = TROUBLE_FIRST_MS;
	else if (t->wait < TROUBLE_CAP_MS)
		t->wait *= 2;
	t->quiet_until = now + t->wait;
	return true;
}

void worker_trouble(struct worker *w, const char *cause, int error)
{
	if (is_to_be_said(w->trouble, cause, error))
		worker_note(w, cause, error);
}

void pool_trouble(struct pool *p, const char *cause, int error)
{
	if (is_to_be_said(p->trouble, cause, error))
		pool_note(p, cause, error);
}
