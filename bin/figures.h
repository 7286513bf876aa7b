/* The statistics of a queue, for people and as JSON: for qstat --stats. */
#ifndef QSPOOL_BIN_FIGURES_H
#define QSPOOL_BIN_FIGURES_H

#include "cli.h"

/* Each prints those of QUEUE, or with NULL that there are none. */
void figures_table(const char *queue, const struct queue_stats *stats);
void figures_json(const char *queue, const struct queue_stats *stats);

#endif
