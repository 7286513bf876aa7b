/* Closing in the background: nothing stays open, however much comes, also without a thread. */
#include "sys/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "sys/clock.h"
#include "unit.h"

enum { MANY = 3 * CLOSER_MAX, PATIENCE_S = 60 };

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int open_some(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static void take(struct closer *closer, int fd)
{
	closer_take(closer, &fd);
	CHECK_INT(fd, -1);
}

static bool closed_in_time(const int *fd, size_t count)
{
	time_t end = time(NULL) + PATIENCE_S;
	bool open = true;

	while (open && time(NULL) < end) {
		open = false;
		for (size_t i = 0; i < count; i++)
			open |= is_open(fd[i]);
		poll(NULL, 0, open);
	}
	return !open;
}

static void closes_what_it_takes(void)
{
	struct closer closer;
	int fd = open_some();

	closer_open(&closer);
	take(&closer, fd);
	take(&closer, -1);
	closer_tick(&closer, 0, true);
	CHECK(closed_in_time(&fd, 1));
	closer_close(&closer);
}

static void one_is_closed_a_little_later(void)
{
	struct closer closer;
	int fd = open_some();
	int64_t now = clock_mono_ms();

	closer_open(&closer);
	CHECK(closer_next(&closer) == INT64_MAX);
	take(&closer, fd);
	CHECK(closer_next(&closer) >= now && closer_next(&closer) <= clock_mono_ms() + 1000);
	closer_tick(&closer, closer_next(&closer) - 1, false);
	CHECK(closer_next(&closer) != INT64_MAX);
	closer_tick(&closer, closer_next(&closer), false);
	CHECK(closer_next(&closer) == INT64_MAX);
	CHECK(closed_in_time(&fd, 1));
	closer_close(&closer);
}

static void many_are_closed_at_once(void)
{
	struct closer closer;
	int fd[CLOSER_MAX];

	closer_open(&closer);
	for (size_t i = 0; i < CLOSER_MAX; i++)
		fd[i] = open_some();
	for (size_t i = 0; i < CLOSER_MAX; i++)
		take(&closer, fd[i]);
	closer_tick(&closer, 0, false);
	CHECK(closer_next(&closer) == INT64_MAX);
	CHECK(closed_in_time(fd, CLOSER_MAX));
	closer_close(&closer);
}

static void take_many(struct closer *closer)
{
	int fd[MANY];

	for (size_t i = 0; i < MANY; i++)
		fd[i] = open_some();
	for (size_t i = 0; i < MANY; i++)
		take(closer, fd[i]);
	closer_close(closer);
	for (size_t i = 0; i < MANY; i++)
		CHECK(!is_open(fd[i]));
}

/* They were never closed by closer_tick(). */
static void its_end_closes_all(void)
{
	struct closer closer;

	closer_open(&closer);
	take_many(&closer);
}

static void closes_without_a_thread(void)
{
	struct closer closer = {.runs = false};

	take_many(&closer);
	closer_tick(&closer, 0, true);
}

static void errno_survives(void)
{
	struct closer closer = {.runs = false};

	errno = EXDEV;
	take(&closer, open_some());
	CHECK_INT(errno, EXDEV);
}

int main(void)
{
	return UNIT_RUN(TEST(closes_what_it_takes), TEST(one_is_closed_a_little_later),
	    TEST(many_are_closed_at_once), TEST(its_end_closes_all), TEST(closes_without_a_thread),
	    TEST(errno_survives));
}
