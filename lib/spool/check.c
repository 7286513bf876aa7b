#include "spool/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/strings.h"
#include "spool/claim.h"
#include "spool/motion.h"
#include "spool/pause.h"
#include "spool/stats.h"
#include "spool/sweep.h"
#include "spool/wait.h"

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
	    .queue = f->dir == DIR_WAIT ? NULL : c->queue.name,
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

void check_outcome(struct check *c, struct check_finding finding, bool tried, int mended)
{
	if (mended == 0)
		return;
	if (mended == 1)
		finding.class = CHECK_REPAIRED;
	else if (tried)
		finding.error = errno;
	/* What a worker will do when it can is a fault if we could not do it. */
	if (finding.error != 0 && finding.error != EBUSY && finding.class == CHECK_PENDING)
		finding.class = CHECK_FAULT;
	check_report(c, finding);
}

void check_mendable(struct check *c, enum check_class class, const char *kind,
    const struct check_file *f, const char *reason, check_mend *mend)
{
	bool tried = c->options->repair && mend;
	int mended = tried ? mend(c, f, reason) : -1;

	check_outcome(c, finding_of(c, class, kind, f, reason), tried, mended);
}

void check_failed(const struct check *c)
{
	c->options->failed(c->options->arg);
}

bool check_still(const struct check *c, const struct check_file *f)
{
	return dir_leads_to(c->queue.dir[f->dir], f->file, &f->st);
}

void check_path(enum queue_dir dir, const char *file, char path[static PLACE_PATH_SIZE])
{
	snprintf(path, PLACE_PATH_SIZE, "%s/%s", queue_dir_name[dir], file);
}

const char *check_base(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash ? slash + 1 : file;
}

/* --- the directories of a queue --- */

static void tell_dir(
    struct check *c, enum check_class class, enum queue_dir dir, const char *reason, int error)
{
	check_report(c,
	    (struct check_finding){.class = class,
	        .kind = "directory",
	        .queue = c->queue.name,
	        .dir = queue_dir_name[dir],
	        .reason = reason,
	        .error = error});
}

/* A queue that lacks directories is completed by whoever opens it to send or to work. */
static void lacks_dir(struct check *c, enum queue_dir dir)
{
	int error = errno;

	queue_fail(&c->queue, dir, NULL);
	if (error == ENOENT)
		tell_dir(c, CHECK_PENDING, dir, "is missing; a qsend or qwork makes it", 0);
	else if (error == ENOTDIR || error == ELOOP)
		tell_dir(c, CHECK_FAULT, dir, "is no directory", 0);
	else
		check_failed(c);
}

/* A bind mount of the same file system is another mount, and renames fail. */
static bool on_mount(int fd, const struct statx *top)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) == 0 &&
	    st.stx_dev_major == top->stx_dev_major && st.stx_dev_minor == top->stx_dev_minor &&
	    (!(st.stx_mask & top->stx_mask & STATX_MNT_ID) || st.stx_mnt_id == top->stx_mnt_id);
}

void check_directory(struct check *c, struct check_finding where, int fd)
{
	bool repair = c->options->repair;
	mode_t wanted = c->spool->dir_mode;
	struct stat st;

	where.class = CHECK_FAULT;
	where.kind = "directory";
	if (!on_mount(fd, &c->top)) {
		where.reason = "is on another mount";
		check_report(c, where);
	} else if (fstat(fd, &st) == 0 && (st.st_mode & wanted) != wanted) {
		where.reason = "has not the mode of the spool";
		check_outcome(c, where, repair, repair ? mend_directory(c, fd) : -1);
	}
}

static void check_dir(struct check *c, enum queue_dir dir)
{
	struct check_finding where = {.queue = c->queue.name, .dir = queue_dir_name[dir]};

	check_directory(c, where, c->queue.dir[dir]);
}

/* What else may be there, check_links() tells. */
void check_open_waits(struct check *c)
{
	c->queue.dir[DIR_WAIT] = sys_opendir(c->spool->fd, queue_dir_name[DIR_WAIT]);
}

static void open_dirs(struct check *c)
{
	check_open_waits(c);
	for (enum queue_dir dir = 0; dir < QUEUE_DIRS; dir++) {
		if (dir == DIR_WAIT)
			continue;
		c->queue.dir[dir] = sys_opendir(c->queue.fd, queue_dir_name[dir]);
		if (c->queue.dir[dir] < 0 && !queue_dir_always(dir) && errno == ENOENT)
			continue;
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

static int visit_waiting(void *arg, const struct job_place *place)
{
	char path[PLACE_PATH_SIZE];

	snprintf(path, sizeof path, "%s/%s", place->wait, place->file);
	return visit(arg, path, true);
}

static int each_in(struct check *c, enum queue_dir dir)
{
	struct walk walk = {c, dir};

	if (dir == DIR_WAIT)
		return wait_each_job(c->spool, c->queue.name, visit_waiting, &walk);
	return queue_each(&c->queue, dir, visit, &walk);
}

static int saw_moving(void *check, const char *name)
{
	char queue[QUEUE_NAME_SIZE];
	struct job_name parsed;

	if (job_name_parse(name, &parsed) || waiting_name_parse(name, &parsed, queue))
		return check_saw(check, parsed.id, SEEN_MOVING, 0);
	if (strlen(name) == JOB_ID_LEN)
		return check_saw(check, name, SEEN_MOVING, 0);
	return 0;
}

/* meta/ and log/ first: what is in them has a job already, which the watch sees wherever
 * it goes from then on. */
static int check_files(struct check *c)
{
	static const enum queue_dir order[QUEUE_DIRS] = {DIR_META, DIR_LOG, DIR_OUT, DIR_TMP,
	    DIR_WAIT, DIR_NEW, DIR_CUR, DIR_DELAY, DIR_BURIED, DIR_DONE};
	struct motion motion;
	bool whole = motion_watch(&motion, c->spool, c->queue.name) == 0;
	int result = 0;

	for (size_t i = 0; result == 0 && i < QUEUE_DIRS; i++) {
		if (c->queue.dir[order[i]] < 0)
			continue;
		result = each_in(c, order[i]);
		if (result != 0 && errno != ENOMEM) {
			check_failed(c);
			result = 0;
			whole = false;
		}
	}
	if (result == 0) {
		whole = whole && motion_read(&motion, saw_moving, c);
		result = check_ids(c, whole);
	}
	motion_close(&motion);
	return result;
}

static bool is_one_of(const char *name, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

/* In the spool (QUEUE is NULL) or directly in a queue: a job that lies there is never seen. */
static void check_stray(struct check *c, const char *queue, const char *name)
{
	struct check_finding finding = {
	    .class = CHECK_NOTE, .kind = "unknown", .queue = queue, .file = name};
	struct job_name parsed;

	if (job_name_parse(name, &parsed)) {
		finding.class = CHECK_FAULT;
		finding.kind = "misplaced";
		finding.id = parsed.id;
		finding.reason = "a job's name, where nobody looks for one";
	} else {
		finding.reason = "nothing that qspool knows";
	}
	check_report(c, finding);
}

static int add_name(void *names, const char *name, bool regular)
{
	(void)regular;
	return strings_add(names, name);
}

int check_names(int parent, const char *path, struct strings *names)
{
	int result = dir_each(sys_opendir(parent, path), EACH_ALL, add_name, names);

	strings_sort(names);
	return result;
}

/* Why no qwork obeys a file of this mode, whoever runs it; or NULL. */
static const char *refused(mode_t mode, bool runs)
{
	if (mode & (S_IWGRP | S_IWOTH))
		return "others can write it; no qwork obeys it";
	return runs && !(mode & (S_IXUSR | S_IXGRP | S_IXOTH)) ? "is not executable" : NULL;
}

/* WHERE in DIR is a handler, a hook (which RUN) or settings: qwork obeys files only, and does not follow links
 * to them. */
static void check_obeyed(struct check *c, int dir, struct check_finding where, bool runs)
{
	struct stat st;

	if (fstatat(dir, where.file, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	where.class = S_ISREG(st.st_mode) ? CHECK_NOTE : CHECK_FAULT;
	where.kind = S_ISREG(st.st_mode) ? "refused" : "strange";
	where.reason =
	    S_ISREG(st.st_mode) ? refused(st.st_mode, runs) : strange_reason_of(st.st_mode);
	if (where.reason)
		check_report(c, where);
}

static void check_pause(struct check *c)
{
	struct check_finding finding = {.kind = "pause", .queue = c->queue.name, .file = "paused"};

	switch (pause_look(&c->queue).kind) {
	case PAUSE_OVER:
		finding.class = CHECK_PENDING;
		finding.reason = "is over; a qwork removes it";
		break;
	case PAUSE_UNCLEAR:
		finding.class = CHECK_NOTE;
		finding.reason = "says nothing that can be read, and lasts until it is removed";
		break;
	default:
		return;
	}
	check_report(c, finding);
}

static void check_stats(struct check *c)
{
	if (stats_check(&c->queue, false) == 0)
		return;
	if (errno != EBADMSG) {
		check_failed(c);
		return;
	}
	check_report(c,
	    (struct check_finding){.class = CHECK_FAULT,
	        .kind = "statistics",
	        .queue = c->queue.name,
	        .file = stats_name,
	        .reason = "are damaged, or of another version; remove the file for new ones"});
}

/* What is in the queue beside its directories. 0 if it has none of them: then it is no queue. */
static int check_top(struct check *c)
{
	static const char *const obeyed[] = {"handler", "settings"};
	struct strings names = {0};
	bool is_queue = false;
	int result = check_names(c->queue.fd, ".", &names);

	if (result != 0) {
		spool_fail(c->spool, c->queue.name, NULL, NULL);
		if (errno != ENOMEM)
			check_failed(c);
		is_queue = true;
	}
	for (size_t i = 0; i < names.count; i++)
		is_queue |= is_one_of(names.item[i], queue_dir_name, QUEUE_DIRS);
	for (size_t i = 0; is_queue && i < names.count; i++) {
		const char *name = names.item[i];

		if (is_one_of(name, obeyed, sizeof obeyed / sizeof *obeyed))
			check_obeyed(c, c->queue.fd,
			    (struct check_finding){.queue = c->queue.name, .file = name},
			    strcmp(name, "handler") == 0);
		else if (strcmp(name, "paused") == 0)
			check_pause(c);
		else if (strcmp(name, stats_name) == 0)
			check_stats(c);
		else if (name[0] != '.' && !is_one_of(name, queue_dir_name, QUEUE_DIRS))
			check_stray(c, c->queue.name, name);
	}
	strings_release(&names);
	return is_queue;
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
	if (c->queue.fd >= 0 && check_top(c)) {
		open_dirs(c);
		result = strings_add(&c->queues, name) == 0 && check_files(c) == 0 ? 1 : -1;
	}
	queue_close(&c->queue);
	return result;
}

/* --- the spool --- */

static void check_hooks(struct check *c)
{
	struct check_finding where = {.dir = hooks_dir_name};
	int fd = sys_opendir(c->spool->fd, hooks_dir_name);

	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
		where.class = CHECK_FAULT;
		where.kind = "directory";
		where.reason = "is no directory";
		check_report(c, where);
	} else if (fd < 0 && errno != ENOENT) {
		spool_fail(c->spool, hooks_dir_name, NULL, NULL);
		check_failed(c);
	}
	for (size_t i = 0; fd >= 0 && i < HOOK_KINDS; i++) {
		where.file = hook_name[i];
		check_obeyed(c, fd, where, true);
	}
	sys_discard(&fd);
}

static int check_entry(struct check *c, const char *name)
{
	struct stat st;
	int checked;

	if (fstatat(c->spool->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	if (S_ISDIR(st.st_mode) && queue_name_ok(name)) {
		checked = check_queue(c, name);
		if (checked != 0)
			return checked < 0 ? -1 : 0;
	}
	if (queue_is_draft(name) && S_ISDIR(st.st_mode) && sweep_is_old(&st))
		check_report(c,
		    (struct check_finding){.class = CHECK_PENDING,
		        .kind = "leftover",
		        .file = name,
		        .reason = "a queue that nobody finished; the sweep removes it"});
	else if (name[0] != '.')
		check_stray(c, NULL, name);
	return 0;
}

static int check_all(struct check *c)
{
	struct strings names = {0};
	int result = check_names(c->spool->fd, ".", &names);

	if (result != 0)
		spool_fail(c->spool, NULL, NULL, NULL);
	for (size_t i = 0; result == 0 && i < names.count; i++)
		result = check_entry(c, names.item[i]);
	check_hooks(c);
	strings_release(&names);
	return result;
}

/* A queue may be named twice. */
bool check_was_checked(const struct check *c, const char *queue)
{
	return strings_has(&c->queues, queue);
}

int spool_check(struct spool *spool, const struct strings *queues,
    const struct check_options *options, struct check_totals *totals)
{
	struct check c = {
	    .spool = spool, .options = options, .totals = totals, .queue = QUEUE_CLOSED};
	int result = 0;

	*totals = (struct check_totals){0};
	if (statx(spool->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &c.top) != 0)
		check_failed(&c);
	if (queues->count == 0)
		result = check_all(&c);
	for (size_t i = 0; result == 0 && i < queues->count; i++) {
		int checked = 1;

		if (!check_was_checked(&c, queues->item[i]))
			checked = check_queue(&c, queues->item[i]);
		if (checked == 0)
			errno = ENOENT;
		if (checked != 1)
			result = spool_fail(spool, queues->item[i], NULL, NULL);
	}
	if (result == 0)
		result = check_owners(&c);
	if (result == 0 && queues->count == 0)
		result = check_links(&c);
	free(c.seen.item);
	free(c.owners.item);
	strings_release(&c.queues);
	return result;
}
