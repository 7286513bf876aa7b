/*
 * One handler or hook at work: starting it, and passing on what a handler says on stderr.
 */
#ifndef QSPOOL_RUN_CHILD_H
#define QSPOOL_RUN_CHILD_H

#include <signal.h>

#include "run/handler.h"
#include "spool/controls.h"
#include "spool/job.h"
#include "spool/log.h"
#include "spool/resource.h"

struct child {
	pid_t pid;  /* also its process group and session; 0 if none */
	int errors; /* our end of the pipe that is its stderr; or -1 */
	bool talks; /* the one before it said something there */
	bool
	    left; /* it was reaped, and nobody has the other end any more, but something may be left there */
	bool silent; /* nothing is: the pipe is kept for the next child */
	char tail[LOG_TAIL_MAX];
	size_t tail_len;
};

/* What a handler that stays has beside its standard streams: persist.h. */
struct stay {
	int lease;
	int id; /* becomes PROC_JOB_FD */
};

/* What a job may take; 0: as much as qwork. */
struct child_limits {
	int64_t data;  /* bytes of private memory that can be written, of each process */
	int64_t cpu_s; /* processor time, of each process: XCPU, and KILL a few seconds later */
	unsigned nice; /* added to qwork's */
	bool no_new_privileges;
	int entrance; /* of the control group into which it goes first; -1: none */
};

/* What all children of a qwork start with. */
struct child_base {
	const sigset_t *signals;    /* the mask, and ... */
	const struct rlimit *files; /* ... the RLIMIT_NOFILE */
	struct strings environment;
	pid_t parent;  /* this process */
	int score_fd;  /* its oom_score_adj; -1: that stays as it is */
	int own_score; /* which it has for itself */
	bool exposed;  /* it has that of its children now */
	int fds;       /* /proc/self/fd; or -1 */
};

struct child_start {
	struct child_base *base;
	const struct handler *handler;
	const struct strings *handler_args; /* of the queue's settings */
	const struct job *job;
	const struct meta *meta;          /* the job's own */
	unsigned attempts;                /* budget, for QJOB_ATTEMPTS */
	const struct strings *accept_env; /* variables that any sender may set; or NULL */
	const struct control_dir *controls;
	const char *control;               /* name in it, for QJOB_CONTROL */
	const struct grip *grip;           /* its slots, which it inherits; or NULL */
	const struct child_limits *limits; /* or NULL */
	int input;                         /* its standard input */
	int output;                        /* its standard output; -1: ours */
	bool keeps_errors;                 /* its stderr is ours, and no pipe to us */
	const struct stay *stay;           /* of one that stays; or NULL */
};

/* Fills all but signals and files. 0 / -1 with ENOMEM; child_base_close() is called then, too. */
NODISCARD int child_base_open(struct child_base *base);
void child_base_close(struct child_base *base);

/* When memory runs out a handler is to go, not this process. A score is inherited, and the child's own file in /proc is dear to open: so this
 * process takes the score of its children while it starts some (child_launch() does), and must get its own one
 * back before it does anything else for long. */
void child_base_shelter(struct child_base *base);

/* Starts the handler in a session of its own, with its stderr on a pipe to us. It
 * is told to end (TERM; KILL if it stays) if this process dies. 0, or -1 with errno: what exec or
 * vfork said, *EXEC telling whether it was exec. */
NODISCARD int child_start(struct child *child, const struct child_start *start, bool *exec);

/* The same of any command line, and of ENV and what is INHERITED, or NULL, for an environment: of START what is about a job does not
 * matter then. CHILD is as after a child that was reaped: its pid is 0, and nobody has the other end of its stderr. */
NODISCARD int child_launch(struct child *child, const struct child_start *start,
    const struct strings *argv, const struct strings *env, const struct strings *inherited,
    bool *exec);

/* Adds to the tail. */
void child_keep(struct child *child, const char *data, size_t len);

/* Passes on what there is on its stderr, and keeps the tail. With LAST, after the child's end, closes the pipe if somebody
 * still has the other end, who gets EPIPE. False if it is known that there is no more. */
bool child_drain(struct child *child, bool last);
/* What of its stderr is to be polled, or -1. */
int child_poll_fd(const struct child *child);
/* What that found when it was reaped: so it is known of all that have ended at once whether something is left. True if polling it
 * once more would tell. */
bool child_last_polled(struct child *child, short revents);

#endif
