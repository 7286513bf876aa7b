/*
 * Names of jobs: [DUE.]PP.ID.N[,MARK]...
 *
 * Everything the scheduler needs for a plain job stands in the name, so that a
 * directory can be scheduled without a stat or an open. A name is ours only if
 * it parses strictly, that is, if job_name_format() would give it again byte
 * for byte; every other name is foreign. spool-layout.md, "Names", is the
 * contract.
 *
 *   DUE  when the job may start, UTC, "20261122T041551.123Z"; always in delay/,
 *        accepted and ignored elsewhere
 *   PP   priority, 00 to 99, lower first
 *   ID   20 characters of base 32: time of sending, then chance
 *   N    attempts started so far, without leading zeros
 *   MARK ",l" a log exists, ",m" a meta file exists,
 *        ",sLEN-CRC" sent without sync: length in decimal and CRC-32C in 8
 *        digits of hex, lower case; ",w" its handler asked for this DUE;
 *        marks stand in this order
 *
 * Pure: no system calls. Every function here is exact about its input; none
 * reads past a NUL.
 */
#ifndef QSPOOL_FORMAT_NAME_H
#define QSPOOL_FORMAT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	JOB_ID_LEN = 20, /* 13 characters of time, 7 of chance */
	JOB_ID_TIME_LEN = 13,
	JOB_PRIORITY_MAX = 99,
	JOB_PRIORITY_DEFAULT = 50,
	JOB_ATTEMPTS_MAX = 999999,
	JOB_UNSYNCED_MAX = 64 << 20, /* length that mark s may have, bytes */
	JOB_NAME_SIZE = 128,         /* room for the longest name of ours and its NUL */
	QUEUE_NAME_SIZE = 64 + 1,
	WAITING_NAME_SIZE = JOB_NAME_SIZE + QUEUE_NAME_SIZE, /* the '@' for the first NUL */
};

#define JOB_DUE_NONE INT64_MIN

struct job_name {
	int64_t due_ms;    /* ms since the epoch, or JOB_DUE_NONE */
	unsigned priority; /* 0..JOB_PRIORITY_MAX */
	char id[JOB_ID_LEN + 1];
	unsigned attempts; /* N */
	bool log;          /* mark l */
	bool meta;         /* mark m */
	bool unsynced;     /* mark s: length and crc are set */
	uint64_t length;
	uint32_t crc;
	bool asked; /* mark w */
};

/* True and *name filled if TEXT is a name of ours. *name is unspecified otherwise. */
bool job_name_parse(const char *text, struct job_name *name);

/* Writes NAME into TEXT. NAME must be valid. */
void job_name_format(const struct job_name *name, char text[JOB_NAME_SIZE]);

/* The name of a job that waits outside its queue, NAME@QUEUE, as strictly: NAME is one of
 * ours, and QUEUE passes queue_name_ok(). True and *name and queue filled, or both are
 * unspecified. */
bool waiting_name_parse(const char *text, struct job_name *name, char queue[QUEUE_NAME_SIZE]);

/* Writes NAME and QUEUE, which must be valid, into TEXT. */
void waiting_name_format(
    const struct job_name *name, const char *queue, char text[WAITING_NAME_SIZE]);

/* An id from a time (ns since the epoch) and 35 bits of chance; ids sort as text
 * by time, then chance. Base 32 with the digits 0-9 a-z without i, l, o and u
 * (Crockford's alphabet in lower case, whose order is that of ASCII). */
void job_id_format(uint64_t sent_ns, uint64_t chance, char id[JOB_ID_LEN + 1]);

/* True if TEXT is LEN (1..JOB_ID_LEN) characters of the alphabet of ids and could
 * start an id: the first is one of 0-9 a-f, since a time has 64 bits. */
bool job_id_prefix_ok(const char *text, size_t len);

/* True if TEXT is an id, all of it. */
bool job_id_ok(const char *text);

/* Time of sending in ns since the epoch, of a valid ID. */
uint64_t job_id_sent_ns(const char *id);

/* Queue names: 1 to 64 letters, digits, '.', '_' or '-', not starting with '.'. */
bool queue_name_ok(const char *name);

#endif
