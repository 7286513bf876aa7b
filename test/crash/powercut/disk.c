/*
 * disk DIR MOUNTPOINT: a disk that remembers.
 *
 * A FUSE file system of one file, MOUNTPOINT/disk, whose content is DIR/image. Each write,
 * flush (fsync) and discard (fallocate) of it is logged in DIR; log.h says how. Nothing is cached
 * (direct_io), and requests are served one after the other, so the log is the very order in which
 * they reached the disk. Runs in the foreground until it is unmounted.
 */
#define FUSE_USE_VERSION 31

#include <bsd/err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static int image, index_log, data_log;
static uint64_t data_length;

/* The test is worth nothing with a hole in the log: rather no disk than that. */
static void append(int fd, const void *bytes, size_t length)
{
	if (write(fd, bytes, length) != (ssize_t)length)
		err(EXIT_FAILURE, "the log");
}

static void record(enum record_kind kind, uint64_t offset, uint64_t length)
{
	append(
	    index_log, &(struct record){kind, offset, length, data_length}, sizeof(struct record));
}

static bool is_disk(const char *path)
{
	return strcmp(path, "/disk") == 0;
}

static int disk_getattr(const char *path, struct stat *st, struct fuse_file_info *info)
{
	(void)info;
	if (fstat(image, st) != 0)
		return -errno;
	if (is_disk(path))
		return 0;
	st->st_mode = S_IFDIR | 0700;
	return strcmp(path, "/") == 0 ? 0 : -ENOENT;
}

static int disk_open(const char *path, struct fuse_file_info *info)
{
	info->direct_io = 1;
	return is_disk(path) ? 0 : -ENOENT;
}

static int disk_read(
    const char *path, char *buffer, size_t length, off_t offset, struct fuse_file_info *info)
{
	ssize_t n = pread(image, buffer, length, offset);

	(void)path, (void)info;
	return n < 0 ? -errno : (int)n;
}

static int disk_write(
    const char *path, const char *bytes, size_t length, off_t offset, struct fuse_file_info *info)
{
	(void)path, (void)info;
	if (pwrite(image, bytes, length, offset) != (ssize_t)length)
		return -EIO;
	append(data_log, bytes, length);
	record(RECORD_WRITE, (uint64_t)offset, length);
	data_length += length;
	return (int)length;
}

static int disk_fsync(const char *path, int data_only, struct fuse_file_info *info)
{
	(void)path, (void)data_only, (void)info;
	record(RECORD_FLUSH, 0, 0);
	return 0;
}

/* What was discarded reads as zeros, here as with a request to write zeros. */
static int disk_fallocate(
    const char *path, int mode, off_t offset, off_t length, struct fuse_file_info *info)
{
	(void)path, (void)info;
	if (!(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return -EOPNOTSUPP;
	if (fallocate(image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) != 0)
		return -errno;
	record(RECORD_DISCARD, (uint64_t)offset, (uint64_t)length);
	return 0;
}

static const struct fuse_operations operations = {
    .getattr = disk_getattr,
    .open = disk_open,
    .read = disk_read,
    .write = disk_write,
    .fsync = disk_fsync,
    .fallocate = disk_fallocate,
};

static int open_log(int dir, const char *name)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		err(EXIT_FAILURE, "%s", name);
	return fd;
}

int main(int argc, char **argv)
{
	char foreground[] = "-f", single_threaded[] = "-s";
	int dir;

	if (argc != 3)
		errx(EXIT_FAILURE, "usage: disk DIR MOUNTPOINT");
	dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		err(EXIT_FAILURE, "%s", argv[1]);
	image = openat(dir, "image", O_RDWR | O_CLOEXEC);
	if (image < 0)
		err(EXIT_FAILURE, "%s/image", argv[1]);
	index_log = open_log(dir, "index");
	data_log = open_log(dir, "data");
	close(dir);
	return fuse_main(4, ((char *[]){argv[0], foreground, single_threaded, argv[2], NULL}),
	    &operations, NULL);
}
