/* What a person does to a job: bury, kick, delete, and ending its handler first. */
#include "spool/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/proc.h"

enum { LOCK_PAUSE_MS = 10 };

/* So long a handler may be unseen before it is taken for another user's: between the
 * claim and exec it has not the job as its standard input yet. If the qwork is ours, there
 * is none: it has ended, and a qwork that is stopped or cannot move the job holds it still.
 * One glance is not enough, since the job may be let go just then. */
enum { UNSEEN_MS = 1000 };

/* A lost worker's job, found by a person before a qwork came: it may be buried,
 * kicked or deleted too, by way of buried/. */
static int settle_lost(struct job *job)
{
	if (job->state != JOB_RUNNING)
		return 1;
	if (log_event(job, "worker lost", NULL, true) != 0)
		return -1;
	return job_move(job, T_GIVEUP, JOB_DUE_NONE);
}

/* A sync that failed while it was settled counts, though all the rest succeeded. */
static int with_doubt(int settled, int error, int done)
{
	if (settled != MOVED_UNSURE || done != 1)
		return done;
	errno = error;
	return settled;
}

static int bury(struct job *job, const char *reason)
{
	if (job->state == JOB_BURIED) /* maybe not yet on disk */
		return job_sync(job);
	if (log_event(job, "buried", reason ? reason : "by hand", true) != 0)
		return -1;
	if (job->state == JOB_RUNNING)
		return job_move(job, T_GIVEUP, JOB_DUE_NONE);
	return job_move(job, T_BURY, JOB_DUE_NONE);
}

/* What was sent without sync is durable from here on. Damaged options stay what they are: the
 * claim finds out. */
static int sync_options(const struct job *job)
{
	if (!job->name.unsynced || !job->name.meta)
		return 0;
	if (meta_sync(job->queue, job->name.id) != 0)
		return errno == ENOENT || errno == ELOOP || errno == EINVAL ? 0 : -1;
	return sys_fsync(job->queue->dir[DIR_META]) == 0 ? 0
	                                                 : queue_fail(job->queue, DIR_META, NULL);
}

/* The payload may have been edited: it is durable from here on, and the length and
 * checksum of a job sent without sync are no longer what it has. */
static int kick(struct job *job, const char *reason)
{
	int settled = settle_lost(job), error = errno;

	(void)reason;
	if (settled < 1)
		return settled;
	if (sys_fsync(job->fd) != 0)
		return queue_fail(job->queue, (enum queue_dir)job->state, job->file);
	if (sync_options(job) != 0)
		return -1;
	job->name.unsynced = false;
	if (log_event(job, "kicked", NULL, true) != 0)
		return -1;
	return with_doubt(settled, error, job_move(job, T_KICK, JOB_DUE_NONE));
}

static int delete (struct job *job, const char *reason)
{
	int settled = settle_lost(job), error = errno;
	int done = settled < 1 ? settled : job_move(job, T_DELETE, JOB_DUE_NONE);

	(void)reason;
	done = with_doubt(settled, error, done);
	if (done == 1 && job->left != 0) {
		errno = job->left;
		return SPOOL_LEFT;
	}
	return done;
}

static int operate(struct spool *spool, const struct job_place *place,
    int (*verb)(struct job *job, const char *reason), const char *reason)
{
	struct queue queue;
	struct job job;
	int result;

	if (!place->ours) {
		errno = EINVAL;
		return spool_fail(spool, place->queue, NULL, place->file);
	}
	if (queue_open(&queue, spool, place->queue, false) != 0)
		return -1;
	result = job_hold_resting(&job, &queue, place);
	if (result == 1) {
		result = verb(&job, reason);
		job_release(&job);
	}
	queue_close(&queue);
	return result;
}

int spool_bury(struct spool *spool, const struct job_place *place, const char *reason)
{
	return operate(spool, place, bury, reason);
}

int spool_kick(struct spool *spool, const struct job_place *place)
{
	return operate(spool, place, kick, NULL);
}

int spool_delete(struct spool *spool, const struct job_place *place)
{
	return operate(spool, place, delete, NULL);
}

/* Is the job still where it was, and held? -1 with errno. */
static int still_held(const struct queue *queue, const struct job_place *place, struct stat *st)
{
	struct job job;

	switch (job_hold(&job, queue, place->state, place->file, O_RDONLY)) {
	case HOLD_LOCKED:
		return fstatat(queue->dir[place->state], place->file, st, AT_SYMLINK_NOFOLLOW) == 0;
	case HOLD_DONE:
		job_release(&job);
		return 0;
	case HOLD_GONE:
		return 0;
	default:
		return -1;
	}
}

int spool_end_handler(struct spool *spool, const struct job_place *place, int64_t grace_ms)
{
	/* To root nobody is another user. */
	int64_t start = clock_mono_ms(), unseen_ms = geteuid() == 0 ? INT64_MAX : UNSEEN_MS,
	        seen = 0;
	int last = 0, held, signalled = 0;
	struct queue queue;
	struct stat st;

	if (queue_open(&queue, spool, place->queue, false) != 0)
		return -1;
	while ((held = still_held(&queue, place, &st)) == 1) {
		int64_t spent = clock_mono_ms() - start;
		int signal = spent < grace_ms ? SIGTERM : SIGKILL;

		if (signalled > 0 || proc_locker_is_ours(&st))
			seen = spent;
		if (spent >= 2 * grace_ms || spent - seen >= unseen_ms) {
			errno = spent - seen >= unseen_ms ? EPERM : ETIMEDOUT;
			held = queue_fail(&queue, (enum queue_dir)place->state, place->file);
			break;
		}
		if (signal != last || signalled == 0)
			signalled = proc_signal_handlers(&st, place->name.id, signal);
		last = signal;
		poll(NULL, 0, LOCK_PAUSE_MS);
	}
	queue_close(&queue);
	return held < 0 ? -1 : 1;
}
