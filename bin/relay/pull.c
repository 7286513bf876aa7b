#include "pull.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fetch.h"
#include "leave.h"
#include "log.h"
#include "sys/clock.h"

enum {
	TICK_MS = 500, /* how many slots there are makes no event */
	AGAIN_MS = 1000,
	GARBAGE_MS = 3600000,
	BACK_MAX_MS =
	    3600000,       /* what was reckoned by a clock that was set since is looked at again */
	TROUBLE_MS = 5000, /* the spool takes no more: nothing is asked for */
	COMMIT_MAX = 256,
	REST_MAX = 10, /* times as many jobs as there is room for may be here */
};

/* A queue, and what is on its way to it. */
struct incoming {
	const char *name;
	int right;       /* of spool_receive() */
	int64_t created; /* its stream */
	struct sender *sender;
	struct fetch fetch;
};

struct pulling {
	const struct pull *options;
	struct spool *spool;
	struct wire *wire;
	struct incoming *queue;
	size_t queues;
	struct held_tree held;
	struct await *await;
	int64_t lease_ms; /* the shortest that a consumer gives */
	unsigned times;   /* of the wire, when the consumers were there */
	bool ready;
	int64_t again_at; /* when to look for them again */
	int64_t hold_until;
	bool displaced; /* a queue was removed or moved */
	bool troubled;  /* the spool took nothing the last time: one job is tried */
	unsigned told;  /* to end */
	int64_t grace_at;
	int signals;
};

static struct incoming *queue_of(struct pulling *p, const char *name)
{
	for (size_t i = 0; i < p->queues; i++)
		if (strcmp(p->queue[i].name, name) == 0)
			return &p->queue[i];
	return NULL;
}

static void spool_trouble(struct pulling *p, const char *cause)
{
	relay_note(cause, strerror(errno), spool_place(p->spool));
	p->hold_until = clock_mono_ms() + TROUBLE_MS;
	p->troubled = true;
}

/* --- taking in --- */

/* What a message of a stream says of itself. */
struct delivery {
	struct incoming *queue;
	enum consumer consumer;
	uint64_t times; /* delivered */
	const char *lease;
};

static struct incoming *queue_of_stream(struct pulling *p, const char *stream)
{
	char queue[QUEUE_NAME_SIZE];

	return jobs_stream_parse(stream, queue) ? queue_of(p, queue) : NULL;
}

static bool parse_delivery(struct pulling *p, natsMsg *msg, struct delivery *d)
{
	jsMsgMetaData *data = NULL;

	d->lease = natsMsg_GetReply(msg);
	if (!d->lease || natsMsg_GetMetaData(&data, msg) != NATS_OK)
		return false;
	d->queue = queue_of_stream(p, data->Stream);
	d->consumer = consumer_parse(data->Consumer);
	d->times = data->NumDelivered;
	jsMsgMetaData_Destroy(data);
	return d->queue && d->consumer < CONSUMERS;
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

/* How many hosts had it before and were lost. */
static unsigned losses(const struct delivery *d)
{
	uint64_t losses = d->times > 0 ? d->times - 1 : 0;

	return losses < JOB_ATTEMPTS_MAX ? (unsigned)losses : JOB_ATTEMPTS_MAX;
}

/* The stream keeps it for so long, for whichever host asks then. */
static void send_back(struct pulling *p, const struct delivery *d, int64_t wait_ms)
{
	char text[64];

	if (wait_ms > BACK_MAX_MS)
		wait_ms = BACK_MAX_MS;
	snprintf(text, sizeof text, "-NAK {\"delay\": %lld000000}", (long long)wait_ms);
	(void)!wire_say(p->wire, d->lease, text, NULL);
}

static unsigned budget(const struct meta *meta)
{
	return meta->has_attempts ? meta->attempts : WORK_ATTEMPTS;
}

static int write_job(struct incoming *queue, const struct send_as *as, natsMsg *msg)
{
	if (send_as(queue->sender, as) != 0 ||
	    send_write(queue->sender, natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg)) !=
	        0)
		return -1;
	return send_end(queue->sender);
}

static void abandon(struct pulling *p, struct incoming *queue)
{
	struct held *held, *next;

	for (held = held_first(&p->held); held; held = next) {
		next = held_next(held);
		if (held->phase != HELD_COMING || held->queue != queue->name)
			continue;
		await_forget(p->await, held->id);
		held_remove(&p->held, held);
	}
	send_close(queue->sender);
	queue->sender = NULL;
}

static bool open_sender(struct pulling *p, struct incoming *queue)
{
	const struct send_options options = {
	    .priority = JOB_PRIORITY_DEFAULT, .due_ms = JOB_DUE_NONE};

	if (!queue->sender)
		queue->sender = send_open(p->spool, queue->name, &options);
	return queue->sender != NULL;
}

/* To the stream anew, so that it has lost no attempt. */
static void give_back(struct pulling *p, const struct delivery *d, natsMsg *msg,
    const struct job_name *name, const struct meta *meta)
{
	struct held *held = add_held(p, d, name->id);

	if (!held || leave_again(held, p->wire, msg, name, meta) != 0)
		relay_note("a job could not go back to its stream", wire_why(p->wire), name->id);
}

/* Not for the first time: a host was lost with it, or gave it back. */
static bool is_again(const struct delivery *d, natsMsg *msg)
{
	const char *id = NULL;

	return d->times > 1 ||
	    (natsMsgHeader_Get(msg, "Nats-Msg-Id", &id) == NATS_OK && id && strchr(id, '.'));
}

/* Of a job that is in the way: where it is, and whether it came from the stream. */
enum here { HERE_UNKNOWN = -1, HERE_LEFTOVERS, HERE_RELAYED, HERE_OTHERWISE };

static enum here look_here(struct pulling *p, const struct incoming *queue, const char *id)
{
	struct job_word word = {.text = id};
	enum here here = HERE_OTHERWISE;
	const char *why;
	struct meta meta;

	if (spool_find(p->spool, queue->name, &word, 1) != 0)
		return HERE_UNKNOWN;
	if (word.matches == 0)
		return HERE_LEFTOVERS;
	meta_init(&meta);
	if (spool_meta(p->spool, &word.place, &meta, &why) == 0 && meta.relay)
		here = HERE_RELAYED;
	meta_release(&meta);
	return here;
}

/* 0; -1 with errno: it is not begun, and the batch is as it was if that is EEXIST. */
static int begin_job(struct pulling *p, const struct delivery *d, natsMsg *msg,
    const struct job_name *name, const struct meta *meta)
{
	const struct send_as as = {.id = name->id,
	    .priority = name->priority,
	    .due_ms = name->due_ms,
	    .attempts = name->attempts,
	    .meta = meta};

	if (!open_sender(p, d->queue) || write_job(d->queue, &as, msg) != 0)
		return -1;
	return await_job(p->await, d->queue->name, name->id);
}

/* Something of that id is in the spool: the job itself, which an earlier relay took; what one left that died while it took it;
 * or what a push of this very spool is just letting go of, and then the job is not here yet. */
static int make_way(struct pulling *p, const struct delivery *d, natsMsg *msg,
    const struct job_name *name, const struct meta *meta, struct held *held)
{
	switch (look_here(p, d->queue, name->id)) {
	case HERE_RELAYED:
		held->phase = HELD_ALIVE;
		return await_job(p->await, d->queue->name, name->id);
	case HERE_LEFTOVERS:
		if (is_again(d, msg) && send_clear(d->queue->sender, name->id) == 0)
			return begin_job(p, d, msg, name, meta);
		break;
	case HERE_OTHERWISE:
	case HERE_UNKNOWN:
		break;
	}
	errno = EEXIST;
	return -1;
}

/* What is not taken in now the stream gives out again, here or elsewhere, when the lease is over. */
static void take_in(struct pulling *p, const struct delivery *d, natsMsg *msg,
    const struct job_name *name, struct meta *meta)
{
	struct held *held = add_held(p, d, name->id);

	meta->relay = relay_option(d);
	if (!held || !meta->relay) {
		spool_trouble(p, "a job could not be taken in");
		if (held)
			held_remove(&p->held, held);
		return;
	}
	if (begin_job(p, d, msg, name, meta) == 0 ||
	    (errno == EEXIST && make_way(p, d, msg, name, meta, held) == 0))
		return;
	if (errno != EEXIST) {
		spool_trouble(p, "a job could not be taken in");
		abandon(p, d->queue);
		return;
	}
	held_remove(&p->held, held);
	free(meta->relay);
	meta->relay = NULL;
	give_back(p, d, msg, name, meta);
}

/* A message that was here before, and whose lease was lost in between. */
static void take_again(struct held *held, const char *lease, int64_t created)
{
	if (held_lease(held, lease) != 0)
		return;
	held->stream = created;
	if (held->phase == HELD_OVER)
		held_ended(held);
	held->at = 0;
}

/* In a stream that took the place of an earlier one its number is that of another job. */
static bool is_of_another_stream(struct pulling *p, const struct held *held)
{
	const struct incoming *queue = queue_of(p, held->queue);

	return held->stream != 0 && queue && held->stream != queue->created;
}

/* The same job by another message: who pushed it died before he knew that he had, or it was kicked elsewhere after this host had
 * lost it. The other message may be gone by now, and this one is not: it is this one that is kept until the job is over. Of one
 * that leaves just now it is not known yet what will become of it; and one of another queue is another job. */
static void take_twin(struct pulling *p, struct held *held, const struct delivery *d)
{
	char *old;

	if (held->phase == HELD_LEAVES || held->queue != d->queue->name) {
		send_back(p, d, AGAIN_MS);
		return;
	}
	relay_log(WORK_NOTE, d->queue->name, held->id, "it was in the stream twice: once is enough",
	    NULL);
	if (held->phase == HELD_ENDED || held->phase == HELD_OVER) {
		(void)!wire_say(p->wire, d->lease, "+ACK", NULL);
		return;
	}
	old = held_change(&p->held, held, d->lease);
	if (old && !is_of_another_stream(p, held))
		(void)!wire_say(p->wire, old, "+ACK", NULL);
	if (old)
		held->stream = d->queue->created;
	free(old);
}

/* It never comes into the spool. */
static void turn_away(struct pulling *p, const struct delivery *d, natsMsg *msg,
    const struct job_name *name, const struct meta *meta, const char *why)
{
	struct held *held = add_held(p, d, name->id);

	relay_log(WORK_BURIED, d->queue->name, name->id, why, NULL);
	if (!held || leave_unfit(held, p->wire, msg, name, meta, why) != 0)
		relay_note("a job that cannot run could not be put on the stream of buried ones",
		    wire_why(p->wire), name->id);
}

static void take_new(struct pulling *p, const struct delivery *d, natsMsg *msg,
    struct job_name *name, struct meta *meta)
{
	unsigned lost = losses(d), left = JOB_ATTEMPTS_MAX - name->attempts;

	name->attempts += lost < left ? lost : left;
	if (lost > 0 && name->attempts >= budget(meta))
		turn_away(p, d, msg, name, meta, "host lost");
	else if (meta->key || meta->batch || meta->after.count > 0)
		turn_away(p, d, msg, name, meta,
		    "it is in order with others, which only one spool can know");
	else
		take_in(p, d, msg, name, meta);
}

/* A delayed one goes back until it is due, and then to those that are. */
static void take_later(struct pulling *p, const struct delivery *d, natsMsg *msg,
    const struct job_name *name, const struct meta *meta)
{
	int64_t wait = name->due_ms == JOB_DUE_NONE ? 0 : name->due_ms - clock_real_ms();

	if (wait > SOON_MS)
		send_back(p, d, wait);
	else
		give_back(p, d, msg, name, meta);
}

static void take_job(struct pulling *p, const struct delivery *d, natsMsg *msg,
    struct job_name *name, struct meta *meta)
{
	char number[NUMBER_SIZE];
	struct held *held, *here = held_here(&p->held, name->id);

	lease_number(d->lease, number);
	held = held_find(&p->held, name->id, number);
	if (held && held->queue == d->queue->name)
		take_again(held, d->lease, d->queue->created);
	else if (held)
		take_twin(p, held, d);
	else if (p->told > 0)
		give_back(p, d, msg, name, meta);
	else if (d->consumer == CONSUMER_LATER)
		take_later(p, d, msg, name, meta);
	else if (here)
		take_twin(p, here, d);
	else
		take_new(p, d, msg, name, meta);
}

/* Not to be run, and not to be lost: it is said once an hour. */
static void take_garbage(struct pulling *p, const struct delivery *d, const char *why)
{
	char number[NUMBER_SIZE];

	lease_number(d->lease, number);
	relay_note("a message of the stream is no job, and stays there", why, number);
	send_back(p, d, GARBAGE_MS);
}

static void take_delivery(struct pulling *p, const struct delivery *d, natsMsg *msg)
{
	struct job_name name;
	struct meta meta;
	const char *why;

	meta_init(&meta);
	if (message_read(msg, &name, &meta, &why) == 0)
		take_job(p, d, msg, &name, &meta);
	else
		take_garbage(p, d, why);
	meta_release(&meta);
}

static void published(void *pulling, const char *id, enum send_fate fate)
{
	struct pulling *p = pulling;
	struct held *held = held_here(&p->held, id);

	if (fate == SEND_UNSURE)
		relay_note(
		    "a job was taken in, but a power cut may undo it: the stream has it still",
		    NULL, id);
	if (held)
		held->phase = HELD_ALIVE;
	if (p->options->verbose)
		relay_log(WORK_RELAYED, held ? held->queue : NULL, id, "taken in", NULL);
}

static void commit(struct pulling *p)
{
	for (size_t i = 0; i < p->queues; i++) {
		struct incoming *queue = &p->queue[i];

		if (!queue->sender || send_pending(queue->sender) == 0)
			continue;
		if (send_commit(queue->sender, published, p) == 0) {
			p->troubled = false;
			continue;
		}
		spool_trouble(p, "jobs could not be taken in");
		abandon(p, queue);
	}
}

/* --- ends --- */

/* Otherwise all jobs of a queue that was moved would seem to be over. */
static bool all_in_place(struct pulling *p)
{
	bool all = true;

	for (size_t i = 0; i < p->queues; i++) {
		int receives = spool_receives(p->spool, p->queue[i].name, p->queue[i].right);

		p->displaced |= receives == 0;
		all &= receives == 1;
	}
	return all;
}

static int see_fate(void *pulling, const char *id, enum await_fate fate)
{
	struct pulling *p = pulling;
	struct held *held = held_here(&p->held, id);

	if (held && held->phase == HELD_ALIVE) {
		if ((fate == AWAIT_FINISHED || fate == AWAIT_DELETED) && !all_in_place(p))
			return 1;
		held->buried = fate == AWAIT_BURIED;
		held->vanished = fate == AWAIT_DELETED;
		if (fate == AWAIT_FINISHED)
			held_ended(held);
	}
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

/* It may have been another of its names that was removed, by "push" of this very spool: one that died before it did so
 * is told later that the stream has the job, when it came back from there already. */
static void look_for_vanished(struct pulling *p)
{
	static const enum job_state states[] = {
	    JOB_READY, JOB_DELAYED, JOB_WAITING, JOB_RUNNING, JOB_BURIED, JOB_DONE};
	bool any = false, looked = true;
	struct held *held;

	for (held = held_first(&p->held); held; held = held_next(held))
		any |= held->vanished;
	if (!any)
		return;
	for (size_t i = 0; i < p->queues; i++)
		for (size_t s = 0; s < sizeof states / sizeof *states; s++)
			looked &=
			    spool_each(p->spool, p->queue[i].name, states[s], find_again, p) == 0;
	for (held = held_first(&p->held); looked && held; held = held_next(held))
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

static bool is_over_with(const struct held *held)
{
	return held->phase == HELD_OVER || held->phase == HELD_LOST;
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
		if (is_over_with(held))
			drop(p, held);
	}
}

/* Buried ones leave; and so do all that rest, once this host is to have none any more. */
static bool is_to_leave(const struct pulling *p, const struct held *held, int64_t now)
{
	return held->phase == HELD_ALIVE && (held->buried || p->told > 0) &&
	    now >= held->again_at && wire_is_up(p->wire);
}

static int let_leave(void *pulling, const struct job_place *place)
{
	struct pulling *p = pulling;
	struct held *held = place->ours ? held_here(&p->held, place->name.id) : NULL;

	if (held && is_to_leave(p, held, clock_mono_ms()))
		(void)leave_begin(held, p->wire, p->spool, place);
	return 0;
}

static void send_away(struct pulling *p, int64_t now)
{
	bool any = false;
	struct held *held;

	for (held = held_first(&p->held); held; held = held_next(held)) {
		leave_tick(held, now);
		any |= is_to_leave(p, held, now);
	}
	for (size_t i = 0; any && i < p->queues; i++) {
		(void)spool_each(p->spool, p->queue[i].name, JOB_BURIED, let_leave, p);
		if (p->told > 0)
			(void)spool_each(p->spool, p->queue[i].name, JOB_READY, let_leave, p);
		if (p->told > 0)
			(void)spool_each(p->spool, p->queue[i].name, JOB_DELAYED, let_leave, p);
		if (p->told > 0)
			(void)spool_each(p->spool, p->queue[i].name, JOB_WAITING, let_leave, p);
	}
}

/* What is said while there is no connection libnats says to whatever server comes next. */
static void tick(struct pulling *p, int64_t now)
{
	bool known = wire_is_up(p->wire) && p->ready && p->times == wire_times(p->wire);
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

/* --- what the wire brings --- */

static void take_answer(struct pulling *p, const char *tag, natsMsg *msg)
{
	struct held *held;
	unsigned index;

	if (fetch_tag(tag, &index)) {
		if (index < p->queues && fetch_answer(&p->queue[index].fetch, tag, msg) != 0)
			p->ready = false; /* the consumer may be gone */
		return;
	}
	held = held_of_tag(&p->held, tag);
	if (held && tag[0] == 'a' && !natsMsg_IsNoResponders(msg))
		held_confirmed(held, clock_mono_ms(), p->lease_ms);
	if (held && tag[0] == 'b' && leave_answer(held, msg))
		await_forget(p->await, held->id);
}

/* Only where answers belong: otherwise who may ask could have us say it to JetStream, which takes what it does not understand
 * for a wish without conditions, to purge a stream, say. */
static void answer_question(struct pulling *p, natsMsg *msg, const char *text)
{
	const char *reply = natsMsg_GetReply(msg);

	if (reply && strncmp(reply, WIRE_INBOXES, strlen(WIRE_INBOXES)) == 0)
		(void)!wire_say(p->wire, reply, text, NULL);
}

/* "qrelay stat" wants to know who has what. */
static bool is_question(struct pulling *p, natsMsg *msg)
{
	char wanted[SUBJECT_SIZE], host[128] = "", text[256];
	unsigned long long jobs = 0;

	for (size_t i = 0; i < p->queues; i++) {
		ask_subject(p->queue[i].name, wanted);
		if (strcmp(natsMsg_GetSubject(msg), wanted) != 0)
			continue;
		for (struct held *held = held_first(&p->held); held; held = held_next(held))
			jobs += held->queue == p->queue[i].name && held->confirmed == 0;
		gethostname(host, sizeof host - 1);
		snprintf(text, sizeof text, "{\"host\":\"%s\",\"jobs\":%llu}", host, jobs);
		answer_question(p, msg, text);
		return true;
	}
	return false;
}

static void take_message(struct pulling *p, natsMsg *msg)
{
	struct delivery d;

	if (is_question(p, msg))
		return;

	if (!parse_delivery(p, msg, &d))
		return;
	fetch_came(&d.queue->fetch, d.consumer);
	take_delivery(p, &d, msg);
}

static void read_wire(struct pulling *p)
{
	const char *tag;
	natsMsg *msg;
	int n = 0;

	while (n++ < COMMIT_MAX && (msg = wire_next(p->wire, &tag)) != NULL) {
		if (tag)
			take_answer(p, tag, msg);
		else
			take_message(p, msg);
		wire_done_with(p->wire, msg);
	}
	commit(p);
}

/* --- asking --- */

static int count_one(void *left, const struct job_place *place)
{
	unsigned *n = left;

	(void)place;
	return --*n == 0;
}

static unsigned held_of(struct pulling *p, const struct incoming *queue)
{
	unsigned count = 0;

	for (struct held *held = held_first(&p->held); held; held = held_next(held))
		count += held->queue == queue->name && held->phase <= HELD_ALIVE;
	return count;
}

/* How many more jobs may be ready here. Those that wait for something else, or for another attempt, are none of these; but a host
 * on which all fail is not to take all. */
static unsigned room_of(struct pulling *p, const struct incoming *queue)
{
	int slots = p->options->room > 0 ? 0 : spool_slots(p->spool, queue->name);
	unsigned room = p->options->room > 0 ? p->options->room
	    : slots > 0                      ? 2 * (unsigned)slots
	                                     : 0;
	unsigned most = REST_MAX * room, held = held_of(p, queue);

	if (room > 0 && spool_each(p->spool, queue->name, JOB_READY, count_one, &room) < 0)
		return 0;
	if (held >= most)
		return 0;
	room = room < most - held ? room : most - held;
	return p->troubled && room > 1 ? 1 : room;
}

static void ask(struct pulling *p, int64_t now)
{
	if (!p->ready || now < p->hold_until || p->told > 0)
		return;
	for (size_t i = 0; i < p->queues; i++)
		fetch_step(&p->queue[i].fetch, p->wire, room_of(p, &p->queue[i]), now);
}

static bool ensure_queue(struct pulling *p, struct incoming *queue)
{
	struct consuming consuming = {.lease_ms = p->options->lease_ms, .limit = p->options->limit};

	if (stream_ensure(p->wire, queue->name, p->options->replicas, &queue->created) != 0 ||
	    consumers_ensure(p->wire, queue->name, &consuming) != 0)
		return false;
	if (consuming.lease_ms < p->lease_ms)
		p->lease_ms = consuming.lease_ms;
	if (p->lease_ms < LEASE_LEAST_MS)
		p->lease_ms = LEASE_LEAST_MS;
	fetch_reset(&queue->fetch, consuming.limited);
	return true;
}

static bool ensure_all(struct pulling *p)
{
	p->lease_ms = p->options->lease_ms;
	for (size_t i = 0; i < p->queues; i++)
		if (!ensure_queue(p, &p->queue[i]))
			return false;
	return true;
}

static void look_for_consumers(struct pulling *p, int64_t now)
{
	if (!wire_is_up(p->wire) || now < p->again_at ||
	    (p->ready && p->times == wire_times(p->wire)))
		return;
	p->ready = ensure_all(p);
	p->times = wire_times(p->wire);
	if (!p->ready && p->again_at == 0)
		relay_note(
		    "a stream of jobs is not to be had: trying again", wire_why(p->wire), NULL);
	p->again_at = p->ready ? 0 : now + AGAIN_MS;
}

/* --- the whole --- */

/* A job of an earlier relay's, which died or was ended. */
static int find_one(void *pulling, const struct job_place *place)
{
	struct pulling *p = pulling;
	struct incoming *queue = queue_of(p, place->queue);
	struct held *held = NULL;
	const char *why;
	struct meta meta;

	if (!place->ours || !place->name.meta)
		return 0;
	meta_init(&meta);
	if (spool_meta(p->spool, place, &meta, &why) == 0 && meta.relay && queue &&
	    !held_here(&p->held, place->name.id))
		held = held_from_option(p, place->name.id, queue->name, meta.relay);
	meta_release(&meta);
	if (!held)
		return 0;
	held->phase = HELD_ALIVE;
	held->at = 0;
	return await_job(p->await, queue->name, held->id);
}

static int find_held(struct pulling *p)
{
	static const enum job_state states[] = {
	    JOB_READY, JOB_DELAYED, JOB_WAITING, JOB_RUNNING, JOB_BURIED, JOB_DONE};

	/* Twice: one that moves may be met nowhere. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < p->queues; i++)
			for (size_t s = 0; s < sizeof states / sizeof *states; s++)
				if (spool_each(
				        p->spool, p->queue[i].name, states[s], find_one, p) != 0)
					return -1;
	return 0;
}

static int open_queues(struct pulling *p)
{
	char subject[SUBJECT_SIZE];

	p->queues = p->options->queues->count;
	p->queue = calloc(p->queues, sizeof *p->queue);
	for (size_t i = 0; p->queue && i < p->queues; i++) {
		struct incoming *queue = &p->queue[i];

		queue->name = p->options->queues->item[i];
		queue->fetch = (struct fetch){.queue = queue->name, .index = (unsigned)i};
		ask_subject(queue->name, subject);
		if (wire_listen(p->wire, subject) != 0)
			errx(wire_is_over(p->wire) ? EX_NOPERM : EX_UNAVAILABLE, "%s",
			    wire_why(p->wire));
		queue->right = spool_receive(p->spool, queue->name);
		if (queue->right < 0 || await_queue(p->await, queue->name) != 0)
			return -1;
	}
	return p->queue ? find_held(p) : -1;
}

static int take_signals(struct pulling *p)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	signal(SIGHUP, SIG_IGN); /* there is nothing to be read again */
	if (sigprocmask(SIG_BLOCK, &ours, NULL) != 0)
		return -1;
	p->signals = signalfd(-1, &ours, SFD_NONBLOCK | SFD_CLOEXEC);
	return p->signals < 0 ? -1 : 0;
}

static void read_signals(struct pulling *p)
{
	struct signalfd_siginfo info;

	while (read(p->signals, &info, sizeof info) == (ssize_t)sizeof info)
		p->told++;
	if (p->told > 0 && p->grace_at == 0)
		p->grace_at = clock_mono_ms() + p->options->grace_ms;
}

/* All that is here has ended, and that was answered once. The second time is left to the relay that comes next, for which done/ has
 * what is not removed yet: who ends us waits. */
static bool all_told(struct pulling *p)
{
	for (struct held *held = held_first(&p->held); held; held = held_next(held))
		if (held->phase != HELD_OVER && held->confirmed == 0)
			return false;
	return true;
}

static bool is_over(struct pulling *p, int64_t now)
{
	return wire_is_over(p->wire) || p->displaced || p->told > 1 ||
	    (p->told == 1 && (all_told(p) || now >= p->grace_at));
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int timeout(struct pulling *p, int64_t now)
{
	int64_t next = now + TICK_MS;
	struct held *held;

	for (held = held_first(&p->held); held; held = held_next(held))
		next = earliest(next, held->at);
	for (size_t i = 0; i < p->queues; i++)
		next = earliest(next, fetch_next(&p->queue[i].fetch));
	next = earliest(next, now + await_timeout(p->await));
	return next <= now ? 0 : (int)(next - now);
}

static int wait_for_events(struct pulling *p)
{
	struct pollfd set[] = {{.fd = p->signals, .events = POLLIN},
	    {.fd = wire_fd(p->wire), .events = POLLIN},
	    {.fd = await_fd(p->await), .events = POLLIN}};

	if (poll(set, 3, timeout(p, clock_mono_ms())) < 0 && errno != EINTR)
		return -1;
	read_signals(p);
	return 0;
}

static int loop(struct pulling *p)
{
	int64_t now = clock_mono_ms();

	while (!is_over(p, now)) {
		relay_tell_news(p->wire, false);
		look_for_consumers(p, now);
		read_wire(p);
		look_at_fates(p);
		send_away(p, now);
		forget(p);
		tick(p, now);
		ask(p, now);
		if (wait_for_events(p) != 0)
			return -1;
		now = clock_mono_ms();
	}
	return 0;
}

static int displaced(const struct spool *spool)
{
	warnx("%s: a directory of the queue was removed or moved", spool_path(spool));
	return EX_TEMPFAIL;
}

int pull_run(const struct pull *options, struct spool *spool)
{
	struct pulling p = {.options = options,
	    .spool = spool,
	    .wire = options->wire,
	    .signals = -1,
	    .lease_ms = options->lease_ms};
	int status = EX_OK;

	RB_INIT(&p.held);
	p.await = await_open(spool);
	if (!p.await || take_signals(&p) != 0 || open_queues(&p) != 0 || loop(&p) != 0)
		status = errno == EWOULDBLOCK
		    ? (warnx("%s: another qrelay pull has the queue", spool_place(spool)),
		          EX_TEMPFAIL)
		    : cli_complain(spool, NULL);
	else if (wire_is_over(p.wire))
		status = EX_NOPERM;
	else if (p.displaced)
		status = displaced(spool);
	held_release(&p.held);
	for (size_t i = 0; p.queue && i < p.queues; i++) {
		send_close(p.queue[i].sender);
		if (p.queue[i].right > 0)
			close(p.queue[i].right);
	}
	await_close(p.await);
	free(p.queue);
	if (p.signals >= 0)
		close(p.signals);
	return status;
}
