/*
 * Taking jobs in. A message becomes a draft in the spool, under the job's own id; all that have come are published there at once
 * (take_commit()). Until then the message is kept: what the spool does not take goes to the stream anew, so that it
 * has lost no attempt, and another host may have it at once. What cannot be judged yet is kept, too, renewed like those that are here, and
 * looked at again: to give it back would bring it back at once, and each time that a stream gives out a message counts as an attempt.
 */
#include "pulling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "leave.h"
#include "log.h"
#include "sys/clock.h"

enum {
	AGAIN_MS = 1000,
	BACK_MAX_MS =
	    3600000, /* what was reckoned by a clock that was set since is looked at again */
};

/* What a message of a stream says of itself. */
struct delivery {
	struct incoming *queue;
	enum consumer consumer;
	uint64_t times; /* delivered */
	const char *lease;
	natsMsg *msg;
	bool again; /* it has waited here */
};

static struct incoming *incoming_of_stream(struct pulling *p, const char *stream)
{
	char queue[QUEUE_NAME_SIZE];

	return jobs_stream_parse(stream, queue) ? incoming_of(p, queue) : NULL;
}

static bool parse_delivery(struct pulling *p, natsMsg *msg, struct delivery *d)
{
	jsMsgMetaData *data = NULL;

	d->msg = msg;
	d->lease = natsMsg_GetReply(msg);
	if (!d->lease || natsMsg_GetMetaData(&data, msg) != NATS_OK)
		return false;
	d->queue = incoming_of_stream(p, data->Stream);
	d->consumer = consumer_parse(data->Consumer);
	d->times = data->NumDelivered;
	jsMsgMetaData_Destroy(data);
	return d->queue && d->consumer < CONSUMERS;
}

/* How many hosts had it before and were lost. One that is delayed was sent back each time. */
static unsigned losses(const struct delivery *d)
{
	uint64_t losses = d->times > 0 && d->consumer != CONSUMER_LATER ? d->times - 1 : 0;

	return losses < JOB_ATTEMPTS_MAX ? (unsigned)losses : JOB_ATTEMPTS_MAX;
}

/* With the attempts that it has spent by now. */
static int read_job(
    const struct delivery *d, struct job_name *name, struct meta *meta, const char **why)
{
	unsigned lost = losses(d), left;

	if (message_read(d->msg, name, meta, why) != 0)
		return -1;
	left = JOB_ATTEMPTS_MAX - name->attempts;
	name->attempts += lost < left ? lost : left;
	return 0;
}

/* What a job keeps as its option relay, for the relay that comes next: the subject for what is to be said of it, and when its stream
 * came into being. */
static char *relay_option(const struct delivery *d)
{
	char *text = NULL;

	return asprintf(&text, "%s %lld", d->lease, (long long)d->queue->created) < 0 ? NULL : text;
}

static struct held *held_from_option(
    struct pulling *p, const char *id, const char *queue, const char *text)
{
	size_t len = strcspn(text, " ");
	char *lease = strndup(text, len);
	struct held *held = lease ? held_add(&p->held, id, queue, lease) : NULL;

	if (held && text[len])
		held->stream = strtoll(text + len, NULL, 10);
	free(lease);
	return held;
}

static struct held *add_held(struct pulling *p, const struct delivery *d, const char *id)
{
	struct held *held = held_add(&p->held, id, d->queue->name, d->lease);

	if (held)
		held->stream = d->queue->created;
	return held;
}

/* --- what does not come into the spool --- */

/* The stream keeps it for so long, for whichever host asks then. */
static void send_back(struct pulling *p, const struct delivery *d, int64_t wait_ms)
{
	char text[64];

	if (wait_ms > BACK_MAX_MS)
		wait_ms = BACK_MAX_MS;
	snprintf(text, sizeof text, "-NAK {\"delay\": %lld000000}", (long long)wait_ms);
	(void)!wire_say(p->wire, d->lease, text, NULL);
}

/* These are true if they keep the message, like take_message(). HELD may be NULL: there was no memory, and the stream gives it out again
 * when the lease is over. */
static bool wait_with(struct held *held, const struct delivery *d)
{
	if (!held)
		return false;
	held->phase = HELD_WAITS;
	held->left = true;
	held->msg = d->msg;
	held->again_at = clock_mono_ms() + AGAIN_MS;
	return true;
}

static bool went(struct pulling *p, struct held *held, const struct delivery *d, int result)
{
	if (held && result == 0)
		return false;
	relay_log(WORK_NOTE, d->queue->name, held ? held->id : NULL,
	    "a job could not go to a stream: trying again",
	    held && errno == EIO ? wire_why(p->wire) : strerror(errno));
	return wait_with(held, d);
}

/* To the stream anew, so that it has lost no attempt. */
static bool give_back(struct pulling *p, struct held *held, const struct delivery *d,
    const struct job_name *name, const struct meta *meta)
{
	return went(p, held, d, held ? leave_again(held, p->wire, d->msg, name, meta) : -1);
}

/* The spool did not take it. */
static void give_back_draft(struct pulling *p, struct held *held)
{
	natsMsg *msg = held->msg;
	struct delivery d = {.again = false};
	struct job_name name;
	struct meta meta;
	const char *why;
	bool kept = false;

	await_forget(p->await, held->id);
	held->msg = NULL;
	meta_init(&meta);
	if (parse_delivery(p, msg, &d) && read_job(&d, &name, &meta, &why) == 0)
		kept = give_back(p, held, &d, &name, &meta);
	else /* no memory: the stream gives it out again */
		held_remove(&p->held, held);
	meta_release(&meta);
	if (!kept)
		wire_done_with(p->wire, msg);
}

static void abandon(struct pulling *p, struct incoming *queue)
{
	struct held *held, *next;

	for (held = held_first(&p->held); held; held = next) {
		next = held_next(held);
		if (held->phase == HELD_COMING && held->queue == queue->name)
			give_back_draft(p, held);
	}
	send_close(queue->sender);
	queue->sender = NULL;
}

static bool turn_away(struct pulling *p, const struct delivery *d, const struct job_name *name,
    const struct meta *meta, const char *why)
{
	struct held *held = add_held(p, d, name->id);

	relay_log(WORK_BURIED, d->queue->name, name->id, why, NULL);
	return went(p, held, d, held ? leave_unfit(held, p->wire, d->msg, name, meta, why) : -1);
}

/* A delayed one goes back until it is due, and then to those that are. */
static bool take_later(struct pulling *p, const struct delivery *d, const struct job_name *name,
    const struct meta *meta)
{
	int64_t wait = name->due_ms == JOB_DUE_NONE ? 0 : name->due_ms - clock_real_ms();

	if (wait <= SOON_MS)
		return give_back(p, add_held(p, d, name->id), d, name, meta);
	send_back(p, d, wait);
	return false;
}

/* With what is said of it there. */
static bool is_too_long(struct pulling *p, natsMsg *msg)
{
	size_t longest = wire_longest(p->wire);

	return longest > 0 && (size_t)natsMsg_GetDataLength(msg) + ROOM_FOR_HEADERS > longest;
}

/* Not to be run, and not to be lost: its number stands for its id. Without WHY that is not known yet. */
static bool take_garbage(struct pulling *p, const struct delivery *d, const char *why)
{
	char number[NUMBER_SIZE];
	struct held *held;

	lease_number(d->lease, number);
	held = held_find(&p->held, number, d->queue->name, number);
	if (held) {
		(void)held_lease(held, d->lease);
		return false;
	}
	if (why && is_too_long(p, d->msg)) {
		relay_log(WORK_NOTE, d->queue->name, number,
		    "a message of the stream is no job, and too long to go to the buried ones",
		    why);
		send_back(p, d, BACK_MAX_MS);
		return false;
	}
	held = add_held(p, d, number);
	if (!why)
		return wait_with(held, d);
	relay_log(WORK_NOTE, d->queue->name, number,
	    "a message of the stream is no job: to the buried ones with it", why);
	return went(p, held, d, held ? leave_strange(held, p->wire, d->msg, why) : -1);
}

/* --- what was here before --- */

/* A message that was here before, and whose lease was lost in between. */
static void take_again(struct held *held, const struct delivery *d)
{
	if (held_lease(held, d->lease) != 0)
		return;
	held->stream = d->queue->created;
	if (held->phase == HELD_OVER)
		held_ended(held);
	held->at = 0;
}

/* The job is over, and this message of it is to go, too. */
static bool take_ended(struct pulling *p, const struct delivery *d, const char *id)
{
	struct held *held = add_held(p, d, id);

	if (held) {
		held->left = true;
		held_ended(held);
	}
	return false;
}

/* What a relay that comes after this one is to say of it it says of this message. */
static int relet(const struct delivery *d, const char *id)
{
	char *option = relay_option(d);
	int result = option ? receiver_relay(d->queue->right, id, option) : -1;

	if (result != 0 && !d->again)
		relay_log(WORK_NOTE, d->queue->name, id,
		    "it came by another message, which could not be noted: trying again",
		    strerror(errno));
	free(option);
	return result;
}

/* The same job by another message: who pushed it died before he knew that he had, or it was kicked elsewhere after this host had
 * lost it. The other message may be gone by now, and this one is not: it is this one that is kept until the job is over. Of one
 * that leaves just now it is not known yet what will become of it; and one of another queue is another job. */
static bool take_twin(struct pulling *p, struct held *held, const struct delivery *d)
{
	char *old = NULL;

	if (held->phase == HELD_COMING || held->phase == HELD_LEAVES ||
	    held->queue != d->queue->name)
		return wait_with(add_held(p, d, held->id), d);
	if (!d->again)
		relay_log(WORK_NOTE, d->queue->name, held->id,
		    "it was in the stream twice: once is enough", NULL);
	if (held->phase == HELD_ENDED || held->phase == HELD_OVER)
		return take_ended(p, d, held->id);
	if (relet(d, held->id) != 0)
		return wait_with(add_held(p, d, held->id), d);
	old = held_change(held, d->lease);
	if (old && !is_of_another_stream(p, held))
		(void)!wire_say(p->wire, old, "+ACK", NULL);
	if (old)
		held->stream = d->queue->created;
	free(old);
	return false;
}

/* Of a job that is in the way: where it is, and whether it came from the stream. */
enum here { HERE_UNKNOWN = -1, HERE_LEFTOVERS, HERE_RELAYED, HERE_ENDED, HERE_OTHERWISE };

static enum here look_here(struct pulling *p, const struct incoming *queue, const char *id)
{
	struct job_word word = {.text = id};
	enum here here = HERE_UNKNOWN;
	const char *why;
	struct meta meta;

	if (spool_find(p->spool, queue->name, &word, 1) != 0)
		return HERE_UNKNOWN;
	if (word.matches == 0)
		return HERE_LEFTOVERS;
	meta_init(&meta);
	if (!word.place.name.meta || spool_meta(p->spool, &word.place, &meta, &why) == 0)
		here = meta.relay                  ? HERE_RELAYED
		    : word.place.state == JOB_DONE ? HERE_ENDED
		                                   : HERE_OTHERWISE;
	meta_release(&meta);
	return here;
}

/* --- what is new --- */

static bool open_sender(struct pulling *p, struct incoming *queue)
{
	const struct send_options options = {
	    .priority = JOB_PRIORITY_DEFAULT, .due_ms = JOB_DUE_NONE};

	if (!queue->sender)
		queue->sender = send_open(p->spool, queue->name, &options);
	return queue->sender != NULL;
}

/* 0; -1 with errno: it is not begun, and the batch is as it was if that is EEXIST. */
static int begin_job(struct pulling *p, const struct delivery *d, const struct job_name *name,
    const struct meta *meta)
{
	const struct send_as as = {.id = name->id,
	    .priority = name->priority,
	    .due_ms = name->due_ms,
	    .attempts = name->attempts,
	    .meta = meta};
	const char *payload = natsMsg_GetData(d->msg);
	struct incoming *queue = d->queue;

	if (!open_sender(p, queue) || send_as(queue->sender, &as) != 0 ||
	    send_write(queue->sender, payload, (size_t)natsMsg_GetDataLength(d->msg)) != 0 ||
	    send_end(queue->sender) != 0)
		return -1;
	return await_job(p->await, queue->name, name->id);
}

/* Something of that id is in the spool: the job itself, which an earlier relay took; what one left that died while it took it;
 * or what a push of this very spool is just letting go of, and then the job is not here yet: for that a second is enough. */
static bool make_way(struct pulling *p, const struct delivery *d, const struct job_name *name,
    const struct meta *meta, struct held *held)
{
	switch (look_here(p, d->queue, name->id)) {
	case HERE_RELAYED:
		held->phase = HELD_ALIVE;
		if (relet(d, name->id) == 0 && await_job(p->await, d->queue->name, name->id) == 0)
			return false;
		break;
	case HERE_ENDED:
		held->left = true;
		held_ended(held);
		return false;
	case HERE_LEFTOVERS:
		if (d->again && send_clear(d->queue->sender, name->id) == 0 &&
		    begin_job(p, d, name, meta) == 0) {
			held->msg = d->msg;
			return true;
		}
		break;
	case HERE_OTHERWISE:
	case HERE_UNKNOWN:
		if (!d->again)
			relay_log(WORK_NOTE, d->queue->name, name->id,
			    "something else of this id is in the spool: it is taken in when that "
			    "is gone",
			    NULL);
		break;
	}
	return wait_with(held, d);
}

static bool take_in(
    struct pulling *p, const struct delivery *d, const struct job_name *name, struct meta *meta)
{
	struct held *held = add_held(p, d, name->id);

	meta->relay = relay_option(d);
	if (held && meta->relay && begin_job(p, d, name, meta) == 0) {
		held->msg = d->msg;
		return true;
	}
	if (held && meta->relay && errno == EEXIST)
		return make_way(p, d, name, meta, held);
	spool_trouble(p, "a job could not be taken in");
	if (!held)
		return false;
	held->msg = d->msg;
	abandon(p, d->queue);
	return true;
}

/* By what the job says of itself, or the queue here. */
static unsigned budget(struct pulling *p, const struct incoming *queue, const struct meta *meta)
{
	unsigned attempts =
	    meta->has_attempts ? meta->attempts : spool_attempts(p->spool, queue->name);

	return attempts > 0 ? attempts : WORK_ATTEMPTS;
}

static bool take_new(
    struct pulling *p, const struct delivery *d, struct job_name *name, struct meta *meta)
{
	if (losses(d) > 0 && name->attempts >= budget(p, d->queue, meta))
		return turn_away(p, d, name, meta, "host lost");
	if (meta->key || meta->batch || meta->after.count > 0)
		return turn_away(
		    p, d, name, meta, "it is in order with others, which only one spool can know");
	return take_in(p, d, name, meta);
}

/* By a message that is new. */
static bool take_job(
    struct pulling *p, const struct delivery *d, struct job_name *name, struct meta *meta)
{
	struct held *here = held_here(&p->held, name->id);

	if (d->consumer == CONSUMER_LATER)
		return take_later(p, d, name, meta);
	if (p->ending)
		return give_back(p, add_held(p, d, name->id), d, name, meta);
	return here ? take_twin(p, here, d) : take_new(p, d, name, meta);
}

/* By a message that was here before. One that waits is as good as new. */
static bool take_known(struct pulling *p, const struct delivery *d, const struct job_name *name)
{
	char number[NUMBER_SIZE];
	struct held *held;

	lease_number(d->lease, number);
	held = held_find(&p->held, name->id, d->queue->name, number);
	if (held && held->phase == HELD_WAITS) {
		held_remove(&p->held, held);
		held = NULL;
	}
	if (held)
		take_again(held, d);
	return held != NULL;
}

static bool take_delivery(struct pulling *p, const struct delivery *d)
{
	struct job_name name;
	struct meta meta;
	const char *why;
	bool kept = false;

	meta_init(&meta);
	if (read_job(d, &name, &meta, &why) != 0)
		kept = take_garbage(p, d, why);
	else if (!take_known(p, d, &name))
		kept = take_job(p, d, &name, &meta);
	meta_release(&meta);
	return kept;
}

bool take_message(struct pulling *p, natsMsg *msg)
{
	struct delivery d = {.again = false};

	if (!parse_delivery(p, msg, &d))
		return false;
	fetch_came(&d.queue->fetch, d.consumer);
	return take_delivery(p, &d);
}

void take_waiting(struct pulling *p, int64_t now)
{
	struct held *held, *next;

	for (held = held_first(&p->held); held; held = next) {
		struct delivery d = {.again = true};
		natsMsg *msg = held->msg;

		next = held_next(held);
		if (held->phase != HELD_WAITS || now < held->again_at)
			continue;
		held->msg = NULL;
		held_remove(&p->held, held);
		if (!parse_delivery(p, msg, &d) || !take_delivery(p, &d))
			wire_done_with(p->wire, msg);
	}
	take_commit(p);
}

/* --- into the spool --- */

static void published(void *pulling, const char *id, enum send_fate fate)
{
	struct pulling *p = pulling;
	struct held *held = held_here(&p->held, id);

	if (fate == SEND_UNSURE)
		relay_note(
		    "a job was taken in, but a power cut may undo it: the stream has it still",
		    NULL, id);
	if (held) {
		held->phase = HELD_ALIVE;
		wire_done_with(p->wire, held->msg);
		held->msg = NULL;
	}
	if (p->options->verbose)
		relay_log(WORK_RELAYED, held ? held->queue : NULL, id, "taken in", NULL);
}

void take_commit(struct pulling *p)
{
	for (size_t i = 0; i < p->queues; i++) {
		struct incoming *queue = &p->queue[i];

		if (!queue->sender || send_pending(queue->sender) == 0)
			continue;
		if (!queues_in_place(p)) {
			abandon(p, queue);
			continue;
		}
		if (send_commit(queue->sender, published, p) == 0) {
			p->troubled = false;
			continue;
		}
		spool_trouble(p, "jobs could not be taken in");
		abandon(p, queue);
	}
}

/* --- what an earlier relay took in, which died or was ended --- */

static int find_one(void *pulling, const struct job_place *place)
{
	struct pulling *p = pulling;
	struct incoming *queue = incoming_of(p, place->queue);
	struct held *held = NULL;
	const char *why;
	struct meta meta;

	if (!place->ours || !place->name.meta || !queue || held_here(&p->held, place->name.id))
		return 0;
	meta_init(&meta);
	if (spool_meta(p->spool, place, &meta, &why) != 0) {
		if (errno != ENOENT && errno != EBADMSG) /* it moved; it is lost for everybody */
			relay_log(WORK_NOTE, place->queue, place->name.id,
			    "its options could not be read: if it came from a stream, that is not "
			    "known",
			    strerror(errno));
	} else if (meta.relay) {
		held = held_from_option(p, place->name.id, queue->name, meta.relay);
	}
	meta_release(&meta);
	if (!held)
		return 0;
	held->phase = HELD_ALIVE;
	held->at = 0;
	return await_job(p->await, queue->name, held->id);
}

int take_over(struct pulling *p)
{
	int result = 0;

	/* Twice, for those that move meanwhile. */
	for (int pass = 0; result == 0 && pass < 2; pass++)
		result = each_job(p, find_one);
	return result;
}
