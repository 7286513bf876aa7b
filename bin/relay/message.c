#include "message.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/value.h"
#include "sys/clock.h"

#define JOBS_STREAM "QSPOOL_JOBS_"

static void exchange(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

static void put_queue(
    char text[static SUBJECT_SIZE], const char *before, const char *queue, const char *after)
{
	size_t at = strlen(before);

	snprintf(text, SUBJECT_SIZE, "%s%s%s", before, queue, after);
	for (size_t i = 0; queue[i]; i++)
		if (queue[i] == '.')
			text[at + i] = '=';
}

void jobs_stream(const char *queue, char name[static SUBJECT_SIZE])
{
	put_queue(name, JOBS_STREAM, queue, "");
}

bool jobs_stream_parse(const char *name, char queue[static QUEUE_NAME_SIZE])
{
	size_t before = strlen(JOBS_STREAM);

	if (strncmp(name, JOBS_STREAM, before) != 0 || strlen(name + before) >= QUEUE_NAME_SIZE)
		return false;
	strcpy(queue, name + before);
	exchange(queue, '=', '.');
	return queue_name_ok(queue);
}

void ask_subject(const char *queue, char subject[static SUBJECT_SIZE])
{
	put_queue(subject, "qspool.ask.", queue, "");
}

void jobs_subject(const char *queue, const char *after, char subject[static SUBJECT_SIZE])
{
	char end[32];

	snprintf(end, sizeof end, ".%s", after);
	put_queue(subject, "qspool.jobs.", queue, end);
}

void job_subject(const char *queue, const struct job_name *name, char subject[static SUBJECT_SIZE])
{
	if (name->due_ms != JOB_DUE_NONE && name->due_ms > clock_real_ms() + SOON_MS)
		jobs_subject(queue, "later", subject);
	else
		jobs_subject(queue,
		    name->priority < JOB_PRIORITY_DEFAULT       ? "now.high"
		        : name->priority > JOB_PRIORITY_DEFAULT ? "now.low"
		                                                : "now.normal",
		    subject);
}

void buried_stream(const char *queue, char name[static SUBJECT_SIZE])
{
	put_queue(name, "QSPOOL_BURIED_", queue, "");
}

void buried_subject(const char *queue, const char *id, char subject[static SUBJECT_SIZE])
{
	char end[JOB_ID_LEN + 2];

	snprintf(end, sizeof end, ".%s", id);
	put_queue(subject, "qspool.buried.", queue, end);
}

/* $JS.ACK.STREAM.CONSUMER.TIMES.NUMBER..., and of newer servers with a domain and a hash before the stream. */
void lease_number(const char *lease, char number[static NUMBER_SIZE])
{
	unsigned dots = 0, before = 5;
	size_t len;

	for (const char *c = lease; *c; c++)
		dots += *c == '.';
	if (dots > 8)
		before += 2;
	for (; *lease && before > 0; lease++)
		before -= *lease == '.';
	len = strcspn(lease, ".");
	snprintf(number, NUMBER_SIZE, "%.*s", (int)len, lease);
}

/* --- headers --- */

static void put(natsMsg *msg, const char *header, const char *value, natsStatus *status)
{
	if (*status == NATS_OK && value)
		*status = natsMsgHeader_Set(msg, header, value);
}

/* Its last newline goes: a header has no blanks at its ends. */
static int put_options(natsMsg *msg, const struct meta *meta, natsStatus *status)
{
	size_t len;
	char *text;

	if (!meta || meta_empty(meta))
		return 0;
	text = meta_format(meta, &len);
	if (!text)
		return -1;
	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	exchange(text, '\n', '\t');
	put(msg, "Qspool-Options", text, status);
	free(text);
	return 0;
}

static void put_name(natsMsg *msg, const struct job_name *from, natsStatus *status)
{
	struct job_name name = {
	    .due_ms = from->due_ms, .priority = from->priority, .attempts = from->attempts};
	char text[JOB_NAME_SIZE];

	memcpy(name.id, from->id, sizeof name.id);
	job_name_format(&name, text);
	put(msg, "Qspool-Job", text, status);
}

static int put_log(natsMsg *msg, const char *log, natsStatus *status)
{
	char *value;

	if (!log || !*log)
		return 0;
	value = value_encode(log);
	if (!value)
		return -1;
	put(msg, "Qspool-Log", value, status);
	free(value);
	return 0;
}

static void put_host(natsMsg *msg, natsStatus *status)
{
	char host[128] = "";

	gethostname(host, sizeof host - 1);
	put(msg, "Qspool-Host", host, status);
}

static int put_headers(natsMsg *msg, const struct message *m, natsStatus *status)
{
	put(msg, "Nats-Msg-Id", m->id ? m->id : m->name->id, status);
	put_name(msg, m->name, status);
	put(msg, "Qspool-Reason", m->reason, status);
	if (m->log || m->reason)
		put_host(msg, status);
	if (*status != NATS_OK)
		return 0;
	return put_options(msg, m->meta, status) == 0 ? put_log(msg, m->log, status) : -1;
}

natsMsg *message_make(struct wire *wire, const struct message *m)
{
	natsMsg *msg = NULL;
	natsStatus status = m->size > INT_MAX
	    ? NATS_MAX_PAYLOAD
	    : natsMsg_Create(&msg, m->subject, m->reply, m->payload, (int)m->size);

	if (status == NATS_OK && put_headers(msg, m, &status) != 0)
		goto fail;
	if (status == NATS_OK)
		return msg;
	wire_fail(wire, status, 0);
	errno = EIO;
fail:
	natsMsg_Destroy(msg);
	return NULL;
}

static natsStatus forward_headers(natsMsg *to, natsMsg *from)
{
	const char **keys = NULL, *value;
	int count = 0;
	natsStatus status = natsMsgHeader_Keys(from, &keys, &count);

	if (status == NATS_NOT_FOUND)
		return NATS_OK;
	for (int i = 0; status == NATS_OK && i < count; i++)
		if (strncmp(keys[i], "Qspool-", strlen("Qspool-")) == 0 &&
		    natsMsgHeader_Get(from, keys[i], &value) == NATS_OK)
			put(to, keys[i], value, &status);
	free(keys);
	return status;
}

natsMsg *message_forward(struct wire *wire, natsMsg *msg, const struct message *other)
{
	natsMsg *forward = NULL;
	natsStatus status = natsMsg_Create(&forward, other->subject, other->reply,
	    natsMsg_GetData(msg), natsMsg_GetDataLength(msg));

	if (status == NATS_OK)
		status = forward_headers(forward, msg);
	put(forward, "Nats-Msg-Id", other->id, &status);
	put(forward, "Qspool-Reason", other->reason, &status);
	put_host(forward, &status);
	if (status == NATS_OK)
		return forward;
	natsMsg_Destroy(forward);
	wire_fail(wire, status, 0);
	errno = EIO;
	return NULL;
}

static int read_options(natsMsg *msg, struct meta *meta, const char **why)
{
	const char *value = NULL;
	size_t len;
	char *text;
	int result;

	if (natsMsgHeader_Get(msg, "Qspool-Options", &value) != NATS_OK || !value)
		return 0;
	len = strlen(value);
	text = malloc(len + 2);
	*why = NULL;
	if (!text)
		return -1;
	memcpy(text, value, len);
	memcpy(text + len, "\n", 2);
	exchange(text, '\t', '\n');
	result = meta_parse(text, len + 1, meta, why);
	free(text);
	return result;
}

int message_read(natsMsg *msg, struct job_name *name, struct meta *meta, const char **why)
{
	const char *text = NULL;

	*why = "it has no name of a job";
	if (natsMsgHeader_Get(msg, "Qspool-Job", &text) != NATS_OK || !text ||
	    !job_name_parse(text, name) || name->meta || name->log || name->unsynced)
		return -1;
	if (read_options(msg, meta, why) != 0)
		return -1;
	free(meta->relay); /* that of another host */
	meta->relay = NULL;
	return 0;
}
