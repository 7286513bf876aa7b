/*
 * Taking all that a job needs, or nothing (rule NO-HOLD-AND-WAIT).
 *
 * First everything is looked at, by descriptors that only read; only if all is there it is taken. Giving
 * back a slot is an event for all who wait for it: if what was taken had to be given back because something
 * else is missing, they would wake each other for ever.
 */
#include "spool/resource.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "spool/links.h"
#include "sys/chance.h"
#include "sys/clock.h"

enum {
	OPEN_FLAGS = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
	SLOT_SIZE = 16,
	FIRST_FD = STDERR_FILENO + 1,
};
#define NO_LIMIT UINT32_MAX
static const char probe_file[] = "probe";

/* One resource of the job while it is taken. */
struct need {
	struct spool *spool;
	const struct job_name *job;
	const struct meta_resource *wanted;
	struct grip_part *part; /* what is taken of it */
	struct lack *lack;      /* what to say if it is missing */
	struct resource resource;
	struct limits limits;
	unsigned limit; /* of jobs at once, or NO_LIMIT */
	int slots;      /* slot/, or -1 */
	unsigned slot;  /* the free one, from 1; 0: none is needed */
	bool probing;
	int state; /* locked, or -1 */
	struct limit_state now;
};

static void slot_name(unsigned slot, char name[static SLOT_SIZE])
{
	snprintf(name, SLOT_SIZE, "%u", slot);
}

static enum take lacks(const struct need *need, int64_t at_ms)
{
	need->lack->at_ms = at_ms;
	return TAKE_LACKS;
}

/* --- looking --- */

/* By a read-only descriptor, which makes no event, and a shared lock, which is in nobody's way who only looks, too (rule SLOT). 1 somebody has it, 0 nobody has, -1
 * with ENOENT if it was never made. */
static int is_held(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | OPEN_FLAGS);
	int held = -1;

	if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0)
		held = 0;
	else if (fd >= 0 && errno == EWOULDBLOCK)
		held = 1;
	sys_discard(&fd);
	return held;
}

static int open_slots(struct need *need)
{
	const struct resource *r = &need->resource;

	need->slots = sys_opendir(r->fd, "slot");
	if (need->slots < 0 && errno == ENOENT &&
	    (sys_mkdir(r->fd, "slot", r->spool->dir_mode) == 0 || errno == EEXIST))
		need->slots = sys_opendir(r->fd, "slot");
	return need->slots >= 0 ? 0 : resource_fail(r, "slot");
}

static bool has_slot(const struct need *need, unsigned slot)
{
	char name[SLOT_SIZE];

	slot_name(slot, name);
	return faccessat(need->slots, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* How many are held, or more than the limit; need->slot is the first that is free. Slots are made one after
 * the other, as they are needed: where there is none, none is behind it. Where the limit was
 * higher before, those beyond it count too. -1 with errno. */
static int count_slots(struct need *need, unsigned *held)
{
	bool beyond = has_slot(need, need->limit + 1);

	*held = need->slot = 0;
	for (unsigned n = 1; *held <= need->limit && (beyond || need->slot == 0); n++) {
		char name[SLOT_SIZE];
		int is;

		slot_name(n, name);
		is = is_held(need->slots, name);
		if (is < 0 && errno != ENOENT)
			return resource_fail(&need->resource, "slot");
		*held += is == 1;
		if (is != 1 && need->slot == 0)
			need->slot = n;
		if (is < 0)
			break;
	}
	return 0;
}

static enum take look_for_slot(struct need *need)
{
	unsigned held;

	if (need->limit == NO_LIMIT)
		return TAKE_DONE;
	if ((need->slots < 0 && open_slots(need) != 0) || count_slots(need, &held) != 0)
		return TAKE_ERROR;
	return held < need->limit && need->slot <= need->limit ? TAKE_DONE
	                                                       : lacks(need, LACK_EVENT);
}

static enum take look_at_breaker(struct need *need, int64_t now_ms)
{
	if (!need->limits.open)
		return TAKE_DONE;
	if (need->limits.until.until_ms == OPEN_FOR_GOOD)
		return lacks(need, LACK_EVENT);
	if (need->limits.until.until_ms > now_ms)
		return lacks(need, need->limits.until.until_ms);
	need->probing = true;
	if (open_slots(need) != 0)
		return TAKE_ERROR;
	return is_held(need->slots, probe_file) == 1 ? lacks(need, LACK_EVENT) : TAKE_DONE;
}

static int64_t wait_for_token(struct need *need, int64_t now_ns)
{
	return rate_take(&need->limits.rate, need->limits.burst, now_ns, &need->now.tat_ns);
}

static enum take check_token(struct need *need)
{
	int64_t wait = wait_for_token(need, (int64_t)clock_real_ns());

	return wait > 0 ? lacks(need, clock_real_ms() + wait / 1000000 + 1) : TAKE_DONE;
}

static enum take look_for_token(struct need *need)
{
	if (!need->limits.has_rate)
		return TAKE_DONE;
	resource_peek_state(&need->resource, &need->now);
	return check_token(need);
}

/* What an operator set counts, or what the job says; the window is for those that are no probe. */
static unsigned limit_of(const struct need *need)
{
	const struct limits *limits = &need->limits;
	unsigned own = need->wanted->jobs;
	unsigned limit = limits->has_jobs ? limits->jobs : own > 0 ? own : NO_LIMIT;

	return limits->window > 0 && !need->probing && limits->window < limit ? limits->window
	                                                                      : limit;
}

static enum take look(struct need *need)
{
	struct resource *r = &need->resource;
	enum take result;

	if (resource_enter(r, need->spool, need->wanted->name, need->wanted->jobs > 0) != 0)
		return TAKE_ERROR;
	if (r->fd < 0)
		return TAKE_DONE;
	if (resource_limits(r, &need->limits) != 0)
		return TAKE_ERROR;
	need->lack->wrong = need->limits.wrong;
	if (need->limits.wrong)
		return lacks(need, LACK_EVENT);
	result = look_at_breaker(need, clock_real_ms());
	need->limit = limit_of(need);
	if (result == TAKE_DONE)
		result = look_for_token(need);
	return result == TAKE_DONE ? look_for_slot(need) : result;
}

/* --- taking --- */

/* Not as 0 to 2, which the handler gets otherwise. */
static int above_standard(int fd)
{
	int higher;

	if (fd < 0 || fd >= FIRST_FD)
		return fd;
	higher = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
	sys_discard(&fd);
	return higher;
}

/* Its name may lead elsewhere since somebody removed it. */
static bool is_in_place(int dir, const char *name, int fd)
{
	struct stat opened;

	return fstat(fd, &opened) == 0 && dir_leads_to(dir, name, &opened);
}

/* By a writable descriptor, whose last close is an event (rule SLOT). */
static enum take lock_file(struct need *need, const char *name, int *fd)
{
	*fd = openat(need->slots, name, O_RDWR | OPEN_FLAGS);
	if (*fd < 0 && errno == ENOENT) {
		*fd = sys_create(need->slots, name, need->resource.spool->file_mode);
		if (*fd < 0 && errno == EEXIST)
			return lacks(need, LACK_EVENT);
	}
	*fd = above_standard(*fd);
	if (*fd < 0) {
		resource_fail(&need->resource, "slot");
		return TAKE_ERROR;
	}
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0 && is_in_place(need->slots, name, *fd))
		return TAKE_DONE;
	sys_discard(fd);
	return lacks(need, LACK_EVENT);
}

/* Where the limit was lowered, another job may have taken a slot within it at the same time. */
static enum take take_slot(struct need *need)
{
	char name[SLOT_SIZE];
	enum take result;
	unsigned held;

	slot_name(need->slot, name);
	result = lock_file(need, name, &need->part->slot);
	if (result != TAKE_DONE || !has_slot(need, need->limit + 1))
		return result;
	if (count_slots(need, &held) != 0)
		return TAKE_ERROR;
	return held <= need->limit ? TAKE_DONE : lacks(need, LACK_EVENT);
}

static enum take take(struct need *need)
{
	enum take result =
	    need->probing ? lock_file(need, probe_file, &need->part->probe) : TAKE_DONE;

	return result == TAKE_DONE && need->slot > 0 ? take_slot(need) : result;
}

/* Under both locks the time is read again: another probe may have come and gone, or somebody has closed it. */
static enum take check_probe(struct need *need)
{
	if (resource_read_open(&need->resource, &need->limits) != 0)
		return TAKE_ERROR;
	if (!need->limits.open) /* and its window is not what was looked at */
		return lacks(need, clock_real_ms());
	if (need->limits.until.until_ms > clock_real_ms())
		return lacks(need, need->limits.until.until_ms);
	need->part->probing = true;
	return TAKE_DONE;
}

/* `state` of those that have a token to give or a time to be written. */
static enum take lock_state(struct need *need)
{
	enum take result = TAKE_DONE;

	if (!need->limits.has_rate && !need->probing)
		return TAKE_DONE;
	need->state = resource_lock(&need->resource, &need->now);
	if (need->state < 0)
		return errno == EAGAIN ? lacks(need, LACK_BUSY) : TAKE_ERROR;
	if (need->probing)
		result = check_probe(need);
	return result == TAKE_DONE && need->limits.has_rate ? check_token(need) : result;
}

/* Always of the same length, so that a reader meets no half. */
static int write_turn(const struct need *need)
{
	char text[TURN_SIZE + 1];

	turn_format(need->job->priority, need->job->id, text);
	strcat(text, "\n");
	if (sys_write(need->part->probe, text, TURN_SIZE) == 0)
		return 0;
	return resource_fail(&need->resource, "slot");
}

/* Nothing is missing any more. PROBE-WRITTEN, IN-TURN. */
static enum take write_down(struct need *need)
{
	struct breaker usual = BREAKER_DEFAULT;
	const struct limits *limits = &need->limits;
	struct breaker_open next;
	char text[LIMIT_SIZE];

	if (limits->has_rate && resource_put_state(&need->resource, need->state, &need->now) != 0)
		return TAKE_ERROR;
	if (!need->probing)
		return TAKE_DONE;
	if (write_turn(need) != 0)
		return TAKE_ERROR;
	next = breaker_next(limits->has_breaker ? &limits->breaker : &usual, &limits->until,
	    clock_real_ms(), chance32());
	breaker_open_format(&next, text);
	if (resource_put(&need->resource, "open", text, false) != 0)
		return TAKE_ERROR;
	need->part->until_ms = next.until_ms;
	need->part->wait_before_ms = limits->until.wait_ms;
	return TAKE_DONE;
}

/* --- all of them --- */

/* Which of them it waits for; the first if it waits for none. */
static size_t waited_for(const struct meta *meta, const char *waits)
{
	char name[WAIT_NAME_SIZE];

	for (size_t i = 0; *waits && i < meta->resources; i++)
		if (resource_wait_name(meta->resource[i].name, name) == 0 &&
		    strcmp(name, waits) == 0)
			return i;
	return 0;
}

/* From FIRST on: a crowd that lacks the one that it waits for stays, whatever else is missing. Otherwise all
 * of it would be renamed to and fro with each of its jobs that starts. */
static enum take look_at_all(struct need *need, size_t count, size_t first, struct lack *lack)
{
	enum take result = TAKE_DONE;

	for (size_t i = 0; result == TAKE_DONE && i < count; i++) {
		lack->resource = (first + i) % count;
		result = look(&need[lack->resource]);
	}
	return result;
}

static enum take take_all(struct need *need, size_t count, size_t first, struct lack *lack)
{
	static enum take (*const steps[])(struct need * need) = {take, lock_state, write_down};
	enum take result = look_at_all(need, count, first, lack);

	for (size_t step = 0; result == TAKE_DONE && step < sizeof steps / sizeof *steps; step++)
		for (size_t i = 0; i < count; i++) {
			lack->resource = i;
			result = steps[step](&need[i]);
			if (result != TAKE_DONE)
				return result;
		}
	return result;
}

static void leave_all(struct need *need, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		sys_discard(&need[i].state);
		sys_discard(&need[i].slots);
		resource_leave(&need[i].resource);
	}
}

static struct need *make_needs(struct spool *spool, const struct job_name *name,
    const struct meta *meta, struct grip *grip, struct lack *lack)
{
	struct need *need = calloc(meta->resources, sizeof *need);

	for (size_t i = 0; i < meta->resources; i++) {
		grip->part[i] = (struct grip_part){.slot = -1, .probe = -1};
		if (!need)
			continue;
		need[i] = (struct need){.resource = {.fd = -1},
		    .spool = spool,
		    .job = name,
		    .wanted = &meta->resource[i],
		    .part = &grip->part[i],
		    .lack = lack,
		    .limit = NO_LIMIT,
		    .slots = -1,
		    .state = -1};
	}
	return need;
}

/* The next time of one breaker may be written already, and another resource's could not be. */
static void give_back(struct spool *spool, const struct meta *meta, struct grip *grip)
{
	char place[sizeof spool->place];
	int saved = errno;

	memcpy(place, spool->place, sizeof place);
	grip_close(grip);
	(void)!resource_not_probed(spool, meta, grip);
	grip_release(grip);
	memcpy(spool->place, place, sizeof place);
	errno = saved;
}

enum take resource_take(struct spool *spool, const struct job_name *name, const struct meta *meta,
    const char *waits, struct grip *grip, struct lack *lack)
{
	enum take result = TAKE_ERROR;
	struct need *need;

	*lack = (struct lack){.at_ms = LACK_EVENT};
	*grip = (struct grip){.part = calloc(meta->resources, sizeof *grip->part)};
	grip->count = grip->part ? meta->resources : 0;
	need = grip->part ? make_needs(spool, name, meta, grip, lack) : NULL;
	if (need) {
		result = take_all(need, grip->count, waited_for(meta, waits), lack);
		leave_all(need, grip->count);
	}
	free(need);
	if (result != TAKE_DONE)
		give_back(spool, meta, grip);
	return result;
}

void grip_close(struct grip *grip)
{
	for (size_t i = 0; grip->part && i < grip->count; i++) {
		sys_discard(&grip->part[i].slot);
		sys_discard(&grip->part[i].probe);
	}
}

void grip_release(struct grip *grip)
{
	int saved = errno;

	grip_close(grip);
	free(grip->part);
	*grip = (struct grip){0};
	errno = saved;
}
