/*
 * Which queue starts the next job.
 *
 * Each queue's share is of the time that handlers run: start-time fair queueing (Goyal, Vin and Cheng, 1996) with
 * that time as what is served. A queue's tag is the time that its handlers have had, divided by its weight at that time;
 * the queue with the least goes first. Counting jobs instead, a queue of quick ones could start no more of them than one of
 * slow ones. What runs is counted as long as it usually takes, or as long as it has taken if that is more.
 *
 * A queue that has nothing to start lends its share to the others, and gets nothing back for it: when it has something
 * again, it has had no less than the others that want more, whether there is room for it then or not.
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

static int64_t running_us(const struct share *s, int64_t now_us)
{
	return s->running * now_us - s->started_us;
}

static double had(const struct worker *w, int64_t now_us)
{
	return w->share.had + (double)running_us(&w->share, now_us) / weight_of(w);
}

/* What those that run are expected to take is not yet had: it may be less. */
static double tag(const struct worker *w, int64_t now_us)
{
	const struct share *s = &w->share;
	int64_t least = s->running * (s->usual_us > LEAST_US ? s->usual_us : LEAST_US);
	int64_t runs = running_us(s, now_us);

	return s->had + (double)(runs > least ? runs : least) / weight_of(w);
}

static bool has_job(const struct worker *w)
{
	return w->backlog.ready.count > 0 && start_allowed(w);
}

/* How much one that comes has had: as the one that has had the least of those that want more. If none does, nobody
 * is owed anything. */
static void set_turn(struct pool *p, int64_t now_us)
{
	const struct worker *w;
	double least = 0, most = p->turn;
	bool any = false;

	LIST_FOREACH (w, &p->workers, link) {
		double own = had(w, now_us);

		if (w->share.contends && (!any || own < least))
			least = own;
		any |= w->share.contends;
		if (own > most)
			most = own;
	}
	if (!any)
		p->turn = most;
	else if (least > p->turn)
		p->turn = least;
}

static void join(struct worker *w, int64_t now_us)
{
	double behind = w->pool->turn - had(w, now_us);

	if (behind > 0)
		w->share.had += behind;
	w->share.contends = true;
}

struct worker *shares_next(struct pool *p)
{
	int64_t now_us = clock_mono_us();
	struct worker *w, *first = NULL;

	LIST_FOREACH (w, &p->workers, link)
		w->share.contends &= has_job(w);
	set_turn(p, now_us);
	LIST_FOREACH (w, &p->workers, link) {
		if (!w->share.contends && has_job(w))
			join(w, now_us);
		if (w->share.contends && (!first || tag(w, now_us) < tag(first, now_us)))
			first = w;
	}
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
	s->had += (double)took / weight_of(r->worker);
	s->usual_us += (took - s->usual_us) / USUAL_WEIGHT;
}

void shares_tried(struct worker *w)
{
	w->share.had += (double)TRIED_US / weight_of(w);
}
