#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int (*sys_fault)(const char *call, const char *name);

static int fault(const char *call, const char *name)
{
	int error = sys_fault ? sys_fault(call, name) : 0;

	if (!error)
		return 0;
	errno = error;
	return -1;
}

void sys_discard(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

/* A new file must not keep the umask's mode: others of the group could not lock it. */
static int settle_mode(int fd, mode_t mode)
{
	if (fault("fchmod", "") == 0 && fchmod(fd, mode) == 0)
		return fd;
	sys_discard(&fd);
	return -1;
}

int sys_create(int dir, const char *name, mode_t mode)
{
	int fd;

	if (fault("create", name) != 0)
		return -1;
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -1;
	if (settle_mode(fd, mode) < 0) {
		int saved = errno;

		unlinkat(dir, name, 0);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Somebody who may write the directory could plant a fifo, or a link to a file of ours. */
static int check_plain(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		goto fail;
	if (S_ISREG(st.st_mode) && st.st_nlink <= 1)
		return fd;
	errno = S_ISREG(st.st_mode) ? EMLINK : EINVAL;
fail:
	sys_discard(&fd);
	return -1;
}

int sys_append(int dir, const char *name, mode_t mode)
{
	int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd;

	if (fault("append", name) != 0)
		return -1;
	fd = openat(dir, name, flags);
	if (fd >= 0)
		return check_plain(fd);
	if (errno != ENOENT)
		return -1;
	fd = openat(dir, name, flags | O_CREAT, mode);
	return fd < 0 ? -1 : settle_mode(fd, mode);
}

int sys_write(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n;

		if (fault("write", "") != 0)
			return -1;
		n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int sys_fsync(int fd)
{
	return fault("fsync", "") != 0 ? -1 : fsync(fd);
}

int sys_syncfs(int fd)
{
	return fault("syncfs", "") != 0 ? -1 : syncfs(fd);
}

int sys_close(int fd)
{
	int failed = fault("close", "");
	int saved = errno;

	if (close(fd) != 0 && errno != EINTR)
		return -1;
	errno = saved;
	return failed;
}

/* link fails with EEXIST by itself. If the unlink fails, both names stay: the
 * job is where it should be, and recovery takes the older name away. */
static int rename_by_link(int from_dir, const char *from, int to_dir, const char *to)
{
	if (fault("link", to) != 0 || linkat(from_dir, from, to_dir, to, 0) != 0)
		return -1;
	return sys_unlink(from_dir, from);
}

int sys_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	if (fault("rename", to) != 0)
		return -1;
	if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	return rename_by_link(from_dir, from, to_dir, to);
}

int sys_rename_dir(int from_dir, const char *from, int to_dir, const char *to)
{
	return fault("rename", to) != 0 ? -1 : renameat(from_dir, from, to_dir, to);
}

int sys_unlink(int dir, const char *name)
{
	return fault("unlink", name) != 0 ? -1 : unlinkat(dir, name, 0);
}

int sys_mkdir(int dir, const char *name, mode_t mode)
{
	int fd;

	if (fault("mkdir", name) != 0 || mkdirat(dir, name, 0700) != 0)
		return -1;
	fd = sys_opendir(dir, name);
	if (fd < 0)
		return -1;
	if (settle_mode(fd, mode) < 0)
		return -1;
	sys_discard(&fd);
	return 0;
}

int sys_rmdir(int dir, const char *name)
{
	return fault("rmdir", name) != 0 ? -1 : unlinkat(dir, name, AT_REMOVEDIR);
}

int sys_opendir(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}
