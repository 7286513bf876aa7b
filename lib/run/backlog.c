#include "run/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Ready ones have at_ms 0, so that one order serves both windows: by time first, then by priority and age. */
static int compare_turns(const struct waiting *a, const struct waiting *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms ? -1 : 1;
	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	return memcmp(a->id, b->id, sizeof a->id);
}

/* Two foreign files of one instant: by name. */
static int compare(const struct waiting *a, const struct waiting *b)
{
	int order = compare_turns(a, b);

	if (order == 0)
		order = strcmp(a->file, b->file);
	return order != 0 ? order : (int)a->state - (int)b->state;
}

/* tree.h compares pointers to what may be changed. */
static int compare_nodes(struct waiting *a, struct waiting *b)
{
	return compare(a, b);
}

#define LOCAL __attribute__((unused)) static
RB_PROTOTYPE_INTERNAL(waiting_tree, waiting, link, compare_nodes, LOCAL)
RB_GENERATE_INTERNAL(waiting_tree, waiting, link, compare_nodes, LOCAL)

void window_init(struct window *window, size_t max)
{
	*window = (struct window){.max = max};
	RB_INIT(&window->tree);
}

void window_clear(struct window *window)
{
	struct waiting *entry, *next;

	RB_FOREACH_SAFE (entry, waiting_tree, &window->tree, next) {
		RB_REMOVE(waiting_tree, &window->tree, entry);
		free(entry);
	}
	window->count = window->ready = 0;
	free(window->fence);
	window->fence = NULL;
}

static void take_out(struct window *window, struct waiting *entry)
{
	RB_REMOVE(waiting_tree, &window->tree, entry);
	window->count--;
	window->ready -= entry->state == JOB_READY;
}

void window_limit(struct window *window, struct waiting *fence)
{
	struct waiting *last;

	if (window->fence && compare(window->fence, fence) <= 0) {
		free(fence);
		return;
	}
	free(window->fence);
	window->fence = fence;
	while ((last = RB_MAX(waiting_tree, &window->tree)) && compare(last, fence) >= 0) {
		take_out(window, last);
		free(last);
	}
}

/* What is behind the fence is not taken in, also when there is room again: those that were left
 * out before it come first. */
void window_put(struct window *window, struct waiting *entry)
{
	if ((window->fence && compare(entry, window->fence) >= 0) ||
	    RB_INSERT(waiting_tree, &window->tree, entry) != NULL) {
		free(entry);
		return;
	}
	window->count++;
	window->ready += entry->state == JOB_READY;
	if (window->count <= window->max)
		return;
	entry = RB_MAX(waiting_tree, &window->tree);
	take_out(window, entry);
	window_limit(window, entry);
}

const struct waiting *window_first(struct window *window)
{
	return RB_MIN(waiting_tree, &window->tree);
}

void window_drop(struct window *window, struct waiting *entry)
{
	struct waiting *found = RB_FIND(waiting_tree, &window->tree, entry);

	if (found)
		take_out(window, found);
	free(found);
}

struct waiting *window_take(struct window *window)
{
	struct waiting *entry = RB_MIN(waiting_tree, &window->tree);

	if (entry)
		take_out(window, entry);
	return entry;
}

struct waiting *waiting_new(const struct waiting *model, const char *file)
{
	size_t size = strlen(file) + 1;
	struct waiting *entry = malloc(sizeof *entry + size);

	if (entry) {
		*entry = *model;
		memcpy(entry->file, file, size);
	}
	return entry;
}

void backlog_init(struct backlog *backlog)
{
	window_init(&backlog->ready, BACKLOG_MAX);
	window_init(&backlog->later, BACKLOG_MAX);
}

void backlog_clear(struct backlog *backlog)
{
	window_clear(&backlog->ready);
	window_clear(&backlog->later);
}

/* Of a long queue most names are left out: they cost no memory. */
static bool is_behind(const struct window *window, const struct waiting *model)
{
	return window->fence && compare_turns(model, window->fence) > 0;
}

int backlog_add(
    struct backlog *backlog, const struct waiting *model, const char *file, int64_t now_ms)
{
	bool ready = model->at_ms <= now_ms;
	struct window *window = ready ? &backlog->ready : &backlog->later;
	struct waiting now = *model, *entry;

	if (ready)
		now.at_ms = 0;
	if (is_behind(window, &now))
		return 0;
	entry = waiting_new(&now, file);
	if (!entry)
		return -1;
	window_put(window, entry);
	return 0;
}

void backlog_promote(struct backlog *backlog, int64_t now_ms)
{
	struct waiting *entry;

	while ((entry = RB_MIN(waiting_tree, &backlog->later.tree)) && entry->at_ms <= now_ms) {
		take_out(&backlog->later, entry);
		entry->at_ms = 0;
		window_put(&backlog->ready, entry);
	}
}

struct waiting *backlog_take(struct backlog *backlog)
{
	return window_take(&backlog->ready);
}

void backlog_postpone(struct backlog *backlog, struct waiting *waiting, int64_t at_ms)
{
	waiting->at_ms = at_ms;
	window_put(&backlog->later, waiting);
}

int64_t backlog_next_ms(struct backlog *backlog)
{
	struct waiting *entry = RB_MIN(waiting_tree, &backlog->later.tree);

	return entry ? entry->at_ms : JOB_DUE_NONE;
}

static bool runs_low(const struct window *window)
{
	return window->fence && window->count <= window->max / BACKLOG_LOW;
}

bool backlog_wants_scan(const struct backlog *backlog)
{
	return runs_low(&backlog->ready) || runs_low(&backlog->later);
}
