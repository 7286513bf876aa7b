/* Which job is the first of those that wait for a resource, in the order in which it is given to them. */
#include "run/blocked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "spool/links.h"
#include "spool/wait.h"
#include "sys/clock.h"

enum {
	SETTLED_S = 1,  /* a directory that was changed just now may have changed again */
	YIELD_MS = 500, /* so long nobody else probes before the one whose turn it is */
	RANK_SIZE = 1 + TURN_SIZE,
};

/* Those that are not behind `after` come in the next round: as if they came later, which the window knows. */
static int64_t round_of(const struct blocked *b, unsigned priority, const char *id)
{
	char turn[TURN_SIZE];

	turn_format(priority, id, turn);
	return strcmp(turn, b->after) <= 0;
}

/* A text that sorts as the window does. */
static void rank_format(
    const struct blocked *b, unsigned priority, const char *id, char rank[static RANK_SIZE])
{
	rank[0] = round_of(b, priority, id) == 0 ? '0' : '1';
	turn_format(priority, id, rank + 1);
}

int blocked_put(struct blocked *b, const struct job_place *place)
{
	struct waiting model = {.state = JOB_WAITING,
	    .priority = (unsigned char)place->name.priority,
	    .at_ms = round_of(b, place->name.priority, place->name.id)};
	char file[WAIT_NAME_SIZE + FILE_NAME_SIZE + 1];
	struct waiting *entry;

	memcpy(model.id, place->name.id, sizeof model.id);
	snprintf(file, sizeof file, "%s/%s", place->wait, place->file);
	entry = waiting_new(&model, file);
	if (!entry)
		return -1;
	window_put(&b->window, entry);
	return 0;
}

void blocked_drop(struct blocked *b, struct waiting *entry)
{
	entry->at_ms = round_of(b, entry->priority, entry->id);
	window_drop(&b->window, entry);
}

static struct timespec changed(struct worker *w, const struct blocked *b)
{
	struct stat st = {0};
	int fd = wait_open(w->queue.spool, b->wait_name, false);

	if (fd >= 0 && fstat(fd, &st) != 0)
		st = (struct stat){0};
	sys_discard(&fd);
	return st.st_mtim;
}

struct reading {
	const struct worker *w;
	struct blocked *b;
	char other[RANK_SIZE]; /* the first one of another queue */
};

static int read_name(void *arg, const struct job_place *place)
{
	struct reading *reading = arg;
	char rank[RANK_SIZE];

	if (!place->ours)
		return 0;
	if (strcmp(place->queue, reading->w->queue.name) == 0)
		return blocked_put(reading->b, place);
	rank_format(reading->b, place->name.priority, place->name.id, rank);
	if (!*reading->other || strcmp(rank, reading->other) < 0)
		strcpy(reading->other, rank);
	return 0;
}

static bool is_before_ours(struct blocked *b, const char *other)
{
	const struct waiting *first = window_first(&b->window);
	char rank[RANK_SIZE];

	if (!*other || !first)
		return *other;
	rank_format(b, first->priority, first->id, rank);
	return strcmp(other, rank) < 0;
}

static void read_names(struct worker *w, struct blocked *b)
{
	struct timespec now = {.tv_sec = clock_real_ms() / 1000};
	struct reading reading = {w, b, ""};

	window_clear(&b->window);
	b->read = changed(w, b);
	if (now.tv_sec - b->read.tv_sec <= SETTLED_S)
		b->read = (struct timespec){0};
	if (wait_each(w->queue.spool, b->wait_name, NULL, read_name, &reading) != 0) {
		w->scan_error = errno;
		worker_trouble(w, "what waits for a resource cannot be read", errno);
	}
	b->others_first = is_before_ours(b, reading.other);
	b->unread = false;
}

/* Of those that came since the directory was read, too, some may have been left out. */
static bool may_have_more(const struct blocked *b)
{
	return b->unread || b->window.fence;
}

/* A large directory that did not change is not read each minute, nor is one of which enough is known. */
static bool is_worth_reading(struct worker *w, const struct blocked *b)
{
	struct timespec now;

	if (b->window.count == 0)
		return true;
	if (b->window.fence)
		return false;
	now = changed(w, b);
	return now.tv_sec != b->read.tv_sec || now.tv_nsec != b->read.tv_nsec;
}

void blocked_refresh(struct worker *w, struct blocked *b)
{
	if (is_worth_reading(w, b))
		read_names(w, b);
}

const struct waiting *blocked_first(struct worker *w, struct blocked *b)
{
	if (b->window.count == 0 && may_have_more(b))
		read_names(w, b);
	return window_first(&b->window);
}

bool blocked_is_empty(const struct blocked *b)
{
	return b->window.count == 0 && !may_have_more(b);
}

/* IN-TURN: the order begins behind who probed last while a probe is due, and with the first of all once the breaker
 * is closed. */
int64_t blocked_turn(struct worker *w, struct blocked *b)
{
	char after[TURN_SIZE] = "";
	int64_t since_ms;
	enum breaker_stands stands =
	    resource_look_at_breaker(w->queue.spool, b->wait_name + 1, after, &since_ms);

	if (stands != BREAKER_DUE && stands != BREAKER_CLOSED)
		return 0;
	if (strcmp(b->after, after) != 0) {
		strcpy(b->after, after);
		read_names(w, b);
	}
	return *after && b->others_first ? since_ms + YIELD_MS : 0;
}
