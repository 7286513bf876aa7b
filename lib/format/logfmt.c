#include "format/logfmt.h"

#include <bsd/vis.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "format/visible.h"

static bool is_plain_char(char c)
{
	return c > ' ' && c <= '~' && !strchr("\"=\\", c);
}

static bool is_plain(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!is_plain_char(*text))
			return false;
	return true;
}

/* Without memory, of which the line may be about. */
static void put_roughly(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc(*text == ' ' || is_plain_char(*text) ? *text : '?', out);
}

void logfmt_put(FILE *out, const char *key, const char *value)
{
	char *text;

	fprintf(out, " %s=", key);
	if (is_plain(value)) {
		fputs(value, out);
		return;
	}
	fputc('"', out);
	text = visible(value, strlen(value), VIS_CSTYLE | VIS_OCTAL | VIS_NL | VIS_TAB | VIS_DQ);
	if (text)
		fputs(text, out);
	else
		put_roughly(out, value);
	free(text);
	fputc('"', out);
}

void logfmt_status(FILE *out, int status)
{
	if (status < 0)
		return;
	if (WIFSIGNALED(status))
		fprintf(out, " signal=%d", WTERMSIG(status));
	else
		fprintf(out, " exit=%d", WEXITSTATUS(status));
}

/* The end of the value at VALUE, which may be quoted. */
static const char *value_end(const char *value)
{
	bool quoted = *value == '"';

	for (const char *p = value + quoted;; p++) {
		if (*p == '\0' || *p == '\n' || (*p == ' ' && !quoted))
			return p;
		if (*p == '"' && quoted)
			return p + 1;
		if (*p == '\\' && p[1] != '\0' && p[1] != '\n')
			p++;
	}
}

/* The number that KEY has in a line; -1 if it has none. */
static int number_of(const char *line, const char *key)
{
	size_t len = strlen(key);
	const char *p = line;

	while (*p != '\0' && *p != '\n') {
		const char *equals = p + strcspn(p, " =\n");

		if (*equals == '=' && (size_t)(equals - p) == len && strncmp(p, key, len) == 0)
			return (int)strtol(equals + 1, NULL, 10);
		p = *equals == '=' ? value_end(equals + 1) : equals;
		p += *p == ' ';
	}
	return -1;
}

/* What handlers print and note stands behind blanks. */
int logfmt_last_status(const char *text)
{
	int last = -1;

	for (const char *line = text; *line; line += *line == '\n') {
		if (*line != ' ' && *line != '\n' && number_of(line, "attempt") >= 0) {
			int exited = number_of(line, "exit"), signalled = number_of(line, "signal");

			last = exited >= 0 ? exited : signalled >= 0 ? 128 + signalled : -1;
		}
		line += strcspn(line, "\n");
	}
	return last;
}
