/*
 * A clock that a test sets, for the process into which this is preloaded: the real time is
 * ahead by the ms that the file $FAKE_CLOCK holds as text, read anew at each look. Timers with
 * an absolute real time follow it; one that asks for TFD_TIMER_CANCEL_ON_SET is cancelled when it
 * is set, as timerfd_create(2) says, though a tenth of a second later at most.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_MS = 100 };

static int timer = -1;      /* the one that is to be cancelled */
static int64_t timer_ahead; /* what the clock was ahead when it was set */

static int64_t ahead_ms(void)
{
	const char *path = getenv("FAKE_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char text[32];
	ssize_t len;

	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof text - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return strtoll(text, NULL, 10);
}

static void add_ms(struct timespec *t, int64_t ms)
{
	int64_t ns = t->tv_nsec + ms % 1000 * 1000000;

	t->tv_sec += ms / 1000 + (ns >= 1000000000) - (ns < 0);
	t->tv_nsec = (ns + 1000000000) % 1000000000;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): glibc has reserved ones */

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && clock == CLOCK_REALTIME)
		add_ms(now, ahead_ms());
	return result;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	struct itimerspec at = *new;

	if (flags & TFD_TIMER_CANCEL_ON_SET) {
		timer = fd;
		timer_ahead = ahead_ms();
		add_ms(&at.it_value, -timer_ahead);
		if (at.it_value.tv_sec < 0)
			at.it_value = (struct timespec){.tv_nsec = 1};
	}
	return (int)syscall(SYS_timerfd_settime, fd, flags, &at, old);
}

static int was_set(void)
{
	return timer >= 0 && ahead_ms() != timer_ahead;
}

/* Makes the timer readable. */
static void cancel(void)
{
	const struct itimerspec now = {.it_value.tv_nsec = 1};

	syscall(SYS_timerfd_settime, timer, 0, &now, NULL);
}

int poll(struct pollfd *set, nfds_t count, int timeout)
{
	int (*real)(struct pollfd *, nfds_t, int) =
	    (int (*)(struct pollfd *, nfds_t, int))dlsym(RTLD_NEXT, "poll");
	int left = timeout, result;

	for (;;) {
		int slice = left < 0 || left > SLICE_MS ? SLICE_MS : left;

		if (was_set())
			cancel();
		result = real(set, count, slice);
		if (left > 0)
			left -= slice;
		if (result != 0 || left == 0)
			return result;
	}
}

ssize_t read(int fd, void *data, size_t size)
{
	if (fd == timer && was_set()) {
		timer_ahead = ahead_ms();
		errno = ECANCELED;
		return -1;
	}
	return (ssize_t)syscall(SYS_read, fd, data, size);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
