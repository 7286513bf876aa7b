/* Why a job is not running: one sentence for people. What it says may be over when it is read. */
#include "spool/after.h"

#include <bsd/vis.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/visible.h"
#include "spool/batch.h"
#include "spool/deletion.h"
#include "spool/motion.h"
#include "spool/pause.h"
#include "spool/wait.h"
#include "sys/clock.h"

enum { USERS_SHOWN = 8 };

static __attribute__((format(printf, 1, 2))) char *sentence(const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return text;
}

static char *plain(const char *name)
{
	return visible(name, strlen(name), VIS_CSTYLE | VIS_NL | VIS_TAB);
}

/* --- it waits for a job, a batch or a resource --- */

static char *why_after_job(struct spool *spool, const char *id)
{
	struct job_place place;
	int found = motion_locate(spool, id, &place);

	if (found < 0)
		return NULL;
	if (found == 0 || place.state == JOB_DONE)
		return sentence("it waited for job %s, which %s", id,
		    deletion_is_marked(spool, id) == 1 ? "was deleted: a qwork buries it"
		                                       : "is over: a qwork lets it go on");
	return sentence("it waits for job %s, which is %s in queue %s", id,
	    job_state_name(place.state), place.queue);
}

static char *why_after_batch(struct spool *spool, const char *label)
{
	char *name = label_name(spool, SPOOL_BATCH, label), *shown = name ? plain(name) : NULL;
	struct batch_progress progress;
	char buried[48] = "", *text = NULL;

	if (!shown || batch_progress(spool, label, &progress) != 0)
		goto out;
	if (progress.buried > 0)
		snprintf(buried, sizeof buried, ", %zu of them buried", progress.buried);
	if (progress.outstanding == 0 && deletion_is_marked(spool, label) == 1)
		text = sentence(
		    "it waited for batch %s, of which a job was deleted: a qwork buries it", shown);
	else if (progress.outstanding == 0)
		text = sentence(
		    "it waited for batch %s, which is complete: a qwork lets it go on", shown);
	else
		text = sentence("it waits for batch %s: %zu of %zu outstanding%s", shown,
		    progress.outstanding, progress.outstanding + progress.finished, buried);
out:
	free(name);
	free(shown);
	return text;
}

/* Those that have a resource now: a few ids, and how many there are. */
struct users {
	struct spool *spool;
	const char *resource;
	char ids[USERS_SHOWN * (JOB_ID_LEN + 2) + 8];
	size_t len, count;
};

static bool uses(const struct meta *meta, const char *resource)
{
	for (size_t i = 0; i < meta->resources; i++)
		if (strcmp(meta->resource[i].name, resource) == 0)
			return true;
	return false;
}

static int add_user(void *arg, const struct job_place *place)
{
	struct users *users = arg;
	struct meta meta;
	const char *why;

	if (!place->ours || !place->name.meta)
		return 0;
	meta_init(&meta);
	if (spool_meta(users->spool, place, &meta, &why) == 0 && uses(&meta, users->resource) &&
	    users->count++ < USERS_SHOWN)
		users->len += (size_t)snprintf(users->ids + users->len,
		    sizeof users->ids - users->len, "%s%s", users->len ? ", " : "", place->name.id);
	meta_release(&meta);
	return 0;
}

static int find_users(struct users *users)
{
	struct strings queues = {0};
	int result = spool_queues(users->spool, &queues);

	for (size_t i = 0; result == 0 && i < queues.count; i++)
		if (spool_each(users->spool, queues.item[i], JOB_RUNNING, add_user, users) != 0 &&
		    errno != ENOENT)
			result = -1;
	strings_release(&queues);
	return result;
}

struct lacking {
	const struct queue *queue;
	const struct job_place *place;
	const char *shown;
	char *text;
};

static char *why_breaker(const struct lacking *l, const struct resource_status *status)
{
	int64_t wait = status->limits.until.until_ms - clock_real_ms();
	char text[WHEN_SIZE];

	if (status->limits.until.until_ms == OPEN_FOR_GOOD)
		return sentence("resource %s: breaker open until somebody closes it", l->shown);
	if (wait <= 0)
		return sentence("resource %s: breaker open, a probe is due", l->shown);
	duration_format_short(wait, text);
	return sentence("resource %s: breaker open for %s more%s", l->shown, text,
	    status->probing ? ", and one job probes" : "");
}

/* What the job itself says of it; 0: nothing. */
static unsigned own_limit(const struct lacking *l, const char *resource)
{
	unsigned limit = 0;
	struct meta meta;
	const char *why;

	meta_init(&meta);
	if (spool_meta(l->queue->spool, l->place, &meta, &why) == 0)
		for (size_t i = 0; i < meta.resources; i++)
			if (strcmp(meta.resource[i].name, resource) == 0)
				limit = meta.resource[i].jobs;
	meta_release(&meta);
	return limit;
}

/* It is not the number of those that run. */
static char *why_not_yet(const struct lacking *l, const struct limits *limits)
{
	char rate[LIMIT_SIZE];

	if (!queue_served(l->queue))
		return sentence("no qwork serves queue %s", l->queue->name);
	if (!limits->has_rate)
		return sentence("resource %s: a qwork gives it to this job soon", l->shown);
	rate_format(&limits->rate, rate);
	return sentence("resource %s: no more than %s start", l->shown, rate);
}

static char *why_limit(const struct lacking *l, const struct resource_status *status)
{
	struct users users = {.spool = l->queue->spool, .resource = status->name};
	const struct limits *limits = &status->limits;
	unsigned limit = limits->has_jobs ? limits->jobs : own_limit(l, status->name);

	size_t running;

	if (find_users(&users) != 0)
		return NULL;
	/* A process that a handler left behind has it still, though its job is over. */
	running = users.count > status->running ? users.count : status->running;
	if (limits->has_jobs && limit == 0)
		return sentence("resource %s: its limit is 0", l->shown);
	if (limits->window > 0 && running >= limits->window &&
	    (limit == 0 || limits->window < limit))
		return sentence(
		    "resource %s: its breaker was open and lets in %u at once: %zu running"
		    "%s%s%s",
		    l->shown, limits->window, running, users.count ? " (" : "", users.ids,
		    users.count ? ")" : "");
	if (limit > 0 && running >= limit)
		return sentence("resource %s: %zu of %u running%s%s%s", l->shown, running, limit,
		    users.count ? " (" : "", users.ids, users.count ? ")" : "");
	return why_not_yet(l, limits);
}

static int describe(void *arg, const struct resource_status *status)
{
	struct lacking *l = arg;

	if (status->limits.wrong)
		l->text = sentence("resource %s: its setting %s is not understood", l->shown,
		    status->limits.wrong);
	else
		l->text = status->limits.open ? why_breaker(l, status) : why_limit(l, status);
	return 0;
}

static char *why_resource(const struct queue *queue, const struct job_place *place)
{
	struct spool *spool = queue->spool;
	char *name = label_name(spool, SPOOL_RESOURCE, place->wait + 1);
	char *shown = name ? plain(name) : NULL;
	struct lacking lacking = {queue, place, shown, NULL};

	if (shown && resource_look(spool, name, describe, &lacking) != 0 && errno == ENOENT)
		lacking.text = why_not_yet(&lacking, &(struct limits){.has_rate = false});
	free(name);
	free(shown);
	return lacking.text;
}

static char *why_waiting(const struct queue *queue, const struct job_place *place)
{
	struct spool *spool = queue->spool;

	if (place->wait[0] == '@')
		return why_resource(queue, place);
	return job_id_ok(place->wait) ? why_after_job(spool, place->wait)
	                              : why_after_batch(spool, place->wait);
}

/* --- it is ready, delayed, running --- */

struct counting {
	const struct job_place *place;
	int64_t now_ms;
	size_t before;
};

static int count_before(void *arg, const struct job_place *other)
{
	struct counting *counting = arg;
	const struct job_name *a = &other->name, *b = &counting->place->name;

	if (!other->ours || (other->state == JOB_DELAYED && a->due_ms > counting->now_ms))
		return 0;
	if (a->priority < b->priority || (a->priority == b->priority && strcmp(a->id, b->id) < 0))
		counting->before++;
	return 0;
}

static char *why_paused(const struct queue *queue, const struct pause *pause)
{
	char text[WHEN_SIZE];

	if (pause->kind != PAUSE_TIMED)
		return sentence("queue %s is paused", queue->name);
	duration_format_short(pause->until_ms - clock_real_ms(), text);
	return sentence("queue %s is paused for %s more", queue->name, text);
}

static char *why_ready(const struct queue *queue, const struct job_place *place)
{
	struct spool *spool = queue->spool;
	struct counting counting = {.place = place, .now_ms = clock_real_ms()};
	struct pause pause = pause_look(queue);

	if (pause_holds(&pause))
		return why_paused(queue, &pause);
	if (!queue_served(queue))
		return sentence("no qwork serves queue %s", queue->name);
	if (spool_each(spool, queue->name, JOB_READY, count_before, &counting) != 0 ||
	    spool_each(spool, queue->name, JOB_DELAYED, count_before, &counting) != 0)
		return NULL;
	return counting.before > 0 ? sentence("%zu before it", counting.before)
	                           : sentence("it is the next of its queue");
}

static char *why_delayed(const struct queue *queue, const struct job_place *place)
{
	int64_t wait = place->name.due_ms - clock_real_ms();
	char text[WHEN_SIZE];

	if (place->name.due_ms == JOB_DUE_NONE)
		return sentence("it is in delay/ without a time");
	if (wait <= 0)
		return why_ready(queue, place);
	duration_format_short(wait, text);
	return sentence("it is due in %s", text);
}

static char *why_running(struct spool *spool, const struct job_place *place)
{
	struct job_runner runner;
	int held = spool_runner(spool, place, &runner);

	if (held < 0)
		return NULL;
	if (held == 0)
		return sentence("its worker is lost: a qwork tries it again");
	return runner.handler ? sentence("it runs, as process %d", (int)runner.handler)
	                      : sentence("it runs");
}

static bool is_there(struct spool *spool, const struct job_place *place)
{
	int dir = place_opendir(spool, place);
	struct stat st;
	bool there = dir >= 0 && fstatat(dir, place->file, &st, AT_SYMLINK_NOFOLLOW) == 0;

	sys_discard(&dir);
	return there;
}

static char *why(const struct queue *queue, const struct job_place *place)
{
	switch (place->state) {
	case JOB_READY:
		return why_ready(queue, place);
	case JOB_DELAYED:
		return why_delayed(queue, place);
	case JOB_RUNNING:
		return why_running(queue->spool, place);
	case JOB_WAITING:
		return why_waiting(queue, place);
	case JOB_BURIED:
		return sentence("it is buried; qkick gives it another chance");
	case JOB_DONE:
		return sentence("it is finished");
	default:
		return sentence("it is being sent");
	}
}

char *spool_why(struct spool *spool, const struct job_place *place)
{
	struct queue queue;
	char *text = NULL;

	if (queue_open(&queue, spool, place->queue, false) != 0)
		return NULL;
	if (is_there(spool, place))
		text = why(&queue, place);
	queue_close(&queue);
	return text;
}
