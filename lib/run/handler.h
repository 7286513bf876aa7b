/*
 * What a queue's handler is, and whom qwork trusts: `handler`, `settings` and hooks are
 * obeyed only if they belong to root or to qwork's own user and nobody else can
 * write them.
 */
#ifndef QSPOOL_RUN_HANDLER_H
#define QSPOOL_RUN_HANDLER_H

#include "spool/spool.h"

struct handler {
	char *
	    path; /* of the queue's `handler` or of a hook, absolute; NULL if a command was given */
	char *const *command; /* the command given, or NULL */
	int fd;               /* what is executed by descriptor; -1: by path */
};

/* Finds the handler anew (it may have been replaced since). 0, or -1: ENOENT if
 * there is none, EPERM if it must not be trusted, EACCES if it cannot be executed;
 * spool_place() names it. handler_release() afterwards in any case. */
NODISCARD int handler_open(
    struct handler *handler, const struct queue *queue, char *const *command);
/* The same of the executable NAME in DIR, whose name in the spool is DIR_NAME. */
NODISCARD int handler_find(
    struct handler *handler, struct spool *spool, int dir, const char *dir_name, const char *name);
void handler_release(struct handler *handler);

/* A malloc'd text of LEN bytes; NULL with errno: ENOENT if there are no settings, EPERM if the file is not to
 * be trusted, EFBIG if it is of more than 64 KiB. */
char *settings_read(const struct queue *queue, size_t *len);

#endif
