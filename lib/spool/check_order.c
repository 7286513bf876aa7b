/* A job beside its options: does it hold its key, is it a member of its batch, and waits it where they
 * say? Nothing here is locked: a job that moves meanwhile has another name afterwards. */
#include "spool/check.h"

#include <string.h>

#include "spool/after.h"

static bool is_at_rest(const struct check_file *f)
{
	return f->dir == DIR_NEW || f->dir == DIR_DELAY || f->dir == DIR_WAIT;
}

/* With key-until start, one that was started wants its key no more. */
static bool wants_key(const struct check_file *f, const struct meta *meta)
{
	return is_at_rest(f) && !(meta->key_until_start && f->name.attempts > 0);
}

static void check_key(struct check *c, const struct check_file *f, const struct meta *meta)
{
	bool has = links_has_key(&c->queue, f->name.id, meta->key, &f->st);
	bool aside = f->dir == DIR_BURIED || f->dir == DIR_DONE;

	if (!has && wants_key(f, meta) && check_still(c, f))
		check_tell(c, CHECK_PENDING, "key", f, "does not hold its key; its claim takes it");
	else if (has && aside && check_still(c, f))
		check_tell(c, CHECK_PENDING, "key", f,
		    "still holds its key; whoever wants that next takes it");
}

static void check_member(struct check *c, const struct check_file *f, const struct meta *meta)
{
	bool is = links_has_batch(&c->queue, f->name.id, meta->batch, &f->st);

	if (!is && f->dir != DIR_DONE && check_still(c, f))
		check_tell(c, CHECK_NOTE, "batch", f, "is no member of its batch any more");
	else if (is && f->dir == DIR_DONE && check_still(c, f))
		check_tell(c, CHECK_PENDING, "batch", f,
		    "is over, but its batch waits for it; a sweep lets that go on");
}

/* Whether NAME, a directory below .wait/, is one of those that the options say. */
static bool may_wait_in(const struct meta *meta, const char *name)
{
	char said[WAIT_NAME_SIZE];

	for (size_t i = 0; i < meta->after.count; i++)
		if (after_wait_name(meta->after.item[i], said) == 0 && strcmp(said, name) == 0)
			return true;
	for (size_t i = 0; i < meta->resources; i++)
		if (resource_wait_name(meta->resource[i].name, said) == 0 &&
		    strcmp(said, name) == 0)
			return true;
	return false;
}

static void check_wait(struct check *c, const struct check_file *f, const struct meta *meta)
{
	char name[WAIT_NAME_SIZE];
	size_t len = strcspn(f->file, "/");

	if (len >= sizeof name)
		return;
	memcpy(name, f->file, len);
	name[len] = '\0';
	if ((!meta || !may_wait_in(meta, name)) && check_still(c, f))
		check_tell(c, CHECK_NOTE, "wait", f, "waits for what its options do not name");
}

static void check_mark(struct check *c, const struct check_file *f)
{
	if (links_has_mark(c->spool, f->name.id, &f->st) && check_still(c, f))
		check_tell(c, CHECK_PENDING, "wait", f,
		    "is over, but what waits for it does not know; a qwork tells it");
}

void check_order(struct check *c, const struct check_file *f, const struct meta *meta)
{
	if (meta && meta->key)
		check_key(c, f, meta);
	if (meta && meta->batch)
		check_member(c, f, meta);
	if (f->dir == DIR_WAIT)
		check_wait(c, f, meta);
	if (f->dir == DIR_DONE)
		check_mark(c, f);
}
