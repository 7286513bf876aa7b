/*
 * Asking the consumers of a queue for jobs, what is urgent first.
 *
 * A sweep asks one consumer after the other for as many as there is room for, without waiting. When none has more, one job of each is asked for, and
 * waited for; the first that comes begins a sweep. What was asked for and has not come is reserved: no more come than there is
 * room for. Jobs that are delayed need no room, since they go back until they are due: for those it always waits.
 */
#ifndef QSPOOL_BIN_RELAY_FETCH_H
#define QSPOOL_BIN_RELAY_FETCH_H

#include "stream.h"

struct request {
	unsigned left; /* jobs that may come still; 0: it is over */
	bool waits;
	unsigned serial;
	int64_t until; /* monotonic ms: no answer comes after that */
};

struct fetch {
	const char *queue;
	unsigned index; /* of the queue, for tags */
	bool
	    limited; /* which consumers there are, and what they take for a request: see stream.h */
	unsigned batch;
	int64_t wait_ms;
	struct request request[CONSUMERS];
	enum consumer sweep; /* which is asked; behind the last one: none */
	unsigned turn;       /* of the consumers, where there is not room for one job of each */
	unsigned serial;
};

/* Before all others, and after another connection: whatever was asked for is void. */
void fetch_reset(struct fetch *fetch, const struct consuming *consuming);
/* Asks for up to ROOM jobs, those that were asked for included. */
void fetch_step(struct fetch *fetch, struct wire *wire, unsigned room, int64_t now);
/* A job of that consumer has come. */
void fetch_came(struct fetch *fetch, enum consumer consumer);
/* Whether TAG is that of a request, and of the queue with which INDEX. */
bool fetch_tag(const char *tag, unsigned *index);
/* What is asked for at once, and waited for, where consumers do not say less. */
enum { FETCH_BATCH = 256, FETCH_WAIT_MS = 10000 };
/* What the end of a request says: NULL, or why nothing comes: the consumer may be gone. Valid as long as MSG. */
const char *fetch_answer(struct fetch *fetch, const char *tag, natsMsg *msg);
/* When fetch_step() is to be called again though nothing comes; monotonic ms. */
int64_t fetch_next(const struct fetch *fetch);

#endif
