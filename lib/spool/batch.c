#include "spool/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/strings.h"
#include "sys/chance.h"

enum { BATCH_PATH_SIZE = LINK_PATH_SIZE, BEGIN_TRIES = 10 };

static const char *const member_dir[] = {"open", "sealed"};

static int batch_fail(struct spool *spool, const char *label, const char *name)
{
	return spool_fail(spool, spool_dir_name[SPOOL_BATCH], label, name);
}

/* The descriptor of .batch/, and the LABEL of BATCH. */
static int top_of(struct spool *spool, const char *batch, bool create, char label[LABEL_SIZE])
{
	return label_encode(batch, label) == 0 ? spool_dir(spool, SPOOL_BATCH, create) : -1;
}

static int exists(int dir, const char *path)
{
	struct stat st;

	if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -1;
}

/* open/ is looked for first: it turns to sealed/, and never back. */
static int state_of(int top, const char *label)
{
	char path[BATCH_PATH_SIZE];
	int found;

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", label, member_dir[i]);
		found = exists(top, path);
		if (found != 0)
			return found < 0 ? -1 : i == 0 ? BATCH_OPEN : BATCH_SEALED;
	}
	found = exists(top, label);
	return found < 0 ? -1 : found == 0 ? BATCH_UNKNOWN : BATCH_COMPLETE;
}

int batch_state(struct spool *spool, const char *batch)
{
	char label[LABEL_SIZE];
	int top = top_of(spool, batch, false, label);

	if (top < 0)
		return errno == ENOENT ? BATCH_UNKNOWN : -1;
	return state_of(top, label);
}

static int sync_path(int top, const char *path)
{
	int fd = sys_opendir(top, path);
	int result = fd < 0 ? -1 : sys_fsync(fd);

	sys_discard(&fd);
	return result;
}

static int write_name(int dir, const char *batch, mode_t mode)
{
	int fd = sys_create(dir, "name", mode);

	if (fd < 0)
		return -1;
	if (sys_write(fd, batch, strlen(batch)) == 0 && sys_write(fd, "\n", 1) == 0 &&
	    sys_fsync(fd) == 0)
		return sys_close(fd);
	sys_discard(&fd);
	return -1;
}

/* What a crash leaves of it is a draft, and the sweep removes that. */
static int make_draft(struct spool *spool, int top, const char *draft, const char *batch)
{
	int fd, result;

	if (sys_mkdir(top, draft, spool->dir_mode) != 0)
		return -1;
	fd = sys_opendir(top, draft);
	result = fd < 0 ? -1 : write_name(fd, batch, spool->file_mode);
	if (result == 0)
		result = sys_mkdir(fd, member_dir[0], spool->dir_mode);
	if (result == 0)
		result = sys_fsync(fd);
	sys_discard(&fd);
	return result;
}

static void remove_draft(int top, const char *draft)
{
	int saved = errno;
	int fd = sys_opendir(top, draft);

	if (fd >= 0) {
		(void)!sys_unlink(fd, "name");
		(void)!sys_rmdir(fd, member_dir[0]);
	}
	sys_discard(&fd);
	(void)!sys_rmdir(top, draft);
	errno = saved;
}

/* In one rename: nobody meets a batch without open/ that is not complete. */
static int begin(struct spool *spool, int top, const char *label, const char *batch)
{
	char draft[BATCH_PATH_SIZE];
	int begun;

	snprintf(draft, sizeof draft, ".draft-%08x", chance32());
	begun = make_draft(spool, top, draft, batch);
	if (begun == 0)
		begun = sys_rename_dir(top, draft, top, label);
	if (begun != 0) {
		remove_draft(top, draft);
		if (errno != EEXIST && errno != ENOTEMPTY)
			return batch_fail(spool, label, NULL);
	}
	return sys_fsync(top) == 0 ? 0 : batch_fail(spool, NULL, NULL);
}

int batch_begin(struct spool *spool, const char *batch)
{
	char label[LABEL_SIZE];
	int top = top_of(spool, batch, true, label);
	int state = top < 0 ? -1 : state_of(top, label);

	if (state < 0)
		return -1;
	return state == BATCH_UNKNOWN ? begin(spool, top, label, batch) : 0;
}

int batch_join(const struct link_source *source, const char *batch)
{
	struct spool *spool = source->queue->spool;
	char label[LABEL_SIZE], path[BATCH_PATH_SIZE];
	int top = top_of(spool, batch, true, label);

	if (top < 0)
		return -1;
	link_path(path, label, member_dir[0], source->id, source->queue->name);
	for (int i = 0; i < BEGIN_TRIES; i++) {
		int state;

		if (sys_link(source->dir, source->file, top, path) == 0 || errno == EEXIST)
			return 1;
		if (errno != ENOENT)
			return batch_fail(spool, label, NULL);
		state = state_of(top, label);
		if (state == BATCH_SEALED || state == BATCH_COMPLETE)
			return 0;
		if (state < 0 || (state == BATCH_UNKNOWN && begin(spool, top, label, batch) != 0))
			return -1;
	}
	errno = EBUSY;
	return batch_fail(spool, label, NULL);
}

int batch_sync(struct spool *spool, const char *batch)
{
	char label[LABEL_SIZE], path[BATCH_PATH_SIZE];
	int top = top_of(spool, batch, false, label);

	for (size_t i = 0; top >= 0 && i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", label, member_dir[i]);
		if (sync_path(top, path) == 0)
			return 0;
		if (errno != ENOENT)
			break;
	}
	return batch_fail(spool, label, NULL);
}

int batch_complete(struct spool *spool, const char *label)
{
	int top = spool_dir(spool, SPOOL_BATCH, false);
	char path[BATCH_PATH_SIZE];
	int state;

	if (top < 0)
		return errno == ENOENT ? 1 : -1;
	snprintf(path, sizeof path, "%s/%s", label, member_dir[1]);
	if (sys_rmdir(top, path) == 0)
		return 1;
	if (errno == ENOTEMPTY || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return batch_fail(spool, label, member_dir[1]);
	state = state_of(top, label);
	return state < 0 ? -1 : state == BATCH_COMPLETE || state == BATCH_UNKNOWN;
}

/* A byte for each, for people who ask how far it is. On a full disk it lags behind. */
static void count_finished(struct spool *spool, int top, const char *label)
{
	int saved = errno;
	int dir = sys_opendir(top, label);
	int fd = dir < 0 ? -1 : sys_append(dir, "finished", spool->file_mode);

	if (fd >= 0)
		(void)!sys_write(fd, ".", 1);
	sys_discard(&fd);
	sys_discard(&dir);
	errno = saved;
}

int batch_leave(const struct queue *queue, const char *id, const char *batch, bool was_sent)
{
	char label[LABEL_SIZE], path[BATCH_PATH_SIZE];
	int top = top_of(queue->spool, batch, false, label);

	if (top < 0)
		return errno == ENOENT ? 0 : -1;
	for (size_t i = 0; i < 2; i++) {
		link_path(path, label, member_dir[i], id, queue->name);
		if (sys_unlink(top, path) == 0) {
			if (was_sent)
				count_finished(queue->spool, top, label);
			return batch_complete(queue->spool, label);
		}
		if (errno != ENOENT)
			return batch_fail(queue->spool, label, NULL);
	}
	return 0;
}

static int seal(struct spool *spool, int top, const char *label)
{
	char from[BATCH_PATH_SIZE], to[BATCH_PATH_SIZE];
	int complete;

	snprintf(from, sizeof from, "%s/%s", label, member_dir[0]);
	snprintf(to, sizeof to, "%s/%s", label, member_dir[1]);
	if (sys_rename_dir(top, from, top, to) != 0 && errno != ENOENT)
		return batch_fail(spool, label, NULL);
	if (sync_path(top, label) != 0) /* ENOENT: it was never begun */
		return batch_fail(spool, label, NULL);
	complete = batch_complete(spool, label);
	return complete < 0 ? -1 : !complete;
}

int batch_seal(struct spool *spool, const char *batch)
{
	char label[LABEL_SIZE];
	int top = top_of(spool, batch, false, label);

	return top < 0 ? batch_fail(spool, label, NULL) : seal(spool, top, label);
}

int batch_over(struct spool *spool, const char *label)
{
	int top = spool_dir(spool, SPOOL_BATCH, false);
	int over = top < 0 ? -1 : batch_complete(spool, label);

	if (over < 0 && errno == ENOENT) /* all of .batch/ was removed */
		return 1;
	if (over != 0)
		return over;
	switch (state_of(top, label)) {
	case BATCH_UNKNOWN:
		return 1;
	case BATCH_OPEN: /* one of this name was begun again */
		over = seal(spool, top, label);
		return over < 0 ? -1 : !over;
	default:
		return 0;
	}
}

int batch_open_members(struct spool *spool, const char *label)
{
	int top = spool_dir(spool, SPOOL_BATCH, false);
	char path[BATCH_PATH_SIZE];
	int fd = -1;

	for (size_t i = 0; top >= 0 && fd < 0 && i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", label, member_dir[i]);
		fd = sys_opendir(top, path);
	}
	return fd >= 0 ? fd : batch_fail(spool, label, NULL);
}

struct members {
	struct strings *ids;
	struct strings *queues;
};

static int add_member(void *arg, const char *name, bool regular)
{
	const struct members *members = arg;
	struct link_name link;

	(void)regular;
	if (!link_name_parse(name, &link))
		return 0;
	if (strings_add(members->ids, link.id) != 0)
		return -1;
	return strings_has(members->queues, link.queue) ? 0
	                                                : strings_add(members->queues, link.queue);
}

/* The ids of the members that are not over, and the queues that they are of. */
static int list_members(struct spool *spool, const char *label, struct members *members)
{
	int fd = batch_open_members(spool, label);

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	return dir_each(fd, EACH_VISIBLE, add_member, members);
}

struct burials {
	const struct strings *ids;
	size_t count;
};

static int count_buried(void *arg, const struct job_place *place)
{
	struct burials *burials = arg;

	if (place->ours && strings_has_sorted(burials->ids, place->name.id))
		burials->count++;
	return 0;
}

static size_t finished_of(struct spool *spool, const char *label)
{
	int top = spool_dir(spool, SPOOL_BATCH, false);
	char path[BATCH_PATH_SIZE];
	struct stat st;

	snprintf(path, sizeof path, "%s/finished", label);
	if (top < 0 || fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	return (size_t)st.st_size;
}

int batch_progress(struct spool *spool, const char *label, struct batch_progress *progress)
{
	struct strings ids = {0}, queues = {0};
	struct members members = {&ids, &queues};
	struct burials burials = {&ids, 0};
	int result = list_members(spool, label, &members);

	strings_sort(&ids);
	for (size_t i = 0; result == 0 && ids.count > 0 && i < queues.count; i++)
		result = spool_each(spool, queues.item[i], JOB_BURIED, count_buried, &burials);
	*progress = (struct batch_progress){.finished = finished_of(spool, label),
	    .outstanding = ids.count,
	    .buried = burials.count};
	strings_release(&ids);
	strings_release(&queues);
	return result;
}
