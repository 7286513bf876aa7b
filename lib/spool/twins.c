/* One file under several names of the same job: rule TWINS of spool-layout.md. */
#include "spool/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int twins_order(enum job_state a, const char *a_file, enum job_state b, const char *b_file)
{
	static const int rank[] = {[JOB_READY] = 0,
	    [JOB_DELAYED] = 1,
	    [JOB_BURIED] = 2,
	    [JOB_RUNNING] = 3,
	    [JOB_SENDING] = 4};
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
	enum job_state state; /* being read */
	struct places found;
};

static int visit(void *arg, const char *file, bool regular)
{
	struct search *search = arg;
	const struct job *job = search->job;
	struct job_place place = {.state = search->state, .ours = true};
	struct stat st;

	if (!regular || !job_name_parse(file, &place.name) ||
	    strcmp(place.name.id, job->name.id) != 0 ||
	    fstatat(job->queue->dir[search->state], file, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    st.st_ino != job->st.st_ino || st.st_dev != job->st.st_dev)
		return 0;
	memcpy(place.file, file, strlen(file) + 1);
	return places_add(&search->found, &place);
}

/* Durable, or a job that is deleted by its other name could come back. */
static int remove_name(const struct queue *queue, const struct job_place *place)
{
	int dir = queue->dir[place->state];

	if (sys_unlink(dir, place->file) != 0 && errno != ENOENT)
		return queue_fail(queue, (enum queue_dir)place->state, place->file);
	return sys_fsync(dir) == 0 ? 0 : queue_fail(queue, (enum queue_dir)place->state, NULL);
}

enum hold twins_settle(const struct job *job)
{
	struct search search = {.job = job};
	struct places *found = &search.found;
	enum hold held = HOLD_GONE;
	int result = 0;

	for (search.state = JOB_READY; result == 0 && search.state <= JOB_BURIED; search.state++)
		result = queue_each(job->queue, (enum queue_dir)search.state, visit, &search);
	if (result == 0 && found->count > 1)
		qsort(found->item, found->count, sizeof *found->item, by_order);
	for (; result == 0 && found->count > 1; found->count--)
		result = remove_name(job->queue, &found->item[found->count - 1]);
	if (result == 0 && found->count == 1 && found->item[0].state == job->state &&
	    strcmp(found->item[0].file, job->file) == 0)
		held = HOLD_DONE;
	places_release(found);
	return result == 0 ? held : HOLD_ERROR;
}
