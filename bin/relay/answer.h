/* What a stream answers to who publishes to it:
 *   {"stream":"S","seq":7}, also with "duplicate":true; or {"error":{"err_code":10054,"description":"..."}} */
#ifndef QSPOOL_BIN_RELAY_ANSWER_H
#define QSPOOL_BIN_RELAY_ANSWER_H

#include "wire.h"

enum answer {
	ANSWER_TAKEN, /* its quorum has it */
	ANSWER_NOT_NOW,
	ANSWER_NOBODY, /* there is no such stream */
	ANSWER_NEVER,  /* it is too long */
};
enum { ANSWER_WHY_SIZE = 256 };
/* But for ANSWER_TAKEN, WHY says why. */
enum answer answer_of(natsMsg *msg, char why[static ANSWER_WHY_SIZE]);

#endif
