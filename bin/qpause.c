/* qpause: stop and resume queues. See qpause(1). */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: qpause [-f DURATION] QUEUE...\n"
    "       qpause -r QUEUE...\n"
    "Pauses queues: their running jobs go on, and no other is started.\n"
    "\n"
    "  -f, --for DURATION      for so long (10m, 1h30m); without it, until resumed\n"
    "  -r, --resume            start their jobs again\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       the same as the argument QUEUE\n"
    "  -v, --verbose           print what was done\n"
    "  -h, --help, -V, --version\n";

enum { SHORTEST_MS = 1000 };

struct pause_tool {
	struct cli cli;
	bool resume;
	int64_t for_ms; /* or JOB_DUE_NONE */
	struct spool *spool;
};

static int64_t duration(const char *text)
{
	int64_t ms = cli_duration("--for", text);

	if (ms < SHORTEST_MS)
		cli_usage("--for %s: a second or more is wanted", text);
	return ms;
}

static void tell(const struct pause_tool *t, const char *queue, int done, int64_t until_ms)
{
	char until[WHEN_SIZE];

	if (!t->cli.verbose)
		return;
	if (t->resume) {
		printf("%s: %s\n", queue, done == 0 ? "was not paused" : "resumed");
	} else if (until_ms == JOB_DUE_NONE) {
		printf("%s: paused\n", queue);
	} else {
		when_rfc3339(until_ms, until);
		printf("%s: paused until %s\n", queue, until);
	}
}

static int no_queue(const struct pause_tool *t, const char *queue)
{
	char *name = cli_visible(queue);

	warnx("no queue %s in %s", name, spool_path(t->spool));
	free(name);
	return EX_NOINPUT;
}

/* Its status. */
static int pause_or_resume(const struct pause_tool *t, const char *queue)
{
	int64_t until_ms = t->for_ms == JOB_DUE_NONE ? JOB_DUE_NONE : cli_now_ms() + t->for_ms;
	char what[QUEUE_NAME_SIZE + 64];
	int done;

	if (spool_has_queue(t->spool, queue) != 1)
		return no_queue(t, queue);
	done = t->resume ? spool_resume(t->spool, queue) : spool_pause(t->spool, queue, until_ms);
	if (done < 0)
		return cli_complain(t->spool, NULL);
	tell(t, queue, done, until_ms);
	if (done != SPOOL_UNSURE)
		return EX_OK;
	snprintf(what, sizeof what, "queue %s was %s, but a power cut may undo it", queue,
	    t->resume ? "resumed" : "paused");
	cli_complain(t->spool, what);
	return EX_TEMPFAIL;
}

static int each(const struct pause_tool *t, int count, char *const *queues)
{
	int status = t->cli.queue ? pause_or_resume(t, t->cli.queue) : EX_OK;

	for (int i = 0; i < count; i++)
		status = cli_first_failure(status, pause_or_resume(t, queues[i]));
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"for", required_argument, NULL, 'f'}, {"resume", no_argument, NULL, 'r'}, CLI_LONG};
	struct pause_tool t = {.for_ms = JOB_DUE_NONE};
	int option, status;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":f:r" CLI_SHORT, options, NULL)) != -1) {
		if (option == 'f')
			t.for_ms = duration(optarg);
		else if (option == 'r')
			t.resume = true;
		else
			cli_option(&t.cli, option, help);
	}
	if (t.resume && t.for_ms != JOB_DUE_NONE)
		cli_usage("--for says how long to pause, and --resume ends a pause");
	if (optind == argc && !t.cli.queue)
		cli_usage("no queue is named");
	t.spool = cli_open(&t.cli, false, false);
	status = each(&t, argc - optind, argv + optind);
	cli_finish_output();
	spool_close(t.spool);
	return status;
}
