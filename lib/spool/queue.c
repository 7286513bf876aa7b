/* A queue's directories: opening, creating, reading. */
#include "spool/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/chance.h"

const char *const queue_dir_name[QUEUE_DIRS] = {
    "tmp", "new", "cur", "delay", "buried", "done", ".wait", "meta", "log", "out"};

bool queue_dir_always(enum queue_dir dir)
{
	return dir != DIR_DONE && dir != DIR_WAIT && dir != DIR_OUT;
}

enum { SERVE_TRIES = 100, SLOTS_APART = 1 << 14 }; /* more than WORK_JOBS_MAX */
#define SLOTS_END ((off_t)1 << 46)                 /* 2^32 places */

static const char draft_prefix[] = ".draft-";

int queue_fail(const struct queue *queue, enum queue_dir dir, const char *name)
{
	return spool_fail(queue->spool, queue->name, queue_dir_name[dir], name);
}

/* Renames need one file system and one mount; say so before a job is at stake. */
static int same_device(const struct queue *queue)
{
	struct stat st;

	for (size_t i = 0; i < QUEUE_DIRS; i++) {
		if (queue->dir[i] < 0)
			continue;
		if (fstat(queue->dir[i], &st) != 0)
			return queue_fail(queue, (enum queue_dir)i, NULL);
		if (st.st_dev != queue->spool->device) {
			errno = EXDEV;
			return queue_fail(queue, (enum queue_dir)i, NULL);
		}
	}
	return 0;
}

int queue_open_more(struct queue *queue, unsigned dirs)
{
	bool more = false;

	for (enum queue_dir i = 0; i < QUEUE_DIRS; i++) {
		if (i == DIR_WAIT || queue->dir[i] >= 0 || !(dirs & QUEUE_DIR_BIT(i)))
			continue;
		queue->dir[i] = sys_opendir(queue->fd, queue_dir_name[i]);
		if (queue->dir[i] < 0 && (queue_dir_always(i) || errno != ENOENT))
			return queue_fail(queue, i, NULL);
		more = true;
	}
	return more ? same_device(queue) : 0;
}

static int open_dirs(struct queue *queue, unsigned dirs)
{
	queue->fd = sys_opendir(queue->spool->fd, queue->name);
	if (queue->fd < 0)
		return spool_fail(queue->spool, queue->name, NULL, NULL);
	return queue_open_more(queue, dirs);
}

/* 0, also if it is there. */
static int make_dir(const struct spool *spool, int parent, enum queue_dir dir)
{
	int made = sys_mkdir(parent, queue_dir_name[dir], spool->dir_mode);

	return made == 0 || errno == EEXIST ? 0 : -1;
}

static int make_dirs(const struct spool *spool, int parent)
{
	for (enum queue_dir i = 0; i < QUEUE_DIRS; i++)
		if (queue_dir_always(i) && make_dir(spool, parent, i) != 0)
			return -1;
	return sys_fsync(parent);
}

int queue_make_dir(struct queue *queue, enum queue_dir dir)
{
	if (queue->dir[dir] >= 0)
		return 0;
	if (make_dir(queue->spool, queue->fd, dir) != 0)
		return queue_fail(queue, dir, NULL);
	queue->dir[dir] = sys_opendir(queue->fd, queue_dir_name[dir]);
	if (queue->dir[dir] < 0 || sys_fsync(queue->fd) != 0)
		return queue_fail(queue, dir, NULL);
	return same_device(queue);
}

bool queue_is_draft(const char *name)
{
	return strncmp(name, draft_prefix, sizeof draft_prefix - 1) == 0;
}

void queue_remove_draft(const struct spool *spool, const char *draft)
{
	int saved = errno;
	int fd = sys_opendir(spool->fd, draft);
	int left = 0;

	for (enum queue_dir i = 0; fd >= 0 && i < QUEUE_DIRS; i++)
		if (queue_dir_always(i))
			left |= sys_rmdir(fd, queue_dir_name[i]);
	sys_discard(&fd);
	left |= sys_rmdir(spool->fd, draft);
	(void)left; /* what stays is empty and hidden */
	errno = saved;
}

/* Made aside and renamed, so that nobody meets half a queue; whoever comes
 * second uses the first one's. A crash leaves an empty ".draft-*". */
static int create_queue(struct spool *spool, const char *name)
{
	char draft[QUEUE_NAME_SIZE + 32];
	int fd, made;

	snprintf(draft, sizeof draft, "%s%s-%08x", draft_prefix, name, chance32());
	if (sys_mkdir(spool->fd, draft, spool->dir_mode) != 0)
		return spool_fail(spool, draft, NULL, NULL);
	fd = sys_opendir(spool->fd, draft);
	made = fd < 0 ? -1 : make_dirs(spool, fd);
	sys_discard(&fd);
	if (made == 0)
		made = sys_rename_dir(spool->fd, draft, spool->fd, name);
	if (made != 0) {
		queue_remove_draft(spool, draft);
		if (errno != EEXIST && errno != ENOTEMPTY)
			return spool_fail(spool, name, NULL, NULL);
	}
	return sys_fsync(spool->fd) == 0 ? 0 : spool_fail(spool, NULL, NULL, NULL);
}

/* A queue made by hand may lack directories. */
static int complete_queue(const struct queue *queue)
{
	for (enum queue_dir i = 0; i < QUEUE_DIRS; i++)
		if (queue_dir_always(i) && make_dir(queue->spool, queue->fd, i) != 0)
			return queue_fail(queue, i, NULL);
	return sys_fsync(queue->fd) == 0 ? 0 : spool_fail(queue->spool, queue->name, NULL, NULL);
}

/* Who needs only some of its directories must not leave it to others that some are missing: a qwork does not serve such a queue.
 * Most file systems count a directory's directories, and so no other look is needed for most queues. */
static bool is_whole(const struct queue *queue)
{
	struct stat st;
	nlink_t always = 0;
	bool whole = true;

	for (enum queue_dir i = 0; i < QUEUE_DIRS; i++)
		always += queue_dir_always(i);
	if (fstat(queue->fd, &st) == 0 && st.st_nlink == 2 + always)
		return true;
	for (enum queue_dir i = 0; whole && i < QUEUE_DIRS; i++)
		whole = !queue_dir_always(i) ||
		    fstatat(queue->fd, queue_dir_name[i], &st, AT_SYMLINK_NOFOLLOW) == 0 ||
		    errno != ENOENT;
	return whole;
}

int queue_open(struct queue *queue, struct spool *spool, const char *name, bool create)
{
	return queue_open_dirs(queue, spool, name, create, UINT_MAX);
}

int queue_open_dirs(
    struct queue *queue, struct spool *spool, const char *name, bool create, unsigned dirs)
{
	*queue = QUEUE_CLOSED;
	queue->spool = spool;
	if (!queue_name_ok(name)) {
		errno = EINVAL;
		return spool_fail(spool, name, NULL, NULL);
	}
	snprintf(queue->name, sizeof queue->name, "%s", name);
	if (open_dirs(queue, dirs) == 0 &&
	    (!create || is_whole(queue) || complete_queue(queue) == 0))
		return 0;
	if (errno == ENOENT && create) {
		if (queue->fd < 0 ? create_queue(spool, name) == 0 : complete_queue(queue) == 0) {
			queue_close(queue);
			if (open_dirs(queue, dirs) == 0)
				return 0;
		}
	}
	queue_close(queue);
	return -1;
}

void queue_close(struct queue *queue)
{
	for (size_t i = 0; i < QUEUE_DIRS; i++)
		sys_discard(&queue->dir[i]);
	sys_discard(&queue->fd);
	stats_close(queue);
}

struct reading {
	name_visit *visit;
	void *arg;
	int result; /* of the last visit */
};

static int visit_name(void *arg, const char *name, bool regular)
{
	struct reading *reading = arg;

	reading->result = reading->visit(reading->arg, name, regular);
	return reading->result;
}

/* An error of VISIT was noted where it was. */
int queue_each(const struct queue *queue, enum queue_dir which, name_visit *visit, void *arg)
{
	struct reading reading = {.visit = visit, .arg = arg};
	int result;

	if (queue->dir[which] < 0 && !queue_dir_always(which))
		return 0;
	result = dir_each(sys_opendir(queue->dir[which], "."), EACH_VISIBLE, visit_name, &reading);
	return result < 0 && reading.result == 0 ? queue_fail(queue, which, NULL) : result;
}

DIR *queue_read(const struct queue *queue, enum queue_dir which)
{
	DIR *dir = dir_read(sys_opendir(queue->dir[which], "."));

	if (!dir)
		queue_fail(queue, which, NULL);
	return dir;
}

static bool leads_to(int parent, const char *name, int fd)
{
	struct stat opened;

	return fstat(fd, &opened) == 0 && dir_leads_to(parent, name, &opened);
}

bool queue_in_place(const struct queue *queue)
{
	bool whole = leads_to(queue->spool->fd, queue->name, queue->fd);

	for (enum queue_dir i = 0; whole && i < QUEUE_DIRS; i++)
		whole = queue->dir[i] < 0 || leads_to(queue->fd, queue_dir_name[i], queue->dir[i]);
	return whole;
}

void queue_serve(const struct queue *queue)
{
	for (int i = 0; i < SERVE_TRIES && flock(queue->dir[DIR_CUR], LOCK_SH | LOCK_NB) != 0; i++)
		poll(NULL, 0, 1); /* qstat looks just now */
}

void queue_publish_slots(const struct queue *queue, unsigned slots)
{
	struct flock range = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	(void)fcntl(queue->dir[DIR_CUR], F_OFD_SETLK, &range);
	range = (struct flock){.l_type = F_RDLCK,
	    .l_whence = SEEK_SET,
	    .l_start = (off_t)chance32() * SLOTS_APART,
	    .l_len = slots};
	(void)fcntl(queue->dir[DIR_CUR], F_OFD_SETLK, &range);
}

/* The kernel tells one lock of a range, and not the first: what is before it and behind it is asked for again. One that is too
 * long is none of ours. */
static int count_slots(int dir, off_t from, off_t end)
{
	int count = 0;

	while (from < end) {
		struct flock lock = {
		    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = from, .l_len = end - from};

		if (fcntl(dir, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK ||
		    lock.l_len == 0)
			break;
		count += count_slots(dir, from, lock.l_start);
		if (lock.l_len <= WORK_JOBS_MAX)
			count += (int)lock.l_len;
		from = lock.l_start + lock.l_len;
	}
	return count;
}

int spool_slots(struct spool *spool, const char *queue)
{
	struct job_place cur = {.state = JOB_RUNNING};
	int dir, slots;

	if (!queue_name_ok(queue)) {
		errno = EINVAL;
		return spool_fail(spool, queue, NULL, NULL);
	}
	snprintf(cur.queue, sizeof cur.queue, "%s", queue);
	dir = place_opendir(spool, &cur);
	if (dir < 0)
		return -1;
	slots = count_slots(dir, 0, SLOTS_END);
	sys_discard(&dir);
	return slots;
}

bool queue_served(const struct queue *queue)
{
	int fd = sys_opendir(queue->fd, queue_dir_name[DIR_CUR]);
	bool served = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;

	sys_discard(&fd);
	return served;
}
