/* Names of jobs and queues, ids, labels. */
#include "fuzz.h"

#include "format/label.h"
#include "format/name.h"
#include "format/when.h"

static bool names_equal(const struct job_name *a, const struct job_name *b)
{
	return a->due_ms == b->due_ms && a->priority == b->priority && strcmp(a->id, b->id) == 0 &&
	    a->attempts == b->attempts && a->log == b->log && a->meta == b->meta &&
	    a->unsynced == b->unsynced && a->length == b->length && a->crc == b->crc &&
	    a->asked == b->asked;
}

/* Ours is what formatting gives again byte for byte, and nothing else. */
static void check_text(const char *text)
{
	struct job_name name;
	char again[JOB_NAME_SIZE];

	if (!job_name_parse(text, &name))
		return;
	job_name_format(&name, again);
	MUST(strcmp(text, again) == 0);
	MUST(name.due_ms == JOB_DUE_NONE || (name.due_ms >= 0 && name.due_ms <= WHEN_MAX_MS));
	MUST(name.priority <= JOB_PRIORITY_MAX);
	MUST(name.attempts <= JOB_ATTEMPTS_MAX);
	MUST(job_id_prefix_ok(name.id, JOB_ID_LEN));
	MUST(name.unsynced || (name.length == 0 && name.crc == 0));
}

/* So are names of waiting jobs; what stands around the last '@' is a name of each kind. */
static void check_waiting(const char *text)
{
	struct job_name name;
	char queue[QUEUE_NAME_SIZE], again[WAITING_NAME_SIZE];
	const char *at = strrchr(text, '@');

	if (!waiting_name_parse(text, &name, queue))
		return;
	waiting_name_format(&name, queue, again);
	MUST(strcmp(text, again) == 0);
	MUST(at && strcmp(at + 1, queue) == 0 && queue_name_ok(queue));
	MUST(job_id_ok(name.id));
}

/* A label cannot leave its directory, be hidden, be mistaken for two, or drive a terminal. */
static void must_be_label(const char *label)
{
	MUST(*label && strlen(label) <= LABEL_LEN_MAX && label[0] != '.');
	for (const char *c = label; *c; c++)
		MUST(*c > ' ' && *c <= '~' && *c != '/' && *c != '@');
}

/* A name for TEXT that can be told from it again; and TEXT, taken for such a name. */
static void check_label(const char *text)
{
	char label[LABEL_SIZE], name[LABEL_SIZE];

	if (label_encode(text, label) == 0) {
		must_be_label(label);
		MUST(label_whole(label) == !strstr(label, "%%"));
		MUST(!label_whole(label) ||
		    (label_decode(label, name) == 0 && strcmp(name, text) == 0));
	} else {
		MUST(*text == '\0');
	}
	if (label_decode(text, name) == 0) {
		must_be_label(text);
		MUST(label_encode(name, label) == 0 && strcmp(label, text) == 0);
	}
}

/* A name of ours cannot leave its directory, be hidden or drive a terminal. */
static void check_queue_name(const char *text)
{
	if (!queue_name_ok(text))
		return;
	MUST(strlen(text) >= 1 && strlen(text) <= 64 && text[0] != '.');
	for (const char *c = text; *c; c++)
		MUST(*c > ' ' && *c <= '~' && *c != '/');
}

static struct job_name name_from(const uint8_t *data, size_t size)
{
	uint64_t flags = fuzz_number(data, size, 0), due = fuzz_number(data, size, 8);
	struct job_name name = {.due_ms = JOB_DUE_NONE,
	    .priority = flags >> 8 & 0xff,
	    .attempts = (unsigned)(flags >> 32),
	    .log = flags & 1,
	    .meta = flags & 2,
	    .unsynced = flags & 4,
	    .asked = flags & 16};

	name.priority %= JOB_PRIORITY_MAX + 1;
	name.attempts %= JOB_ATTEMPTS_MAX + 1;
	if (flags & 8)
		name.due_ms = (int64_t)(due % (WHEN_MAX_MS + 1));
	if (name.unsynced) {
		name.length = fuzz_number(data, size, 16);
		name.crc = (uint32_t)fuzz_number(data, size, 24);
	}
	job_id_format(fuzz_number(data, size, 32), fuzz_number(data, size, 40), name.id);
	return name;
}

/* What is written is read, as it was. */
static void check_written(const struct job_name *name, char text[static JOB_NAME_SIZE])
{
	struct job_name again;

	job_name_format(name, text);
	MUST(strlen(text) < JOB_NAME_SIZE - 1);
	MUST(job_name_parse(text, &again));
	MUST(names_equal(name, &again));
	MUST(!queue_name_ok(text) || strlen(text) <= 64);
}

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* `ls new` is the order of running, `ls delay` the timetable. */
static void check_order(const struct job_name *a, const struct job_name *b)
{
	char text_a[JOB_NAME_SIZE], text_b[JOB_NAME_SIZE];
	int order = compare((uint64_t)a->due_ms, (uint64_t)b->due_ms);

	if ((a->due_ms == JOB_DUE_NONE) != (b->due_ms == JOB_DUE_NONE))
		return;
	if (order == 0)
		order = compare(a->priority, b->priority);
	if (order == 0)
		order = fuzz_sign(strcmp(a->id, b->id));
	check_written(a, text_a);
	check_written(b, text_b);
	MUST(order == 0 || fuzz_sign(strcmp(text_a, text_b)) == order);
}

/* Ids sort by the time of sending, then by chance, of which they keep 35 bits. */
static void check_ids(const uint8_t *data, size_t size)
{
	uint64_t sent[2], chance[2];
	char id[2][JOB_ID_LEN + 1];
	int order;

	for (size_t i = 0; i < 2; i++) {
		sent[i] = fuzz_number(data, size, 16 * i);
		chance[i] = fuzz_number(data, size, 16 * i + 8) & UINT64_C(0x7ffffffff);
		job_id_format(sent[i], chance[i], id[i]);
		MUST(strlen(id[i]) == JOB_ID_LEN);
		MUST(job_id_sent_ns(id[i]) == sent[i]);
		for (size_t len = 1; len <= JOB_ID_LEN; len++)
			MUST(job_id_prefix_ok(id[i], len));
	}
	order = compare(sent[0], sent[1]);
	if (order == 0)
		order = compare(chance[0], chance[1]);
	MUST(fuzz_sign(strcmp(id[0], id[1])) == order);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct job_name a = name_from(data, size / 2);
	struct job_name b = name_from(data + size / 2, size - size / 2);

	check_text(text);
	check_queue_name(text);
	check_waiting(text);
	check_label(text);
	check_order(&a, &b);
	check_ids(data, size);
	free(text);
	return 0;
}
