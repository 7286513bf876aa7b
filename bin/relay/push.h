/* qrelay push: jobs from the spool to the stream. */
#ifndef QSPOOL_BIN_RELAY_PUSH_H
#define QSPOOL_BIN_RELAY_PUSH_H

#include "stream.h"

/* What a stream said when it did not take a job, and when that was told. */
struct refusal {
	char why[256];
	int64_t told_at; /* monotonic ms; 0: never */
	unsigned times;  /* since */
};
enum { REFUSALS = 2 };

struct push {
	struct wire *wire;
	const struct strings *queues;
	int replicas;    /* of a stream that is made; 0: as stream_ensure() says */
	unsigned flight; /* jobs on their way at once */
	bool drain;
	const struct strings *accept_env; /* variables that any sender may set */
	bool verbose;
	char refused[256];
	struct refusal (*refusals)[REFUSALS]; /* of each queue: for now, and that nobody is there */
	bool troubled;                        /* the last answer was one of these: */
	unsigned trials;                      /* so many jobs more may be offered */
	int64_t hold_until;                   /* ... from then on, monotonic ms */
	int status;                           /* of sysexits.h, if it cannot go on */
	bool ready;                           /* all the streams are there */
	unsigned times;                       /* ... on this connection */
	int64_t again_at;                     /* monotonic ms: when to look for the streams again */
	int fd;                               /* the wire's, and a timer's */
	int timer;
};

/* Until it is told to end, or has drained. A status of sysexits.h. */
int push_run(struct push *push, struct spool *spool);

#endif
