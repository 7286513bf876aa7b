/*
 * Hard links that say what a job belongs to (spool-layout.md, "Order among jobs"): the key that it
 * holds, the batch of which it is a member, and what waits for it.
 */
#ifndef QSPOOL_SPOOL_LINKS_H
#define QSPOOL_SPOOL_LINKS_H

#include "spool/job.h"

/* A link's name, ID@QUEUE, says which job it is of. */
enum { LINK_NAME_SIZE = JOB_ID_LEN + 1 + QUEUE_NAME_SIZE };
struct link_name {
	char id[JOB_ID_LEN + 1];
	char queue[QUEUE_NAME_SIZE];
};
bool link_name_parse(const char *text, struct link_name *name);
/* LABEL/SUB/ID@QUEUE, or LABEL/ID@QUEUE if SUB is NULL. */
enum { LINK_PATH_SIZE = LABEL_SIZE + LINK_NAME_SIZE + 16 };
void link_path(char path[static LINK_PATH_SIZE], const char *label, const char *sub, const char *id,
    const char *queue);

/* A name of a job by which it is linked, and what the links shall say. The caller holds its lock. */
struct link_source {
	const struct queue *queue;
	const char *id;
	int dir;
	const char *file;
};
struct link_source link_source_of(const struct job *job);

/* How many own links (rule OWN-LINKS) the job NAME of QUEUE has, whose file is ST; -1 with errno: its
 * options cannot be read (EBADMSG: never). */
int links_count(const struct queue *queue, const struct job_name *name, const struct stat *st);
/* Under the job's lock: how many names the file FD has that are none of its own links. 0: the job is
 * over; 1: it is as it should be; more prove nothing. -1 with errno, EBADMSG as of links_count(). */
int links_names(const struct queue *queue, const struct job_name *name, int fd);
/* Under the lock of the job ID, whose options are lost, so that its own links cannot be counted: whether a power
 * cut left nothing else of it, as it is nowhere, nor in tmp/. False, too, if that is not known. */
bool links_alone(const struct queue *queue, const char *id);
/* Whether the job ID, whose file is ST, has the link that says so. KEY and BATCH may be NULL: it has not. */
bool links_has_key(
    const struct queue *queue, const char *id, const char *key, const struct stat *st);
bool links_has_batch(
    const struct queue *queue, const char *id, const char *batch, const struct stat *st);
bool links_has_mark(struct spool *spool, const char *id, const struct stat *st);

/* After the job's name is gone or in done/ (rule OVER-FIRST): removes its links, with META as what it
 * belongs to. WAS_SENT: it counts as a member that is over. A crash leaves links whose count says that the job is over. -1 if some stay, with the
 * errno of the last; the sweep removes them. */
NODISCARD int links_release(const struct queue *queue, const char *id, const struct meta *meta,
    bool was_sent, struct over *over);

/* Calls VISIT with the name of each directory below .wait/ in which a job with these options may wait, until that returns
 * anything but 0, and returns that; -1 with errno. */
NODISCARD int links_each_wait(
    const struct meta *meta, int (*visit)(void *arg, const char *wait), void *arg);
/* fsync of the directories below .wait/ in which a job with these options may have waited, and of .wait/. */
NODISCARD int links_sync_waits(struct spool *spool, const struct meta *meta);

/* The name of which LABEL is, malloc'd; one that was cut is read from the file `name` in TOP/LABEL, or else
 * stays the label. NULL with ENOMEM. */
NODISCARD char *label_name(struct spool *spool, enum spool_dir top, const char *label);

/* '@' and the label of a resource: its directory below .wait/. -1 with EINVAL. */
NODISCARD int resource_wait_name(const char *resource, char name[static WAIT_NAME_SIZE]);

#endif
