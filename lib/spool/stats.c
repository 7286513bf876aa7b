#include "spool/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spool/job.h"
#include "sys/chance.h"
#include "sys/clock.h"
#include "sys/mapped.h"

enum { DRAFT_SIZE = 24, LOOK_AGAIN_MS = 1000 };

const char stats_name[] = "stats";

static const char *const count_name[COUNTS] = {[COUNT_SENT] = "sent",
    [COUNT_ADOPTED] = "adopted",
    [COUNT_STARTED] = "started",
    [COUNT_FINISHED] = "finished",
    [COUNT_FAILED] = "failed",
    [COUNT_TIMED_OUT] = "timed_out",
    [COUNT_OUT_OF_MEMORY] = "out_of_memory",
    [COUNT_LOST] = "lost",
    [COUNT_DEFERRED] = "deferred",
    [COUNT_RETURNED] = "returned",
    [COUNT_RETRIED] = "retried",
    [COUNT_BURIED] = "buried",
    [COUNT_KICKED] = "kicked",
    [COUNT_DELETED] = "deleted",
    [COUNT_RELAYED] = "relayed"};

/* The file, in memory. */
struct stats {
	struct stats_file *file;
	struct stat st;    /* from when it was opened */
	int64_t looked_at; /* monotonic ms: when it was seen to be the queue's */
	bool writable;
	bool broken; /* it does not bear being accessed */
};

_Static_assert(sizeof(stats_word) == sizeof(uint64_t) && ATOMIC_LLONG_LOCK_FREE == 2,
    "a count is one word that is changed at once");
_Static_assert((int)COUNTS <= (int)STATS_COUNTS, "each count has a word");

const char *stats_count_name(enum stats_count count)
{
	return count_name[count];
}

static int tell(const struct queue *queue)
{
	return spool_fail(queue->spool, queue->name, stats_name, NULL);
}

/* --- counting --- */

static uint64_t load(const stats_word *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(stats_word *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static void add(stats_word *word, uint64_t value)
{
	if (value > 0)
		atomic_fetch_add_explicit(word, value, memory_order_relaxed);
}

static uint64_t current_span(void)
{
	return (uint64_t)clock_real_ms() / STATS_SPAN_MS;
}

/* Of those that count first in SPAN one keeps what was counted before it. */
static void begin_span(struct stats_file *file, uint64_t span)
{
	size_t at = span % STATS_SPANS;
	uint64_t seen = load(&file->span[at]);

	if (seen / 2 == span ||
	    !atomic_compare_exchange_strong(&file->span[at], &seen, 2 * span + 1))
		return;
	atomic_thread_fence(memory_order_release); /* nobody takes for whole what is half copied */
	for (size_t i = 0; i < STATS_WORDS; i++)
		store(&file->then[at][i], load(&file->now[i]));
	atomic_store_explicit(&file->span[at], 2 * span, memory_order_release);
}

static void add_time(stats_word *histogram, int64_t ms)
{
	if (ms >= 0)
		add(&histogram[histogram_bucket(ms)], 1);
}

static void add_news(void *map, void *arg)
{
	struct stats_file *file = map;
	const struct stats_news *news = arg;

	begin_span(file, current_span());
	for (size_t i = 0; i < COUNTS; i++)
		add(&file->now[i], news->count[i]);
	add_time(&file->now[STATS_WAITED], news->waited_ms);
	add_time(&file->now[STATS_RAN], news->ran_ms);
}

/* --- the file --- */

static void look(void *map, void *sound)
{
	const struct stats_file *file = map;

	*(bool *)sound =
	    memcmp(file->magic, STATS_MAGIC, sizeof file->magic) == 0 && file->order == 1;
}

static bool access_to(struct stats *stats, void (*access)(void *map, void *arg), void *arg)
{
	stats->broken |= !mapped_access(stats->file, sizeof *stats->file, access, arg);
	return !stats->broken;
}

static void unmap(struct stats *stats)
{
	mapped_close(stats->file, sizeof *stats->file);
	stats->file = NULL;
}

static int map(struct stats *stats, int fd)
{
	bool sound = false;

	if (fstat(fd, &stats->st) != 0)
		return -1;
	if (stats->st.st_size == sizeof *stats->file) {
		stats->file = mapped_open(fd, sizeof *stats->file, stats->writable);
		if (!stats->file)
			return -1;
		if (access_to(stats, look, &sound) && sound)
			return 0;
		unmap(stats);
	}
	errno = EBADMSG;
	return -1;
}

/* Something else has its name, or who may work here may not write it, or somebody linked it there. */
static bool is_another(int error)
{
	return error == ELOOP || error == EISDIR || error == ENXIO || error == EINVAL ||
	    error == EMLINK || error == EPERM;
}

/* Others may have put anything there, that blocks or that leads elsewhere. */
static int open_file(struct stats *stats, const struct queue *queue, bool writable)
{
	int fd = openat(queue->fd, stats_name,
	    (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int mapped = -1;

	*stats = (struct stats){.writable = writable};
	if (fd >= 0)
		fd = sys_check_plain(queue->fd, fd);
	if (fd >= 0)
		mapped = map(stats, fd);
	sys_discard(&fd);
	if (mapped != 0 && is_another(errno))
		errno = EBADMSG;
	return mapped;
}

static void remove_draft(const struct queue *queue, const char *draft)
{
	int saved = errno;

	(void)!sys_unlink(queue->dir[DIR_TMP], draft); /* else the sweep does */
	errno = saved;
}

/* Written to the last byte and synced: there is no hole in it, and the disk has room for all of it. */
static int make_draft(const struct queue *queue, const char *draft)
{
	struct stats_file file = {
	    .magic = STATS_MAGIC, .order = 1, .since_ms = (uint64_t)clock_real_ms()};
	int fd = sys_create(queue->dir[DIR_TMP], draft, queue->spool->file_mode);

	if (fd < 0)
		return -1;
	sys_overwrite_in_place(fd);
	if (write_and_close(fd, (const char *)&file, sizeof file, true) == 0)
		return 0;
	remove_draft(queue, draft);
	return -1;
}

/* 0, also if somebody else was first. */
static int make_file(const struct queue *queue)
{
	char draft[DRAFT_SIZE];

	snprintf(draft, sizeof draft, "%s-%08x", stats_name, (unsigned)chance32());
	if (make_draft(queue, draft) != 0)
		return -1;
	if (sys_rename(queue->dir[DIR_TMP], draft, queue->fd, stats_name) >= 0)
		return 0;
	remove_draft(queue, draft);
	return errno == EEXIST ? 0 : -1;
}

/* --- at hand --- */

/* Removed, or cut, or another one was put in its place. */
static bool is_outdated(const struct queue *queue)
{
	const struct stats *stats = queue->stats;
	struct stat st;

	return stats->broken || fstatat(queue->fd, stats_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !same_file(&st, &stats->st) || st.st_size != stats->st.st_size;
}

static int open_or_make(struct stats *stats, const struct queue *queue, bool make)
{
	int result = open_file(stats, queue, true);

	if (result != 0 && errno == ENOENT && make && make_file(queue) == 0)
		result = open_file(stats, queue, true);
	return result;
}

void stats_keep(struct queue *queue, bool make)
{
	int64_t now = clock_mono_ms();
	int saved = errno;

	if (queue->stats && !queue->stats->broken && now < queue->stats->looked_at + LOOK_AGAIN_MS)
		return;
	if (queue->stats && !is_outdated(queue)) {
		queue->stats->looked_at = now;
		return;
	}
	stats_close(queue);
	queue->stats = malloc(sizeof *queue->stats);
	if (queue->stats && open_or_make(queue->stats, queue, make) != 0) {
		free(queue->stats);
		queue->stats = NULL;
	}
	if (queue->stats)
		queue->stats->looked_at = now;
	errno = saved;
}

void stats_close(struct queue *queue)
{
	if (queue->stats)
		unmap(queue->stats);
	free(queue->stats);
	queue->stats = NULL;
}

void stats_add(const struct queue *queue, const struct stats_news *news)
{
	struct stats_news copy = *news;
	struct stats once;
	int saved = errno;

	if (queue->stats) {
		access_to(queue->stats, add_news, &copy);
	} else if (open_file(&once, queue, true) == 0) {
		access_to(&once, add_news, &copy);
		unmap(&once);
	}
	errno = saved;
}

/* --- looking --- */

/* For reading: to write and close it would wake who watches the queue. */
int stats_check(const struct queue *queue, bool make)
{
	struct stats once;

	if (open_file(&once, queue, false) == 0) {
		unmap(&once);
		return 0;
	}
	if (errno == ENOENT && (!make || make_file(queue) == 0))
		return 0;
	return tell(queue);
}

/* `then` is what was counted before the last hour. */
struct reading {
	uint64_t since_ms, now[STATS_WORDS], then[STATS_WORDS];
};

/* The first of the last hour's spans of which there is a whole copy, or 0. */
static uint64_t earliest(const struct stats_file *file)
{
	uint64_t last = current_span(), span = last - (STATS_SPANS - 1);

	while (span <= last && load(&file->span[span % STATS_SPANS]) != 2 * span)
		span++;
	return span <= last ? span : 0;
}

static void copy_words(uint64_t *to, const stats_word *from)
{
	for (size_t i = 0; i < STATS_WORDS; i++)
		to[i] = load(&from[i]);
}

/* Without a copy nothing was counted in the last hour. One that is an hour old may be replaced meanwhile. */
static void read_words(void *map, void *arg)
{
	const struct stats_file *file = map;
	struct reading *reading = arg;
	uint64_t span;
	size_t at;

	reading->since_ms = file->since_ms;
	do {
		span = earliest(file);
		at = span % STATS_SPANS;
		atomic_thread_fence(memory_order_acquire);
		copy_words(reading->then, span ? file->then[at] : file->now);
		atomic_thread_fence(memory_order_acquire);
	} while (span && load(&file->span[at]) != 2 * span);
	copy_words(reading->now, file->now);
}

/* Less what was counted before; what somebody has written over may be less than that. */
static void fill_words(uint64_t *to, size_t count, const uint64_t *now, const uint64_t *before)
{
	for (size_t i = 0; i < count; i++)
		to[i] = !before ? now[i] : now[i] > before[i] ? now[i] - before[i] : 0;
}

static void fill(struct stats_period *period, const uint64_t *now, const uint64_t *before)
{
	const uint64_t *waited = before ? before + STATS_WAITED : NULL;
	const uint64_t *ran = before ? before + STATS_RAN : NULL;

	fill_words(period->count, COUNTS, now, before);
	fill_words(period->waited.bucket, HISTOGRAM_BUCKETS, now + STATS_WAITED, waited);
	fill_words(period->ran.bucket, HISTOGRAM_BUCKETS, now + STATS_RAN, ran);
}

static int64_t age_at(int64_t now_ms, int64_t since_ms)
{
	return since_ms < now_ms ? now_ms - since_ms : 0;
}

static void conclude(struct queue_stats *stats, const struct reading *reading)
{
	int64_t now = clock_real_ms();
	int64_t hour = (now / STATS_SPAN_MS - (STATS_SPANS - 1)) * STATS_SPAN_MS;

	stats->since_ms = (int64_t)(reading->since_ms & INT64_MAX);
	stats->all.ms = age_at(now, stats->since_ms);
	stats->late.ms = age_at(now, stats->since_ms > hour ? stats->since_ms : hour);
	fill(&stats->all, reading->now, NULL);
	fill(&stats->late, reading->now, reading->then);
}

static int read_stats(const struct queue *queue, struct queue_stats *stats)
{
	struct reading reading;
	struct stats once;

	if (open_file(&once, queue, false) != 0)
		return tell(queue);
	if (access_to(&once, read_words, &reading))
		conclude(stats, &reading);
	unmap(&once);
	errno = EBADMSG;
	return once.broken ? tell(queue) : 0;
}

int spool_stats(struct spool *spool, const char *name, struct queue_stats *stats)
{
	struct queue queue;
	int result;

	if (queue_open(&queue, spool, name, false) != 0)
		return -1;
	result = read_stats(&queue, stats);
	queue_close(&queue);
	return result;
}
