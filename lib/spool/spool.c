/* Opening, creating and finding spools. */
#include "spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/strings.h"

const char *const spool_dir_name[SPOOL_DIRS] = {".wait", ".key", ".batch", ".resource"};

const char hooks_dir_name[] = ".hooks";
const char *const hook_name[HOOK_KINDS] = {"buried", "failed", "finished", "breaker", "drained"};

static const char system_spool[] = "/var/spool/qspool";

int spool_fail(struct spool *spool, const char *queue, const char *dir, const char *name)
{
	const char *parts[] = {queue, dir, name};
	size_t used = 0;
	int saved = errno;

	spool->place[0] = '\0';
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		int n;

		if (!parts[i] || used >= sizeof spool->place)
			continue;
		n = snprintf(spool->place + used, sizeof spool->place - used, "%s%s",
		    used ? "/" : "", parts[i]);
		used += n > 0 ? (size_t)n : 0;
	}
	errno = saved;
	return -1;
}

const char *spool_place(const struct spool *spool)
{
	return spool->place;
}

const char *spool_path(const struct spool *spool)
{
	return spool->path;
}

const char *job_state_name(enum job_state state)
{
	static const char *const names[] = {
	    "sending", "ready", "running", "delayed", "buried", "finished", "waiting"};

	return names[state];
}

const char *spool_holder(const struct spool *spool)
{
	return spool->holder;
}

static char *home_spool(void)
{
	const char *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char *path = NULL;

	if (state && *state == '/')
		return asprintf(&path, "%s/qspool", state) < 0 ? NULL : path;
	if (!home || *home != '/') {
		errno = ENOENT;
		return NULL;
	}
	return asprintf(&path, "%s/.local/state/qspool", home) < 0 ? NULL : path;
}

static bool holds_queues(const char *path)
{
	struct strings queues = {0};
	struct spool *spool = spool_open(path, false);
	bool holds = spool && spool_queues(spool, &queues) == 0 && queues.count > 0;

	strings_release(&queues);
	spool_close(spool);
	return holds;
}

char *spool_default_path(bool *both)
{
	const char *named = getenv("QSPOOL");
	struct stat st;
	char *home;

	*both = false;
	if (named && *named)
		return strdup(named);
	home = home_spool();
	if (stat(system_spool, &st) != 0 || !S_ISDIR(st.st_mode))
		return home;
	*both = home && holds_queues(home) && holds_queues(system_spool);
	free(home);
	return strdup(system_spool);
}

/* Makes the parents of PATH that are missing, with the usual modes, and PATH
 * itself with 0700; each is made durable in its parent. */
static int create_path(char *path)
{
	for (char *end = strchr(path + 1, '/');; end = strchr(end + 1, '/')) {
		char *slash;
		int parent, made;

		if (end)
			*end = '\0';
		slash = strrchr(path, '/');
		*slash = '\0';
		parent = open(*path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		*slash = '/';
		if (parent < 0)
			return -1;
		made = sys_mkdir(parent, slash + 1, end ? 0755 : 0700);
		if (made == 0)
			made = sys_fsync(parent);
		else if (errno == EEXIST)
			made = 0;
		sys_discard(&parent);
		if (end)
			*end = '/';
		if (made != 0 || !end)
			return made;
	}
}

/* realpath() of what exists already; the rest stays as it was said. */
static char *absolute(const char *path)
{
	char *real = realpath(path, NULL);
	char *cwd, *joined = NULL;
	size_t len;

	if (real || errno != ENOENT)
		return real;
	if (*path == '/') {
		joined = strdup(path);
	} else {
		cwd = getcwd(NULL, 0);
		if (!cwd || asprintf(&joined, "%s/%s", cwd, path) < 0)
			joined = NULL;
		free(cwd);
	}
	for (len = joined ? strlen(joined) : 0; len > 1 && joined[len - 1] == '/'; len--)
		joined[len - 1] = '\0';
	return joined;
}

/* Files and directories made in the spool take their mode from it, not from the
 * umask: in a group's spool every worker must be able to lock every job. */
static int take_attributes(struct spool *spool)
{
	struct stat st;

	if (fstat(spool->fd, &st) != 0)
		return -1;
	spool->device = st.st_dev;
	spool->dir_mode = st.st_mode & 07777;
	spool->file_mode = st.st_mode & 0666;
	return 0;
}

struct spool *spool_open(const char *path, bool create)
{
	struct spool *spool = calloc(1, sizeof *spool);

	if (!spool)
		return NULL;
	spool->fd = -1;
	for (size_t i = 0; i < SPOOL_DIRS; i++)
		spool->dir[i] = -1;
	spool->path = *path ? absolute(path) : NULL;
	if (!spool->path)
		goto fail;
	spool->fd = open(spool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->fd < 0 && errno == ENOENT && create && create_path(spool->path) == 0)
		spool->fd = open(spool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->fd < 0 || take_attributes(spool) != 0)
		goto fail;
	return spool;
fail:
	spool_close(spool);
	return NULL;
}

void spool_close(struct spool *spool)
{
	int saved = errno;

	if (!spool)
		return;
	for (size_t i = 0; i < SPOOL_DIRS; i++)
		sys_discard(&spool->dir[i]);
	sys_discard(&spool->fd);
	strings_release(&spool->busy);
	free(spool->path);
	free(spool);
	errno = saved;
}

/* Somebody may have removed the one that was opened, if it was empty. */
static bool is_removed(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

static int on_our_file_system(const struct spool *spool, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -1;
	errno = EXDEV;
	return st.st_dev == spool->device ? 0 : -1;
}

int spool_dir(struct spool *spool, enum spool_dir which, bool create)
{
	const char *name = spool_dir_name[which];
	int *fd = &spool->dir[which];

	if (*fd >= 0 && !is_removed(*fd))
		return *fd;
	sys_discard(fd);
	*fd = sys_opendir(spool->fd, name);
	if (*fd < 0 && errno == ENOENT && create &&
	    (sys_mkdir(spool->fd, name, spool->dir_mode) == 0 || errno == EEXIST) &&
	    sys_fsync(spool->fd) == 0)
		*fd = sys_opendir(spool->fd, name);
	if (*fd >= 0 && on_our_file_system(spool, *fd) != 0)
		sys_discard(fd);
	return *fd >= 0 ? *fd : spool_fail(spool, name, NULL, NULL);
}

/* A directory, no link to one, is a queue if its name is right and it has a new/. */
static bool is_queue(const struct spool *spool, const char *name)
{
	struct stat st;
	bool is = false;
	int fd;

	if (!queue_name_ok(name))
		return false;
	fd = openat(spool->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		is = fstatat(fd, queue_dir_name[DIR_NEW], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISDIR(st.st_mode);
	sys_discard(&fd);
	return is;
}

int spool_has_queue(struct spool *spool, const char *queue)
{
	return is_queue(spool, queue);
}

struct queues {
	const struct spool *spool;
	struct strings *list;
};

static int add_queue(void *arg, const char *name, bool regular)
{
	const struct queues *queues = arg;

	(void)regular; /* is_queue() looks itself */
	return is_queue(queues->spool, name) ? strings_add(queues->list, name) : 0;
}

int spool_queues(struct spool *spool, struct strings *list)
{
	struct queues queues = {spool, list};

	if (dir_each(sys_opendir(spool->fd, "."), EACH_VISIBLE, add_queue, &queues) != 0)
		return spool_fail(spool, NULL, NULL, NULL);
	strings_sort(list);
	return 0;
}
