/* What qwork and its kin log: one line of logfmt for each event, on stderr. See qwork(1). */
#ifndef QSPOOL_BIN_WORKLOG_H
#define QSPOOL_BIN_WORKLOG_H

#include "cli.h"

/* Before anything is written to stderr. */
void worklog_begin(void);
/* What cannot be written is lost. */
void worklog(const struct work_event *event);

/* Says that QUEUE, or NULL: some queue of the spool, is not where it was; the status to exit with. */
int worklog_moved(const struct spool *spool, const char *queue);

#endif
