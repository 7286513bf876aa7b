/* What the directories say of one id: its job, in one place, and what belongs to it. */
#include "spool/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "format/room.h"
#include "spool/wait.h"

int check_saw(struct check *c, const char *id, unsigned dir, unsigned mark)
{
	struct sightings *seen = &c->seen;
	struct sighting *item = with_room(seen->item, seen->count, sizeof *item);

	if (!item)
		return -1;
	seen->item = item;
	seen->item[seen->count] =
	    (struct sighting){.dir = (unsigned char)dir, .mark = (unsigned char)mark};
	memcpy(seen->item[seen->count++].id, id, JOB_ID_LEN);
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(
	    ((const struct sighting *)a)->id, ((const struct sighting *)b)->id, JOB_ID_LEN);
}

/* --- what has no job --- */

static void tell_orphan(struct check *c, const char *id, enum queue_dir dir)
{
	struct check_file f = {.dir = dir, .file = id};

	if (fstatat(c->queue.dir[dir], id, &f.st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	memcpy(f.name.id, id, JOB_ID_LEN);
	check_tell(c, CHECK_PENDING, "orphan", &f, "its job is no more; the sweep removes it");
}

/* --- one id, seen in several places, or with several names --- */

struct named {
	struct check_file f;
	char *file;
};

struct suspects {
	struct check *check;
	enum queue_dir dir; /* being read */
	size_t ids;         /* the first of check->seen are the suspects */
	struct named *item;
	size_t count;
};

static int add_named(struct suspects *s, const struct check_file *f)
{
	struct named *item = with_room(s->item, s->count, sizeof *item), *named;

	if (!item)
		return -1;
	s->item = item;
	named = &item[s->count];
	named->f = *f;
	named->file = strdup(f->file);
	if (!named->file)
		return -1;
	named->f.file = named->file;
	s->count++;
	return 0;
}

static int visit(void *arg, const char *file, bool regular)
{
	struct suspects *s = arg;
	struct check_file f = {.dir = s->dir, .file = file};
	const struct sighting *known;
	struct sighting key = {0};

	(void)regular;
	check_parse(&f);
	if (!f.name.id[0])
		return 0;
	memcpy(key.id, f.name.id, JOB_ID_LEN);
	known = bsearch(&key, s->check->seen.item, s->ids, sizeof key, by_id);
	if (!known || fstatat(s->check->queue.dir[s->dir], file, &f.st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(f.st.st_mode))
		return 0;
	if (known->mark != SEEN_LINKED)
		return add_named(s, &f);
	if (check_has_more_names(s->check, &f))
		check_tell(
		    s->check, CHECK_NOTE, "links", &f, "has more names elsewhere, as of a backup");
	return 0;
}

static int visit_waiting(void *arg, const struct job_place *place)
{
	char path[PLACE_PATH_SIZE];

	snprintf(path, sizeof path, "%s/%s", place->wait, place->file);
	return visit(arg, path, true);
}

static int each_in(struct suspects *s)
{
	if (s->dir == DIR_WAIT)
		return wait_each_job(s->check->spool, s->check->queue.name, visit_waiting, s);
	return queue_each(&s->check->queue, s->dir, visit, s);
}

static bool are_one(const struct named *a, const struct named *b)
{
	return same_file(&a->f.st, &b->f.st);
}

static int by_time(const struct timespec *a, const struct timespec *b)
{
	if (a->tv_sec != b->tv_sec)
		return a->tv_sec < b->tv_sec ? -1 : 1;
	return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

/* By id; the older file first, since a copy was written later; the safest name of it first. */
static int by_age(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->f.name.id, y->f.name.id);

	if (order == 0 && !are_one(x, y)) {
		order = by_time(&x->f.st.st_mtim, &y->f.st.st_mtim);
		if (order == 0)
			order = by_time(&x->f.st.st_ctim, &y->f.st.st_ctim);
		return order != 0 ? order : (x->f.st.st_ino < y->f.st.st_ino ? -1 : 1);
	}
	return order != 0 ? order
	                  : twins_order((enum job_state)x->f.dir, check_base(x->file),
	                        (enum job_state)y->f.dir, check_base(y->file));
}

static int open_held(const struct check *c, const struct named *named, bool *held)
{
	int fd = openat(c->queue.dir[named->f.dir], named->file,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	*held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
	return fd;
}

/* Both at one instant: nobody renames what we have locked. If somebody else has, at worst it
 * was in motion, and what is told is no fault. */
static void tell_twins(struct check *c, const struct named *first, const struct named *other)
{
	char reason[PLACE_PATH_SIZE + 64], kept[PLACE_PATH_SIZE];
	bool held, both;
	int fd = open_held(c, first, &held);

	both = check_still(c, &first->f) && check_still(c, &other->f);
	sys_discard(&fd);
	check_path(first->f.dir, first->file, kept);
	snprintf(reason, sizeof reason, "is the same file as %s, which is kept", kept);
	if (both)
		check_mendable(c, CHECK_PENDING, "twins", &other->f, reason,
		    other->f.dir == DIR_TMP ? NULL : mend_twins);
}

/* Two files never take turns at one id, so having seen both is enough. A running one is
 * not touched: then the other is set aside. */
static void tell_double(struct check *c, const struct named *first, const struct named *other)
{
	char reason[PLACE_PATH_SIZE + 64], older[PLACE_PATH_SIZE];
	bool held;
	int fd = open_held(c, other, &held);

	sys_discard(&fd);
	if (held) {
		const struct named *swap = first;

		first = other;
		other = swap;
	}
	check_path(first->f.dir, first->file, older);
	snprintf(reason, sizeof reason, "has the id of %s", older);
	if (check_still(c, &first->f) && check_still(c, &other->f))
		check_mendable(c, CHECK_FAULT, "double", &other->f, reason, mend_set_aside);
}

static void check_unmarked(struct check *c, const struct named *named)
{
	struct stat st;

	if (named->f.ours && !named->f.name.meta &&
	    fstatat(c->queue.dir[DIR_META], named->f.name.id, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    check_still(c, &named->f))
		check_mendable(c, CHECK_FAULT, "options", &named->f,
		    "has options, but its name does not say so", mend_options);
}

/* Of each file, LEADER is its safest name; FIRST is that of the oldest. What is only in tmp/ is
 * no job, and nobody reads it. */
static void compare(struct suspects *s)
{
	const struct named *first = NULL, *leader = NULL;

	if (s->count > 1)
		qsort(s->item, s->count, sizeof *s->item, by_age);
	for (size_t i = 0; i < s->count; i++) {
		const struct named *named = &s->item[i];

		if (leader && strcmp(leader->f.name.id, named->f.name.id) != 0)
			first = leader = NULL;
		if (leader && are_one(leader, named)) {
			tell_twins(s->check, leader, named);
			continue;
		}
		leader = named;
		if (named->f.dir == DIR_TMP)
			continue;
		check_unmarked(s->check, named);
		if (first)
			tell_double(s->check, first, named);
		else
			first = named;
	}
}

static int look_again(struct check *c, size_t ids)
{
	struct suspects s = {.check = c, .ids = ids};
	int result = 0;

	for (s.dir = DIR_TMP; result == 0 && s.dir <= DIR_WAIT; s.dir++)
		if (c->queue.dir[s.dir] >= 0)
			result = each_in(&s);
	if (result == 0)
		compare(&s);
	for (size_t i = 0; i < s.count; i++)
		free(s.item[i].file);
	free(s.item);
	return result;
}

/* --- all ids --- */

/* Judges the COUNT sightings of one id. *SUSPECT is 0 if they are in order, else the marks of
 * what is to be looked at again. 0, or -1 with ENOMEM. */
static int judge(
    struct check *c, const struct sighting *item, size_t count, bool whole, unsigned *suspect)
{
	size_t names = 0;
	bool meta = false, alive = false, job = false;
	unsigned mark = 0;

	for (size_t i = 0; i < count; i++) {
		alive |= item[i].dir <= DIR_WAIT || item[i].dir == SEEN_MOVING;
		meta |= item[i].dir == DIR_META;
		names += item[i].dir <= DIR_WAIT;
		job |= item[i].dir <= DIR_WAIT && item[i].dir != DIR_TMP;
		mark |= item[i].mark;
	}
	for (size_t i = 0; whole && !alive && i < count; i++) {
		char id[JOB_ID_LEN + 1] = "";

		memcpy(id, item[i].id, JOB_ID_LEN);
		tell_orphan(c, id, (enum queue_dir)item[i].dir);
	}
	c->totals->jobs += job; /* once, also if it was seen in two places */
	if (!meta)
		mark &= ~(unsigned)SEEN_UNMARKED;
	*suspect = names > 1 ? mark | SEEN_SEVERAL : mark;
	return names > 0 ? check_owns(c, item->id) : 0;
}

int check_ids(struct check *c, bool whole)
{
	struct sighting *item = c->seen.item;
	size_t suspects = 0, next;

	if (c->seen.count > 1)
		qsort(item, c->seen.count, sizeof *item, by_id);
	for (size_t i = 0; i < c->seen.count; i = next) {
		unsigned mark;

		for (next = i + 1; next < c->seen.count && by_id(&item[i], &item[next]) == 0;)
			next++;
		if (judge(c, &item[i], next - i, whole, &mark) != 0)
			return -1;
		if (mark != 0) {
			item[suspects] = item[i];
			item[suspects++].mark = (unsigned char)mark;
		}
	}
	return suspects > 0 ? look_again(c, suspects) : 0;
}
