/*
 * Waiting for jobs to end. Where each of them is, is known from a scan and from what inotify tells since: rule MOTION
 * of spool-layout.md. No lock is taken, and nothing but a batch's seal is changed.
 */
#include "spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/room.h"
#include "format/strings.h"
#include "spool/batch.h"
#include "spool/deletion.h"
#include "spool/wait.h"
#include "sys/clock.h"
#include "sys/notify.h"

enum {
	NOWHERE = JOB_STATES, /* not seen in any state, or what was seen is not true any more */
	NOT_WATCHED,          /* of a watch: none of ours */
	LOOK_AGAIN,           /* of a watch: a new directory in it is to be watched, too */

	RESCAN_MS = 10000,     /* though nothing was told */
	DEAF_RESCAN_MS = 1000, /* without inotify */
	DEAF_MISSES = 3,       /* one scan alone misses a job that moves */
	SOON_MS = 50,
	/* Of the time that a scan takes. */
	SOON_SHARE = 4,
	RESCAN_SHARE = 20,
};

struct awaited {
	char id[JOB_ID_LEN + 1];
	enum await_fate fate;
	unsigned char state; /* where it was seen last; NOWHERE */
	bool moving;         /* it left that place, and came to none that is watched */
	bool seen, touched;  /* by the scan that is made; by events meanwhile */
	unsigned char missed;
};

struct await {
	struct spool *spool;
	struct strings queues; /* of the jobs */
	struct strings batches;
	struct awaited *job; /* sorted once begun */
	size_t count;
	struct await_counts counts;
	size_t moving;
	unsigned char *what; /* by watch descriptor: a state, LOOK_AGAIN or NOT_WATCHED */
	size_t whats;
	/* Monotonic: when the next scan is to be made at the latest, when the last one was. */
	int64_t scan_at, scanned_at, took_ms;
	int fd;          /* inotify, -1: none */
	bool everywhere; /* not known of all jobs of which queue they are: all queues */
	bool begun, changed;
	bool scan_again; /* events were lost, or there is a new directory */
};

struct await *await_open(struct spool *spool)
{
	struct await *await = calloc(1, sizeof *await);

	if (!await)
		return NULL;
	await->spool = spool;
	await->fd = -1;
	return await;
}

void await_close(struct await *await)
{
	if (!await)
		return;
	sys_discard(&await->fd);
	strings_release(&await->queues);
	strings_release(&await->batches);
	free(await->job);
	free(await->what);
	free(await);
}

/* --- what is waited for --- */

static int add_queue(struct await *await, const char *queue)
{
	if (queue ? strings_has(&await->queues, queue) : await->everywhere)
		return 0;
	await->scan_again = await->begun;
	if (queue)
		return strings_add(&await->queues, queue);
	await->everywhere = true;
	return 0;
}

int await_queue(struct await *await, const char *queue)
{
	return add_queue(await, queue);
}

/* At AT, where it belongs, or at the end as long as they are not sorted. */
static struct awaited *insert(struct await *await, size_t at, const char *id)
{
	struct awaited *job = with_room(await->job, await->count, sizeof *job);

	if (!job)
		return NULL;
	await->job = job;
	job += at;
	memmove(job + 1, job, (await->count++ - at) * sizeof *job);
	*job = (struct awaited){.state = NOWHERE};
	memcpy(job->id, id, JOB_ID_LEN);
	return job;
}

static int add_early(struct await *await, const char *queue, const char *id)
{
	return insert(await, await->count, id) ? add_queue(await, queue) : -1;
}

static int add_member(void *await, const char *name, bool regular)
{
	struct link_name link;

	(void)regular;
	return link_name_parse(name, &link) ? add_early(await, link.queue, link.id) : 0;
}

int await_batch(struct await *await, const char *batch)
{
	char label[LABEL_SIZE];
	int open, fd;

	if (label_encode(batch, label) != 0)
		return -1;
	open = batch_seal(await->spool, batch);
	if (open < 0 || strings_add(&await->batches, batch) != 0)
		return -1;
	if (open == 0)
		return 0;
	fd = batch_open_members(await->spool, label);
	if (fd < 0) /* it was completed just now */
		return errno == ENOENT ? 0 : -1;
	return dir_each(fd, EACH_VISIBLE, add_member, await);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct awaited *)a)->id, ((const struct awaited *)b)->id);
}

static void begin(struct await *await)
{
	size_t kept = 0;

	if (await->count > 0)
		qsort(await->job, await->count, sizeof *await->job, by_id);
	for (size_t i = 0; i < await->count; i++)
		if (kept == 0 || strcmp(await->job[kept - 1].id, await->job[i].id) != 0)
			await->job[kept++] = await->job[i];
	await->count = kept;
	await->counts.of[AWAIT_OUTSTANDING] = kept;
	await->begun = await->changed = true;
}

/* The first that is not before ID, once they are sorted. */
static size_t position(const struct await *await, const char *id)
{
	size_t first = 0, end = await->count;

	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (strcmp(await->job[middle].id, id) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

static struct awaited *find_id(const struct await *await, const char *id)
{
	size_t at = position(await, id);

	return at < await->count && strcmp(await->job[at].id, id) == 0 ? &await->job[at] : NULL;
}

/* Whose name it is: that of a job, also of one that waits, or in tmp/ its bare id; or NULL. */
static struct awaited *find(const struct await *await, const char *file)
{
	char queue[QUEUE_NAME_SIZE];
	struct job_name name;

	if (job_name_parse(file, &name) || waiting_name_parse(file, &name, queue))
		file = name.id;
	else if (!job_id_ok(file))
		return NULL;
	return find_id(await, file);
}

/* --- what becomes of it --- */

static void set_fate(struct await *await, struct awaited *job, enum await_fate fate)
{
	if (job->fate == fate)
		return;
	await->counts.of[job->fate]--;
	await->counts.of[fate]++;
	job->fate = fate;
	await->changed = true;
}

static void set_moving(struct await *await, struct awaited *job, bool moving)
{
	await->moving += (size_t)moving - (size_t)job->moving;
	job->moving = moving;
}

static void place(struct await *await, struct awaited *job, enum job_state state)
{
	set_moving(await, job, false);
	job->state = (unsigned char)state;
	set_fate(await, job,
	    state == JOB_DONE         ? AWAIT_FINISHED
	        : state == JOB_BURIED ? AWAIT_BURIED
	                              : AWAIT_OUTSTANDING);
}

/* From where it went tells how: from cur/ by finishing; a draft was never sent. Of one that others wait for a mark
 * tells, too, also if it was deleted before anybody looked. */
static void end(struct await *await, struct awaited *job)
{
	const unsigned deleted =
	    1u << JOB_READY | 1u << JOB_DELAYED | 1u << JOB_BURIED | 1u << JOB_WAITING;

	set_moving(await, job, false);
	if (job->fate == AWAIT_OUTSTANDING || job->fate == AWAIT_BURIED)
		set_fate(await, job,
		    deleted >> job->state & 1 || deletion_is_marked(await->spool, job->id) == 1
		        ? AWAIT_DELETED
		        : AWAIT_FINISHED);
	job->state = NOWHERE;
}

/* Where a rename is a link and an unlink, what comes is told before what goes: then it has another
 * place by now. But among the directories below .wait/ this tells nothing, nor does it while one is not
 * watched yet. */
static void leave(struct await *await, struct awaited *job, enum job_state state, bool deleted)
{
	if (job->state != state)
		return;
	if (deleted && state != JOB_WAITING && !await->scan_again)
		end(await, job);
	else
		set_moving(await, job, true);
}

/* --- events --- */

static int watch(struct await *await, int dir, uint32_t mask, enum job_state what)
{
	int wd = notify_watch(await->fd, dir, mask);

	if (wd < 0)
		return -1;
	if ((size_t)wd >= await->whats) {
		size_t room = 2 * (size_t)wd + 64;
		unsigned char *more = realloc(await->what, room);

		if (!more)
			return -1;
		memset(more + await->whats, NOT_WATCHED, room - await->whats);
		await->what = more;
		await->whats = room;
	}
	await->what[wd] = (unsigned char)what;
	return 0;
}

static int watch_state(struct await *await, int dir, enum job_state state)
{
	return watch(await, dir, IN_MOVED_TO | IN_CREATE | IN_MOVED_FROM | IN_DELETE, state);
}

static int watch_for_dirs(struct await *await, int dir)
{
	return watch(await, dir, IN_MOVED_TO | IN_CREATE, (enum job_state)LOOK_AGAIN);
}

static int watch_queue(struct await *await, const char *name)
{
	struct queue queue;
	int result = queue_open(&queue, await->spool, name, false);

	if (result != 0)
		return errno == ENOENT ? 0 : -1; /* it was removed */
	result = watch_for_dirs(await, queue.fd);
	for (enum queue_dir dir = DIR_TMP; result == 0 && dir < DIR_WAIT; dir++)
		if (queue.dir[dir] >= 0)
			result = watch_state(await, queue.dir[dir], (enum job_state)dir);
	queue_close(&queue);
	return result;
}

static int watch_wait(void *arg, const char *name)
{
	struct await *await = arg;
	int dir = wait_open(await->spool, name, false), result;

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	result = watch_state(await, dir, JOB_WAITING);
	sys_discard(&dir);
	return result;
}

/* What is watched already is not watched twice. */
static int watch_all(struct await *await, const struct strings *queues)
{
	int result, waits;

	if (await->fd < 0) {
		await->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
		await->whats = 0;
	}
	result = await->fd < 0 ? -1 : watch_for_dirs(await, await->spool->fd);
	waits = spool_dir(await->spool, SPOOL_WAIT, false);
	if (result == 0 && waits >= 0)
		result = watch_for_dirs(await, waits);
	for (size_t i = 0; result == 0 && i < queues->count; i++)
		result = watch_queue(await, queues->item[i]);
	if (result == 0)
		result = wait_each_name(await->spool, watch_wait, await);
	return result;
}

static int take_event(void *arg, const struct inotify_event *event)
{
	struct await *await = arg;
	unsigned what = event->wd >= 0 && (size_t)event->wd < await->whats ? await->what[event->wd]
	                                                                   : NOT_WATCHED;
	struct awaited *job = NULL;

	if (event->mask & IN_Q_OVERFLOW) {
		await->scan_again = true;
		for (size_t i = 0; i < await->count; i++)
			await->job[i].state = NOWHERE;
	} else if (event->mask & IN_IGNORED && what != NOT_WATCHED) {
		await->what[event->wd] = NOT_WATCHED;
	} else if (what == LOOK_AGAIN) {
		await->scan_again |= (event->mask & IN_ISDIR) != 0;
	} else if (what < JOB_STATES && event->len > 0) {
		job = find(await, event->name);
	}
	if (!job)
		return 0;
	job->touched = true;
	if (event->mask & (IN_MOVED_TO | IN_CREATE))
		place(await, job, (enum job_state)what);
	else
		leave(await, job, (enum job_state)what, event->mask & IN_DELETE);
	return 0;
}

static void read_events(struct await *await)
{
	if (await->fd >= 0) /* what it fails to tell, the next scan sees */
		(void)!notify_each(await->fd, take_event, await);
}

/* --- what comes late, and what is not waited for any longer --- */

static bool is_draft(struct await *await, const char *queue, const char *id)
{
	struct job_place place = {.state = JOB_SENDING};
	struct stat st;
	bool found;
	int dir;

	snprintf(place.queue, sizeof place.queue, "%s", queue);
	dir = place_opendir(await->spool, &place);
	found = dir >= 0 && fstatat(dir, id, &st, AT_SYMLINK_NOFOLLOW) == 0;
	sys_discard(&dir);
	return found;
}

/* From a draft its way is known by events; where another one is, a scan must find out. Events of an earlier job of its id
 * that were not read yet do no harm: that a draft came is told behind them. */
static int add_late(struct await *await, const char *queue, const char *id)
{
	struct awaited *job;

	if (add_queue(await, queue) != 0)
		return -1;
	if (find_id(await, id))
		return 0;
	job = insert(await, position(await, id), id);
	if (!job)
		return -1;
	await->counts.of[AWAIT_OUTSTANDING]++;
	if (queue && is_draft(await, queue, id))
		job->state = JOB_SENDING;
	else
		await->scan_again = true;
	return 0;
}

int await_job(struct await *await, const char *queue, const char *id)
{
	return await->begun ? add_late(await, queue, id) : add_early(await, queue, id);
}

void await_forget(struct await *await, const char *id)
{
	struct awaited *job;

	if (!await->begun)
		begin(await);
	job = find_id(await, id);
	if (!job)
		return;
	set_moving(await, job, false);
	await->counts.of[job->fate]--;
	await->count--;
	memmove(job, job + 1, (size_t)(await->job + await->count - job) * sizeof *job);
}

/* --- scans --- */

/* Of several names the safest counts (rule TWINS), which comes first. */
static int see(void *arg, const struct job_place *at)
{
	struct await *await = arg;
	struct awaited *job = find(await, at->file);

	if (job && !job->seen) {
		place(await, job, at->state);
		job->seen = true;
		job->missed = 0;
	}
	return 0;
}

static int see_queue(struct await *await, const char *queue)
{
	static const enum job_state order[] = {
	    JOB_READY, JOB_DELAYED, JOB_BURIED, JOB_RUNNING, JOB_DONE, JOB_SENDING};
	int result = 0;

	for (size_t i = 0; result == 0 && i < sizeof order / sizeof *order; i++)
		result = spool_each(await->spool, queue, order[i], see, await);
	return result != 0 && errno != ENOENT ? -1 : 0;
}

static int see_all(struct await *await, const struct strings *queues)
{
	int result = wait_each_job(await->spool, NULL, see, await);

	for (size_t i = 0; result == 0 && i < queues->count; i++)
		result = see_queue(await, queues->item[i]);
	return result;
}

/* What was not seen to leave its place may have ended in another one, unseen: by another machine. */
static void end_missing(struct await *await)
{
	unsigned needed = await->fd >= 0 ? 1 : DEAF_MISSES;

	for (size_t i = 0; i < await->count; i++) {
		struct awaited *job = &await->job[i];

		if (job->seen || job->touched || ++job->missed < needed)
			continue;
		if (!job->moving)
			job->state = NOWHERE;
		end(await, job);
	}
}

/* A large queue is not read all the time. */
static int64_t pause_of(const struct await *await, int64_t took)
{
	int64_t pause = await->fd >= 0 ? RESCAN_MS : DEAF_RESCAN_MS;

	return pause > took * RESCAN_SHARE ? pause : took * RESCAN_SHARE;
}

/* Before anything is watched: what is told while that is done counts as told meanwhile. A job may go on from a
 * directory that was watched already to one that is not watched yet, or came after those were listed, and
 * be seen in neither; then it has not ended, and that directory is still to be watched. */
static void forget_old(struct await *await)
{
	read_events(await);
	await->scan_again = false;
	for (size_t i = 0; i < await->count; i++)
		await->job[i].seen = await->job[i].touched = false;
}

static int scan(struct await *await)
{
	int64_t start = clock_mono_ms();
	struct strings all = {0};
	const struct strings *queues = await->everywhere ? &all : &await->queues;
	int result = await->everywhere ? spool_queues(await->spool, &all) : 0;

	forget_old(await);
	if (result == 0 && watch_all(await, queues) != 0)
		sys_discard(&await->fd); /* too many watches, say */
	read_events(await);
	if (result == 0)
		result = see_all(await, queues);
	read_events(await);
	if (result == 0)
		end_missing(await);
	await->scanned_at = clock_mono_ms();
	await->took_ms = await->scanned_at - start;
	await->scan_at = await->scanned_at + pause_of(await, await->took_ms);
	strings_release(&all);
	return result;
}

/* When an event asks for one. */
static int64_t scan_due(const struct await *await)
{
	int64_t soon = await->scanned_at + SOON_MS + await->took_ms * SOON_SHARE;

	return (await->scan_again || await->moving > 0) && soon < await->scan_at ? soon
	                                                                         : await->scan_at;
}

static int poll_timeout(const struct await *await, int64_t until)
{
	int64_t due = scan_due(await), wait = (due < until ? due : until) - clock_mono_ms();

	return wait <= 0 ? 0 : wait > INT32_MAX ? INT32_MAX : (int)wait;
}

int await_step(struct await *await, int64_t timeout_ms, struct await_counts *counts)
{
	int64_t until = timeout_ms < 0 ? INT64_MAX : clock_mono_ms() + timeout_ms;

	if (!await->begun)
		begin(await);
	for (;;) {
		struct pollfd events = {.events = POLLIN};

		read_events(await);
		if (clock_mono_ms() >= scan_due(await) && scan(await) != 0)
			return -1;
		if (await->changed || clock_mono_ms() >= until)
			break;
		events.fd = await->fd;
		if (poll(&events, 1, poll_timeout(await, until)) < 0 && errno != EINTR)
			return -1;
	}
	await->changed = false;
	*counts = await->counts;
	return await->counts.of[AWAIT_OUTSTANDING] == 0;
}

int await_fd(const struct await *await)
{
	return await->fd;
}

int await_timeout(const struct await *await)
{
	return await->begun ? poll_timeout(await, INT64_MAX) : 0;
}

const char *await_lacking(const struct await *await)
{
	char label[LABEL_SIZE];

	for (size_t i = 0; i < await->batches.count; i++)
		if (label_encode(await->batches.item[i], label) == 0 &&
		    deletion_is_marked(await->spool, label) == 1)
			return await->batches.item[i];
	return NULL;
}

int await_each(const struct await *await,
    int (*visit)(void *arg, const char *id, enum await_fate fate), void *arg)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < await->count; i++)
		result = visit(arg, await->job[i].id, await->job[i].fate);
	return result;
}
