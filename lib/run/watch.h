/*
 * inotify on a queue's directories. An event is a hint and nothing is ever found
 * only by one: watch first, then scan; and scan again after an overflow.
 */
#ifndef QSPOOL_RUN_WATCH_H
#define QSPOOL_RUN_WATCH_H

#include "spool/spool.h"
#include "sys/notify.h"

struct watch {
	int fd;                      /* poll it for reading; -1 if there is none */
	int new_, cur, delay, queue; /* watch descriptors */
};

enum watched {
	WATCHED_NEW,   /* a name came into new/ */
	WATCHED_DELAY, /* a name came into delay/ */
	WATCHED_CUR,   /* the last descriptor of a job in cur/ was closed */
	WATCHED_LEFT,  /* a name left cur/ (only if asked for) */
	WATCHED_QUEUE, /* something came, went or was written in the queue's own directory */
	WATCHED_SCAN,  /* events were lost: scan */
	WATCHED_OTHER, /* what watch_add() was asked for */
	WATCHED_DEAD,  /* a directory was moved or unmounted; removal shows in WATCHED_QUEUE */
};
struct watched_event {
	enum watched what;
	const char *name;
	bool renamed_in;
	int watch;  /* of WATCHED_OTHER, as watch_add() said */
	bool ended; /* of WATCHED_OTHER: the directory is gone, and the watch with it */
};
typedef void watch_event(void *arg, const struct watched_event *event);

/* Starts watching; LEAVING asks for WATCHED_LEFT too, which wakes for each job that
 * others finish. -1 with errno (EMFILE: no instances left): poll instead. */
NODISCARD int watch_open(struct watch *watch, const struct queue *queue, bool leaving);
void watch_close(struct watch *watch);
/* Watches another directory for events of MASK, as WATCHED_OTHER. A watch descriptor, or -1. */
NODISCARD int watch_add(const struct watch *watch, int dir, uint32_t mask);
void watch_remove(const struct watch *watch, int added); /* -1 is fine */
/* Reads all events there are. -1 with errno. */
NODISCARD int watch_read(const struct watch *watch, watch_event *event, void *arg);

#endif
