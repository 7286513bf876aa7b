/*
 * The files in which handlers say more than an exit status: $QJOB_CONTROL, which the
 * handler creates if it has something to say, and qwork reads and removes at its end.
 * What is in them: format/control.h.
 *
 * They are in a directory of the user's own, $TMPDIR/qspool-UID, and in no spool: whoever
 * may write a spool's directories could put a link in the place of a file, and the handler
 * would append to whatever of its user's files that leads to. After a crash a file may be
 * left there, which nobody reads: its name has the attempt and chance in it.
 */
#ifndef QSPOOL_SPOOL_CONTROLS_H
#define QSPOOL_SPOOL_CONTROLS_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#include "format/control.h"
#include "format/name.h"
#include "sys/dir.h"
#include "sys/files.h"

enum { CONTROL_NAME_SIZE = JOB_NAME_SIZE };

struct control_dir {
	int fd;                 /* -1: there is none */
	uint32_t next;          /* in the next name: no two are the same; 0: none was made */
	struct dir_state state; /* as it was last */
	char path[PATH_MAX];
};

/* 0, or -1 with errno: EPERM if others can write it. Its lock keeps others from removing it. */
NODISCARD int control_dir_open(struct control_dir *dir);
/* Opens it anew if it could not be opened, or if somebody who cleans up has removed it. */
NODISCARD int control_dir_renew(struct control_dir *dir);
/* Removes it if nobody else uses it, and nothing is in it that a crash left. 0; -1 with
 * errno if that failed: it is closed all the same. */
NODISCARD int control_dir_close(struct control_dir *dir);

/* Whether a file may have come or gone since the last time this was asked. */
bool control_dir_changed(struct control_dir *dir);

/* A fresh name in the directory for this attempt. */
void control_name(
    struct control_dir *dir, const struct job_name *job, char name[CONTROL_NAME_SIZE]);

/* Parses the file NAME into CONTROL, which must be initialised, and removes it. 1; 0 if there
 * is none; -1 with errno: EINVAL if it is no regular file of one name, EPERM if it is
 * another user's. WRONG as in control_parse(). */
NODISCARD int control_take(const struct control_dir *dir, const char *name, struct control *control,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg);

/* What the handler HANDLER, a process, has said so far: 1, or 0 if that cannot be known. */
int control_peek(pid_t handler, struct control *control);

#endif
