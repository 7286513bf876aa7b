/*
 * libqspool: a job queue that is a directory.
 *
 * spool-layout.md is the contract of what is on disk; this header is the
 * contract of the calls. The library never prints and never exits.
 *
 * Errors: -1 (or NULL) with errno, and spool_place() names the file or directory
 * it was about. Where losing a race is normal the result is 1 done, 0 lost, -1
 * error. Times are ms since the epoch, durations ms. Strings given are copied;
 * what is returned belongs to the library unless it is said to be the caller's.
 * One thread at a time may use a spool and what was made from it.
 */
#ifndef QSPOOL_H
#define QSPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "format/backoff.h"
#include "format/histogram.h"
#include "format/label.h"
#include "format/limit.h"
#include "format/meta.h"
#include "format/name.h"
#include "format/when.h"

#define QSPOOL_NODISCARD __attribute__((warn_unused_result))

enum { FILE_NAME_SIZE = 256, WAIT_NAME_SIZE = LABEL_SIZE + 1 };

/* The directory a job is in is its state. */
enum job_state {
	JOB_SENDING,
	JOB_READY,
	JOB_RUNNING,
	JOB_DELAYED,
	JOB_BURIED,
	JOB_DONE,    /* finished, and kept */
	JOB_WAITING, /* for other jobs, or for a resource */
	JOB_STATES
};
/* "ready", "running", ...: the words that people see. */
const char *job_state_name(enum job_state state);

/* --- the spool ---------------------------------------------------------- */

struct spool;

/* The spool to use when none is named: $QSPOOL, else /var/spool/qspool if it
 * exists, else $XDG_STATE_HOME/qspool (~/.local/state/qspool). malloc'd; NULL with
 * ENOENT (no HOME) or ENOMEM. *BOTH is set if the last two both hold queues. */
char *spool_default_path(bool *both);

/* Opens the spool at PATH. With CREATE it comes into being if it is missing: mode
 * 0700 whatever the umask, its missing parents too; durable before this returns.
 * ENOENT without CREATE; ENOTDIR; EACCES. */
struct spool *spool_open(const char *path, bool create);
void spool_close(struct spool *spool);
/* Absolute. */
const char *spool_path(const struct spool *spool);
/* What the last error on this spool was about: a path below the spool. */
const char *spool_place(const struct spool *spool);
/* Adds the names of all queues, sorted, to LIST, which is the caller's. 0 / -1. */
int spool_queues(struct spool *spool, struct strings *list);
/* 1 if there is such a queue, 0 if not, -1. */
int spool_has_queue(struct spool *spool, const char *queue);

/* --- sending ------------------------------------------------------------ */

struct send_options {
	unsigned priority;       /* 0..JOB_PRIORITY_MAX */
	int64_t due_ms;          /* JOB_DUE_NONE: ready at once */
	const struct meta *meta; /* NULL or empty: a plain job; must outlive the sender */
	bool no_sync;            /* may be lost with the power; a torn one never runs */
};

struct sender;

/* What a commit can say of a job. */
enum send_fate {
	SEND_DURABLE, /* published, and on disk */
	SEND_UNSURE,  /* published, but a sync failed: may be gone after a power cut */
};
typedef void send_report(void *arg, const char *id, enum send_fate fate);

/* Begins to send to QUEUE, which is created if it is missing. */
struct sender *send_open(
    struct spool *spool, const char *queue, const struct send_options *options);
/* Begins the batch that options->meta names, and refuses early what could not be sent: 0 / -1. */
QSPOOL_NODISCARD int send_begin(struct sender *sender);

/* Why send_begin() or send_commit() failed, if errno is EPERM and why is not REFUSED_NOT. */
enum send_refused {
	REFUSED_NOT,
	REFUSED_KEY,     /* another job has the key: ID, in QUEUE */
	REFUSED_SEALED,  /* nobody can join the batch any more */
	REFUSED_UNKNOWN, /* to be after a batch that was never begun */
	REFUSED_ITSELF,  /* to be after its own batch */
	REFUSED_DELETED, /* to be after a job that was deleted, or a batch of which one was */
};
struct send_refusal {
	enum send_refused why;
	const char *name; /* the key, batch or job */
	const char *id, *queue;
};
/* Valid until the sender is closed. */
const struct send_refusal *send_refused(const struct sender *sender);
/* A job that comes from elsewhere, with what it had there. */
struct send_as {
	const char *id; /* a whole one; that it is nowhere in the spool, the caller knows */
	int64_t due_ms; /* or JOB_DUE_NONE */
	const struct meta *meta; /* NULL or empty: none; must outlive send_end() */
	unsigned priority;       /* 0..JOB_PRIORITY_MAX */
	unsigned attempts;       /* started so far, 0..JOB_ATTEMPTS_MAX */
};
/* The next job is that one, instead of a fresh one of the sender's options; to be called before its first
 * send_write() or send_end(), which say EEXIST if this id is being sent already, if there are options of it, or if a crash
 * left either, which a sweep removes within two hours. Then the batch is as it was before this job, and can be gone on with.
 * 0; -1 with EINVAL: not an id, out of range, or tied to others: META and what the sender was opened with must have no key,
 * batch or dependency. */
QSPOOL_NODISCARD int send_as(struct sender *sender, const struct send_as *as);
/* For who has the right to receive and knows that the job ID is nowhere: removes what a crash left of it, for which send_write() said
 * EEXIST. 0 / -1. */
QSPOOL_NODISCARD int send_clear(struct sender *sender, const char *id);
/* Adds to the payload of the job being written; the first piece begins a job. */
QSPOOL_NODISCARD int send_write(struct sender *sender, const void *data, size_t len);
/* Ends the job (an empty one, if nothing was written). Nothing is published yet.
 * After a failure of this or send_write() the batch can only be closed, but see send_as(). */
QSPOOL_NODISCARD int send_end(struct sender *sender);
/* Jobs ended and not yet committed. */
size_t send_pending(const struct sender *sender);
/* Publishes the jobs that were ended, in order, all or as many as can be, and
 * reports each published one. 0: all are durable. -1: those that were not
 * reported are not sent and leave nothing behind. A crash before the first rename
 * leaves files in tmp/, which a qwork removes; a crash after it leaves jobs. */
QSPOOL_NODISCARD int send_commit(struct sender *sender, send_report *report, void *arg);
/* Removes what was not committed. NULL is fine. */
void send_close(struct sender *sender);

/* --- finding and looking ------------------------------------------------ */

/* A name seen in a directory: by the time one acts on it, it may have moved. */
struct job_place {
	char queue[QUEUE_NAME_SIZE];
	enum job_state state;
	char wait[WAIT_NAME_SIZE]; /* of JOB_WAITING: the directory below .wait/ */
	char file[FILE_NAME_SIZE]; /* as in the directory */
	bool ours;                 /* a regular file of a name of ours; `name` is filled */
	struct job_name name;
};
/* Anything but 0 ends the walk and is its result. */
typedef int job_visit(void *arg, const struct job_place *place);
/* Where it is below the spool, as ls prints it. */
enum { PLACE_PATH_SIZE = QUEUE_NAME_SIZE + WAIT_NAME_SIZE + FILE_NAME_SIZE };
void place_path(const struct job_place *place, char path[PLACE_PATH_SIZE]);

/* Visits each file in STATE of the queue NAME, in no order. 0, -1, or the visit's result. */
int spool_each(
    struct spool *spool, const char *name, enum job_state state, job_visit *visit, void *arg);

/* A list of places that owns its memory; all zero is empty. */
struct places {
	struct job_place *item;
	size_t count;
};
int places_add(struct places *places, const struct job_place *place);
void places_release(struct places *places);
/* Oldest first, by id; foreign names last, by name. */
void places_sort(struct places *places);

/* What WORD (an id, a unique prefix of at least SPOOL_PREFIX_MIN characters, or a
 * path as ls prints it) can mean. */
enum { SPOOL_PREFIX_MIN = 6 };
struct job_word {
	const char *text;
	unsigned matches;       /* different jobs that it fits */
	struct job_place place; /* of the one, if matches is 1 */
};
/* Looks up WORDS in one pass over QUEUE, or over all queues if it is NULL. A job
 * seen in no directory because it moved meanwhile is looked for again. 0, or -1 if not all
 * were found and a queue could not be read. */
int spool_find(struct spool *spool, const char *queue, struct job_word *words, size_t count);

/* Opens a job's payload for reading, the caller's to close; -1 with ENOENT if it moved. */
int spool_payload(struct spool *spool, const struct job_place *place);
/* Opens what the handler of a job to be kept wrote to its standard output in its last attempt, or has
 * written so far; the caller's to close. -1 with ENOENT if there is none. */
int spool_output(struct spool *spool, const struct job_place *place);
/* 0, or -1 with EBADMSG and *WHY (damaged or missing), or another errno. */
int spool_meta(
    struct spool *spool, const struct job_place *place, struct meta *meta, const char **why);
/* The post-mortem, malloc'd; "" if there is none; NULL with errno. */
char *spool_log(struct spool *spool, const struct job_place *place);
/* How the handler ended in the last attempt of which such a LOG tells: its exit status, or 128 and
 * its signal; -1 if it did not end by itself or by a signal (a lost worker, say), or there was none. */
int spool_log_status(const char *log);
/* Why a name in new/ that is not ours cannot become a job, or NULL if it can. */
const char *spool_strange(struct spool *spool, const struct job_place *place);

struct queue_count {
	size_t ready, running, delayed, waiting, buried, finished, strange;
	bool paused;
	int64_t paused_until_ms; /* or JOB_DUE_NONE: until somebody resumes it */
	int64_t oldest_ms;       /* sending of the oldest ready job, or JOB_DUE_NONE */
	int64_t next_ms;         /* earliest DUE, or JOB_DUE_NONE */
};
int spool_count(struct spool *spool, const char *name, struct queue_count *count);

/* What the settings of a queue say of how often its jobs are tried; 0: nothing, or they cannot be read. */
unsigned spool_attempts(struct spool *spool, const char *queue);

/* How many jobs of a queue the qworks that serve it just now run at once, at most, all together, whether it is paused or not; 0
 * also where the file system cannot tell (record locks on a directory). -1 with ENOENT. */
int spool_slots(struct spool *spool, const char *queue);

/* What the statistics of a queue count. Each is done by a tool or the library: what a person does with mv
 * and rm is not seen. */
enum stats_count {
	COUNT_NONE,
	COUNT_SENT,
	COUNT_ADOPTED,   /* files dropped into new/ that became jobs */
	COUNT_STARTED,   /* attempts; of these: */
	COUNT_FINISHED,  /* the jobs of so many are done */
	COUNT_FAILED,    /* among them: */
	COUNT_TIMED_OUT, /* ended by their timeout */
	COUNT_OUT_OF_MEMORY,
	COUNT_LOST,     /* whose worker was lost */
	COUNT_DEFERRED, /* by the handler, or for a resource; not spent, like the next */
	COUNT_RETURNED, /* not begun, or not ended before qwork did */
	COUNT_RETRIED,  /* failed attempts after which the job is to be tried again */
	COUNT_BURIED,   /* jobs, each time */
	COUNT_KICKED,
	COUNT_DELETED, /* jobs that had not finished */
	COUNT_RELAYED, /* handed over to another engine */
	COUNTS
};
/* "sent", "timed_out", ... */
const char *stats_count_name(enum stats_count count);

/* WAITED from when a job was sent or due, or, where neither says so, last moved, until an attempt started. RAN counts
 * attempts that finished or failed, but not those whose worker was lost. */
struct stats_period {
	int64_t ms; /* how long it is */
	uint64_t count[COUNTS];
	struct histogram waited, ran;
};
/* ALL since then; LATE of the last hour and up to five minutes more, though not of before that. */
struct queue_stats {
	int64_t since_ms;
	struct stats_period all, late;
};
/* 0; -1 with ENOENT: nothing was counted yet; EBADMSG: what is there is damaged, or of another version. */
int spool_stats(struct spool *spool, const char *name, struct queue_stats *stats);

/* The one sentence, without a full stop, that says why the job is not running, or what it is doing;
 * malloc'd, made visible; NULL with errno (ENOENT: it moved). */
char *spool_why(struct spool *spool, const struct job_place *place);

struct job_runner {
	pid_t worker;        /* qwork's process id, 0 if unknown */
	pid_t handler;       /* 0 if unknown */
	char progress[1001]; /* what the handler said last of it, raw; "" if nothing */
};
/* 1 and *RUNNER if somebody holds the job's lock, 0 if nobody does, -1. */
int spool_runner(struct spool *spool, const struct job_place *place, struct job_runner *runner);

/* --- jobs from another engine, and back to it ----------------------------- */

/* At most one process at a time may take jobs into QUEUE, which is created if it is missing, by send_as(): who has this right, until
 * it is closed. NULL with errno; EWOULDBLOCK: another one has it. */
struct receiver;
struct receiver *receiver_open(struct spool *spool, const char *queue);
/* Whether the queue of this name and its directories are still those of which it is the right. If not, what is sent goes to where nobody
 * looks for it, and what was taken in is not where it is looked for. */
bool receiver_in_place(const struct receiver *receiver);
/* The job ID of that queue, which has options, has RELAY as its option relay from now on: after a crash that or what it had.
 * 0 / -1, and then it is as it was. */
QSPOOL_NODISCARD int receiver_relay(
    const struct receiver *receiver, const char *id, const char *relay);
/* NULL is fine. */
void receiver_close(struct receiver *receiver);

/* Holds a job of that queue at rest: nobody else starts, moves or deletes it. NULL with errno: ENOENT if it moved, EBUSY if somebody
 * holds it. To be let go before the right is closed. */
struct spool_hold;
struct spool_hold *spool_hold(const struct receiver *receiver, const struct job_place *place);
/* Another engine has it, durably: it goes, from new/, delay/, .wait/ or buried/. 1, 0 if somebody had moved it, -1. It may come back with a power cut. */
QSPOOL_NODISCARD int spool_hand_over(struct spool_hold *hold);
/* In any case, at the end. NULL is fine. */
void spool_let_go(struct spool_hold *hold);

/* --- waiting for jobs --------------------------------------------------- */

/* What has become of a job, as far as the spool tells it. Of one that was finished and not kept nothing is
 * left: one that is nowhere counts as finished, unless it was seen to be deleted. */
enum await_fate {
	AWAIT_OUTSTANDING,
	AWAIT_FINISHED, /* or a member of a batch that was never sent */
	AWAIT_BURIED,   /* a kick makes it outstanding again */
	AWAIT_DELETED,  /* not from cur/: what is removed there counts as finished */
	AWAIT_FATES
};
struct await_counts {
	size_t of[AWAIT_FATES];
};

struct await;
struct await *await_open(struct spool *spool);
void await_close(struct await *await); /* NULL is fine */
/* 0, or -1 with errno. A job given twice counts once. */
/* A job of QUEUE, or of any if that is NULL; ID is a whole one. Also after the first await_step(): then best while it is a draft,
 * between send_end() and send_commit(), of a queue that is watched already, for then nothing that becomes of it is missed. Where
 * another one is, is found out soon; it is outstanding until then. */
int await_job(struct await *await, const char *queue, const char *id);
/* QUEUE is watched from the next await_step() on, for jobs that are to come. It need not exist. */
int await_queue(struct await *await, const char *queue);
/* It is not waited for any longer, whatever became of it. So must one be that was not sent after all: it would count as
 * finished. */
void await_forget(struct await *await, const char *id);
/* Before the first await_step(). Seals BATCH, so that nobody can join it any more, durably, and adds those of its members that are not over.
 * ENOENT if it was never begun. */
int await_batch(struct await *await, const char *batch);
/* Returns when a fate has changed, and at the first call, or after TIMEOUT_MS (-1: never): 1 if none is
 * outstanding, 0 if some are, -1 with errno and spool_place(). Takes no locks, and sleeps in between. */
QSPOOL_NODISCARD int await_step(
    struct await *await, int64_t timeout_ms, struct await_counts *counts);
/* For who polls by itself: await_step() with a timeout of 0 is due when this descriptor can be read, or after so many
 * milliseconds. Each await_step() may change both; -1: no descriptor. */
int await_fd(const struct await *await);
int await_timeout(const struct await *await);
/* Of the batches that were added the first of which it is known that a member was deleted after it was sealed, also
 * if that was before it was added; or NULL. */
const char *await_lacking(const struct await *await);
/* Visits each in the order of the ids; anything but 0 ends it and is its result. */
int await_each(const struct await *await,
    int (*visit)(void *arg, const char *id, enum await_fate fate), void *arg);

/* --- what a person does to a job ---------------------------------------- */

/* Each: 1 done and durable, 0 the job moved meanwhile (find it again), -1 with
 * errno; EBUSY: somebody holds its lock; EINVAL: not from this state. SPOOL_UNSURE: done,
 * but a sync failed, and a power cut may undo it; SPOOL_LEFT: deleted, but its options or
 * its history stay until a sweep; both with errno and spool_place(). SPOOL_HELD: not kicked, since
 * spool_holder() has its key. What waits for a job that is deleted is buried. */
enum { SPOOL_UNSURE = 2, SPOOL_LEFT, SPOOL_HELD };
/* The id of the job that had a key that was wanted. */
const char *spool_holder(const struct spool *spool);
QSPOOL_NODISCARD int spool_bury(
    struct spool *spool, const struct job_place *place, const char *reason);
/* A fresh budget of attempts; the history stays. The payload, which may have been
 * edited, is made durable first. */
QSPOOL_NODISCARD int spool_kick(struct spool *spool, const struct job_place *place);
QSPOOL_NODISCARD int spool_delete(struct spool *spool, const struct job_place *place);
/* Removes from done/ a job that is there only until somebody was told of its end (option relay), now that this is done. 1; 0 also if
 * it is kept for its own sake; -1: EBADMSG if its options are damaged. A power cut may undo it. */
QSPOOL_NODISCARD int spool_forget(struct spool *spool, const struct job_place *place);
/* Ends a running job's handler: TERM to its process group, KILL after GRACE_MS.
 * 1 once nobody holds the lock in that place any more, 0 if it had moved, -1
 * (ETIMEDOUT: still held; EPERM: its holder is another user's). */
QSPOOL_NODISCARD int spool_end_handler(
    struct spool *spool, const struct job_place *place, int64_t grace_ms);

/* --- pausing a queue ----------------------------------------------------- */

/* Both: 1 done and durable; SPOOL_UNSURE: done, but a sync failed, and a power cut may undo it;
 * -1 with errno: nothing was done; ENOENT: no such queue; EISDIR: a directory is in the way. */

/* No job of QUEUE is started until UNTIL_MS, or with JOB_DUE_NONE until it is resumed; what
 * runs goes on. Replaces the pause that is there. ETIME: that time is over; EBUSY: somebody
 * holds the lock of the queue's directory. A crash leaves the old pause or the new one, and
 * maybe a file in tmp/ for the sweep. */
QSPOOL_NODISCARD int spool_pause(struct spool *spool, const char *queue, int64_t until_ms);
/* Removes the pause, whoever made it. 0: there is none. */
QSPOOL_NODISCARD int spool_resume(struct spool *spool, const char *queue);

/* --- resources ------------------------------------------------------------ */

/* What .resource/LABEL/ says. A setting that is there but not understood lets nobody in. */
struct limits {
	bool has_jobs, has_rate, has_burst, has_breaker;
	unsigned jobs; /* 0..RESOURCE_JOBS_MAX at once */
	struct rate rate;
	unsigned burst;
	struct breaker breaker;
	bool open; /* the breaker is open, or a probe is due */
	struct breaker_open until;
	unsigned window;   /* 0: none; after it was open: so many at once */
	const char *wrong; /* the first that is not understood, or NULL */
};

/* All are valid during the call only. */
struct resource_status {
	const char *label;
	const char *name; /* the label, if it cannot be known */
	struct limits limits;
	unsigned failures; /* in a row */
	size_t running;    /* slots that are taken; known only where there is a limit */
	bool probing;
	const char *probe; /* the id of the job that probed last, or NULL */
	size_t waiting;
};
typedef int resource_visit(void *arg, const struct resource_status *status);
/* Visits all resources that have a directory, in no order. 0, -1, or what VISIT returned. */
int resource_each(struct spool *spool, resource_visit *visit, void *arg);
/* The one of this NAME. -1 with ENOENT: nothing was ever set of it, and nobody used it. */
int resource_look(struct spool *spool, const char *name, resource_visit *visit, void *arg);

enum resource_setting { RESOURCE_JOBS, RESOURCE_RATE, RESOURCE_BURST, RESOURCE_BREAKER };
/* Whether it may be set to TEXT. */
bool resource_setting_ok(enum resource_setting setting, const char *text);
/* Sets it to TEXT, durably, or removes it if that is NULL; the resource need not exist yet. 0 / -1:
 * EINVAL if TEXT is not understood. */
QSPOOL_NODISCARD int resource_set(
    struct spool *spool, const char *name, enum resource_setting setting, const char *text);
/* Opens the breaker for so long, or with 0 until it is closed. */
QSPOOL_NODISCARD int resource_open(struct spool *spool, const char *name, int64_t for_ms);
/* Closes it: jobs are let in gradually. 1, or 0 if it was not open; -1. */
QSPOOL_NODISCARD int resource_close(struct spool *spool, const char *name);

/* --- proving a spool sound ---------------------------------------------- */

/* qfsck(1) lists the kinds of findings, and which of them are of which class. */
enum check_class {
	CHECK_FAULT,    /* nothing mends it by itself */
	CHECK_PENDING,  /* a qwork mends it: claim, recovery or sweep */
	CHECK_REPAIRED, /* was one of these, and is mended now */
	CHECK_NOTE,     /* worth knowing, and no harm */
	CHECK_CLASSES
};

/* All strings are valid during the call only. */
struct check_finding {
	enum check_class class;
	const char *kind;  /* one word */
	const char *queue; /* NULL if it is about the spool */
	const char *dir;   /* NULL if it is about the queue */
	const char *file;  /* NULL if it is about the directory */
	const char *id;    /* of the job, or NULL */
	const char *reason;
	int error; /* why it could not be repaired, or 0 */
};

struct check_options {
	bool repair;
	void (*report)(void *arg, const struct check_finding *finding);
	/* Something could not be read: errno and spool_place() say what. The rest is checked. */
	void (*failed)(void *arg);
	/* Now and then: so many names of QUEUE were looked at. */
	void (*progress)(void *arg, const char *queue, size_t names);
	void *arg;
};

struct check_totals {
	size_t jobs;
	size_t findings[CHECK_CLASSES];
};

/* Checks QUEUES, or all of the spool if there are none, beside running qworks and senders:
 * what moves is no fault. With options->repair mends what can be; no job is deleted, and a
 * crash at any point leaves each job whole. 0; -1 with ENOENT (no such queue), ENOMEM
 * or EACCES (the spool itself cannot be read). */
QSPOOL_NODISCARD int spool_check(struct spool *spool, const struct strings *queues,
    const struct check_options *options, struct check_totals *totals);

/* --- working ------------------------------------------------------------ */

enum work_drain { DRAIN_NO, DRAIN_READY, DRAIN_ALL };

enum work_outcome {
	WORK_FINISHED,
	WORK_RETRY, /* to delay/ */
	WORK_BURIED,
	WORK_RETURNED, /* handed back, the attempt not spent */
	WORK_STRANGE,  /* a name that cannot be a job was seen */
	WORK_HELD,     /* the queue waits, because something of its own is broken */
	WORK_NOTE,     /* anything else worth a line */
	WORK_DEFERRED, /* to delay/ because its handler said so, the attempt not spent */
	WORK_RELAYED,  /* handed over to another engine */
};

/* What the tool logs. All strings are valid during the call only. */
struct work_event {
	enum work_outcome outcome;
	const char *queue;
	const char *id;     /* NULL if it is not about a job */
	const char *name;   /* of a strange file, a handler that is held, a place; or NULL */
	const char *cause;  /* "failed", "timed out", "worker lost", ... or NULL */
	const char *reason; /* more words, or NULL */
	unsigned attempt, attempts;
	int status;     /* as of wait(2); -1 if nothing ran */
	double seconds; /* -1 if nothing ran */
	int64_t
	    due_ms; /* of a retry or a deferred job, or the end of a hold; JOB_DUE_NONE otherwise */
};

/* --- handing jobs over to another engine, instead of running them */

/* A job that is held where it is: nobody else starts, moves or deletes it, and if this process dies it is as before. */
struct handover_job {
	uint64_t ticket; /* what an answer is to say; never 0 */
	const char *queue, *id;
	unsigned priority, attempts;
	int64_t due_ms;          /* or JOB_DUE_NONE */
	const struct meta *meta; /* without what it has waited for */
	int fd;                  /* the payload, of SIZE bytes; its offset is anything */
	uint64_t size;
};
/* One of the three. */
struct handover_answer {
	uint64_t ticket;
	bool taken;          /* the engine has it, durably: it goes from the spool */
	const char *refused; /* for good, and why: it is buried; valid until the next call */
	                     /* neither: it is offered again a little later */
};
/* Another engine; all is called in the thread that works. A job that is not answered in ten seconds is offered again, under the
 * same id and another ticket. What is in order with others of its spool (a key, a batch, a job that waits for it) is
 * buried, and what came from an engine (meta->relay) stays. */
struct handover {
	bool (*ready)(void *arg); /* for more jobs */
	/* Begins to hand JOB over, whose strings are valid during the call. 0; -1: not now, or with *WHY: never. */
	int (*begin)(void *arg, const struct handover_job *job, const char **why);
	bool (*answer)(void *arg, struct handover_answer *answer); /* the next; false: no more */
	int fd; /* readable when ready() or answer() may say something else than before */
	void *arg;
};

enum { WORK_JOBS_MAX = 10000, WORK_WEIGHT_MAX = 1000 };

struct work_queue {
	const char *name;
	/* Over what the queue's settings say; 0: as they do. */
	unsigned jobs;   /* at most so many of it at once, to WORK_JOBS_MAX */
	unsigned weight; /* its share, to WORK_WEIGHT_MAX */
};

/* How far the machine may be loaded before no further job is started. 0: without that limit. */
struct work_means {
	unsigned min;        /* so many are never kept from running; usually 1 */
	bool by_length;      /* beyond MIN, no more run than wait, unless that takes a second */
	double max_load;     /* the average of the last minute, and what runs at an instant */
	int64_t min_free;    /* bytes of memory that are available */
	double max_pressure; /* percent of the time in which memory or disks are waited for */
};

struct work_options {
	const struct work_queue *queues;
	size_t queue_count; /* 0: every queue that has a handler, also those that come */
	unsigned jobs;      /* at most so many handlers at once, 1 to WORK_JOBS_MAX */
	struct work_means means;
	enum work_drain drain;
	bool once;
	const struct meta *defaults; /* from the command line: what settings may say */
	bool bury_on[256];           /* exit statuses that bury at once */
	bool no_new_privileges;      /* for handlers: PR_SET_NO_NEW_PRIVS */
	struct strings
	    accept_env; /* names of variables that any sender may set; a last '*' stands for any rest */
	int64_t grace_ms;
	int64_t scan_ms;      /* between scans that do not trust events */
	bool persist;         /* handlers stay, and are fed one job a line: */
	unsigned max_jobs;    /* one ends after so many; 0: after any number */
	uint64_t max_rss;     /* bytes: one that is larger ends after its job; 0: however large */
	char *const *command; /* NULL: each queue's `handler` */
	const struct handover *handover; /* NULL: jobs are run here */
	void (*report)(void *arg, const struct work_event *event);
	void *arg;
};

enum { WORK_ATTEMPTS = 10, WORK_KILL_AFTER_MS = 5000 };
#define WORK_BACKOFF ((struct backoff){5000, 3600000})

/* Works until drained, stopped by a signal, or broken. Takes over SIGCHLD,
 * SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 of the process while it runs, and takes NOTIFY_SOCKET and WATCHDOG_*
 * out of its environment, which it obeys (sd_notify(3)). Says by setproctitle(3bsd) what runs. 0; -1 with errno:
 * ENOEXEC: a drain or --once ended because the command could not be run, or with the
 * errno of what else kept jobs from being claimed; ENOENT, EPERM, EACCES with
 * spool_place() at the handler: it is missing, not to be trusted, not executable;
 * ESTALE: the queue was removed or moved; EMFILE: more jobs than this process may have
 * descriptors for. */
QSPOOL_NODISCARD int spool_work(struct spool *spool, const struct work_options *options);

#ifdef __cplusplus
}
#endif

#endif
