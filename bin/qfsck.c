/* qfsck: prove a spool sound. See qfsck(1). */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_REPAIR = 256, FAULTS_FOUND = 1, PROGRESS_MS = 200 };

static const char help[] =
    "usage: qfsck [-jv] [-q QUEUE]... [--repair]\n"
    "Proves a spool sound, or names each fault. Senders and qworks may go on meanwhile.\n"
    "The status is 0 if nothing is wrong, or all was repaired, and 1 if faults are left.\n"
    "\n"
    "      --repair            mend what can be; no job is deleted\n"
    "  -j, --json              one JSON object a line\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       only this queue; more than once for several\n"
    "  -v, --verbose           tell also what a qwork will mend by itself\n"
    "  -h, --help, -V, --version\n";

struct fsck {
	struct cli cli;
	bool json;
	bool live; /* standard error is a terminal: show how far it is */
	int64_t shown_ms;
	int status; /* of the first thing that could not be checked */
	struct strings queues;
	struct spool *spool;
};

static const char *const class_name[CHECK_CLASSES] = {"fault", "pending", "repaired", "note"};

static void hide_progress(struct fsck *t)
{
	if (t->live && t->shown_ms > 0)
		dprintf(STDERR_FILENO, "\r\033[K");
	t->shown_ms = 0;
}

static void progress(void *arg, const char *queue, size_t names)
{
	struct fsck *t = arg;
	int64_t now = cli_now_ms();

	if (!t->live || now - t->shown_ms < PROGRESS_MS)
		return;
	dprintf(STDERR_FILENO, "\r%s: %s: %zu\033[K", program_invocation_short_name, queue, names);
	t->shown_ms = now;
}

static void print_json(const struct check_finding *f)
{
	printf("{\"class\":\"%s\"", class_name[f->class]);
	cli_json_member("kind", f->kind);
	cli_json_member("queue", f->queue);
	cli_json_member("dir", f->dir);
	cli_json_member("file", f->file);
	cli_json_member("id", f->id);
	cli_json_member("reason", f->reason);
	cli_json_member("error", f->error ? strerror(f->error) : NULL);
	puts("}");
}

static void print_text(const struct check_finding *f)
{
	const char *part[] = {f->queue, f->dir, f->file};
	const char *slash = "";
	char *text;

	printf("%s %s ", class_name[f->class], f->kind);
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		if (!part[i])
			continue;
		text = cli_visible(part[i]);
		printf("%s%s", slash, text);
		free(text);
		slash = "/";
	}
	text = cli_visible(f->reason);
	printf(": %s", text);
	free(text);
	if (f->error)
		printf(" (not repaired: %s)", strerror(f->error));
	putchar('\n');
}

static void report(void *arg, const struct check_finding *finding)
{
	struct fsck *t = arg;

	hide_progress(t);
	if (t->json)
		print_json(finding);
	else if (t->cli.verbose || finding->class == CHECK_FAULT ||
	    finding->class == CHECK_REPAIRED)
		print_text(finding);
}

static void failed(void *arg)
{
	struct fsck *t = arg;
	int status;

	hide_progress(t);
	status = cli_complain(t->spool, NULL);
	t->status = t->status != EX_OK ? t->status : status;
}

static void print_summary(const struct fsck *t, const struct check_totals *totals)
{
	const size_t *n = totals->findings;

	if (t->json)
		printf("{\"class\":\"summary\",\"jobs\":%zu,\"faults\":%zu,\"pending\":%zu,"
		       "\"repaired\":%zu}\n",
		    totals->jobs, n[CHECK_FAULT], n[CHECK_PENDING], n[CHECK_REPAIRED]);
	else if (t->cli.verbose)
		printf("%zu jobs, %zu faults, %zu pending, %zu repaired\n", totals->jobs,
		    n[CHECK_FAULT], n[CHECK_PENDING], n[CHECK_REPAIRED]);
}

static int check(struct fsck *t, bool repair)
{
	struct check_options options = {
	    .repair = repair, .report = report, .failed = failed, .progress = progress, .arg = t};
	struct check_totals totals;
	int status = EX_OK;

	if (spool_check(t->spool, &t->queues, &options, &totals) != 0)
		status = cli_complain(t->spool, NULL);
	hide_progress(t);
	if (status == EX_OK)
		print_summary(t, &totals);
	if (status == EX_OK)
		status = t->status;
	return status == EX_OK && totals.findings[CHECK_FAULT] > 0 ? FAULTS_FOUND : status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"repair", no_argument, NULL, OPT_REPAIR}, {"json", no_argument, NULL, 'j'}, CLI_LONG};
	struct fsck t = {0};
	bool repair = false;
	int option, status;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":j" CLI_SHORT, options, NULL)) != -1) {
		if (option == OPT_REPAIR)
			repair = true;
		else if (option == 'j')
			t.json = true;
		else
			cli_option(&t.cli, option, help);
		if (option == 'q' && strings_add(&t.queues, t.cli.queue) != 0)
			err(EX_OSERR, NULL);
	}
	if (optind < argc)
		cli_usage("%s: no argument is wanted; name queues with -q", argv[optind]);
	t.live = isatty(STDERR_FILENO);
	t.spool = cli_open(&t.cli, false, false);
	status = check(&t, repair);
	cli_finish_output();
	spool_close(t.spool);
	strings_release(&t.queues);
	return status;
}
