/*
 * The directories of the spool for order among jobs, and each link in them: does it lead to a job that
 * says so, and is not over? What looks wrong is looked at again under the job's lock, without which
 * its links may come and go; whoever holds that is about to put it right, or runs the job.
 */
#include "spool/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "spool/after.h"
#include "spool/batch.h"
#include "spool/claim.h"
#include "spool/deletion.h"
#include "spool/resource.h"
#include "spool/sweep.h"

struct walk {
	struct check *check;
	enum spool_dir top;
	int fd; /* of TOP */
	const char *label;
	size_t *found;              /* what counts in the directory that is looked at */
	char path[PLACE_PATH_SIZE]; /* of that, below TOP */
};

enum { WALK_PATH_SIZE = PLACE_PATH_SIZE + FILE_NAME_SIZE, NAME_SIZE_MAX = 1 << 20 };

/* --- telling --- */

static struct check_finding finding_at(const struct walk *w, enum check_class class,
    const char *kind, const char *path, const char *reason)
{
	return (struct check_finding){.class = class,
	    .kind = kind,
	    .dir = spool_dir_name[w->top],
	    .file = path,
	    .reason = reason};
}

/* FILE in the directory that is looked at; NULL: of that itself. */
static void tell(const struct walk *w, enum check_class class, const char *kind, const char *file,
    const char *reason)
{
	char path[WALK_PATH_SIZE];

	snprintf(
	    path, sizeof path, "%s%s%s", w->path, file && *w->path ? "/" : "", file ? file : "");
	check_report(w->check, finding_at(w, class, kind, *path ? path : NULL, reason));
}

static void failed(const struct walk *w, const char *file)
{
	if (errno == ENOENT)
		return;
	spool_fail(w->check->spool, spool_dir_name[w->top], *w->path ? w->path : NULL, file);
	check_failed(w->check);
}

/* --- one link --- */

enum judgement { LINK_GONE, LINK_RIGHT, LINK_OVER, LINK_WRONG };

static bool is_named(const struct walk *w, const struct meta *meta)
{
	const char *name = w->top == SPOOL_KEY ? meta->key : meta->batch;
	char label[LABEL_SIZE];

	return name && label_encode(name, label) == 0 && strcmp(label, w->label) == 0;
}

/* Its options may not have come to the disk before the power was cut; the sweep removes it. */
static bool is_draft(const struct queue *queue, const char *id, const struct stat *st)
{
	return dir_leads_to(queue->dir[DIR_TMP], id, st);
}

/* A job whose options are lost is told of where it lies. It cannot have a key without them; but a
 * batch had better wait for it. */
static bool is_wrong(const struct walk *w, const struct queue *queue, const struct job_name *name)
{
	struct meta meta;
	const char *why;
	bool wrong = false;

	meta_init(&meta);
	if (job_meta(queue, name, &meta, &why) >= 0)
		wrong = !is_named(w, &meta);
	else if (errno == EBADMSG)
		wrong = w->top == SPOOL_KEY && strcmp(why, "missing") == 0;
	meta_release(&meta);
	return wrong;
}

static enum judgement judge_in(const struct walk *w, const struct queue *queue, const char *id,
    const char *path, struct stat *st)
{
	struct job_name name = {.meta = true};
	int own;

	memcpy(name.id, id, sizeof name.id);
	own = links_count(queue, &name, st);
	if (own < 0 && errno == EBADMSG && links_alone(queue, id))
		return LINK_OVER;
	if (fstatat(w->fd, path, st, AT_SYMLINK_NOFOLLOW) != 0)
		return LINK_GONE;
	if (st->st_nlink <= (own > 1 ? (nlink_t)own : 1))
		return LINK_OVER;
	return is_wrong(w, queue, &name) && !is_draft(queue, id, st) ? LINK_WRONG : LINK_RIGHT;
}

/* It stays open, since the next link is of the same one, most of all in a batch. */
static int open_queue(struct check *c, const char *name)
{
	if (c->queue.fd >= 0 && strcmp(c->queue.name, name) == 0)
		return 0;
	queue_close(&c->queue);
	return queue_open(&c->queue, c->spool, name, false);
}

/* With its queue a job is gone. */
static enum judgement judge(
    const struct walk *w, const struct link_name *link, const char *path, struct stat *st)
{
	if (fstatat(w->fd, path, st, AT_SYMLINK_NOFOLLOW) != 0)
		return LINK_GONE;
	if (st->st_nlink <= 1)
		return LINK_OVER;
	if (open_queue(w->check, link->queue) != 0)
		return errno == ENOENT ? LINK_OVER : LINK_GONE;
	return judge_in(w, &w->check->queue, link->id, path, st);
}

static enum judgement judge_locked(
    const struct walk *w, const struct link_name *link, const char *path, struct stat *st)
{
	enum judgement judged = LINK_GONE;
	int fd = openat(w->fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat now;

	if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0)
		judged = judge(w, link, path, st);
	if (judged != LINK_GONE && (fstat(fd, &now) != 0 || now.st_ino != st->st_ino))
		judged = LINK_GONE;
	sys_discard(&fd);
	return judged;
}

static void tell_wrong(const struct walk *w, const char *file, const char *id,
    const struct stat *st, const char *reason)
{
	struct check *c = w->check;
	bool repair = c->options->repair;
	struct check_finding finding;
	char path[WALK_PATH_SIZE];

	snprintf(path, sizeof path, "%s/%s", w->path, file);
	finding = finding_at(w, CHECK_FAULT, "link", path, reason);
	finding.id = id;
	check_outcome(c, finding, repair, repair ? mend_link(w->fd, path, st) : -1);
}

/* True if it is the link of a job that is to have it. *ST is of that. */
static bool check_link(
    const struct walk *w, const char *file, const struct link_name *link, struct stat *st)
{
	char path[WALK_PATH_SIZE];
	enum judgement judged;

	snprintf(path, sizeof path, "%s/%s", w->path, file);
	judged = judge(w, link, path, st);
	if (judged == LINK_OVER || judged == LINK_WRONG)
		judged = judge_locked(w, link, path, st);
	if (judged == LINK_OVER)
		tell(w, CHECK_PENDING, "link", file, "its job is over; the sweep removes it");
	if (judged == LINK_WRONG)
		tell_wrong(w, file, link->id, st, "no such job names this in its options");
	return judged == LINK_RIGHT;
}

/* --- files and directories --- */

static mode_t type_of(const struct walk *w, const char *file)
{
	char path[WALK_PATH_SIZE];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", *w->path ? w->path : ".", file);
	return fstatat(w->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mode & S_IFMT : 0;
}

/* True if it is a regular file; false, too, if it is gone. */
static bool is_file(const struct walk *w, const char *file)
{
	mode_t type = type_of(w, file);

	if (type != 0 && type != S_IFREG)
		tell(w, CHECK_FAULT, "strange", file, strange_reason_of(type));
	return type == S_IFREG;
}

/* Calls VISIT for each name in PATH below TOP, of which the walk knows then. Names with a leading dot are
 * for VISIT to leave alone. -1 with ENOMEM, or what VISIT returned. */
static int each(struct walk *w, const char *path, int (*visit)(struct walk *w, const char *name))
{
	struct walk in = *w;
	struct strings names = {0};
	int fd, result = 0;

	snprintf(in.path, sizeof in.path, "%s", path);
	fd = sys_opendir(w->fd, *path ? path : ".");
	if (fd < 0 || check_names(fd, ".", &names) != 0) {
		result = errno == ENOMEM ? -1 : 0;
		if (errno == ENOTDIR || errno == ELOOP)
			tell(&in, CHECK_FAULT, "directory", NULL, "is no directory");
		else
			failed(&in, NULL);
	} else {
		check_directory(
		    w->check, finding_at(&in, CHECK_FAULT, NULL, *path ? path : NULL, NULL), fd);
	}
	for (size_t i = 0; result == 0 && i < names.count; i++)
		result = visit(&in, names.item[i]);
	strings_release(&names);
	sys_discard(&fd);
	return result;
}

static int each_below(struct walk *w, const char *name, int (*visit)(struct walk *w, const char *))
{
	char path[PLACE_PATH_SIZE];

	if (snprintf(path, sizeof path, "%s%s%s", w->path, *w->path ? "/" : "", name) >=
	    (int)sizeof path)
		return 0;
	return each(w, path, visit);
}

/* What hides: a draft, which the sweep removes when it is an hour old. */
static bool check_hidden(const struct walk *w, const char *name)
{
	struct stat st;

	if (name[0] != '.')
		return false;
	if (strncmp(name, ".draft-", 7) == 0 &&
	    fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && sweep_is_old(&st))
		tell(w, CHECK_PENDING, "leftover", name, "what a crash left; the sweep removes it");
	return true;
}

static void tell_stray(const struct walk *w, const char *name)
{
	char queue[QUEUE_NAME_SIZE];
	struct job_name parsed;

	if (job_name_parse(name, &parsed) || waiting_name_parse(name, &parsed, queue))
		tell(w, CHECK_FAULT, "misplaced", name, "a job's name, where nobody looks for one");
	else
		tell(w, CHECK_NOTE, "unknown", name, "nothing that qspool knows");
}

static bool is_directory(const struct walk *w, const char *name)
{
	mode_t type = type_of(w, name);

	if (type == S_IFREG)
		tell_stray(w, name);
	else if (type != 0 && type != S_IFDIR)
		tell(w, CHECK_FAULT, "strange", name, strange_reason_of(type));
	return type == S_IFDIR;
}

/* What was encoded, for people and for names that were too long. */
static void check_name(const struct walk *w)
{
	int dir = sys_opendir(w->fd, w->path);
	char label[LABEL_SIZE];
	struct stat st;
	size_t len;
	char *name = dir < 0 ? NULL : read_small(dir, "name", NAME_SIZE_MAX, &len, &st);

	/* Without its end it may just be written. */
	if (name && len > 0 && name[len - 1] == '\n') {
		name[len - 1] = '\0';
		if (label_encode(name, label) != 0 || strcmp(label, w->label) != 0)
			tell(w, CHECK_FAULT, "name", "name",
			    "is not the name of which this is the label");
	}
	free(name);
	sys_discard(&dir);
}

/* --- .key/ --- */

static int visit_holder(struct walk *w, const char *file)
{
	struct link_name link;
	struct stat st;

	if (file[0] == '.' || !is_file(w, file))
		return 0;
	if (!link_name_parse(file, &link))
		tell(w, CHECK_FAULT, "name", file,
		    "not the name of a link; nobody can take the key");
	else if (check_link(w, file, &link, &st) && ++*w->found > 1)
		tell_wrong(w, file, link.id, &st, "another job holds this key, too");
	return 0;
}

static int visit_key(struct walk *w, const char *label)
{
	struct walk in = *w;
	size_t found = 0;

	if (check_hidden(w, label) || !is_directory(w, label))
		return 0;
	in.label = label;
	in.found = &found;
	return each_below(&in, label, visit_holder);
}

/* --- .batch/ --- */

static int visit_member(struct walk *w, const char *file)
{
	struct link_name link;
	struct stat st;

	++*w->found;
	if (!is_file(w, file))
		return 0;
	if (!link_name_parse(file, &link))
		tell(w, CHECK_FAULT, "name", file,
		    "not the name of a link; the batch cannot complete");
	else
		check_link(w, file, &link, &st);
	return 0;
}

/* Of a member that was deleted, or is just being. */
static bool is_mark_of_batch(const char *file)
{
	size_t len = strlen(DELETION_BATCH_MARK);

	return strncmp(file, DELETION_BATCH_MARK, len) == 0 &&
	    (!file[len] || (file[len] == '.' && job_id_ok(file + len + 1)));
}

static int visit_of_batch(struct walk *w, const char *file)
{
	bool sealed = strcmp(file, "sealed") == 0;
	struct walk in = *w;
	size_t found = 0;
	int result = 0;

	in.found = &found;
	if (file[0] == '.')
		return 0;
	if (sealed || strcmp(file, "open") == 0)
		result = is_directory(w, file) ? each_below(&in, file, visit_member) : 0;
	else if (strcmp(file, "name") == 0 && is_file(w, file))
		check_name(w);
	else if (strcmp(file, "name") != 0 && strcmp(file, "finished") != 0 &&
	    !is_mark_of_batch(file))
		tell_stray(w, file);
	if (sealed && found == 0 && type_of(w, file) == S_IFDIR)
		tell(w, CHECK_PENDING, "batch", file,
		    "has no members any more; a qwork completes it");
	return result;
}

/* In this order, since open/ turns to sealed/. */
static void check_batch(const struct walk *batches, const char *label)
{
	struct walk w = *batches;

	snprintf(w.path, sizeof w.path, "%s", label);
	if (type_of(&w, "sealed") != 0 && type_of(&w, "open") != 0)
		tell(&w, CHECK_FAULT, "batch", NULL,
		    "is both open and sealed; move the links to sealed/, and remove open/");
	if (type_of(&w, "name") == 0 && type_of(batches, label) != 0)
		tell(&w, CHECK_NOTE, "batch", NULL, "has no file that says its name");
}

static int visit_batch(struct walk *w, const char *label)
{
	if (check_hidden(w, label) || !is_directory(w, label))
		return 0;
	w->label = label;
	check_batch(w, label);
	return each_below(w, label, visit_of_batch);
}

/* --- .wait/ --- */

static int visit_waiting(struct walk *w, const char *file)
{
	char queue[QUEUE_NAME_SIZE];
	struct job_name name;

	if (strcmp(file, AFTER_MARK) == 0 || strcmp(file, DELETION_MARK) == 0)
		(void)is_file(w, file);
	if (file[0] == '.' || !is_file(w, file))
		return 0;
	if (!waiting_name_parse(file, &name, queue)) {
		tell(w, CHECK_FAULT, "name", file, "not the name of a waiting job");
		return 0;
	}
	++*w->found;
	if (!check_was_checked(w->check, queue) && !spool_has_queue(w->check->spool, queue))
		tell(w, CHECK_FAULT, "misplaced", file, "waits, but its queue is no more");
	return 0;
}

/* Not by after_look(), which would complete a batch. */
static bool is_over(const struct walk *w, const char *name)
{
	char path[WALK_PATH_SIZE];
	struct stat st;
	int fd;

	snprintf(path, sizeof path, "%s/%s", name, AFTER_MARK);
	if (job_id_ok(name))
		return fstatat(w->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_nlink <= 1
		                                                           : errno == ENOENT;
	fd = batch_open_members(w->check->spool, name);
	if (fd < 0)
		return errno == ENOENT;
	sys_discard(&fd);
	return false;
}

static int visit_wait(struct walk *w, const char *name)
{
	struct walk in = *w;
	size_t found = 0;
	int result;

	if (check_hidden(w, name) || !is_directory(w, name))
		return 0;
	in.found = &found;
	result = each_below(&in, name, visit_waiting);
	if (result == 0 && found > 0 && name[0] != '@' && is_over(w, name))
		tell(w, CHECK_PENDING, "wait", name,
		    deletion_is_marked(w->check->spool, name) == 1
		        ? "what is waited for here was deleted; a qwork buries what waits"
		        : "what is waited for here is over; a qwork lets go on what waits");
	return result;
}

/* --- .resource/ --- */

static int visit_slot(struct walk *w, const char *file)
{
	if (file[0] != '.' && is_file(w, file) && strcmp(file, "probe") != 0 &&
	    file[strspn(file, "0123456789")])
		tell_stray(w, file);
	return 0;
}

static int visit_of_resource(struct walk *w, const char *file)
{
	static const char *const known[] = {
	    "jobs", "rate", "burst", "breaker", "open", "window", "state"};

	if (file[0] == '.')
		return 0;
	if (strcmp(file, "slot") == 0)
		return is_directory(w, file) ? each_below(w, file, visit_slot) : 0;
	if (!is_file(w, file))
		return 0;
	if (strcmp(file, "name") == 0) {
		check_name(w);
		return 0;
	}
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(file, known[i]) == 0)
			return 0;
	tell_stray(w, file);
	return 0;
}

/* As a qwork reads them. */
static void check_settings(const struct walk *w, const char *label)
{
	struct resource r = {.spool = w->check->spool, .fd = sys_opendir(w->fd, label)};
	struct limits limits;
	struct walk in = *w;

	if (r.fd < 0)
		return;
	snprintf(in.path, sizeof in.path, "%s", label);
	snprintf(r.label, sizeof r.label, "%.*s", LABEL_SIZE - 1, label);
	if (resource_limits(&r, &limits) != 0)
		check_failed(w->check);
	else if (limits.wrong)
		tell(&in, CHECK_FAULT, "setting", limits.wrong,
		    "is not understood: the jobs that need this wait until it is put right");
	resource_leave(&r);
}

static int visit_resource(struct walk *w, const char *label)
{
	if (check_hidden(w, label) || !is_directory(w, label))
		return 0;
	w->label = label;
	check_settings(w, label);
	return each_below(w, label, visit_of_resource);
}

/* --- all of them --- */

static int check_top(
    struct check *c, enum spool_dir top, int (*visit)(struct walk *w, const char *name))
{
	struct walk w = {.check = c, .top = top};
	int result = 0;

	w.fd = sys_opendir(c->spool->fd, spool_dir_name[top]);
	if (w.fd >= 0)
		result = each(&w, "", visit);
	else if (errno == ENOTDIR || errno == ELOOP)
		tell(&w, CHECK_FAULT, "directory", NULL, "is no directory");
	else
		failed(&w, NULL);
	sys_discard(&w.fd);
	return result;
}

int check_links(struct check *c)
{
	int (*const visit[SPOOL_DIRS])(struct walk * w, const char *name) = {
	    [SPOOL_WAIT] = visit_wait,
	    [SPOOL_KEY] = visit_key,
	    [SPOOL_BATCH] = visit_batch,
	    [SPOOL_RESOURCE] = visit_resource};
	int result = 0;

	for (enum spool_dir top = 0; result == 0 && top < SPOOL_DIRS; top++)
		result = check_top(c, top, visit[top]);
	queue_close(&c->queue);
	return result;
}
