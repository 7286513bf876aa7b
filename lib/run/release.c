/* Letting go on what waited for jobs and batches that are over: T17, a few at a time, so that ten
 * thousand dependents keep no other job waiting. What is not done when qwork ends, the sweep does. */
#include "run/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spool/after.h"
#include "sys/clock.h"

enum { RELEASE_STEP = 200, RELEASE_AGAIN_MS = 5, RELEASE_HELD_MS = 50 };

void release_add(struct worker *w, const char *name)
{
	for (size_t i = 0; i < w->releases.count; i++)
		if (strcmp(w->releases.item[i], name) == 0)
			return;
	if (strings_add(&w->releases, name) != 0)
		worker_trouble(w, "what waits for a job is left for the sweep", errno);
	w->release_at = clock_mono_ms();
}

void release_over(struct worker *w, const struct job *job)
{
	if (job->over.id)
		release_add(w, job->name.id);
	if (job->over.batch)
		release_add(w, job->over.batch_name);
}

static void forget_first(struct worker *w)
{
	free(w->releases.item[0]);
	memmove(
	    w->releases.item, w->releases.item + 1, w->releases.count * sizeof *w->releases.item);
	w->releases.count--;
}

/* So that one of which a job is held keeps no other waiting. */
static void first_to_last(struct worker *w)
{
	char *first = w->releases.item[0];

	memmove(w->releases.item, w->releases.item + 1,
	    (w->releases.count - 1) * sizeof *w->releases.item);
	w->releases.item[w->releases.count - 1] = first;
}

static int release_first(struct worker *w, size_t max)
{
	int done = after_release(w->queue.spool, w->releases.item[0], max);

	if (done < 0)
		worker_trouble(
		    w, "what waits for a job could not go on; the sweep tries again", errno);
	if (done == 1 || done < 0)
		forget_first(w);
	else
		first_to_last(w);
	return done;
}

void release_tick(struct worker *w, int64_t now)
{
	int done;

	if (w->releases.count == 0 || w->release_at > now)
		return;
	done = release_first(w, RELEASE_STEP);
	w->release_at = now +
	    (done == AFTER_HELD ? RELEASE_HELD_MS
	            : done == 0 ? RELEASE_AGAIN_MS
	                        : 0);
}

/* What somebody holds then is left to the sweep. */
void release_all(struct worker *w)
{
	for (size_t i = w->releases.count; i > 0; i--)
		(void)!release_first(w, SIZE_MAX);
}

int64_t release_next(const struct worker *w)
{
	return w->releases.count > 0 ? w->release_at : NEVER;
}
