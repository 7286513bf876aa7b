/* qrelay pull: jobs from the stream to the spool, and word of their ends back. */
#ifndef QSPOOL_BIN_RELAY_PULL_H
#define QSPOOL_BIN_RELAY_PULL_H

#include "stream.h"

/* Of a lease, ms. */
enum { LEASE_LEAST_MS = 1000 };

struct pull {
	struct wire *wire;
	const struct strings *queues;
	int replicas;     /* of streams that are made; 0: as stream_ensure() says */
	int limit;        /* of what all hosts have at once; 0: as it is; LIMIT_NONE */
	unsigned room;    /* ready jobs at most; 0: twice the slots of the qworks */
	int64_t lease_ms; /* of consumers that are made */
	int64_t grace_ms;
	bool verbose;
};

/* Until it is told to end. A status of sysexits.h. */
int pull_run(const struct pull *options, struct spool *spool);

#endif
