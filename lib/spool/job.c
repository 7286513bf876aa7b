#include "spool/job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define BIT(state) (1u << (state))
#define GONE QUEUE_DIRS

enum { N_TRIES = 100 };

/* The lock of a job at rest is held for an instant only: by a worker that is about
 * to claim it, or by another tool. */
enum { LOCK_TRIES = 20, LOCK_PAUSE_MS = 10 };

enum effect { N_SAME, N_PLUS_ONE, N_MINUS_ONE, N_ZERO };

static const struct {
	unsigned from;     /* set of states */
	enum queue_dir to; /* GONE: the name is unlinked */
	enum effect n;
	bool due;     /* the new name starts with DUE */
	bool durable; /* the directories are synced before it is reported */
} table[TRANSITIONS] = {
    [T_CLAIM] = {BIT(DIR_NEW) | BIT(DIR_DELAY), DIR_CUR, N_PLUS_ONE, false, false},
    [T_RETRY] = {BIT(DIR_CUR), DIR_DELAY, N_SAME, true, false},
    [T_GIVEUP] = {BIT(DIR_CUR), DIR_BURIED, N_SAME, false, true},
    [T_REDATE] = {BIT(DIR_DELAY), DIR_DELAY, N_SAME, true, false},
    [T_RETURN] = {BIT(DIR_CUR), DIR_NEW, N_MINUS_ONE, false, false},
    [T_DEFER] = {BIT(DIR_CUR), DIR_DELAY, N_MINUS_ONE, true, false},
    [T_BURY] = {BIT(DIR_NEW) | BIT(DIR_DELAY), DIR_BURIED, N_SAME, false, true},
    [T_KICK] = {BIT(DIR_BURIED) | BIT(DIR_DELAY), DIR_NEW, N_ZERO, false, true},
    [T_FINISH] = {BIT(DIR_CUR), GONE, N_SAME, false, false},
    [T_DELETE] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_BURIED), GONE, N_SAME, false, true},
    [T_SET_ASIDE] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_CUR) | BIT(DIR_BURIED), DIR_BURIED,
        N_SAME, false, true},
};

/* Whether FILE in its directory, *ST, still leads to what was opened. */
static enum hold check_name(const struct job *job, struct stat *st)
{
	if (fstatat(job->queue->dir[job->state], job->file, st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? HOLD_GONE : HOLD_ERROR;
	return st->st_ino == job->st.st_ino && st->st_dev == job->st.st_dev ? HOLD_DONE : HOLD_GONE;
}

static enum hold open_failed(void)
{
	switch (errno) {
	case ENOENT:
		return HOLD_GONE;
	case EWOULDBLOCK: /* a lease: fcntl(2) */
		return HOLD_LOCKED;
	case ELOOP: /* a symbolic link */
	case EISDIR:
	case ENXIO: /* a socket, or a device without a driver */
	case ENODEV:
		return HOLD_STRANGE;
	default:
		return HOLD_ERROR;
	}
}

/* A backup by hard links has more links too. What lies in tmp/ is left to its sender and to
 * the sweep, and a foreign name has no id to be known by. */
static bool may_have_twins(const struct job *job, const struct stat *now)
{
	return job->ours && job->state != JOB_SENDING && now->st_nlink > 1;
}

static enum hold lock(struct job *job)
{
	struct stat now;
	enum hold held;

	if (fstat(job->fd, &job->st) != 0)
		return HOLD_ERROR;
	if (!S_ISREG(job->st.st_mode)) {
		errno = S_ISDIR(job->st.st_mode) ? EISDIR : ENXIO;
		return HOLD_STRANGE;
	}
	if (flock(job->fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? HOLD_LOCKED : HOLD_ERROR;
	held = check_name(job, &now);
	return held == HOLD_DONE && may_have_twins(job, &now) ? twins_settle(job) : held;
}

enum hold job_hold(
    struct job *job, const struct queue *queue, enum job_state state, const char *file, int access)
{
	enum hold held;

	*job = (struct job){.queue = queue, .state = state, .fd = -1};
	if (strlen(file) >= sizeof job->file) {
		errno = ENAMETOOLONG;
		return HOLD_ERROR;
	}
	memcpy(job->file, file, strlen(file) + 1);
	job->ours = job_name_parse(file, &job->name);
	job->fd = openat(
	    queue->dir[state], file, access | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	held = job->fd < 0 ? open_failed() : lock(job);
	if (held == HOLD_ERROR)
		queue_fail(queue, (enum queue_dir)state, file);
	if (held == HOLD_LOCKED || held == HOLD_STRANGE || held == HOLD_ERROR)
		sys_discard(&job->fd); /* the lock, if any, is not ours to undo */
	else if (held != HOLD_DONE)
		job_release(job);
	return held;
}

int job_hold_resting(
    struct job *job, const struct queue *queue, enum job_state state, const char *file)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		switch (job_hold(job, queue, state, file, O_RDWR)) {
		case HOLD_DONE:
			return 1;
		case HOLD_GONE:
			return 0;
		case HOLD_STRANGE:
			return queue_fail(queue, (enum queue_dir)state, file);
		case HOLD_ERROR:
			return -1;
		case HOLD_LOCKED:
			break;
		}
		if (state == JOB_RUNNING)
			break;
		poll(NULL, 0, LOCK_PAUSE_MS);
	}
	errno = EBUSY;
	return queue_fail(queue, (enum queue_dir)state, file);
}

void job_release(struct job *job)
{
	int saved = errno;

	if (job->fd >= 0)
		flock(job->fd, LOCK_UN);
	errno = saved;
	sys_discard(&job->fd);
}

static unsigned count_attempts(unsigned n, enum effect effect)
{
	switch (effect) {
	case N_PLUS_ONE:
		return n < JOB_ATTEMPTS_MAX ? n + 1 : n;
	case N_MINUS_ONE:
		return n > 0 ? n - 1 : 0;
	case N_ZERO:
		return 0;
	case N_SAME:
		break;
	}
	return n;
}

/* A rename that was cut in two (no RENAME_NOREPLACE, or btrfs after a power cut) left
 * the job under both names: what remains to be done is to remove the old one. */
static int finish_rename(struct job *job, enum queue_dir to, const char *file)
{
	struct stat st;

	if (errno == EEXIST && fstatat(job->queue->dir[to], file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == job->st.st_ino && st.st_dev == job->st.st_dev)
		return sys_unlink(job->queue->dir[job->state], job->file);
	return -1;
}

/* ENOENT: of the name, which somebody moved, or of the directory it should go to? */
static int name_is_gone(const struct job *job, enum queue_dir to)
{
	struct stat st;

	if (check_name(job, &st) == HOLD_GONE)
		return 0;
	errno = ESTALE;
	return queue_fail(job->queue, to, NULL);
}

/* All or nothing: with both names, as one who holds the lock may, the new one is taken
 * back. A foreign file would otherwise be taken in again by its old one. */
static int rename_job(struct job *job, enum queue_dir to, const char *file)
{
	int to_dir = job->queue->dir[to];
	int renamed = sys_rename(job->queue->dir[job->state], job->file, to_dir, file);
	int saved = errno;

	if (renamed == SYS_BOTH_NAMES) {
		job->both = sys_unlink(to_dir, file) != 0;
		errno = saved;
	}
	return renamed == 0 ? 0 : -1;
}

static int change_name(struct job *job, enum queue_dir to, const struct job_name *name)
{
	char file[JOB_NAME_SIZE];

	job_name_format(name, file);
	if (rename_job(job, to, file) != 0 && finish_rename(job, to, file) != 0)
		return errno == ENOENT ? name_is_gone(job, to) : queue_fail(job->queue, to, file);
	job->state = (enum job_state)to;
	job->name = *name;
	memcpy(job->file, file, strlen(file) + 1);
	return 1;
}

/* Another file may have the very name (a copy made by hand): a job that leaves cur/
 * must get out all the same, and takes the next free N. A claim does not: the other
 * one may be running. */
static int change_name_freely(struct job *job, enum queue_dir to, struct job_name *name)
{
	int changed = change_name(job, to, name);

	for (int i = 0; to != DIR_CUR && changed < 0 && errno == EEXIST && i < N_TRIES &&
	     name->attempts < JOB_ATTEMPTS_MAX;
	     i++) {
		name->attempts++;
		changed = change_name(job, to, name);
	}
	return changed;
}

static int sync_dir(const struct queue *queue, enum queue_dir dir)
{
	if (sys_fsync(queue->dir[dir]) == 0)
		return 1;
	queue_fail(queue, dir, NULL);
	return MOVED_UNSURE;
}

/* SOURCE-THEN-TARGET, and the source is wherever it may have been: the moves from there may
 * not have been durable. None is tried again after a failure. */
static int sync_dirs(const struct queue *queue, enum queue_dir to)
{
	int synced = 1;

	for (enum queue_dir dir = DIR_NEW; synced == 1 && dir <= DIR_BURIED; dir++)
		if (dir != to)
			synced = sync_dir(queue, dir);
	return synced == 1 && to != GONE ? sync_dir(queue, to) : synced;
}

static int remove_name(struct job *job)
{
	if (sys_unlink(job->queue->dir[job->state], job->file) != 0)
		return errno == ENOENT
		    ? 0
		    : queue_fail(job->queue, (enum queue_dir)job->state, job->file);
	return 1;
}

static void remove_belonging(struct job *job, enum queue_dir dir)
{
	int saved = errno;

	if (sys_unlink(job->queue->dir[dir], job->name.id) != 0 && errno != ENOENT) {
		job->left = errno;
		queue_fail(job->queue, dir, job->name.id);
	}
	errno = saved;
}

/* After the job itself, durably if that is promised: what a crash brings back must not lack
 * its options. What a crash in between leaves, a sweep removes. */
static void remove_belongings(struct job *job)
{
	if (job->ours && job->name.meta)
		remove_belonging(job, DIR_META);
	if (job->ours && job->name.log)
		remove_belonging(job, DIR_LOG);
}

int job_move(struct job *job, enum transition transition, int64_t due_ms)
{
	struct job_name name = job->name;
	enum queue_dir from = (enum queue_dir)job->state, to = table[transition].to;
	int moved;

	if (!(table[transition].from & BIT(from)) || job->fd < 0) {
		errno = EINVAL;
		return queue_fail(job->queue, from, job->file);
	}
	if (to == GONE) {
		moved = remove_name(job);
	} else {
		name.attempts = count_attempts(name.attempts, table[transition].n);
		name.due_ms = table[transition].due ? due_ms : JOB_DUE_NONE;
		name.asked &= table[transition].due;
		moved = change_name_freely(job, to, &name);
	}
	if (moved == 1 && table[transition].durable)
		moved = sync_dirs(job->queue, to);
	if (moved == 1 && to == GONE)
		remove_belongings(job);
	return moved;
}

int job_sync(const struct job *job)
{
	return sync_dirs(job->queue, (enum queue_dir)job->state);
}
