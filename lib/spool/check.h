/*
 * Proving a spool sound. check.c walks, check_file.c looks at one file, check_ids.c
 * compares what has the same id in a queue, check_owners.c in several, check_order.c asks a job for the links that it
 * should have, check_links.c each link for its job, repair.c mends. Looking takes no more than a shared
 * lock for an instant, and changes nothing.
 */
#ifndef QSPOOL_SPOOL_CHECK_H
#define QSPOOL_SPOOL_CHECK_H

#include "spool/links.h"

/* What the directories say of one id; sorted, the sightings of an id stand together. */
struct sighting {
	char id[JOB_ID_LEN];
	unsigned char dir;  /* enum queue_dir; SEEN_MOVING: it came somewhere meanwhile */
	unsigned char mark; /* set of SEEN_... */
};
enum { SEEN_MOVING = QUEUE_DIRS };
enum {
	SEEN_LINKED = 1,   /* the file has several names */
	SEEN_UNMARKED = 2, /* a job whose name does not say that it has options */
	SEEN_SEVERAL = 4,  /* has several names, or had while it moved */
};

struct sightings {
	struct sighting *item;
	size_t count;
};

/* The ids of each queue, once each. */
struct owner {
	char id[JOB_ID_LEN];
};

struct owners {
	struct owner *item;
	size_t count;
};

struct check {
	struct spool *spool;
	const struct check_options *options;
	struct check_totals *totals;
	struct statx top; /* of the spool */
	struct queue
	    queue;    /* being checked; directories that are missing are -1; DIR_WAIT is .wait/ */
	size_t names; /* of this queue so far */
	struct sightings seen;
	struct strings queues; /* that were checked */
	struct owners owners;
};

/* A file of the queue's directories, as it was found. */
struct check_file {
	enum queue_dir dir;
	const char *file; /* of DIR_WAIT: with the directory below .wait/, NAME/FILE */
	bool ours;
	struct job_name name;
	struct stat st;
};

/* Mends a fault of F: 1 done, 0 it is no more, -1 with errno. */
typedef int check_mend(struct check *c, const struct check_file *f, const char *reason);

/* Each reports one finding. One that is mendable is mended by MEND (may be NULL) if that was
 * asked for. */
void check_report(struct check *c, struct check_finding finding);
void check_tell(struct check *c, enum check_class class, const char *kind,
    const struct check_file *f, const char *reason);
void check_mendable(struct check *c, enum check_class class, const char *kind,
    const struct check_file *f, const char *reason, check_mend *mend);
void check_failed(const struct check *c);
/* What became of a finding that may be mended: MENDED is 1 (it was), 0 (it is no more), -1 with errno;
 * TRIED: that was asked for. */
void check_outcome(struct check *c, struct check_finding finding, bool tried, int mended);
/* Looks at the mount and the mode of a directory, open as FD, which WHERE says. */
void check_directory(struct check *c, struct check_finding where, int fd);
/* Opens .wait/, so that DIR_WAIT is a directory of the queue that is checked. */
void check_open_waits(struct check *c);
/* DIR/FILE of a queue, or as it is below the spool. */
void check_path(enum queue_dir dir, const char *file, char path[static PLACE_PATH_SIZE]);
/* The name of a waiting job without its directory. */
const char *check_base(const char *file);
/* Names in the directory PATH, sorted, for the caller to release. -1 with errno. */
int check_names(int parent, const char *path, struct strings *names);
bool check_was_checked(const struct check *c, const char *queue);

/* Looks at FILE of DIR, by itself. 0, or -1 with ENOMEM. */
int check_one(struct check *c, enum queue_dir dir, const char *file);
/* The mode that a file in DIR has at least. */
mode_t check_mode_of(const struct check *c, enum queue_dir dir);
/* Whether F's name still leads to the same file. */
bool check_still(const struct check *c, const struct check_file *f);
/* What FILE in DIR says by its name: f->ours, and f->name. */
void check_parse(struct check_file *f);
/* Whether it has more names than its own one and its links (rule OWN-LINKS). */
bool check_has_more_names(const struct check *c, const struct check_file *f);

/* Compares a job with its options META (NULL: it has none): its key, its batch, and where it waits. */
void check_order(struct check *c, const struct check_file *f, const struct meta *meta);
/* Looks at the directories of the spool for order among jobs. 0, or -1 with ENOMEM. */
int check_links(struct check *c);

/* Adds a sighting. 0, or -1 with ENOMEM. */
int check_saw(struct check *c, const char *id, unsigned dir, unsigned mark);
/* Compares what was seen of each id; WHOLE says that nothing can have been missed. */
int check_ids(struct check *c, bool whole);
/* ID is in the queue that is being checked. 0, or -1 with ENOMEM. */
int check_owns(struct check *c, const char *id);
/* Compares what the queues have. */
int check_owners(struct check *c);

/* Gives the directory FD the mode of the spool. 1 / -1. */
int mend_directory(const struct check *c, int fd);
/* Removes the link PATH below TOP, durably, under the lock of the job that it leads to: 1; 0 if it is no more
 * or not that of ST; -1 with errno. */
int mend_link(int top, const char *path, const struct stat *st);
/* mend_twins: removes the name unless it is the one to be kept. mend_mode: gives it the mode of the spool's jobs. mend_bury: buries it with REASON.
 * mend_options: the same, and its name says that it has options. mend_set_aside: buries it under
 * a fresh id, its options with it; a foreign one keeps its name as an adopted one does. */
check_mend mend_twins, mend_mode, mend_bury, mend_options, mend_set_aside;

#endif
