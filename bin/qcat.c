/* qcat: print payloads. See qcat(1). */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

static const char help[] =
    "usage: qcat [-or] [-q QUEUE] JOB...\n"
    "Writes the payloads of jobs to standard output. JOBs are ids, unique beginnings of\n"
    "ids, or paths; without any, they are read from standard input, one a line.\n"
    "\n"
    "  -o, --output            what the handlers of jobs sent with --keep wrote, instead\n"
    "  -r, --raw               as it is, also to a terminal\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       only in this queue\n"
    "  -v, --verbose           say on standard error which job comes\n"
    "  -h, --help, -V, --version\n";

enum { TRIES = 5 };

struct cat_tool {
	struct cli cli;
	int (*open)(
	    struct spool *spool, const struct job_place *place); /* spool_payload() or its like */
	bool visible; /* control bytes are, since a terminal would obey them */
};

/* It may move between being found and being opened. */
static int open_moving(const struct cat_tool *t, struct spool *spool, struct job_word *word)
{
	for (int i = 0;; i++) {
		int fd = t->open(spool, &word->place);

		if (fd >= 0 || errno != ENOENT || i == TRIES)
			return fd;
		word->matches = 0;
		if (spool_find(spool, t->cli.queue, word, 1) != 0 || word->matches != 1) {
			errno = ENOENT;
			return -1;
		}
	}
}

static void put(const char *data, size_t len)
{
	if (fwrite(data, 1, len, stdout) != len)
		err(EX_IOERR, "standard output");
}

static void put_visible(const char *data, size_t len)
{
	char *text = cli_terminal_text(data, len);

	put(text, strlen(text));
	free(text);
}

/* How many of LEN bytes are whole characters: the last one may be cut. */
static size_t whole_characters(const char *text, size_t len)
{
	for (size_t back = 1; back <= len && back < MB_CUR_MAX; back++)
		if (mbrlen(text + len - back, back, &(mbstate_t){0}) == (size_t)-2)
			return len - back;
	return len;
}

static void copy(int fd, const char *name, bool visible)
{
	static char buffer[256 << 10];
	size_t kept = 0, whole;
	ssize_t n;

	while ((n = read(fd, buffer + kept, sizeof buffer - kept)) > 0) {
		if (!visible) {
			put(buffer, (size_t)n);
			continue;
		}
		kept += (size_t)n;
		whole = whole_characters(buffer, kept);
		put_visible(buffer, whole);
		kept -= whole;
		memmove(buffer, buffer + whole, kept);
	}
	if (n < 0)
		err(EX_IOERR, "job %s", name);
	put_visible(buffer, kept);
}

static int no_output(const struct job_word *word)
{
	char *name = cli_visible(word->place.file);

	warnx(
	    "job %s has no output: it was sent without --keep or --wait, or has not started", name);
	free(name);
	return EX_NOINPUT;
}

static int cat(const struct cat_tool *t, struct spool *spool, struct job_word *word)
{
	int status = cli_found(spool, word);
	char *name;
	int fd;

	if (status != EX_OK)
		return status;
	fd = open_moving(t, spool, word);
	if (fd < 0)
		return t->open == spool_output && errno == ENOENT ? no_output(word)
		                                                  : cli_complain(spool, NULL);
	name = cli_visible(word->place.file);
	if (t->cli.verbose)
		warnx("%s/%s", word->place.queue, name);
	copy(fd, name, t->visible);
	free(name);
	close(fd);
	return EX_OK;
}

static int cat_all(const struct cat_tool *t, const struct strings *words)
{
	struct spool *spool = cli_open(&t->cli, false, false);
	int status;
	struct job_word *word = cli_find(&t->cli, spool, words, &status);

	for (size_t i = 0; i < words->count; i++)
		status = cli_first_failure(status, cat(t, spool, &word[i]));
	free(word);
	spool_close(spool);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"output", no_argument, NULL, 'o'}, {"raw", no_argument, NULL, 'r'}, CLI_LONG};
	struct strings words = {0};
	struct cat_tool t = {.open = spool_payload, .visible = isatty(STDOUT_FILENO)};
	int option, status;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":or" CLI_SHORT, options, NULL)) != -1) {
		if (option == 'o')
			t.open = spool_output;
		else if (option == 'r')
			t.visible = false;
		else
			cli_option(&t.cli, option, help);
	}
	cli_words(argc - optind, argv + optind, &words);
	status = cat_all(&t, &words);
	cli_finish_output();
	strings_release(&words);
	return status;
}
