/*
 * Reading all of a queue anew. A million names take a third of a second, and a job that falls due meanwhile is not to
 * wait for so long: they are read piece by piece beside all other work. What was known until then is in force until
 * the last name was read, and what comes meanwhile is added to both.
 */
#include "run/worker.h"

#include <errno.h>

#include "sys/clock.h"

enum { PIECE = 256 }; /* names between two looks at the clock */

static const enum queue_dir dir_of[SCAN_DIRS] = {DIR_NEW, DIR_DELAY};

bool scan_is_on(const struct worker *w)
{
	return w->scan.dir != NULL;
}

void scan_end(struct worker *w)
{
	struct scan *scan = &w->scan;

	dir_end(&scan->dir);
	sieve_release(&scan->ready);
	sieve_release(&scan->later);
	backlog_clear(&scan->came);
}

void scan_init(struct worker *w)
{
	w->scan = (struct scan){0};
	sieve_init(&w->scan.ready, BACKLOG_MAX);
	sieve_init(&w->scan.later, BACKLOG_MAX);
	backlog_init(&w->scan.came);
}

int scan_add(struct worker *w, const struct waiting *model, const char *file)
{
	struct waiting now = *model;
	bool ready = model->at_ms <= w->scan.began_ms;

	if (ready)
		now.at_ms = 0;
	return sieve_put(ready ? &w->scan.ready : &w->scan.later, &now, file);
}

/* Whether reading them again would find what is known. Strange files may have been mended where they are. */
static bool nothing_changed(const struct worker *w)
{
	bool same = w->scan.known && w->strange.count == 0 && !backlog_wants_scan(&w->backlog);

	for (int i = 0; same && i < SCAN_DIRS; i++) {
		struct dir_state now = dir_state(w->queue.dir[dir_of[i]], DIR_SETTLED_AFAR_MS);

		same = dir_unchanged(&w->scan.state[i], &now);
	}
	return same;
}

static void note_changes(struct worker *w)
{
	for (int i = 0; i < SCAN_DIRS; i++)
		w->scan.state[i] = dir_state(w->queue.dir[dir_of[i]], DIR_SETTLED_AFAR_MS);
	w->scan.known = true;
}

static void failed(struct worker *w)
{
	w->scan_error = errno;
	worker_trouble(w, "the queue cannot be read", errno);
}

/* What is read takes the place of what was known. */
static void conclude(struct worker *w)
{
	struct scan *scan = &w->scan;

	sieve_pour(&scan->ready, &scan->came.ready);
	sieve_pour(&scan->later, &scan->came.later);
	backlog_clear(&w->backlog);
	w->backlog = scan->came;
	backlog_init(&scan->came);
	blocked_scan(w, true);
	scan->known &= w->scan_error == 0;
	scan->concluded = true;
}

/* The next directory, or the end. */
static void go_on(struct worker *w)
{
	struct scan *scan = &w->scan;

	dir_end(&scan->dir);
	while (!scan->dir && ++scan->at < SCAN_DIRS) {
		scan->dir = queue_read(&w->queue, dir_of[scan->at]);
		if (!scan->dir)
			failed(w);
	}
	if (!scan->dir)
		conclude(w);
}

void scan_begin(struct worker *w)
{
	scan_end(w);
	w->missed = w->scan_now || w->scanned_at == 0;
	w->scan_now = false;
	w->scan_error = 0;
	w->scanned_at = clock_mono_ms();
	w->started_then = w->started;
	if (!queue_in_place(&w->queue)) {
		w->dead = true;
		return;
	}
	recover_scan(w); /* before delay/, where it puts what it finds */
	take_pause(w);
	if (!w->missed && w->scan_error == 0 && nothing_changed(w)) {
		blocked_scan(w, false);
		return;
	}
	note_changes(w);
	w->scan.began_ms = clock_real_ms();
	w->scan.at = -1;
	go_on(w);
}

static int visit(void *worker, const char *name, bool regular)
{
	struct worker *w = worker;

	(void)regular; /* claim_open() finds out, and reports it */
	take_found(w, dir_of[w->scan.at], name);
	return ++w->scan.names % PIECE == 0;
}

void scan_more(struct worker *w, int64_t until)
{
	while (scan_is_on(w)) {
		int some = dir_some(w->scan.dir, EACH_VISIBLE, visit, w);

		if (some < 0) {
			queue_fail(&w->queue, dir_of[w->scan.at], NULL);
			failed(w);
		}
		if (some <= 0)
			go_on(w);
		if (clock_mono_ms() >= until)
			break;
	}
}

/* DRAIN asks for having read them. */
void scan_whole(struct worker *w)
{
	w->scan.known = false;
	scan_begin(w);
	scan_more(w, NEVER);
}
