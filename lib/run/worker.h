/*
 * qwork's state: the pool, which is the process, and in it a worker for each queue that it serves.
 *
 *   work.c       the loop of the pool: wait, and call these
 *   pool.c       what the process has: signals, descriptors, and the list of its workers
 *   shares.c     which worker starts the next job
 *   take.c       names from events and scans into a worker's backlog
 *   scan.c       reading the directories, beside other work
 *   start.c      from the backlog to a running handler
 *   persist.c    handlers that stay
 *   limits.c     what a job may take of memory and processors
 *   handover.c   jobs that another engine is to have, instead of handlers
 *   settle.c     from a handler's end to the job's next state
 *   recover.c    jobs in cur/ whose worker is lost
 *   release.c    jobs that waited for what is over
 *   resources.c  what jobs share
 *   blocked.c    jobs that wait for it
 *   report.c     what the log is told, and the hooks
 *   status.c     what the process's title and its service manager are told
 */
#ifndef QSPOOL_RUN_WORKER_H
#define QSPOOL_RUN_WORKER_H

#include "run/backlog.h"
#include "run/child.h"
#include "run/hooks.h"
#include "run/means.h"
#include "run/sieve.h"
#include "run/status.h"
#include "run/watch.h"
#include "sys/cgroup.h"
#include "sys/closer.h"
#include "format/settings.h"
#include "spool/claim.h"
#include "spool/resource.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <poll.h>
#include <sys/resource.h>

/* Times are monotonic ms but where a DUE is compared, which is real ms. */
#define NEVER INT64_MAX

/* What the processes of a handler may take. */
struct limited {
	struct cgroup group;   /* of them, if there is one */
	int64_t memory, cpu_s; /* limits; 0: none */
};
#define LIMITED_NOT ((struct limited){.group = CGROUP_NONE})

/* A job that this process has claimed. */
struct running {
	struct worker *worker;         /* whose it is */
	struct persistent *persistent; /* the handler that has it, if that stays: persist.h */
	const char *unanswered;        /* why there is no answer from it; or NULL */
	struct job job;
	struct meta meta;
	struct child child;
	int output; /* of a job to be kept, until its handler is started; or -1 */
	char control[CONTROL_NAME_SIZE]; /* its file in the worker's directory */
	bool speaks;                     /* it may be there */
	struct grip grip;                /* what it has of its resources */
	bool active;                     /* the slot is taken */
	uint64_t handed;                 /* to another engine, as the so-manieth; 0: not */
	bool timed_out;
	bool stopped;      /* told to end because qwork ends */
	unsigned attempts; /* budget */
	struct backoff backoff;
	struct limited limited; /* of its processes; if these stay, it is theirs while they live */
	int64_t started;        /* ms; and in us: */
	int64_t started_us;
	bool ended; /* its handler was reaped; and of that: */
	int status;
	struct rusage used;
	int64_t end_at; /* when to signal its group next, or NEVER */
	int end_signal;
	/* Once the handler has ended and the job could not be moved on (full disk): */
	bool settling;
	enum transition to;
	char wait_name[WAIT_NAME_SIZE]; /* of T_HOLD_BACK */
	int64_t due_ms;
	int64_t settle_at;
};

/* A name in cur/ whose lock may be about to be dropped. */
struct probe {
	char file[JOB_NAME_SIZE];
	unsigned stage;
	int64_t at;
};

enum {
	PROBES_MAX = 256,
	HELD_MAX = 32,     /* jobs that wait for being moved on, beside those that run */
	TROUBLES_MAX = 32, /* of the pool, and of each queue */
	POOL_FDS =
	    3, /* of the poll set: signals, timer, events; then answers, or stderr of slots */
	DEAF_SCAN_MS = 1000, /* without inotify, and after a scan that failed */
};

/* What went wrong before, and until when it is not said again. */
struct trouble {
	const char *cause;
	int error;
	int64_t wait, quiet_until;
};

/* How much of the pool's time a queue has had: shares.c. */
struct share {
	double had;         /* of the jobs that have ended: us of weight 1 */
	int64_t started_us; /* the sum of the starts of those that run, whose number is RUNNING */
	unsigned running;
	int64_t usual_us; /* for how long one runs */
	bool contends;    /* it had a job to start when that was looked at last */
};

/* A resource for which jobs of this queue wait: blocked.h. */
struct blocked;
LIST_HEAD(blocked_list, blocked);
struct persistent;
LIST_HEAD(persistent_list, persistent);
RB_HEAD(release_tree, release);
LIST_HEAD(worker_list, worker);

enum { SCAN_DIRS = 2 }; /* new/, delay/ */

/* Reading the names of a queue, or what is known since that was done. */
struct scan {
	DIR *dir; /* that is being read; NULL: none is */
	int at;   /* which one */
	unsigned names;
	int64_t began_ms;          /* real */
	struct sieve ready, later; /* what was read */
	struct backlog came;       /* what came meanwhile; at the end, all */
	bool known; /* nothing differs from what was read, as long as nothing differs from ... */
	struct dir_state state[SCAN_DIRS]; /* ... how these were then */
	bool
	    concluded; /* a first one: who starts jobs before that, starts those that come before those that wait */
};

/* A queue that this process serves, or would. */
struct worker {
	LIST_ENTRY(worker) link;
	struct pool *pool;
	const struct work_queue *asked; /* of the command line; NULL: it was found */
	char name[QUEUE_NAME_SIZE];
	int error;       /* why it is not served */
	bool by_handler; /* that is what the error is of */
	struct queue queue;
	struct handler handler;
	struct stat handler_seen; /* of handlers that stay: the file, as it was last */
	struct settings settings;
	char *settings_text; /* of which they were read */
	size_t settings_len;
	int settings_error; /* why they are not; or 0 */
	unsigned published; /* slots: spool_slots() */
	struct backlog backlog;
	struct scan scan;
	struct share share;
	unsigned busy;    /* slots that have jobs of this queue */
	unsigned held;    /* of these, those that are settling: they keep no other job waiting */
	unsigned started; /* jobs run in all */
	struct probe probe[PROBES_MAX];
	size_t probes;
	struct strings strange; /* reported already */
	struct trouble trouble[TROUBLES_MAX];
	struct blocked_list blocked;
	size_t blocked_count;
	bool watched;   /* else it is scanned every second */
	bool scan_now;  /* events were lost, or a window ran empty */
	bool missed;    /* events may have come before the last scan that nobody saw */
	int scan_error; /* what kept the last scan from seeing all; 0: it saw all */
	int64_t scan_at, scanned_at;
	unsigned started_then; /* `started` at the last scan */
	bool worked;           /* something ran since the queue ran dry */
	bool paused;
	bool dead;            /* a directory of it was removed or moved */
	bool leaving;         /* it has no handler any more */
	int64_t paused_until; /* real ms, or JOB_DUE_NONE: until an event says so */
	int64_t hold_until;   /* no start before this: something of the queue's is broken */
	int64_t hold_wait;
	int64_t restart_at; /* no handler that is to stay is started before this */
	int64_t restart_wait;
	int hold_error; /* errno of it, or of a job that cannot be claimed; ENOEXEC for the
	                 * handler; 0 when starts succeed */
};

struct pool {
	const struct work_options *options;
	struct spool *spool;
	struct worker_list workers; /* that serve their queues */
	struct worker_list idle;    /* that do not, since there is no queue or no handler */
	int64_t look_at;            /* when to look for queues */
	struct control_dir controls;
	int controls_error; /* why there is none, which was said; or 0 */
	struct watch watch;
	struct running *slot;
	struct pollfd *poll_set;
	unsigned slots;   /* options->jobs and HELD_MAX */
	unsigned busy;    /* slots that are active */
	unsigned held;    /* of these, those that are settling */
	unsigned started; /* jobs run in all */
	struct cgroups groups;
	bool groups_said;   /* that there are none; it is not tried for each job again */
	uint64_t oom_kills; /* on the machine; of handlers that were killed so many are explained */
	struct gauge_files gauges;
	struct means means;
	double turn;                       /* shares.c: what one that comes has had */
	struct closer closer;              /* of finished jobs: nothing else takes as long */
	struct persistent_list persistent; /* the youngest first */
	size_t persistents;
	struct release_tree releases; /* names below .wait/ that are over */
	struct release *release_turn; /* which is next; NULL: the first */
	int64_t release_at;
	struct trouble trouble[TROUBLES_MAX];
	struct hooks hooks;
	int signals, timer; /* signalfd, timerfd for the next DUE or the end of a pause */
	int64_t timer_ms;   /* what it is set to */
	sigset_t old_signals;
	struct sigaction old_sigchld;
	int64_t sweep_at;
	unsigned events; /* how many were taken in all */
	bool look_again; /* do not sleep: something was found after all */
	unsigned stop;   /* how often we were told to end */
	int64_t grace_at;
	bool claims_nothing; /* told so by USR1 */
	bool begun;          /* what there was at first is served */
	/* There are children that are not ours: we are PID 1, or others were before exec. */
	bool strangers;
	bool deaf; /* not all that may come is an event */
	struct status status;
	struct rlimit files; /* before it was raised; for handlers */
	rlim_t files_max;    /* since */
	struct child_base base;
};

/* pool.c */
/* Takes what a process needs, and a worker for each queue that was asked for. 0; -1 with errno: then, too,
 * pool_close() is called. */
NODISCARD int pool_open(struct pool *p, struct spool *spool, const struct work_options *options);
void pool_close(struct pool *p);
/* Looks for queues that can be served now, and for those that cannot any more. */
void pool_look(struct pool *p);
/* Ends serving a queue that is dead or leaving, and of which nothing runs. */
void pool_drop(struct pool *p, struct worker *w);
/* Reads the queue's settings if they have changed, or AGAIN. */
void pool_settings(struct worker *w, bool again);
/* Watches a queue, if it is not watched. */
void pool_listen(struct worker *w);
/* Once a minute is enough for what is rare. */
void pool_keep_controls(struct pool *p);

/* shares.c */
/* Whose turn it is to start a job; NULL: nobody's. Called in each round, if there is room or not: so it is seen
 * when a queue came. */
struct worker *shares_next(struct pool *p);
void shares_started(struct running *r);
void shares_ended(struct running *r);
/* W was tried for nothing. */
void shares_tried(struct worker *w);

/* take.c */
/* A name that the scan read in new/ or delay/. */
void take_found(struct worker *w, enum queue_dir dir, const char *name);
void take_event(void *pool, const struct watched_event *event);
/* A job that was taken out of the backlog is to be looked at again at AT_MS, real time. */
void take_again(struct worker *w, const struct job *job, int64_t at_ms);
/* Looks whether the queue is paused, and removes a pause that is over. */
void take_pause(struct worker *w);
/* Reports a name that cannot be a job, once. */
void take_strange(struct worker *w, const char *name, const char *reason);

/* scan.c */
void scan_init(struct worker *w);
/* Ends one that is on, and lets go of all it has. */
void scan_end(struct worker *w);
bool scan_is_on(const struct worker *w);
/* Begins to read all three directories anew: cur/ at once; new/ and delay/, if they may have changed, with
 * scan_more(). After the last name the backlog is what was read. */
void scan_begin(struct worker *w);
/* Reads on until then, but a few names at least. */
void scan_more(struct worker *w, int64_t until);
/* Both at once. */
void scan_whole(struct worker *w);
/* A job that was read. 0, or -1 with ENOMEM. */
NODISCARD int scan_add(struct worker *w, const struct waiting *model, const char *file);

/* start.c */
/* Starts jobs while there are free slots and ready names. */
void start_jobs(struct pool *p);
/* How many jobs of its own queue it may run at once. */
unsigned start_slots(const struct worker *w);
/* Whether W may start one, the pool's slots and names aside. */
bool start_allowed(const struct worker *w);
/* Whether one more may run. */
bool start_room(const struct pool *p);
struct running *start_free_slot(struct pool *p);
/* Lets go of its job, with all that it holds for it. */
void running_release(struct running *r);
/* Held, and never to run: its reason goes into the log, then it goes to buried/. False if it cannot go there. */
NODISCARD bool start_unfit(
    struct worker *w, struct job *job, const struct meta *meta, const char *why);
/* One job cannot be started now: it is tried again later. */
void start_job_failed(struct worker *w, const char *cause, int error);
/* Whether ERROR says that this process or machine is short of something, so that it is no
 * fault of the job or the file. */
bool start_shortage(int error);

/* limits.c */
/* Divides the control group of this process for limits of memory, if it can be: as long as nothing else runs in it. */
void limits_prepare(struct pool *p);
/* What a handler may take that is to be started for a job with these options; its group is made, named after ID, and
 * LIMITS->entrance the caller's to close. */
void limits_begin(struct worker *w, const struct meta *meta, const char *id,
    struct limited *limited, struct child_limits *limits);
/* Seconds of processor time that a job with these options may take; 0: as many as it wants. */
int64_t limits_cpu_s(const struct worker *w, const struct meta *meta);
/* Kills what is in its group. */
void limits_kill(const struct limited *limited);
/* The handler did not start, or is of no interest any more. */
void limits_not_used(struct pool *p, struct limited *limited);
/* R's handler has ended: the cause, if it failed by a limit or for lack of memory, and a REASON that is valid until
 * the next call; or NULL. If it had a group, what is left there is killed, and USED is told the most memory that all
 * had. */
const char *limits_end(struct running *r, int status, struct rusage *used, const char **reason);
/* With each scan. */
void limits_keep(struct pool *p);

/* handover.c */
bool handover_is_on(const struct pool *p);
/* Whether the other engine takes jobs just now, if there is one. */
bool handover_ready(const struct pool *p);
int handover_fd(const struct pool *p); /* to be polled, or -1 */
/* R's job is held and may go. */
enum handed {
	HANDED,       /* the slot has it, or had */
	HANDED_NOT,   /* it is not to be looked at again */
	HANDED_LATER, /* but later */
	HANDED_UNFIT, /* it cannot go: *WHY */
};
NODISCARD enum handed handover_start(struct worker *w, struct running *r, const char **why);
void handover_answers(struct pool *p);
/* Tries again what was not answered. */
void handover_tick(struct pool *p, int64_t now);
/* Lets go of all that is not answered. */
void handover_stop(struct pool *p);

/* settle.c */
/* What a job brings, or the command line, or the settings, or what is built in. */
unsigned settle_attempts(const struct worker *w, const struct meta *meta);
struct backoff settle_backoff(const struct worker *w, const struct meta *meta);
int64_t settle_timeout(const struct worker *w, const struct meta *meta); /* 0: none */
/* The handler of R, which was to stay, ended with STATUS; or, if USED is NULL, answered with it, and goes on. */
void settle_end(struct worker *w, struct running *r, int status, struct rusage *used);
/* Reaps all children that have ended, and settles their jobs. */
void settle_ended(struct pool *p);
/* Signals groups whose time is up and repeats moves that failed. */
void settle_tick(struct pool *p, int64_t now);
/* Told to end: TERM to all groups, KILL a little later; or KILL now. */
void settle_stop(struct pool *p, int signal);
/* Hands a claimed job back whose handler did not start. */
void settle_return(struct worker *w, struct running *r, const char *cause, int error);
/* Buries a claimed job whose handler can never start. */
void settle_bury(struct worker *w, struct running *r, const char *cause);
/* The next state of a lost job that is held: logged and moved. The caller releases it,
 * unless it could not be moved: then it stays held here until it can, and job->fd is -1. */
void settle_lost(struct worker *w, struct job *job);
/* Moves R's job on, now or once it can be, and lets go of the slot. */
void settle_to(struct worker *w, struct running *r, enum transition to, int64_t due_ms);
/* Lets go of R's slot, wherever its job is. */
void settle_release(struct worker *w, struct running *r);
/* An event about a job, with nothing run. */
struct work_event settle_event(
    const struct worker *w, const struct job *job, enum work_outcome outcome);
/* What follows of a job_move() that returned MOVED: what it did not do, with its errno, is told; what
 * waited for the job goes on. */
void worker_moved(struct worker *w, const struct job *job, int moved);

/* report.c */
/* Passes it on, and errors that hold nobody up; of the pool, they are of no queue. */
void worker_report(const struct worker *w, const struct work_event *event);
/* The same of what becomes of JOB, which was decided, logged, and maybe done: its hook is told, too. */
void worker_ended(struct worker *w, const struct job *job, const struct meta *meta,
    const struct work_event *event);
void worker_note(const struct worker *w, const char *cause, int error);
void pool_note(const struct pool *p, const char *cause, int error);
/* The same of what will come again, such as a full disk: at once, then ever more seldom.
 * CAUSE is compared by address. */
void worker_trouble(struct worker *w, const char *cause, int error);
void pool_trouble(struct pool *p, const char *cause, int error);
/* An event of which nothing is known but what it is. */
struct work_event report_event(enum work_outcome outcome, const char *cause);

/* release.c */
/* What waits in .wait/NAME may go on. */
void release_add(struct pool *p, const char *name);
/* The same of what ended with JOB. */
void release_over(struct pool *p, const struct job *job);
void release_tick(struct pool *p, int64_t now);
int64_t release_next(const struct pool *p);
/* At qwork's end; takes a few seconds at most. */
void release_all(struct pool *p);
bool release_is_done(const struct pool *p);

/* resources.c */
/* Takes what R's job, which is held, needs. 1; 0: it waits, or somebody has moved it; -1: it is to be
 * tried again. But for 1, R is released. */
NODISCARD int resources_take(struct worker *w, struct running *r);
/* R's job, which has what it needs, could not be started: where it was to probe, it did not. */
void resources_not_used(struct worker *w, struct running *r);
/* What an attempt's end does to the job's resources. NULL, or the name of the one to which the job shall go back,
 * its attempt given back: r->wait_name is set, and *UNTIL_MS to when it may go on, or JOB_DUE_NONE. */
const char *resources_settle(struct worker *w, struct running *r, const struct control *said,
    enum attempt_end end, int64_t *until_ms);

/* blocked.c */
/* Looks at all that waits for resources. ANEW: the backlog has none of it any more. */
void blocked_scan(struct worker *w, bool anew);
void blocked_event(struct worker *w, const struct watched_event *event);
/* Puts the first of those whose turn it may be into the backlog: one of each resource. */
void blocked_tick(struct worker *w, int64_t now);
int64_t blocked_next(const struct worker *w);
/* JOB waits now where it was moved to. What it lacks is there at LACKS_UNTIL, as lack.at_ms. */
void blocked_add(struct worker *w, const struct job *job, int64_t lacks_until);
/* The job of .wait/WAIT_NAME that is being tried stays there. */
void blocked_stays(struct worker *w, const char *wait_name, int64_t lacks_until);
/* An entry of the backlog that waits for a resource was tried, and is owned: it is DONE with, or to be
 * tried again in so long. */
void blocked_tried(struct worker *w, struct waiting *entry, bool done, int64_t again_ms);
/* There is news of a resource. */
void blocked_wake(struct worker *w, const char *wait_name);
/* Whether jobs of this queue are known to wait for resources. */
bool blocked_any(const struct worker *w);
void blocked_release(struct worker *w);

/* recover.c */
void recover_scan(struct worker *w);
void recover_watch(struct worker *w, const char *file); /* its lock may fall now */
void recover_tick(struct worker *w, int64_t now);
int64_t recover_next(const struct worker *w);
/* Whether others have jobs in cur/. */
bool recover_others_run(struct worker *w);
bool worker_runs(const struct worker *w, const char *file);

#endif
