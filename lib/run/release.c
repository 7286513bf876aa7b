/* Letting go on what waited for jobs and batches that are over: T17, a few at a time, so that ten
 * thousand dependents keep no other job waiting. What is not done soon after qwork was to end, the sweep does. */
#include "run/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spool/after.h"
#include "sys/clock.h"

enum { RELEASE_STEP = 200, RELEASE_AGAIN_MS = 5, RELEASE_HELD_MS = 50, RELEASE_END_MS = 2000 };

struct release {
	RB_ENTRY(release) link;
	char name[]; /* below .wait/ */
};

static int compare_names(const struct release *a, const struct release *b)
{
	return strcmp(a->name, b->name);
}

#define LOCAL __attribute__((unused)) static
RB_PROTOTYPE_INTERNAL(release_tree, release, link, compare_names, LOCAL)
RB_GENERATE_INTERNAL(release_tree, release, link, compare_names, LOCAL)

void release_add(struct pool *p, const char *name)
{
	size_t size = strlen(name) + 1;
	struct release *release = calloc(1, sizeof *release + size);

	if (!release) {
		pool_trouble(p, "what waits for a job is left for the sweep", errno);
		return;
	}
	memcpy(release->name, name, size);
	if (RB_INSERT(release_tree, &p->releases, release) != NULL) /* known already */
		free(release);
	p->release_at = clock_mono_ms();
}

void release_over(struct pool *p, const struct job *job)
{
	if (job->over.id)
		release_add(p, job->name.id);
	if (job->over.batch)
		release_add(p, job->over.batch_name);
}

static void forget(struct pool *p, struct release *release)
{
	RB_REMOVE(release_tree, &p->releases, release);
	free(release);
}

/* In turn, so that one of which a job is held keeps no other waiting: p->release_turn is where to go on. */
static struct release *next(struct pool *p)
{
	struct release *turn = p->release_turn;

	if (!turn)
		turn = RB_MIN(release_tree, &p->releases);
	p->release_turn = turn ? RB_NEXT(release_tree, &p->releases, turn) : NULL;
	return turn;
}

/* Some of one of them. AFTER_HELD: nothing can be done for it just now. */
static int release_some(struct pool *p, bool last)
{
	struct release *release = next(p);
	int done = after_release(p->spool, release->name, RELEASE_STEP);

	if (done < 0)
		pool_trouble(
		    p, "what waits for a job could not go on; the sweep tries again", errno);
	if (done == 1 || done < 0 || (done == AFTER_HELD && last))
		forget(p, release);
	return done;
}

void release_tick(struct pool *p, int64_t now)
{
	int done;

	if (release_is_done(p) || p->release_at > now)
		return;
	done = release_some(p, false);
	p->release_at = now +
	    (done == AFTER_HELD ? RELEASE_HELD_MS
	            : done == 0 ? RELEASE_AGAIN_MS
	                        : 0);
}

/* Whoever asked for the end waits for it. What is not done by then is left to the sweep, and what somebody
 * holds. */
void release_all(struct pool *p)
{
	int64_t until = clock_mono_ms() + RELEASE_END_MS;
	struct release *release, *after;

	while (!release_is_done(p) && clock_mono_ms() < until)
		(void)!release_some(p, true);
	RB_FOREACH_SAFE (release, release_tree, &p->releases, after)
		forget(p, release);
}

bool release_is_done(const struct pool *p)
{
	return RB_EMPTY(&p->releases);
}

int64_t release_next(const struct pool *p)
{
	return release_is_done(p) ? NEVER : p->release_at;
}
