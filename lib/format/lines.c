#include "format/lines.h"

#include <string.h>

bool is_blank(char c)
{
	return memchr(BLANKS, c, sizeof BLANKS - 1) != NULL;
}

void lines_parse(
    const char *text, size_t len, line_parse *parse, void *into, line_wrong *wrong, void *arg)
{
	const char *end = text + len, *next;

	for (unsigned number = 1; text < end; text = next, number++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *last = newline ? newline : end, *why = NULL;

		next = newline ? newline + 1 : end;
		while (text < last && is_blank(text[0]))
			text++;
		while (last > text && is_blank(last[-1]))
			last--;
		if (last > text)
			why = parse(into, text, (size_t)(last - text));
		if (why && wrong)
			wrong(arg, number, why);
	}
}
