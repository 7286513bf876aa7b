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
