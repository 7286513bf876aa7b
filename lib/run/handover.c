/*
 * Handing jobs over to another engine instead of running them: T23 of spool-layout.md. A job is held where it is, in new/ or
 * delay/, until the other engine has it. So no attempt is spent, its time stays in its name, and if this process dies the
 * lock falls and nothing has happened. A slot has a job from its beginning to the engine's answer, as it has a handler's
 * elsewhere.
 */
#include "run/environment.h"
#include "run/worker.h"

#include <errno.h>

#include "spool/after.h"
#include "spool/stats.h"
#include "spool/wait.h"
#include "sys/clock.h"

enum {
	ANSWER_MS = 10000, /* then it is tried again: the engine knows the job by its id */
	AGAIN_MS = 1000,
	TICKET_SLOTS = 65536
};

bool handover_is_on(const struct pool *p)
{
	return p->options->handover != NULL;
}

bool handover_ready(const struct pool *p)
{
	const struct handover *to = p->options->handover;

	return !to || to->ready(to->arg);
}

int handover_fd(const struct pool *p)
{
	return p->options->handover ? p->options->handover->fd : -1;
}

/* Whether other jobs of this spool wait for it. */
static int is_waited_for(const struct job *job)
{
	struct spool *spool = job->queue->spool;
	int dir = job->st.st_nlink > 1 ? wait_open(spool, job->name.id, false) : -1;
	bool found = dir >= 0;

	sys_discard(&dir);
	return found || job->st.st_nlink <= 1 || errno == ENOENT ? found : -1;
}

/* What orders jobs among each other is known to one spool only. *WHY it cannot leave this one, or NULL. 0 / -1. */
static int find_tie(const struct running *r, const char **why)
{
	int waited = is_waited_for(&r->job);

	*why = r->meta.key  ? "it has a key, which holds in one spool only"
	    : r->meta.batch ? "it is in a batch, which is known in one spool only"
	    : waited > 0    ? "other jobs wait for it, which know this spool only"
	                    : NULL;
	return waited < 0 ? -1 : 0;
}

/* T4 in place: from here on it has its id, whoever is asked to take it. */
static int adopt(struct running *r)
{
	int moved;

	if (r->job.ours)
		return 1;
	moved = job_move(&r->job, T_ADOPT, JOB_DUE_NONE);
	if (moved > 0)
		r->job.ours = true;
	else if (!r->job.both)
		meta_remove(r->job.queue, r->job.name.id);
	return moved;
}

static uint64_t ticket_of(const struct running *r)
{
	const struct pool *p = r->worker->pool;

	return r->handed * TICKET_SLOTS + (uint64_t)(r - p->slot);
}

static void begin(struct worker *w, struct running *r)
{
	static uint64_t handed;

	r->worker = w;
	r->active = true;
	r->settling = r->ended = false;
	r->handed = ++handed;
	r->started_us = clock_mono_us();
	r->started = r->started_us / 1000;
	r->end_at = r->started + ANSWER_MS;
	w->busy++;
	w->pool->busy++;
	shares_started(r);
	w->started++;
	w->pool->started++;
	w->worked = true;
}

/* As a handler here would have it: who runs it elsewhere cannot know whose job it was. */
static int keep_environment(struct running *r)
{
	struct strings kept = {0};

	if (environment_brought(&kept, &r->job, &r->meta, &r->worker->pool->options->accept_env) !=
	    0) {
		strings_release(&kept);
		return -1;
	}
	strings_release(&r->meta.env);
	r->meta.env = kept;
	return 0;
}

static int offer(struct running *r, const char **why)
{
	const struct handover *to = r->worker->pool->options->handover;
	const struct job *job = &r->job;
	struct handover_job offered = {.ticket = ticket_of(r),
	    .queue = r->worker->name,
	    .id = job->name.id,
	    .priority = job->name.priority,
	    .attempts = job->name.attempts,
	    .due_ms = job->name.due_ms,
	    .meta = &r->meta,
	    .fd = job->fd,
	    .size = (uint64_t)job->st.st_size};

	strings_release(&r->meta.after); /* it has waited for that */
	if (keep_environment(r) != 0)
		return -1;
	return to->begin(to->arg, &offered, why);
}

/* Lets go of the slot; the job, if it is held still, is where it was. */
static void end(struct running *r)
{
	shares_ended(r);
	settle_release(r->worker, r);
}

static void try_again(struct running *r)
{
	take_again(r->worker, &r->job, clock_real_ms() + AGAIN_MS);
	end(r);
}

/* For ever, if it cannot be buried. */
static void refuse(struct running *r, const char *why)
{
	if (start_unfit(r->worker, &r->job, &r->meta, why))
		end(r);
	else
		try_again(r);
}

enum handed handover_start(struct worker *w, struct running *r, const char **why)
{
	int adopted;

	*why = NULL;
	if (r->meta.relay) /* it came from there */
		return HANDED_NOT;
	if (find_tie(r, why) != 0)
		return HANDED_LATER;
	if (*why)
		return HANDED_UNFIT;
	stats_keep(&w->queue, false);
	adopted = adopt(r);
	if (adopted <= 0) {
		if (adopted < 0)
			start_job_failed(w, "a file could not be made a job", errno);
		return adopted == 0 ? HANDED_NOT : HANDED_LATER;
	}
	begin(w, r);
	if (offer(r, why) == 0)
		return HANDED;
	if (*why)
		refuse(r, *why);
	else
		try_again(r);
	return HANDED;
}

/* Who has the ticket still; an answer may come after the job was tried again. */
static struct running *find(struct pool *p, uint64_t ticket)
{
	uint64_t slot = ticket % TICKET_SLOTS;
	struct running *r = slot < p->slots ? &p->slot[slot] : NULL;

	return r && r->active && !r->settling && r->handed != 0 && ticket_of(r) == ticket ? r
	                                                                                  : NULL;
}

static void taken(struct running *r)
{
	struct worker *w = r->worker;
	struct work_event event = settle_event(w, &r->job, WORK_RELAYED);

	shares_ended(r);
	w->hold_error = 0;
	w->hold_wait = 0;
	worker_report(w, &event);
	settle_to(w, r, T_HAND_OVER, JOB_DUE_NONE);
}

void handover_answers(struct pool *p)
{
	const struct handover *to = p->options->handover;
	struct handover_answer answer;
	struct running *r;

	while (to->answer(to->arg, &answer)) {
		r = find(p, answer.ticket);
		if (!r)
			continue;
		r->end_at = NEVER;
		if (answer.taken)
			taken(r);
		else if (answer.refused)
			refuse(r, answer.refused);
		else
			try_again(r);
	}
}

static bool is_handed(const struct running *r)
{
	return r->active && !r->settling && r->handed != 0;
}

void handover_tick(struct pool *p, int64_t now)
{
	for (unsigned i = 0; handover_is_on(p) && i < p->slots; i++)
		if (is_handed(&p->slot[i]) && p->slot[i].end_at <= now)
			try_again(&p->slot[i]);
}

void handover_stop(struct pool *p)
{
	for (unsigned i = 0; handover_is_on(p) && i < p->slots; i++)
		if (is_handed(&p->slot[i]))
			end(&p->slot[i]);
}
