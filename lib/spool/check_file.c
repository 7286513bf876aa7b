/* One file, by itself: is it a job, or what else may be in its directory? */
#include "spool/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "spool/claim.h"
#include "spool/sweep.h"
#include "sys/clock.h"

/* The file as it was found, for reading; -1 with errno, ENOENT if it has moved. */
static int open_found(const struct check *c, const struct check_file *f)
{
	struct stat st;
	int fd = openat(c->queue.dir[f->dir], f->file,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0 && (fstat(fd, &st) != 0 || st.st_ino != f->st.st_ino)) {
		sys_discard(&fd);
		errno = ENOENT;
	}
	return fd;
}

static void cannot_read(struct check *c, const struct check_file *f)
{
	if (errno == ENOENT)
		return;
	queue_fail(&c->queue, f->dir, f->file);
	check_failed(c);
}

/* 1 if nobody holds it, and its name still leads to it; 0 if not; -1. */
static int is_free(const struct check *c, const struct check_file *f, int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? 0 : -1;
	return check_still(c, f);
}

/* --- tmp/, meta/, log/, out/ --- */

static int check_draft(struct check *c, struct check_file *f)
{
	int fd = -1, free = 0;

	if (sweep_is_old(&f->st)) {
		fd = open_found(c, f);
		free = fd < 0 ? -1 : is_free(c, f, fd);
		if (free < 0)
			cannot_read(c, f);
		sys_discard(&fd);
	}
	if (free == 1)
		check_tell(
		    c, CHECK_PENDING, "leftover", f, "its sender is gone; the sweep removes it");
	if (!job_id_ok(f->file))
		return 0;
	return check_saw(c, f->file, DIR_TMP, check_has_more_names(c, f) ? SEEN_LINKED : 0);
}

static int check_belonging(struct check *c, struct check_file *f)
{
	if (!job_id_ok(f->file)) {
		check_tell(c, CHECK_FAULT, "name", f, "not the id of a job");
		return 0;
	}
	return check_saw(c, f->file, f->dir, 0);
}

/* --- the states of jobs --- */

void check_parse(struct check_file *f)
{
	char queue[QUEUE_NAME_SIZE];

	if (f->dir == DIR_WAIT)
		f->ours = waiting_name_parse(check_base(f->file), &f->name, queue);
	else
		f->ours = job_name_parse(f->file, &f->name);
	if (f->ours)
		return;
	f->name = (struct job_name){.due_ms = JOB_DUE_NONE};
	if (f->dir == DIR_TMP && job_id_ok(f->file)) {
		memcpy(f->name.id, f->file, sizeof f->name.id);
		f->name.meta = true; /* it may have: its name does not say so yet */
	}
}

/* What holds a key has two links, and no more names for that. */
bool check_has_more_names(const struct check *c, const struct check_file *f)
{
	int own = 0;

	if (f->st.st_nlink <= 1)
		return false;
	if (f->name.id[0])
		own = links_count(&c->queue, &f->name, &f->st);
	return f->st.st_nlink > 1 + (nlink_t)(own > 0 ? own : 0);
}

mode_t check_mode_of(const struct check *c, enum queue_dir dir)
{
	return c->spool->file_mode & (dir == DIR_META ? 0644 : 0666);
}

/* Whether those who work in this spool, as its own mode says, can open F. */
static bool has_mode(const struct check *c, const struct check_file *f)
{
	mode_t wanted = check_mode_of(c, f->dir), others = wanted >> 6 & 0007;
	struct stat top;

	if ((f->st.st_mode & wanted) != wanted || fstat(c->spool->fd, &top) != 0)
		return false;
	if ((f->st.st_mode & others) == others)
		return true;
	if (wanted & 0070)
		return f->st.st_gid == top.st_gid;
	return f->st.st_uid == top.st_uid || top.st_uid == 0;
}

static void check_mode(struct check *c, const struct check_file *f)
{
	mode_t wanted = check_mode_of(c, f->dir);

	if (has_mode(c, f))
		return;
	if ((f->st.st_mode & wanted) != wanted)
		check_mendable(
		    c, CHECK_FAULT, "mode", f, "its mode keeps out those who work here", mend_mode);
	else
		check_tell(
		    c, CHECK_FAULT, "mode", f, "its owner and group are not those of the spool");
}

/* Of these nobody runs any more. */
static bool is_at_its_end(const struct check_file *f)
{
	return f->dir == DIR_BURIED || f->dir == DIR_DONE;
}

/* In buried/ it is where it belongs, and a person may have edited it. In cur/ its claim
 * found it whole, but a power cut may have come since. */
static void check_content(struct check *c, const struct check_file *f, int fd, bool running)
{
	const char *why =
	    f->name.unsynced && !is_at_its_end(f) ? job_torn(fd, &f->st, &f->name) : NULL;

	if (!why || !check_still(c, f))
		return;
	if (running)
		check_tell(c, CHECK_FAULT, "torn", f, "it is torn, and runs");
	else
		check_tell(c, CHECK_PENDING, "torn", f, why);
}

static const char *options_fault(int error, const char *why)
{
	if (error == EACCES)
		return "its options cannot be read";
	return strcmp(why, "missing") == 0 ? "its options are missing" : "its options are damaged";
}

/* What a job that others read its options by must be, once it is sent. */
static void check_meta_mode(struct check *c, const struct check_file *f)
{
	struct check_file meta = {.dir = DIR_META, .file = f->name.id, .name = f->name};

	if (fstatat(c->queue.dir[DIR_META], meta.file, &meta.st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(meta.st.st_mode))
		check_mode(c, &meta);
}

/* What is gone while the job is still there was not removed with it. */
static void check_options(struct check *c, const struct check_file *f)
{
	struct meta meta;
	const char *why;
	int has, error;

	if (!f->name.meta) {
		check_order(c, f, NULL);
		return;
	}
	meta_init(&meta);
	has = job_meta(&c->queue, &f->name, &meta, &why);
	error = errno;
	if (has >= 0)
		check_order(c, f, &meta);
	meta_release(&meta);
	check_meta_mode(c, f);
	if (has >= 0 || !check_still(c, f))
		return;
	if (error != EBADMSG && error != EACCES) {
		errno = error;
		check_failed(c);
		return;
	}
	why = options_fault(error, why);
	if (is_at_its_end(f))
		check_tell(c, CHECK_NOTE, "options", f, why);
	else if (f->name.unsynced)
		check_tell(c, CHECK_PENDING, "options", f, why);
	else
		check_mendable(c, CHECK_FAULT, "options", f, why, mend_bury);
}

/* A log is no part of the promise: after a power cut it may be gone. */
static void check_log(struct check *c, const struct check_file *f)
{
	struct stat st;

	if (f->name.log &&
	    fstatat(c->queue.dir[DIR_LOG], f->name.id, &st, AT_SYMLINK_NOFOLLOW) != 0 &&
	    errno == ENOENT && check_still(c, f))
		check_tell(c, CHECK_NOTE, "log", f, "its history is gone");
}

/* What a name alone cannot say: opening each of a million jobs would take its time. */
static void check_open(struct check *c, const struct check_file *f)
{
	int fd = open_found(c, f);
	int free = fd < 0 ? -1 : 1;

	if (fd >= 0 && f->dir == DIR_CUR)
		free = is_free(c, f, fd);
	if (free < 0 && (errno != EACCES || has_mode(c, f)))
		cannot_read(c, f);
	if (free == 1 && f->dir == DIR_CUR)
		check_tell(c, CHECK_PENDING, "lost", f, "its worker is lost; a qwork recovers it");
	if (fd >= 0)
		check_content(c, f, fd, f->dir == DIR_CUR && free == 0);
	sys_discard(&fd);
}

/* What a name must say in its directory. */
static void check_due(struct check *c, const struct check_file *f)
{
	if (f->dir == DIR_DELAY && f->name.due_ms == JOB_DUE_NONE)
		check_mendable(
		    c, CHECK_FAULT, "name", f, "not the name of a delayed job", mend_bury);
	if (f->dir == DIR_DONE && f->name.due_ms == JOB_DUE_NONE)
		check_mendable(
		    c, CHECK_FAULT, "name", f, "does not say until when it is kept", mend_bury);
	else if (f->dir == DIR_DONE && f->name.due_ms < clock_real_ms())
		check_tell(
		    c, CHECK_PENDING, "expired", f, "its time is over; the sweep removes it");
}

static int check_state(struct check *c, struct check_file *f)
{
	unsigned mark = check_has_more_names(c, f) ? SEEN_LINKED : 0;

	check_mode(c, f);
	if (!f->ours) {
		if (f->dir == DIR_NEW)
			c->totals->jobs++;
		else
			check_mendable(
			    c, CHECK_FAULT, "name", f, "not the name of a job", mend_set_aside);
		return 0;
	}
	check_due(c, f);
	if (f->dir == DIR_CUR || f->name.unsynced)
		check_open(c, f);
	check_options(c, f);
	check_log(c, f);
	return check_saw(c, f->name.id, f->dir, mark | (f->name.meta ? 0 : SEEN_UNMARKED));
}

int check_one(struct check *c, enum queue_dir dir, const char *file)
{
	struct check_file f = {.dir = dir, .file = file};

	check_parse(&f);
	if (fstatat(c->queue.dir[dir], file, &f.st, AT_SYMLINK_NOFOLLOW) != 0) {
		cannot_read(c, &f);
		return f.ours ? check_saw(c, f.name.id, SEEN_MOVING, 0) : 0;
	}
	if (!S_ISREG(f.st.st_mode)) {
		check_tell(c, CHECK_FAULT, "strange", &f, strange_reason_of(f.st.st_mode));
		return f.ours ? check_saw(c, f.name.id, SEEN_MOVING, 0) : 0;
	}
	if (dir == DIR_TMP)
		return check_draft(c, &f);
	if (dir == DIR_META || dir == DIR_LOG || dir == DIR_OUT)
		return check_belonging(c, &f);
	return check_state(c, &f);
}
