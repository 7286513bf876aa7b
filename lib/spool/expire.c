/* T22: what was kept long enough goes. And what a crash in T21 left: links of a job that is kept. */
#include "spool/sweep.h"

#include <errno.h>
#include <fcntl.h>

#include "spool/links.h"
#include "spool/output.h"
#include "sys/clock.h"

struct expiry {
	const struct queue *queue;
	int64_t now_ms;
	int removed;
	int error; /* of the last that could not be removed, or 0 */
};

static void expire(struct expiry *expiry, const char *file)
{
	struct job job;
	enum hold held = job_hold(&job, expiry->queue, JOB_DONE, file, O_RDONLY);
	int moved;

	if (held == HOLD_ERROR)
		expiry->error = errno;
	if (held != HOLD_DONE)
		return;
	moved = job_move(&job, T_EXPIRE, JOB_DUE_NONE);
	if (moved < 0 || job.left != 0)
		expiry->error = moved < 0 ? errno : job.left;
	else
		expiry->removed += moved;
	job_release(&job);
}

static int visit(void *arg, const char *file, bool regular)
{
	struct expiry *expiry = arg;
	struct job_name name;

	if (regular && job_name_parse(file, &name) && name.due_ms != JOB_DUE_NONE &&
	    name.due_ms <= expiry->now_ms)
		expire(expiry, file);
	return 0;
}

int sweep_done(struct queue *queue)
{
	struct expiry expiry = {.queue = queue, .now_ms = clock_real_ms()};

	output_find_dirs(queue);
	if (queue_each(queue, DIR_DONE, visit, &expiry) < 0)
		return -1;
	errno = expiry.error;
	return expiry.error != 0 ? -1 : expiry.removed;
}

/* What then goes on is found by who looks for what is over. */
static int release(const struct job *job)
{
	struct over over;
	struct meta meta;
	const char *why;
	int result = -1;

	meta_init(&meta);
	if (job_meta(job->queue, &job->name, &meta, &why) >= 0)
		result = links_release(job->queue, job->name.id, &meta, true, &over);
	else if (errno == EBADMSG)
		result = 0;
	meta_release(&meta);
	return result;
}

static int visit_linked(void *arg, const char *file, bool regular)
{
	struct expiry *expiry = arg;
	struct stat st;
	struct job job;

	if (!regular ||
	    fstatat(expiry->queue->dir[DIR_DONE], file, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    st.st_nlink <= 1 ||
	    job_hold(&job, expiry->queue, JOB_DONE, file, O_RDONLY) != HOLD_DONE)
		return 0;
	if (job.ours && release(&job) != 0)
		expiry->error = errno;
	job_release(&job);
	return 0;
}

int sweep_kept(struct queue *queue)
{
	struct expiry expiry = {.queue = queue};

	output_find_dirs(queue);
	if (queue_each(queue, DIR_DONE, visit_linked, &expiry) < 0)
		return -1;
	errno = expiry.error;
	return expiry.error != 0 ? -1 : 0;
}
