/*
 * What others see of a qwork: its title, as setproctitle(3bsd) sets it, and what its service manager is
 * told. Costs no wakeups but for the manager's watchdog and, after a change, one to see what came of it.
 */
#ifndef QSPOOL_RUN_STATUS_H
#define QSPOOL_RUN_STATUS_H

#include "sys/manager.h"

struct pool;

enum phase { PHASE_STARTS, PHASE_READY, PHASE_RELOADS, PHASE_STOPS };

struct status {
	struct manager manager;
	enum phase told;     /* to the manager */
	int64_t alive_at;    /* when to tell it again that we live, or NEVER */
	char text[256];      /* what is shown */
	int64_t quiet_until; /* it is not changed before */
	bool late;           /* it was too early when it was last looked at */
};

void status_open(struct status *s);
/* The pool ends; says so. */
void status_close(struct pool *p);
/* Settings are read again; over with the next status_tick(). */
void status_reloads(struct pool *p);
/* After all else of a round: what is there to see was done. */
void status_tick(struct pool *p, int64_t now);
int64_t status_next(const struct pool *p);

#endif
