/*
 * inotify on the directories of queues, one instance for all of them. An event is a hint and
 * nothing is ever found only by one: watch first, then scan; and scan again after an overflow.
 */
#ifndef QSPOOL_RUN_WATCH_H
#define QSPOOL_RUN_WATCH_H

#include <bsd/sys/tree.h>

#include "spool/spool.h"
#include "sys/notify.h"

struct watched_dir;
RB_HEAD(watched_tree, watched_dir);

struct watch {
	int fd; /* poll it for reading; -1 if there is none */
	struct watched_tree dirs;
};

enum watched {
	WATCHED_NEW,   /* a name came into new/ */
	WATCHED_DELAY, /* a name came into delay/ */
	WATCHED_CUR,   /* the last descriptor of a job in cur/ was closed */
	WATCHED_LEFT,  /* a name left cur/ (only if asked for) */
	WATCHED_QUEUE, /* something came, went or was written in the queue's own directory */
	WATCHED_SCAN,  /* events were lost: scan all */
	WATCHED_OTHER, /* what watch_add() was asked for */
	WATCHED_DEAD,  /* a directory was moved or unmounted; removal shows in WATCHED_QUEUE */
};
struct watched_event {
	enum watched what;
	void *owner; /* as watch_queue() was told; or NULL */
	const char *name;
	bool renamed_in;
	int watch;  /* of WATCHED_OTHER, as watch_add() said */
	bool ended; /* of WATCHED_OTHER: the directory is gone, and the watch with it */
};
typedef void watch_event(void *arg, const struct watched_event *event);

/* -1 with errno (EMFILE: no instances left): poll instead. */
NODISCARD int watch_open(struct watch *watch);
void watch_close(struct watch *watch);
/* Starts watching a queue for OWNER; LEAVING asks for WATCHED_LEFT too, which wakes for each job
 * that others finish. -1 with errno (ENOSPC: no watches left), and then nothing of it is watched. */
NODISCARD int watch_queue(
    struct watch *watch, const struct queue *queue, bool leaving, void *owner);
/* Ends what watch_queue() began: OWNER hears no more. */
void watch_leave(struct watch *watch, const void *owner);
/* Watches a directory in which a queue, or a queue's handler, may come: as WATCHED_QUEUE of nobody, until
 * watch_queue() is told of it. 0 / -1. */
NODISCARD int watch_look(struct watch *watch, int dir);
/* Watches another directory for events of MASK, as WATCHED_OTHER. A watch descriptor, the same for who watches
 * the same directory; or -1. For each watch_add() one watch_remove(). */
NODISCARD int watch_add(struct watch *watch, int dir, uint32_t mask);
void watch_remove(struct watch *watch, int added); /* -1 is fine, and what has ended */
/* Reads all events there are. -1 with errno. */
NODISCARD int watch_read(struct watch *watch, watch_event *event, void *arg);

#endif
