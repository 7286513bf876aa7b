/* In which order names are taken of which only some are kept in mind. */
#include "run/sieve.h"

#include "unit.h"

enum { NAMES = 1000, KEPT = 16, NOW_MS = 1000 };

/* In the order of running. Of each: its place in that order is its payload, so to say. */
struct name {
	char file[JOB_NAME_SIZE];
	bool gone;
	struct waiting model;
};
static struct name names[NAMES];

static void name_job(struct name *name, uint64_t sent_ns, unsigned priority, int64_t at_ms)
{
	*name = (struct name){.model = {.state = at_ms > 0 ? JOB_DELAYED : JOB_READY,
	                          .priority = (unsigned char)priority,
	                          .at_ms = at_ms}};
	job_id_format(sent_ns, sent_ns % 7, name->model.id);
	snprintf(name->file, sizeof name->file, "%02u.%s.0", priority, name->model.id);
}

/* Times of sending that differ in every digit of an id, in three priorities. */
static void make_names(void)
{
	for (unsigned i = 0; i < NAMES; i++)
		name_job(&names[i], UINT64_C(18446744073709551) * (i % 334) + i % 3,
		    i < 334       ? 0
		        : i < 668 ? 50
		                  : 99,
		    0);
}

static bool is(const struct waiting *entry, unsigned at)
{
	return entry && strcmp(entry->file, names[at].file) == 0;
}

/* As a directory is read: in any order. */
static void read_names(struct sieve *sieve)
{
	for (unsigned i = 0; i < NAMES; i++) {
		const struct name *name = &names[(i * 617 + 41) % NAMES];

		if (!name->gone)
			CHECK(sieve_put(sieve, &name->model, name->file) == 0);
	}
}

static void scan(struct window *window, size_t max)
{
	struct sieve sieve;

	sieve_init(&sieve, max);
	window_clear(window);
	read_names(&sieve);
	sieve_pour(&sieve, window);
	sieve_release(&sieve);
}

static void put(struct window *window, unsigned at)
{
	window_put(window, waiting_new(&names[at].model, names[at].file));
}

static void all_are_taken_in_order(void)
{
	struct window window;
	struct waiting *entry;
	unsigned scans = 0, at = 0;

	make_names();
	window_init(&window, KEPT);
	while (at < NAMES && scans++ < NAMES) {
		scan(&window, KEPT);
		for (; (entry = window_take(&window)) != NULL; at++) {
			CHECK(is(entry, at));
			names[at].gone = true;
			free(entry);
		}
	}
	CHECK_INT(at, NAMES);
	CHECK(scans > NAMES / KEPT);
	window_clear(&window);
}

static void few_names_are_kept_all(void)
{
	struct window window;

	make_names();
	for (unsigned i = KEPT; i < NAMES; i++)
		names[i].gone = true;
	window_init(&window, KEPT);
	scan(&window, KEPT);
	CHECK_INT((int64_t)window.count, KEPT);
	CHECK_INT((int64_t)window.ready, KEPT);
	CHECK(!window.fence);
	window_clear(&window);
}

/* WINDOW */
static void none_is_taken_in_behind_one_that_was_left_out(void)
{
	struct window window;
	struct waiting *entry;

	make_names();
	names[3].gone = true;
	window_init(&window, KEPT);
	scan(&window, KEPT);
	for (int i = 0; i < 10; i++)
		free(window_take(&window));
	put(&window, NAMES - 1); /* there is room, but 17, 18... come first */
	put(&window, 3);
	entry = window_take(&window);
	CHECK(is(entry, 3));
	free(entry);
	for (unsigned at = 11; (entry = window_take(&window)) != NULL; at++) {
		CHECK(is(entry, at));
		free(entry);
	}
	CHECK(window.fence != NULL);
	window_clear(&window);
}

/* What came during a scan was put into the window, before it is known what was left out. */
static void what_came_meanwhile_is_behind_what_was_left_out(void)
{
	struct window window;
	struct sieve sieve;
	struct waiting *entry;
	unsigned at = 0;

	make_names();
	names[NAMES - 1].gone = names[5].gone = true;
	window_init(&window, KEPT);
	put(&window, NAMES - 1);
	put(&window, 5);
	put(&window, 6); /* which was read, too */
	sieve_init(&sieve, KEPT / 2);
	read_names(&sieve);
	sieve_pour(&sieve, &window);
	for (; (entry = window_take(&window)) != NULL; at++) {
		CHECK(is(entry, at));
		free(entry);
	}
	CHECK(at >= KEPT / 2);
	window_clear(&window);
}

static void what_came_meanwhile_may_leave_out_more(void)
{
	struct window window;
	struct sieve sieve;
	struct waiting *entry;
	unsigned at = 1;

	make_names();
	window_init(&window, KEPT);
	for (unsigned i = 0; i <= KEPT; i++) {
		put(&window, i);
		names[i].gone = true;
	}
	sieve_init(&sieve, KEPT);
	read_names(&sieve);
	sieve_pour(&sieve, &window);
	free(window_take(&window));
	put(&window, KEPT + 1); /* there is room, but what was left out first comes first */
	for (; (entry = window_take(&window)) != NULL; at++) {
		CHECK(is(entry, at));
		free(entry);
	}
	CHECK_INT(at, KEPT);
	window_clear(&window);
}

static void what_is_due_first_is_kept_of_what_waits_for_its_time(void)
{
	struct window window;
	struct waiting *entry;

	for (unsigned i = 0; i < NAMES; i++)
		name_job(&names[i], NAMES - i, 99 - i % 3, NOW_MS + (int64_t)1000000000 * i);
	window_init(&window, KEPT);
	scan(&window, KEPT);
	for (unsigned at = 0; at < KEPT - 1; at++) {
		entry = window_take(&window);
		CHECK(is(entry, at));
		free(entry);
	}
	CHECK(window.count == 0 && window.fence);
	window_clear(&window);
}

static void more_is_wanted_before_a_window_is_empty(void)
{
	struct backlog backlog;
	struct name name;
	unsigned taken = 0;

	backlog_init(&backlog);
	for (unsigned i = 0; i < BACKLOG_MAX + 1; i++) {
		name_job(&name, i + 1, 50, 0);
		CHECK(backlog_add(&backlog, &name.model, name.file, NOW_MS) == 0);
	}
	for (; !backlog_wants_scan(&backlog); taken++)
		free(backlog_take(&backlog));
	CHECK_INT(taken, BACKLOG_MAX - BACKLOG_MAX / BACKLOG_LOW);
	name_job(&name, BACKLOG_MAX + 2, 0, 0); /* an urgent one */
	CHECK(backlog_add(&backlog, &name.model, name.file, NOW_MS) == 0);
	CHECK_STR(window_first(&backlog.ready)->file, name.file);
	backlog_clear(&backlog);
	CHECK(!backlog_wants_scan(&backlog));
}

int main(void)
{
	return UNIT_RUN(TEST(all_are_taken_in_order), TEST(few_names_are_kept_all),
	    TEST(none_is_taken_in_behind_one_that_was_left_out),
	    TEST(what_came_meanwhile_is_behind_what_was_left_out),
	    TEST(what_came_meanwhile_may_leave_out_more),
	    TEST(what_is_due_first_is_kept_of_what_waits_for_its_time),
	    TEST(more_is_wanted_before_a_window_is_empty));
}
