/*
 * Proving a spool sound. check.c walks, check_file.c looks at one file, check_ids.c
 * compares what has the same id in a queue, check_owners.c in several, repair.c mends. Looking takes no more than a shared
 * lock for an instant, and changes nothing.
 */
#ifndef QSPOOL_SPOOL_CHECK_H
#define QSPOOL_SPOOL_CHECK_H

#include "spool/job.h"

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
	size_t count, room;
};

/* The ids of each queue, once each. */
struct owner {
	char id[JOB_ID_LEN];
};

struct owners {
	struct owner *item;
	size_t count, room;
};

struct check {
	struct spool *spool;
	const struct check_options *options;
	struct check_totals *totals;
	struct queue queue; /* being checked; directories that are missing are -1 */
	size_t names;       /* of this queue so far */
	struct sightings seen;
	struct strings queues; /* that were checked */
	struct owners owners;
};

/* A file of the queue's directories, as it was found. */
struct check_file {
	enum queue_dir dir;
	const char *file;
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

/* Looks at FILE of DIR, by itself. 0, or -1 with ENOMEM. */
int check_one(struct check *c, enum queue_dir dir, const char *file);
/* The mode that a file in DIR has at least. */
mode_t check_mode_of(const struct check *c, enum queue_dir dir);
/* Whether F's name still leads to the same file. */
bool check_still(const struct check *c, const struct check_file *f);

/* Adds a sighting. 0, or -1 with ENOMEM. */
int check_saw(struct check *c, const char *id, unsigned dir, unsigned mark);
/* Compares what was seen of each id; WHOLE says that nothing can have been missed. */
int check_ids(struct check *c, bool whole);
/* ID is in the queue that is being checked. 0, or -1 with ENOMEM. */
int check_owns(struct check *c, const char *id);
/* Compares what the queues have. */
int check_owners(struct check *c);

/* Gives the directory DIR the mode of the spool. 1 / -1. */
int mend_directory(struct check *c, enum queue_dir dir);
/* mend_twins: removes the name unless it is the one to be kept. mend_mode: gives it the mode of the spool's jobs. mend_bury: buries it with REASON.
 * mend_options: the same, and its name says that it has options. mend_set_aside: buries it under
 * a fresh id, its options with it; a foreign one keeps its name as an adopted one does. */
check_mend mend_twins, mend_mode, mend_bury, mend_options, mend_set_aside;

#endif
