/*
 * The spool's directory and its queues' directories, opened once and used as
 * (descriptor, name) ever after: what happens to the path meanwhile is no
 * matter. Internal to the library.
 */
#ifndef QSPOOL_SPOOL_SPOOL_H
#define QSPOOL_SPOOL_SPOOL_H

#include "qspool.h"
#include "sys/dir.h"
#include "sys/files.h"

/* The directories of a queue. The first are the states of jobs, in the order of enum job_state. */
enum queue_dir {
	DIR_TMP = JOB_SENDING,
	DIR_NEW = JOB_READY,
	DIR_CUR = JOB_RUNNING,
	DIR_DELAY = JOB_DELAYED,
	DIR_BURIED = JOB_BURIED,
	DIR_DONE = JOB_DONE,
	DIR_WAIT = JOB_WAITING, /* none of the queue's: see wait.h */
	DIR_META,
	DIR_LOG,
	DIR_OUT,
	QUEUE_DIRS
};
extern const char *const queue_dir_name[QUEUE_DIRS];
/* Whether every queue has it. done/ and out/ come into being when they are needed. */
bool queue_dir_always(enum queue_dir dir);

/* The directories of the spool for order among jobs; made when they are needed. */
enum spool_dir { SPOOL_WAIT, SPOOL_KEY, SPOOL_BATCH, SPOOL_RESOURCE, SPOOL_DIRS };
extern const char *const spool_dir_name[SPOOL_DIRS];

/* Executables in a directory of the spool that a qwork tells what happened: run/hooks.h. */
enum hook_kind {
	HOOK_BURIED,   /* a job was */
	HOOK_FAILED,   /* an attempt has, and there will be another */
	HOOK_FINISHED, /* a job has */
	HOOK_BREAKER,  /* was opened or closed */
	HOOK_DRAINED,  /* of a queue no job is ready, and none runs any more */
	HOOK_KINDS
};
extern const char hooks_dir_name[];
extern const char *const hook_name[HOOK_KINDS];

struct spool {
	int fd;
	char *path; /* absolute */
	dev_t device;
	mode_t dir_mode; /* of new directories, taken from the spool itself */
	mode_t file_mode;
	int dir[SPOOL_DIRS];         /* -1 until spool_dir() opened it */
	char place[512];             /* of the last error */
	char holder[JOB_ID_LEN + 1]; /* of a key that was wanted last */
	struct strings busy;         /* resources for whose state it was waited in vain */
};

/* One open queue. Its name and descriptors live as long as it does. */
struct queue {
	struct spool *spool;
	char name[QUEUE_NAME_SIZE];
	int fd;
	int dir[QUEUE_DIRS]; /* -1: DIR_WAIT, what the queue has not yet, and what is not used */
	struct stats *stats; /* NULL unless stats_keep() keeps them */
};

/* Notes where an error happened, errno untouched; returns -1. NAME may be NULL. */
int spool_fail(struct spool *spool, const char *queue, const char *dir, const char *name);
int queue_fail(const struct queue *queue, enum queue_dir dir, const char *name);

/* The descriptor of such a directory, which stays the spool's; with CREATE it is made, durably. -1:
 * ENOENT without CREATE, EXDEV if it is on another file system. */
NODISCARD int spool_dir(struct spool *spool, enum spool_dir which, bool create);

/* The directory that PLACE is in, for the caller to close. -1: ENOENT. */
NODISCARD int place_opendir(struct spool *spool, const struct job_place *place);
int place_fail(struct spool *spool, const struct job_place *place);

/* Opens a queue, with CREATE making it durable if it is missing. A queue appears
 * with all of its directories or not at all; one that lacks some (made by hand) is
 * completed. 0 / -1: ENOENT without CREATE, EINVAL for a wrong name, EXDEV if
 * its directories are not all on one mount. On failure nothing is left open. */
NODISCARD int queue_open(struct queue *queue, struct spool *spool, const char *name, bool create);
/* The same with only some directories open, as bits: who sends, and does not live long, uses few. What is wrong with the others who
 * uses them finds. */
#define QUEUE_DIR_BIT(dir) (1u << (dir))
NODISCARD int queue_open_dirs(
    struct queue *queue, struct spool *spool, const char *name, bool create, unsigned dirs);
/* Opens of these what is not open yet. 0 / -1. */
NODISCARD int queue_open_more(struct queue *queue, unsigned dirs);
void queue_close(struct queue *queue);
/* All closed: so that queue_close() is always allowed. */
#define QUEUE_CLOSED ((struct queue){.fd = -1, .dir = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1}})
/* Makes DIR_DONE or DIR_OUT if the queue has none yet, durably. 0 / -1. */
NODISCARD int queue_make_dir(struct queue *queue, enum queue_dir dir);

/* Whether NAME in the spool is that of a queue in the making. */
bool queue_is_draft(const char *name);
/* Removes one whose maker is gone, if it is empty. errno survives. */
void queue_remove_draft(const struct spool *spool, const char *draft);

/* dir_each() of the names without a leading dot, by a descriptor of its own. */
int queue_each(const struct queue *queue, enum queue_dir which, name_visit *visit, void *arg);
/* For dir_some(). NULL with errno. */
DIR *queue_read(const struct queue *queue, enum queue_dir which);

/* Whether the paths still lead to the directories that were opened: nobody has removed
 * or moved the queue, or one of its directories. */
bool queue_in_place(const struct queue *queue);

/* A qwork that serves a queue holds a shared lock on the directory cur/, for people who ask; nothing is
 * decided by it. */
void queue_serve(const struct queue *queue);
bool queue_served(const struct queue *queue);
/* How many jobs of it this process may run at once, for who asks by spool_slots(): a read lock as long as that, at a place of
 * chance, on the open description of cur/. The kernel forgets it with the last descriptor, which handlers do not have. Where
 * the file system has no such locks nothing is known. */
void queue_publish_slots(const struct queue *queue, unsigned slots);

#endif
