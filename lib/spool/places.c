/* Lists of places: where jobs were seen. */
#include "qspool.h"

#include <stdlib.h>
#include <string.h>

int places_add(struct places *places, const struct job_place *place)
{
	if (places->count == places->room) {
		size_t room = places->room ? 2 * places->room : 64;
		struct job_place *item = reallocarray(places->item, room, sizeof *item);

		if (!item)
			return -1;
		places->item = item;
		places->room = room;
	}
	places->item[places->count++] = *place;
	return 0;
}

void places_release(struct places *places)
{
	free(places->item);
	*places = (struct places){0};
}

static int older(const void *a, const void *b)
{
	const struct job_place *x = a, *y = b;

	if (x->ours != y->ours)
		return x->ours ? -1 : 1;
	return x->ours ? strcmp(x->name.id, y->name.id) : strcmp(x->file, y->file);
}

void places_sort(struct places *places)
{
	if (places->count > 1)
		qsort(places->item, places->count, sizeof *places->item, older);
}
