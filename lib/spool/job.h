/*
 * A held job: its file open and locked. Holding it is what gives the right to
 * rename or unlink its name (spool-layout.md, rule LOCK), and the process that
 * runs it has the same lock through its standard input.
 *
 * And the one table of transitions, with the one function that makes them.
 */
#ifndef QSPOOL_SPOOL_JOB_H
#define QSPOOL_SPOOL_JOB_H

#include <sys/stat.h>

#include "spool/spool.h"

/* What ended with a job, so that what waits for it may go on: names below .wait/. */
struct over {
	bool id, batch;
	char batch_name[WAIT_NAME_SIZE];
};

struct job {
	const struct queue *queue; /* must outlive the job */
	enum job_state state;
	int wait;                       /* of JOB_WAITING: the directory, open; otherwise -1 */
	char wait_name[WAIT_NAME_SIZE]; /* its name below .wait/ */
	char file[FILE_NAME_SIZE];      /* its name in that directory */
	bool ours;                      /* file parses, and `name` is what it says */
	struct job_name name;
	int fd;           /* open and locked; -1 if not held */
	struct stat st;   /* from when it was held */
	bool nameless;    /* no name leads to it any more, so that nobody can meet its lock */
	bool both;        /* a move failed, but left it under the new name, too */
	int left;         /* errno if what belongs to it outlives it, which was to be removed */
	struct over over; /* since it was finished, deleted or kept; its caller lets them go on */
	/* For the statistics, until the next move: */
	int64_t took_ms; /* of T_CLAIM: it has waited; else: its attempt ran so long; -1: unknown */
	enum stats_count failure; /* of what kind, of an attempt that failed; or COUNT_NONE */
};

enum hold {
	HOLD_ERROR = -1,
	HOLD_GONE,    /* the name is no more, or leads to another file now */
	HOLD_LOCKED,  /* somebody else holds it */
	HOLD_STRANGE, /* not a regular file; errno is ELOOP, EISDIR or ENXIO */
	HOLD_DONE
};
/* Opens STATE's FILE with ACCESS (O_RDWR or O_RDONLY), locks it without waiting, and then checks that
 * the name still leads to it. A job that has several names is left with one, see twins_settle(); if
 * that is another one, this one is gone. Only on HOLD_DONE is anything left open. The queue
 * must outlive the job. A read-only descriptor is for probing: closing it wakes
 * nobody who waits for IN_CLOSE_WRITE. */
NODISCARD enum hold job_hold(
    struct job *job, const struct queue *queue, enum job_state state, const char *file, int access);
/* The same of a job that waits in .wait/NAME; FILE has the queue's name in it. */
NODISCARD enum hold job_hold_waiting(
    struct job *job, const struct queue *queue, const char *name, const char *file, int access);
/* The same wherever it is, for reading and writing, with patience: one at rest is locked for an instant
 * only. 1 held, 0 it is gone, -1 with errno: EBUSY if it stays locked. */
NODISCARD int job_hold_resting(
    struct job *job, const struct queue *queue, const struct job_place *place);
/* The descriptor of the directory it is in. */
int job_dir(const struct job *job);
/* Notes that an error was about FILE in that directory; -1. */
int job_fail(const struct job *job, const char *file);
/* Of a held job whose file has several names in the state directories (rule TWINS), keeps the
 * safest and removes the others, durably. HOLD_DONE: job->file is the one. HOLD_GONE: it is not.
 * A crash leaves the safest in any case. Costs a scan: st_nlink says whether it can be needed. */
NODISCARD enum hold twins_settle(const struct job *job);
/* How two names of one job compare, as of qsort(3): the safer is the lesser. */
int twins_order(enum job_state a, const char *a_file, enum job_state b, const char *b_file);
/* Unlocks by hand, so that a process left behind by the handler keeps nothing, unless nobody could find that out. errno
 * survives. Allowed on a job that is not held. */
void job_unlock(const struct job *job);
/* The same, and closes. */
void job_release(struct job *job);

/* The transitions of spool-layout.md, by their names there. */
enum transition {
	T_CLAIM,     /* new, delay, waiting -> cur */
	T_RETRY,     /* cur -> delay */
	T_GIVEUP,    /* cur -> buried */
	T_REDATE,    /* delay -> delay, with another DUE */
	T_RETURN,    /* cur -> new, the attempt given back */
	T_DEFER,     /* cur -> delay, the attempt given back */
	T_BURY,      /* new, delay, waiting -> buried */
	T_KICK,      /* buried, delay, waiting -> new */
	T_FINISH,    /* cur -> nothing */
	T_DELETE,    /* new, delay, buried, done, waiting -> nothing */
	T_SET_ASIDE, /* new, delay, cur, buried, done, waiting -> buried, named as job->name says */
	T_RELEASE,   /* waiting -> new */
	T_RELEASE_DELAYED, /* waiting -> delay */
	T_PASS_ON,         /* waiting -> waiting for the next */
	T_BLOCK,           /* new, delay, waiting -> waiting for a resource */
	T_HOLD_BACK,       /* cur -> waiting for a resource, the attempt given back */
	T_KEEP,            /* cur -> done */
	T_EXPIRE,          /* done -> nothing */
	T_ADOPT,           /* new -> new: a foreign file gets the name that job->name says */
	T_HAND_OVER,       /* new, delay, waiting, buried -> nothing: another engine has it */
	TRANSITIONS
};

/* Carries out a transition of a held job: one rename without replacing, or one
 * unlink, then the directories' syncs where the table says so. Marks set in
 * job->name before the call appear in the new name. DUE_MS only for T_RETRY,
 * T_DEFER, T_REDATE, T_RELEASE_DELAYED, T_PASS_ON and T_KEEP; the mark w goes where there is no DUE.
 * 1: done, and job says where it is now. MOVED_UNSURE: done, but a sync failed (errno), and
 * a power cut may undo it. 0: somebody moved the name meanwhile. -1: errno (EINVAL: not
 * from this state). A crash leaves the job in the one or in the other state, whole. What was done
 * is counted in the queue's statistics. */
enum { MOVED_UNSURE = SPOOL_UNSURE };
NODISCARD int job_move(struct job *job, enum transition transition, int64_t due_ms);
/* The same to .wait/NAME, which is made if it is missing: T_PASS_ON, T_BLOCK, T_HOLD_BACK. */
NODISCARD int job_move_to_wait(
    struct job *job, enum transition transition, const char *name, int64_t due_ms);
/* Makes durable that a held job is where it is, whoever moved it there: 1, or MOVED_UNSURE. */
NODISCARD int job_sync(const struct job *job);

/* 1 and META filled, 0 if the job has none, -1 with errno; EBADMSG and *WHY if
 * it should have one that is missing or damaged. META must be initialised. */
NODISCARD int job_meta(
    const struct queue *queue, const struct job_name *name, struct meta *meta, const char **why);
/* Writes meta/ID, with SYNC making it durable; without, the caller syncs before
 * any name carries the mark. Nobody reads it until then, so it needs no draft; a
 * crash before that leaves a file that a sweep removes, a failure leaves none.
 * Nobody but its sender can write it, also in a group's spool: see meta->trusted. */
NODISCARD int meta_write(
    const struct queue *queue, const char *id, const struct meta *meta, bool sync);
/* fsync of one that was written without, by another descriptor: Linux reports an
 * error that nobody has seen yet to the first who asks. */
NODISCARD int meta_sync(const struct queue *queue, const char *id);
/* errno survives. */
void meta_remove(const struct queue *queue, const char *id);

/* The whole of a small regular file, malloc'd with a NUL; NULL with errno: EFBIG
 * over MAX, EINVAL if it is no regular file. Bounded, since others may have
 * planted it. *ST is of what was read. */
char *read_small(int dir, const char *name, size_t max, size_t *len, struct stat *st);
/* Writes and closes FD; with SYNC on disk if this returns 0. -1 with errno. */
NODISCARD int write_and_close(int fd, const char *text, size_t len, bool sync);
/* Whether a file belongs to root or to our user, and nobody else can write it. */
bool ours_alone(const struct stat *st);

/* A new id, later than all that this process made before. In send.c. */
void job_id_fresh(char id[static JOB_ID_LEN + 1]);

#endif
