#include "spool/order.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "format/strings.h"
#include "spool/after.h"
#include "spool/batch.h"
#include "spool/deletion.h"
#include "spool/motion.h"
#include "spool/sweep.h"
#include "spool/wait.h"
#include "sys/clock.h"

enum { COMPLETE_KEPT_S = 7 * 24 * 3600 };

struct finding {
	struct spool *spool;
	void (*over)(void *arg, const char *name);
	void *arg;
	struct strings kept; /* marked jobs that may be in done/ */
	int error;
};

static int is_over_name(struct finding *f, const char *name)
{
	int over;

	if (!job_id_ok(name))
		return after_look(f->spool, name);
	over = after_unmark_last(f->spool, name);
	if (over == 0 && strings_add(&f->kept, name) != 0)
		return -1;
	return over;
}

static int is_there(void *unused, const struct job_place *place)
{
	(void)unused;
	(void)place;
	return 1;
}

/* Nothing waits in it: a deletion left its mark, for what may come to wait for it. */
static bool is_mere_mark(struct spool *spool, const char *name)
{
	return job_id_ok(name) && deletion_is_marked(spool, name) == 1 &&
	    wait_each(spool, name, NULL, is_there, NULL) == 0;
}

/* One that cannot be looked at must not keep the others waiting. */
static int look(void *arg, const char *name)
{
	struct finding *f = arg;
	int over;

	if (name[0] == '@') {
		wait_remove(f->spool, name);
		return 0;
	}
	over = is_over_name(f, name);
	if (over > 0 && !is_mere_mark(f->spool, name))
		f->over(f->arg, name);
	if (over < 0)
		f->error = errno;
	return 0;
}

/* Its worker died between keeping it and letting go on what waits for it. */
static int look_at_kept(void *arg, const struct job_place *place)
{
	struct finding *f = arg;
	const char *id = place->name.id;

	if (!place->ours || !strings_has_sorted(&f->kept, id))
		return 0;
	if (after_unmark(f->spool, id) < 0)
		return -1;
	f->over(f->arg, id);
	return 0;
}

static int find_kept(struct finding *f)
{
	struct strings queues = {0};
	int result = 0;

	if (f->kept.count == 0)
		return 0;
	strings_sort(&f->kept);
	result = spool_queues(f->spool, &queues);
	for (size_t i = 0; result == 0 && i < queues.count; i++) {
		result = spool_each(f->spool, queues.item[i], JOB_DONE, look_at_kept, f);
		if (result != 0 && errno == ENOENT)
			result = 0;
	}
	strings_release(&queues);
	return result;
}

int order_find_over(struct spool *spool, void (*over)(void *arg, const char *name), void *arg)
{
	struct finding finding = {.spool = spool, .over = over, .arg = arg};
	int result = wait_each_name(spool, look, &finding);

	if (result == 0)
		result = find_kept(&finding);
	strings_release(&finding.kept);
	if (result == 0 && finding.error != 0) {
		errno = finding.error;
		result = -1;
	}
	return result;
}

/* --- links of jobs that are over --- */

struct sweeping {
	struct spool *spool;
	enum spool_dir top;
	struct queue queue; /* of the last link */
	bool waits;         /* something does for a job or batch, somewhere */
	const char *draft;  /* that is being swept */
	int error;
};

struct walk {
	struct sweeping *sweeping;
	int dir;
	void (*visit)(struct sweeping *s, int dir, const char *name);
};

static int visit_name(void *arg, const char *name, bool regular)
{
	const struct walk *walk = arg;

	(void)regular;
	walk->visit(walk->sweeping, walk->dir, name);
	return 0;
}

/* Calls VISIT for all names in FD, and closes it. */
static int each(
    int fd, void (*visit)(struct sweeping *s, int dir, const char *name), struct sweeping *s)
{
	struct walk walk = {s, fd, visit};

	return dir_each(fd, EACH_ALL, visit_name, &walk);
}

static bool open_queue(struct sweeping *s, const char *name)
{
	if (s->queue.fd >= 0 && strcmp(s->queue.name, name) == 0)
		return true;
	queue_close(&s->queue);
	return queue_open(&s->queue, s->spool, name, false) == 0;
}

/* With its queue all of a job is gone, but for the links, which are as many as there are. */
static bool has_no_name(struct sweeping *s, const struct link_name *link, int fd)
{
	struct job_name name = {.meta = true};
	int names;

	if (!open_queue(s, link->queue))
		return errno == ENOENT;
	memcpy(name.id, link->id, sizeof name.id);
	names = links_names(&s->queue, &name, fd);
	return names == 0 || (names < 0 && errno == EBADMSG && links_alone(&s->queue, link->id));
}

/* Under the job's lock. */
static bool is_over(struct sweeping *s, const char *file, int fd)
{
	struct link_name link;
	struct stat st;

	return link_name_parse(file, &link) && fstat(fd, &st) == 0 &&
	    (st.st_nlink <= 1 || has_no_name(s, &link, fd));
}

enum { OWN_LINKS_MAX = 3 };

/* Without opening it, since a batch may have very many. A member whose key is left, too, is met once
 * that is gone. */
static bool may_be_over(const struct sweeping *s, const char *id, const struct stat *st)
{
	if (st->st_nlink <= 1)
		return true;
	return st->st_nlink <= OWN_LINKS_MAX && (s->top == SPOOL_KEY || wait_exists(s->spool, id));
}

/* If MAY_GO says so under the lock of the job that FILE leads to. */
static void remove_link(struct sweeping *s, int dir, const char *file,
    bool (*may_go)(struct sweeping *s, const char *file, int fd))
{
	int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
		if (may_go(s, file, fd) && sys_unlink(dir, file) != 0 && errno != ENOENT)
			s->error = errno;
		flock(fd, LOCK_UN);
	}
	sys_discard(&fd);
}

static void visit_link(struct sweeping *s, int dir, const char *file)
{
	struct link_name link;
	struct stat st;

	if (link_name_parse(file, &link) && fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && may_be_over(s, link.id, &st))
		remove_link(s, dir, file, is_over);
}

/* And not in the key that the draft was renamed to since it was opened. */
static bool is_in_draft(struct sweeping *s, const char *file, int fd)
{
	char path[2 * FILE_NAME_SIZE];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", s->draft, file);
	return fstat(fd, &st) == 0 && dir_leads_to(spool_dir(s->spool, s->top, false), path, &st);
}

/* Who has the job's lock may be about to take the key, however long it slept. */
static void visit_draft_link(struct sweeping *s, int dir, const char *file)
{
	remove_link(s, dir, file, is_in_draft);
}

/* Of a batch. */
static void remove_file(struct sweeping *s, int dir, const char *file)
{
	int removed = sys_unlink(dir, file);

	if (removed != 0 && (errno == EISDIR || errno == EPERM))
		removed = sys_rmdir(dir, file);
	if (removed != 0 && errno != ENOENT)
		s->error = errno;
}

static bool is_older(int top, const char *name, int64_t seconds)
{
	struct stat st;

	return fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (int64_t)st.st_mtim.tv_sec + seconds < clock_real_ms() / 1000;
}

static void remove_dir(struct sweeping *s, int top, const char *name,
    void (*remove)(struct sweeping *s, int dir, const char *file))
{
	if (each(sys_opendir(top, name), remove, s) != 0 ||
	    (sys_rmdir(top, name) != 0 && errno != ENOTEMPTY))
		s->error = errno == ENOENT ? s->error : errno; /* by another sweep */
}

/* True if NAME is none of what people see. */
static bool sweep_draft(struct sweeping *s, int top, const char *name)
{
	if (name[0] != '.')
		return false;
	s->draft = name;
	if (strncmp(name, ".draft-", 7) == 0 && is_older(top, name, SWEEP_AGE_S))
		remove_dir(s, top, name, s->top == SPOOL_KEY ? visit_draft_link : remove_file);
	return true;
}

static void visit_key(struct sweeping *s, int top, const char *name)
{
	if (sweep_draft(s, top, name))
		return;
	if (each(sys_opendir(top, name), visit_link, s) != 0 && errno != ENOENT && errno != ENOTDIR)
		s->error = errno;
	(void)!sys_rmdir(top, name);
}

static void visit_batch(struct sweeping *s, int top, const char *label)
{
	int members, complete;

	if (sweep_draft(s, top, label))
		return;
	members = batch_open_members(s->spool, label);
	if (members >= 0 && each(members, visit_link, s) != 0)
		s->error = errno;
	complete = batch_complete(s->spool, label);
	if (complete < 0)
		s->error = errno;
	if (complete == 1 && is_older(top, label, COMPLETE_KEPT_S) &&
	    !wait_exists(s->spool, label) &&
	    (!s->waits || deletion_is_marked(s->spool, label) == 0))
		remove_dir(s, top, label, remove_file);
}

/* Of a job that is gone: the directory is as old as its `.job` is away. */
static void visit_wait(struct sweeping *s, int top, const char *name)
{
	struct stat st;
	int dir;

	if (s->waits || !job_id_ok(name) || !is_older(top, name, COMPLETE_KEPT_S))
		return;
	dir = sys_opendir(top, name);
	if (dir >= 0 && fstatat(dir, AFTER_MARK, &st, AT_SYMLINK_NOFOLLOW) != 0 &&
	    errno == ENOENT && fstatat(dir, DELETION_MARK, &st, AT_SYMLINK_NOFOLLOW) == 0)
		remove_file(s, dir, DELETION_MARK);
	sys_discard(&dir);
	wait_remove(s->spool, name);
}

static int waits_in(void *arg, const char *name)
{
	return name[0] == '@' ? 0 : wait_each(arg, name, NULL, is_there, NULL);
}

static int sweep_top(struct spool *spool, enum spool_dir which,
    void (*visit)(struct sweeping *s, int top, const char *name))
{
	struct sweeping s = {.spool = spool,
	    .top = which,
	    .queue = QUEUE_CLOSED,
	    .waits = wait_each_name(spool, waits_in, spool) != 0};
	int top = spool_dir(spool, which, false), result;

	if (top < 0)
		return errno == ENOENT ? 0 : -1;
	result = each(sys_opendir(top, "."), visit, &s);
	queue_close(&s.queue);
	errno = result != 0 ? errno : s.error;
	return result != 0 || s.error != 0 ? -1 : 0;
}

int order_sweep(struct spool *spool)
{
	static const struct {
		enum spool_dir top;
		void (*visit)(struct sweeping *s, int top, const char *name);
	} tops[] = {{SPOOL_KEY, visit_key}, {SPOOL_BATCH, visit_batch}, {SPOOL_WAIT, visit_wait}};
	const char *failed = NULL;
	int error = 0;

	for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
		if (sweep_top(spool, tops[i].top, tops[i].visit) != 0) {
			error = errno;
			failed = spool_dir_name[tops[i].top];
		}
	errno = error;
	return failed ? spool_fail(spool, failed, NULL, NULL) : 0;
}
