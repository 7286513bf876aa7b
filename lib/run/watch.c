#include "run/watch.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* By descriptor, through /proc: what happened to the path meanwhile is no matter. */
int watch_add(const struct watch *watch, int dir, uint32_t mask)
{
	char path[32];

	if (watch->fd < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", dir);
	return inotify_add_watch(watch->fd, path, mask | IN_ONLYDIR);
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

static void dispatch(
    const struct watch *watch, const struct inotify_event *e, watch_event *event, void *arg)
{
	struct watched_event seen = {.what = kind(watch, e),
	    .name = e->len > 0 ? e->name : "",
	    .renamed_in = e->mask & IN_MOVED_TO,
	    .watch = e->wd,
	    .ended = e->mask & IN_IGNORED};

	event(arg, &seen);
}

int watch_read(const struct watch *watch, watch_event *event, void *arg)
{
	_Alignas(struct inotify_event) char buffer[16384];
	ssize_t len;

	while ((len = read(watch->fd, buffer, sizeof buffer)) > 0) {
		for (char *p = buffer; p < buffer + len;) {
			const struct inotify_event *e = (const void *)p;

			dispatch(watch, e, event, arg);
			p += sizeof *e + e->len;
		}
		if ((size_t)len < sizeof buffer / 2)
			return 0; /* there was no more; what comes now wakes us again */
	}
	return len == 0 || errno == EAGAIN || errno == EINTR ? 0 : -1;
}
