/* qrelay stat: what is in the streams, and which hosts have how much of it. */
#ifndef QSPOOL_BIN_RELAY_STAT_H
#define QSPOOL_BIN_RELAY_STAT_H

#include "stream.h"

struct relay_stat {
	struct wire *wire;
	const struct strings *queues; /* none: all */
	bool json;
};

/* A status of sysexits.h. */
int relay_stat(const struct relay_stat *stat);

#endif
