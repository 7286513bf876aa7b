/* Closing in the background: nothing stays open, however much comes, also without a thread. */
#include "sys/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

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

static void closes_what_it_takes(void)
{
	struct closer closer;
	int fd = open_some();
	time_t end = time(NULL) + PATIENCE_S;

	closer_open(&closer);
	take(&closer, fd);
	take(&closer, -1);
	closer_wake(&closer);
	while (is_open(fd) && time(NULL) < end)
		poll(NULL, 0, 1);
	CHECK(!is_open(fd));
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

/* They were never closed by closer_wake(). */
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
	closer_wake(&closer);
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
	return UNIT_RUN(TEST(closes_what_it_takes), TEST(its_end_closes_all),
	    TEST(closes_without_a_thread), TEST(errno_survives));
}
