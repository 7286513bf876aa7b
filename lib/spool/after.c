#include "spool/after.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spool/batch.h"
#include "spool/deletion.h"
#include "spool/log.h"
#include "spool/motion.h"
#include "spool/wait.h"

enum {
	MARK_TRIES = 100,
	MARK_PATH_SIZE = WAIT_NAME_SIZE + 8,
	BURIAL_COST = 20, /* it is synced, with all directories from which it may have come */
};

int after_wait_name(const char *after, char name[static WAIT_NAME_SIZE])
{
	if (!job_id_ok(after))
		return label_encode(after, name);
	memcpy(name, after, JOB_ID_LEN + 1);
	return 0;
}

/* --- marking what is waited for --- */

static void mark_path(char path[static MARK_PATH_SIZE], const char *name)
{
	snprintf(path, MARK_PATH_SIZE, "%s/%s", name, AFTER_MARK);
}

static int sync_mark(struct spool *spool, const char *id)
{
	int wait = wait_open(spool, id, false);
	int result = wait < 0 ? -1 : sys_fsync(wait);

	sys_discard(&wait);
	return result == 0 ? 0 : wait_fail(spool, id, NULL);
}

/* Links the job at PLACE to .wait/ID/.job: 1, 0 if it moved meanwhile, -1. */
static int mark(struct spool *spool, const struct job_place *place)
{
	int dir = place_opendir(spool, place), result = -1;
	int wait = dir < 0 ? -1 : wait_open(spool, place->name.id, true);

	if (wait >= 0 && (sys_link(dir, place->file, wait, AFTER_MARK) == 0 || errno == EEXIST))
		result = sys_fsync(wait) == 0 ? 1 : -1;
	else if (errno == ENOENT)
		result = 0;
	sys_discard(&dir);
	sys_discard(&wait);
	if (result == 0)
		wait_remove(spool, place->name.id);
	return result < 0 ? place_fail(spool, place) : result;
}

/* 1: it is marked; 0: it is over; -1. A job that moves is looked for again. */
static int find_and_mark(struct spool *spool, const char *id)
{
	struct job_place place;

	for (int i = 0; i < MARK_TRIES; i++) {
		int found = motion_locate(spool, id, &place), marked;

		if (found <= 0 || place.state == JOB_DONE)
			return found < 0 ? -1 : 0;
		marked = mark(spool, &place);
		if (marked != 0)
			return marked;
	}
	errno = EAGAIN;
	return wait_fail(spool, id, NULL);
}

/* As find_and_mark(). Another sender's mark, which may not be on disk yet, spares the search. */
static int prepare_job(struct spool *spool, const char *id)
{
	int over = after_look(spool, id);

	if (over == AFTER_WAITS && sync_mark(spool, id) == 0)
		return 1;
	if (over < 0 || (over == AFTER_WAITS && errno != ENOENT))
		return -1;
	return find_and_mark(spool, id);
}

static int prepare(struct spool *spool, const char *after)
{
	int waits = job_id_ok(after) ? prepare_job(spool, after) : batch_seal(spool, after);
	char name[WAIT_NAME_SIZE];
	int deleted;

	if (waits != 0)
		return waits < 0 ? -1 : 0;
	deleted = after_wait_name(after, name) == 0 ? deletion_is_marked(spool, name) : -1;
	if (deleted == 1)
		errno = ECANCELED;
	return deleted == 0 ? 0 : -1;
}

int after_prepare(struct spool *spool, const struct strings *after, size_t *which)
{
	int top;

	for (size_t i = 0; i < after->count; i++) {
		*which = i;
		if (prepare(spool, after->item[i]) != 0)
			return -1;
	}
	top = after->count > 0 ? spool_dir(spool, SPOOL_WAIT, false) : -1;
	return top < 0 || sys_fsync(top) == 0 ? 0 : wait_fail(spool, NULL, NULL);
}

int after_next(
    struct spool *spool, const struct strings *after, size_t *at, char name[static WAIT_NAME_SIZE])
{
	for (; *at < after->count; ++*at) {
		int over =
		    after_wait_name(after->item[*at], name) == 0 ? after_look(spool, name) : -1;

		if (over != AFTER_OVER)
			return over;
	}
	return AFTER_OVER;
}

/* The mark goes with the job's last name: what leads to it by the mark alone is over. */
static int job_over(struct spool *spool, const char *id)
{
	int top = spool_dir(spool, SPOOL_WAIT, false);
	char path[MARK_PATH_SIZE];
	struct stat st;

	mark_path(path, id);
	if (top >= 0 && fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return st.st_nlink <= 1;
	return errno == ENOENT ? 1 : wait_fail(spool, id, AFTER_MARK);
}

/* In this order: while it is not over, its deletion may still be marked, or be taken back. */
int after_look(struct spool *spool, const char *name)
{
	int over = job_id_ok(name) ? job_over(spool, name) : batch_over(spool, name);
	int deleted = over == 1 ? deletion_is_marked(spool, name) : 0;

	if (over < 0 || deleted < 0)
		return -1;
	return deleted ? AFTER_DELETED : over ? AFTER_OVER : AFTER_WAITS;
}

int after_unmark_last(struct spool *spool, const char *id)
{
	int top = spool_dir(spool, SPOOL_WAIT, false);
	char path[MARK_PATH_SIZE];
	struct stat st;

	mark_path(path, id);
	if (top >= 0 && fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return st.st_nlink > 1 ? 0 : after_unmark(spool, id) < 0 ? -1 : 1;
	return errno == ENOENT ? 1 : wait_fail(spool, id, AFTER_MARK);
}

int after_unmark(struct spool *spool, const char *id)
{
	int top = spool_dir(spool, SPOOL_WAIT, false);
	char path[MARK_PATH_SIZE];

	mark_path(path, id);
	if (top >= 0 && sys_unlink(top, path) == 0)
		return 1;
	return errno == ENOENT ? 0 : wait_fail(spool, id, AFTER_MARK);
}

/* --- releasing what waits --- */

/* Behind what it waited for in its list; one that was moved here by hand is at its end. */
static size_t next_index(const struct meta *meta, const char *wait)
{
	char name[WAIT_NAME_SIZE];

	for (size_t i = 0; i < meta->after.count; i++)
		if (after_wait_name(meta->after.item[i], name) == 0 && strcmp(name, wait) == 0)
			return i + 1;
	return meta->after.count;
}

/* That a power cut may undo it is an error here: what it waits for is to be deleted next, or is gone. */
static int bury_held(struct job *job, const char *reason)
{
	int moved;

	if (log_event(job, "buried", reason, true) != 0)
		return -1;
	moved = job_move(job, T_BURY, JOB_DUE_NONE);
	return moved == MOVED_UNSURE ? -1 : moved;
}

/* NAME, for which it was to wait, was deleted. */
static int bury_orphan(struct job *job, const char *name)
{
	char *batch = job_id_ok(name) ? NULL : label_name(job->queue->spool, SPOOL_BATCH, name);
	char reason[WAIT_NAME_SIZE + 64];
	int buried;

	if (batch)
		snprintf(reason, sizeof reason,
		    "a job of batch %.*s, which it waited for, was deleted", WAIT_NAME_SIZE, batch);
	else
		snprintf(reason, sizeof reason, "job %s, which it waited for, was deleted", name);
	buried = bury_held(job, reason);
	free(batch);
	return buried;
}

static int release_to(struct job *job, const struct meta *meta)
{
	char name[WAIT_NAME_SIZE];
	int64_t due_ms = job->name.due_ms;
	size_t at = next_index(meta, job->wait_name);

	switch (after_next(job->queue->spool, &meta->after, &at, name)) {
	case AFTER_WAITS:
		return job_move_to_wait(job, T_PASS_ON, name, due_ms);
	case AFTER_OVER:
		return job_move(
		    job, due_ms == JOB_DUE_NONE ? T_RELEASE : T_RELEASE_DELAYED, due_ms);
	case AFTER_DELETED:
		return bury_orphan(job, name);
	default:
		return -1;
	}
}

/* What waited in a directory whose job or batch is OVER, or deleted. */
static int go_on(struct job *job, const struct meta *meta, int over)
{
	return over == AFTER_DELETED ? bury_orphan(job, job->wait_name) : release_to(job, meta);
}

/* T17, or T9. What it is passed on to may be over by now (rule OVER-FIRST). Damaged options are found by the
 * claim. */
static int release_one(struct job *job, int over)
{
	struct meta meta;
	const char *why;
	int moved = -1;

	meta_init(&meta);
	if (job_meta(job->queue, &job->name, &meta, &why) >= 0 || errno == EBADMSG)
		moved = go_on(job, &meta, over);
	while (moved == 1 && over > 0 && job->state == JOB_WAITING) {
		over = after_look(job->queue->spool, job->wait_name);
		if (over > 0)
			moved = go_on(job, &meta, over);
	}
	meta_release(&meta);
	return moved;
}

struct releasing {
	struct spool *spool;
	struct queue queue; /* the last one */
	size_t room;
	bool more, held;
	int error;
};

static int open_queue(struct releasing *r, const char *name)
{
	if (r->queue.fd >= 0 && strcmp(r->queue.name, name) == 0)
		return 0;
	queue_close(&r->queue);
	return queue_open(&r->queue, r->spool, name, false);
}

/* Of a queue that was removed nothing can go on. */
static enum hold hold_one(struct releasing *r, struct job *job, const struct job_place *place)
{
	if (open_queue(r, place->queue) != 0)
		return errno == ENOENT ? HOLD_STRANGE : HOLD_ERROR;
	return job_hold_waiting(job, &r->queue, place->wait, place->file, O_RDWR);
}

/* Looked at anew for each: who had judged it to be over may have done so between the making of the
 * directory and of the mark. What is in there now came after the mark. */
static int settle_one(const struct releasing *r, struct job *job)
{
	int over = after_look(r->spool, job->wait_name);

	return over > 0 ? release_one(job, over) : over;
}

static void take_room(struct releasing *r, const struct job *job)
{
	size_t cost = job->state == JOB_BURIED ? BURIAL_COST : 1;

	r->room -= cost < r->room ? cost : r->room;
}

/* Those that stay, because of an error or since somebody holds them, must not keep those behind
 * them from going on: MAX is of those that go. */
static int release_visit(void *arg, const struct job_place *place)
{
	struct releasing *r = arg;
	struct job job;
	int moved = 0;

	if (!place->ours)
		return 0;
	if (r->room == 0) {
		r->more = true;
		return 1;
	}
	switch (hold_one(r, &job, place)) {
	case HOLD_DONE:
		moved = settle_one(r, &job);
		if (moved > 0)
			take_room(r, &job);
		job_release(&job);
		break;
	case HOLD_LOCKED:
		r->held = true;
		break;
	case HOLD_ERROR:
		moved = -1;
		break;
	case HOLD_GONE:
	case HOLD_STRANGE:
		break;
	}
	if (moved < 0)
		r->error = errno;
	return 0;
}

/* What came in while the directory was read is met by the next pass, or looks for itself. */
int after_release(struct spool *spool, const char *name, size_t max)
{
	struct releasing r = {.spool = spool, .queue = QUEUE_CLOSED, .room = max};
	int result = wait_each(spool, name, NULL, release_visit, &r);

	queue_close(&r.queue);
	if (result == -1)
		return -1;
	if (r.more)
		return 0;
	errno = r.error;
	if (r.error != 0)
		return -1;
	if (r.held)
		return AFTER_HELD;
	wait_remove(spool, name);
	return 1;
}

int after_let_go(struct spool *spool, const char *id, const struct over *over)
{
	int result = 0;

	if (over->id && after_release(spool, id, SIZE_MAX) < 0)
		result = -1;
	if (over->batch && after_release(spool, over->batch_name, SIZE_MAX) < 0)
		result = -1;
	return result;
}

/* --- setting aside what waits --- */

static int bury_visit(void *arg, const struct job_place *place)
{
	struct releasing *r = arg;
	struct job job;
	int held;

	if (!place->ours)
		return 0;
	if (open_queue(r, place->queue) != 0)
		return errno == ENOENT ? 0 : -1;
	held = job_hold_resting(&job, &r->queue, place);
	if (held != 1)
		return held;
	held = bury_orphan(&job, place->wait);
	job_release(&job);
	return held < 0 ? -1 : 0;
}

int after_bury(struct spool *spool, const char *name)
{
	struct releasing r = {.spool = spool, .queue = QUEUE_CLOSED};
	int result = wait_each(spool, name, NULL, bury_visit, &r);

	queue_close(&r.queue);
	if (result != 0)
		return -1;
	wait_remove(spool, name);
	return 0;
}
