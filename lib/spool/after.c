#include "spool/after.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "spool/batch.h"
#include "spool/log.h"
#include "spool/motion.h"
#include "spool/wait.h"

enum { MARK_TRIES = 100, MARK_PATH_SIZE = WAIT_NAME_SIZE + 8 };

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
static int prepare_job(struct spool *spool, const char *id)
{
	struct job_place place;

	for (int i = 0; i < MARK_TRIES; i++) {
		int found = motion_locate(spool, id, &place), marked;

		if (found <= 0)
			return found;
		if (place.state == JOB_DONE)
			return 0;
		marked = mark(spool, &place);
		if (marked != 0)
			return marked;
	}
	errno = EAGAIN;
	return wait_fail(spool, id, NULL);
}

int after_next(struct spool *spool, const struct strings *after, size_t from,
    char name[static WAIT_NAME_SIZE], size_t *which)
{
	for (size_t i = from; i < after->count; i++) {
		const char *item = after->item[i];
		int waits = job_id_ok(item) ? prepare_job(spool, item) : batch_seal(spool, item);

		*which = i;
		if (waits == 1)
			waits = after_wait_name(item, name) == 0 ? 1 : -1;
		if (waits != 0)
			return waits;
	}
	return 0;
}

/* The mark goes with the job's last name: what leads to it by the mark alone is over. */
int after_look(struct spool *spool, const char *name)
{
	int top = spool_dir(spool, SPOOL_WAIT, false);
	char path[MARK_PATH_SIZE];
	struct stat st;

	if (!job_id_ok(name))
		return batch_complete(spool, name);
	mark_path(path, name);
	if (top >= 0 && fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return st.st_nlink <= 1;
	return errno == ENOENT ? 1 : wait_fail(spool, name, AFTER_MARK);
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

static int release_to(struct job *job, const struct meta *meta)
{
	char name[WAIT_NAME_SIZE];
	int64_t due_ms = job->name.due_ms;
	size_t which;
	int waits = after_next(
	    job->queue->spool, &meta->after, next_index(meta, job->wait_name), name, &which);

	if (waits < 0)
		return -1;
	if (waits == 1)
		return job_move_to_wait(job, T_PASS_ON, name, due_ms);
	return job_move(job, due_ms == JOB_DUE_NONE ? T_RELEASE : T_RELEASE_DELAYED, due_ms);
}

/* What it is passed on to may be over by now (rule OVER-FIRST). Damaged options are found by the claim. */
int after_release_one(struct job *job)
{
	struct meta meta;
	const char *why;
	int moved = -1, over = 1;

	meta_init(&meta);
	if (job_meta(job->queue, &job->name, &meta, &why) >= 0 || errno == EBADMSG)
		moved = release_to(job, &meta);
	while (moved == 1 && over == 1 && job->state == JOB_WAITING) {
		over = after_look(job->queue->spool, job->wait_name);
		if (over == 1)
			moved = release_to(job, &meta);
	}
	meta_release(&meta);
	return moved;
}

struct releasing {
	struct spool *spool;
	struct queue queue; /* the last one */
	size_t room, left;
	const char *reason; /* of burying */
	int error;
};

static int open_queue(struct releasing *r, const char *name)
{
	if (r->queue.fd >= 0 && strcmp(r->queue.name, name) == 0)
		return 0;
	queue_close(&r->queue);
	return queue_open(&r->queue, r->spool, name, false);
}

static int bury_one(struct job *job, const char *reason)
{
	if (log_event(job, "buried", reason, true) != 0)
		return -1;
	return job_move(job, T_BURY, JOB_DUE_NONE);
}

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
	int over;

	if (r->reason)
		return bury_one(job, r->reason);
	over = after_look(r->spool, job->wait_name);
	return over == 1 ? after_release_one(job) : over;
}

static int release_visit(void *arg, const struct job_place *place)
{
	struct releasing *r = arg;
	struct job job;
	int moved = 0;

	if (!place->ours)
		return 0;
	if (r->room == 0) {
		r->left++;
		return 1;
	}
	r->room--;
	switch (hold_one(r, &job, place)) {
	case HOLD_DONE:
		moved = settle_one(r, &job);
		job_release(&job);
		break;
	case HOLD_LOCKED:
		r->left++;
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
static int release(struct releasing *r, const char *name)
{
	int result = wait_each(r->spool, name, NULL, release_visit, r);

	queue_close(&r->queue);
	if (result == -1)
		return -1;
	errno = r->error;
	if (r->error != 0)
		return -1;
	if (r->left == 0)
		wait_remove(r->spool, name);
	return r->left == 0;
}

int after_release(struct spool *spool, const char *name, size_t max)
{
	struct releasing releasing = {.spool = spool, .queue = QUEUE_CLOSED, .room = max};

	return release(&releasing, name);
}

int after_let_go(struct spool *spool, const char *id, const struct over *over, size_t max)
{
	int result = 1;

	if (over->id)
		result = after_release(spool, id, max);
	if (over->batch && result >= 0) {
		int other = after_release(spool, over->batch_name, max);

		result = other < 0 ? -1 : result && other;
	}
	return result;
}

int after_bury(struct spool *spool, const char *name, const char *reason)
{
	struct releasing releasing = {
	    .spool = spool, .queue = QUEUE_CLOSED, .room = SIZE_MAX, .reason = reason};

	return release(&releasing, name) < 0 ? -1 : 0;
}
