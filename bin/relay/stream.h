/* The streams and consumers of JetStream in which jobs are, and how they come into being: by whoever needs them first. */
#ifndef QSPOOL_BIN_RELAY_STREAM_H
#define QSPOOL_BIN_RELAY_STREAM_H

#include "message.h"

enum { REPLICAS_USUAL = 3, REPLICAS_MAX = 5 };

/* Makes what is missing of the streams of QUEUE, that of its jobs, kept until each was acknowledged, and that of the buried ones, kept until they
 * are kicked or deleted; in files, by REPLICAS servers: 0 for three, or for one where there is no cluster. 0; -1 with wire_why(), maybe only for now. Waits for the answer. */
/* CREATED, or NULL: when that of its jobs came into being, by which one is known from another one that has its name. */
int stream_ensure(struct wire *wire, const char *queue, int replicas, int64_t *created);
/* The job of the message of that NUMBER is over: it is not to be in the stream any more, whatever consumer gave it out. 0; -1 with
 * wire_why(). Waits for the answer. */
int stream_drop(struct wire *wire, const char *queue, const char *number);

/* The durable consumers of a queue's jobs: of each class; or, to limit what all hosts have at once, one for all of them; and of those
 * that are delayed. */
enum consumer {
	CONSUMER_HIGH,
	CONSUMER_NORMAL,
	CONSUMER_LOW,
	CONSUMER_LIMITED,
	CONSUMER_LATER,
	CONSUMERS
};
extern const char *const consumer_name[CONSUMERS];
/* Which one it is; CONSUMERS: none of ours. */
enum consumer consumer_parse(const char *name);

struct consuming {
	int64_t
	    lease_ms; /* what was not heard of for so long is given to others: of those that are made; then the shortest that one has */
	int limit;    /* 0: as it is; LIMIT_NONE */
	bool limited; /* how it is now */
	unsigned batch;  /* so many may be asked for at once, at most what this was before */
	int64_t wait_ms; /* and waited for so long, likewise */
};
enum { LIMIT_NONE = -1, LIMIT_MAX = 1000000 };
/* Makes the consumers of QUEUE that are missing. Whether they limit is only changed while no host has jobs of the queue.
 * 0 / -1, likewise. */
int consumers_ensure(struct wire *wire, const char *queue, struct consuming *consuming);

/* Adds the names of all queues that have a stream of jobs to LIST, which is the caller's, sorted. 0 / -1. */
int streams_queues(struct wire *wire, struct strings *list);

#endif
