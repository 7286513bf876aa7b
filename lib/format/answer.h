/*
 * What is said between qwork and a handler that stays (qwork --persist), a line for each job:
 *
 *   to the handler    ID ATTEMPT PATH     PATH is the payload's, absolute, and goes up to the end of the line
 *   to qwork          STATUS[ TEXT]       STATUS is what a handler of that job alone would have ended with, 0 to 255
 */
#ifndef QSPOOL_FORMAT_ANSWER_H
#define QSPOOL_FORMAT_ANSWER_H

enum { ANSWER_SIZE = 4096 }; /* the longest answer, its newline included */

/* The status that LINE, without its newline, says, and *TEXT, in LINE, without the blanks before it; -1: it is
 * no answer. */
int answer_parse(const char *line, const char **text);

#endif
