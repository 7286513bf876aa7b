#include "sys/closer.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/files.h"

enum {
	STACK_SIZE = 256 * 1024,
	ENOUGH = 4,
	LATEST_MS = 20,
};

/* Those that are to be closed are moved to FD: how many; 0 at the end. */
static unsigned next(struct closer *c, int fd[CLOSER_MAX])
{
	unsigned count;

	pthread_mutex_lock(&c->mutex);
	while (c->count == 0 && !c->ends)
		pthread_cond_wait(&c->wake, &c->mutex);
	count = c->count;
	memcpy(fd, c->fd, count * sizeof *fd);
	c->count = 0;
	pthread_mutex_unlock(&c->mutex);
	return count;
}

static void *run(void *closer)
{
	int fd[CLOSER_MAX];
	unsigned count;

	while ((count = next(closer, fd)) > 0)
		while (count > 0)
			sys_discard(&fd[--count]);
	return NULL;
}

/* Its signals are those with which it was made. */
static bool start(struct closer *c)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	bool started;

	if (pthread_attr_init(&attributes) != 0)
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_attr_setstacksize(&attributes, STACK_SIZE) == 0 &&
	    pthread_create(&c->thread, &attributes, run, c) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return started;
}

void closer_open(struct closer *closer)
{
	*closer = (struct closer){.runs = false};
	pthread_mutex_init(&closer->mutex, NULL);
	pthread_cond_init(&closer->wake, NULL);
	closer->runs = start(closer);
}

static void give(struct closer *c, int *fd)
{
	pthread_mutex_lock(&c->mutex);
	if (c->count < CLOSER_MAX) {
		c->fd[c->count++] = *fd;
		*fd = -1;
	}
	pthread_mutex_unlock(&c->mutex);
	if (c->given++ == 0)
		c->wake_at = clock_mono_ms() + LATEST_MS;
}

void closer_take(struct closer *closer, int *fd)
{
	if (closer->runs && *fd >= 0)
		give(closer, fd);
	sys_discard(fd);
}

void closer_tick(struct closer *closer, int64_t now, bool idle)
{
	if (closer->given == 0 || (!idle && closer->given < ENOUGH && now < closer->wake_at))
		return;
	closer->given = 0;
	pthread_cond_signal(&closer->wake);
}

int64_t closer_next(const struct closer *closer)
{
	return closer->given > 0 ? closer->wake_at : INT64_MAX;
}

void closer_close(struct closer *closer)
{
	if (!closer->runs)
		return;
	pthread_mutex_lock(&closer->mutex);
	closer->ends = true;
	pthread_mutex_unlock(&closer->mutex);
	pthread_cond_signal(&closer->wake);
	pthread_join(closer->thread, NULL);
	pthread_cond_destroy(&closer->wake);
	pthread_mutex_destroy(&closer->mutex);
	closer->runs = false;
}
