/* What becomes of the jobs that were taken in: each end is told to the stream, and what was buried is put on a stream of its own. */
#include "pulling.h"

#include "leave.h"
#include "sys/clock.h"

enum {
	LEAVING_MAX = 256, /* at once: each is open */
	LACKING_MAX = 16,  /* in a round: each costs a round trip */
};

/* Nothing of a job is left that is over; but what came from a stream is in done/ then. So of one that is not there it is made sure: it
 * may have moved unseen, or it may be another of its names that was removed, by "push" of this very spool: one that died before
 * it did so is told later that the stream has the job, when it came back from there already. */
static int see_fate(void *pulling, const char *id, enum await_fate fate)
{
	struct pulling *p = pulling;
	struct held *held = held_here(&p->held, id);

	if (held && held->phase == HELD_ALIVE) {
		held->buried = fate == AWAIT_BURIED;
		held->vanished = fate == AWAIT_FINISHED || fate == AWAIT_DELETED;
	}
	return 0;
}

static int find_done(void *pulling, const struct job_place *place)
{
	struct pulling *p = pulling;
	struct held *held = place->ours ? held_here(&p->held, place->name.id) : NULL;

	if (held && held->vanished)
		held_ended(held);
	return 0;
}

static int find_again(void *pulling, const struct job_place *place)
{
	struct pulling *p = pulling;
	struct held *held = place->ours ? held_here(&p->held, place->name.id) : NULL;

	if (!held || !held->vanished)
		return 0;
	held->vanished = false;
	await_forget(p->await, held->id);
	return await_job(p->await, held->queue, held->id);
}

static bool any_vanished(struct pulling *p)
{
	struct held *held = held_first(&p->held);

	while (held && !held->vanished)
		held = held_next(held);
	return held != NULL;
}

static void look_for_vanished(struct pulling *p)
{
	struct held *held;

	if (!any_vanished(p) || !queues_in_place(p))
		return;
	for (size_t i = 0; i < p->queues; i++)
		if (spool_each(p->spool, p->queue[i].name, JOB_DONE, find_done, p) != 0)
			return;
	if (!any_vanished(p) || each_job(p, find_again) != 0)
		return;
	for (held = held_first(&p->held); held; held = held_next(held))
		if (held->vanished)
			held_ended(held);
}

static void look_at_fates(struct pulling *p)
{
	struct await_counts counts;

	if (await_step(p->await, 0, &counts) < 0) {
		spool_trouble(p, "what became of jobs could not be looked at");
		return;
	}
	if (await_each(p->await, see_fate, p) == 0)
		look_for_vanished(p);
}

/* Of what has ended for certain the spool need not remember anything. */
static int forget_one(void *pulling, const struct job_place *place)
{
	struct pulling *p = pulling;
	struct held *held = place->ours ? held_here(&p->held, place->name.id) : NULL;

	if (held && held->phase == HELD_OVER && spool_forget(p->spool, place) < 0)
		spool_trouble(p, "a finished job could not be removed");
	return 0;
}

static void drop(struct pulling *p, struct held *held)
{
	if (!held->left)
		await_forget(p->await, held->id);
	held_remove(&p->held, held);
}

static void forget(struct pulling *p)
{
	struct held *held, *next;
	bool any = false;

	for (held = held_first(&p->held); held; held = held_next(held))
		any |= held->phase == HELD_OVER && !held->left;
	for (size_t i = 0; any && i < p->queues; i++)
		(void)spool_each(p->spool, p->queue[i].name, JOB_DONE, forget_one, p);
	for (held = held_first(&p->held); held; held = next) {
		next = held_next(held);
		if (held->phase == HELD_OVER)
			drop(p, held);
	}
}

/* Buried ones leave; and so do all that rest, once this host is to have none any more. */
static bool is_to_leave(const struct pulling *p, const struct held *held, int64_t now)
{
	return held->phase == HELD_ALIVE && (held->buried || p->told > 0) &&
	    now >= held->again_at && wire_is_up(p->wire) && !p->displaced;
}

static int let_leave(void *pulling, const struct job_place *place)
{
	struct pulling *p = pulling;
	struct held *held = place->ours ? held_here(&p->held, place->name.id) : NULL;

	if (!held || !is_to_leave(p, held, clock_mono_ms()))
		return 0;
	(void)leave_begin(held, p->wire, p->spool, incoming_of(p, held->queue)->right, place);
	return ++p->leaving >= LEAVING_MAX;
}

static void send_away(struct pulling *p, int64_t now)
{
	static const enum job_state states[] = {JOB_BURIED, JOB_READY, JOB_DELAYED, JOB_WAITING};
	size_t leaving = p->told > 0 ? sizeof states / sizeof *states : 1;
	bool any = false;
	struct held *held;

	p->leaving = 0;
	for (held = held_first(&p->held); held; held = held_next(held)) {
		if (wire_is_up(p->wire))
			leave_tick(held, p->wire, now);
		any |= is_to_leave(p, held, now);
		p->leaving += held->phase == HELD_LEAVES && !held->left;
	}
	for (size_t i = 0; any && i < p->queues; i++)
		for (size_t s = 0; s < leaving && p->leaving < LEAVING_MAX; s++)
			(void)spool_each(p->spool, p->queue[i].name, states[s], let_leave, p);
}

/* Until it is known which streams there are, it is only said that jobs are in progress. */
static void tick(struct pulling *p, int64_t now)
{
	bool known = streams_known(p);
	struct held *held;

	for (held = held_first(&p->held); held; held = held_next(held)) {
		if (held->phase == HELD_COMING)
			continue;
		if (known && is_of_another_stream(p, held))
			held_without_stream(held, now, p->lease_ms);
		else
			held_tick(held, p->wire, now, p->lease_ms, known);
	}
}

void ends_renew(struct pulling *p, int64_t now)
{
	for (struct held *held = held_first(&p->held); held; held = held_next(held))
		held->at = 0;
	tick(p, now);
}

/* --- the whole --- */

void ends_step(struct pulling *p, int64_t now)
{
	p->lacking = 0;
	look_at_fates(p);
	send_away(p, now);
	forget(p);
	tick(p, now);
}

/* The consumer that gave it out is gone, and maybe the message with it: which was acknowledged if it was ever answered, for
 * else somebody removed a consumer by hand. */
static void end_without_consumer(struct pulling *p, struct held *held)
{
	int64_t now = clock_mono_ms();

	if (!streams_known(p) || is_of_another_stream(p, held))
		return;
	if (held->confirmed > 0 ||
	    (p->lacking++ < LACKING_MAX && stream_drop(p->wire, held->queue, held->number) == 0))
		held_without_stream(held, now, p->lease_ms);
	else {
		p->lacking = LACKING_MAX; /* that may have taken long */
		held_later(held, now, p->lease_ms);
	}
}

void ends_answer(struct pulling *p, const char *tag, natsMsg *msg)
{
	struct held *held = held_of_tag(&p->held, tag);

	if (held && tag[0] == 'a' && natsMsg_IsNoResponders(msg))
		end_without_consumer(p, held);
	else if (held && tag[0] == 'a')
		held_confirmed(held, clock_mono_ms(), p->lease_ms);
	if (held && tag[0] == 'b' && natsMsg_IsNoResponders(msg))
		p->ready = false; /* the stream is to be made again */
	if (held && tag[0] == 'b' && leave_answer(held, msg))
		await_forget(p->await, held->id);
}
