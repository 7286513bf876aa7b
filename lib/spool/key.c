#include "spool/key.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "spool/motion.h"
#include "spool/wait.h"
#include "sys/clock.h"

enum { PAUSE_MS = 10 };

/* What may be the case with a key that another job has. */
enum judgement { JUDGE_ERROR = -1, JUDGE_FREE, JUDGE_SOON, JUDGE_HELD };

static int key_fail(struct spool *spool, const char *label, const char *name)
{
	return spool_fail(spool, spool_dir_name[SPOOL_KEY], label, name);
}

static int top_of(struct spool *spool, const char *key, bool create, char label[LABEL_SIZE])
{
	return label_encode(key, label) == 0 ? spool_dir(spool, SPOOL_KEY, create) : -1;
}

void key_draft(char draft[static KEY_DRAFT_SIZE], const char *id)
{
	snprintf(draft, KEY_DRAFT_SIZE, ".draft-%s", id);
}

/* --- taking --- */

static int make_draft(
    const struct link_source *source, int top, const char *draft, const char *link)
{
	int fd = -1, result;

	if (sys_mkdir(top, draft, source->queue->spool->dir_mode) != 0 && errno != EEXIST)
		return -1;
	if (sys_link(source->dir, source->file, top, link) != 0 && errno != EEXIST)
		return -1;
	fd = sys_opendir(top, draft);
	result = fd < 0 ? -1 : sys_fsync(fd);
	sys_discard(&fd);
	return result;
}

/* 1 taken, 0 it is held, -1. */
static int try_to_take(const struct link_source *source, int top, const char *label)
{
	char draft[KEY_DRAFT_SIZE], link[LINK_PATH_SIZE];
	int taken = -1, saved;

	key_draft(draft, source->id);
	link_path(link, draft, NULL, source->id, source->queue->name);
	if (make_draft(source, top, draft, link) == 0) {
		taken = sys_rename_dir(top, draft, top, label) == 0;
		if (!taken && errno != EEXIST && errno != ENOTEMPTY)
			taken = -1;
	}
	saved = errno;
	if (taken != 1) {
		(void)!sys_unlink(top, link);
		(void)!sys_rmdir(top, draft);
	}
	errno = saved;
	if (taken == 1 && sys_fsync(top) != 0)
		taken = -1;
	return taken < 0 ? key_fail(source->queue->spool, label, NULL) : taken;
}

/* --- who has it --- */

static int visit_link(void *link, const char *name, bool regular)
{
	(void)regular; /* opening it tells */
	if (link_name_parse(name, link))
		return 1;
	errno = EBADMSG;
	return -1;
}

/* 1 and the link's NAME, 0 if the key is free, -1: EBADMSG if something else is there. */
static int find_link(int top, const char *label, struct link_name *name)
{
	int found = dir_each(sys_opendir(top, label), EACH_ALL, visit_link, name);

	return found < 0 && errno == ENOENT ? 0 : found;
}

struct sought {
	const char *id;
	struct job_name name; /* of the one that was found */
};

static int is_sought(void *arg, const char *file, bool regular)
{
	struct sought *sought = arg;

	(void)regular;
	return job_name_parse(file, &sought->name) && strcmp(sought->name.id, sought->id) == 0;
}

/* 1 if ID is in DIR, 0, -1. */
static int is_in(const struct queue *queue, enum queue_dir dir, const char *id)
{
	struct sought sought = {.id = id};

	return queue_each(queue, dir, is_sought, &sought);
}

static int settle_dirs(const struct queue *queue, const struct meta *meta)
{
	static const enum queue_dir order[] = {DIR_TMP, DIR_CUR, DIR_DELAY, DIR_NEW};

	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		if (sys_fsync(queue->dir[order[i]]) != 0)
			return queue_fail(queue, order[i], NULL);
	return links_sync_waits(queue->spool, meta);
}

static int settle_payload(
    const struct queue *queue, const struct job_name *name, const struct meta *meta, int fd)
{
	char label[LABEL_SIZE], link[LINK_PATH_SIZE];

	if (sys_fsync(fd) == 0)
		return 0;
	if (meta->key && label_encode(meta->key, label) == 0) {
		link_path(link, label, NULL, name->id, queue->name);
		key_fail(queue->spool, link, NULL);
	}
	return -1;
}

/* Its own sender may have died before it synced, or not have meant to; its options are on disk since
 * before it took the key. */
static enum judgement settle_holder(
    const struct queue *queue, const struct job_name *name, const struct meta *meta, int fd)
{
	if (settle_payload(queue, name, meta, fd) != 0 || settle_dirs(queue, meta) != 0)
		return JUDGE_ERROR;
	return JUDGE_HELD;
}

/* Somebody has its lock: its sender, who is about to be done, or who runs it. */
static enum judgement judge_locked(
    const struct queue *queue, const struct job_name *name, const struct meta *meta, int fd)
{
	int runs = is_in(queue, DIR_CUR, name->id);

	if (runs == 1)
		return settle_holder(queue, name, meta, fd);
	return runs < 0 ? JUDGE_ERROR : JUDGE_SOON;
}

/* Its options are lost, so that it is not known which links are its own. What is in tmp/ only counts as nowhere. */
static int is_nowhere(const struct queue *queue, const char *id)
{
	struct job_place place;
	int found = motion_locate(queue->spool, id, &place);

	return found < 0 ? -1 : !found;
}

/* A draft is no job; one that was sent, and kept this name in a power cut, has one more. */
static int is_over(const struct queue *queue, const struct job_name *name, int fd)
{
	int names = links_names(queue, name, fd);
	struct stat st;

	if (names < 0 && errno == EBADMSG)
		return is_nowhere(queue, name->id);
	if (names < 0 || fstat(fd, &st) != 0)
		return -1;
	return names == 0 || (names == 1 && dir_leads_to(queue->dir[DIR_TMP], name->id, &st));
}

struct usual {
	struct spool *spool;
	char file[WAITING_NAME_SIZE];
	const struct stat *st;
};

static int waits_in(void *arg, const char *wait)
{
	const struct usual *usual = arg;
	int dir = wait_open(usual->spool, wait, false);
	int is = dir >= 0 && dir_leads_to(dir, usual->file, usual->st);

	sys_discard(&dir);
	return is;
}

/* Whether it is ready or waits, and is called as most are. */
static bool waits_as_usual(
    const struct queue *queue, const char *id, const struct meta *meta, const struct stat *st)
{
	struct usual usual = {.spool = queue->spool, .st = st};
	struct job_name name = {
	    .due_ms = JOB_DUE_NONE, .priority = JOB_PRIORITY_DEFAULT, .meta = true};

	memcpy(name.id, id, sizeof name.id);
	job_name_format(&name, usual.file);
	if (dir_leads_to(queue->dir[DIR_NEW], usual.file, st))
		return true;
	waiting_name_format(&name, queue->name, usual.file);
	return links_each_wait(meta, waits_in, &usual) == 1;
}

/* Under its lock. Much may be set aside or kept: it is read only if it must be. What comes to done/ says so in its
 * options, unless they are lost. */
static int is_aside(const struct queue *queue, const char *id, const struct meta *meta, int fd)
{
	struct stat st;
	int aside;

	if (fstat(fd, &st) != 0)
		return -1;
	if (waits_as_usual(queue, id, meta, &st))
		return 0;
	aside = is_in(queue, DIR_BURIED, id);
	return aside == 0 && (meta_is_kept(meta) || !meta->key) ? is_in(queue, DIR_DONE, id)
	                                                        : aside;
}

/* Under its lock. What has its links only is over; what is in tmp/ will never be sent; what is
 * set aside or finished holds nothing, whatever a crash left. */
static enum judgement judge_at_rest(
    const struct queue *queue, const struct job_name *name, const struct meta *meta, int fd)
{
	int over = is_over(queue, name, fd);

	if (over == 0)
		over = is_aside(queue, name->id, meta, fd);
	if (over < 0)
		return JUDGE_ERROR;
	return over ? JUDGE_FREE : settle_holder(queue, name, meta, fd);
}

/* The link goes under the lock of what it leads to. */
static enum judgement judge_open(const struct queue *queue, int top, const char *link,
    const struct job_name *name, const struct meta *meta, int fd)
{
	enum judgement judged;
	struct stat st;

	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? judge_locked(queue, name, meta, fd) : JUDGE_ERROR;
	if (fstat(fd, &st) != 0)
		return JUDGE_ERROR;
	judged = dir_leads_to(top, link, &st) ? judge_at_rest(queue, name, meta, fd) : JUDGE_SOON;
	if (judged == JUDGE_FREE && sys_unlink(top, link) != 0 && errno != ENOENT) {
		key_fail(queue->spool, link, NULL);
		judged = JUDGE_ERROR;
	}
	flock(fd, LOCK_UN);
	return judged;
}

/* Its options first: they go after the job. */
static enum judgement judge_holder(
    const struct queue *queue, int top, const char *link, const char *id, int fd)
{
	struct job_name name = {.meta = true};
	enum judgement judged = JUDGE_ERROR;
	struct meta meta;
	const char *why;

	memcpy(name.id, id, sizeof name.id);
	meta_init(&meta);
	if (job_meta(queue, &name, &meta, &why) >= 0 || errno == EBADMSG)
		judged = judge_open(queue, top, link, &name, &meta, fd);
	meta_release(&meta);
	return judged;
}

/* Of a queue that was removed, with all its jobs. */
static enum judgement remove_orphan(
    struct spool *spool, int top, const char *label, const struct link_name *holder)
{
	char link[LINK_PATH_SIZE];

	link_path(link, label, NULL, holder->id, holder->queue);
	if (sys_unlink(top, link) == 0 || errno == ENOENT)
		return JUDGE_FREE;
	key_fail(spool, label, NULL);
	return JUDGE_ERROR;
}

static enum judgement judge(
    struct spool *spool, int top, const char *label, const struct link_name *holder)
{
	enum judgement judged = JUDGE_ERROR;
	char link[LINK_PATH_SIZE];
	struct queue queue;
	int fd;

	if (queue_open(&queue, spool, holder->queue, false) != 0)
		return errno == ENOENT ? remove_orphan(spool, top, label, holder) : JUDGE_ERROR;
	link_path(link, label, NULL, holder->id, holder->queue);
	fd = openat(top, link, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		judged = judge_holder(&queue, top, link, holder->id, fd);
	else if (errno == ENOENT)
		judged = JUDGE_FREE;
	else
		key_fail(spool, link, NULL);
	sys_discard(&fd);
	queue_close(&queue);
	return judged;
}

/* 1 held by HOLDER, 0 it is free now, -1. */
static int ask_holder(
    struct spool *spool, int top, const char *label, int64_t patience_ms, struct link_name *holder)
{
	for (int64_t until = clock_mono_ms() + patience_ms;;) {
		int found = find_link(top, label, holder);

		if (found <= 0)
			return found == 0 ? 0 : key_fail(spool, label, NULL);
		switch (judge(spool, top, label, holder)) {
		case JUDGE_ERROR:
			return -1;
		case JUDGE_FREE:
			return 0;
		case JUDGE_HELD:
			return 1;
		case JUDGE_SOON:
			break;
		}
		if (clock_mono_ms() >= until) {
			errno = EBUSY;
			return key_fail(spool, label, NULL);
		}
		poll(NULL, 0, PAUSE_MS);
	}
}

int key_take(const struct link_source *source, const char *key, int64_t patience_ms,
    struct link_name *holder)
{
	struct spool *spool = source->queue->spool;
	char label[LABEL_SIZE];
	int top = top_of(spool, key, true, label);
	int taken = top < 0 ? -1 : key_has(source, key), held = 0;

	while (taken == 0 && held == 0) {
		held = ask_holder(spool, top, label, patience_ms, holder);
		if (held == 0)
			taken = try_to_take(source, top, label);
	}
	return taken != 0 ? taken : held < 0 ? -1 : 0;
}

int key_has(const struct link_source *source, const char *key)
{
	char label[LABEL_SIZE], link[LINK_PATH_SIZE];
	int top = top_of(source->queue->spool, key, false, label);
	struct stat st;

	if (top < 0)
		return errno == ENOENT ? 0 : -1;
	if (fstatat(source->dir, source->file, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -1;
	link_path(link, label, NULL, source->id, source->queue->name);
	return dir_leads_to(top, link, &st);
}

int key_release(const struct queue *queue, const char *id, const char *key)
{
	char label[LABEL_SIZE], link[LINK_PATH_SIZE];
	int top = top_of(queue->spool, key, false, label);

	if (top < 0)
		return errno == ENOENT ? 0 : -1;
	link_path(link, label, NULL, id, queue->name);
	if (sys_unlink(top, link) != 0 && errno != ENOENT)
		return key_fail(queue->spool, label, NULL);
	(void)!sys_rmdir(top, label); /* an empty one is as free */
	return 0;
}
