#include "spool/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "format/room.h"
#include "spool/after.h"
#include "spool/motion.h"
#include "sys/clock.h"

bool sweep_is_old(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec + SWEEP_AGE_S < (int64_t)(clock_real_ms() / 1000);
}

struct swept {
	int removed;
	int error; /* of the last that could not be removed, or 0 */
};

static bool remove_leftover(
    struct swept *swept, const struct queue *queue, enum queue_dir dir, const char *name)
{
	bool removed = sys_unlink(queue->dir[dir], name) == 0;

	swept->removed += removed;
	if (!removed && errno != ENOENT) {
		swept->error = errno;
		queue_fail(queue, dir, name);
	}
	return removed;
}

/* How many, or -1 with errno. */
static int sweep_result(const struct swept *swept)
{
	errno = swept->error;
	return swept->error != 0 ? -1 : swept->removed;
}

struct draft_sweep {
	const struct queue *queue;
	struct swept swept;
};

/* Under the lock, which a living sender holds while it writes; but a young file is not
 * even locked, or its sender might meet our lock. Read-only, or the mode of a
 * foreign leftover could keep us from locking it. */
static int sweep_draft(void *arg, const char *name, bool regular)
{
	struct draft_sweep *sweep = arg;
	struct job draft;
	struct stat st;

	if (!regular || fstatat(sweep->queue->dir[DIR_TMP], name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !sweep_is_old(&st))
		return 0;
	if (job_hold(&draft, sweep->queue, JOB_SENDING, name, O_RDONLY) != HOLD_DONE)
		return 0;
	if (sweep_is_old(&draft.st))
		remove_leftover(&sweep->swept, sweep->queue, DIR_TMP, name);
	job_release(&draft);
	return 0;
}

static int sweep_tmp(const struct queue *queue, name_visit *visit)
{
	struct draft_sweep sweep = {.queue = queue};

	if (queue_each(queue, DIR_TMP, visit, &sweep) < 0)
		return -1;
	return sweep_result(&sweep.swept);
}

int sweep_drafts(const struct queue *queue)
{
	return sweep_tmp(queue, sweep_draft);
}

enum { LINKED_AGE_S = 60 }; /* from its link to the rename, a sender only syncs */

static bool has_rested(const struct stat *st)
{
	return (int64_t)st->st_ctim.tv_sec + LINKED_AGE_S < clock_real_ms() / 1000;
}

/* A power cut may leave a job that was sent with its name in tmp/, too (btrfs): then its links are its. */
static bool was_sent(const struct job *draft)
{
	return links_names(draft->queue, &draft->name, draft->fd) != 0;
}

/* The name goes first: a sender that only slept finds then that it was not sent, and a job that was
 * published meanwhile has no such name any more. */
static void remove_linked(struct draft_sweep *sweep, struct job *draft)
{
	struct spool *spool = draft->queue->spool;
	struct over over = {0};
	struct meta meta;
	const char *why;

	if (!remove_leftover(&sweep->swept, draft->queue, DIR_TMP, draft->file) || was_sent(draft))
		return;
	meta_init(&meta);
	if (job_meta(draft->queue, &draft->name, &meta, &why) < 0 ||
	    links_release(draft->queue, draft->name.id, &meta, false, &over) != 0 ||
	    after_let_go(spool, draft->name.id, &over) < 0)
		sweep->swept.error = errno;
	meta_release(&meta);
}

static int sweep_linked(void *arg, const char *name, bool regular)
{
	struct draft_sweep *sweep = arg;
	const struct queue *queue = sweep->queue;
	struct job draft;
	struct stat st;

	if (!regular || !job_id_ok(name) ||
	    fstatat(queue->dir[DIR_TMP], name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_nlink <= 1 ||
	    !has_rested(&st))
		return 0;
	if (job_hold(&draft, queue, JOB_SENDING, name, O_RDONLY) != HOLD_DONE)
		return 0;
	memcpy(draft.name.id, name, sizeof draft.name.id);
	draft.name.meta = true;
	if (has_rested(&draft.st))
		remove_linked(sweep, &draft);
	job_release(&draft);
	return 0;
}

int sweep_linked_drafts(const struct queue *queue)
{
	return sweep_tmp(queue, sweep_linked);
}

struct candidate {
	char id[JOB_ID_LEN + 1];
	enum queue_dir dir;
	bool alive;
};

struct orphan_sweep {
	const struct queue *queue;
	enum queue_dir dir; /* being listed */
	struct candidate *item;
	size_t count;
};

static int by_id(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return strcmp(x->id, y->id);
}

static int add_candidate(void *arg, const char *name, bool regular)
{
	struct orphan_sweep *sweep = arg;
	struct candidate *item;
	struct stat st;

	if (!regular || !job_id_ok(name))
		return 0;
	if (fstatat(sweep->queue->dir[sweep->dir], name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !sweep_is_old(&st))
		return 0;
	item = with_room(sweep->item, sweep->count, sizeof *item);
	if (!item)
		return -1;
	sweep->item = item;
	sweep->item[sweep->count] = (struct candidate){.dir = sweep->dir};
	memcpy(sweep->item[sweep->count++].id, name, JOB_ID_LEN + 1);
	return 0;
}

/* An id may stand twice, for its meta and for its log. */
static void mark_alive(struct orphan_sweep *sweep, const char *id)
{
	size_t low = 0, high = sweep->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(sweep->item[middle].id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < sweep->count && strcmp(sweep->item[low].id, id) == 0; low++)
		sweep->item[low].alive = true;
}

/* NAME is a job's name, also that of one that waits, or in tmp/ its bare id. */
static int mark_moved(void *arg, const char *name)
{
	char queue[QUEUE_NAME_SIZE];
	struct job_name parsed;

	if (job_name_parse(name, &parsed) || waiting_name_parse(name, &parsed, queue))
		mark_alive(arg, parsed.id);
	else if (strlen(name) == JOB_ID_LEN)
		mark_alive(arg, name);
	return 0;
}

/* Whatever has the id keeps what belongs to it. */
static int mark_place(void *arg, const struct job_place *place)
{
	return mark_moved(arg, place->file);
}

static int remove_dead(const struct orphan_sweep *sweep)
{
	struct swept swept = {0};

	for (size_t i = 0; i < sweep->count; i++) {
		const struct candidate *c = &sweep->item[i];

		if (!c->alive)
			remove_leftover(&swept, sweep->queue, c->dir, c->id);
	}
	return sweep_result(&swept);
}

int sweep_orphans(const struct queue *queue)
{
	struct orphan_sweep sweep = {.queue = queue, .dir = DIR_META};
	struct motion motion = {-1};
	int result = 0;

	for (; result == 0 && sweep.dir <= DIR_OUT; sweep.dir++)
		result = queue_each(queue, sweep.dir, add_candidate, &sweep);
	if (result != 0 || sweep.count == 0)
		goto out;
	qsort(sweep.item, sweep.count, sizeof *sweep.item, by_id);
	if (motion_watch(&motion, queue->spool, queue->name) != 0)
		goto out;
	for (enum job_state s = JOB_SENDING; result == 0 && s < JOB_STATES; s++)
		result = spool_each(queue->spool, queue->name, s, mark_place, &sweep);
	if (result == 0 && motion_read(&motion, mark_moved, &sweep))
		result = remove_dead(&sweep);
out:
	motion_close(&motion);
	free(sweep.item);
	return result;
}

static int sweep_queue(void *arg, const char *name, bool regular)
{
	struct spool *spool = arg;
	struct stat st;

	(void)regular; /* the stat says more */
	if (queue_is_draft(name) && fstatat(spool->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode) && sweep_is_old(&st))
		queue_remove_draft(spool, name);
	return 0;
}

int sweep_queues(struct spool *spool)
{
	return dir_each(sys_opendir(spool->fd, "."), EACH_ALL, sweep_queue, spool);
}
