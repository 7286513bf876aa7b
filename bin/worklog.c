#include "worklog.h"

#include <stdio_ext.h>

#include "format/logfmt.h"

/* One line in one write, so that lines of several processes do not mix. */
void worklog_begin(void)
{
	static char line[8192];

	setvbuf(stderr, line, _IOLBF, sizeof line);
}

static void put_now(void)
{
	char text[WHEN_SIZE];

	when_rfc3339(cli_now_ms(), text);
	fprintf(stderr, "time=%s", text);
}

static void put_due(int64_t due_ms)
{
	char text[WHEN_SIZE];

	if (due_ms == JOB_DUE_NONE)
		return;
	duration_format(due_ms - cli_now_ms(), text);
	fprintf(stderr, " wait=%s", text);
	when_rfc3339(due_ms, text);
	fprintf(stderr, " due=%s", text);
}

static const char *outcome_word(enum work_outcome outcome)
{
	static const char *const words[] = {"finished", "retry", "buried", "returned", "strange",
	    "held", "note", "deferred", "relayed"};

	return words[outcome];
}

static const char *name_key(enum work_outcome outcome)
{
	return outcome == WORK_STRANGE ? "name" : outcome == WORK_HELD ? "handler" : "place";
}

/* A line that cannot be written (full disk) is lost, and if half of it was, the next does
 * not go on behind it. */
void worklog(const struct work_event *e)
{
	static bool torn;

	if (torn)
		fputc('\n', stderr);
	put_now();
	if (e->queue)
		logfmt_put(stderr, "queue", e->queue);
	if (e->id)
		fprintf(stderr, " job=%s", e->id);
	if (e->id && e->attempts > 0)
		fprintf(stderr, " attempt=%u of=%u", e->attempt, e->attempts);
	fprintf(stderr, " outcome=%s", outcome_word(e->outcome));
	if (e->cause)
		logfmt_put(stderr, "cause", e->cause);
	if (!e->id && e->attempt > 0)
		fprintf(stderr, " line=%u", e->attempt);
	if (e->name)
		logfmt_put(stderr, name_key(e->outcome), e->name);
	if (e->reason)
		logfmt_put(stderr, "reason", e->reason);
	logfmt_status(stderr, e->status);
	if (e->seconds >= 0)
		fprintf(stderr, " seconds=%.3f", e->seconds);
	put_due(e->due_ms);
	fputc('\n', stderr);
	torn = fflush(stderr) != 0;
	if (torn)
		__fpurge(stderr);
}

int worklog_moved(const struct spool *spool, const char *queue)
{
	warnx("%s%s%s: a directory of the queue was removed or moved", spool_path(spool),
	    queue ? "/" : "", queue ? queue : "");
	return EX_TEMPFAIL;
}
