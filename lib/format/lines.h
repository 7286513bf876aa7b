/* The lines of a text that people or handlers write: blanks around them do not count. */
#ifndef QSPOOL_FORMAT_LINES_H
#define QSPOOL_FORMAT_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define BLANKS " \t\r"

bool is_blank(char c);

/* Takes LINE of LEN bytes, at least 1, without blanks around it; no NUL ends it. NULL, or what is wrong with it. */
typedef const char *line_parse(void *into, const char *line, size_t len);
/* Is told of a line, from 1, that is WHY. */
typedef void line_wrong(void *arg, unsigned line, const char *why);

/* Calls PARSE for each line of TEXT that is not empty, and WRONG, which may be NULL, with what it says is wrong.
 * The last line may lack its newline. */
void lines_parse(
    const char *text, size_t len, line_parse *parse, void *into, line_wrong *wrong, void *arg);

#endif
