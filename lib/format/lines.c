#include "format/lines.h"

#include <string.h>

bool is_blank(char c)
{
	return memchr(BLANKS, c, sizeof BLANKS - 1) != NULL;
}

/* Takes the next line, empty or not, off the rest. */
static void take_line(struct lines *lines)
{
	const char *first = lines->rest;
	const char *newline = memchr(first, '\n', (size_t)(lines->end - first));
	const char *last = newline ? newline : lines->end;

	lines->rest = newline ? newline + 1 : lines->end;
	lines->number++;
	while (first < last && is_blank(first[0]))
		first++;
	while (last > first && is_blank(last[-1]))
		last--;
	lines->line = first;
	lines->len = (size_t)(last - first);
}

bool lines_next(struct lines *lines)
{
	while (lines->rest < lines->end) {
		take_line(lines);
		if (lines->len > 0)
			return true;
	}
	return false;
}
