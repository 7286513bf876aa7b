#include "spool/motion.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "spool/wait.h"
#include "sys/notify.h"

enum { LOCATE_TRIES = 20, WATCH_TRIES = 20 };

static int watch_dir(int fd, int dir, uint32_t mask)
{
	return notify_watch(fd, dir, mask) < 0 ? -1 : 0;
}

static int watch_queue(int fd, struct spool *spool, const char *name)
{
	const uint32_t moves = IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE;
	struct queue queue;
	int result = queue_open(&queue, spool, name, false);

	if (result != 0)
		return -1;
	for (enum queue_dir dir = DIR_TMP; result == 0 && dir < DIR_WAIT; dir++)
		if (queue.dir[dir] >= 0)
			result = watch_dir(fd, queue.dir[dir], moves);
	queue_close(&queue);
	return result;
}

struct waits {
	struct spool *spool;
	int fd;
};

static int watch_wait(void *arg, const char *name)
{
	const struct waits *waits = arg;
	int dir = wait_open(waits->spool, name, false), result;

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	result = watch_dir(waits->fd, dir, IN_MOVED_TO | IN_MOVED_FROM);
	sys_discard(&dir);
	return result;
}

/* Itself first: a directory that comes while the others are read is an event, see is_watched(). */
static int watch_waits(int fd, struct spool *spool)
{
	struct waits waits = {spool, fd};
	int top = spool_dir(spool, SPOOL_WAIT, false);

	if (top < 0)
		return errno == ENOENT ? 0 : -1;
	return watch_dir(fd, top, IN_CREATE) == 0 ? wait_each_name(spool, watch_wait, &waits) : -1;
}

static int watch_all(struct motion *motion, struct spool *spool, const char *queue)
{
	struct strings queues = {0};
	int result = queue ? strings_add(&queues, queue) : spool_queues(spool, &queues);

	motion->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (motion->fd < 0)
		result = -1;
	for (size_t i = 0; result == 0 && i < queues.count; i++)
		if (watch_queue(motion->fd, spool, queues.item[i]) != 0 &&
		    (queue || errno != ENOENT)) /* one of many was removed */
			result = -1;
	if (result == 0)
		result = watch_waits(motion->fd, spool);
	if (result != 0)
		motion_close(motion);
	strings_release(&queues);
	return result;
}

static bool lost(const struct inotify_event *event)
{
	return event->mask & IN_Q_OVERFLOW;
}

static int is_new_dir(void *unused, const struct inotify_event *event)
{
	(void)unused;
	return lost(event) || (event->mask & IN_CREATE && event->mask & IN_ISDIR);
}

/* A directory that came while the others were being watched may have been missed, and what is moved
 * there from one that was not watched yet. What comes later is filled from watched ones only. */
static bool is_watched(const struct motion *motion)
{
	return notify_each(motion->fd, is_new_dir, NULL) == 0;
}

int motion_watch(struct motion *motion, struct spool *spool, const char *queue)
{
	for (int i = 0; i < WATCH_TRIES; i++) {
		if (watch_all(motion, spool, queue) != 0)
			return -1;
		if (is_watched(motion))
			return 0;
		motion_close(motion);
	}
	errno = EAGAIN;
	return wait_fail(spool, NULL, NULL);
}

void motion_close(struct motion *motion)
{
	sys_discard(&motion->fd);
}

struct reading {
	int (*visit)(void *arg, const char *name);
	void *arg;
};

static int read_name(void *arg, const struct inotify_event *event)
{
	const struct reading *reading = arg;

	if (lost(event))
		return -1;
	if (event->len == 0 || event->mask & IN_ISDIR)
		return 0;
	return reading->visit(reading->arg, event->name);
}

bool motion_read(const struct motion *motion, int (*visit)(void *arg, const char *name), void *arg)
{
	struct reading reading = {visit, arg};

	return notify_each(motion->fd, read_name, &reading) == 0;
}

struct sought {
	const char *id;
	struct job_place *place;
};

static int is_sought(void *arg, const struct job_place *place)
{
	const struct sought *sought = arg;

	if (!place->ours || strcmp(place->name.id, sought->id) != 0)
		return 0;
	*sought->place = *place;
	return 1;
}

static int moved(void *arg, const char *name)
{
	const struct sought *sought = arg;

	return strstr(name, sought->id) != NULL;
}

static int search(struct spool *spool, struct strings *queues, struct sought *sought)
{
	int found = wait_each_job(spool, NULL, is_sought, sought);

	for (size_t i = 0; found == 0 && i < queues->count; i++)
		for (enum job_state s = JOB_READY; found == 0 && s <= JOB_DONE; s++) {
			found = spool_each(spool, queues->item[i], s, is_sought, sought);
			if (found < 0 && errno == ENOENT)
				found = 0; /* the queue was removed */
		}
	return found;
}

/* What most jobs are called spares a search of all. */
static bool guess(struct spool *spool, const struct strings *queues, struct sought *sought)
{
	struct job_place *place = sought->place;
	bool found = false;

	for (size_t i = 0; !found && i < 4 * queues->count; i++) {
		struct stat st;
		int dir;

		*place = (struct job_place){.ours = true};
		place->name.meta = i % 2;
		place->name.attempts = i % 4 < 2; /* it runs for the first time, or is to */
		place->state = place->name.attempts ? JOB_RUNNING : JOB_READY;
		place->name.due_ms = JOB_DUE_NONE;
		place->name.priority = JOB_PRIORITY_DEFAULT;
		memcpy(place->name.id, sought->id, sizeof place->name.id);
		snprintf(place->queue, sizeof place->queue, "%s", queues->item[i / 4]);
		job_name_format(&place->name, place->file);
		dir = place_opendir(spool, place);
		found = dir >= 0 && fstatat(dir, place->file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode);
		sys_discard(&dir);
	}
	return found;
}

/* 1 found, 0 nowhere, -1: EAGAIN if it moved meanwhile. */
static int search_watched(struct spool *spool, struct strings *queues, struct sought *sought)
{
	struct motion motion;
	int found;

	if (motion_watch(&motion, spool, NULL) != 0)
		return -1;
	found = search(spool, queues, sought);
	if (found == 0 && !motion_read(&motion, moved, sought)) {
		errno = EAGAIN;
		found = -1;
	}
	motion_close(&motion);
	return found;
}

int motion_locate(struct spool *spool, const char *id, struct job_place *place)
{
	struct sought sought = {id, place};
	struct strings queues = {0};
	int found = spool_queues(spool, &queues);

	if (found == 0 && guess(spool, &queues, &sought))
		found = 1;
	else if (found == 0)
		for (int i = 0; i < LOCATE_TRIES; i++) {
			found = search_watched(spool, &queues, &sought);
			if (found >= 0 || errno != EAGAIN)
				break;
		}
	strings_release(&queues);
	return found;
}
