#include "spool/deletion.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "spool/batch.h"
#include "spool/links.h"
#include "sys/dir.h"

enum { MARK_SIZE = sizeof DELETION_BATCH_MARK + 1 + JOB_ID_LEN };

/* Of a member that is being deleted: otherwise nobody could tell whose mark it is if that lives on. */
static void member_mark(char file[static MARK_SIZE], const struct job *job)
{
	snprintf(file, MARK_SIZE, DELETION_BATCH_MARK ".%s", job->name.id);
}

/* Opens NAME in TOP; -1, with ENOENT if there is none. */
static int open_dir(struct spool *spool, enum spool_dir top, const char *name)
{
	int fd = spool_dir(spool, top, false);
	int dir = fd < 0 ? -1 : sys_opendir(fd, name);

	if (dir < 0 && errno != ENOENT)
		spool_fail(spool, spool_dir_name[top], name, NULL);
	return dir;
}

static int has(struct spool *spool, enum spool_dir top, const char *name, const char *file)
{
	int dir = open_dir(spool, top, name), found = -1;
	struct stat st;

	if (dir >= 0 && fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		found = 1;
	else if (errno == ENOENT)
		found = 0;
	sys_discard(&dir);
	return found >= 0 ? found : spool_fail(spool, spool_dir_name[top], name, file);
}

/* One that is there already may not be on disk yet. What is gone with all that waited in it needs none. */
static int mark(struct spool *spool, enum spool_dir top, const char *name, const char *file)
{
	int dir = open_dir(spool, top, name);
	int fd = dir < 0 ? -1 : sys_append(dir, file, spool->file_mode);
	int result = -1;

	if (dir < 0)
		return errno == ENOENT ? 0 : -1;
	if (fd >= 0 && sys_fsync(fd) == 0)
		result = sys_fsync(dir);
	sys_discard(&fd);
	sys_discard(&dir);
	return result == 0 ? 0 : spool_fail(spool, spool_dir_name[top], name, file);
}

static int mark_batch(const struct job *job, const char *batch)
{
	struct spool *spool = job->queue->spool;
	char label[LABEL_SIZE], file[MARK_SIZE];
	int state = batch_state(spool, batch), marked;

	if (state != BATCH_SEALED || !links_has_batch(job->queue, job->name.id, batch, &job->st))
		return state < 0 ? -1 : 0;
	if (label_encode(batch, label) != 0)
		return -1;
	marked = has(spool, SPOOL_BATCH, label, DELETION_BATCH_MARK);
	if (marked != 0)
		return marked < 0 ? -1 : 0;
	member_mark(file, job);
	return mark(spool, SPOOL_BATCH, label, file);
}

int deletion_mark(const struct job *job, const char *batch)
{
	struct spool *spool = job->queue->spool;
	const char *id = job->name.id;

	if (links_has_mark(spool, id, &job->st) && mark(spool, SPOOL_WAIT, id, DELETION_MARK) != 0)
		return -1;
	return batch ? mark_batch(job, batch) : 0;
}

/* If it fails there are two names that say the same. */
void deletion_done(const struct job *job, const char *batch)
{
	struct spool *spool = job->queue->spool;
	char label[LABEL_SIZE], file[MARK_SIZE];
	int dir = -1;

	member_mark(file, job);
	if (batch && label_encode(batch, label) == 0 && has(spool, SPOOL_BATCH, label, file) == 1)
		dir = open_dir(spool, SPOOL_BATCH, label);
	if (dir >= 0)
		(void)!sys_replace(dir, file, dir, DELETION_BATCH_MARK);
	sys_discard(&dir);
}

static int unmark(struct spool *spool, enum spool_dir top, const char *name, const char *file)
{
	int marked = has(spool, top, name, file), dir, result;

	if (marked != 1)
		return marked;
	dir = open_dir(spool, top, name);
	result = dir >= 0 && sys_unlink(dir, file) == 0 ? sys_fsync(dir) : -1;
	sys_discard(&dir);
	if (result == 0 || errno == ENOENT) /* somebody was first */
		return 0;
	return spool_fail(spool, spool_dir_name[top], name, file);
}

static int unmark_batch(const struct job *job)
{
	char label[LABEL_SIZE], file[MARK_SIZE];
	struct meta meta;
	const char *why;
	int result = 0;

	meta_init(&meta);
	member_mark(file, job);
	if (job_meta(job->queue, &job->name, &meta, &why) == 1 && meta.batch &&
	    label_encode(meta.batch, label) == 0)
		result = unmark(job->queue->spool, SPOOL_BATCH, label, file);
	meta_release(&meta);
	return result;
}

/* Who has no links has nobody who waits for it. */
int deletion_revoke(const struct job *job)
{
	if (!job->ours || job->st.st_nlink <= 1)
		return 0;
	if (unmark(job->queue->spool, SPOOL_WAIT, job->name.id, DELETION_MARK) != 0)
		return -1;
	return job->name.meta ? unmark_batch(job) : 0;
}

static int is_member_mark(void *unused, const char *name, bool regular)
{
	(void)unused;
	(void)regular;
	return strncmp(name, DELETION_BATCH_MARK ".", sizeof DELETION_BATCH_MARK) == 0;
}

/* The mark without an id is looked for last: the others turn to it. */
static int is_batch_marked(struct spool *spool, const char *label)
{
	int found =
	    dir_each(open_dir(spool, SPOOL_BATCH, label), EACH_VISIBLE, is_member_mark, NULL);

	if (found < 0)
		return errno == ENOENT ? 0 : -1;
	return found ? 1 : has(spool, SPOOL_BATCH, label, DELETION_BATCH_MARK);
}

int deletion_is_marked(struct spool *spool, const char *name)
{
	return job_id_ok(name) ? has(spool, SPOOL_WAIT, name, DELETION_MARK)
	                       : is_batch_marked(spool, name);
}
