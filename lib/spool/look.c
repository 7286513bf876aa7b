/* Looking at a spool without changing it: listing, counting, reading. */
#include "spool/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "spool/claim.h"
#include "spool/controls.h"
#include "spool/pause.h"
#include "spool/wait.h"
#include "sys/proc.h"

/* More than a log ever grows to by itself: events have no limit of their own. */
enum { LOG_READ_MAX = 16 << 20 };

struct walk {
	struct job_place place;
	job_visit *visit;
	void *arg;
};

static int visit_name(void *arg, const char *name, bool regular)
{
	struct walk *walk = arg;
	struct job_place *place = &walk->place;

	if (strlen(name) >= sizeof place->file)
		return 0;
	memcpy(place->file, name, strlen(name) + 1);
	place->ours = regular && job_name_parse(name, &place->name);
	return walk->visit(walk->arg, place);
}

static int each_in(const struct queue *queue, enum job_state state, job_visit *visit, void *arg)
{
	struct walk walk = {.place = {.state = state}, .visit = visit, .arg = arg};

	memcpy(walk.place.queue, queue->name, sizeof walk.place.queue);
	return queue_each(queue, (enum queue_dir)state, visit_name, &walk);
}

int spool_each(
    struct spool *spool, const char *name, enum job_state state, job_visit *visit, void *arg)
{
	struct queue queue;
	int result;

	if (state == JOB_WAITING)
		return wait_each_job(spool, name, visit, arg);
	if (queue_open(&queue, spool, name, false) != 0)
		return -1;
	result = each_in(&queue, state, visit, arg);
	queue_close(&queue);
	return result;
}

const char *spool_strange(struct spool *spool, const struct job_place *place)
{
	struct queue queue;
	const char *why;

	if (place->ours || queue_open(&queue, spool, place->queue, false) != 0)
		return NULL;
	why = strange_now(&queue, (enum queue_dir)place->state, place->file);
	if (!why && place->state != JOB_READY)
		why = "not the name of a job";
	queue_close(&queue);
	return why;
}

struct counting {
	const struct queue *queue;
	struct queue_count *count;
};

/* A foreign regular file in new/ is a job that waits, if it may be read and written. */
static bool is_strange(const struct queue *queue, const struct job_place *place)
{
	if (place->ours)
		return (place->state == JOB_DELAYED || place->state == JOB_DONE) &&
		    place->name.due_ms == JOB_DUE_NONE;
	return place->state != JOB_READY || strange_now(queue, DIR_NEW, place->file) != NULL;
}

static void earlier(int64_t *known, int64_t found)
{
	if (*known == JOB_DUE_NONE || found < *known)
		*known = found;
}

static int count_one(void *arg, const struct job_place *place)
{
	const struct counting *counting = arg;
	struct queue_count *count = counting->count;
	size_t *const counters[] = {[JOB_READY] = &count->ready,
	    [JOB_RUNNING] = &count->running,
	    [JOB_DELAYED] = &count->delayed,
	    [JOB_BURIED] = &count->buried,
	    [JOB_DONE] = &count->finished,
	    [JOB_WAITING] = &count->waiting};

	if (is_strange(counting->queue, place)) {
		count->strange++;
		return 0;
	}
	++*counters[place->state];
	if (place->state == JOB_READY && place->ours)
		earlier(&count->oldest_ms, (int64_t)(job_id_sent_ns(place->name.id) / 1000000));
	if (place->state == JOB_DELAYED)
		earlier(&count->next_ms, place->name.due_ms);
	return 0;
}

int spool_count(struct spool *spool, const char *name, struct queue_count *count)
{
	struct queue queue;
	struct counting counting = {&queue, count};
	struct pause pause;
	int result = 0;

	*count = (struct queue_count){
	    .paused_until_ms = JOB_DUE_NONE, .oldest_ms = JOB_DUE_NONE, .next_ms = JOB_DUE_NONE};
	if (queue_open(&queue, spool, name, false) != 0)
		return -1;
	for (enum job_state s = JOB_READY; result == 0 && s <= JOB_DONE; s++)
		result = each_in(&queue, s, count_one, &counting);
	if (result == 0)
		result = wait_each_job(spool, name, count_one, &counting);
	pause = pause_look(&queue);
	count->paused = pause_holds(&pause);
	count->paused_until_ms = pause.until_ms;
	queue_close(&queue);
	return result;
}

int spool_payload(struct spool *spool, const struct job_place *place)
{
	int dir = place_opendir(spool, place);
	struct stat st;
	int fd;

	if (dir < 0)
		return -1;
	fd = openat(dir, place->file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		sys_discard(&fd);
		errno = EINVAL;
	}
	if (fd < 0)
		place_fail(spool, place);
	sys_discard(&dir);
	return fd;
}

int spool_meta(
    struct spool *spool, const struct job_place *place, struct meta *meta, const char **why)
{
	struct queue queue;
	int result;

	*why = NULL;
	if (!place->ours)
		return 0;
	if (queue_open(&queue, spool, place->queue, false) != 0)
		return -1;
	result = job_meta(&queue, &place->name, meta, why);
	queue_close(&queue);
	return result < 0 ? -1 : 0;
}

char *spool_log(struct spool *spool, const struct job_place *place)
{
	struct queue queue;
	struct stat st;
	size_t len;
	char *text;

	if (!place->ours)
		return strdup("");
	if (queue_open(&queue, spool, place->queue, false) != 0)
		return NULL;
	text = read_small(queue.dir[DIR_LOG], place->name.id, LOG_READ_MAX, &len, &st);
	if (!text && errno == ENOENT)
		text = strdup("");
	if (!text && (errno == EINVAL || errno == ELOOP || errno == EFBIG || errno == ENXIO))
		text = strdup("the log is not a readable file\n");
	if (!text)
		queue_fail(&queue, DIR_LOG, place->name.id);
	queue_close(&queue);
	return text;
}

static void fill_progress(struct job_runner *runner)
{
	struct control control;

	_Static_assert(sizeof runner->progress == sizeof control.progress, "the same text");
	control_init(&control);
	if (control_peek(runner->handler, &control))
		memcpy(runner->progress, control.progress, sizeof runner->progress);
	control_release(&control);
}

int spool_runner(struct spool *spool, const struct job_place *place, struct job_runner *runner)
{
	struct proc_holder holder = {0};
	struct stat st;
	int fd = spool_payload(spool, place);
	int result = 0;

	*runner = (struct job_runner){0};
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
		result = errno == EWOULDBLOCK ? 1 : -1;
		if (result == 1 && fstat(fd, &st) == 0)
			proc_holder(&st, place->name.id, &holder);
		runner->worker = holder.locker;
		runner->handler = holder.handler;
		if (holder.handler > 0)
			fill_progress(runner);
	}
	sys_discard(&fd);
	return result;
}
