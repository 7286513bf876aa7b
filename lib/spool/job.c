#include "spool/job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "spool/deletion.h"
#include "spool/key.h"
#include "spool/stats.h"
#include "spool/wait.h"

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
	bool due;             /* the new name starts with DUE */
	bool durable;         /* the directories are synced before it is reported */
	enum stats_count end; /* of an attempt, or its start */
	enum stats_count also;
} table[TRANSITIONS] = {
    [T_CLAIM] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_WAIT), DIR_CUR, N_PLUS_ONE, false, false,
        COUNT_STARTED, COUNT_NONE},
    [T_RETRY] = {BIT(DIR_CUR), DIR_DELAY, N_SAME, true, false, COUNT_FAILED, COUNT_RETRIED},
    [T_GIVEUP] = {BIT(DIR_CUR), DIR_BURIED, N_SAME, false, true, COUNT_FAILED, COUNT_BURIED},
    [T_REDATE] = {BIT(DIR_DELAY), DIR_DELAY, N_SAME, true, false, COUNT_NONE, COUNT_NONE},
    [T_RETURN] = {BIT(DIR_CUR), DIR_NEW, N_MINUS_ONE, false, false, COUNT_RETURNED, COUNT_NONE},
    [T_DEFER] = {BIT(DIR_CUR), DIR_DELAY, N_MINUS_ONE, true, false, COUNT_DEFERRED, COUNT_NONE},
    [T_BURY] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_WAIT), DIR_BURIED, N_SAME, false, true,
        COUNT_NONE, COUNT_BURIED},
    [T_KICK] = {BIT(DIR_BURIED) | BIT(DIR_DELAY) | BIT(DIR_WAIT), DIR_NEW, N_ZERO, false, true,
        COUNT_NONE, COUNT_KICKED},
    [T_FINISH] = {BIT(DIR_CUR), GONE, N_SAME, false, false, COUNT_FINISHED, COUNT_NONE},
    [T_DELETE] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_BURIED) | BIT(DIR_DONE) | BIT(DIR_WAIT),
        GONE, N_SAME, false, true, COUNT_NONE, COUNT_DELETED},
    [T_SET_ASIDE] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_CUR) | BIT(DIR_BURIED) |
            BIT(DIR_DONE) | BIT(DIR_WAIT),
        DIR_BURIED, N_SAME, false, true, COUNT_NONE, COUNT_BURIED},
    [T_RELEASE] = {BIT(DIR_WAIT), DIR_NEW, N_SAME, false, false, COUNT_NONE, COUNT_NONE},
    [T_RELEASE_DELAYED] = {BIT(DIR_WAIT), DIR_DELAY, N_SAME, true, false, COUNT_NONE, COUNT_NONE},
    [T_PASS_ON] = {BIT(DIR_WAIT), DIR_WAIT, N_SAME, true, false, COUNT_NONE, COUNT_NONE},
    [T_BLOCK] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_WAIT), DIR_WAIT, N_SAME, false, false,
        COUNT_NONE, COUNT_NONE},
    [T_HOLD_BACK] = {BIT(DIR_CUR), DIR_WAIT, N_MINUS_ONE, false, false, COUNT_DEFERRED, COUNT_NONE},
    [T_KEEP] = {BIT(DIR_CUR), DIR_DONE, N_SAME, true, false, COUNT_FINISHED, COUNT_NONE},
    [T_EXPIRE] = {BIT(DIR_DONE), GONE, N_SAME, false, false, COUNT_NONE, COUNT_NONE},
    [T_ADOPT] = {BIT(DIR_NEW), DIR_NEW, N_SAME, false, false, COUNT_NONE, COUNT_NONE},
    [T_HAND_OVER] = {BIT(DIR_NEW) | BIT(DIR_DELAY) | BIT(DIR_WAIT) | BIT(DIR_BURIED), GONE, N_SAME,
        false, false, COUNT_NONE, COUNT_RELAYED},
};

int job_dir(const struct job *job)
{
	return job->state == JOB_WAITING ? job->wait : job->queue->dir[job->state];
}

int job_fail(const struct job *job, const char *file)
{
	if (job->state == JOB_WAITING)
		return wait_fail(job->queue->spool, job->wait_name, file);
	return queue_fail(job->queue, (enum queue_dir)job->state, file);
}

/* Whether FILE in its directory, *ST, still leads to what was opened. */
static enum hold check_name(const struct job *job, struct stat *st)
{
	if (fstatat(job_dir(job), job->file, st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? HOLD_GONE : HOLD_ERROR;
	return same_file(st, &job->st) ? HOLD_DONE : HOLD_GONE;
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
	job->st = held == HOLD_DONE ? now : job->st;
	return held == HOLD_DONE && may_have_twins(job, &now) ? twins_settle(job) : held;
}

/* JOB says where; of its name only the file. */
static enum hold hold(struct job *job, const char *file, int access)
{
	enum hold held;

	if (strlen(file) >= sizeof job->file) {
		errno = ENAMETOOLONG;
		job_release(job);
		return HOLD_ERROR;
	}
	memcpy(job->file, file, strlen(file) + 1);
	job->fd =
	    openat(job_dir(job), file, access | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	held = job->fd < 0 ? open_failed() : lock(job);
	if (held == HOLD_ERROR)
		job_fail(job, file);
	if (held == HOLD_LOCKED || held == HOLD_STRANGE || held == HOLD_ERROR)
		sys_discard(&job->fd); /* the lock, if any, is not ours to undo */
	if (held != HOLD_DONE)
		job_release(job);
	return held;
}

enum hold job_hold(
    struct job *job, const struct queue *queue, enum job_state state, const char *file, int access)
{
	*job = (struct job){.queue = queue, .state = state, .wait = -1, .fd = -1, .took_ms = -1};
	job->ours = job_name_parse(file, &job->name);
	return hold(job, file, access);
}

enum hold job_hold_waiting(
    struct job *job, const struct queue *queue, const char *name, const char *file, int access)
{
	char of[QUEUE_NAME_SIZE];

	*job =
	    (struct job){.queue = queue, .state = JOB_WAITING, .wait = -1, .fd = -1, .took_ms = -1};
	snprintf(job->wait_name, sizeof job->wait_name, "%s", name);
	job->ours = waiting_name_parse(file, &job->name, of) && strcmp(of, job->queue->name) == 0;
	job->wait = wait_open(queue->spool, name, false);
	if (job->wait < 0)
		return errno == ENOENT ? HOLD_GONE : HOLD_ERROR;
	return hold(job, file, access);
}

static enum hold hold_place(
    struct job *job, const struct queue *queue, const struct job_place *place)
{
	if (place->state == JOB_WAITING)
		return job_hold_waiting(job, queue, place->wait, place->file, O_RDWR);
	return job_hold(job, queue, place->state, place->file, O_RDWR);
}

int job_hold_resting(struct job *job, const struct queue *queue, const struct job_place *place)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		switch (hold_place(job, queue, place)) {
		case HOLD_DONE:
			return 1;
		case HOLD_GONE:
			return 0;
		case HOLD_STRANGE:
			return job_fail(job, place->file);
		case HOLD_ERROR:
			return -1;
		case HOLD_LOCKED:
			break;
		}
		if (place->state == JOB_RUNNING)
			break;
		poll(NULL, 0, LOCK_PAUSE_MS);
	}
	errno = EBUSY;
	return job_fail(job, place->file);
}

void job_unlock(const struct job *job)
{
	int saved = errno;

	if (job->fd >= 0 && !job->nameless)
		flock(job->fd, LOCK_UN);
	errno = saved;
}

void job_release(struct job *job)
{
	job_unlock(job);
	sys_discard(&job->fd);
	sys_discard(&job->wait);
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

/* Where a move leads to. */
struct target {
	enum queue_dir to;
	const char *wait_name; /* of DIR_WAIT */
	int dir;
};

static int target_fail(const struct job *job, const struct target *target, const char *file)
{
	if (target->to == DIR_WAIT)
		return wait_fail(job->queue->spool, target->wait_name, file);
	return queue_fail(job->queue, target->to, file);
}

/* Whether the job is to go where it is, so that the old name is the new one. */
static bool stays(const struct job *job, const struct target *target, const char *file)
{
	return job->state == (enum job_state)target->to && strcmp(job->file, file) == 0 &&
	    (target->to != DIR_WAIT || strcmp(job->wait_name, target->wait_name) == 0);
}

/* A rename that was cut in two (no RENAME_NOREPLACE, or btrfs after a power cut) left
 * the job under both names: what remains to be done is to remove the old one. */
static int finish_rename(struct job *job, const struct target *target, const char *file)
{
	if (errno != EEXIST || !dir_leads_to(target->dir, file, &job->st))
		return -1;
	return stays(job, target, file) ? 0 : sys_unlink(job_dir(job), job->file);
}

/* ENOENT: of the name, which somebody moved, or of the directory it should go to? */
static int name_is_gone(const struct job *job, const struct target *target)
{
	struct stat st;

	if (check_name(job, &st) == HOLD_GONE)
		return 0;
	errno = ESTALE;
	return target_fail(job, target, NULL);
}

/* All or nothing: with both names, as one who holds the lock may, the new one is taken
 * back. A foreign file would otherwise be taken in again by its old one. */
static int rename_job(struct job *job, const struct target *target, const char *file)
{
	int renamed = sys_rename(job_dir(job), job->file, target->dir, file);
	int saved = errno;

	if (renamed == SYS_BOTH_NAMES) {
		job->both = sys_unlink(target->dir, file) != 0;
		errno = saved;
	}
	return renamed == 0 ? 0 : -1;
}

/* The job is there now; what was the target's directory is the job's. */
static void settle_in(struct job *job, struct target *target, const char *file)
{
	sys_discard(&job->wait);
	job->wait_name[0] = '\0';
	if (target->to == DIR_WAIT) {
		job->wait = target->dir;
		target->dir = -1;
		snprintf(job->wait_name, sizeof job->wait_name, "%s", target->wait_name);
	}
	job->state = (enum job_state)target->to;
	memcpy(job->file, file, strlen(file) + 1);
}

static int change_name(struct job *job, struct target *target, const struct job_name *name)
{
	char file[WAITING_NAME_SIZE];

	if (target->to == DIR_WAIT)
		waiting_name_format(name, job->queue->name, file);
	else
		job_name_format(name, file);
	if (rename_job(job, target, file) != 0 && finish_rename(job, target, file) != 0)
		return errno == ENOENT ? name_is_gone(job, target) : target_fail(job, target, file);
	settle_in(job, target, file);
	job->name = *name;
	return 1;
}

/* Another file may have the very name (a copy made by hand): a job that leaves cur/
 * must get out all the same, and takes the next free N. A claim does not: the other
 * one may be running. */
static int change_name_freely(struct job *job, struct target *target, struct job_name *name)
{
	int changed = change_name(job, target, name);

	for (int i = 0; target->to != DIR_CUR && changed < 0 && errno == EEXIST && i < N_TRIES &&
	     name->attempts < JOB_ATTEMPTS_MAX;
	     i++) {
		name->attempts++;
		changed = change_name(job, target, name);
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

static int sync_state_dirs(const struct queue *queue, enum queue_dir to)
{
	int synced = 1;

	for (enum queue_dir dir = DIR_NEW; synced == 1 && dir <= DIR_BURIED; dir++)
		if (dir != to)
			synced = sync_dir(queue, dir);
	return synced;
}

/* A job without options never waited. */
static int sync_waits(const struct job *job)
{
	struct meta meta;
	const char *why;
	int synced = 1;

	if (!job->name.meta)
		return 1;
	meta_init(&meta);
	if (job_meta(job->queue, &job->name, &meta, &why) >= 0 &&
	    links_sync_waits(job->queue->spool, &meta) != 0)
		synced = MOVED_UNSURE;
	meta_release(&meta);
	return synced;
}

/* SOURCE-THEN-TARGET, and the source is wherever it may have been: the moves from there may
 * not have been durable. None is tried again after a failure. */
static int sync_dirs(const struct job *job, enum queue_dir to)
{
	int synced = sync_waits(job);

	if (synced == 1)
		synced = sync_state_dirs(job->queue, to);
	return synced == 1 && to != GONE ? sync_dir(job->queue, to) : synced;
}

static int remove_name(struct job *job)
{
	if (sys_unlink(job_dir(job), job->file) != 0)
		return errno == ENOENT ? 0 : job_fail(job, job->file);
	return 1;
}

static void remove_belonging(struct job *job, enum queue_dir dir)
{
	int saved = errno;

	if (job->queue->dir[dir] < 0)
		return;
	if (sys_unlink(job->queue->dir[dir], job->name.id) != 0 && errno != ENOENT) {
		job->left = errno;
		queue_fail(job->queue, dir, job->name.id);
	}
	errno = saved;
}

/* What other jobs wait for goes first, and its options last: a sweep must be able to tell whose
 * links are left. False if some are. */
static bool end_links(struct job *job)
{
	int saved = errno;
	bool ended = true;
	struct stat now;
	struct meta meta;
	const char *why;

	job->nameless = fstat(job->fd, &now) == 0 && now.st_nlink == 0;
	if (job->nameless)
		return true;
	meta_init(&meta);
	if ((job_meta(job->queue, &job->name, &meta, &why) < 0 && errno != EBADMSG) ||
	    links_release(job->queue, job->name.id, &meta, true, &job->over) != 0) {
		job->left = errno;
		ended = false;
	}
	meta_release(&meta);
	errno = saved;
	return ended;
}

/* After the job itself, durably if that is promised: what a crash brings back must not lack
 * its options. What a crash in between leaves, a sweep removes. */
static void remove_belongings(struct job *job, enum transition transition)
{
	bool ended;

	if (!job->ours)
		return;
	ended = end_links(job);
	if (job->name.meta && transition != T_FINISH) /* what is finished and has output is kept */
		remove_belonging(job, DIR_OUT);
	if (job->name.meta && ended)
		remove_belonging(job, DIR_META);
	if (job->name.log)
		remove_belonging(job, DIR_LOG);
}

/* UNKEY-FIRST: what is set aside holds no key. */
static int give_key_back(const struct job *job)
{
	struct stat now;
	struct meta meta;
	const char *why;
	int result = 0;

	if (!job->ours || !job->name.meta || (fstat(job->fd, &now) == 0 && now.st_nlink <= 1))
		return 0;
	meta_init(&meta);
	if (job_meta(job->queue, &job->name, &meta, &why) == 1 && meta.key)
		result = key_release(job->queue, job->name.id, meta.key);
	meta_release(&meta);
	return result;
}

static int rename_to(
    struct job *job, enum transition transition, struct target *target, int64_t due_ms)
{
	struct job_name name = job->name;

	name.attempts = count_attempts(name.attempts, table[transition].n);
	name.due_ms = table[transition].due ? due_ms : JOB_DUE_NONE;
	name.asked &= table[transition].due;
	return change_name_freely(job, target, &name);
}

/* What must be done before the commit. */
static int prepare_move(const struct job *job, enum queue_dir to)
{
	return to == DIR_BURIED ? give_key_back(job) : 0;
}

/* Right after the commit, and what is done for the first time only: a kept job had finished already, and
 * a buried one was buried. */
static void count_move(
    struct job *job, enum transition transition, enum job_state from, bool adopted)
{
	enum stats_count end = table[transition].end, also = table[transition].also;
	bool ran = end == COUNT_FINISHED || end == COUNT_FAILED;
	struct stats_news news = {.waited_ms = end == COUNT_STARTED ? job->took_ms : -1,
	    .ran_ms = ran ? job->took_ms : -1};

	if (from == JOB_DONE || (from == JOB_BURIED && also == COUNT_BURIED))
		also = COUNT_NONE;
	news.count[COUNT_ADOPTED] = adopted;
	news.count[also] = 1;
	news.count[end] = 1;
	if (end == COUNT_FAILED)
		news.count[job->failure] = 1;
	news.count[COUNT_NONE] = 0;
	if (end != COUNT_NONE || also != COUNT_NONE || adopted)
		stats_add(job->queue, &news);
	job->took_ms = -1;
	job->failure = COUNT_NONE;
}

static int move(struct job *job, enum transition transition, struct target *target, int64_t due_ms)
{
	bool gone = target->to == GONE,
	     adopted = !job->ours && (transition == T_CLAIM || transition == T_ADOPT);
	enum job_state from = job->state;
	int moved;

	if (!(table[transition].from & BIT(job->state)) || job->fd < 0) {
		errno = EINVAL;
		return job_fail(job, job->file);
	}
	if (prepare_move(job, target->to) != 0)
		return -1;
	moved = gone ? remove_name(job) : rename_to(job, transition, target, due_ms);
	if (moved == 1)
		count_move(job, transition, from, adopted);
	if (moved == 1 && table[transition].durable)
		moved = sync_dirs(job, target->to);
	if (moved == 1 && gone)
		remove_belongings(job, transition);
	if (moved == 1 && target->to == DIR_DONE)
		(void)end_links(job); /* its options stay with it */
	return moved;
}

int job_move(struct job *job, enum transition transition, int64_t due_ms)
{
	enum queue_dir to = table[transition].to;
	struct target target = {.to = to, .dir = to == GONE ? -1 : job->queue->dir[to]};

	return move(job, transition, &target, due_ms);
}

/* The directory goes when it is empty, and may do so just then. */
int job_move_to_wait(struct job *job, enum transition transition, const char *name, int64_t due_ms)
{
	struct target target = {.to = DIR_WAIT, .wait_name = name, .dir = -1};
	int moved = -1;

	for (int i = 0; i < N_TRIES && moved < 0; i++) {
		target.dir = wait_open(job->queue->spool, name, true);
		if (target.dir >= 0)
			moved = move(job, transition, &target, due_ms);
		sys_discard(&target.dir);
		if (moved < 0 && errno != ESTALE && errno != ENOENT)
			break;
	}
	return moved;
}

int job_sync(const struct job *job)
{
	return sync_dirs(job, (enum queue_dir)job->state);
}
