/*
 * out/ID: what the handler of a job to be kept wrote to its standard output in its last attempt.
 */
#ifndef QSPOOL_SPOOL_OUTPUT_H
#define QSPOOL_SPOOL_OUTPUT_H

#include "spool/spool.h"

/* Makes it anew for an attempt, empty and open for appending, the caller's to close, and makes sure
 * that the queue has the directory done/, too. What a process of an earlier attempt still writes goes
 * to a file without a name. -1 with errno. A crash leaves a file that belongs to the job. */
NODISCARD int output_create(struct queue *queue, const char *id);
/* Opens done/ and out/ if somebody else made them since the queue was opened. */
void output_find_dirs(struct queue *queue);

#endif
