/* What qrelay logs, in the words of qwork's log. */
#ifndef QSPOOL_BIN_RELAY_LOG_H
#define QSPOOL_BIN_RELAY_LOG_H

#include "wire.h"

/* REASON and PLACE may be NULL. */
void relay_note(const char *cause, const char *reason, const char *place);
/* Of a job; QUEUE, CAUSE and REASON may be NULL. */
void relay_log(enum work_outcome outcome, const char *queue, const char *id, const char *cause,
    const char *reason);
/* What has become of the connection; with QUIET not that there is one from the first. */
void relay_tell_news(struct wire *wire, bool quiet);

#endif
