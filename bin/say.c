/*
 * err(3) and its kin, in the place of libc's: for all tools, whatever libc they are linked with, and the same filter
 * for all they say. A message quotes arguments and paths, and whoever made a file that `*` stands for chose what is in them.
 */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A path and some words; what is longer is cut. No memory is needed to say that there is none. */
enum { SAID_MAX = 8 << 10 };

static void put(const char *text)
{
	static bool putting; /* there was no memory for what is shown, which is told now */
	char *shown = NULL;

	if (isatty(STDERR_FILENO) && !putting) {
		putting = true;
		shown = cli_terminal_text(text, strlen(text));
		putting = false;
	}
	dprintf(STDERR_FILENO, "%s\n", shown ? shown : text);
	free(shown);
}

/* "TOOL: FORMAT: WHY"; either may be NULL. */
static void say(const char *why, const char *format, va_list args)
{
	char said[SAID_MAX], message[SAID_MAX] = "";

	if (format)
		vsnprintf(message, sizeof message, format, args);
	snprintf(said, sizeof said, "%s: %s%s%s", program_invocation_short_name, message,
	    format && why ? ": " : "", why ? why : "");
	put(said);
}

#define SAY(why, format)                                                                           \
	do {                                                                                       \
		va_list args;                                                                      \
                                                                                                   \
		va_start(args, format);                                                            \
		say(why, format, args);                                                            \
		va_end(args);                                                                      \
	} while (0)

void warn(const char *format, ...)
{
	SAY(strerror(errno), format);
}

void warnx(const char *format, ...)
{
	SAY(NULL, format);
}

void err(int status, const char *format, ...)
{
	SAY(strerror(errno), format);
	exit(status);
}

void errx(int status, const char *format, ...)
{
	SAY(NULL, format);
	exit(status);
}
