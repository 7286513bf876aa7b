/*
 * Options of a job, and the small text in meta/ID that carries them.
 *
 * One option a line, "KEY VALUE", in any order of keys; the order of repeated
 * keys is kept. A VALUE is encoded as format/value.h says, so that any bytes but
 * NUL may stand there and `cat` stays readable. Only that of arg may be empty.
 *
 *   qspool 1                 first line: the version of the format
 *   attempts 5
 *   backoff 1s..1h
 *   timeout 30s
 *   memory 512M              that it may take: format/size.h; at least MEMORY_MIN
 *   cpu 10m                  processor time, more than 0
 *   nice 10                  0 to 19, on top of qwork's
 *   expires 2026-11-22T04:15:51.123Z
 *   keep 7d                  finished, it is kept so long; more than 0
 *   name VALUE               the foreign name under which a job was dropped
 *   key VALUE                no other job of this key is sent while this one holds it
 *   key-until start          held until it starts, not until it is finished; only with key
 *   batch VALUE              the batch of which it is a member
 *   after VALUE              the job or batch for which it waits; repeatable
 *   resource LIMIT VALUE     what it needs to run, and how many jobs may have it at once,
 *                            1 to 1000000, or "-" for "not said here"; repeatable, the
 *                            names in the order of strcmp(), each once
 *   relay VALUE              who is to be told of its end: it came from elsewhere. Nothing
 *                            to the spool, which keeps it, finished, until it was told
 *   arg VALUE                repeatable
 *   env NAME=VALUE           repeatable
 *   header Name: value       repeatable
 *   end 1b2c3d4e             CRC-32C (8 digits of hex) of all bytes before this line
 *
 * A text that is cut short or damaged in any byte does not parse: its job is
 * buried with that reason and never runs without its options.
 */
#ifndef QSPOOL_FORMAT_META_H
#define QSPOOL_FORMAT_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/backoff.h"

enum {
	META_SIZE_MAX = 4 << 20, /* the longest text that is read, bytes */
	RESOURCE_JOBS_MAX = 1000000,
	MEMORY_MIN = 1 << 20, /* with less no program starts */
	NICE_MAX = 19,
	RESOURCES_MAX = 16, /* of a job: qwork has files of all of them open at once */
};

/* A list of strings that owns its strings. All zero is the empty list. */
struct strings {
	char **item; /* item[count] is NULL once count > 0 */
	size_t count;
};

/* 0, or -1 with ENOMEM. Copies TEXT. */
int strings_add(struct strings *list, const char *text);
void strings_release(struct strings *list);

struct meta_resource {
	char *name;    /* not empty */
	unsigned jobs; /* how many may have it at once, 1..RESOURCE_JOBS_MAX; 0: not said */
};

struct meta {
	bool has_attempts, has_backoff, has_timeout, has_expires, has_keep;
	bool has_memory, has_cpu, has_nice;
	bool key_until_start; /* counts only with a key */
	bool trusted;         /* for who reads it from a file: nobody else can have written it */
	unsigned attempts;    /* 1..JOB_ATTEMPTS_MAX */
	unsigned nice;        /* 0..NICE_MAX */
	struct backoff backoff;
	int64_t timeout_ms; /* > 0 */
	int64_t memory;     /* bytes, >= MEMORY_MIN */
	int64_t cpu_ms;     /* > 0 */
	int64_t expires_ms; /* ms since the epoch */
	int64_t keep_ms;    /* > 0 */
	char *name;         /* NULL if none, and never empty; so are key, batch and relay */
	char *key;
	char *batch;
	char *relay;
	struct strings after; /* none of them empty */
	struct meta_resource *resource;
	size_t resources; /* sorted by name, which meta_add_resource() sees to */
	struct strings args, env, headers;
};

void meta_init(struct meta *meta);
void meta_release(struct meta *meta); /* ends as after meta_init() */
bool meta_empty(const struct meta *meta);
/* Whether its job is kept once it has finished. */
bool meta_is_kept(const struct meta *meta);

/* Copies NAME; JOBS 0: not said. 0, or -1 with EINVAL (an empty name, more jobs than
 * RESOURCE_JOBS_MAX), EEXIST (META has it already), E2BIG (more than RESOURCES_MAX) or ENOMEM. */
int meta_add_resource(struct meta *meta, const char *name, unsigned jobs);

/* A malloc'd text of *LEN bytes (and a NUL); NULL with ENOMEM. One longer than
 * META_SIZE_MAX is written, but meta_parse() will not have it: the sender checks. */
char *meta_format(const struct meta *meta, size_t *len);

/* Reads a text of LEN bytes into META, which must be initialised; 0, or -1 with
 * errno EBADMSG (damaged; *WHY says how, a static string) or ENOMEM. Releases
 * META on failure. */
int meta_parse(const char *text, size_t len, struct meta *meta, const char **why);

/* Sets what a queue may set for its jobs: format/settings.h. NULL, or what is wrong with it. */
const char *meta_set(struct meta *meta, const char *key, const char *value);

/* Env: "NAME=VALUE" with NAME of letters, digits and '_', not starting with a
 * digit, and not one of ours (QSPOOL, QJOB_*). */
bool env_ok(const char *text);
/* Header: "Name: value", Name of 1 to 64 letters, digits, '-' and '_'; the blanks
 * after ':' may be missing. */
bool header_ok(const char *text);
/* Its variable for the handler: "QJOB_HEADER_NAME=value", the name in capitals with
 * '_' for '-', the value without blanks before it; malloc'd; NULL with ENOMEM. HEADER
 * must be ok. */
char *header_to_env(const char *header);

#endif
