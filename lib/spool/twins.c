/* One file under several names of the same job: rule TWINS of spool-layout.md. */
#include "spool/links.h"
#include "spool/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int twins_order(enum job_state a, const char *a_file, enum job_state b, const char *b_file)
{
	static const int rank[JOB_STATES] = {[JOB_WAITING] = 0,
	    [JOB_READY] = 1,
	    [JOB_DELAYED] = 2,
	    [JOB_BURIED] = 3,
	    [JOB_RUNNING] = 4,
	    [JOB_DONE] = 5,
	    [JOB_SENDING] = 6};
	struct job_name a_name, b_name;

	if (a != b)
		return rank[a] - rank[b];
	if (job_name_parse(a_file, &a_name) && job_name_parse(b_file, &b_name) &&
	    a_name.attempts != b_name.attempts)
		return a_name.attempts > b_name.attempts ? -1 : 1;
	return strcmp(a_file, b_file);
}

static int by_order(const void *a, const void *b)
{
	const struct job_place *x = a, *y = b;

	return twins_order(x->state, x->file, y->state, y->file);
}

struct search {
	const struct job *job;
	struct places found;
};

static bool leads_to_job(const struct job *job, const struct job_place *place)
{
	int dir = place_opendir(job->queue->spool, place);
	bool leads = dir >= 0 && dir_leads_to(dir, place->file, &job->st);

	sys_discard(&dir);
	return leads;
}

static int visit(void *arg, const struct job_place *place)
{
	struct search *search = arg;
	const struct job *job = search->job;

	if (!place->ours || strcmp(place->name.id, job->name.id) != 0 || !leads_to_job(job, place))
		return 0;
	return places_add(&search->found, place);
}

/* Durable, or a job that is deleted by its other name could come back. */
static int remove_name(struct spool *spool, const struct job_place *place)
{
	int dir = place_opendir(spool, place);
	int result = dir < 0 ? -1 : sys_unlink(dir, place->file);

	if (result != 0 && errno == ENOENT)
		result = 0;
	if (result == 0 && dir >= 0)
		result = sys_fsync(dir);
	sys_discard(&dir);
	return result == 0 ? 0 : place_fail(spool, place);
}

static bool is_this(const struct job *job, const struct job_place *place)
{
	return place->state == job->state && strcmp(place->file, job->file) == 0 &&
	    strcmp(place->wait, job->wait_name) == 0;
}

enum hold twins_settle(const struct job *job)
{
	struct spool *spool = job->queue->spool;
	struct search search = {.job = job};
	struct places *found = &search.found;
	enum hold held = HOLD_GONE;
	int names = links_names(job->queue, &job->name, job->fd), result = 0;

	if (names == 0 || names == 1)
		return HOLD_DONE;
	for (enum job_state s = JOB_READY; result == 0 && s < JOB_STATES; s++)
		result = spool_each(spool, job->queue->name, s, visit, &search);
	if (result == 0 && found->count > 1)
		qsort(found->item, found->count, sizeof *found->item, by_order);
	for (; result == 0 && found->count > 1; found->count--)
		result = remove_name(spool, &found->item[found->count - 1]);
	if (result == 0 && found->count == 1 && is_this(job, &found->item[0]))
		held = HOLD_DONE;
	places_release(found);
	return result == 0 ? held : HOLD_ERROR;
}
