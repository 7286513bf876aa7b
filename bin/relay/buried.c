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

/* Once of each queue: they are visited twice where jobs are named. */
static int complain(const struct buried *b, const char *queue)
{
	static struct strings told;

	for (size_t i = 0; i < told.count; i++)
		if (strcmp(told.item[i], queue) == 0)
			return EX_UNAVAILABLE;
	if (strings_add(&told, queue) != 0)
		err(EX_OSERR, NULL);
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
	const char *why;
	int status = EX_OK;

	meta_init(&grave->meta);
	if (message_read(grave->msg, &grave->name, &grave->meta, &why) == 0) {
		read_headers(grave);
		status = visit(b, grave);
	} else {
		warnx("queue %s: message %llu of the stream of buried jobs is none: %s",
		    grave->queue, (unsigned long long)grave->number, why ? why : strerror(ENOMEM));
	}
	free(grave->log);
	meta_release(&grave->meta);
	return status;
}

/* The server's is the last: a message may have brought one of its own. 0: it is no message of a stream. */
static uint64_t number_of(natsMsg *msg)
{
	const char **values = NULL;
	uint64_t number = 0;
	int count = 0;

	if (natsMsgHeader_Values(msg, "Nats-Sequence", &values, &count) == NATS_OK && count > 0)
		number = strtoull(values[count - 1], NULL, 10);
	free(values);
	return number;
}

static int read_answer(const struct buried *b, struct grave *grave, uint64_t from)
{
	const char *status = NULL, *text = NULL;

	grave->number = number_of(grave->msg);
	if (grave->number >= from)
		return 1;
	if (grave->number > 0)
		return wire_explain(b->wire, "the stream gives another message than was asked for");
	if (natsMsgHeader_Get(grave->msg, "Status", &status) == NATS_OK && status &&
	    strcmp(status, "404") == 0)
		return 0;
	natsMsgHeader_Get(grave->msg, "Description", &text);
	return wire_explain(
	    b->wire, "the stream says: %s", text ? text : "nothing that is understood");
}

/* The next one from that number on; 1, 0: there is none, -1 with wire_why(). js_DirectGetMsg() would believe what a message says of itself. */
static int next_grave(const struct buried *b, struct grave *grave, uint64_t from)
{
	char stream[SUBJECT_SIZE], subject[2 * SUBJECT_SIZE], text[2 * SUBJECT_SIZE];
	char tag[NUMBER_SIZE + 8];

	buried_stream(grave->queue, stream);
	snprintf(subject, sizeof subject, "$JS.API.DIRECT.GET.%s", stream);
	buried_subject(grave->queue, "*", stream);
	snprintf(text, sizeof text, "{\"seq\":%llu,\"next_by_subj\":\"%s\"}",
	    (unsigned long long)from, stream);
	snprintf(tag, sizeof tag, "next-%llu", (unsigned long long)from);
	if (wire_say(b->wire, subject, text, tag) != 0)
		return -1;
	grave->msg = wire_await(b->wire, tag, ANSWER_MS);
	return grave->msg ? read_answer(b, grave, from)
	                  : wire_explain(b->wire, "the stream does not answer, or must not");
}

static bool is_among(const jsStreamNamesList *names, const char *stream)
{
	for (int i = 0; names && i < names->Count; i++)
		if (strcmp(names->List[i], stream) == 0)
			return true;
	return false;
}

/* 1, 0: there are none; -1 with wire_why(). A stream that is not there would be asked in vain. */
static int look_for_stream(
    const struct buried *b, const jsStreamNamesList *names, const char *queue)
{
	char stream[SUBJECT_SIZE];

	buried_stream(queue, stream);
	if (is_among(names, stream))
		return 1;
	jobs_stream(queue, stream);
	if (is_among(names, stream))
		return 0;
	return wire_explain(
	    b->wire, "there is no such stream: nobody has pushed or pulled that queue");
}

/* One by one: they are few, and may be large. */
static int visit_queue(
    const struct buried *b, const jsStreamNamesList *names, const char *queue, grave_visit *visit)
{
	int first = EX_OK, found = look_for_stream(b, names, queue);
	uint64_t from = 1;

	while (found == 1) {
		struct grave grave = {.queue = queue};

		found = next_grave(b, &grave, from);
		if (found == 1)
			first = cli_first_failure(first, visit_one(b, &grave, visit));
		from = grave.number + 1;
		natsMsg_Destroy(grave.msg);
	}
	return found == 0 ? first : cli_first_failure(first, complain(b, queue));
}

static int name_streams(const struct buried *b, jsStreamNamesList **names)
{
	jsErrCode error = 0;
	natsStatus status = js_StreamNames(names, wire_stream(b->wire), NULL, &error);

	return status == NATS_OK || status == NATS_NOT_FOUND ? 0
	                                                     : wire_fail(b->wire, status, error);
}

static int visit_all(const struct buried *b, grave_visit *visit)
{
	struct strings found = {0};
	const struct strings *queues = b->queues->count > 0 ? b->queues : &found;
	jsStreamNamesList *names = NULL;
	int status = EX_OK;

	if (name_streams(b, &names) == 0 &&
	    (queues != &found || streams_queues(b->wire, &found) == 0)) {
		for (size_t i = 0; i < queues->count; i++)
			status = cli_first_failure(
			    status, visit_queue(b, names, queues->item[i], visit));
	} else {
		warnx("%s", wire_why(b->wire));
		status = EX_UNAVAILABLE;
	}
	jsStreamNamesList_Destroy(names);
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

/* Whether to go on: also with what the other queues have, if one cannot be read. */
static bool check_matches(const struct buried *b, int *status)
{
	bool wrong = false;

	*status = EX_OK;
	if (b->count == 0)
		return true;
	matches = calloc((size_t)b->count, sizeof *matches);
	if (!matches)
		err(EX_OSERR, NULL);
	*status = visit_all(b, count_matches);
	for (int i = 0; !wrong && i < b->count; i++) {
		wrong = matches[i] != 1;
		if (!wrong)
			continue;
		warnx(
		    matches[i] == 0 ? "no buried job %s" : "%s: more than one buried job begins so",
		    b->words[i]);
		*status = cli_first_failure(*status, matches[i] == 0 ? EX_NOINPUT : EX_DATAERR);
	}
	free(matches);
	return !wrong;
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
	char *text, *visible;

	if (grave->reason)
		return cli_visible(grave->reason);
	for (; *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : line + strlen(line))
		if (*line != ' ')
			last = line;
	text = strndup(last, strcspn(last, "\n"));
	visible = text ? cli_visible(text) : NULL;
	free(text);
	return visible;
}

/* Whoever may publish there says what these are. */
static void show_text(const char *before, const char *text)
{
	char *visible = cli_visible(text);

	printf("%s%s\n", before, visible ? visible : "?");
	free(visible);
}

static void show_texts(const char *title, const char *text)
{
	char *visible = text ? cli_terminal_text(text, strlen(text)) : NULL;

	if (visible)
		printf("%s:\n%s", title, visible);
	free(visible);
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
	char when[WHEN_SIZE], *options;
	size_t len = 0;

	sent(grave, when);
	printf("id: %s\nqueue: %s\nstate: buried\npriority: %u\nattempts: %u\nsent: %s\nsize: %d\n",
	    grave->name.id, grave->queue, grave->name.priority, grave->name.attempts, when,
	    natsMsg_GetDataLength(grave->msg));
	show_text("host: ", grave->host ? grave->host : "-");
	options = meta_empty(&grave->meta) ? NULL : meta_format(&grave->meta, &len);
	show_texts("options", options);
	free(options);
	if (grave->reason)
		show_text("reason: ", grave->reason);
	show_texts("history", grave->log);
}

static void show_line(const struct grave *grave)
{
	char *last = last_line(grave), *host = cli_visible(grave->host ? grave->host : "-");

	printf("%s %2u %3u %-16s %-12s %s\n", grave->name.id, grave->name.priority,
	    grave->name.attempts, grave->queue, host ? host : "?", last ? last : "");
	free(host);
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

	if (check_matches(b, &status))
		status = cli_first_failure(status, visit_all(b, show_one));
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

	if (check_matches(b, &status))
		status = cli_first_failure(status, visit_all(b, kick_one));
	cli_finish_output();
	return status;
}
