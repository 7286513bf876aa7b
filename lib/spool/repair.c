/* Mending what no qwork mends. No job is deleted, what is no regular file is left alone,
 * and a job's name is changed by who holds it only. */
#include "spool/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "spool/log.h"

static int hold(struct job *job, const struct check *c, const struct check_file *f)
{
	struct job_place place = {
	    .state = (enum job_state)f->dir, .ours = f->ours, .name = f->name};
	const char *file = check_base(f->file);

	snprintf(place.file, sizeof place.file, "%s", file);
	if (f->dir == DIR_WAIT)
		snprintf(place.wait, sizeof place.wait, "%.*s", (int)(file - f->file - 1), f->file);
	return job_hold_resting(job, &c->queue, &place);
}

/* Holding it does it. */
int mend_twins(struct check *c, const struct check_file *f, const char *reason)
{
	struct job job;
	int result = hold(&job, c, f);

	(void)reason;
	if (result == 1)
		job_release(&job);
	return result < 0 ? -1 : 1;
}

int mend_directory(const struct check *c, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || sys_chmod(fd, (st.st_mode & 07777) | c->spool->dir_mode) != 0)
		return -1;
	return sys_fsync(fd) == 0 ? 1 : -1;
}

static int remove_link(int top, const char *path)
{
	char dir[PLACE_PATH_SIZE];
	int fd, result;

	snprintf(dir, sizeof dir, "%.*s", (int)(check_base(path) - path - 1), path);
	fd = sys_opendir(top, dir);
	result = fd < 0 ? -1 : sys_unlink(fd, check_base(path));
	if (result == 0)
		result = sys_fsync(fd);
	sys_discard(&fd);
	return result == 0 ? 1 : -1;
}

int mend_link(int top, const char *path, const struct stat *st)
{
	int fd = openat(top, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int result = -1;

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		errno = EBUSY;
	else if (!dir_leads_to(top, path, st))
		result = 0;
	else
		result = remove_link(top, path);
	if (result >= 0)
		flock(fd, LOCK_UN);
	sys_discard(&fd);
	return result;
}

/* A file with other names may be one of somebody's own that a sender linked here. */
int mend_mode(struct check *c, const struct check_file *f, const char *reason)
{
	struct stat st;
	int fd = openat(c->queue.dir[f->dir], f->file,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int result = -1;

	(void)reason;
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		struct check_file now = *f;

		now.st = st;
		errno = EMLINK;
		if (!check_has_more_names(c, &now))
			result = sys_chmod(fd, (st.st_mode & 07777) | check_mode_of(c, f->dir));
		if (result == 0)
			result = sys_fsync(fd);
	}
	sys_discard(&fd);
	return result == 0 ? 1 : -1;
}

static int bury(struct check *c, const struct check_file *f, const char *reason, bool options)
{
	struct job job;
	int result = hold(&job, c, f);

	if (result != 1)
		return result;
	job.name.meta |= options;
	result = log_event(&job, "set aside", reason, true);
	if (result == 0)
		result = job_move(&job, T_SET_ASIDE, JOB_DUE_NONE);
	job_release(&job);
	return result;
}

int mend_bury(struct check *c, const struct check_file *f, const char *reason)
{
	return bury(c, f, reason, false);
}

int mend_options(struct check *c, const struct check_file *f, const char *reason)
{
	return bury(c, f, reason, true);
}

/* The options of a job under another id; of a foreign file, its name. Damaged ones
 * stay missing: it must not run without. The copy is ours, and what is ours may set the
 * environment of our handlers, so of options that others could have written that part is left
 * out. */
static int copy_options(const struct job *job, const char *id)
{
	struct meta meta;
	const char *why;
	int result = 0;

	meta_init(&meta);
	if (job->ours)
		result = job_meta(job->queue, &job->name, &meta, &why);
	else if (!(meta.name = strdup(job->file)))
		result = -1;
	if (result < 0 && errno == EBADMSG) {
		result = 0;
	} else if (result == 1 || (result == 0 && !job->ours)) {
		if (!meta.trusted)
			strings_release(&meta.env);
		result = meta_write(job->queue, id, &meta, true);
	}
	meta_release(&meta);
	return result;
}

int mend_set_aside(struct check *c, const struct check_file *f, const char *reason)
{
	struct job job;
	char id[JOB_ID_LEN + 1];
	int result = hold(&job, c, f);

	if (result != 1)
		return result;
	job_id_fresh(id);
	result = copy_options(&job, id);
	if (!job.ours)
		job.name = (struct job_name){
		    .due_ms = JOB_DUE_NONE, .priority = JOB_PRIORITY_DEFAULT, .meta = true};
	memcpy(job.name.id, id, sizeof id);
	job.name.log = false;
	if (result == 0)
		result = log_event(&job, "set aside", reason, true);
	if (result == 0)
		result = job_move(&job, T_SET_ASIDE, JOB_DUE_NONE);
	job_release(&job);
	return result;
}
