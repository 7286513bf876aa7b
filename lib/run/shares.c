/*
 * Which queue starts the next job.
 *
 * Each queue's share is of the time that handlers run: start-time fair queueing (Goyal, Vin and Cheng, 1996) with
 * that time as what is served. A queue's tag is the time that its handlers have had, divided by its weight;
 * the queue with the least goes first. Counting jobs instead, a queue of quick ones could start no more of them than one of
 * slow ones. What runs is counted as long as it usually takes, or as long as it has taken if that is more.
 *
 * A queue that has nothing to start lends its share to the others, and gets nothing back for it: when it has something
 * again, its tag is no less than the one that was served last.
 */
#include "run/worker.h"

#include "sys/clock.h"

enum {
	LEAST_US = 1000, /* that a job which runs is counted for */
	TRIED_US =
	    1000, /* for a start that came to nothing: a crowd that cannot run keeps nobody waiting */
	USUAL_WEIGHT = 8,
};

static unsigned weight_of(const struct worker *w)
{
	if (w->asked && w->asked->weight > 0)
		return w->asked->weight;
	return w->settings.weight > 0 ? w->settings.weight : 1;
}

static double tag(const struct worker *w, int64_t now_us)
{
	const struct share *s = &w->share;
	int64_t least = s->running * (s->usual_us > LEAST_US ? s->usual_us : LEAST_US);
	int64_t runs = s->running * now_us - s->started_us;

	return (double)(s->spent_us + (runs > least ? runs : least)) / weight_of(w);
}

static bool has_job(const struct worker *w)
{
	return w->backlog.ready.count > 0 && start_allowed(w);
}

/* What it lent it does not get back. */
static void join(struct worker *w, int64_t now_us)
{
	double behind = w->pool->turn - tag(w, now_us);

	if (!w->share.contends && behind > 0)
		w->share.spent_us += (int64_t)(behind * weight_of(w));
	w->share.contends = true;
}

struct worker *shares_next(struct pool *p)
{
	int64_t now_us = clock_mono_us();
	struct worker *w, *first = NULL;
	double least = 0;

	LIST_FOREACH (w, &p->workers, link) {
		double own;

		if (!has_job(w)) {
			w->share.contends = false;
			continue;
		}
		join(w, now_us);
		own = tag(w, now_us);
		if (!first || own < least) {
			first = w;
			least = own;
		}
	}
	if (first)
		p->turn = least;
	return first;
}

void shares_started(struct running *r)
{
	struct share *s = &r->worker->share;

	s->running++;
	s->started_us += r->started_us;
}

void shares_ended(struct running *r)
{
	struct share *s = &r->worker->share;
	int64_t took = clock_mono_us() - r->started_us;

	s->running--;
	s->started_us -= r->started_us;
	s->spent_us += took;
	s->usual_us += (took - s->usual_us) / USUAL_WEIGHT;
}

void shares_tried(struct worker *w)
{
	w->share.spent_us += TRIED_US;
}
