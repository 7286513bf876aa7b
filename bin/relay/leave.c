#include "leave.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "log.h"
#include "payload.h"
#include "sys/clock.h"

enum {
	ANSWER_MS = 10000,
	AGAIN_MS = 2000,
	ENCODED_MAX = 4, /* bytes of a header for one of a history */
};

/* It stays for now. What is not in the spool goes on leaving. */
static int stay(struct held *held)
{
	spool_let_go(held->hold);
	held->hold = NULL;
	held->phase = held->out ? HELD_LEAVES : HELD_ALIVE;
	held->again_at = clock_mono_ms() + AGAIN_MS;
	return -1;
}

static void say(struct held *held, struct wire *wire, natsMsg *msg)
{
	if (wire_publish(wire, msg) != 0)
		relay_log(WORK_NOTE, held->queue, held->id,
		    "a job could not be put on a stream: trying again", wire_why(wire));
	held->phase = HELD_LEAVES;
	held->again_at = clock_mono_ms() + ANSWER_MS;
}

/* Of a message that goes: where its answer is to come, and by which id a stream knows it when it comes again. */
struct ticket {
	char reply[WIRE_REPLY_SIZE], id[HELD_TAG_SIZE];
};

static void address(
    const struct held *held, struct wire *wire, struct ticket *ticket, struct message *m)
{
	char tag[HELD_TAG_SIZE];

	held_tag(held, 'b', tag);
	wire_reply(wire, tag, ticket->reply);
	snprintf(ticket->id, sizeof ticket->id, "%s.%s", held->id, held->number);
	m->reply = ticket->reply;
	m->id = ticket->id;
}

/* With a long payload there may not be room for all of its history: then its end, from a line's beginning. */
static const char *fit(const struct wire *wire, const struct message *m, const char *log)
{
	size_t longest = wire_longest(wire), len = strlen(log), used = ROOM_FOR_HEADERS;
	size_t options = 0, room;
	const char *line;

	free(meta_format(m->meta, &options));
	used += options;
	room = HEADERS_MAX > used ? HEADERS_MAX - used : 0;
	if (longest > 0 && longest < m->size + used + room)
		room = longest > m->size + used ? longest - m->size - used : 0;
	if (len <= room / ENCODED_MAX)
		return log;
	line = strchr(log + len - room / ENCODED_MAX, '\n');
	return line ? line + 1 : "";
}

static int publish_job(struct held *held, struct wire *wire, struct spool *spool,
    const struct job_place *place, int fd, struct meta *meta)
{
	bool buried = place->state == JOB_BURIED;
	char subject[SUBJECT_SIZE], *log = buried ? spool_log(spool, place) : NULL;
	struct ticket ticket;
	struct message message = {.subject = subject, .name = &place->name, .meta = meta};
	char *payload = buried && !log ? NULL : payload_read(fd, &message.size);
	natsMsg *msg = NULL;

	if (buried)
		buried_subject(place->queue, held->id, subject);
	else
		job_subject(place->queue, &place->name, subject);
	free(meta->relay);
	meta->relay = NULL;
	message.payload = payload;
	message.log = payload && log ? fit(wire, &message, log) : NULL;
	address(held, wire, &ticket, &message);
	if (payload)
		msg = message_make(wire, &message);
	if (msg)
		say(held, wire, msg);
	natsMsg_Destroy(msg);
	free(payload);
	free(log);
	return msg ? 0 : -1;
}

int leave_begin(struct held *held, struct wire *wire, struct spool *spool,
    const struct receiver *right, const struct job_place *place)
{
	const char *why = NULL;
	struct meta meta;
	int fd, result = -1;

	held->hold = spool_hold(right, place);
	if (!held->hold)
		return stay(held);
	meta_init(&meta);
	fd = spool_payload(spool, place);
	if (fd >= 0 && spool_meta(spool, place, &meta, &why) == 0)
		result = publish_job(held, wire, spool, place, fd, &meta);
	if (result != 0)
		relay_log(WORK_NOTE, held->queue, held->id, "a job could not be put on a stream",
		    why                ? why
		        : errno == EIO ? wire_why(wire)
		                       : strerror(errno));
	if (fd >= 0)
		close(fd);
	meta_release(&meta);
	return result == 0 ? 0 : stay(held);
}

/* Nothing of it is in the spool. */
static int go(struct held *held, struct wire *wire, natsMsg *out)
{
	if (!out)
		return -1;
	held->left = true;
	held->out = out;
	say(held, wire, out);
	return 0;
}

static int publish_again(struct held *held, struct wire *wire, natsMsg *msg, struct message m)
{
	struct ticket ticket;

	m.payload = natsMsg_GetData(msg);
	m.size = (size_t)natsMsg_GetDataLength(msg);
	address(held, wire, &ticket, &m);
	return go(held, wire, message_make(wire, &m));
}

int leave_unfit(struct held *held, struct wire *wire, natsMsg *msg, const struct job_name *name,
    const struct meta *meta, const char *reason)
{
	char subject[SUBJECT_SIZE];
	struct message message = {.subject = subject, .name = name, .meta = meta, .reason = reason};

	buried_subject(held->queue, held->id, subject);
	return publish_again(held, wire, msg, message);
}

int leave_again(struct held *held, struct wire *wire, natsMsg *msg, const struct job_name *name,
    const struct meta *meta)
{
	char subject[SUBJECT_SIZE];
	struct message message = {.subject = subject, .name = name, .meta = meta};

	job_subject(held->queue, name, subject);
	return publish_again(held, wire, msg, message);
}

int leave_strange(struct held *held, struct wire *wire, natsMsg *msg, const char *reason)
{
	char subject[SUBJECT_SIZE];
	struct ticket ticket;
	struct message message = {.subject = subject, .reason = reason};

	buried_subject(held->queue, held->id, subject);
	address(held, wire, &ticket, &message);
	return go(held, wire, message_forward(wire, msg, &message));
}

bool leave_answer(struct held *held, natsMsg *msg)
{
	char why[ANSWER_WHY_SIZE];
	bool here = held->hold != NULL;

	if (held->phase != HELD_LEAVES)
		return false;
	if (answer_of(msg, why) != ANSWER_TAKEN) {
		relay_log(WORK_NOTE, held->queue, held->id,
		    "a stream does not take a job: trying again", why);
		stay(held);
		return false;
	}
	if (here && spool_hand_over(held->hold) < 0) {
		relay_log(WORK_NOTE, held->queue, held->id,
		    "a job that a stream has could not be removed: trying again", strerror(errno));
		stay(held);
		return false;
	}
	spool_let_go(held->hold);
	held->hold = NULL;
	natsMsg_Destroy(held->out);
	held->out = NULL;
	held->left = true;
	held_ended(held);
	return here;
}

void leave_tick(struct held *held, struct wire *wire, int64_t now)
{
	if (held->phase != HELD_LEAVES || now < held->again_at)
		return;
	if (held->out)
		say(held, wire, held->out);
	else
		stay(held);
}
