#include "spool/controls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/chance.h"
#include "sys/proc.h"

enum {
	OPEN_TRIES = 10,
	OPEN_PAUSE_MS = 10, /* whoever removes it does so in an instant */
	READ_FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
};

/* Another process may have removed it before the lock was taken. */
static bool in_place(const struct control_dir *dir, const struct stat *st)
{
	struct stat now;

	return lstat(dir->path, &now) == 0 && same_file(&now, st);
}

/* 1; 0 if it was removed meanwhile. */
static int open_once(struct control_dir *dir)
{
	struct stat st;

	dir->fd = sys_opendir(AT_FDCWD, dir->path);
	if (dir->fd < 0 && errno == ENOENT) {
		if (sys_mkdir(AT_FDCWD, dir->path, 0700) != 0 && errno != EEXIST)
			return -1;
		dir->fd = sys_opendir(AT_FDCWD, dir->path);
	}
	if (dir->fd < 0 || fstat(dir->fd, &st) != 0)
		return dir->fd < 0 && errno == ENOENT ? 0 : -1;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		errno = EPERM;
		return -1;
	}
	if (flock(dir->fd, LOCK_SH | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? 0 : -1; /* being removed */
	return in_place(dir, &st);
}

int control_dir_open(struct control_dir *dir)
{
	const char *tmp = secure_getenv("TMPDIR");
	int len = snprintf(dir->path, sizeof dir->path, "%s/qspool-%u",
	    tmp && tmp[0] == '/' ? tmp : "/tmp", (unsigned)geteuid());
	int opened = 0;

	dir->fd = -1;
	dir->state.known = false;
	if (len >= (int)sizeof dir->path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	for (int i = 0; opened == 0 && i < OPEN_TRIES; i++) {
		sys_discard(&dir->fd);
		if (i > 0)
			poll(NULL, 0, OPEN_PAUSE_MS);
		opened = open_once(dir);
	}
	if (opened == 1)
		return 0;
	if (opened == 0)
		errno = EAGAIN;
	sys_discard(&dir->fd);
	return -1;
}

int control_dir_renew(struct control_dir *dir)
{
	struct stat st;

	if (dir->fd >= 0 && fstat(dir->fd, &st) == 0 && in_place(dir, &st))
		return 0;
	sys_discard(&dir->fd);
	return control_dir_open(dir);
}

int control_dir_close(struct control_dir *dir)
{
	int result = 0;

	if (dir->fd >= 0 && flock(dir->fd, LOCK_EX | LOCK_NB) == 0)
		result = sys_rmdir(AT_FDCWD, dir->path);
	sys_discard(&dir->fd);
	return result != 0 && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT ? -1 : 0;
}

bool control_dir_changed(struct control_dir *dir)
{
	struct dir_state now = dir_state(dir->fd, DIR_SETTLED_HERE_MS);
	bool same = dir_unchanged(&dir->state, &now);

	dir->state = now;
	return !same;
}

/* By chance for each process, and counted on from there. */
void control_name(
    struct control_dir *dir, const struct job_name *job, char name[static CONTROL_NAME_SIZE])
{
	if (dir->next == 0)
		dir->next = chance32();
	snprintf(
	    name, CONTROL_NAME_SIZE, "%s.%u.%08x", job->id, job->attempts, (unsigned)dir->next++);
}

/* Of a long file the end, from a line's start on. A malloc'd text, NULL with errno. */
static char *read_end(int fd, off_t size, size_t *len)
{
	off_t from = size > CONTROL_SIZE_MAX ? size - CONTROL_SIZE_MAX : 0;
	char *text = malloc(CONTROL_SIZE_MAX), *start;
	ssize_t n;

	*len = 0;
	while (text && *len < CONTROL_SIZE_MAX &&
	    (n = pread(fd, text + *len, CONTROL_SIZE_MAX - *len, from + (off_t)*len)) > 0)
		*len += (size_t)n;
	if (text && from > 0) {
		start = memchr(text, '\n', *len);
		*len -= start ? (size_t)(start + 1 - text) : *len;
		memmove(text, start ? start + 1 : text, *len);
	}
	return text;
}

/* The file of OWNER that is open as FD. */
static int parse_file(int fd, uid_t owner, struct control *control,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg)
{
	struct stat st;
	char *text;
	size_t len;

	if (fstat(fd, &st) != 0)
		return -1;
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || st.st_uid != owner) {
		errno = st.st_uid != owner ? EPERM : EINVAL;
		return -1;
	}
	text = read_end(fd, st.st_size, &len);
	if (!text)
		return -1;
	control_parse(text, len, control, wrong, arg);
	free(text);
	return 1;
}

int control_take(const struct control_dir *dir, const char *name, struct control *control,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg)
{
	int fd = dir->fd < 0 ? -1 : openat(dir->fd, name, READ_FLAGS);
	int result, saved;

	if (fd < 0 && (dir->fd < 0 || errno == ENOENT))
		return 0;
	result = fd < 0 ? -1 : parse_file(fd, geteuid(), control, wrong, arg);
	saved = errno == ELOOP || errno == ENXIO ? EINVAL : errno;
	sys_discard(&fd);
	if (sys_unlink(dir->fd, name) != 0 && result == 1)
		return -1;
	errno = saved;
	return result;
}

int control_peek(pid_t handler, struct control *control)
{
	struct stat process;
	int fd = proc_open_named(handler, "QJOB_CONTROL=", O_RDONLY | O_CLOEXEC, &process);
	int result = fd < 0 ? 0 : parse_file(fd, process.st_uid, control, NULL, NULL);

	sys_discard(&fd);
	return result == 1;
}
