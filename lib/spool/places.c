/* Lists of places: where jobs were seen. */
#include "spool/wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/room.h"

void place_path(const struct job_place *place, char path[static PLACE_PATH_SIZE])
{
	bool waits = place->state == JOB_WAITING;

	snprintf(path, PLACE_PATH_SIZE, "%s/%s/%s",
	    waits ? spool_dir_name[SPOOL_WAIT] : place->queue,
	    waits ? place->wait : queue_dir_name[place->state], place->file);
}

int place_fail(struct spool *spool, const struct job_place *place)
{
	if (place->state == JOB_WAITING)
		return wait_fail(spool, place->wait, place->file);
	return spool_fail(spool, place->queue, queue_dir_name[place->state], place->file);
}

int place_opendir(struct spool *spool, const struct job_place *place)
{
	int queue, dir;

	if (place->state == JOB_WAITING)
		return wait_open(spool, place->wait, false);
	queue = sys_opendir(spool->fd, place->queue);
	dir = queue < 0 ? -1 : sys_opendir(queue, queue_dir_name[place->state]);
	sys_discard(&queue);
	return dir >= 0 ? dir : place_fail(spool, place);
}

int places_add(struct places *places, const struct job_place *place)
{
	struct job_place *item = with_room(places->item, places->count, sizeof *item);

	if (!item)
		return -1;
	places->item = item;
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
