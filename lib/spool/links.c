#include "spool/links.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "spool/after.h"
#include "spool/batch.h"
#include "spool/key.h"
#include "spool/motion.h"
#include "spool/wait.h"

bool link_name_parse(const char *text, struct link_name *name)
{
	if (strlen(text) <= JOB_ID_LEN || text[JOB_ID_LEN] != '@')
		return false;
	memcpy(name->id, text, JOB_ID_LEN);
	name->id[JOB_ID_LEN] = '\0';
	text += JOB_ID_LEN + 1;
	if (!job_id_ok(name->id) || !queue_name_ok(text))
		return false;
	memcpy(name->queue, text, strlen(text) + 1);
	return true;
}

void link_path(char path[static LINK_PATH_SIZE], const char *label, const char *sub, const char *id,
    const char *queue)
{
	snprintf(
	    path, LINK_PATH_SIZE, "%s/%s%s%s@%s", label, sub ? sub : "", sub ? "/" : "", id, queue);
}

struct link_source link_source_of(const struct job *job)
{
	return (struct link_source){
	    .queue = job->queue, .id = job->name.id, .dir = job_dir(job), .file = job->file};
}

int resource_wait_name(const char *resource, char name[static WAIT_NAME_SIZE])
{
	name[0] = '@';
	return label_encode(resource, name + 1);
}

/* Whether FILE in DIR below TOP is a link to ST. */
static bool is_link(
    struct spool *spool, enum spool_dir top, const char *path, const struct stat *st)
{
	int fd = spool_dir(spool, top, false);

	return fd >= 0 && dir_leads_to(fd, path, st);
}

static bool has_link(const struct queue *queue, enum spool_dir top, const char *name,
    const char *sub, const char *id, const struct stat *st)
{
	char label[LABEL_SIZE], path[LINK_PATH_SIZE];

	if (!name || label_encode(name, label) != 0)
		return false;
	link_path(path, label, sub, id, queue->name);
	return is_link(queue->spool, top, path, st);
}

bool links_has_key(
    const struct queue *queue, const char *id, const char *key, const struct stat *st)
{
	return has_link(queue, SPOOL_KEY, key, NULL, id, st);
}

/* One link, also if it is seen in both places, since the batch is sealed between the looks. */
bool links_has_batch(
    const struct queue *queue, const char *id, const char *batch, const struct stat *st)
{
	return has_link(queue, SPOOL_BATCH, batch, "open", id, st) ||
	    has_link(queue, SPOOL_BATCH, batch, "sealed", id, st);
}

bool links_has_mark(struct spool *spool, const char *id, const struct stat *st)
{
	char mark[LINK_PATH_SIZE];

	snprintf(mark, sizeof mark, "%s/%s", id, AFTER_MARK);
	return is_link(spool, SPOOL_WAIT, mark, st);
}

/* Left by who died while it wanted the key for the job. */
static bool has_key_draft(const struct queue *queue, const char *id, const struct stat *st)
{
	char draft[KEY_DRAFT_SIZE], path[LINK_PATH_SIZE];

	key_draft(draft, id);
	link_path(path, draft, NULL, id, queue->name);
	return is_link(queue->spool, SPOOL_KEY, path, st);
}

static int count_with(const struct queue *queue, const struct job_name *name,
    const struct meta *meta, const struct stat *st)
{
	return links_has_mark(queue->spool, name->id, st) +
	    links_has_key(queue, name->id, meta->key, st) +
	    (meta->key && has_key_draft(queue, name->id, st)) +
	    links_has_batch(queue, name->id, meta->batch, st);
}

int links_count(const struct queue *queue, const struct job_name *name, const struct stat *st)
{
	struct meta meta;
	const char *why;
	int count = -1;

	meta_init(&meta);
	if (job_meta(queue, name, &meta, &why) >= 0)
		count = count_with(queue, name, &meta, st);
	meta_release(&meta);
	return count;
}

/* Own links may come meanwhile, but not go: they are counted first. */
int links_names(const struct queue *queue, const struct job_name *name, int fd)
{
	struct stat st;
	int own = fstat(fd, &st) == 0 ? links_count(queue, name, &st) : -1;

	if (own < 0 || fstat(fd, &st) != 0)
		return -1;
	return st.st_nlink > (nlink_t)own ? (int)st.st_nlink - own : 0;
}

bool links_alone(const struct queue *queue, const char *id)
{
	struct job_place place;
	struct stat st;

	return fstatat(queue->dir[DIR_TMP], id, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT &&
	    motion_locate(queue->spool, id, &place) == 0;
}

/* Of the sticking points the last is told; each of the others is tried all the same. */
int links_release(const struct queue *queue, const char *id, const struct meta *meta, bool was_sent,
    struct over *over)
{
	int left, error = 0;

	*over = (struct over){0};
	left = after_unmark(queue->spool, id);
	over->id = left == 1;
	if (left < 0)
		error = errno;
	if (meta->key && key_release(queue, id, meta->key) != 0)
		error = errno;
	if (meta->batch) {
		left = batch_leave(queue, id, meta->batch, was_sent);
		over->batch = left == 1 && label_encode(meta->batch, over->batch_name) == 0;
		if (left < 0)
			error = errno;
	}
	errno = error;
	return error ? -1 : 0;
}

int links_each_wait(const struct meta *meta, int (*visit)(void *arg, const char *wait), void *arg)
{
	char name[WAIT_NAME_SIZE];
	int result = 0;

	for (size_t i = 0; result == 0 && i < meta->after.count; i++)
		result = after_wait_name(meta->after.item[i], name) == 0 ? visit(arg, name) : -1;
	for (size_t i = 0; result == 0 && i < meta->resources; i++)
		result =
		    resource_wait_name(meta->resource[i].name, name) == 0 ? visit(arg, name) : -1;
	return result;
}

static int sync_wait(void *arg, const char *name)
{
	struct spool *spool = arg;
	int fd = wait_open(spool, name, false);
	int result = fd < 0 ? -1 : sys_fsync(fd);

	sys_discard(&fd);
	if (result != 0 && errno == ENOENT)
		return 0;
	return result == 0 ? 0 : wait_fail(spool, name, NULL);
}

/* That a directory is there, or is gone with the name that it held. */
static int sync_top(struct spool *spool)
{
	int top = spool_dir(spool, SPOOL_WAIT, false);

	if (top < 0)
		return errno == ENOENT ? 0 : -1;
	return sys_fsync(top) == 0 ? 0 : wait_fail(spool, NULL, NULL);
}

int links_sync_waits(struct spool *spool, const struct meta *meta)
{
	if (links_each_wait(meta, sync_wait, spool) != 0)
		return -1;
	return meta->after.count + meta->resources > 0 ? sync_top(spool) : 0;
}

enum { NAME_SIZE_MAX = 1 << 20 };

static char *read_name(struct spool *spool, enum spool_dir top, const char *label)
{
	int fd = spool_dir(spool, top, false);
	int dir = fd < 0 ? -1 : sys_opendir(fd, label);
	struct stat st;
	size_t len;
	char *name = dir < 0 ? NULL : read_small(dir, "name", NAME_SIZE_MAX, &len, &st);

	sys_discard(&dir);
	if (name && len > 0 && name[len - 1] == '\n')
		name[len - 1] = '\0';
	return name;
}

char *label_name(struct spool *spool, enum spool_dir top, const char *label)
{
	char decoded[LABEL_SIZE];
	char *name = NULL;

	if (label_decode(label, decoded) == 0)
		return strdup(decoded);
	name = read_name(spool, top, label);
	return name ? name : strdup(label);
}
