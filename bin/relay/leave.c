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
	ROOM_FOR_HEADERS = 1024,
	ENCODED_MAX = 4, /* bytes of a header for one of a history */
};

/* It stays for now. */
static int stay(struct held *held)
{
	spool_let_go(held->hold);
	held->hold = NULL;
	held->phase = held->left ? HELD_LOST : HELD_ALIVE;
	held->again_at = clock_mono_ms() + AGAIN_MS;
	return -1;
}

static int publish(struct held *held, struct wire *wire, const struct message *what)
{
	struct message m = *what;
	char reply[WIRE_REPLY_SIZE], id[HELD_TAG_SIZE], tag[HELD_TAG_SIZE];
	natsMsg *msg;
	int result = -1;

	held_tag(held, 'b', tag);
	wire_reply(wire, tag, reply);
	snprintf(id, sizeof id, "%s.%s", held->id, held->number);
	m.reply = reply;
	m.id = id;
	msg = message_make(wire, &m);
	if (msg)
		result = wire_publish(wire, msg);
	natsMsg_Destroy(msg);
	held->phase = HELD_LEAVES;
	held->again_at = clock_mono_ms() + ANSWER_MS;
	return result;
}

/* With a long payload there may not be room for all of its history: then its end, from a line's beginning. */
static const char *fit(const struct wire *wire, const struct message *m, const char *log)
{
	size_t longest = wire_longest(wire), len = strlen(log), used = m->size + ROOM_FOR_HEADERS;
	size_t options = 0, room;
	const char *line;

	free(meta_format(m->meta, &options));
	used += options;
	room = longest > used ? (longest - used) / ENCODED_MAX : 0;
	if (longest == 0 || len <= room)
		return log;
	line = strchr(log + len - room, '\n');
	return line ? line + 1 : "";
}

static int publish_job(struct held *held, struct wire *wire, struct spool *spool,
    const struct job_place *place, int fd, struct meta *meta)
{
	bool buried = place->state == JOB_BURIED;
	char subject[SUBJECT_SIZE], *log = buried ? spool_log(spool, place) : NULL;
	struct message message = {.subject = subject, .name = &place->name, .meta = meta};
	char *payload = payload_read(fd, &message.size);
	int result = -1;

	if (buried)
		buried_subject(place->queue, held->id, subject);
	else
		job_subject(place->queue, &place->name, subject);
	free(meta->relay);
	meta->relay = NULL;
	message.payload = payload;
	message.log = payload && log ? fit(wire, &message, log) : NULL;
	if (payload)
		result = publish(held, wire, &message);
	free(payload);
	free(log);
	return result;
}

int leave_begin(
    struct held *held, struct wire *wire, struct spool *spool, const struct job_place *place)
{
	const char *why = NULL;
	struct meta meta;
	int fd, result = -1;

	held->hold = spool_hold(spool, place);
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
static int publish_again(struct held *held, struct wire *wire, natsMsg *msg, struct message *m)
{
	m->payload = natsMsg_GetData(msg);
	m->size = (size_t)natsMsg_GetDataLength(msg);
	held->left = true;
	return publish(held, wire, m);
}

int leave_unfit(struct held *held, struct wire *wire, natsMsg *msg, const struct job_name *name,
    const struct meta *meta, const char *reason)
{
	char subject[SUBJECT_SIZE];
	struct message message = {.subject = subject, .name = name, .meta = meta, .reason = reason};

	buried_subject(held->queue, held->id, subject);
	return publish_again(held, wire, msg, &message);
}

int leave_again(struct held *held, struct wire *wire, natsMsg *msg, const struct job_name *name,
    const struct meta *meta)
{
	char subject[SUBJECT_SIZE];
	struct message message = {.subject = subject, .name = name, .meta = meta};

	job_subject(held->queue, name, subject);
	return publish_again(held, wire, msg, &message);
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
	held->left = true;
	held_ended(held);
	return here;
}

void leave_tick(struct held *held, int64_t now)
{
	if (held->phase == HELD_LEAVES && now >= held->again_at)
		stay(held);
}
