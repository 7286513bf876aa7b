/* What the parts of qrelay pull share: taking jobs in (take.c), what becomes of them (ends.c), and the loop around both (pull.c). */
#ifndef QSPOOL_BIN_RELAY_PULLING_H
#define QSPOOL_BIN_RELAY_PULLING_H

#include "fetch.h"
#include "held.h"
#include "pull.h"

/* A queue, and what is on its way to it. */
struct incoming {
	const char *name;
	struct receiver *right;
	int64_t created; /* its stream */
	struct sender *sender;
	bool idle; /* nobody would run its jobs, as was told */
	struct fetch fetch;
};

struct pulling {
	const struct pull *options;
	struct spool *spool;
	struct wire *wire;
	struct incoming *queue;
	size_t queues;
	struct held_tree held;
	struct await *await;
	int64_t lease_ms; /* the shortest that a consumer gives */
	int64_t told_ms;  /* as it was told, if it is not what was asked for */
	unsigned times;   /* of the wire, when the consumers were there */
	unsigned renewed; /* and when all was renewed */
	bool ready;
	int64_t again_at;   /* when they are looked for at the earliest */
	char why_not[256];  /* they were not to be had, as it was told */
	int64_t tell_at;    /* the same once more */
	int64_t hold_until; /* nothing is asked for */
	const char *
	    displaced; /* a queue that was removed or moved, or a directory of it; nothing is found there any more */
	bool troubled; /* the spool took nothing the last time: one job is tried */
	unsigned told; /* to end */
	bool ending;
	int64_t grace_at;
	int64_t look_at;  /* whether all is in place */
	unsigned leaving; /* jobs that are in the spool still */
	unsigned lacking; /* messages that were looked for in this round */
	int signals;
};

/* The one of that name, or NULL. */
struct incoming *incoming_of(struct pulling *p, const char *name);
/* Tells what the spool did not do, with errno. It is left alone for some seconds. */
void spool_trouble(struct pulling *p, const char *cause);
/* Whether it is known that what is sent comes to the spool, and what is not there is over. */
bool queues_in_place(struct pulling *p);
/* Visits the jobs of all queues, in whatever state; one that moves may be met twice, or not at all. As spool_each(). */
int each_job(struct pulling *p, job_visit *visit);
/* That they are those of which it is known when they came into being. */
bool streams_known(const struct pulling *p);
/* In a stream that took the place of an earlier one a message's number is that of another job. */
bool is_of_another_stream(struct pulling *p, const struct held *held);

/* --- take.c --- */

/* What a consumer sent. True: the message is kept until its job is in the spool. */
bool take_message(struct pulling *p, natsMsg *msg);
/* Looks again at what waits. */
void take_waiting(struct pulling *p, int64_t now);
/* Publishes in the spool what has come. */
void take_commit(struct pulling *p);
/* Holds the jobs that an earlier relay took in. 0 / -1. */
int take_over(struct pulling *p);

/* --- ends.c --- */

/* Looks what became of the jobs that are here, tells the stream, and lets those leave that are to. */
void ends_step(struct pulling *p, int64_t now);
/* Says of all of them that they are in progress, to a server that was connected just now. */
void ends_renew(struct pulling *p, int64_t now);
/* What a stream says of one of them. */
void ends_answer(struct pulling *p, const char *tag, natsMsg *msg);

#endif
