/* qrelay buried and qrelay kick: what was buried on any host, looked at and tried again from any. */
#ifndef QSPOOL_BIN_RELAY_BURIED_H
#define QSPOOL_BIN_RELAY_BURIED_H

#include "stream.h"

struct buried {
	struct wire *wire;
	const struct strings *queues; /* none: all */
	int count;                    /* of words: ids, or beginnings of ids */
	char *const *words;
	bool json, payload, all, verbose;
};

/* Exits with EX_USAGE if what is wanted is wrong; before anything is opened. */
void buried_check_show(const struct buried *buried);
void buried_check_kick(const struct buried *buried);
/* Both: a status of sysexits.h. */
int buried_show(const struct buried *buried);
int buried_kick(const struct buried *buried);

#endif
