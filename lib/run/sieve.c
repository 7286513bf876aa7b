#include "run/sieve.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "format/room.h"

/* The order of a window in numbers: time, priority and id. They are here and not with the entry, since what a heap
 * compares next is anywhere, and most of this is in the cache. */
enum { KEY_WORDS = 4 };
struct key {
	uint64_t word[KEY_WORDS];
};

struct sifted {
	struct key key;
	struct waiting *entry;
};

void sieve_init(struct sieve *sieve, size_t max)
{
	*sieve = (struct sieve){.max = max};
}

void sieve_release(struct sieve *sieve)
{
	for (size_t i = 0; i < sieve->count; i++)
		free(sieve->item[i].entry);
	free(sieve->item);
	sieve_init(sieve, sieve->max);
}

static struct key key_of(const struct waiting *entry)
{
	unsigned char turn[sizeof(uint64_t) * (KEY_WORDS - 1)] = {entry->priority};
	struct key key = {{(uint64_t)entry->at_ms}};

	_Static_assert(sizeof turn > JOB_ID_LEN, "room for all of it");
	memcpy(turn + 1, entry->id, JOB_ID_LEN);
	memcpy(key.word + 1, turn, sizeof turn);
	for (int i = 1; i < KEY_WORDS; i++)
		key.word[i] = be64toh(key.word[i]);
	return key;
}

static int compare(const struct sifted *a, const struct sifted *b)
{
	for (int i = 0; i < KEY_WORDS; i++)
		if (a->key.word[i] != b->key.word[i])
			return a->key.word[i] < b->key.word[i] ? -1 : 1;
	return 0;
}

/* The last one of all is item 0, and none is before those at 2i+1 and 2i+2. */
static void put_last(struct sieve *sieve, struct sifted new)
{
	size_t at = sieve->count++;

	for (size_t above; at > 0; at = above) {
		above = (at - 1) / 2;
		if (compare(&sieve->item[above], &new) >= 0)
			break;
		sieve->item[at] = sieve->item[above];
	}
	sieve->item[at] = new;
}

static void put_for_top(struct sieve *sieve, struct sifted new)
{
	size_t at = 0;

	for (size_t below; (below = 2 * at + 1) < sieve->count; at = below) {
		if (below + 1 < sieve->count &&
		    compare(&sieve->item[below + 1], &sieve->item[below]) > 0)
			below++;
		if (compare(&new, &sieve->item[below]) >= 0)
			break;
		sieve->item[at] = sieve->item[below];
	}
	sieve->item[at] = new;
}

static int put(struct sieve *sieve, struct sifted new)
{
	struct sifted *item;

	if (sieve->count == sieve->max) {
		free(sieve->item[0].entry);
		put_for_top(sieve, new);
		return 0;
	}
	item = with_room(sieve->item, sieve->count, sizeof *item);
	if (!item)
		return -1;
	sieve->item = item;
	put_last(sieve, new);
	return 0;
}

int sieve_put(struct sieve *sieve, const struct waiting *model, const char *file)
{
	struct sifted new = {.key = key_of(model)};

	if (sieve->count == sieve->max) {
		sieve->left_out = true;
		if (compare(&new, &sieve->item[0]) >= 0)
			return 0;
	}
	new.entry = waiting_new(model, file);
	if (new.entry && put(sieve, new) == 0)
		return 0;
	free(new.entry);
	return -1;
}

static int in_order(const void *a, const void *b)
{
	return compare(a, b);
}

/* In order, a tree is built beside what it was built of last. */
void sieve_pour(struct sieve *sieve, struct window *window)
{
	size_t kept = sieve->count - sieve->left_out;

	if (sieve->count > 0)
		qsort(sieve->item, sieve->count, sizeof *sieve->item, in_order);
	for (size_t i = 0; i < kept; i++)
		window_put(window, sieve->item[i].entry);
	if (sieve->left_out)
		window_limit(window, sieve->item[kept].entry);
	sieve->count = 0;
	sieve_release(sieve);
}
