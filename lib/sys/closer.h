/*
 * Closes files in the background. The last close of a file that has no name any more gives its blocks back to the file system:
 * on ext4 that is a third of what a job costs that does nothing, and of gigabytes much more. A thread does it, on another
 * processor if there is one, and nothing else. It takes no signal.
 */
#ifndef QSPOOL_SYS_CLOSER_H
#define QSPOOL_SYS_CLOSER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* So many are kept for closing at most, and as many are being closed: the descriptors that it needs. */
enum { CLOSER_MAX = 64, CLOSER_FDS = 2 * CLOSER_MAX };

struct closer {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool runs; /* there is a thread */
	bool ends;
	unsigned count;
	int fd[CLOSER_MAX];
	/* Of the one who gives: how many since the thread was woken, with those that found no room, and when that is to be at the latest. */
	unsigned given;
	int64_t wake_at; /* monotonic ms */
};

/* Without memory, or where no more threads are allowed, closer_take() closes by itself. CLOSER must stay where it is. */
void closer_open(struct closer *closer);
/* *FD is the closer's, and -1 then. Errors of closing are lost: of a file that was written this is no way. errno
 * survives. */
void closer_take(struct closer *closer, int *fd);
/* Wakes the thread if there is enough to do for it, since waking costs as much as some closing; or if the caller has nothing else to do
 * and is IDLE; or if closer_next() is over, a few ms after the first one was taken: monotonic ms, INT64_MAX if there is none. */
void closer_tick(struct closer *closer, int64_t now, bool idle);
int64_t closer_next(const struct closer *closer);
/* All is closed then. */
void closer_close(struct closer *closer);

#endif
