#include "sys/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/chance.h"
#include "sys/dir.h"

/* What was killed may take a moment to let go of its memory. */
enum { END_TRIES = 100, END_PAUSE_MS = 10 };

static const char prefix[] = "qspool-", itself[] = "qwork";
static const char may_be_divided[] = "cgroup.subtree_control", entrance[] = "cgroup.procs";

static int set(int dir, const char *file, const char *value)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	int result = fd >= 0 && write(fd, value, strlen(value)) >= 0 ? 0 : -1;

	sys_discard(&fd);
	return result;
}

static int set_in(int dir, const char *group, const char *file, const char *value)
{
	int fd = sys_opendir(dir, group);
	int result = fd < 0 ? -1 : set(fd, file, value);

	sys_discard(&fd);
	return result;
}

/* Its beginning; "" if it cannot be read. */
static const char *get(int dir, const char *file, char text[static 1024])
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, 1023);

	sys_discard(&fd);
	text[len < 0 ? 0 : len] = '\0';
	return text;
}

/* The hierarchy: what of it is mounted, and where. proc_pid_mountinfo(5). */
static bool find_mount(char root[static PATH_MAX], char mount[static PATH_MAX])
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	char line[3 * PATH_MAX];
	bool found = false;

	while (in && !found && fgets(line, sizeof line, in))
		found = strstr(line, " - cgroup2 ") &&
		    sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) == 2;
	if (in)
		fclose(in);
	return found;
}

/* The group of this process in it: cgroups(7). */
static bool find_path(char path[static PATH_MAX])
{
	FILE *in = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX + 8];
	bool found = false;

	while (in && !found && fgets(line, sizeof line, in))
		found = sscanf(line, "0::%4095[^\n]", path) == 1;
	if (in)
		fclose(in);
	return found;
}

static int open_own(void)
{
	char root[PATH_MAX], mount[PATH_MAX], path[PATH_MAX];
	size_t above;
	int top, own;

	if (!find_mount(root, mount) || !find_path(path)) {
		errno = ENOENT;
		return -1;
	}
	above = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(path, root, above) != 0) { /* outside of what is mounted here */
		errno = ENOENT;
		return -1;
	}
	top = sys_opendir(AT_FDCWD, mount);
	if (top < 0 || !path[above] || !path[above + 1])
		return top;
	own = openat(top, path + above + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sys_discard(&top);
	return own;
}

static int remove_group(void *top, const char *name, bool regular)
{
	if (!regular)
		(void)unlinkat(
		    *(const int *)top, name, AT_REMOVEDIR); /* unless something runs in it */
	return 0;
}

/* What a dead qwork left: while it lives it has the lock. */
static int sweep_one(void *own, const char *name, bool regular)
{
	int dir;

	if (regular || strncmp(name, prefix, sizeof prefix - 1) != 0)
		return 0;
	dir = sys_opendir(*(const int *)own, name);
	if (dir >= 0 && flock(dir, LOCK_EX | LOCK_NB) == 0 &&
	    dir_each(sys_opendir(dir, "."), EACH_VISIBLE, remove_group, &dir) == 0)
		(void)unlinkat(*(const int *)own, name, AT_REMOVEDIR);
	sys_discard(&dir);
	return 0;
}

/* A group of our own, and its lock. */
static int make_dir(struct cgroups *groups)
{
	snprintf(groups->name, sizeof groups->name, "%s%d-%08" PRIx32, prefix, (int)getpid(),
	    chance32());
	if (mkdirat(groups->own, groups->name, 0755) != 0)
		return -1;
	groups->dir = sys_opendir(groups->own, groups->name);
	return groups->dir < 0 ? -1 : flock(groups->dir, LOCK_EX | LOCK_NB);
}

/* Moves this process down and, where nothing else is left in the group, hands on its memory. */
static int divide(struct cgroups *groups)
{
	if (make_dir(groups) != 0 || mkdirat(groups->dir, itself, 0755) != 0 ||
	    set_in(groups->dir, itself, entrance, "0") != 0)
		return -1;
	if (set(groups->own, may_be_divided, "+memory") != 0)
		return -1;
	return set(groups->dir, may_be_divided, "+memory");
}

static void undo(struct cgroups *groups)
{
	int saved = errno;

	(void)!set(groups->dir, may_be_divided, "-memory");
	(void)!set(groups->own, may_be_divided, "-memory");
	(void)!set(groups->own, entrance, "0");
	(void)unlinkat(groups->dir, itself, AT_REMOVEDIR);
	(void)unlinkat(groups->own, groups->name, AT_REMOVEDIR);
	sys_discard(&groups->dir);
	sys_discard(&groups->own);
	errno = saved;
}

int cgroups_open(struct cgroups *groups)
{
	char text[1024];

	if (groups->dir >= 0)
		return 0;
	groups->own = open_own();
	if (groups->own < 0)
		return -1;
	if (!strstr(get(groups->own, "cgroup.controllers", text), "memory")) {
		sys_discard(&groups->own);
		errno = ENOTSUP;
		return -1;
	}
	(void)!dir_each(sys_opendir(groups->own, "."), EACH_VISIBLE, sweep_one, &groups->own);
	if (divide(groups) == 0)
		return 0;
	undo(groups);
	return -1;
}

static bool remove_or_busy(struct cgroups *groups, const char *name)
{
	return unlinkat(groups->dir, name, AT_REMOVEDIR) == 0 || errno != EBUSY;
}

static void remove_left(struct cgroups *groups)
{
	for (unsigned i = 0; i < groups->left_count;)
		if (remove_or_busy(groups, groups->left[i]))
			memcpy(
			    groups->left[i], groups->left[--groups->left_count], CGROUP_NAME_SIZE);
		else
			i++;
}

void cgroups_close(struct cgroups *groups)
{
	if (groups->dir < 0)
		return;
	remove_left(groups);
	for (int i = 0; groups->left_count > 0 && i < END_TRIES; i++) {
		poll(NULL, 0, END_PAUSE_MS);
		remove_left(groups);
	}
	undo(groups);
}

/* Without swap, where there is any to be had: what is over the limit would only be slow. */
static int limit(const struct cgroup *group, int64_t memory)
{
	char bytes[24];

	snprintf(bytes, sizeof bytes, "%" PRId64, memory);
	(void)!set(group->dir, "memory.swap.max", "0");
	(void)!set(group->dir, "memory.oom.group", "1");
	return set(group->dir, "memory.max", bytes);
}

int cgroup_make(struct cgroups *groups, struct cgroup *group, const char *name, int64_t memory)
{
	remove_left(groups);
	snprintf(group->name, sizeof group->name, "%.40s-%u", name, groups->made++);
	group->dir = -1;
	if (mkdirat(groups->dir, group->name, 0755) != 0)
		return -1;
	group->dir = sys_opendir(groups->dir, group->name);
	if (group->dir >= 0 && limit(group, memory) == 0)
		return 0;
	cgroup_remove(groups, group);
	return -1;
}

int cgroup_entrance(const struct cgroup *group)
{
	return openat(group->dir, entrance, O_WRONLY | O_CLOEXEC);
}

void cgroup_kill(const struct cgroup *group)
{
	if (group->dir >= 0)
		(void)!set(group->dir, "cgroup.kill", "1");
}

void cgroup_usage(const struct cgroup *group, int64_t *oom_kills, int64_t *peak)
{
	char text[1024];
	const char *line;

	*oom_kills = *peak = -1;
	if (group->dir < 0)
		return;
	line = strstr(get(group->dir, "memory.events", text), "\noom_kill ");
	if (line)
		(void)sscanf(line, "\noom_kill %" SCNd64, oom_kills);
	if (sscanf(get(group->dir, "memory.peak", text), "%" SCNd64, peak) != 1)
		*peak = -1;
}

void cgroup_remove(struct cgroups *groups, struct cgroup *group)
{
	int saved = errno;

	sys_discard(&group->dir);
	if (*group->name && !remove_or_busy(groups, group->name) &&
	    groups->left_count < CGROUPS_LEFT_MAX) /* else the next qwork's sweep finds it */
		memcpy(groups->left[groups->left_count++], group->name, CGROUP_NAME_SIZE);
	group->name[0] = '\0';
	errno = saved;
}
