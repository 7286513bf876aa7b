#include "pulling.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../worklog.h"
#include "log.h"
#include "sys/clock.h"

enum {
	TICK_MS = 500, /* how many slots there are makes no event */
	AGAIN_MS = 1000,
	TELL_MS = 60000,
	RIGHT_MS = 500, /* a predecessor is waited for */
	RIGHT_TRIES = 10,
	TROUBLE_MS = 5000, /* the spool takes no more: nothing is asked for */
	COMMIT_MAX = 256,
	REST_MAX = 10, /* times as many jobs as there is room for may be here */
};

struct incoming *incoming_of(struct pulling *p, const char *name)
{
	for (size_t i = 0; i < p->queues; i++)
		if (strcmp(p->queue[i].name, name) == 0)
			return &p->queue[i];
	return NULL;
}

void spool_trouble(struct pulling *p, const char *cause)
{
	relay_note(cause, strerror(errno), spool_place(p->spool));
	p->hold_until = clock_mono_ms() + TROUBLE_MS;
	p->troubled = true;
}

int each_job(struct pulling *p, job_visit *visit)
{
	static const enum job_state states[] = {
	    JOB_READY, JOB_DELAYED, JOB_WAITING, JOB_RUNNING, JOB_BURIED, JOB_DONE};
	int result = 0;

	for (size_t i = 0; i < p->queues; i++)
		for (size_t s = 0; result == 0 && s < sizeof states / sizeof *states; s++)
			result = spool_each(p->spool, p->queue[i].name, states[s], visit, p);
	return result;
}

bool queues_in_place(struct pulling *p)
{
	for (size_t i = 0; i < p->queues && !p->displaced; i++)
		if (!receiver_in_place(p->queue[i].right))
			p->displaced = p->queue[i].name;
	return !p->displaced;
}

bool streams_known(const struct pulling *p)
{
	return wire_is_up(p->wire) && p->ready && p->times == wire_times(p->wire);
}

bool is_of_another_stream(struct pulling *p, const struct held *held)
{
	const struct incoming *queue = incoming_of(p, held->queue);

	return held->stream != 0 && queue && held->stream != queue->created;
}

/* --- what the wire brings --- */

/* They are looked for a little later. Why is told when it is another reason than before, or after a while. */
static void lack_consumers(struct pulling *p, const char *queue, const char *why)
{
	int64_t now = clock_mono_ms();

	if (strcmp(why, p->why_not) != 0 || now >= p->tell_at) {
		snprintf(p->why_not, sizeof p->why_not, "%s", why);
		p->tell_at = now + TELL_MS;
		relay_log(WORK_NOTE, queue, NULL,
		    "nothing comes from the stream of jobs: trying again", why);
	}
	p->ready = false;
	p->again_at = now + AGAIN_MS;
}

static void take_answer(struct pulling *p, const char *tag, natsMsg *msg)
{
	const char *why;
	unsigned index;

	if (!fetch_tag(tag, &index))
		ends_answer(p, tag, msg);
	else if (index < p->queues && (why = fetch_answer(&p->queue[index].fetch, tag, msg)))
		lack_consumers(p, p->queue[index].name, why); /* or one of them */
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

static void read_wire(struct pulling *p)
{
	const char *tag;
	natsMsg *msg;
	int n = 0;

	while (n++ < COMMIT_MAX && (msg = wire_next(p->wire, &tag)) != NULL) {
		bool kept = false;

		if (tag)
			take_answer(p, tag, msg);
		else if (!is_question(p, msg))
			kept = take_message(p, msg);
		if (!kept)
			wire_done_with(p->wire, msg);
	}
	take_commit(p);
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

static unsigned room_by_slots(struct pulling *p, struct incoming *queue)
{
	int slots = spool_slots(p->spool, queue->name);
	bool idle = slots <= 0;

	if (idle && !queue->idle)
		relay_log(WORK_NOTE, queue->name, NULL,
		    "no qwork serves the queue: nothing is taken, but with --room", NULL);
	queue->idle = idle;
	return idle ? 0 : 2 * (unsigned)slots;
}

/* How many more jobs may be ready here. Those that wait for something else, or for another attempt, are none of these; but a host
 * on which all fail is not to take all. */
static unsigned room_of(struct pulling *p, struct incoming *queue)
{
	unsigned room = p->options->room > 0 ? p->options->room : room_by_slots(p, queue);
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
	if (!streams_known(p) || now < p->hold_until || p->ending)
		return;
	for (size_t i = 0; i < p->queues; i++)
		fetch_step(&p->queue[i].fetch, p->wire, room_of(p, &p->queue[i]), now);
}

static int ensure_queue(struct pulling *p, struct incoming *queue)
{
	struct consuming consuming = {.lease_ms = p->options->lease_ms,
	    .limit = p->options->limit,
	    .batch = FETCH_BATCH,
	    .wait_ms = FETCH_WAIT_MS};

	if (stream_ensure(p->wire, queue->name, p->options->replicas, &queue->created) != 0 ||
	    consumers_ensure(p->wire, queue->name, &consuming) != 0)
		return -1;
	if (consuming.lease_ms < p->lease_ms)
		p->lease_ms = consuming.lease_ms;
	if (p->lease_ms < LEASE_LEAST_MS)
		p->lease_ms = LEASE_LEAST_MS;
	fetch_reset(&queue->fetch, &consuming);
	return 0;
}

static void look_for_consumers(struct pulling *p, int64_t now)
{
	int64_t before = p->lease_ms;
	char text[WHEN_SIZE];

	if (!wire_is_up(p->wire))
		return;
	if (p->renewed != wire_times(p->wire)) { /* what follows may take long */
		p->renewed = wire_times(p->wire);
		ends_renew(p, now);
	}
	if (now < p->again_at || (p->ready && p->times == wire_times(p->wire)))
		return;
	p->ready = true;
	p->lease_ms = p->options->lease_ms;
	for (size_t i = 0; p->ready && i < p->queues; i++)
		if (ensure_queue(p, &p->queue[i]) != 0)
			lack_consumers(p, p->queue[i].name, wire_why(p->wire));
	if (!p->ready && before < p->lease_ms)
		p->lease_ms = before;
	p->times = wire_times(p->wire);
	if (p->ready && p->lease_ms < p->options->lease_ms && p->lease_ms != p->told_ms) {
		duration_format(p->lease_ms, text);
		relay_note("the consumers that are there give shorter leases", text, NULL);
		p->told_ms = p->lease_ms;
	}
}

/* --- the whole --- */

/* One that was killed may be ending still. */
static struct receiver *take_right(struct spool *spool, const char *queue)
{
	struct receiver *right = receiver_open(spool, queue);

	for (int i = 0; !right && errno == EWOULDBLOCK && i < RIGHT_TRIES; i++) {
		poll(NULL, 0, RIGHT_MS / RIGHT_TRIES);
		right = receiver_open(spool, queue);
	}
	return right;
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
		queue->right = take_right(p->spool, queue->name);
		if (!queue->right || await_queue(p->await, queue->name) != 0)
			return -1;
	}
	return p->queue ? take_over(p) : -1;
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

/* What was given to us until now goes back. */
static void begin_end(struct pulling *p)
{
	if (p->ending || (p->told == 0 && !p->displaced))
		return;
	p->ending = true;
	p->grace_at = clock_mono_ms() + p->options->grace_ms;
	wire_ask_no_more(p->wire);
}

static void read_signals(struct pulling *p)
{
	struct signalfd_siginfo info;

	while (read(p->signals, &info, sizeof info) == (ssize_t)sizeof info)
		p->told++;
}

/* All that is here has ended, and that was answered once. The second time is left to the relay that comes next, for which done/ has
 * what is not removed yet: who ends us waits. */
static bool all_told(struct pulling *p)
{
	for (struct held *held = held_first(&p->held); held; held = held_next(held))
		if (held->phase != HELD_OVER && held->confirmed == 0 &&
		    (held->left || !p->displaced))
			return false;
	return true;
}

static bool is_over(struct pulling *p, int64_t now)
{
	return wire_is_over(p->wire) || p->told > 1 ||
	    (p->ending && (all_told(p) || now >= p->grace_at));
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

/* What nothing tells. */
static void look_around(struct pulling *p, int64_t now)
{
	if (now < p->look_at)
		return;
	(void)queues_in_place(p);
	p->look_at = now + TICK_MS;
}

static int loop(struct pulling *p)
{
	int64_t now = clock_mono_ms();

	while (!is_over(p, now)) {
		relay_tell_news(p->wire, false);
		begin_end(p);
		look_for_consumers(p, now);
		read_wire(p);
		look_around(p, now);
		take_waiting(p, now);
		ends_step(p, now);
		ask(p, now);
		if (wait_for_events(p) != 0)
			return -1;
		now = clock_mono_ms();
	}
	return 0;
}

int pull_run(const struct pull *options, struct spool *spool)
{
	struct pulling p = {.options = options,
	    .spool = spool,
	    .wire = options->wire,
	    .signals = -1,
	    .lease_ms = LEASE_LEAST_MS}; /* until it is known better */
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
		status = worklog_moved(spool, p.displaced);
	held_release(&p.held);
	for (size_t i = 0; p.queue && i < p.queues; i++) {
		send_close(p.queue[i].sender);
		receiver_close(p.queue[i].right);
	}
	await_close(p.await);
	free(p.queue);
	if (p.signals >= 0)
		close(p.signals);
	return status;
}
