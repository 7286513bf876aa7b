/* How a job that a stream gave to this host leaves it unfinished: buried, to the stream of those, with its history; or at rest, back
 * to that of the jobs, when this host is to have none any more. It is held until the stream has it, and only then the message by
 * which it came is acknowledged. */
#ifndef QSPOOL_BIN_RELAY_LEAVE_H
#define QSPOOL_BIN_RELAY_LEAVE_H

#include "held.h"

/* Begins; the answer comes with the tag "b" and the job's id. 0; -1: it stays, and it was told why, if that is no other process that
 * holds it just now. */
int leave_begin(struct held *held, struct wire *wire, struct spool *spool,
    const struct receiver *right, const struct job_place *place);
/* The same of what is not fit to be taken into the spool, for REASON. These three go on until a stream has it; -1 with errno: there is
 * no message of it, and nothing has happened. */
int leave_unfit(struct held *held, struct wire *wire, natsMsg *msg, const struct job_name *name,
    const struct meta *meta, const char *reason);
/* The same of one that goes back to the stream of jobs: it is due now, or this host is to have none. */
int leave_again(struct held *held, struct wire *wire, natsMsg *msg, const struct job_name *name,
    const struct meta *meta);
/* The same of what is no job at all, and goes to the buried ones; its id is its number in the stream. */
int leave_strange(struct held *held, struct wire *wire, natsMsg *msg, const char *reason);
/* True if it went from the spool. */
bool leave_answer(struct held *held, natsMsg *msg);
/* No answer has come for long. */
void leave_tick(struct held *held, struct wire *wire, int64_t now);

#endif
