#include "run/watch.h"

#include <errno.h>

int watch_add(const struct watch *watch, int dir, uint32_t mask)
{
	return watch->fd < 0 ? -1 : notify_watch(watch->fd, dir, mask);
}

void watch_remove(const struct watch *watch, int added)
{
	if (watch->fd >= 0 && added >= 0)
		inotify_rm_watch(watch->fd, added);
}

/* cur/: IN_CLOSE_WRITE only, or reading a running job's payload would wake every
 * qwork, and their probing each other for ever; and not of unlinked files, or each
 * finished job would wake them too. The queue itself: IN_CLOSE_WRITE for who writes a time into
 * `paused`; reading it is no such event. */
int watch_open(struct watch *watch, const struct queue *queue, bool leaving)
{
	const uint32_t came = IN_MOVED_TO | IN_CREATE | IN_MOVE_SELF;
	const uint32_t left = leaving ? IN_DELETE | IN_MOVED_FROM : 0;

	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd < 0)
		return -1;
	watch->new_ = watch_add(watch, queue->dir[DIR_NEW], came);
	watch->delay = watch_add(watch, queue->dir[DIR_DELAY], came);
	watch->cur = watch_add(watch, queue->dir[DIR_CUR], IN_CLOSE_WRITE | IN_EXCL_UNLINK | left);
	watch->queue = watch_add(watch, queue->fd,
	    IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_CLOSE_WRITE | IN_MOVE_SELF);
	if (watch->new_ >= 0 && watch->delay >= 0 && watch->cur >= 0 && watch->queue >= 0)
		return 0;
	watch_close(watch);
	return -1;
}

void watch_close(struct watch *watch)
{
	sys_discard(&watch->fd);
}

static enum watched kind(const struct watch *watch, const struct inotify_event *e)
{
	bool ended = e->mask & (IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED);

	if (e->mask & IN_Q_OVERFLOW)
		return WATCHED_SCAN;
	if (e->wd != watch->new_ && e->wd != watch->delay && e->wd != watch->cur &&
	    e->wd != watch->queue)
		return WATCHED_OTHER;
	if (ended)
		return WATCHED_DEAD;
	if (e->wd == watch->new_)
		return WATCHED_NEW;
	if (e->wd == watch->delay)
		return WATCHED_DELAY;
	if (e->wd == watch->cur)
		return e->mask & IN_CLOSE_WRITE ? WATCHED_CUR : WATCHED_LEFT;
	return WATCHED_QUEUE;
}

struct reading {
	const struct watch *watch;
	watch_event *event;
	void *arg;
};

static int dispatch(void *arg, const struct inotify_event *e)
{
	const struct reading *reading = arg;
	struct watched_event seen = {.what = kind(reading->watch, e),
	    .name = e->len > 0 ? e->name : "",
	    .renamed_in = e->mask & IN_MOVED_TO,
	    .watch = e->wd,
	    .ended = e->mask & IN_IGNORED};

	reading->event(reading->arg, &seen);
	return 0;
}

int watch_read(const struct watch *watch, watch_event *event, void *arg)
{
	struct reading reading = {watch, event, arg};

	return notify_each(watch->fd, dispatch, &reading) == 0 || errno == EINTR ? 0 : -1;
}
