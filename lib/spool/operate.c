/* What a person does to a job: bury, kick, delete, and ending its handler first. */
#include "spool/after.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "spool/deletion.h"
#include "spool/key.h"
#include "spool/log.h"
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
	job->failure = COUNT_LOST;
	return job_move(job, T_GIVEUP, JOB_DUE_NONE);
}

/* What settling a lost job left open, and where. */
struct doubt {
	int settled, error;
	char place[sizeof((struct spool *)0)->place];
};

static struct doubt doubt_of(const struct job *job, int settled)
{
	struct doubt doubt = {.settled = settled, .error = errno};

	memcpy(doubt.place, job->queue->spool->place, sizeof doubt.place);
	return doubt;
}

/* A sync that failed while it was settled counts, though all the rest succeeded. */
static int with_doubt(const struct job *job, const struct doubt *doubt, int done)
{
	if (doubt->settled != MOVED_UNSURE || done != 1)
		return done;
	memcpy(job->queue->spool->place, doubt->place, sizeof doubt->place);
	errno = doubt->error;
	return doubt->settled;
}

static int bury(struct job *job, const char *reason)
{
	if (job->state == JOB_BURIED) /* maybe not yet on disk */
		return job_sync(job);
	if (log_event(job, "buried", reason ? reason : "by hand", true) != 0)
		return -1;
	job->failure = COUNT_LOST;
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

/* What is kicked holds its key again: 1, SPOOL_HELD if another job has it, -1. */
static int take_key(const struct job *job)
{
	struct spool *spool = job->queue->spool;
	struct link_source source = link_source_of(job);
	struct link_name holder;
	struct meta meta;
	const char *why;
	int taken = 1;

	meta_init(&meta);
	if (job_meta(job->queue, &job->name, &meta, &why) == 1 && meta.key)
		taken = key_take(&source, meta.key, KEY_PATIENCE_MS, &holder);
	if (taken == 0) {
		memcpy(spool->holder, holder.id, sizeof spool->holder);
		taken = SPOOL_HELD;
	}
	meta_release(&meta);
	return taken;
}

/* The payload may have been edited: it is durable from here on, and the length and
 * checksum of a job sent without sync are no longer what it has. */
static int kick(struct job *job, const char *reason)
{
	int settled = settle_lost(job), taken;
	struct doubt doubt = doubt_of(job, settled);

	(void)reason;
	if (settled < 1)
		return settled;
	taken = take_key(job);
	if (taken != 1)
		return taken;
	if (sys_fsync(job->fd) != 0)
		return queue_fail(job->queue, (enum queue_dir)job->state, job->file);
	if (sync_options(job) != 0)
		return -1;
	job->name.unsynced = false;
	if (log_event(job, "kicked", NULL, true) != 0)
		return -1;
	return with_doubt(job, &doubt, job_move(job, T_KICK, JOB_DUE_NONE));
}

/* What waits for a job that is deleted is set aside, for a person to decide; also what waits for
 * the batch of which it is a member. Before it is deleted, since a crash in between must not let
 * them run; and after it, for who came to wait meanwhile. */
static int bury_dependents(const struct job *job, const char *batch)
{
	struct spool *spool = job->queue->spool;
	char name[WAIT_NAME_SIZE];

	if (after_bury(spool, job->name.id) != 0)
		return -1;
	return batch && after_wait_name(batch, name) == 0 ? after_bury(spool, name) : 0;
}

/* DELETED-FIRST: what waits elsewhere just now, and has this still before it, finds the mark. */
static int delete_with_dependents(struct job *job, const char *batch)
{
	int done;

	if (bury_dependents(job, batch) != 0 || deletion_mark(job, batch) != 0)
		return -1;
	done = job_move(job, T_DELETE, JOB_DUE_NONE);
	if (done != 1)
		return done;
	deletion_done(job, batch);
	if ((job->over.id || job->over.batch) &&
	    bury_dependents(job, job->over.batch ? batch : NULL) != 0)
		job->left = errno;
	return done;
}

static int delete_held(struct job *job)
{
	struct meta meta;
	const char *why;
	int done;

	if (!job->ours || job->state == JOB_DONE)
		return job_move(job, T_DELETE, JOB_DUE_NONE);
	meta_init(&meta);
	done = delete_with_dependents(
	    job, job_meta(job->queue, &job->name, &meta, &why) == 1 ? meta.batch : NULL);
	meta_release(&meta);
	return done;
}

static int delete (struct job *job, const char *reason)
{
	int settled = settle_lost(job), done;
	struct doubt doubt = doubt_of(job, settled);

	(void)reason;
	done = with_doubt(job, &doubt, settled < 1 ? settled : delete_held(job));
	if (done == 1 && job->left != 0) {
		errno = job->left;
		return SPOOL_LEFT;
	}
	return done;
}

/* T22, before its time. */
static int forget(struct job *job, const char *reason)
{
	struct meta meta;
	const char *why;
	int done;

	(void)reason;
	meta_init(&meta);
	done = job_meta(job->queue, &job->name, &meta, &why);
	if (done >= 0)
		done = meta.relay && !meta.has_keep ? job_move(job, T_EXPIRE, JOB_DUE_NONE) : 0;
	meta_release(&meta);
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

int spool_forget(struct spool *spool, const struct job_place *place)
{
	return operate(spool, place, forget, NULL);
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
