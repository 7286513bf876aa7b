/* qstat: show queues and jobs. See qstat(1). */
#include "figures.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/visible.h"

static const char help[] =
    "usage: qstat [-q QUEUE] [-j] [QUEUE | JOB]...\n"
    "Shows all queues; of a QUEUE its jobs; of a JOB (an id, a unique beginning of one, or\n"
    "a path) all that is known, its history included.\n"
    "\n"
    "  -j, --json              one JSON object a line\n"
    "  -S, --stats             of all queues, or each QUEUE, what was counted and how long it "
    "took\n"
    "      --relay URL         instead of a spool, the streams of qrelay(1)\n"
    "  -w, --why               of a JOB only why it is not running\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       only this queue\n"
    "  -v, --verbose           the path of the spool, too\n"
    "  -h, --help, -V, --version\n";

enum { TRIES = 5 };

struct stat_tool {
	struct cli cli;
	bool json, why, stats;
	struct spool *spool;
	int64_t now_ms;
};

/* --- all queues --- */

struct row {
	const char *name;
	struct queue_count count;
};

static void age(int64_t ms, char text[static WHEN_SIZE])
{
	if (ms == JOB_DUE_NONE)
		snprintf(text, WHEN_SIZE, "-");
	else
		duration_format_short(ms, text);
}

/* What was sent before the clock was set back has no age yet. */
static int64_t since(const struct stat_tool *t, int64_t ms)
{
	if (ms == JOB_DUE_NONE)
		return ms;
	return ms < t->now_ms ? t->now_ms - ms : 0;
}

enum { SHOWN_SIZE = QUEUE_NAME_SIZE + WHEN_SIZE + 16 };

/* The name, and whether and for how long it is paused; its length. */
static int shown_name(
    const struct stat_tool *t, const struct row *row, char text[static SHOWN_SIZE])
{
	const struct queue_count *c = &row->count;
	char left[WHEN_SIZE];

	if (!c->paused)
		return snprintf(text, SHOWN_SIZE, "%s", row->name);
	if (c->paused_until_ms == JOB_DUE_NONE)
		return snprintf(text, SHOWN_SIZE, "%s (paused)", row->name);
	duration_format_short(c->paused_until_ms - t->now_ms, left);
	return snprintf(text, SHOWN_SIZE, "%s (paused, %s left)", row->name, left);
}

/* Columns that most spools do not need. */
struct columns {
	int width; /* of the name */
	bool waiting, finished, strange;
};

static void print_row(
    const struct stat_tool *t, const struct row *row, const struct columns *columns)
{
	const struct queue_count *c = &row->count;
	char name[SHOWN_SIZE], oldest[WHEN_SIZE], next[WHEN_SIZE];

	shown_name(t, row, name);
	age(since(t, c->oldest_ms), oldest);
	age(c->next_ms == JOB_DUE_NONE ? JOB_DUE_NONE : c->next_ms - t->now_ms, next);
	printf("%-*s %7zu %7zu %7zu", columns->width, name, c->ready, c->running, c->delayed);
	if (columns->waiting)
		printf(" %7zu", c->waiting);
	printf(" %7zu", c->buried);
	if (columns->finished)
		printf(" %8zu", c->finished);
	if (columns->strange)
		printf(" %7zu", c->strange);
	printf(" %8s %8s\n", oldest, next);
}

static void json_time(const char *key, int64_t ms)
{
	char text[WHEN_SIZE];

	if (ms == JOB_DUE_NONE) {
		printf(",\"%s\":null", key);
		return;
	}
	when_rfc3339(ms, text);
	printf(",\"%s\":\"%s\"", key, text);
}

static void print_row_json(const struct stat_tool *t, const struct row *row)
{
	const struct queue_count *c = &row->count;

	printf("{\"queue\":\"%s\",\"ready\":%zu,\"running\":%zu,\"delayed\":%zu,\"waiting\":%zu,"
	       "\"buried\":%zu,\"finished\":%zu,\"strange\":%zu,\"paused\":%s",
	    row->name, c->ready, c->running, c->delayed, c->waiting, c->buried, c->finished,
	    c->strange, c->paused ? "true" : "false");
	json_time("paused_until", c->paused_until_ms);
	printf(",\"oldest_seconds\":");
	if (c->oldest_ms == JOB_DUE_NONE)
		printf("null");
	else
		printf("%.3f", (double)since(t, c->oldest_ms) / 1000);
	json_time("next_due", c->next_ms);
	puts("}");
}

static void print_head(const struct columns *columns)
{
	printf("%-*s %7s %7s %7s", columns->width, "QUEUE", "READY", "RUNNING", "DELAYED");
	if (columns->waiting)
		printf(" %7s", "WAITING");
	printf(" %7s", "BURIED");
	if (columns->finished)
		printf(" %8s", "FINISHED");
	if (columns->strange)
		printf(" %7s", "STRANGE");
	printf(" %8s %8s\n", "OLDEST", "NEXT");
}

static void print_table(const struct stat_tool *t, const struct row *rows, size_t count)
{
	struct columns columns = {.width = 5};

	for (size_t i = 0; i < count; i++) {
		const struct queue_count *c = &rows[i].count;
		char name[SHOWN_SIZE];
		int len = shown_name(t, &rows[i], name);

		columns.width = len > columns.width ? len : columns.width;
		columns.waiting |= c->waiting > 0;
		columns.finished |= c->finished > 0;
		columns.strange |= c->strange > 0;
	}
	print_head(&columns);
	for (size_t i = 0; i < count; i++)
		print_row(t, &rows[i], &columns);
}

static int show_queues(const struct stat_tool *t)
{
	struct strings names = {0};
	struct row *rows;
	int status = EX_OK;
	size_t used = 0;

	if (t->cli.queue ? strings_add(&names, t->cli.queue) != 0
	                 : spool_queues(t->spool, &names) != 0)
		return cli_complain(t->spool, NULL);
	rows = calloc(names.count + 1, sizeof *rows);
	if (!rows)
		err(EX_OSERR, NULL);
	for (size_t i = 0; i < names.count; i++) {
		rows[used].name = names.item[i];
		if (spool_count(t->spool, names.item[i], &rows[used].count) == 0)
			used++;
		else if (errno != ENOENT) /* ENOENT: removed meanwhile */
			status = cli_complain(t->spool, NULL);
	}
	for (size_t i = 0; t->json && i < used; i++)
		print_row_json(t, &rows[i]);
	if (!t->json)
		print_table(t, rows, used);
	free(rows);
	strings_release(&names);
	return status;
}

/* --- the jobs of a queue --- */

static void time_text(int64_t ms, char text[static WHEN_SIZE])
{
	if (ms == JOB_DUE_NONE)
		snprintf(text, WHEN_SIZE, "-");
	else
		when_rfc3339(ms, text);
}

static int64_t sent_ms(const struct job_place *place)
{
	return (int64_t)(job_id_sent_ns(place->name.id) / 1000000);
}

static int64_t due_of(const struct job_place *place)
{
	return place->state == JOB_DELAYED || place->state == JOB_WAITING ? place->name.due_ms
	                                                                  : JOB_DUE_NONE;
}

/* Until when a finished one stays. */
static int64_t kept_until(const struct job_place *place)
{
	return place->state == JOB_DONE ? place->name.due_ms : JOB_DUE_NONE;
}

/* What a job waits for, as it was named; of a label that was cut, the label. */
struct cause {
	const char *kind; /* NULL: nothing */
	char name[LABEL_SIZE];
};

static struct cause cause_of(const struct job_place *place)
{
	bool resource = place->wait[0] == '@';
	const char *label = place->wait + resource;
	struct cause cause = {.kind = resource ? "resource" : job_id_ok(label) ? "job" : "batch"};

	if (place->state != JOB_WAITING)
		cause.kind = NULL;
	if (label_decode(label, cause.name) != 0)
		snprintf(cause.name, sizeof cause.name, "%s", label);
	return cause;
}

static void json_cause(const struct job_place *place)
{
	struct cause cause = cause_of(place);

	printf(",\"waits_for\":");
	if (!cause.kind) {
		printf("null");
		return;
	}
	printf("{\"%s\":", cause.kind);
	cli_json_string(stdout, cause.name);
	putchar('}');
}

static void put_cause(const char *before, const struct job_place *place)
{
	struct cause cause = cause_of(place);
	char *name;

	if (!cause.kind)
		return;
	name = cli_visible(cause.name);
	printf("%s%s %s", before, cause.kind, name);
	free(name);
}

static void list_job(const struct stat_tool *t, const struct job_place *place)
{
	char sent[WHEN_SIZE], due[WHEN_SIZE];

	if (t->json) {
		printf("{\"queue\":\"%s\",\"state\":\"%s\",\"id\":\"%s\",\"priority\":%u,"
		       "\"attempts\":%u",
		    place->queue, job_state_name(place->state), place->name.id,
		    place->name.priority, place->name.attempts);
		json_time("sent", sent_ms(place));
		json_time("due", due_of(place));
		json_time("kept_until", kept_until(place));
		json_cause(place);
		puts("}");
		return;
	}
	time_text(sent_ms(place), sent);
	time_text(place->state == JOB_DONE ? kept_until(place) : due_of(place), due);
	printf("%-8s %8u %s %8u %s %s", job_state_name(place->state), place->name.priority,
	    place->name.id, place->name.attempts, sent, due);
	put_cause(" for ", place);
	putchar('\n');
}

/* A foreign file that waits to be adopted is ready; all else is strange. */
static void list_foreign(const struct stat_tool *t, const struct job_place *place)
{
	const char *why = spool_strange(t->spool, place);
	char *name = cli_visible(place->file);

	if (t->json) {
		printf("{\"queue\":\"%s\",\"state\":\"%s\",\"name\":", place->queue,
		    why ? "strange" : "ready");
		cli_json_string(stdout, place->file);
		cli_json_member("reason", why);
		puts("}");
	} else {
		printf("%-8s %8s %s%s%s%s\n", why ? "strange" : "ready", "-", name, why ? " (" : "",
		    why ? why : "", why ? ")" : "");
	}
	free(name);
}

static int collect(void *arg, const struct job_place *place)
{
	return places_add(arg, place);
}

/* As they will run: by priority, then age; delayed ones by time. */
static int in_order(const void *a, const void *b)
{
	const struct job_place *x = a, *y = b;

	if (x->ours != y->ours)
		return x->ours ? -1 : 1;
	if (!x->ours)
		return strcmp(x->file, y->file);
	if ((x->state == JOB_DELAYED || x->state == JOB_DONE) && x->name.due_ms != y->name.due_ms)
		return x->name.due_ms < y->name.due_ms ? -1 : 1;
	if (x->name.priority != y->name.priority)
		return x->name.priority < y->name.priority ? -1 : 1;
	return strcmp(x->name.id, y->name.id);
}

static int list_state(const struct stat_tool *t, const char *queue, enum job_state state)
{
	struct places places = {0};
	int status = EX_OK;

	if (spool_each(t->spool, queue, state, collect, &places) != 0)
		status = cli_complain(t->spool, NULL);
	if (places.count > 1)
		qsort(places.item, places.count, sizeof *places.item, in_order);
	for (size_t i = 0; i < places.count; i++) {
		if (places.item[i].ours)
			list_job(t, &places.item[i]);
		else
			list_foreign(t, &places.item[i]);
	}
	places_release(&places);
	return status;
}

static int show_queue(const struct stat_tool *t, const char *queue)
{
	static const enum job_state order[] = {
	    JOB_RUNNING, JOB_READY, JOB_DELAYED, JOB_WAITING, JOB_BURIED, JOB_DONE};
	int status = EX_OK;

	if (!t->json)
		printf("%-8s %8s %-20s %8s %-24s %s\n", "STATE", "PRIORITY", "ID", "ATTEMPTS",
		    "SENT", "DUE");
	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		status = cli_first_failure(status, list_state(t, queue, order[i]));
	return status;
}

/* --- one job --- */

struct details {
	const struct job_place *place;
	struct meta meta;
	const char *damage; /* of the options, or NULL */
	struct stat st;
	struct job_runner runner;
	bool held;
	char *log;
};

static int fetch(const struct stat_tool *t, struct details *d)
{
	int fd = spool_payload(t->spool, d->place);
	int held;

	if (fd < 0 || fstat(fd, &d->st) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	close(fd);
	if (spool_meta(t->spool, d->place, &d->meta, &d->damage) != 0 && errno != EBADMSG)
		return -1;
	held = d->place->state == JOB_RUNNING ? spool_runner(t->spool, d->place, &d->runner) : 0;
	d->held = held == 1;
	d->log = spool_log(t->spool, d->place);
	return d->log && held >= 0 ? 0 : -1;
}

static void put_strings(const char *key, const struct strings *list)
{
	for (size_t i = 0; i < list->count; i++) {
		char *text = cli_visible(list->item[i]);

		printf("%s: %s\n", key, text);
		free(text);
	}
}

static void put_string(const char *key, const char *value)
{
	char *text = value ? cli_visible(value) : NULL;

	if (text)
		printf("%s: %s\n", key, text);
	free(text);
}

static void put_order(const struct meta *meta)
{
	char text[WHEN_SIZE];

	put_string("key", meta->key);
	if (meta->key && meta->key_until_start)
		puts("key-until: start");
	put_string("batch", meta->batch);
	put_strings("after", &meta->after);
	for (size_t i = 0; i < meta->resources; i++)
		put_string("resource", meta->resource[i].name);
	if (meta->has_keep) {
		duration_format(meta->keep_ms, text);
		printf("keep: %s\n", text);
	}
}

static void put_options(const struct meta *meta)
{
	char text[BACKOFF_SIZE];

	if (meta->has_attempts)
		printf("attempts-allowed: %u\n", meta->attempts);
	if (meta->has_backoff) {
		backoff_format(&meta->backoff, text);
		printf("backoff: %s\n", text);
	}
	if (meta->has_timeout) {
		duration_format(meta->timeout_ms, text);
		printf("timeout: %s\n", text);
	}
	if (meta->has_expires) {
		when_rfc3339(meta->expires_ms, text);
		printf("expires: %s\n", text);
	}
	put_order(meta);
	put_strings("argument", &meta->args);
	put_strings("env", &meta->env);
	put_strings("header", &meta->headers);
}

static void put_runner(const struct details *d)
{
	if (d->place->state != JOB_RUNNING)
		return;
	if (!d->held) {
		puts("running: its worker is lost; a qwork recovers it");
		return;
	}
	printf("running:");
	if (d->runner.worker)
		printf(" qwork pid %d", (int)d->runner.worker);
	if (d->runner.handler)
		printf(" handler pid %d", (int)d->runner.handler);
	puts(d->runner.worker || d->runner.handler ? "" : " by another user's process");
	if (*d->runner.progress) {
		char *text = cli_visible(d->runner.progress);

		printf("progress: %s\n", text);
		free(text);
	}
}

/* The log is encoded already when it is written; but anybody may have written there. */
static void put_history(char *log)
{
	char *rest = log, *line;

	if (*log)
		puts("history:");
	while ((line = strsep(&rest, "\n")) != NULL) {
		char *text;

		if (!*line && !rest)
			break;
		text = cli_terminal_text(line, strlen(line));
		printf("  %s\n", text);
		free(text);
	}
}

static void put_state(const struct job_place *place)
{
	char sent[WHEN_SIZE], due[WHEN_SIZE], until[WHEN_SIZE];

	time_text(sent_ms(place), sent);
	time_text(due_of(place), due);
	time_text(kept_until(place), until);
	printf("id: %s\nqueue: %s\nstate: %s\npriority: %u\nattempts: %u\nsent: %s\n",
	    place->name.id, place->queue, job_state_name(place->state), place->name.priority,
	    place->name.attempts, sent);
	if (due_of(place) != JOB_DUE_NONE)
		printf("due: %s\n", due);
	if (place->state == JOB_DONE)
		printf("kept-until: %s\n", until);
	if (place->state == JOB_WAITING) {
		put_cause("waits-for: ", place);
		putchar('\n');
	}
}

static void put_file(const struct stat_tool *t, const struct details *d)
{
	char path[PLACE_PATH_SIZE];
	char *spool, *file, *name;

	place_path(d->place, path);
	spool = cli_visible(spool_path(t->spool));
	file = cli_visible(path);
	printf("size: %lld\nsender: %u\nfile: %s/%s\n", (long long)d->st.st_size,
	    (unsigned)d->st.st_uid, spool, file);
	free(spool);
	free(file);
	if (d->meta.name) {
		name = cli_visible(d->meta.name);
		printf("name: %s\n", name);
		free(name);
	}
}

static void show_details(const struct stat_tool *t, const struct details *d)
{
	put_state(d->place);
	put_file(t, d);
	put_runner(d);
	if (d->damage)
		printf("options: %s\n", d->damage);
	put_options(&d->meta);
	put_history(d->log);
}

static void json_strings(const char *key, const struct strings *list)
{
	printf(",\"%s\":[", key);
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0)
			putchar(',');
		cli_json_string(stdout, list->item[i]);
	}
	putchar(']');
}

static void json_order(const struct meta *meta)
{
	cli_json_member("key", meta->key);
	cli_json_member("batch", meta->batch);
	json_strings("after", &meta->after);
	printf(",\"resources\":[");
	for (size_t i = 0; i < meta->resources; i++) {
		if (i > 0)
			putchar(',');
		cli_json_string(stdout, meta->resource[i].name);
	}
	putchar(']');
	if (meta->has_keep)
		printf(",\"keep_seconds\":%.3f", (double)meta->keep_ms / 1000);
}

static void show_details_json(const struct details *d)
{
	const struct job_place *place = d->place;
	char text[BACKOFF_SIZE];

	printf("{\"queue\":\"%s\",\"state\":\"%s\",\"id\":\"%s\",\"priority\":%u,\"attempts\":%u",
	    place->queue, job_state_name(place->state), place->name.id, place->name.priority,
	    place->name.attempts);
	json_time("sent", sent_ms(place));
	json_time("due", due_of(place));
	json_time("kept_until", kept_until(place));
	json_cause(place);
	printf(",\"size\":%lld,\"sender\":%u", (long long)d->st.st_size, (unsigned)d->st.st_uid);
	cli_json_member("file", place->file);
	cli_json_member("name", d->meta.name);
	printf(",\"worker\":%d,\"handler\":%d", (int)d->runner.worker, (int)d->runner.handler);
	cli_json_member("progress", *d->runner.progress ? d->runner.progress : NULL);
	if (d->meta.has_attempts)
		printf(",\"attempts_allowed\":%u", d->meta.attempts);
	if (d->meta.has_backoff) {
		backoff_format(&d->meta.backoff, text);
		printf(",\"backoff\":\"%s\"", text);
	}
	if (d->meta.has_timeout)
		printf(",\"timeout_seconds\":%.3f", (double)d->meta.timeout_ms / 1000);
	json_time("expires", d->meta.has_expires ? d->meta.expires_ms : JOB_DUE_NONE);
	json_order(&d->meta);
	json_strings("arguments", &d->meta.args);
	json_strings("env", &d->meta.env);
	json_strings("headers", &d->meta.headers);
	cli_json_member("damage", d->damage);
	cli_json_member("history", d->log);
	puts("}");
}

/* It may move between being found and being looked at. */
static int fetch_moving(const struct stat_tool *t, struct details *d, struct job_word *word)
{
	int fetched = fetch(t, d);

	for (int i = 0; fetched != 0 && errno == ENOENT && i < TRIES; i++) {
		word->matches = 0;
		if (spool_find(t->spool, t->cli.queue, word, 1) != 0 || word->matches != 1) {
			errno = ENOENT;
			return -1;
		}
		meta_release(&d->meta);
		free(d->log);
		d->log = NULL;
		fetched = fetch(t, d);
	}
	return fetched;
}

static int show_job(const struct stat_tool *t, struct job_word *word)
{
	struct details d = {.place = &word->place};
	int status = cli_found(t->spool, word);

	if (status != EX_OK)
		return status;
	if (!word->place.ours) {
		list_foreign(t, &word->place);
		return EX_OK;
	}
	meta_init(&d.meta);
	if (fetch_moving(t, &d, word) != 0)
		status = cli_complain(t->spool, word->text);
	else if (t->json)
		show_details_json(&d);
	else
		show_details(t, &d);
	meta_release(&d.meta);
	free(d.log);
	return status;
}

static void print_why(const struct stat_tool *t, const struct job_place *place, const char *why)
{
	if (!t->json) {
		printf("%s: %s\n", place->name.id, why);
		return;
	}
	printf("{\"queue\":\"%s\",\"id\":\"%s\",\"state\":\"%s\",\"why\":", place->queue,
	    place->name.id, job_state_name(place->state));
	cli_json_string(stdout, why);
	puts("}");
}

static int show_why(const struct stat_tool *t, struct job_word *word)
{
	int status = cli_found(t->spool, word);
	char *why = NULL;

	if (status != EX_OK)
		return status;
	if (!word->place.ours) {
		list_foreign(t, &word->place);
		return EX_OK;
	}
	for (int i = 0; !why && i < TRIES; i++) {
		why = spool_why(t->spool, &word->place);
		if (why || errno != ENOENT)
			break;
		word->matches = 0; /* it moved */
		if (spool_find(t->spool, t->cli.queue, word, 1) != 0 || word->matches != 1)
			break;
	}
	if (!why)
		return cli_complain(t->spool, word->text);
	print_why(t, &word->place, why);
	free(why);
	return EX_OK;
}

/* --- what was counted --- */

static int no_queue(const struct stat_tool *t, const char *queue)
{
	char *name = cli_visible(queue);

	warnx("no queue %s in %s", name, spool_path(t->spool));
	free(name);
	return EX_NOINPUT;
}

static int show_figures(const struct stat_tool *t, const char *queue)
{
	struct queue_stats stats;
	bool some = spool_stats(t->spool, queue, &stats) == 0;

	if (!some && errno == EBADMSG) {
		warnx("%s is damaged, or of another version; remove it for new statistics",
		    spool_place(t->spool));
		return EX_DATAERR;
	}
	if (!some && errno != ENOENT)
		return cli_complain(t->spool, NULL);
	(t->json ? figures_json : figures_table)(queue, some ? &stats : NULL);
	return EX_OK;
}

static int show_figures_of(const struct stat_tool *t, size_t count, char *const *queues)
{
	int status = EX_OK;

	for (size_t i = 0; i < count; i++) {
		bool there = queue_name_ok(queues[i]) && spool_has_queue(t->spool, queues[i]) == 1;

		if (i > 0 && !t->json)
			putchar('\n');
		status = cli_first_failure(
		    status, there ? show_figures(t, queues[i]) : no_queue(t, queues[i]));
	}
	return status;
}

static int show_stats(const struct stat_tool *t, size_t count, char *const *queues)
{
	struct strings names = {0};
	int status;

	if (count > 0)
		return show_figures_of(t, count, queues);
	if (t->cli.queue ? strings_add(&names, t->cli.queue) != 0
	                 : spool_queues(t->spool, &names) != 0)
		return cli_complain(t->spool, NULL);
	status = show_figures_of(t, names.count, names.item);
	strings_release(&names);
	return status;
}

/* A word that names a queue is a queue, anything else must be a job. */
static int show_word(const struct stat_tool *t, const char *text)
{
	struct job_word word = {.text = text};

	if (!t->why && !t->cli.queue && queue_name_ok(text) && spool_has_queue(t->spool, text))
		return show_queue(t, text);
	if (spool_find(t->spool, t->cli.queue, &word, 1) != 0)
		return cli_complain(t->spool, NULL);
	if (word.matches == 0) {
		char *name = cli_visible(text);

		warnx(
		    "no %s %s in %s", t->why ? "job" : "queue or job", name, spool_path(t->spool));
		free(name);
		return EX_NOINPUT;
	}
	return t->why ? show_why(t, &word) : show_job(t, &word);
}

static int show(const struct stat_tool *t, int count, char *const *words)
{
	int status = EX_OK;

	if (t->cli.verbose)
		warnx("spool %s", spool_path(t->spool));
	if (t->cli.queue && !spool_has_queue(t->spool, t->cli.queue))
		return no_queue(t, t->cli.queue);
	if (t->stats)
		return show_stats(t, (size_t)count, words);
	if (count == 0)
		return show_queues(t);
	for (int i = 0; i < count; i++)
		status = cli_first_failure(status, show_word(t, words[i]));
	return status;
}

/* Only qrelay speaks to servers: the one beside this tool, or else in $PATH. */
_Noreturn static void show_streams(const struct stat_tool *t, const char *url)
{
	char queue[QUEUE_NAME_SIZE], path[PATH_MAX];
	const char *argv[7] = {"qrelay", "stat", url};
	ssize_t len = readlink("/proc/self/exe", path, sizeof path);
	char *slash = len > 0 ? memrchr(path, '/', (size_t)len) : NULL;
	size_t count = 3;

	if (t->json)
		argv[count++] = "--json";
	if (t->cli.queue) {
		snprintf(queue, sizeof queue, "%s", t->cli.queue);
		argv[count++] = "--queue";
		argv[count] = queue;
	}
	if (slash && slash + sizeof "/qrelay" <= path + sizeof path) {
		strcpy(slash, "/qrelay");
		execv(path, (char *const *)(uintptr_t)argv);
	}
	execvp("qrelay", (char *const *)(uintptr_t)argv);
	err(EX_UNAVAILABLE, "qrelay, which shows streams");
}

enum { OPT_RELAY = 256 };

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
	    {"relay", required_argument, NULL, OPT_RELAY}, {"why", no_argument, NULL, 'w'},
	    {"stats", no_argument, NULL, 'S'}, CLI_LONG};
	struct stat_tool t = {0};
	const char *relay = NULL;
	int option, status;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":jwS" CLI_SHORT, options, NULL)) != -1) {
		if (option == 'j')
			t.json = true;
		else if (option == 'w')
			t.why = true;
		else if (option == 'S')
			t.stats = true;
		else if (option == OPT_RELAY)
			relay = optarg;
		else
			cli_option(&t.cli, option, help);
	}
	if (t.why && optind == argc)
		cli_usage("--why: of which job?");
	if (t.why && t.stats)
		cli_usage("--why and --stats exclude each other");
	if (relay && (t.why || t.stats || optind < argc))
		cli_usage("--relay shows streams: of one queue with --queue");
	if (relay)
		show_streams(&t, relay);
	t.now_ms = cli_now_ms();
	t.spool = cli_open(&t.cli, false, false);
	status = show(&t, argc - optind, argv + optind);
	cli_finish_output();
	spool_close(t.spool);
	return status;
}
