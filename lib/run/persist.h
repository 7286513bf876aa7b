/*
 * Handlers that stay (qwork --persist): each is fed one job a line and answers one line a job (format/answer.h).
 *
 * The lease is the same as that of a handler that is started for one job: the open file of the job, which is locked, belongs
 * to the handler, too, as long as it lives. It cannot inherit what is opened later, so each inherits a socket, from
 * which it never reads, and qwork sends the job's descriptor and those of its resources there, after unix(7): what is on
 * its way in a socket is open. When the job has ended, qwork takes them out again at the other end, which it has, too.
 *
 *   stands   what comes                         stands then
 *   RESTS    a job                              WORKS
 *   WORKS    an answer                          RESTS, or ENDS: it has had its number of jobs, is too large, was told to end
 *   WORKS    nonsense                           ENDS, by KILL: its job has failed once it is gone
 *   RESTS    nonsense, other queues' jobs       ENDS: end of file, later TERM, then KILL
 *   any      its end                            it is forgotten; a job that it had has failed
 *
 * One that ends without having been told to is started again after a wait that doubles until one answers.
 */
#ifndef QSPOOL_RUN_PERSIST_H
#define QSPOOL_RUN_PERSIST_H

#include "format/answer.h"
#include "run/worker.h"

enum { PERSIST_FDS = 2 }; /* polled of each: its answers and its standard error */

/* Gives R's job to a handler that rests, or to a new one. 0; -1 with errno as child_start(). */
NODISCARD int persist_start(struct worker *w, struct running *r, bool *exec);
/* Whether a handler of W rests, or may be started. */
bool persist_ready(const struct worker *w);
/* Adds to SET, which has room for PERSIST_FDS for each slot of P, what is to be polled. How many. */
size_t persist_poll(const struct pool *p, struct pollfd *set);
/* Reads what they say. SET is as persist_poll() filled it, and none was started since. */
void persist_read(struct pool *p, const struct pollfd *set, size_t count);
/* PID has ended with STATUS, and is reaped: true if it was one of them. Its job is settled. */
bool persist_ended(struct pool *p, pid_t pid, int status, struct rusage *used);
/* Ends those whose time is up. */
void persist_tick(struct pool *p, int64_t now);
int64_t persist_next(const struct pool *p);
/* At qwork's end: ends all, and waits for it. Each TERM or INT that comes meanwhile brings their TERM, and then KILL,
 * forward. */
void persist_release(struct pool *p);
/* Those of W are to be others from now on: they end when they have no job. */
void persist_renew(struct worker *w);
/* The same if the file of W's handler has changed since this was called last: also if no event says so. */
void persist_look(struct worker *w);
/* W is no more; the jobs of its handlers have ended. */
void persist_dismiss(struct worker *w);

#endif
