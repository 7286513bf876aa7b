/*
 * A queue's `settings`: what goes for all its jobs. One a line, "KEY VALUE":
 *
 *   attempts 5          as in the options of a job (format/meta.h), which brings its own;
 *   backoff 1s..1h      encoded as there, and repeatable where it is repeatable there
 *   timeout 30s
 *   memory 512M
 *   cpu 10m
 *   nice 10
 *   arg VALUE           of the handler, before those that a job brings
 *   jobs 4              how many of this queue one qwork runs at once, at most
 *   weight 3            its share of a busy qwork beside other queues: 1 to 1000, by default 1
 *
 * Blank lines and lines that start with '#' are skipped, and so are blanks around a key and its value. Of
 * a key given twice the first counts.
 */
#ifndef QSPOOL_FORMAT_SETTINGS_H
#define QSPOOL_FORMAT_SETTINGS_H

#include "format/lines.h"
#include "format/meta.h"

struct settings {
	struct meta options;
	unsigned jobs, weight; /* 0: not said */
};

void settings_init(struct settings *settings);
void settings_release(struct settings *settings); /* ends as after settings_init() */

/* Adds what a text of LEN bytes says to SETTINGS, which must be initialised. Wrong lines are told to WRONG, and
 * the rest is used. Never fails. */
void settings_parse(
    const char *text, size_t len, struct settings *settings, line_wrong *wrong, void *arg);

#endif
