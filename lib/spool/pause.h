/*
 * QUEUE/paused: while it is there, no job of the queue is started. One line of RFC 3339 in it
 * says until when; all else means until it is removed. A time that was over when the file
 * was last written says nothing either, so that `touch paused` pauses whatever it finds.
 */
#ifndef QSPOOL_SPOOL_PAUSE_H
#define QSPOOL_SPOOL_PAUSE_H

#include "spool/spool.h"

enum pause_kind {
	PAUSE_NONE,    /* there is no such file */
	PAUSE_OVER,    /* its time has come */
	PAUSE_TIMED,   /* until that time; what follows: until it is removed */
	PAUSE_OPEN,    /* it is empty */
	PAUSE_UNCLEAR, /* it cannot be read, or not be understood */
};

struct pause {
	enum pause_kind kind;
	int64_t until_ms; /* of PAUSE_TIMED, otherwise JOB_DUE_NONE */
};

/* Never blocks, and follows no link. */
struct pause pause_look(const struct queue *queue);
/* Whether jobs must not be started. */
bool pause_holds(const struct pause *pause);
/* Removes a pause that is over, unless somebody is just making a new one. 0, or -1 with errno.
 * A power cut may bring it back, which does no harm. */
NODISCARD int pause_sweep(const struct queue *queue);

#endif
