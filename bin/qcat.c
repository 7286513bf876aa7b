/* qcat: print payloads. See qcat(1). */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "usage: qcat [-q QUEUE] JOB...\n"
    "Writes the payloads of jobs to standard output. JOBs are ids, unique beginnings of\n"
    "ids, or paths; without any, they are read from standard input, one a line.\n"
    "\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       only in this queue\n"
    "  -v, --verbose           say on standard error which job comes\n"
    "  -h, --help, -V, --version\n";

enum { TRIES = 5 };

/* It may move between being found and being opened. */
static int open_payload(const struct cli *cli, struct spool *spool, struct job_word *word)
{
	for (int i = 0;; i++) {
		int fd = spool_payload(spool, &word->place);

		if (fd >= 0 || errno != ENOENT || i == TRIES)
			return fd;
		word->matches = 0;
		if (spool_find(spool, cli->queue, word, 1) != 0 || word->matches != 1) {
			errno = ENOENT;
			return -1;
		}
	}
}

static void copy(int fd, const char *name)
{
	static char buffer[256 << 10];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof buffer)) > 0)
		if (fwrite(buffer, 1, (size_t)n, stdout) != (size_t)n)
			err(EX_IOERR, "standard output");
	if (n < 0)
		err(EX_IOERR, "job %s", name);
}

static int cat(const struct cli *cli, struct spool *spool, struct job_word *word)
{
	int status = cli_found(spool, word);
	char *name;
	int fd;

	if (status != EX_OK)
		return status;
	fd = open_payload(cli, spool, word);
	if (fd < 0)
		return cli_complain(spool, NULL);
	name = cli_visible(word->place.file);
	if (cli->verbose)
		fprintf(
		    stderr, "%s: %s/%s\n", program_invocation_short_name, word->place.queue, name);
	copy(fd, name);
	free(name);
	close(fd);
	return EX_OK;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {CLI_LONG};
	struct strings words = {0};
	struct job_word *word;
	struct cli cli = {0};
	struct spool *spool;
	int option, status = EX_OK;

	cli_begin();
	while ((option = getopt_long(argc, argv, CLI_SHORT, options, NULL)) != -1)
		cli_option(&cli, option, help);
	cli_words(argc - optind, argv + optind, &words);
	spool = cli_open(&cli, false, false);
	word = calloc(words.count + 1, sizeof *word);
	if (!word)
		err(EX_OSERR, NULL);
	for (size_t i = 0; i < words.count; i++)
		word[i].text = words.item[i];
	if (spool_find(spool, cli.queue, word, words.count) != 0)
		status = cli_complain(spool, NULL);
	for (size_t i = 0; i < words.count; i++) {
		int one = cat(&cli, spool, &word[i]);

		status = status != EX_OK ? status : one;
	}
	cli_finish_output();
	free(word);
	strings_release(&words);
	spool_close(spool);
	return status;
}
