#include "push.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../worklog.h"
#include "answer.h"
#include "log.h"
#include "payload.h"
#include "sys/clock.h"

enum {
	AGAIN_MS = 1000,
	GRACE_MS = 2000, /* for answers, once told to end */
	SCAN_MS = 60000,
	HOLD_MS = 1000, /* a stream that does not take jobs is tried again with: */
	TRIALS = 16,
	TELL_MS = 60000, /* and that it does not is told again */
};

/* --- whether it can be pushed --- */

static void set_timer(const struct push *push, int64_t ms)
{
	const struct itimerspec at = {
	    .it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};

	timerfd_settime(push->timer, 0, &at, NULL);
}

static bool ensure_streams(struct push *push)
{
	for (size_t i = 0; i < push->queues->count; i++)
		if (stream_ensure(push->wire, push->queues->item[i], push->replicas, NULL) != 0)
			return false;
	return true;
}

/* They are asked for at each connection, since it may be to other servers, and when one is missing. */
static void look_for_streams(struct push *push)
{
	int64_t now = clock_mono_ms();

	if (now < push->again_at)
		return;
	push->ready = ensure_streams(push);
	push->times = wire_times(push->wire);
	if (push->ready)
		return;
	if (push->again_at == 0)
		relay_note(
		    "a stream of jobs is not to be had: trying again", wire_why(push->wire), NULL);
	push->again_at = now + AGAIN_MS;
	set_timer(push, AGAIN_MS);
}

/* All that is offered to a stream that is full would be refused, again and again. */
static void hold(struct push *push)
{
	push->troubled = true;
	push->trials = TRIALS;
	push->hold_until = clock_mono_ms() + HOLD_MS;
	set_timer(push, HOLD_MS);
}

static bool ready(void *arg)
{
	struct push *push = arg;

	relay_tell_news(push->wire, push->drain && !push->verbose);
	if (wire_is_over(push->wire) && push->status == EX_OK) {
		push->status = EX_NOPERM;
		kill(getpid(), SIGTERM); /* which the worker reads when it is time */
	}
	if (!wire_is_up(push->wire))
		return false;
	if (!push->ready || push->times != wire_times(push->wire))
		look_for_streams(push);
	if (push->ready)
		push->again_at = 0;
	return push->ready && !(push->troubled && clock_mono_ms() < push->hold_until);
}

/* --- a job on its way --- */

static unsigned index_of(const struct push *push, const char *queue)
{
	unsigned i = 0;

	while (strcmp(push->queues->item[i], queue) != 0)
		i++;
	return i;
}

static natsMsg *make_message(struct push *push, const struct handover_job *job)
{
	struct job_name name = {
	    .due_ms = job->due_ms, .priority = job->priority, .attempts = job->attempts};
	char subject[SUBJECT_SIZE], reply[WIRE_REPLY_SIZE], tag[48];
	struct message message = {
	    .subject = subject, .reply = reply, .name = &name, .meta = job->meta};
	char *payload = payload_read(job->fd, &message.size);
	natsMsg *msg;

	if (!payload)
		return NULL;
	memcpy(name.id, job->id, sizeof name.id);
	job_subject(job->queue, &name, subject);
	snprintf(tag, sizeof tag, "%llu-%u", (unsigned long long)job->ticket,
	    index_of(push, job->queue));
	wire_reply(push->wire, tag, reply);
	message.payload = payload;
	msg = message_make(push->wire, &message);
	free(payload);
	return msg;
}

/* The server closes the connection of who sends it more than it takes, and streams have a limit of their own for headers. */
static const char *too_long(struct push *push, const struct handover_job *job)
{
	size_t longest = wire_longest(push->wire), options = 0;

	free(meta_format(job->meta, &options));
	if (options + ROOM_FOR_HEADERS > HEADERS_MAX)
		snprintf(push->refused, sizeof push->refused,
		    "too long for a stream: %zu bytes of options, where it takes %d, %d of them "
		    "for "
		    "other headers",
		    options, HEADERS_MAX, ROOM_FOR_HEADERS);
	else if (longest > 0 && job->size + options + ROOM_FOR_HEADERS > longest)
		snprintf(push->refused, sizeof push->refused,
		    "too long for the server: %llu bytes of payload and %zu of options, where it "
		    "takes %zu, %d of them for headers",
		    (unsigned long long)job->size, options, longest, ROOM_FOR_HEADERS);
	else
		return NULL;
	return push->refused;
}

static int begin(void *arg, const struct handover_job *job, const char **why)
{
	struct push *push = arg;
	natsMsg *msg;
	int result;

	*why = too_long(push, job);
	if (*why)
		return -1;
	msg = make_message(push, job);
	if (!msg) {
		relay_note("a job could not be made a message",
		    errno == EIO ? wire_why(push->wire) : strerror(errno), NULL);
		return -1;
	}
	result = wire_publish(push->wire, msg);
	wire_done_with(push->wire, msg);
	if (push->troubled && --push->trials == 0)
		hold(push);
	return result;
}

/* --- answers --- */

static void say(const struct refusal *refusal, const char *queue, bool nobody)
{
	char subject[SUBJECT_SIZE], cause[2 * SUBJECT_SIZE], why[sizeof refusal->why + 64];

	jobs_subject(queue, ">", subject);
	snprintf(cause, sizeof cause, "no stream takes %s: trying again", subject);
	if (refusal->times > 1)
		snprintf(why, sizeof why, "%s, %u times since the last note", refusal->why,
		    refusal->times);
	else
		snprintf(why, sizeof why, "%s", refusal->why);
	relay_log(WORK_NOTE, queue, NULL,
	    nobody ? cause : "a stream does not take a job: trying again", why);
}

/* Told of each job there would be thousands of lines a second. */
static void tell(struct push *push, const char *queue, bool nobody)
{
	struct refusal *refusal = &push->refusals[index_of(push, queue)][nobody];
	int64_t now = clock_mono_ms(), since = now - refusal->told_at;
	bool another = strcmp(refusal->why, push->refused) != 0;

	refusal->times++;
	if (refusal->told_at != 0 && since < (another ? HOLD_MS : TELL_MS))
		return;
	snprintf(refusal->why, sizeof refusal->why, "%s", push->refused);
	say(refusal, queue, nobody);
	refusal->told_at = now;
	refusal->times = 0;
}

static void judge(
    struct push *push, natsMsg *msg, const char *queue, struct handover_answer *answer)
{
	enum answer said = answer_of(msg, push->refused);

	if (said == ANSWER_TAKEN) {
		answer->taken = true;
		push->troubled = false;
	} else if (said == ANSWER_NEVER) {
		answer->refused = push->refused;
	} else {
		push->ready &= said != ANSWER_NOBODY;
		tell(push, queue, said == ANSWER_NOBODY);
		if (!push->troubled)
			hold(push);
	}
}

/* TICKET-QUEUE */
static const char *read_tag(const struct push *push, const char *tag, uint64_t *ticket)
{
	char *end;
	unsigned long queue;

	*ticket = strtoull(tag, &end, 10);
	queue = *end == '-' ? strtoul(end + 1, NULL, 10) : push->queues->count;
	return queue < push->queues->count ? push->queues->item[queue] : NULL;
}

static bool answer(void *arg, struct handover_answer *answer)
{
	struct push *push = arg;
	uint64_t expirations;
	const char *tag, *queue = NULL;
	uint64_t ticket = 0;
	natsMsg *msg;

	relay_tell_news(push->wire, push->drain && !push->verbose);
	while ((msg = wire_next(push->wire, &tag)) != NULL &&
	    !(tag && (queue = read_tag(push, tag, &ticket)) != NULL))
		wire_done_with(push->wire, msg); /* nothing that was asked for */
	if (!msg) {
		(void)!read(push->timer, &expirations, sizeof expirations);
		return false;
	}
	*answer = (struct handover_answer){.ticket = ticket};
	judge(push, msg, queue, answer);
	wire_done_with(push->wire, msg);
	return true;
}

/* --- the whole --- */

static int watch(struct push *push, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

	return epoll_ctl(push->fd, EPOLL_CTL_ADD, fd, &event);
}

static void open_fd(struct push *push)
{
	push->fd = epoll_create1(EPOLL_CLOEXEC);
	push->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (push->fd < 0 || push->timer < 0 || watch(push, wire_fd(push->wire)) != 0 ||
	    watch(push, push->timer) != 0)
		err(EX_OSERR, NULL);
}

static void report(void *arg, const struct work_event *event)
{
	const struct push *push = arg;

	if (event->outcome != WORK_RELAYED || push->verbose)
		worklog(event);
}

static struct work_queue *make_queues(const struct strings *names)
{
	struct work_queue *queues = calloc(names->count, sizeof *queues);

	if (!queues)
		err(EX_OSERR, NULL);
	for (size_t i = 0; i < names->count; i++)
		queues[i].name = names->item[i];
	return queues;
}

int push_run(struct push *push, struct spool *spool)
{
	struct work_queue *queues = make_queues(push->queues);
	struct handover to = {.ready = ready, .begin = begin, .answer = answer, .arg = push};
	struct work_options options = {.queues = queues,
	    .queue_count = push->queues->count,
	    .jobs = push->flight,
	    .means = {.min = 1},
	    .drain = push->drain ? DRAIN_READY : DRAIN_NO,
	    .grace_ms = GRACE_MS,
	    .scan_ms = SCAN_MS,
	    .handover = &to,
	    .accept_env = *push->accept_env,
	    .report = report,
	    .arg = push};
	int status;

	push->refusals = calloc(push->queues->count, sizeof *push->refusals);
	if (!push->refusals)
		err(EX_OSERR, NULL);
	open_fd(push);
	to.fd = push->fd;
	status = spool_work(spool, &options) == 0 ? push->status
	    : errno == ESTALE                     ? worklog_moved(spool, NULL)
	                                          : cli_complain(spool, NULL);
	close(push->timer);
	close(push->fd);
	free(push->refusals);
	free(queues);
	return status;
}
