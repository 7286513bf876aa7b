#include "buried.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "format/value.h"

enum { ANSWER_MS = 5000 };

/* One of them, as the stream has it. */
struct grave {
	const char *queue;
	natsMsg *msg;
	uint64_t number; /* in the stream */
	struct job_name name;
	struct meta meta;
	const char *host, *reason; /* or NULL */
	char *log;                 /* or NULL */
};
typedef int grave_visit(const struct buried *buried, struct grave *grave);

static int complain(const struct buried *b, const char *queue)
{
	warnx("queue %s: %s", queue, wire_why(b->wire));
	return EX_UNAVAILABLE;
}

/* --- reading them --- */

static void read_headers(struct grave *grave)
{
	const char *log = NULL;

	if (natsMsgHeader_Get(grave->msg, "Qspool-Host", &grave->host) != NATS_OK)
		grave->host = NULL;
	if (natsMsgHeader_Get(grave->msg, "Qspool-Reason", &grave->reason) != NATS_OK)
		grave->reason = NULL;
	if (natsMsgHeader_Get(grave->msg, "Qspool-Log", &log) == NATS_OK && log &&
	    value_decode(log, &grave->log) != 0)
		grave->log = NULL;
}

/* What somebody else put there is not ours to show or kick. */
static int visit_one(const struct buried *b, struct grave *grave, grave_visit *visit)
{
	const char *why, *number = NULL;
	int status = EX_OK;

	meta_init(&grave->meta);
	if (natsMsgHeader_Get(grave->msg, "Nats-Sequence", &number) == NATS_OK && number)
		grave->number = strtoull(number, NULL, 10);
	if (message_read(grave->msg, &grave->name, &grave->meta, &why) == 0) {
		read_headers(grave);
		status = visit(b, grave);
	} else {
		warnx("queue %s: message %llu of the stream of buried jobs is none: %s",
		    grave->queue, (unsigned long long)grave->number, why);
	}
	free(grave->log);
	meta_release(&grave->meta);
	return status;
}

/* One by one: they are few, and may be large. */
static int visit_queue(const struct buried *b, const char *queue, grave_visit *visit)
{
	char stream[SUBJECT_SIZE], subject[SUBJECT_SIZE];
	jsDirectGetMsgOptions next;
	natsStatus status = NATS_OK;
	int first = EX_OK;

	buried_stream(queue, stream);
	buried_subject(queue, "*", subject);
	jsDirectGetMsgOptions_Init(&next);
	next.NextBySubject = subject;
	next.Sequence = 1;
	while (status == NATS_OK) {
		struct grave grave = {.queue = queue};

		status = js_DirectGetMsg(&grave.msg, wire_stream(b->wire), stream, NULL, &next);
		if (status == NATS_OK)
			first = cli_first_failure(first, visit_one(b, &grave, visit));
		next.Sequence = grave.number + 1;
		natsMsg_Destroy(grave.msg);
	}
	if (status == NATS_NOT_FOUND)
		return first;
	wire_fail(b->wire, status, 0);
	return complain(b, queue);
}

static int visit_all(const struct buried *b, grave_visit *visit)
{
	struct strings found = {0};
	const struct strings *queues = b->queues;
	int status = EX_OK;

	if (queues->count == 0 && streams_queues(b->wire, &found) != 0) {
		warnx("%s", wire_why(b->wire));
		return EX_UNAVAILABLE;
	}
	if (queues->count == 0)
		queues = &found;
	for (size_t i = 0; i < queues->count; i++)
		status = cli_first_failure(status, visit_queue(b, queues->item[i], visit));
	strings_release(&found);
	return status;
}

/* --- which of them --- */

static bool is_meant(const struct buried *b, const struct grave *grave)
{
	for (int i = 0; i < b->count; i++)
		if (strncmp(grave->name.id, b->words[i], strlen(b->words[i])) == 0)
			return true;
	return b->count == 0;
}

static void check_words(const struct buried *b)
{
	for (int i = 0; i < b->count; i++) {
		size_t len = strlen(b->words[i]);

		if (len < SPOOL_PREFIX_MIN || !job_id_prefix_ok(b->words[i], len))
			cli_usage(
			    "%s: neither a URL (which has \"://\") nor an id, nor the first %d "
			    "characters of one",
			    b->words[i], SPOOL_PREFIX_MIN);
	}
}

/* Each word is one job. */
static unsigned *matches;

static int count_matches(const struct buried *b, struct grave *grave)
{
	for (int i = 0; i < b->count; i++)
		matches[i] += strncmp(grave->name.id, b->words[i], strlen(b->words[i])) == 0;
	return EX_OK;
}

static int check_matches(const struct buried *b)
{
	int status;

	matches = calloc((size_t)b->count + 1, sizeof *matches);
	if (!matches)
		err(EX_OSERR, NULL);
	status = visit_all(b, count_matches);
	for (int i = 0; status == EX_OK && i < b->count; i++) {
		if (matches[i] == 1)
			continue;
		warnx(
		    matches[i] == 0 ? "no buried job %s" : "%s: more than one buried job begins so",
		    b->words[i]);
		status = matches[i] == 0 ? EX_NOINPUT : EX_DATAERR;
	}
	free(matches);
	return status;
}

/* --- showing --- */

static void sent(const struct grave *grave, char text[static WHEN_SIZE])
{
	when_rfc3339((int64_t)(job_id_sent_ns(grave->name.id) / 1000000), text);
}

/* The last event of its history, or why it never came to a spool. */
static char *last_line(const struct grave *grave)
{
	const char *line = grave->log ? grave->log : "", *last = line;

	if (grave->reason)
		return cli_visible(grave->reason);
	for (; *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : line + strlen(line))
		if (*line != ' ')
			last = line;
	return strndup(last, strcspn(last, "\n"));
}

static void show_json(const struct grave *grave)
{
	char when[WHEN_SIZE];

	sent(grave, when);
	printf("{\"id\":\"%s\",\"queue\":\"%s\",\"priority\":%u,\"attempts\":%u,\"sent\":\"%s\","
	       "\"size\":%d",
	    grave->name.id, grave->queue, grave->name.priority, grave->name.attempts, when,
	    natsMsg_GetDataLength(grave->msg));
	cli_json_member("host", grave->host);
	cli_json_member("reason", grave->reason);
	cli_json_member("history", grave->log);
	puts("}");
}

static void show_details(const struct grave *grave)
{
	char when[WHEN_SIZE], *options, *history;
	size_t len = 0;

	sent(grave, when);
	printf("id: %s\nqueue: %s\nstate: buried\npriority: %u\nattempts: %u\nsent: %s\nsize: %d\n",
	    grave->name.id, grave->queue, grave->name.priority, grave->name.attempts, when,
	    natsMsg_GetDataLength(grave->msg));
	printf("host: %s\n", grave->host ? grave->host : "-");
	options = meta_empty(&grave->meta) ? NULL : meta_format(&grave->meta, &len);
	if (options)
		printf("options:\n%s", options);
	free(options);
	if (grave->reason)
		printf("reason: %s\n", grave->reason);
	history = grave->log ? cli_terminal_text(grave->log, strlen(grave->log)) : NULL;
	if (history)
		printf("history:\n%s", history);
	free(history);
}

static void show_line(const struct grave *grave)
{
	char *last = last_line(grave);

	printf("%s %2u %3u %-16s %-12s %s\n", grave->name.id, grave->name.priority,
	    grave->name.attempts, grave->queue, grave->host ? grave->host : "-", last ? last : "");
	free(last);
}

static int show_one(const struct buried *b, struct grave *grave)
{
	if (!is_meant(b, grave))
		return EX_OK;
	if (b->payload)
		fwrite(natsMsg_GetData(grave->msg), 1, (size_t)natsMsg_GetDataLength(grave->msg),
		    stdout);
	else if (b->json)
		show_json(grave);
	else if (b->count > 0)
		show_details(grave);
	else
		show_line(grave);
	return EX_OK;
}

void buried_check_show(const struct buried *b)
{
	check_words(b);
	if (b->payload && b->count != 1)
		cli_usage("--payload: of which one job?");
}

int buried_show(const struct buried *b)
{
	int status;

	status = b->count > 0 ? check_matches(b) : EX_OK;
	if (status == EX_OK)
		status = visit_all(b, show_one);
	cli_finish_output();
	return status;
}

/* --- kicking --- */

/* An answer that comes late is not to be taken for that of another job. */
static void kick_tag(const struct grave *grave, char tag[static NUMBER_SIZE + 8])
{
	snprintf(tag, NUMBER_SIZE + 8, "kick-%llu", (unsigned long long)grave->number);
}

static natsMsg *make_message(const struct buried *b, struct grave *grave)
{
	char subject[SUBJECT_SIZE], reply[WIRE_REPLY_SIZE], id[JOB_ID_LEN + NUMBER_SIZE + 2];
	char tag[NUMBER_SIZE + 8];
	struct job_name name = grave->name;
	const struct message message = {.subject = subject,
	    .reply = reply,
	    .id = id,
	    .name = &name,
	    .meta = &grave->meta,
	    .payload = natsMsg_GetData(grave->msg),
	    .size = (size_t)natsMsg_GetDataLength(grave->msg)};

	name.attempts = 0;
	name.due_ms = JOB_DUE_NONE;
	job_subject(grave->queue, &name, subject);
	kick_tag(grave, tag);
	wire_reply(b->wire, tag, reply);
	snprintf(id, sizeof id, "%s.b%llu", name.id, (unsigned long long)grave->number);
	return message_make(b->wire, &message);
}

/* 0; -1 with WHY. */
static int publish(const struct buried *b, const struct grave *grave, natsMsg *msg,
    char why[static ANSWER_WHY_SIZE])
{
	char tag[NUMBER_SIZE + 8];
	enum answer answer;
	natsMsg *said;

	snprintf(why, ANSWER_WHY_SIZE, "no answer");
	if (wire_publish(b->wire, msg) != 0) {
		snprintf(why, ANSWER_WHY_SIZE, "%s", wire_why(b->wire));
		return -1;
	}
	kick_tag(grave, tag);
	said = wire_await(b->wire, tag, ANSWER_MS);
	if (!said)
		return -1;
	answer = answer_of(said, why);
	natsMsg_Destroy(said);
	return answer == ANSWER_TAKEN ? 0 : -1;
}

/* On the stream of jobs first: what fails in between leaves two, and none is lost. */
static int kick_one(const struct buried *b, struct grave *grave)
{
	char why[ANSWER_WHY_SIZE] = "", stream[SUBJECT_SIZE];
	natsMsg *msg;
	natsStatus status;
	int kicked;

	if (!is_meant(b, grave))
		return EX_OK;
	msg = make_message(b, grave);
	kicked = msg ? publish(b, grave, msg, why) : -1;
	natsMsg_Destroy(msg);
	if (kicked != 0) {
		warnx("job %s was not kicked: %s", grave->name.id, *why ? why : strerror(errno));
		return EX_TEMPFAIL;
	}
	buried_stream(grave->queue, stream);
	status = js_DeleteMsg(wire_stream(b->wire), stream, grave->number, NULL, NULL);
	if (status != NATS_OK) {
		warnx("job %s was kicked, and is on the stream of buried ones still: %s",
		    grave->name.id, natsStatus_GetText(status));
		return EX_TEMPFAIL;
	}
	if (b->verbose)
		puts(grave->name.id);
	return EX_OK;
}

void buried_check_kick(const struct buried *b)
{
	check_words(b);
	if (b->count == 0 && !b->all)
		cli_usage("kick: which jobs? Ids are wanted, or --all");
	if (b->count > 0 && b->all)
		cli_usage("kick: --all, or ids, not both");
}

int buried_kick(const struct buried *b)
{
	int status;

	status = b->count > 0 ? check_matches(b) : EX_OK;
	if (status == EX_OK)
		status = visit_all(b, kick_one);
	cli_finish_output();
	return status;
}
