/*
 * What became of a job, as if its handler had been run in its sender's place: for qsend --wait.
 */
#ifndef QSPOOL_BIN_RESULT_H
#define QSPOOL_BIN_RESULT_H

#include "cli.h"

/* Waits until the job ID of QUEUE has ended, copies what its handler wrote to its standard output to ours, and
 * returns the status to exit with: 0 if it is finished; of a buried one that of the last attempt's handler, 128 and
 * the signal that ended it, or EX_UNAVAILABLE if that says nothing of a failure; EX_UNAVAILABLE too if it was
 * deleted or not kept. A signal that ends us says first that the job goes on. */
int result_await(struct spool *spool, const char *queue, const char *id);

#endif
