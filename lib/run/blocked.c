/*
 * Jobs that wait for resources.
 *
 * Of each resource for which jobs of this queue wait, the first names are kept, and only the very first is
 * in the backlog when there is reason to try it. So 200,000 jobs that a breaker holds cost a window of
 * names, and one attempt to start at a time.
 *
 *   stands   what comes                                             stands then
 *   RESTS    its time: news, the time that was lacking, a scan      FED: the first is in the backlog
 *   FED      the first was started, or has gone                     FED: the next one
 *   FED      somebody has the first's lock                          FED: the next one; RESTS if there is none
 *   FED      the first lacks the resource still                     STAYS, and when start.c is done with it RESTS
 *   RESTS    nothing waits any more                                 it is forgotten
 *
 * News are: a slot was closed, a file of the resource changed, a handler of ours that had it was reaped. LOOK-AGAIN
 * and PROBE say what is tried without news.
 */
#include "run/blocked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spool/wait.h"
#include "sys/clock.h"

enum {
	BLOCKED_MAX = 4096, /* resources that are watched; others are tried with each scan only */
	BLOCKED_MANY = 256, /* of those beyond, fewer names are kept */
	NAMES_MAX = 1024,
	NAMES_FEW = 16,
	TRIES_MAX = 12,
	NO_MEMORY_MS = 1000,
	UNWATCHED_MS = 1000, /* as without inotify */
	BUSY_MS = 10,
	BUSY_DOUBLINGS = 7, /* to 1.3 s */
};

/* PROBE: the event of the last close comes a little before the lock falls; and who only probed a slot has had its
 * lock for an instant. */
static const int64_t again_after[] = {10, 90, 400};
enum { STAGES = sizeof again_after / sizeof *again_after };

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
	watch_remove(&w->pool->watch, b->dir_watch);
	watch_remove(&w->pool->watch, b->slot_watch);
	if (b->window.count == 0)
		wait_remove(w->queue.spool, b->wait_name); /* fails if it is not empty */
	window_clear(&b->window);
	LIST_REMOVE(b, link);
	w->blocked_count--;
	free(b);
}

void blocked_release(struct worker *w)
{
	struct blocked *b, *next;

	LIST_FOREACH_SAFE (b, &w->blocked, link, next)
		forget(w, b);
}

bool blocked_any(const struct worker *w)
{
	return !LIST_EMPTY(&w->blocked);
}

/* --- events --- */

/* Not if it is not there; and beyond the number of watches that a user may have, ask instead. */
static int add_watch(struct worker *w, const struct blocked *b, const char *sub, uint32_t mask)
{
	char path[LABEL_SIZE + 8];
	int top = spool_dir(w->queue.spool, SPOOL_RESOURCE, false), fd, added;

	if (top < 0 || w->pool->watch.fd < 0)
		return NOT_WATCHED;
	snprintf(path, sizeof path, "%s%s", b->wait_name + 1, sub);
	fd = sys_opendir(top, path);
	if (fd < 0)
		return errno == ENOENT ? NOT_WATCHED : UNWATCHABLE;
	added = watch_add(&w->pool->watch, fd, mask);
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

/* Of those that wait there we know nothing if another qwork made them wait, and has ended since. */
void blocked_wake(struct worker *w, const char *wait_name)
{
	struct blocked *b = find(w, wait_name);

	if (!b && wait_exists(w->queue.spool, wait_name))
		b = create(w, wait_name);
	if (b)
		wake(b);
}

void blocked_event(struct worker *w, const struct watched_event *event)
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

/* --- trying --- */

static int64_t monotonic(int64_t real_ms)
{
	int64_t wait = real_ms - clock_real_ms();

	return clock_mono_ms() + (wait > 0 ? wait : 0);
}

/* The first that waits goes into the backlog, and there takes its place in the order of all. */
static void feed(struct worker *w, struct blocked *b)
{
	int64_t others_until = blocked_turn(w, b);
	const struct waiting *first = blocked_first(w, b);
	struct waiting model;

	b->try_at = NEVER;
	if (!first)
		return;
	if (others_until > clock_real_ms()) {
		b->try_at = monotonic(others_until);
		return;
	}
	model = *first;
	model.tries = b->tries;
	if (backlog_add(&w->backlog, &model, first->file, clock_real_ms()) == 0) {
		b->stand = FED;
		return;
	}
	b->try_at = clock_mono_ms() + NO_MEMORY_MS;
	worker_trouble(w, "no memory for the names that wait", errno);
}

void blocked_tick(struct worker *w, int64_t now)
{
	struct blocked *b, *next;

	for (b = LIST_FIRST(&w->blocked); b; b = next) {
		next = LIST_NEXT(b, link);
		if (b->stand == RESTS && b->try_at <= now)
			feed(w, b);
		if (b->stand == RESTS && blocked_is_empty(b))
			forget(w, b);
	}
}

int64_t blocked_next(const struct worker *w)
{
	const struct blocked *b;
	int64_t next = NEVER;

	LIST_FOREACH (b, &w->blocked, link)
		if (b->stand == RESTS && b->try_at < next)
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
		blocked_refresh(w, b);
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

void blocked_scan(struct worker *w, bool anew)
{
	struct blocked *b;

	LIST_FOREACH (b, &w->blocked, link)
		if (anew)
			b->stand = RESTS;
	if (wait_each_name(w->queue.spool, scan_one, w) != 0) {
		w->scan_error = errno;
		worker_trouble(w, "what waits for resources cannot be read", errno);
	}
	LIST_FOREACH (b, &w->blocked, link)
		if (b->try_at == NEVER) /* its directory is gone */
			b->try_at = 0;
}

/* One that could not be tried is out of the window, and found again when the directory is read anew. */
static void next_one(
    struct worker *w, struct blocked *b, struct waiting *entry, bool done, int64_t again_ms)
{
	blocked_drop(b, entry);
	b->unread |= !done;
	b->tries = done ? 0 : b->tries < TRIES_MAX ? (unsigned char)(b->tries + 1) : TRIES_MAX;
	b->stage = 0;
	if (done || b->window.count > 0)
		feed(w, b);
	else
		b->try_at = clock_mono_ms() + again_ms;
}

void blocked_tried(struct worker *w, struct waiting *entry, bool done, int64_t again_ms)
{
	char wait_name[WAIT_NAME_SIZE];
	struct blocked *b;
	bool stays;

	snprintf(wait_name, sizeof wait_name, "%.*s", (int)strcspn(entry->file, "/"), entry->file);
	b = find(w, wait_name);
	stays = b && b->stand == STAYS;
	if (b)
		b->stand = RESTS;
	if (b && !stays)
		next_one(w, b, entry, done, again_ms);
	free(entry);
}

/* LOOK-AGAIN. When to try without news. */
static int64_t again_at(struct worker *w, struct blocked *b, int64_t lacks_until)
{
	int64_t now = clock_mono_ms();

	if (lacks_until != LACK_BUSY)
		b->busy = 0;
	if (lacks_until != LACK_EVENT)
		b->stage = 0;
	if (watch(w, b))
		return now;
	if (lacks_until == LACK_BUSY)
		return now + (BUSY_MS << (b->busy < BUSY_DOUBLINGS ? b->busy++ : b->busy));
	if (lacks_until != LACK_EVENT)
		return monotonic(lacks_until);
	if (b->stage < STAGES)
		return now + again_after[b->stage++];
	return b->dir_watch == UNWATCHABLE || b->slot_watch == UNWATCHABLE ? now + UNWATCHED_MS
	                                                                   : NEVER;
}

void blocked_stays(struct worker *w, const char *wait_name, int64_t lacks_until)
{
	struct blocked *b = find(w, wait_name);

	if (!b)
		return;
	b->stand = STAYS;
	b->try_at = again_at(w, b, lacks_until);
}

void blocked_add(struct worker *w, const struct job *job, int64_t lacks_until)
{
	struct job_place place = {.state = JOB_WAITING, .name = job->name};
	struct blocked *b = find_or_create(w, job->wait_name);
	int64_t at;

	if (!b)
		return;
	snprintf(place.wait, sizeof place.wait, "%s", job->wait_name);
	snprintf(place.file, sizeof place.file, "%s", job->file);
	if (blocked_put(b, &place) != 0)
		b->unread = true;
	b->stage = 0;
	at = again_at(w, b, lacks_until);
	if (at < b->try_at)
		b->try_at = at;
}
