#include "format/logfmt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "unit.h"

/* A line as log_attempt() writes it. */
static void put_attempt(FILE *out, const char *cause, const char *reason, int status)
{
	fputs("2026-11-22T12:06:22.999Z attempt=1 of=10", out);
	logfmt_put(out, "cause", cause);
	if (reason)
		logfmt_put(out, "reason", reason);
	logfmt_status(out, status);
	logfmt_put(out, "host", "a host");
	fputc('\n', out);
}

static int read_back(const char *reason, int status, const char *more)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int last;

	CHECK(out != NULL);
	put_attempt(out, "failed", NULL, W_EXITCODE(99, 0));
	put_attempt(out, "failed", reason, status);
	fputs(more, out);
	fclose(out);
	last = logfmt_last_status(text);
	free(text);
	return last;
}

static void what_is_written_is_read(void)
{
	for (int i = 0; i < 256; i++)
		CHECK_INT(read_back(NULL, W_EXITCODE(i, 0), ""), i);
	for (int i = 1; i < 65; i++)
		CHECK_INT(read_back(NULL, i, ""), 128 + i);
	CHECK_INT(read_back(NULL, -1, ""), -1);
}

/* Handlers choose their reasons, and what they print. */
static void nothing_else_is_taken_for_it(void)
{
	const char *const reasons[] = {" exit=7 ", "exit=7", "\" exit=7", "\\\" exit=7",
	    "\n exit=7", "\034\" exit=7 \"", "=exit=7"};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		CHECK_INT(read_back(reasons[i], -1, ""), -1);
		CHECK_INT(read_back(reasons[i], W_EXITCODE(5, 0), ""), 5);
	}
	CHECK_INT(
	    read_back(NULL, W_EXITCODE(5, 0), "  | x attempt=1 exit=7\n  note: attempt=1 exit=7\n"),
	    5);
	CHECK_INT(read_back(NULL, W_EXITCODE(5, 0),
	              "2026-11-22T12:06:22.999Z buried by=0 reason=\"exit=7\"\n"),
	    5);
}

static void texts_without_any(void)
{
	CHECK_INT(logfmt_last_status(""), -1);
	CHECK_INT(logfmt_last_status("\n"), -1);
	CHECK_INT(logfmt_last_status("the log is not a readable file\n"), -1);
	CHECK_INT(logfmt_last_status("t attempt=1 cause=\"no end"), -1);
	CHECK_INT(logfmt_last_status("t attempt=1 cause=\"no end\\"), -1);
}

int main(void)
{
	return UNIT_RUN(TEST(what_is_written_is_read), TEST(nothing_else_is_taken_for_it),
	    TEST(texts_without_any));
}
