/*
 * Values of logfmt lines (key=value key="two words"), in qwork's log and in log/ID.
 */
#ifndef QSPOOL_FORMAT_LOGFMT_H
#define QSPOOL_FORMAT_LOGFMT_H

#include <stdio.h>

/* Writes " KEY=VALUE". The value is encoded with vis(3), and quoted unless it is of
 * plain characters only, so that it can neither end a line nor drive a terminal. In octal: of
 * vis(3)'s other forms the one for byte 28 ends with a backslash, behind which a reader would
 * not see the closing quote. */
void logfmt_put(FILE *out, const char *key, const char *value);

/* Writes " exit=N" or " signal=N" for a status as of wait(2), nothing for a negative one. */
void logfmt_status(FILE *out, int status);

/* How the handler ended in the last attempt of which TEXT, a log/ID, tells: its exit status, or 128
 * and its signal; -1 if it tells of none. */
int logfmt_last_status(const char *text);

#endif
