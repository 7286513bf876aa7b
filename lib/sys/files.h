/*
 * Every system call that changes a spool, once. Nothing above this module calls
 * open with O_CREAT, write, rename, link, unlink, mkdir, chmod, fsync or syncfs
 * by itself, so that what is said here about their quirks holds everywhere, and
 * a test can make the k-th of them fail, or the process die at it.
 *
 * All functions: 0 or a descriptor, -1 with errno. Paths are (directory
 * descriptor, name); symbolic links are never followed in the last part.
 */
#ifndef QSPOOL_SYS_FILES_H
#define QSPOOL_SYS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define NODISCARD __attribute__((warn_unused_result))

/* For tests, which set it before the first change: asked before each change and told after it.
 * CALL is the name of the system call. FD and NAME say what of: a file by its descriptor (NAME is
 * ""), or a name in the directory FD; of a rename, the new name. */
struct sys_hook {
	/* 0: make the call. SYS_SKIP: do not, and say that it was made. Else an errno: it
	 * failed so. *LEN may be made smaller: of a write, the bytes to write. */
	int (*before)(const char *call, int fd, const char *name, size_t *len);
	/* ERROR is 0 or what it failed with. */
	void (*after)(const char *call, int fd, const char *name, int error);
};
enum { SYS_SKIP = -1 };
extern const struct sys_hook *sys_hook;

/* Creates NAME for reading and writing; EEXIST if anything has that name. MODE
 * is set by fchmod: the umask of whoever sends does not decide who may work. */
NODISCARD int sys_create(int dir, const char *name, mode_t mode);
NODISCARD int sys_chmod(int fd, mode_t mode);
/* Opens NAME for appending, creating it like sys_create(). EINVAL if it is no regular
 * file, EMLINK if it has other names that somebody else may have given it, EPERM if it is not
 * within reach. For one writer at a time: EEXIST if somebody makes NAME meanwhile. */
NODISCARD int sys_append(int dir, const char *name, mode_t mode);
/* FD, which was opened in DIR, if what it leads to may be written as sys_append() would; else it is closed, and
 * -1 with errno as there. */
NODISCARD int sys_check_plain(int dir, int fd);
/* Writes all of it: a short write is continued, EINTR is repeated. */
NODISCARD int sys_write(int fd, const void *data, size_t len);
/* Never repeated: after one EIO the next fsync says 0 and the data is gone. Of btrfs a directory is changed
 * before (rule CHANGED-THEN-SYNC). */
NODISCARD int sys_fsync(int fd);
/* Likewise. ENOSYS before Linux 5.8, whose syncfs says 0 also when data could not be written. */
NODISCARD int sys_syncfs(int fd);
/* Of a file that was just created and is empty: what will be written stays where it is when it is written
 * again, on a file system that would need room for that elsewhere (btrfs). Where that cannot be, nothing is done. */
void sys_overwrite_in_place(int fd);
/* close(2) whose result counts (NFS and quota report here). fd is closed in any case. */
NODISCARD int sys_close(int fd);
/* Another name for a file; EEXIST if there is one already. */
NODISCARD int sys_link(int from_dir, const char *from, int to_dir, const char *to);
/* Renames without replacing: EEXIST if TO exists. Where the file system lacks
 * RENAME_NOREPLACE, by link and unlink: a crash between the two leaves both
 * names, which recovery resolves; SYS_BOTH_NAMES and errno if the unlink failed. */
enum { SYS_BOTH_NAMES = 1 };
NODISCARD int sys_rename(int from_dir, const char *from, int to_dir, const char *to);
/* Renames, replacing what TO is unless it is a directory. */
NODISCARD int sys_replace(int from_dir, const char *from, int to_dir, const char *to);
/* Renames a directory; fails (EEXIST or ENOTEMPTY) if TO exists and is not empty. */
NODISCARD int sys_rename_dir(int from_dir, const char *from, int to_dir, const char *to);
/* Removes a name. Never fails for want of space. */
NODISCARD int sys_unlink(int dir, const char *name);
/* Makes a directory with MODE whatever the umask (fchmod); a failure leaves none. */
NODISCARD int sys_mkdir(int dir, const char *name, mode_t mode);
NODISCARD int sys_rmdir(int dir, const char *name);

/* Whether all others that the mode of DIR lets put names into it may read and write FILE
 * too. If not, they may have linked or moved it there from where they may do neither. */
NODISCARD bool sys_within_reach(int dir, const struct stat *file);

/* Opens a directory for use as a (descriptor, ...) path; no symlink. */
NODISCARD int sys_opendir(int dir, const char *name);

/* For clean-up on the way out: closes if open, errno survives. */
void sys_discard(int *fd);

#endif
