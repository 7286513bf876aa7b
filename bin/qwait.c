/* qwait: wait until jobs have ended. See qwait(1). */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "usage: qwait [-q QUEUE] [-t DURATION] JOB | BATCH...\n"
    "Waits until all of these jobs, and all members of these batches, have finished or are\n"
    "buried. JOBs are ids, unique beginnings of ids, or paths; without any, they are read\n"
    "from standard input, one a line. A BATCH is sealed: no job can join it any more.\n"
    "\n"
    "  -t, --timeout DURATION  give up after so long\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       look for JOBs in this queue only\n"
    "  -v, --verbose           say on standard error what became of each\n"
    "  -h, --help, -V, --version\n";

enum { NOT_FINISHED = 1, PROGRESS_MS = 200 };

struct wait_tool {
	struct cli cli;
	int64_t timeout_ms; /* -1: none */
	struct spool *spool;
	struct await *await;
	struct await_counts counts;
	bool progress;
};

static size_t all(const struct await_counts *counts)
{
	size_t sum = 0;

	for (size_t i = 0; i < AWAIT_FATES; i++)
		sum += counts->of[i];
	return sum;
}

static int64_t mono_ms(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- what to wait for --- */

static _Noreturn void no_such(const struct wait_tool *t, const char *word)
{
	char *text = cli_visible(word);

	errx(EX_NOINPUT, "no job or batch %s in %s", text, spool_path(t->spool));
}

/* A whole id that is nowhere may have finished. */
static void add_job(const struct wait_tool *t, const struct job_word *word)
{
	const char *id = word->text, *queue = t->cli.queue;
	int status = EX_OK;

	if (word->matches == 0 && !job_id_ok(id))
		no_such(t, id);
	if (word->matches > 0) {
		status = cli_found(t->spool, word);
		if (status != EX_OK)
			exit(status);
		if (!word->place.ours)
			errx(EX_DATAERR, "%s is no job yet, it has no id", word->place.file);
		id = word->place.name.id;
		queue = word->place.queue;
	}
	if (await_job(t->await, queue, id) != 0)
		err(EX_OSERR, NULL);
}

/* False if it is no batch. */
static bool add_batch(const struct wait_tool *t, const char *word)
{
	if (job_id_ok(word))
		return false;
	if (await_batch(t->await, word) == 0)
		return true;
	if (errno != ENOENT && errno != EINVAL)
		exit(cli_complain(t->spool, word));
	return false;
}

static void add_words(const struct wait_tool *t, const struct strings *words)
{
	struct job_word *word = calloc(words->count + 1, sizeof *word);
	size_t jobs = 0;

	if (!word)
		err(EX_OSERR, NULL);
	for (size_t i = 0; i < words->count; i++)
		if (!add_batch(t, words->item[i]))
			word[jobs++].text = words->item[i];
	if (jobs > 0 && spool_find(t->spool, t->cli.queue, word, jobs) != 0)
		exit(cli_complain(t->spool, NULL));
	for (size_t i = 0; i < jobs; i++)
		add_job(t, &word[i]);
	free(word);
}

/* --- waiting --- */

static void show_progress(const struct wait_tool *t)
{
	const size_t *of = t->counts.of;

	if (t->progress)
		dprintf(STDERR_FILENO, "\r%s: %zu of %zu finished, %zu buried  ",
		    program_invocation_short_name, of[AWAIT_FINISHED], all(&t->counts),
		    of[AWAIT_BURIED]);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* What changes within PROGRESS_MS is shown at once, at its end. 1 all have ended, 0 it is time. */
static int wait_shown(struct wait_tool *t, int64_t until)
{
	int64_t shown = 0, show_at = -1;

	for (;;) {
		int64_t now = mono_ms(), next = earlier(until, show_at);
		struct await_counts before = t->counts;
		int ended = await_step(t->await,
		    next < 0         ? -1
		        : next > now ? next - now
		                     : 0,
		    &t->counts);

		now = mono_ms();
		if (memcmp(&before, &t->counts, sizeof before) != 0 && show_at < 0)
			show_at = shown + PROGRESS_MS;
		if (ended != 0 || (until >= 0 && now >= until))
			return ended;
		if (show_at >= 0 && now >= show_at) {
			show_progress(t);
			shown = now;
			show_at = -1;
		}
	}
}

static int tell_fate(void *arg, const char *id, enum await_fate fate)
{
	static const char *const words[] = {"outstanding", "finished", "buried", "deleted"};

	(void)arg;
	warnx("job %s: %s", id, words[fate]);
	return 0;
}

static void tell_lacking(const char *batch)
{
	char *shown = cli_visible(batch);

	warnx("a job of batch %s was deleted", shown);
	free(shown);
}

static int result(const struct wait_tool *t)
{
	const size_t *of = t->counts.of;
	size_t jobs = all(&t->counts);
	const char *lacking = of[AWAIT_OUTSTANDING] > 0 ? NULL : await_lacking(t->await);

	if (of[AWAIT_OUTSTANDING] > 0)
		warnx("timed out: %zu of %zu jobs have not ended", of[AWAIT_OUTSTANDING], jobs);
	if (of[AWAIT_BURIED] > 0)
		warnx("%zu of %zu jobs are buried", of[AWAIT_BURIED], jobs);
	if (of[AWAIT_DELETED] > 0)
		warnx("%zu of %zu jobs were deleted", of[AWAIT_DELETED], jobs);
	if (lacking && of[AWAIT_DELETED] == 0)
		tell_lacking(lacking);
	if (of[AWAIT_OUTSTANDING] > 0)
		return EX_TEMPFAIL;
	return lacking || of[AWAIT_BURIED] + of[AWAIT_DELETED] > 0 ? NOT_FINISHED : EX_OK;
}

static int wait_for(struct wait_tool *t, const struct strings *words)
{
	int64_t until = t->timeout_ms < 0 ? -1 : mono_ms() + t->timeout_ms;
	int ended;

	t->spool = cli_open(&t->cli, false, false);
	if (t->cli.queue && !spool_has_queue(t->spool, t->cli.queue))
		errx(EX_NOINPUT, "no queue %s in %s", t->cli.queue, spool_path(t->spool));
	t->await = await_open(t->spool);
	if (!t->await)
		err(EX_OSERR, NULL);
	add_words(t, words);
	ended = wait_shown(t, until);
	if (t->progress) {
		show_progress(t);
		dprintf(STDERR_FILENO, "\n");
	}
	if (ended < 0)
		return cli_complain(t->spool, NULL);
	if (t->cli.verbose)
		await_each(t->await, tell_fate, NULL);
	return result(t);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"timeout", required_argument, NULL, 't'}, CLI_LONG};
	struct wait_tool t = {.timeout_ms = -1, .progress = isatty(STDERR_FILENO)};
	struct strings words = {0};
	int option, status = EX_OK;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":t:" CLI_SHORT, options, NULL)) != -1) {
		if (option == 't')
			t.timeout_ms = cli_duration("--timeout", optarg);
		else
			cli_option(&t.cli, option, help);
	}
	cli_words(argc - optind, argv + optind, &words);
	if (words.count > 0) /* no ids on standard input are no jobs, and no error */
		status = wait_for(&t, &words);
	await_close(t.await);
	spool_close(t.spool);
	strings_release(&words);
	return status;
}
