#include "spool/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/crc32c.h"
#include "spool/deletion.h"
#include "spool/key.h"
#include "sys/clock.h"

const char *strange_reason(int error)
{
	switch (error) {
	case ELOOP:
		return "symbolic link";
	case EISDIR:
		return "directory";
	case ENXIO:
	case ENODEV:
		return "not a regular file";
	case EACCES:
	case EPERM:
		return "no permission to read and write it";
	default:
		return strerror(error);
	}
}

const char *strange_reason_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFLNK:
		return strange_reason(ELOOP);
	case S_IFDIR:
		return strange_reason(EISDIR);
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "device";
	}
}

/* Whoever may write the directory may have linked somebody's file there that he could
 * not read; with one name it can only have been moved. */
static const char *strange_link(int dir, const struct stat *st)
{
	return st->st_nlink <= 1 || sys_within_reach(dir, st)
	    ? NULL
	    : "a link to a file that its sender might not read and write";
}

const char *strange_now(const struct queue *queue, enum queue_dir dir, const char *file)
{
	struct stat st;

	if (fstatat(queue->dir[dir], file, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return NULL;
	if (!S_ISREG(st.st_mode))
		return strange_reason_of(st.st_mode);
	if (faccessat(queue->dir[dir], file, R_OK | W_OK, AT_EACCESS) != 0)
		return strange_reason(errno);
	return strange_link(queue->dir[dir], &st);
}

/* Also when the clock was set back: then ctime lies ahead, and age is negative. */
static bool is_young(const struct job *job)
{
	int64_t changed =
	    (int64_t)job->st.st_ctim.tv_sec * 1000 + job->st.st_ctim.tv_nsec / 1000000;
	int64_t age = clock_real_ms() - changed;

	return age >= 0 && age < FOREIGN_AGE_MS;
}

/* T4: a fresh id, since the same name may be dropped again at once. */
static int adopt(struct job *job, struct meta *meta)
{
	job->name = (struct job_name){
	    .due_ms = JOB_DUE_NONE, .priority = JOB_PRIORITY_DEFAULT, .meta = true};
	job_id_fresh(job->name.id);
	meta->name = strdup(job->file);
	if (!meta->name)
		return -1;
	return meta_write(job->queue, job->name.id, meta, true);
}

const char *job_torn(int fd, const struct stat *st, const struct job_name *name)
{
	static char buffer[65536];
	uint64_t length = 0;
	uint32_t crc = 0;
	ssize_t n = 0;

	if ((uint64_t)st->st_size != name->length)
		return "torn: its length is not what was sent";
	if (name->length > JOB_UNSYNCED_MAX) /* checking it would keep all others waiting */
		return "too long to be checked for what was sent";
	while (
	    length <= name->length && (n = pread(fd, buffer, sizeof buffer, (off_t)length)) > 0) {
		crc = crc32c(crc, buffer, (size_t)n);
		length += (uint64_t)n;
	}
	if (n < 0 || crc != name->crc)
		return "torn: its content is not what was sent";
	return NULL;
}

/* KEY-BEFORE-RUN. -1 with errno, EBUSY if it cannot be told just now; *WHY if another job has its key. One
 * that is to hold it until the start only may run beside the next one. */
static int claim_key(const struct job *job, const struct meta *meta, const char **why)
{
	static char reason[JOB_ID_LEN + 64];
	struct link_source source = link_source_of(job);
	struct link_name holder;
	int taken = 1;

	if (meta->key && !meta->key_until_start)
		taken = key_take(&source, meta->key, 0, &holder);
	if (taken == 0) {
		snprintf(reason, sizeof reason, "its key is held by job %s", holder.id);
		*why = reason;
	}
	return taken < 0 ? -1 : 0;
}

/* What keeps a held job of ours from ever running, or NULL. */
static enum claim inspect(const struct job *job, struct meta *meta, const char **why)
{
	int has = job_meta(job->queue, &job->name, meta, why);

	if (has < 0 && errno != EBADMSG)
		return CLAIM_ERROR;
	if (has < 0) {
		*why = strcmp(*why, "missing") == 0 ? "its options are missing"
		                                    : "its options are damaged";
		return CLAIM_UNFIT;
	}
	if (job->name.unsynced)
		*why = job_torn(job->fd, &job->st, &job->name);
	if (!*why && meta->has_expires && clock_real_ms() >= meta->expires_ms)
		*why = "expired";
	if (!*why && claim_key(job, meta, why) != 0)
		return errno == EBUSY ? CLAIM_LOCKED : CLAIM_ERROR;
	if (!*why && deletion_revoke(job) != 0)
		return CLAIM_ERROR;
	return *why ? CLAIM_UNFIT : CLAIM_OPEN;
}

/* errno is from opening it; what it is now says more. */
static const char *why_strange(const struct queue *queue, enum queue_dir dir, const char *file)
{
	int error = errno;
	const char *why = strange_now(queue, dir, file);

	return why ? why : strange_reason(error);
}

static enum claim not_held(enum hold held)
{
	switch (held) {
	case HOLD_GONE:
		return CLAIM_GONE;
	case HOLD_LOCKED:
		return CLAIM_LOCKED;
	case HOLD_STRANGE:
		return CLAIM_STRANGE;
	default:
		return CLAIM_ERROR;
	}
}

/* The job stays held only if it is to be run, or buried. */
static enum claim conclude(struct job *job, struct meta *meta, enum claim result)
{
	if (result != CLAIM_OPEN && result != CLAIM_UNFIT) {
		meta_release(meta);
		job_release(job);
	}
	return result;
}

enum claim claim_open(struct job *job, const struct queue *queue, enum job_state state,
    const char *file, bool renamed_in, struct meta *meta, const char **why)
{
	enum hold held = job_hold(job, queue, state, file, O_RDWR);
	enum claim result = CLAIM_ERROR;

	if (held == HOLD_ERROR && (errno == EACCES || errno == EPERM))
		held = HOLD_STRANGE;
	*why = held == HOLD_STRANGE ? why_strange(queue, (enum queue_dir)state, file) : NULL;
	if (held != HOLD_DONE)
		return not_held(held);
	*why = strange_link(job_dir(job), &job->st);
	if (*why)
		result = CLAIM_STRANGE;
	else if (job->ours)
		result = inspect(job, meta, why);
	else if (!renamed_in && is_young(job))
		result = CLAIM_YOUNG;
	else if (adopt(job, meta) == 0)
		result = CLAIM_OPEN;
	return conclude(job, meta, result);
}

enum claim claim_open_waiting(struct job *job, const struct queue *queue, const char *wait,
    const char *file, struct meta *meta, const char **why)
{
	enum hold held = job_hold_waiting(job, queue, wait, file, O_RDWR);

	*why = held == HOLD_STRANGE ? strange_reason(errno) : NULL;
	if (held != HOLD_DONE)
		return not_held(held);
	*why = job->ours ? strange_link(job_dir(job), &job->st) : "not the name of a waiting job";
	return conclude(job, meta, *why ? CLAIM_STRANGE : inspect(job, meta, why));
}

enum hold recover_hold(struct job *job, const struct queue *queue, const char *file)
{
	return job_hold(job, queue, JOB_RUNNING, file, O_RDONLY);
}
