#include "held.h"

#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"

/* In a lease. */
enum { RENEWALS = 3, REPEATS = 10 };

static int compare(const struct held *a, const struct held *b)
{
	int order = strcmp(a->id, b->id);

	return order != 0 ? order : (a->serial > b->serial) - (a->serial < b->serial);
}

/* tree.h compares pointers to what may be changed. */
static int compare_nodes(struct held *a, struct held *b)
{
	return compare(a, b);
}

#define LOCAL __attribute__((unused)) static
RB_PROTOTYPE_INTERNAL(held_tree, held, link, compare_nodes, LOCAL)
RB_GENERATE_INTERNAL(held_tree, held, link, compare_nodes, LOCAL)

/* The first of that id, and those that follow. */
static struct held *first_of(struct held_tree *tree, const char *id)
{
	struct held key = {.id = ""}, *held;

	snprintf(key.id, sizeof key.id, "%s", id);
	held = RB_NFIND(held_tree, tree, &key);
	return held && strcmp(held->id, key.id) == 0 ? held : NULL;
}

static struct held *next_of(struct held *held)
{
	struct held *next = held_next(held);

	return next && strcmp(next->id, held->id) == 0 ? next : NULL;
}

struct held *held_find(
    struct held_tree *tree, const char *id, const char *queue, const char *number)
{
	struct held *held = first_of(tree, id);

	while (held && (held->queue != queue || strcmp(held->number, number) != 0))
		held = next_of(held);
	return held;
}

struct held *held_here(struct held_tree *tree, const char *id)
{
	struct held *held = first_of(tree, id);

	while (held && held->left)
		held = next_of(held);
	return held;
}

int held_lease(struct held *held, const char *lease)
{
	char *copy = strdup(lease);

	if (!copy)
		return -1;
	free(held->lease);
	held->lease = copy;
	return 0;
}

char *held_change(struct held *held, const char *lease)
{
	char *copy = strdup(lease), *old = held->lease;

	if (!copy)
		return NULL;
	lease_number(lease, held->number);
	held->lease = copy;
	held->at = 0;
	return old;
}

struct held *held_add(struct held_tree *tree, const char *id, const char *queue, const char *lease)
{
	static unsigned serial;
	struct held *held = calloc(1, sizeof *held);

	if (!held || held_lease(held, lease) != 0) {
		free(held);
		return NULL;
	}
	snprintf(held->id, sizeof held->id, "%s", id);
	lease_number(lease, held->number);
	held->queue = queue;
	held->serial = ++serial;
	held->phase = HELD_COMING;
	held->at = clock_mono_ms();
	RB_INSERT(held_tree, tree, held);
	return held;
}

void held_remove(struct held_tree *tree, struct held *held)
{
	RB_REMOVE(held_tree, tree, held);
	spool_let_go(held->hold);
	natsMsg_Destroy(held->msg);
	natsMsg_Destroy(held->out);
	free(held->lease);
	free(held);
}

void held_release(struct held_tree *tree)
{
	struct held *held;

	while ((held = RB_MIN(held_tree, tree)) != NULL)
		held_remove(tree, held);
}

struct held *held_first(struct held_tree *tree)
{
	return RB_MIN(held_tree, tree);
}

struct held *held_next(struct held *held)
{
	return RB_NEXT(held_tree, NULL, held);
}

void held_tag(const struct held *held, char kind, char tag[static HELD_TAG_SIZE])
{
	snprintf(tag, HELD_TAG_SIZE, "%c%s-%u", kind, held->id, held->serial);
}

struct held *held_of_tag(struct held_tree *tree, const char *tag)
{
	char id[JOB_ID_LEN + 1];
	const char *dash = strchr(tag + 1, '-');
	struct held *held;

	if (!dash || dash - tag > (ptrdiff_t)sizeof id)
		return NULL;
	snprintf(id, sizeof id, "%.*s", (int)(dash - tag - 1), tag + 1);
	held = first_of(tree, id);
	while (held && held->serial != strtoul(dash + 1, NULL, 10))
		held = next_of(held);
	return held;
}

void held_ended(struct held *held)
{
	held->phase = HELD_ENDED;
	held->vanished = false;
	held->at = 0;
}

void held_later(struct held *held, int64_t now, int64_t lease_ms)
{
	held->at = now + lease_ms / RENEWALS;
}

void held_without_stream(struct held *held, int64_t now, int64_t lease_ms)
{
	if (held->phase == HELD_ENDED)
		held->phase = HELD_OVER;
	held_later(held, now, lease_ms);
}

void held_tick(struct held *held, struct wire *wire, int64_t now, int64_t lease_ms, bool known)
{
	char tag[HELD_TAG_SIZE];

	if (now < held->at)
		return;
	held_tag(held, 'a', tag);
	if (held->phase == HELD_ENDED && known)
		(void)!wire_say(wire, held->lease, "+ACK", tag);
	else if (held->phase != HELD_OVER)
		(void)!wire_say(wire, held->lease, "+WPI", NULL);
	held->at = now + lease_ms / (held->phase == HELD_ENDED ? REPEATS : RENEWALS);
}

void held_confirmed(struct held *held, int64_t now, int64_t lease_ms)
{
	if (held->phase != HELD_ENDED)
		return;
	held->confirmed++;
	held_later(held, now, lease_ms);
	if (held->confirmed > 1)
		held->phase = HELD_OVER;
}
