/*
 * Options of a job, and the small text in meta/ID that carries them; a queue's
 * `settings` file is the same text without its first and last line.
 *
 * One option a line, "KEY VALUE", in any order of keys; the order of repeated
 * keys is kept. Values of arg, env, header and name are encoded with vis(3)
 * (VIS_CSTYLE | VIS_NL | VIS_TAB, and VIS_NOLOCALE: the same text whatever the
 * locale), so that any bytes but NUL may stand there and `cat` stays readable.
 *
 *   qspool 1                 first line: the version of the format
 *   attempts 5
 *   backoff 1s..1h
 *   timeout 30s
 *   expires 2026-11-22T04:15:51.123Z
 *   name old-name            the foreign name under which a job was dropped
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

enum { META_SIZE_MAX = 4 << 20 }; /* the longest text that is read, bytes */

/* A list of strings that owns its strings. All zero is the empty list. */
struct strings {
	char **item; /* item[count] is NULL once count > 0 */
	size_t count;
};

/* 0, or -1 with ENOMEM. Copies TEXT. */
int strings_add(struct strings *list, const char *text);
void strings_release(struct strings *list);

struct meta {
	bool has_attempts, has_backoff, has_timeout, has_expires;
	unsigned attempts; /* 1..JOB_ATTEMPTS_MAX */
	struct backoff backoff;
	int64_t timeout_ms; /* > 0 */
	int64_t expires_ms; /* ms since the epoch */
	char *name;         /* NULL if none */
	struct strings args, env, headers;
	bool trusted; /* for who reads it from a file: nobody else can have written it */
};

void meta_init(struct meta *meta);
void meta_release(struct meta *meta); /* ends as after meta_init() */
bool meta_empty(const struct meta *meta);

/* A malloc'd text of *LEN bytes (and a NUL); NULL with ENOMEM. One longer than
 * META_SIZE_MAX is written, but meta_parse() will not have it: the sender checks. */
char *meta_format(const struct meta *meta, size_t *len);

/* Reads a text of LEN bytes into META, which must be initialised; 0, or -1 with
 * errno EBADMSG (damaged; *WHY says how, a static string) or ENOMEM. Releases
 * META on failure. */
int meta_parse(const char *text, size_t len, struct meta *meta, const char **why);

/* A queue's settings: only attempts, backoff and timeout are taken; blank lines
 * and lines starting with '#' are skipped, and so are blanks around a key and its
 * value. Of a key given twice the first counts. META must be initialised. Wrong lines are skipped too: each is
 * reported through WRONG (line number from 1, and why) and the rest is used.
 * Never fails. */
void settings_parse(const char *text, size_t len, struct meta *meta,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg);

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
