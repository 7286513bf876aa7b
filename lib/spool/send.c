/*
 * Sending: T1, T2 and T16 of spool-layout.md.
 *
 * All payloads are written in tmp/, then all are made durable, then all are renamed,
 * then the directories are settled once. Data before rename, always: otherwise a
 * power cut shows a job of the right length full of zeros.
 */
#include "spool/after.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "format/crc32c.h"
#include "format/room.h"
#include "spool/batch.h"
#include "spool/key.h"
#include "spool/stats.h"
#include "spool/wait.h"
#include "sys/chance.h"
#include "sys/clock.h"

/* Up to this many, each file is synced by itself; more share one syncfs, which
 * may have to wait for data of others, if the kernel's syncfs tells of errors. */
enum { FEW = 8, WAIT_TRIES = 100 };

struct sending {
	struct job_name name;
	int fd; /* open only while all jobs of the batch are few, or for its key */
	bool linked;
	const struct meta *meta; /* until it is written; or NULL */
};

struct sender {
	struct queue queue;
	struct send_options options;
	struct sending *batch;
	size_t count;
	bool writing;                   /* batch[count] is being written */
	struct sending next;            /* what that is to be; without an id, a fresh one */
	unsigned reached;               /* directories, as bits, to which jobs were published */
	char wait_name[WAIT_NAME_SIZE]; /* where the jobs are to wait, or "" */
	struct send_refusal refusal;
	struct link_name holder; /* that the refusal tells */
};

/* Strictly increasing in this process, also when the clock is set back meanwhile
 * or read twice in a nanosecond. */
static uint64_t next_sent_ns(void)
{
	static uint64_t last;
	uint64_t now = clock_real_ns();

	last = now > last ? now : last + 1;
	return last;
}

void job_id_fresh(char id[static JOB_ID_LEN + 1])
{
	job_id_format(next_sent_ns(), chance64(), id);
}

/* The keys, batches and dependencies of a sender's jobs are the same for all of them. */
static const struct meta *order_of(const struct sender *sender)
{
	static const struct meta none;

	return sender->options.meta ? sender->options.meta : &none;
}

static enum queue_dir destination(const struct sender *sender, const struct sending *job)
{
	if (sender->wait_name[0])
		return DIR_WAIT;
	return job->name.due_ms == JOB_DUE_NONE ? DIR_NEW : DIR_DELAY;
}

static bool is_ordered(const struct sender *sender)
{
	const struct meta *order = order_of(sender);

	return order->key || order->batch || order->after.count > 0;
}

/* Which directories of the queue will be used: what orders jobs looks for others everywhere. */
static unsigned dirs_of(const struct sender *sender)
{
	if (is_ordered(sender))
		return UINT_MAX;
	return QUEUE_DIR_BIT(DIR_TMP) | QUEUE_DIR_BIT(destination(sender, &sender->next)) |
	    (sender->options.meta ? QUEUE_DIR_BIT(DIR_META) : 0);
}

static void next_of_options(struct sender *sender)
{
	const struct send_options *options = &sender->options;

	sender->next = (struct sending){.name = {.due_ms = options->due_ms,
	                                    .priority = options->priority,
	                                    .unsynced = options->no_sync},
	    .meta = options->meta};
}

struct sender *send_open(struct spool *spool, const char *queue, const struct send_options *options)
{
	struct sender *sender = calloc(1, sizeof *sender);

	if (!sender)
		return NULL;
	sender->options = *options;
	if (options->meta && meta_empty(options->meta))
		sender->options.meta = NULL;
	next_of_options(sender);
	if (queue_open_dirs(&sender->queue, spool, queue, true, dirs_of(sender)) != 0) {
		free(sender);
		return NULL;
	}
	return sender;
}

const struct send_refusal *send_refused(const struct sender *sender)
{
	return &sender->refusal;
}

static int refuse(struct sender *sender, enum send_refused why, const char *name)
{
	sender->refusal = (struct send_refusal){.why = why, .name = name};
	errno = EPERM;
	return -1;
}

int send_begin(struct sender *sender)
{
	const struct meta *meta = order_of(sender);
	struct spool *spool = sender->queue.spool;
	int state;

	for (size_t i = 0; i < meta->after.count; i++) {
		const char *after = meta->after.item[i];

		if (meta->batch && strcmp(after, meta->batch) == 0)
			return refuse(sender, REFUSED_ITSELF, after);
		state = job_id_ok(after) ? BATCH_COMPLETE : batch_state(spool, after);
		if (state <= BATCH_UNKNOWN)
			return state < 0 ? -1 : refuse(sender, REFUSED_UNKNOWN, after);
	}
	if (!meta->batch)
		return 0;
	if (batch_begin(spool, meta->batch) != 0)
		return -1;
	state = batch_state(spool, meta->batch);
	if (state == BATCH_SEALED || state == BATCH_COMPLETE)
		return refuse(sender, REFUSED_SEALED, meta->batch);
	return state < 0 ? -1 : 0;
}

static bool as_ok(const struct sender *sender, const struct send_as *as)
{
	const struct meta *meta = as->meta;

	return !sender->writing && !is_ordered(sender) && job_id_ok(as->id) &&
	    as->priority <= JOB_PRIORITY_MAX && as->attempts <= JOB_ATTEMPTS_MAX &&
	    (as->due_ms == JOB_DUE_NONE || (as->due_ms >= 0 && as->due_ms <= WHEN_MAX_MS)) &&
	    !(meta && (meta->key || meta->batch || meta->after.count > 0));
}

int send_as(struct sender *sender, const struct send_as *as)
{
	const unsigned dirs =
	    QUEUE_DIR_BIT(DIR_NEW) | QUEUE_DIR_BIT(DIR_DELAY) | QUEUE_DIR_BIT(DIR_META);
	struct job_name *name = &sender->next.name;

	if (!as_ok(sender, as)) {
		errno = EINVAL;
		return queue_fail(&sender->queue, DIR_TMP, as->id);
	}
	if (queue_open_more(&sender->queue, dirs) != 0)
		return -1;
	memcpy(name->id, as->id, sizeof name->id);
	name->priority = as->priority;
	name->due_ms = as->due_ms;
	name->attempts = as->attempts;
	sender->next.meta = as->meta && !meta_empty(as->meta) ? as->meta : NULL;
	return 0;
}

static struct sending *make_room(struct sender *sender)
{
	struct sending *batch = with_room(sender->batch, sender->count, sizeof *batch);

	if (!batch)
		return NULL;
	sender->batch = batch;
	return &batch[sender->count];
}

/* The lock tells a sweep that this file's sender lives, however slow its input. */
static int begin(struct sender *sender)
{
	struct sending *job = make_room(sender);
	const struct queue *queue = &sender->queue;

	if (!job)
		return -1;
	*job = sender->next;
	next_of_options(sender);
	if (!job->name.id[0])
		job_id_fresh(job->name.id);
	job->fd = sys_create(queue->dir[DIR_TMP], job->name.id, queue->spool->file_mode);
	if (job->fd < 0)
		return queue_fail(queue, DIR_TMP, job->name.id);
	sender->writing = true;
	return flock(job->fd, LOCK_EX | LOCK_NB) == 0 ? 0
	                                              : queue_fail(queue, DIR_TMP, job->name.id);
}

int send_write(struct sender *sender, const void *data, size_t len)
{
	struct sending *job;

	if (!sender->writing && begin(sender) != 0)
		return -1;
	job = &sender->batch[sender->count];
	if (sys_write(job->fd, data, len) != 0)
		return queue_fail(&sender->queue, DIR_TMP, job->name.id);
	job->name.length += len;
	if (job->name.unsynced)
		job->name.crc = crc32c(job->name.crc, data, len);
	return 0;
}

static int close_job(const struct sender *sender, struct sending *job)
{
	int fd = job->fd;

	job->fd = -1;
	return fd < 0 || sys_close(fd) == 0 ? 0 : queue_fail(&sender->queue, DIR_TMP, job->name.id);
}

static int close_all(struct sender *sender)
{
	int result = 0;

	for (size_t i = 0; i < sender->count; i++)
		if (close_job(sender, &sender->batch[i]) != 0)
			result = -1;
	return result;
}

/* A long one is synced all the same, in its content: at the claim it could not be checked
 * without keeping other jobs waiting. */
static int sync_long(const struct sender *sender, struct sending *job)
{
	if (!job->name.unsynced || job->name.length <= JOB_UNSYNCED_MAX)
		return 0;
	job->name.unsynced = false;
	return sys_fsync(job->fd) == 0 ? 0 : queue_fail(&sender->queue, DIR_TMP, job->name.id);
}

/* False if some are left. */
static bool unlink_job(struct sender *sender, const struct sending *job)
{
	struct over over;

	if (!job->linked)
		return true;
	if (links_release(&sender->queue, job->name.id, order_of(sender), false, &over) != 0)
		return false;
	(void)!after_let_go(sender->queue.spool, job->name.id, &over);
	return true;
}

/* One that this sender created and did not publish. If its name is left it keeps its links, for the sweep
 * (LINK-FIRST), which finds them by its options. What is told is why it was not published. */
static void forget_one(struct sender *sender, struct sending *job)
{
	struct spool *spool = sender->queue.spool;
	char place[sizeof spool->place];
	int saved = errno;
	bool all = !job->linked;

	memcpy(place, spool->place, sizeof place);
	if (sys_unlink(sender->queue.dir[DIR_TMP], job->name.id) == 0)
		all = unlink_job(sender, job);
	sys_discard(&job->fd);
	if (job->name.meta && all)
		meta_remove(&sender->queue, job->name.id);
	memcpy(spool->place, place, sizeof place);
	errno = saved;
}

/* Its name says so once they are there: options that it found under its id are another's. */
static int write_options(const struct sender *sender, struct sending *job)
{
	bool sync_later =
	    !sender->options.no_sync || (job->name.unsynced && !order_of(sender)->key);

	if (job->meta && meta_write(&sender->queue, job->name.id, job->meta, !sync_later) != 0)
		return -1;
	job->name.meta = job->meta != NULL;
	job->meta = NULL;
	return 0;
}

int send_end(struct sender *sender)
{
	struct sending *job;

	if (!sender->writing && begin(sender) != 0)
		return -1;
	job = &sender->batch[sender->count++];
	sender->writing = false;
	if (sync_long(sender, job) != 0)
		return -1;
	if (write_options(sender, job) != 0) {
		forget_one(sender, &sender->batch[--sender->count]);
		return -1;
	}
	if (order_of(sender)->key || (sender->count <= FEW && !sender->options.no_sync))
		return 0;
	return sender->count == FEW + 1 ? close_all(sender) : close_job(sender, job);
}

/* Its lock is free: a taker's, since there is one at a time, that died. */
static int remove_draft(const struct queue *queue, const char *id)
{
	struct job draft;
	int result = 0;

	switch (job_hold(&draft, queue, JOB_SENDING, id, O_RDWR)) {
	case HOLD_DONE:
		result = sys_unlink(queue->dir[DIR_TMP], id) == 0 ? 0 : job_fail(&draft, id);
		job_release(&draft);
		return result;
	case HOLD_GONE:
		return 0;
	case HOLD_LOCKED:
		errno = EBUSY;
		break;
	case HOLD_STRANGE:
	case HOLD_ERROR:
		break;
	}
	return queue_fail(queue, DIR_TMP, id);
}

int send_clear(struct sender *sender, const char *id)
{
	const struct queue *queue = &sender->queue;

	if (remove_draft(queue, id) != 0)
		return -1;
	if (sys_unlink(queue->dir[DIR_META], id) != 0 && errno != ENOENT)
		return queue_fail(queue, DIR_META, id);
	return 0;
}

size_t send_pending(const struct sender *sender)
{
	return sender->count;
}

/* By an open descriptor, or by another one: Linux reports an error that nobody has seen
 * yet to the first who asks. */
static int sync_payload(const struct queue *queue, const struct sending *job)
{
	int fd = job->fd, result;

	if (fd < 0)
		fd = openat(queue->dir[DIR_TMP], job->name.id, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	result = fd < 0 ? -1 : sys_fsync(fd);
	if (job->fd < 0)
		sys_discard(&fd);
	return result == 0 ? 0 : queue_fail(queue, DIR_TMP, job->name.id);
}

static int sync_each(const struct sender *sender)
{
	const struct queue *queue = &sender->queue;
	bool options = false;

	for (size_t i = 0; i < sender->count; i++) {
		const struct sending *job = &sender->batch[i];

		if (sync_payload(queue, job) != 0)
			return -1;
		if (job->name.meta && meta_sync(queue, job->name.id) != 0)
			return -1;
		options |= job->name.meta;
	}
	if (options && sys_fsync(queue->dir[DIR_META]) != 0)
		return queue_fail(queue, DIR_META, NULL);
	return 0;
}

static int sync_content(const struct sender *sender)
{
	if (sender->options.no_sync)
		return 0;
	if (sender->count <= FEW)
		return sync_each(sender);
	if (sys_syncfs(sender->queue.spool->fd) == 0)
		return 0;
	return errno == ENOSYS ? sync_each(sender)
	                       : spool_fail(sender->queue.spool, NULL, NULL, NULL);
}

static struct link_source draft_of(const struct sender *sender, struct sending *job)
{
	job->linked = true;
	return (struct link_source){
	    &sender->queue, job->name.id, sender->queue.dir[DIR_TMP], job->name.id};
}

/* LINK-FIRST: before its name leaves tmp/ a job has its key and is a member of its batch. */
static int take_key(struct sender *sender, struct sending *job, const char *key)
{
	struct link_source source = draft_of(sender, job);
	int taken = key_take(&source, key, KEY_PATIENCE_MS, &sender->holder);

	if (taken != 0)
		return taken < 0 ? -1 : 0;
	refuse(sender, REFUSED_KEY, key);
	sender->refusal.id = sender->holder.id;
	sender->refusal.queue = sender->holder.queue;
	return -1;
}

static int take_keys(struct sender *sender)
{
	const char *key = order_of(sender)->key;
	int result = 0;

	for (size_t i = 0; key && result == 0 && i < sender->count; i++)
		result = take_key(sender, &sender->batch[i], key);
	return result;
}

static int join(struct sender *sender, struct sending *job, const char *batch)
{
	struct link_source source = draft_of(sender, job);
	int joined = batch_join(&source, batch);

	return joined == 0 ? refuse(sender, REFUSED_SEALED, batch) : joined < 0 ? -1 : 0;
}

static int join_all(struct sender *sender)
{
	const char *batch = order_of(sender)->batch;

	if (!batch)
		return 0;
	for (size_t i = 0; i < sender->count; i++)
		if (join(sender, &sender->batch[i], batch) != 0)
			return -1;
	return batch_sync(sender->queue.spool, batch);
}

/* Where the jobs are to wait, if for anything. */
static int find_wait(struct sender *sender)
{
	const struct strings *after = &order_of(sender)->after;
	struct spool *spool = sender->queue.spool;
	size_t which = 0, at = 0;
	int over;

	if (after_prepare(spool, after, &which) != 0) {
		if (errno == ENOENT && !job_id_ok(after->item[which]))
			return refuse(sender, REFUSED_UNKNOWN, after->item[which]);
		return errno == ECANCELED ? refuse(sender, REFUSED_DELETED, after->item[which])
		                          : -1;
	}
	over = after_next(spool, after, &at, sender->wait_name);
	if (over == AFTER_OVER)
		sender->wait_name[0] = '\0';
	if (over == AFTER_DELETED)
		return refuse(sender, REFUSED_DELETED, after->item[at]);
	return over < 0 ? -1 : 0;
}

/* Unlocked before they are renamed: a worker that wakes must not meet our lock. But who wants the
 * key of a job must know that it is not on disk yet. Syncing the content may take long, and drafts that
 * are linked and not locked, as those of a crowd are, must not lie there meanwhile: a sweep takes them. */
static int prepare(struct sender *sender)
{
	if (take_keys(sender) != 0 || sync_content(sender) != 0 || find_wait(sender) != 0 ||
	    join_all(sender) != 0)
		return -1;
	return order_of(sender)->key ? 0 : close_all(sender);
}

static bool in_tmp(const struct sender *sender, const struct sending *job)
{
	struct stat st;

	return fstatat(sender->queue.dir[DIR_TMP], job->name.id, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What they wait for may be over just now, and then its directory goes once it is empty. */
static int publish_to_wait(const struct sender *sender, const struct sending *job)
{
	struct spool *spool = sender->queue.spool;
	char file[WAITING_NAME_SIZE];
	int result = -1;

	waiting_name_format(&job->name, sender->queue.name, file);
	for (int i = 0; i < WAIT_TRIES && result < 0; i++) {
		int dir = wait_open(spool, sender->wait_name, true);

		if (dir >= 0)
			result = sys_rename(sender->queue.dir[DIR_TMP], job->name.id, dir, file);
		sys_discard(&dir);
		if (result < 0 && (errno != ENOENT || !in_tmp(sender, job)))
			break;
	}
	return result >= 0 ? 0 : wait_fail(spool, sender->wait_name, file);
}

/* With both names it is sent all the same, and the sweep removes that in tmp/. */
static int publish_one(const struct sender *sender, const struct sending *job)
{
	const struct queue *queue = &sender->queue;
	enum queue_dir to = destination(sender, job);
	char file[JOB_NAME_SIZE];

	if (to == DIR_WAIT)
		return publish_to_wait(sender, job);
	job_name_format(&job->name, file);
	if (sys_rename(queue->dir[DIR_TMP], job->name.id, queue->dir[to], file) >= 0)
		return 0;
	return queue_fail(queue, to, file);
}

/* How many were published: all, or with errno those before the first failure. */
static size_t publish(struct sender *sender)
{
	const struct stats_news sent = {.count[COUNT_SENT] = 1, .waited_ms = -1, .ran_ms = -1};
	size_t i = 0;

	stats_keep(&sender->queue, true);
	while (i < sender->count && publish_one(sender, &sender->batch[i]) == 0) {
		stats_add(&sender->queue, &sent);
		sender->reached |= QUEUE_DIR_BIT(destination(sender, &sender->batch[i]));
		i++;
	}
	stats_close(&sender->queue);
	return i;
}

static int settle_dir(const struct sender *sender, enum queue_dir dir)
{
	const struct queue *queue = &sender->queue;

	return sys_fsync(queue->dir[dir]) == 0 ? 0 : queue_fail(queue, dir, NULL);
}

/* Those that are not locked may be let go on already, by a rename that nobody syncs. */
static int settle_waits(const struct sender *sender)
{
	if (links_sync_waits(sender->queue.spool, order_of(sender)) != 0)
		return -1;
	return settle_dir(sender, DIR_DELAY) == 0 ? settle_dir(sender, DIR_NEW) : -1;
}

/* A name that comes back in tmp/ is an earlier one of the same file, and swept. But with links it would be
 * taken for a dead sender's, and the links of a job that is waiting would go (LINK-FIRST). */
static int settle_dirs(const struct sender *sender)
{
	int settled = 0;

	if (sender->options.no_sync)
		return 0;
	if (is_ordered(sender) && settle_dir(sender, DIR_TMP) != 0)
		return -1;
	if (sender->wait_name[0])
		return settle_waits(sender);
	for (enum queue_dir dir = DIR_TMP; settled == 0 && dir < QUEUE_DIRS; dir++)
		if (sender->reached & QUEUE_DIR_BIT(dir))
			settled = settle_dir(sender, dir);
	return settled;
}

/* OVER-FIRST: what they wait for may have ended just before they came. What fails here, the
 * sweep does. */
static void look_again(const struct sender *sender)
{
	int saved = errno;

	if (sender->wait_name[0] && after_look(sender->queue.spool, sender->wait_name) > 0)
		(void)!after_release(sender->queue.spool, sender->wait_name, SIZE_MAX);
	errno = saved;
}

/* Removes the jobs from FIRST on, which were not published. The one that is being written is no part of the batch
 * yet: it begins the next. */
static void forget(struct sender *sender, size_t first)
{
	for (size_t i = first; i < sender->count; i++)
		forget_one(sender, &sender->batch[i]);
	if (sender->writing)
		sender->batch[0] = sender->batch[sender->count];
	sender->count = 0;
}

/* Then those that have a key are unlocked, in any case. */
static int settle(struct sender *sender)
{
	int settled = settle_dirs(sender), error = errno, closed = close_all(sender);

	if (settled != 0)
		errno = error;
	return settled == 0 ? closed : -1;
}

int send_commit(struct sender *sender, send_report *report, void *arg)
{
	size_t published = 0;
	enum send_fate fate = SEND_DURABLE;
	int error = 0;

	if (sender->count == 0)
		return 0;
	sender->reached = 0;
	if (prepare(sender) == 0)
		published = publish(sender);
	if (published < sender->count)
		error = errno;
	if (published > 0 && settle(sender) != 0) {
		error = errno;
		fate = SEND_UNSURE;
	}
	if (published > 0)
		look_again(sender);
	for (size_t i = 0; i < published; i++)
		report(arg, sender->batch[i].name.id, fate);
	forget(sender, published);
	errno = error;
	return error ? -1 : 0;
}

void send_close(struct sender *sender)
{
	int saved = errno;

	if (!sender)
		return;
	if (sender->writing)
		sender->count++;
	sender->writing = false;
	forget(sender, 0);
	queue_close(&sender->queue);
	free(sender->batch);
	free(sender);
	errno = saved;
}
