/* The lines of a text that people or handlers write: blanks around them do not count. */
#ifndef QSPOOL_FORMAT_LINES_H
#define QSPOOL_FORMAT_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define BLANKS " \t\r"

struct lines {
	const char *rest, *end; /* what is still to be read; the caller sets these */
	const char *line; /* the line that was read, without blanks around it: no NUL ends it */
	size_t len;       /* of it, at least 1 */
	unsigned number;  /* of it, from 1 */
};

bool is_blank(char c);

/* Reads the next line that is not empty; false if there is none. The last one may lack its
 * newline. */
bool lines_next(struct lines *lines);

#endif
