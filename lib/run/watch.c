#include "run/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spool/stats.h"

struct watched_dir {
	RB_ENTRY(watched_dir) link;
	int wd;
	enum watched what;
	void *owner;
	unsigned users; /* of WATCHED_OTHER */
};

static int compare(const struct watched_dir *a, const struct watched_dir *b)
{
	return a->wd < b->wd ? -1 : a->wd > b->wd;
}

#define LOCAL __attribute__((unused)) static
RB_PROTOTYPE_INTERNAL(watched_tree, watched_dir, link, compare, LOCAL)
RB_GENERATE_INTERNAL(watched_tree, watched_dir, link, compare, LOCAL)

static struct watched_dir *find(struct watch *watch, int wd)
{
	struct watched_dir key = {.wd = wd};

	return RB_FIND(watched_tree, &watch->dirs, &key);
}

static void forget(struct watch *watch, struct watched_dir *dir)
{
	RB_REMOVE(watched_tree, &watch->dirs, dir);
	free(dir);
}

static void end(struct watch *watch, struct watched_dir *dir)
{
	inotify_rm_watch(watch->fd, dir->wd);
	forget(watch, dir);
}

static struct watched_dir *find_or_create(struct watch *watch, int wd)
{
	struct watched_dir *dir = find(watch, wd);

	if (dir)
		return dir;
	dir = calloc(1, sizeof *dir);
	if (dir) {
		dir->wd = wd;
		RB_INSERT(watched_tree, &watch->dirs, dir);
	}
	return dir;
}

/* Two who watch one directory share its watch, with what both want. */
static struct watched_dir *add(
    struct watch *watch, int fd, uint32_t mask, enum watched what, void *owner)
{
	int wd = watch->fd < 0 ? -1 : notify_watch(watch->fd, fd, mask | IN_MASK_ADD);
	struct watched_dir *dir = wd < 0 ? NULL : find_or_create(watch, wd);

	if (!dir && wd >= 0)
		inotify_rm_watch(watch->fd, wd);
	if (dir) {
		dir->what = what;
		dir->owner = owner;
	}
	return dir;
}

int watch_add(struct watch *watch, int dir, uint32_t mask)
{
	struct watched_dir *added = add(watch, dir, mask, WATCHED_OTHER, NULL);

	if (!added)
		return -1;
	added->users++;
	return added->wd;
}

void watch_remove(struct watch *watch, int added)
{
	struct watched_dir *dir = added < 0 ? NULL : find(watch, added);

	if (dir && --dir->users == 0)
		end(watch, dir);
}

int watch_open(struct watch *watch)
{
	RB_INIT(&watch->dirs);
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	return watch->fd < 0 ? -1 : 0;
}

void watch_close(struct watch *watch)
{
	struct watched_dir *dir, *next;

	RB_FOREACH_SAFE (dir, watched_tree, &watch->dirs, next)
		forget(watch, dir);
	sys_discard(&watch->fd);
}

/* cur/: IN_CLOSE_WRITE only, or reading a running job's payload would wake every
 * qwork, and their probing each other for ever; and not of unlinked files, or each
 * finished job would wake them too. The queue itself: IN_CLOSE_WRITE for who writes a time into
 * `paused` or a line into `settings`, IN_ATTRIB for who makes one of its files executable or trusted; reading
 * them is no such event. */
int watch_queue(struct watch *watch, const struct queue *queue, bool leaving, void *owner)
{
	const uint32_t came = IN_MOVED_TO | IN_CREATE | IN_MOVE_SELF;
	const uint32_t left = leaving ? IN_DELETE | IN_MOVED_FROM : 0;

	if (add(watch, queue->dir[DIR_NEW], came, WATCHED_NEW, owner) &&
	    add(watch, queue->dir[DIR_DELAY], came, WATCHED_DELAY, owner) &&
	    add(watch, queue->dir[DIR_CUR], IN_CLOSE_WRITE | IN_EXCL_UNLINK | left, WATCHED_CUR,
	        owner) &&
	    add(watch, queue->fd,
	        IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_CLOSE_WRITE | IN_ATTRIB |
	            IN_MOVE_SELF,
	        WATCHED_QUEUE, owner))
		return 0;
	watch_leave(watch, owner);
	return -1;
}

int watch_look(struct watch *watch, int dir)
{
	const uint32_t changes = IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB;

	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it is in the tree */
	return add(watch, dir, changes, WATCHED_QUEUE, NULL) ? 0 : -1;
}

void watch_leave(struct watch *watch, const void *owner)
{
	int saved = errno;
	struct watched_dir *dir, *next;

	RB_FOREACH_SAFE (dir, watched_tree, &watch->dirs, next)
		if (dir->owner == owner)
			end(watch, dir);
	errno = saved;
}

/* Who counts ends with IN_CLOSE_WRITE, and that is no news. In the spool, a directory of that name is a queue. */
static bool is_stats(const struct inotify_event *e)
{
	return e->len > 0 && !(e->mask & IN_ISDIR) && strcmp(e->name, stats_name) == 0;
}

static enum watched kind(const struct watched_dir *dir, const struct inotify_event *e)
{
	if (dir->what == WATCHED_OTHER)
		return WATCHED_OTHER;
	if (dir->owner && (e->mask & (IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)))
		return WATCHED_DEAD;
	if (dir->what == WATCHED_CUR && !(e->mask & IN_CLOSE_WRITE))
		return WATCHED_LEFT;
	if (dir->what == WATCHED_QUEUE && is_stats(e))
		return WATCHED_OTHER;
	return dir->what;
}

struct reading {
	struct watch *watch;
	watch_event *event;
	void *arg;
};

/* None is of a watch that was ended meanwhile. */
static int dispatch(void *arg, const struct inotify_event *e)
{
	const struct reading *reading = arg;
	struct watched_dir *dir = find(reading->watch, e->wd);
	struct watched_event seen = {.what = WATCHED_SCAN,
	    .name = e->len > 0 ? e->name : "",
	    .renamed_in = e->mask & IN_MOVED_TO,
	    .watch = e->wd,
	    .ended = e->mask & IN_IGNORED};

	if (!dir && !(e->mask & IN_Q_OVERFLOW))
		return 0;
	if (dir) {
		seen.what = kind(dir, e);
		seen.owner = dir->owner;
	}
	if (seen.ended)
		forget(reading->watch, dir);
	reading->event(reading->arg, &seen);
	return 0;
}

int watch_read(struct watch *watch, watch_event *event, void *arg)
{
	struct reading reading = {watch, event, arg};

	return notify_each(watch->fd, dispatch, &reading) == 0 || errno == EINTR ? 0 : -1;
}
