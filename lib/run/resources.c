/*
 * Jobs that wait for resources, and what the ends of attempts say of these.
 *
 * Of each resource for which jobs of this queue wait, the first names are kept, and only the very first is
 * in the backlog when there is reason to try it: a slot was closed, a file of the resource changed, a
 * time came, or a scan is made. If it gets what it needs, the next is tried. So 200,000 jobs that a
 * breaker holds cost a window of names, and one attempt to start at a time.
 */
#include "run/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "spool/links.h"
#include "spool/wait.h"
#include "sys/clock.h"

enum { NOT_WATCHED = -1, UNWATCHABLE = -2 };

/* Before whose turn it is to probe nobody else does, for so long. */
enum { YIELD_MS = 500 };

enum {
	BLOCKED_MAX = 4096, /* resources that are watched; others are tried with each scan only */
	BLOCKED_MANY = 256, /* of those beyond, fewer names are kept */
	NAMES_MAX = 1024,
	NAMES_FEW = 16,
	TRIES_MAX = 12,
	UNWATCHED_MS = 1000, /* as without inotify */
	BUSY_MS = 10,
	BUSY_DOUBLINGS = 7, /* to 1.3 s */
	SETTLED_S = 1,      /* a directory that was changed just now may have changed again */
};

/* PROBE: the event of the last close comes a little before the lock falls; and who only probed a slot has had its
 * lock for an instant. */
static const int64_t again_after[] = {10, 90, 400};
enum { STAGES = sizeof again_after / sizeof *again_after };

struct blocked {
	LIST_ENTRY(blocked) link;
	char wait_name[WAIT_NAME_SIZE]; /* '@' and the label */
	struct window window;           /* of names of this queue, as the backlog has them */
	struct timespec read;           /* st_mtim of the directory when it was read */
	bool unread;                    /* there are names that the window was not told of */
	bool fed;                       /* the first is in the backlog */
	bool stays;                     /* it was tried, and still waits here */
	unsigned char tries;            /* how often the first could not be tried */
	int dir_watch, slot_watch;      /* or one of these: */
	unsigned stage;                 /* of again_after[] */
	unsigned busy;                  /* how often in a row its state was locked */
	int64_t try_at;                 /* monotonic ms */
	/* IN-TURN */
	char after
	    [TURN_SIZE];   /* the order of the window begins behind this one; "": from the first */
	bool others_first; /* before ours, one of another queue */
};

static struct blocked *find(const struct worker *w, const char *wait_name)
{
	struct blocked *b;

	LIST_FOREACH (b, &w->blocked, link)
		if (strcmp(b->wait_name, wait_name) == 0)
			return b;
	return NULL;
}

static struct blocked *create(struct worker *w, const char *wait_name)
{
	struct blocked *b = w->blocked_count < BLOCKED_MAX ? calloc(1, sizeof *b) : NULL;

	if (!b) {
		if (w->blocked_count < BLOCKED_MAX)
			worker_trouble(w, "no memory for what waits for a resource", errno);
		return NULL;
	}
	snprintf(b->wait_name, sizeof b->wait_name, "%s", wait_name);
	window_init(&b->window, w->blocked_count < BLOCKED_MANY ? NAMES_MAX : NAMES_FEW);
	b->unread = true;
	b->dir_watch = b->slot_watch = NOT_WATCHED;
	b->try_at = NEVER;
	LIST_INSERT_HEAD(&w->blocked, b, link);
	w->blocked_count++;
	return b;
}

static struct blocked *find_or_create(struct worker *w, const char *wait_name)
{
	struct blocked *b = find(w, wait_name);

	return b ? b : create(w, wait_name);
}

static void forget(struct worker *w, struct blocked *b)
{
	watch_remove(&w->watch, b->dir_watch);
	watch_remove(&w->watch, b->slot_watch);
	if (b->window.count == 0)
		wait_remove(w->queue.spool, b->wait_name); /* fails if it is not empty */
	window_clear(&b->window);
	LIST_REMOVE(b, link);
	w->blocked_count--;
	free(b);
}

void resources_release(struct worker *w)
{
	struct blocked *b, *next;

	/* cppcheck-suppress unknownMacro */
	LIST_FOREACH_SAFE (b, &w->blocked, link, next)
		forget(w, b);
}

bool resources_block(const struct worker *w)
{
	return !LIST_EMPTY(&w->blocked);
}

/* --- events --- */

/* Not if it is not there; and beyond the number of watches that a user may have, ask instead. */
static int add_watch(struct worker *w, const struct blocked *b, const char *sub, uint32_t mask)
{
	char path[LABEL_SIZE + 8];
	int top = spool_dir(w->queue.spool, SPOOL_RESOURCE, false), fd, added;

	if (top < 0 || w->watch.fd < 0)
		return NOT_WATCHED;
	snprintf(path, sizeof path, "%s%s", b->wait_name + 1, sub);
	fd = sys_opendir(top, path);
	if (fd < 0)
		return errno == ENOENT ? NOT_WATCHED : UNWATCHABLE;
	added = watch_add(&w->watch, fd, mask);
	sys_discard(&fd);
	return added >= 0 ? added : UNWATCHABLE;
}

/* True if something is watched now that was not before: what happened until then was not seen. */
static bool watch(struct worker *w, struct blocked *b)
{
	bool dir = b->dir_watch >= 0, slot = b->slot_watch >= 0;

	if (!dir)
		b->dir_watch = add_watch(
		    w, b, "", IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE);
	if (!slot)
		b->slot_watch = add_watch(w, b, "/slot", IN_CLOSE_WRITE);
	return dir != (b->dir_watch >= 0) || slot != (b->slot_watch >= 0);
}

/* `state` changes with each job, and a draft says nothing yet. */
static bool matters(const struct blocked *b, const struct watched_event *event)
{
	return event->watch != b->dir_watch || event->ended ||
	    (event->name[0] != '.' && strcmp(event->name, "state") != 0);
}

static void wake(struct blocked *b)
{
	b->stage = 0;
	b->try_at = clock_mono_ms();
}

void resources_event(struct worker *w, const struct watched_event *event)
{
	struct blocked *b;

	LIST_FOREACH (b, &w->blocked, link)
		if (event->watch == b->dir_watch || event->watch == b->slot_watch)
			break;
	if (!b || !matters(b, event))
		return;
	if (event->ended && event->watch == b->dir_watch)
		b->dir_watch = NOT_WATCHED;
	else if (event->ended)
		b->slot_watch = NOT_WATCHED;
	wake(b);
}

/* --- names --- */

/* Those that are not behind `after` come in the next round: as if they came later, which the window knows. */
static int64_t round_of(const struct blocked *b, unsigned priority, const char *id)
{
	char turn[TURN_SIZE];

	turn_format(priority, id, turn);
	return strcmp(turn, b->after) <= 0;
}

enum { RANK_SIZE = 1 + TURN_SIZE };

/* A text that sorts as the window does. */
static void rank_format(
    const struct blocked *b, unsigned priority, const char *id, char rank[static RANK_SIZE])
{
	rank[0] = round_of(b, priority, id) == 0 ? '0' : '1';
	turn_format(priority, id, rank + 1);
}

static int take_name(struct blocked *b, const struct job_place *place)
{
	struct waiting model = {.state = JOB_WAITING,
	    .priority = (unsigned char)place->name.priority,
	    .at_ms = round_of(b, place->name.priority, place->name.id)};
	char file[WAIT_NAME_SIZE + FILE_NAME_SIZE + 1];
	struct waiting *entry;

	memcpy(model.id, place->name.id, sizeof model.id);
	snprintf(file, sizeof file, "%s/%s", place->wait, place->file);
	entry = waiting_new(&model, file);
	if (!entry)
		return -1;
	window_put(&b->window, entry);
	return 0;
}

static struct timespec changed(struct worker *w, const struct blocked *b)
{
	struct stat st = {0};
	int fd = wait_open(w->queue.spool, b->wait_name, false);

	if (fd >= 0 && fstat(fd, &st) != 0)
		st = (struct stat){0};
	sys_discard(&fd);
	return st.st_mtim;
}

struct reading {
	const struct worker *w;
	struct blocked *b;
	char other[RANK_SIZE]; /* the first one of another queue */
};

static int read_name(void *arg, const struct job_place *place)
{
	struct reading *reading = arg;
	char rank[RANK_SIZE];

	if (!place->ours)
		return 0;
	if (strcmp(place->queue, reading->w->queue.name) == 0)
		return take_name(reading->b, place);
	rank_format(reading->b, place->name.priority, place->name.id, rank);
	if (!*reading->other || strcmp(rank, reading->other) < 0)
		strcpy(reading->other, rank);
	return 0;
}

static bool is_before_ours(struct blocked *b, const char *other)
{
	const struct waiting *first = window_first(&b->window);
	char rank[RANK_SIZE];

	if (!*other || !first)
		return *other;
	rank_format(b, first->priority, first->id, rank);
	return strcmp(other, rank) < 0;
}

static void read_names(struct worker *w, struct blocked *b)
{
	struct timespec now = {.tv_sec = clock_real_ms() / 1000};
	struct reading reading = {w, b, ""};

	window_clear(&b->window);
	b->read = changed(w, b);
	if (now.tv_sec - b->read.tv_sec <= SETTLED_S)
		b->read = (struct timespec){0};
	if (wait_each(w->queue.spool, b->wait_name, NULL, read_name, &reading) != 0) {
		w->scan_error = errno;
		worker_trouble(w, "what waits for a resource cannot be read", errno);
	}
	b->others_first = is_before_ours(b, reading.other);
	b->unread = false;
}

/* Of those that came since the directory was read, too, some may have been left out. */
static bool may_have_more(const struct blocked *b)
{
	return b->unread || b->window.fence;
}

/* A large directory that did not change is not read each minute, nor is one of which enough is known. */
static bool worth_reading(struct worker *w, const struct blocked *b)
{
	struct timespec now;

	if (b->window.count == 0)
		return true;
	if (b->window.fence)
		return false;
	now = changed(w, b);
	return now.tv_sec != b->read.tv_sec || now.tv_nsec != b->read.tv_nsec;
}

/* --- trying --- */

static int64_t monotonic(int64_t real_ms)
{
	int64_t wait = real_ms - clock_real_ms();

	return clock_mono_ms() + (wait > 0 ? wait : 0);
}

/* IN-TURN: the order begins behind who probed last while a probe is due, and with the first once the breaker is
 * closed. True if it is first the turn of a job that other qworks have: try_at is set. */
static bool turn(struct worker *w, struct blocked *b)
{
	char after[TURN_SIZE] = "";
	int64_t since_ms;
	enum breaker_stands stands =
	    resource_look_at_breaker(w->queue.spool, b->wait_name + 1, after, &since_ms);

	if (stands != BREAKER_DUE && stands != BREAKER_CLOSED)
		return false;
	if (strcmp(b->after, after) != 0) {
		strcpy(b->after, after);
		read_names(w, b);
	}
	if (!*after || !b->others_first || clock_real_ms() >= since_ms + YIELD_MS)
		return false;
	b->try_at = monotonic(since_ms + YIELD_MS);
	return true;
}

/* The first that waits goes into the backlog, and there takes its place in the order of all. */
static void feed(struct worker *w, struct blocked *b)
{
	struct waiting model;
	const struct waiting *first;

	if (b->fed || turn(w, b))
		return;
	if (b->window.count == 0 && may_have_more(b))
		read_names(w, b);
	first = window_first(&b->window);
	b->try_at = NEVER;
	if (!first)
		return;
	model = *first;
	model.tries = b->tries;
	b->fed = backlog_add(&w->backlog, &model, first->file, clock_real_ms()) == 0;
	if (!b->fed) {
		b->try_at = clock_mono_ms() + 1000;
		worker_trouble(w, "no memory for the names that wait", errno);
	}
}

void resources_tick(struct worker *w, int64_t now)
{
	struct blocked *b, *next;

	for (b = LIST_FIRST(&w->blocked); b; b = next) {
		next = LIST_NEXT(b, link);
		if (!b->fed && b->try_at <= now)
			feed(w, b);
		if (!b->fed && b->window.count == 0 && !may_have_more(b))
			forget(w, b);
	}
}

int64_t resources_next(const struct worker *w)
{
	const struct blocked *b;
	int64_t next = NEVER;

	LIST_FOREACH (b, &w->blocked, link)
		if (!b->fed && b->try_at < next)
			next = b->try_at;
	return next;
}

static int scan_one(void *worker, const char *wait_name)
{
	struct worker *w = worker;
	struct blocked *b, unwatched;

	if (wait_name[0] != '@')
		return 0;
	b = find_or_create(w, wait_name);
	if (b) {
		if (worth_reading(w, b))
			read_names(w, b);
		b->stage = 0;
		b->try_at = 0; /* in this round, or what is in new/ would come first */
		return 0;
	}
	unwatched = (struct blocked){.unread = true};
	snprintf(unwatched.wait_name, sizeof unwatched.wait_name, "%s", wait_name);
	window_init(&unwatched.window, 1);
	feed(w, &unwatched);
	window_clear(&unwatched.window);
	return 0;
}

/* The backlog was cleared. */
void resources_scan(struct worker *w)
{
	struct blocked *b;

	LIST_FOREACH (b, &w->blocked, link)
		b->fed = b->stays = false;
	if (wait_each_name(w->queue.spool, scan_one, w) != 0) {
		w->scan_error = errno;
		worker_trouble(w, "what waits for resources cannot be read", errno);
	}
	LIST_FOREACH (b, &w->blocked, link)
		if (b->try_at == NEVER) /* its directory is gone */
			b->try_at = 0;
}

/* The next one's turn comes at once. One that could not be tried (somebody has its lock) is out of the window
 * and found again when the directory is read anew. */
void resources_tried(struct worker *w, struct waiting *entry, bool done, int64_t again_ms)
{
	char wait_name[WAIT_NAME_SIZE];
	struct blocked *b;

	snprintf(wait_name, sizeof wait_name, "%.*s", (int)strcspn(entry->file, "/"), entry->file);
	b = find(w, wait_name);
	if (!b)
		goto out;
	b->fed = false;
	if (b->stays) {
		b->stays = false;
		goto out;
	}
	entry->at_ms = round_of(b, entry->priority, entry->id);
	window_drop(&b->window, entry);
	b->unread |= !done;
	b->tries = done ? 0 : b->tries < TRIES_MAX ? (unsigned char)(b->tries + 1) : TRIES_MAX;
	if (done || b->window.count > 0)
		feed(w, b);
	else
		b->try_at = clock_mono_ms() + again_ms;
out:
	free(entry);
}

/* --- taking --- */

/* LOOK-AGAIN. */
static void try_later(struct worker *w, struct blocked *b, int64_t lacks_until)
{
	int64_t at = NEVER;

	if (watch(w, b))
		at = clock_mono_ms();
	else if (lacks_until == LACK_BUSY)
		at = clock_mono_ms() + (BUSY_MS << b->busy);
	else if (lacks_until != LACK_EVENT)
		at = monotonic(lacks_until);
	else if (b->stage < STAGES)
		at = clock_mono_ms() + again_after[b->stage++];
	else if (b->dir_watch == UNWATCHABLE || b->slot_watch == UNWATCHABLE)
		at = clock_mono_ms() + UNWATCHED_MS;
	b->busy = lacks_until != LACK_BUSY ? 0 : b->busy < BUSY_DOUBLINGS ? b->busy + 1 : b->busy;
	if (b->stays || at < b->try_at)
		b->try_at = at;
}

/* JOB is in .wait/@R since now. */
static struct blocked *enter(struct worker *w, const struct job *job)
{
	struct job_place place = {.state = JOB_WAITING, .name = job->name};
	struct blocked *b = find_or_create(w, job->wait_name);

	if (!b)
		return NULL;
	snprintf(place.wait, sizeof place.wait, "%s", job->wait_name);
	snprintf(place.file, sizeof place.file, "%s", job->file);
	if (take_name(b, &place) != 0)
		b->unread = true;
	b->stage = 0;
	return b;
}

void resources_add(struct worker *w, const struct job *job)
{
	struct blocked *b = enter(w, job);

	if (b)
		try_later(w, b, clock_real_ms());
}

/* T18, or nothing if it waits for that already. 1; 0 if it was moved meanwhile; -1. */
static int block(struct worker *w, struct job *job, const char *wait_name, int64_t lacks_until)
{
	struct blocked *b = NULL;
	int moved = 1;

	if (job->state == JOB_WAITING && strcmp(job->wait_name, wait_name) == 0) {
		b = find(w, wait_name);
		if (b)
			b->stays = true;
	} else {
		moved = job_move_to_wait(job, T_BLOCK, wait_name, JOB_DUE_NONE);
		if (moved == 1)
			b = enter(w, job);
	}
	if (b)
		try_later(w, b, lacks_until);
	return moved;
}

static void report(const struct worker *w, const struct job *job, const char *cause,
    const char *resource, int64_t due_ms)
{
	struct work_event event = settle_event(w, job, WORK_NOTE);

	event.cause = cause;
	event.reason = resource;
	event.due_ms = due_ms;
	worker_report(w, &event);
}

static void report_probes(const struct worker *w, const struct running *r)
{
	for (size_t i = 0; i < r->grip.count; i++)
		if (r->grip.part[i].probing)
			report(w, &r->job, "probes the breaker", r->meta.resource[i].name,
			    JOB_DUE_NONE);
}

static void report_wrong(struct worker *w, const char *wait_name, const char *setting)
{
	spool_fail(w->queue.spool, spool_dir_name[SPOOL_RESOURCE], wait_name + 1, setting);
	worker_trouble(w, "a resource's setting is not understood, and its jobs wait", EINVAL);
}

int resources_take(struct worker *w, struct running *r)
{
	static const char cause[] = "a job could not get its resources";
	char wait_name[WAIT_NAME_SIZE];
	struct lack lack;
	int result = -1;

	if (r->meta.resources == 0)
		return 1;
	switch (resource_take(w->queue.spool, &r->job.name, &r->meta, &r->grip, &lack)) {
	case TAKE_DONE:
		report_probes(w, r);
		return 1;
	case TAKE_LACKS:
		if (resource_wait_name(r->meta.resource[lack.resource].name, wait_name) == 0)
			result = block(w, &r->job, wait_name, lack.at_ms) < 0 ? -1 : 0;
		if (result == 0 && lack.wrong)
			report_wrong(w, wait_name, lack.wrong);
		break;
	case TAKE_ERROR:
		break;
	}
	if (result < 0)
		start_job_failed(w, cause, errno);
	job_release(&r->job);
	meta_release(&r->meta);
	return result;
}

void resources_not_used(struct worker *w, struct running *r)
{
	int saved = errno;

	grip_close(&r->grip);
	if (resource_not_probed(w->queue.spool, &r->meta, &r->grip) != 0)
		worker_trouble(
		    w, "a breaker takes what did not start for a probe that failed", errno);
	grip_release(&r->grip);
	errno = saved;
}

/* --- the end of an attempt --- */

static int64_t due_of(const struct breaker_news *news)
{
	return news->until_ms == OPEN_FOR_GOOD ? JOB_DUE_NONE : news->until_ms;
}

static void report_news(const struct worker *w, const struct running *r, const char *name,
    const struct breaker_news *news)
{
	if (news->opened)
		report(w, &r->job, "opens the breaker", name, due_of(news));
	if (news->closed)
		report(w, &r->job, "closes the breaker", name, JOB_DUE_NONE);
}

static bool uses(const struct running *r, const char *name)
{
	for (size_t i = 0; i < r->meta.resources; i++)
		if (strcmp(r->meta.resource[i].name, name) == 0)
			return true;
	return false;
}

/* A handler may only speak of what its job uses. How many of its trips count. */
static size_t count_trips(
    const struct worker *w, const struct running *r, const struct control *said)
{
	size_t count = 0;

	for (size_t i = 0; i < said->trips; i++) {
		bool own = uses(r, said->tripped[i].resource);

		count += own;
		if (!own)
			report(w, &r->job, "a trip of what the job does not use is ignored",
			    said->tripped[i].resource, JOB_DUE_NONE);
	}
	return count;
}

static const struct control_trip *trip_of(const struct control *said, const char *name)
{
	for (size_t i = 0; i < said->trips; i++)
		if (strcmp(said->tripped[i].resource, name) == 0)
			return &said->tripped[i];
	return NULL;
}

/* True if the attempt is blamed on it though it was known to be down. */
static bool settle_one(struct worker *w, const struct running *r, size_t i, enum attempt_end end,
    const struct control_trip *trip, struct breaker_news *news)
{
	const char *name = r->meta.resource[i].name;
	bool probing = i < r->grip.count && r->grip.part[i].probing;
	struct spool *spool = w->queue.spool;
	int settled = trip ? resource_trip(spool, name, trip->for_ms, probing, news)
	                   : resource_settle(spool, name, end, probing, news);

	if (settled != 0)
		worker_trouble(w, "a breaker could not be told of an attempt's end", errno);
	report_news(w, r, name, news);
	return end == END_FAILURE && (news->was_open || probing);
}

/* A handler that was reaped has let go, which an event says a little too early. */
static void wake_who_wait(struct worker *w, const struct running *r)
{
	char wait_name[WAIT_NAME_SIZE];

	for (size_t i = 0; i < r->meta.resources; i++) {
		struct blocked *b = NULL;

		if (resource_wait_name(r->meta.resource[i].name, wait_name) == 0)
			b = find(w, wait_name);
		if (b)
			wake(b);
	}
}

const char *resources_settle(struct worker *w, struct running *r, const struct control *said,
    enum attempt_end end, int64_t *until_ms)
{
	size_t trips = count_trips(w, r, said);
	const char *back = NULL;

	wake_who_wait(w, r);
	for (size_t i = 0; i < r->meta.resources; i++) {
		const char *name = r->meta.resource[i].name;
		const struct control_trip *trip = trip_of(said, name);
		struct breaker_news news;

		if (trips > 0 && !trip)
			continue;
		if (settle_one(w, r, i, end, trip, &news) && !back &&
		    resource_wait_name(name, r->wait_name) == 0) {
			back = name;
			*until_ms = news.was_open || news.opened ? due_of(&news) : JOB_DUE_NONE;
		}
	}
	return back;
}
