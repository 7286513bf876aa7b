#include "spool/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spool/sweep.h"

enum { PROGRESS_NAMES = 4096 };

void check_report(struct check *c, struct check_finding finding)
{
	c->totals->findings[finding.class]++;
	c->options->report(c->options->arg, &finding);
}

static struct check_finding finding_of(const struct check *c, enum check_class class,
    const char *kind, const struct check_file *f, const char *reason)
{
	return (struct check_finding){.class = class,
	    .kind = kind,
	    .queue = c->queue.name,
	    .dir = queue_dir_name[f->dir],
	    .file = f->file,
	    .id = f->name.id[0] ? f->name.id : NULL,
	    .reason = reason};
}

void check_tell(struct check *c, enum check_class class, const char *kind,
    const struct check_file *f, const char *reason)
{
	check_report(c, finding_of(c, class, kind, f, reason));
}

void check_mendable(struct check *c, enum check_class class, const char *kind,
    const struct check_file *f, const char *reason, check_mend *mend)
{
	struct check_finding finding = finding_of(c, class, kind, f, reason);
	bool repair = c->options->repair && mend;
	int mended = repair ? mend(c, f, reason) : -1;

	if (mended == 0)
		return;
	if (mended == 1)
		finding.class = CHECK_REPAIRED;
	else if (repair)
		finding.error = errno;
	/* What a worker will do when it can is a fault if we could not do it. */
	if (finding.error != 0 && finding.error != EBUSY && class == CHECK_PENDING)
		finding.class = CHECK_FAULT;
	check_report(c, finding);
}

void check_failed(const struct check *c)
{
	c->options->failed(c->options->arg);
}

bool check_still(const struct check *c, const struct check_file *f)
{
	struct stat st;

	return fstatat(c->queue.dir[f->dir], f->file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == f->st.st_ino && st.st_dev == f->st.st_dev;
}

/* --- the directories of a queue --- */

static void tell_dir(
    struct check *c, enum check_class class, enum queue_dir dir, const char *reason)
{
	check_report(c,
	    (struct check_finding){.class = class,
	        .kind = "directory",
	        .queue = c->queue.name,
	        .dir = queue_dir_name[dir],
	        .reason = reason});
}

/* A queue that lacks directories is completed by whoever opens it to send or to work. */
static void lacks_dir(struct check *c, enum queue_dir dir)
{
	int error = errno;

	queue_fail(&c->queue, dir, NULL);
	if (error == ENOENT)
		tell_dir(c, CHECK_PENDING, dir, "is missing; a qsend or qwork makes it");
	else if (error == ENOTDIR || error == ELOOP)
		tell_dir(c, CHECK_FAULT, dir, "is no directory");
	else
		check_failed(c);
}

static void check_dir(struct check *c, enum queue_dir dir)
{
	mode_t wanted = c->spool->dir_mode;
	struct stat top, st;

	if (fstat(c->spool->fd, &top) != 0 || fstat(c->queue.dir[dir], &st) != 0) {
		queue_fail(&c->queue, dir, NULL);
		check_failed(c);
	} else if (st.st_dev != top.st_dev) {
		tell_dir(c, CHECK_FAULT, dir, "is on another file system");
	} else if ((st.st_mode & wanted) != wanted) {
		tell_dir(c, CHECK_FAULT, dir, "has not the mode of the spool");
	}
}

static void open_dirs(struct check *c)
{
	for (enum queue_dir dir = 0; dir < QUEUE_DIRS; dir++) {
		c->queue.dir[dir] = sys_opendir(c->queue.fd, queue_dir_name[dir]);
		if (c->queue.dir[dir] < 0)
			lacks_dir(c, dir);
		else
			check_dir(c, dir);
	}
}

/* --- the files of a queue --- */

struct walk {
	struct check *check;
	enum queue_dir dir;
};

static int visit(void *arg, const char *name, bool regular)
{
	const struct walk *walk = arg;
	struct check *c = walk->check;

	(void)regular; /* a stat says more */
	if (++c->names % PROGRESS_NAMES == 0)
		c->options->progress(c->options->arg, c->queue.name, c->names);
	return check_one(c, walk->dir, name);
}

static int saw_moving(void *check, const char *name, bool regular)
{
	struct job_name parsed;

	(void)regular;
	if (job_name_parse(name, &parsed))
		return check_saw(check, parsed.id, SEEN_MOVING, 0);
	if (strlen(name) == JOB_ID_LEN)
		return check_saw(check, name, SEEN_MOVING, 0);
	return 0;
}

/* meta/ and log/ first: what is in them has a job already, which the watch sees wherever
 * it goes from then on. */
static int check_files(struct check *c)
{
	static const enum queue_dir order[QUEUE_DIRS] = {
	    DIR_META, DIR_LOG, DIR_TMP, DIR_NEW, DIR_CUR, DIR_DELAY, DIR_BURIED};
	int watch = sweep_watch(&c->queue), result = 0;
	bool whole = watch >= 0;

	for (size_t i = 0; result == 0 && i < QUEUE_DIRS; i++) {
		struct walk walk = {c, order[i]};

		if (c->queue.dir[order[i]] < 0)
			continue;
		result = queue_each(&c->queue, order[i], visit, &walk);
		if (result != 0 && errno != ENOMEM) {
			check_failed(c);
			result = 0;
			whole = false;
		}
	}
	if (result == 0) {
		whole = whole && sweep_moved(watch, saw_moving, c);
		result = check_ids(c, whole);
	}
	sys_discard(&watch);
	return result;
}

static bool has_dirs(const struct check *c)
{
	for (size_t i = 0; i < QUEUE_DIRS; i++) {
		struct stat st;

		if (fstatat(c->queue.fd, queue_dir_name[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return true;
	}
	return false;
}

/* 1 checked, 0 no such queue, -1 with ENOMEM. */
static int check_queue(struct check *c, const char *name)
{
	int result = 0;

	c->queue = QUEUE_CLOSED;
	c->queue.spool = c->spool;
	c->names = 0;
	c->seen.count = 0;
	memcpy(c->queue.name, name, strlen(name) + 1);
	c->queue.fd = sys_opendir(c->spool->fd, name);
	if (c->queue.fd < 0 && errno != ENOENT) {
		spool_fail(c->spool, name, NULL, NULL);
		check_failed(c);
		return 1;
	}
	if (c->queue.fd >= 0 && has_dirs(c)) {
		open_dirs(c);
		result = check_files(c) == 0 ? 1 : -1;
	}
	queue_close(&c->queue);
	return result;
}

/* --- the spool --- */

static int check_entry(struct check *c, const char *name)
{
	struct job_name parsed;
	struct stat st;
	int checked;

	if (fstatat(c->spool->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	if (S_ISDIR(st.st_mode) && queue_name_ok(name)) {
		checked = check_queue(c, name);
		if (checked != 0)
			return checked < 0 ? -1 : 0;
	}
	if (job_name_parse(name, &parsed))
		check_report(c,
		    (struct check_finding){.class = CHECK_FAULT,
		        .kind = "misplaced",
		        .file = name,
		        .id = parsed.id,
		        .reason = "a job's name, but in no queue"});
	else if (name[0] != '.')
		check_report(c,
		    (struct check_finding){.class = CHECK_NOTE,
		        .kind = "unknown",
		        .file = name,
		        .reason = "no queue, and nothing that qspool knows"});
	return 0;
}

static int check_all(struct check *c)
{
	int fd = sys_opendir(c->spool->fd, ".");
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int result = 0;

	if (!dir) {
		sys_discard(&fd);
		return spool_fail(c->spool, NULL, NULL, NULL);
	}
	while (result == 0 && (errno = 0, entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = check_entry(c, entry->d_name);
	if (result == 0 && errno != 0)
		result = spool_fail(c->spool, NULL, NULL, NULL);
	closedir(dir);
	return result;
}

int spool_check(struct spool *spool, const struct strings *queues,
    const struct check_options *options, struct check_totals *totals)
{
	struct check c = {.spool = spool, .options = options, .totals = totals};
	int result = 0;

	*totals = (struct check_totals){0};
	if (queues->count == 0)
		result = check_all(&c);
	for (size_t i = 0; result == 0 && i < queues->count; i++) {
		int checked = check_queue(&c, queues->item[i]);

		if (checked == 0)
			errno = ENOENT;
		if (checked != 1)
			result = spool_fail(spool, queues->item[i], NULL, NULL);
	}
	free(c.seen.item);
	return result;
}
