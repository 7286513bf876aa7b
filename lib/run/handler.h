/*
 * What a queue's handler is, and whom qwork trusts: `handler` and `settings` are
 * obeyed only if they belong to root or to qwork's own user and nobody else can
 * write them.
 */
#ifndef QSPOOL_RUN_HANDLER_H
#define QSPOOL_RUN_HANDLER_H

#include "spool/spool.h"

struct handler {
	char *path;           /* of the queue's `handler`, absolute; NULL if a command was given */
	char *const *command; /* the command given, or NULL */
	int fd;               /* what is executed by descriptor; -1: by path */
};

/* Finds the handler anew (it may have been replaced since). 0, or -1: ENOENT if
 * there is none, EPERM if it must not be trusted, EACCES if it cannot be executed;
 * spool_place() names it. handler_release() afterwards in any case. */
NODISCARD int handler_open(
    struct handler *handler, const struct queue *queue, char *const *command);
void handler_release(struct handler *handler);

/* Reads the queue's settings into META (initialised). 0, also if there are none; -1
 * with errno, EPERM if the file is not to be trusted. Wrong lines go to WRONG. */
NODISCARD int settings_load(const struct queue *queue, struct meta *meta,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg);

#endif
