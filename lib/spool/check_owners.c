/* One id in several queues: a job was copied, and its two would answer to one name. */
#include "spool/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/room.h"

int check_owns(struct check *c, const char *id)
{
	struct owners *owners = &c->owners;
	struct owner *item = with_room(owners->item, owners->count, sizeof *item);

	if (!item)
		return -1;
	owners->item = item;
	memcpy(owners->item[owners->count++].id, id, JOB_ID_LEN);
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct owner *)a)->id, ((const struct owner *)b)->id, JOB_ID_LEN);
}

/* Leaves those ids that are in several queues, once each. */
static void keep_shared(struct owners *owners)
{
	size_t kept = 0, next;

	if (owners->count > 1)
		qsort(owners->item, owners->count, sizeof *owners->item, by_id);
	for (size_t i = 0; i < owners->count; i = next) {
		for (next = i + 1;
		     next < owners->count && by_id(&owners->item[i], &owners->item[next]) == 0;)
			next++;
		if (next - i > 1)
			owners->item[kept++] = owners->item[i];
	}
	owners->count = kept;
}

struct shared {
	const struct owners *owners;
	struct places places;
};

static int collect(void *arg, const struct job_place *place)
{
	struct shared *shared = arg;
	struct owner key;

	if (!place->ours)
		return 0;
	memcpy(key.id, place->name.id, JOB_ID_LEN);
	if (!bsearch(&key, shared->owners->item, shared->owners->count, sizeof key, by_id))
		return 0;
	return places_add(&shared->places, place);
}

static int collect_all(struct check *c, struct shared *shared)
{
	for (size_t i = 0; i < c->queues.count; i++)
		for (enum job_state s = JOB_READY; s < JOB_STATES; s++)
			if (spool_each(c->spool, c->queues.item[i], s, collect, shared) != 0 &&
			    errno == ENOMEM)
				return -1;
	return 0;
}

static bool is_there(struct spool *spool, const struct job_place *place, struct stat *st)
{
	int dir = place_opendir(spool, place);
	bool is = dir >= 0 && fstatat(dir, place->file, st, AT_SYMLINK_NOFOLLOW) == 0;

	sys_discard(&dir);
	return is;
}

/* FIRST is looked at twice: a person may just move it from one queue to the other. */
static void tell_shared(
    struct check *c, const struct job_place *first, const struct job_place *other)
{
	struct check_file f = {
	    .dir = (enum queue_dir)other->state, .ours = true, .name = other->name};
	char file[PLACE_PATH_SIZE], path[PLACE_PATH_SIZE], reason[PLACE_PATH_SIZE + 64];
	struct stat st;

	if (queue_open(&c->queue, c->spool, other->queue, false) != 0)
		return;
	check_open_waits(c);
	snprintf(file, sizeof file, "%s%s%s", other->wait, *other->wait ? "/" : "", other->file);
	f.file = file;
	place_path(first, path);
	snprintf(reason, sizeof reason, "has the id of %s", path);
	if (is_there(c->spool, first, &st) && is_there(c->spool, other, &f.st) &&
	    is_there(c->spool, first, &st))
		check_mendable(c, CHECK_FAULT, "double", &f, reason, mend_set_aside);
	queue_close(&c->queue);
}

int check_owners(struct check *c)
{
	struct shared shared = {.owners = &c->owners};
	const struct job_place *first = NULL;
	int result;

	keep_shared(&c->owners);
	if (c->owners.count == 0)
		return 0;
	result = collect_all(c, &shared);
	places_sort(&shared.places);
	for (size_t i = 0; result == 0 && i < shared.places.count; i++) {
		const struct job_place *place = &shared.places.item[i];

		if (!first || strcmp(first->name.id, place->name.id) != 0)
			first = place;
		else if (strcmp(first->queue, place->queue) != 0)
			tell_shared(c, first, place);
	}
	places_release(&shared.places);
	return result;
}
