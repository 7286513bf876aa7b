/*
 * What crashes leave of keys, batches and dependencies, and what a person's rm ends: the part of the
 * sweep that keeps jobs from waiting for ever. spool-layout.md, "Order among jobs".
 */
#ifndef QSPOOL_SPOOL_ORDER_H
#define QSPOOL_SPOOL_ORDER_H

#include "spool/spool.h"

/* Calls OVER with each NAME below .wait/ whose job or batch is over, for after_release(). Costs a
 * stat for each directory below .wait/. 0 / -1. */
NODISCARD int order_find_over(
    struct spool *spool, void (*over)(void *arg, const char *name), void *arg);
/* Removes links of jobs that are over, so that keys are free and batches complete; batches that were
 * complete a week ago; marks of what was deleted a week ago, once nothing waits; and drafts. Costs a stat
 * for each link. 0 / -1, all of it having been tried. */
NODISCARD int order_sweep(struct spool *spool);

#endif
