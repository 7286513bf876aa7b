#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

const struct sys_hook *sys_hook;

/* Whether the call is to be made; if not, *RESULT is what it shall have said. */
static bool ask(const char *call, int fd, const char *name, size_t *len, int *result)
{
	int answer = sys_hook ? sys_hook->before(call, fd, name, len) : 0;

	*result = answer == SYS_SKIP ? 0 : -1;
	if (answer > 0)
		errno = answer;
	return answer == 0;
}

static void tell(const char *call, int fd, const char *name, bool failed)
{
	int saved = errno;

	if (sys_hook)
		sys_hook->after(call, fd, name, failed ? saved : 0);
	errno = saved;
}

/* Makes one system call: MAKE is an expression, RESULT takes its value. */
#define HOOKED(call, fd, name, result, make)                                                       \
	do {                                                                                       \
		(result) = -1;                                                                     \
		if (ask(call, fd, name, &(size_t){0}, &(result))) {                                \
			(result) = (make);                                                         \
			tell(call, fd, name, (result) < 0);                                        \
		}                                                                                  \
	} while (0)

void sys_discard(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

int sys_chmod(int fd, mode_t mode)
{
	int result;

	HOOKED("fchmod", fd, "", result, fchmod(fd, mode));
	return result;
}

/* A new file must not keep the umask's mode: others of the group could not lock it. Mostly it has the right one, and
 * asking costs less than half of setting it, which writes the inode. */
static int settle_mode(int fd, mode_t mode)
{
	struct stat st;

	if ((fstat(fd, &st) == 0 && (st.st_mode & 07777) == mode) || sys_chmod(fd, mode) == 0)
		return fd;
	sys_discard(&fd);
	return -1;
}

/* Of a file that was just created; a failure leaves none. */
static int settle_new(int dir, const char *name, int fd, mode_t mode)
{
	int saved;

	if (settle_mode(fd, mode) >= 0)
		return fd;
	saved = errno;
	(void)!sys_unlink(dir, name);
	errno = saved;
	return -1;
}

static int create(int dir, const char *name, int flags, mode_t mode)
{
	int fd;

	HOOKED("create", dir, name, fd, openat(dir, name, flags | O_CREAT | O_CLOEXEC, mode));
	return fd;
}

int sys_create(int dir, const char *name, mode_t mode)
{
	int fd = create(dir, name, O_RDWR | O_EXCL | O_NOFOLLOW, mode);

	return fd < 0 ? -1 : settle_new(dir, name, fd, mode);
}

bool sys_within_reach(int dir, const struct stat *file)
{
	struct stat top;
	mode_t others;

	if (fstat(dir, &top) != 0)
		return false;
	others = top.st_mode & (S_IWGRP | S_IWOTH);
	others |= others << 1; /* and reading */
	if ((file->st_mode & others) != others)
		return false;
	return !(others & S_IWGRP) || !(top.st_mode & S_ISGID) || file->st_gid == top.st_gid;
}

/* A backup by hard links gives a file more names, too. Whoever else could have linked it here
 * could write it anyway, where this holds and it is within reach. */
static bool linked_in_good_faith(int dir, const struct stat *file)
{
	struct stat top;

	if (fstat(dir, &top) != 0)
		return false;
	if (top.st_uid != geteuid() && top.st_uid != 0 && top.st_uid != file->st_uid)
		return false;
	return !(top.st_mode & (S_IWGRP | S_IWOTH)) || top.st_gid == file->st_gid;
}

/* Somebody who may write the directory could plant a fifo, a link to a file of ours, or
 * such a file itself, moved from where they may do that. */
int sys_check_plain(int dir, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		goto fail;
	if (S_ISREG(st.st_mode) && sys_within_reach(dir, &st) &&
	    (st.st_nlink <= 1 || linked_in_good_faith(dir, &st)))
		return fd;
	errno = !S_ISREG(st.st_mode) ? EINVAL : st.st_nlink > 1 ? EMLINK : EPERM;
fail:
	sys_discard(&fd);
	return -1;
}

int sys_append(int dir, const char *name, mode_t mode)
{
	int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = openat(dir, name, flags);

	if (fd >= 0)
		return sys_check_plain(dir, fd);
	if (errno != ENOENT)
		return -1;
	/* Exclusively: what is planted between the two calls must not get our mode. */
	fd = create(dir, name, flags | O_EXCL, mode);
	return fd < 0 ? -1 : settle_new(dir, name, fd, mode);
}

static ssize_t write_some(int fd, const void *data, size_t len)
{
	int skipped;
	ssize_t n;

	if (!ask("write", fd, "", &len, &skipped))
		return skipped == 0 ? (ssize_t)len : -1;
	n = write(fd, data, len);
	tell("write", fd, "", n < 0);
	return n;
}

int sys_write(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write_some(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Rule CHANGED-THEN-SYNC. Its times stay what they are, unless it belongs to somebody else. */
static void change_dir(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) != 0 || fs.f_type != BTRFS_SUPER_MAGIC || fstat(fd, &st) != 0 ||
	    !S_ISDIR(st.st_mode))
		return;
	if (futimens(fd, (struct timespec[]){{.tv_nsec = UTIME_OMIT}, st.st_mtim}) != 0)
		(void)!futimens(fd, NULL);
}

static int sync_all(int fd)
{
	change_dir(fd);
	return fsync(fd);
}

int sys_fsync(int fd)
{
	int result;

	HOOKED("fsync", fd, "", result, sync_all(fd));
	return result;
}

static bool syncfs_tells_errors(void)
{
	unsigned major, minor;
	struct utsname kernel;

	return uname(&kernel) == 0 && sscanf(kernel.release, "%u.%u", &major, &minor) == 2 &&
	    (major > 5 || (major == 5 && minor >= 8));
}

int sys_syncfs(int fd)
{
	int result;

	if (!syncfs_tells_errors()) {
		errno = ENOSYS;
		return -1;
	}
	HOOKED("syncfs", fd, "", result, syncfs(fd));
	return result;
}

void sys_overwrite_in_place(int fd)
{
	int saved = errno, flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	errno = saved;
}

int sys_close(int fd)
{
	int result = -1;

	if (ask("close", fd, "", &(size_t){0}, &result)) {
		result = close(fd);
		tell("close", fd, "", result < 0);
	} else {
		sys_discard(&fd);
	}
	return result != 0 && errno != EINTR ? -1 : 0;
}

int sys_link(int from_dir, const char *from, int to_dir, const char *to)
{
	int result;

	HOOKED("link", to_dir, to, result, linkat(from_dir, from, to_dir, to, 0));
	return result;
}

/* link fails with EEXIST by itself. */
static int rename_by_link(int from_dir, const char *from, int to_dir, const char *to)
{
	if (sys_link(from_dir, from, to_dir, to) != 0)
		return -1;
	return sys_unlink(from_dir, from) == 0 ? 0 : SYS_BOTH_NAMES;
}

int sys_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	int result;

	/* Not every libc has a function for it. */
	HOOKED("rename", to_dir, to, result,
	    (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, RENAME_NOREPLACE));
	if (result == 0 || (errno != EINVAL && errno != ENOSYS))
		return result;
	return rename_by_link(from_dir, from, to_dir, to);
}

int sys_replace(int from_dir, const char *from, int to_dir, const char *to)
{
	int result;

	HOOKED("replace", to_dir, to, result, renameat(from_dir, from, to_dir, to));
	return result;
}

int sys_rename_dir(int from_dir, const char *from, int to_dir, const char *to)
{
	return sys_replace(from_dir, from, to_dir, to);
}

int sys_unlink(int dir, const char *name)
{
	int result;

	HOOKED("unlink", dir, name, result, unlinkat(dir, name, 0));
	return result;
}

/* Opens the directory NAME that was just made with 0700; not one that others may use
 * already and that was put into its place. */
static int open_fresh_dir(int dir, const char *name)
{
	int fd = sys_opendir(dir, name);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		if ((st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
			return fd;
		errno = EEXIST;
	}
	sys_discard(&fd);
	return -1;
}

int sys_mkdir(int dir, const char *name, mode_t mode)
{
	int fd, result;

	HOOKED("mkdir", dir, name, result, mkdirat(dir, name, 0700));
	if (result != 0)
		return -1;
	fd = open_fresh_dir(dir, name);
	if (fd >= 0)
		fd = settle_mode(fd, mode);
	if (fd >= 0) {
		sys_discard(&fd);
		return 0;
	}
	if (errno != EEXIST) { /* else it is not the one that was made */
		int saved = errno;

		(void)!sys_rmdir(dir, name);
		errno = saved;
	}
	return -1;
}

int sys_rmdir(int dir, const char *name)
{
	int result;

	HOOKED("rmdir", dir, name, result, unlinkat(dir, name, AT_REMOVEDIR));
	return result;
}

int sys_opendir(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}
