/* qwork: run a command on each job of a queue. See qwork(1). */
#include "worklog.h"

#include <bsd/stdlib.h>
#include <bsd/unistd.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum long_option {
	OPT_DRAIN = 256,
	OPT_SCAN,
	OPT_MAX_LOAD,
	OPT_MIN_FREE,
	OPT_MAX_PRESSURE,
	OPT_PERSIST,
	OPT_MAX_JOBS,
	OPT_MAX_RSS,
	OPT_NO_NEW_PRIVS,
	OPT_ACCEPT_ENV
};

static const char help[] =
    "usage: qwork [-q QUEUE]... [options] [--] [COMMAND [ARGUMENT...]]\n"
    "Runs COMMAND once for each job of QUEUE, the payload on its standard input.\n"
    "Without COMMAND, runs the executable `handler` in the queue's directory; and without\n"
    "QUEUE, too, serves every queue that has one, also those that come later.\n"
    "\n"
    "  -j, --jobs N            run so many at once (1)\n"
    "  -j, --jobs MIN..MAX     at least MIN, and up to MAX as jobs wait and the load allows\n"
    "      --max-load LOAD     above it, start no further job\n"
    "      --min-free SIZE     nor with less memory available, such as 512M\n"
    "      --max-pressure P    nor when memory or disks are waited for in P % of the time\n"
    "      --drain             exit once nothing can be started and nothing runs\n"
    "      --drain=all         wait for delayed jobs and for what others run, too\n"
    "      --persist           handlers stay, and are fed one job a line\n"
    "      --max-jobs N        one of these ends after N jobs\n"
    "      --max-rss SIZE      and after a job with which it has grown beyond SIZE\n"
    "  -1, --once              run one job, then exit\n"
    "  -A, --attempts N        attempts until a job is buried (10)\n"
    "  -b, --backoff BASE..CAP waits between attempts, doubling (5s..1h)\n"
    "  -t, --timeout DURATION  ends an attempt that takes longer (none)\n"
    "      --memory SIZE       that a job may take, such as 512M (as much as there is)\n"
    "      --cpu DURATION      processor time that a job may take (as much as it wants)\n"
    "      --nice N            lowers the priority of handlers, by 0 to 19 (0)\n"
    "      --no-new-privs      no handler gains privileges, by setuid programs for instance\n"
    "      --accept-env NAMES  variables that any sender may set, such as HTTP_PROXY,MAGICK_*\n"
    "  -g, --grace DURATION    time for running jobs to end after TERM or INT (10s)\n"
    "  -B, --bury-on LIST      exit statuses that bury at once, such as 65,70-78 (65)\n"
    "      --scan DURATION     between scans that do not rely on events (1m)\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE[,jobs=N][,weight=W]\n"
    "                          a queue, repeatable; runs at most N of it at once, with W\n"
    "                          shares of the time (default, with COMMAND)\n"
    "  -v, --verbose           log successes too\n"
    "  -h, --help, -V, --version\n";

struct working {
	struct cli cli;
	struct work_options options;
	struct work_queue *queues;
	struct meta defaults;
};

static void report(void *arg, const struct work_event *event)
{
	const struct working *w = arg;

	if (event->outcome != WORK_FINISHED || w->cli.verbose)
		worklog(event);
}

/* "65,70-78" */
static void set_bury_on(struct working *w, const char *list)
{
	char *copy = strdup(list), *rest = copy, *item;

	memset(w->options.bury_on, 0, sizeof w->options.bury_on);
	while (copy && *list && (item = strsep(&rest, ",")) != NULL) {
		char *dash = strchr(item, '-');
		long long first, last;

		if (dash)
			*dash = '\0';
		first = cli_number("--bury-on", item, 1, 255);
		last = dash ? cli_number("--bury-on", dash + 1, first, 255) : first;
		for (; first <= last; first++)
			w->options.bury_on[first] = true;
	}
	free(copy);
}

/* "8", or "2..16": what is between follows the queue and, if nothing else is said, the load. */
static void set_jobs(struct working *w, const char *text)
{
	struct work_means *means = &w->options.means;
	const char *dots = strstr(text, "..");
	char least[16];

	means->by_length = dots != NULL;
	means->min = 1;
	if (dots) {
		snprintf(least, sizeof least, "%.*s", (int)(dots - text), text);
		means->min = (unsigned)cli_number("--jobs", least, 0, WORK_JOBS_MAX);
		text = dots + 2;
	}
	w->options.jobs =
	    (unsigned)cli_number("--jobs", text, means->min > 0 ? means->min : 1, WORK_JOBS_MAX);
}

static void set_drain(struct working *w, const char *what)
{
	if (!what)
		w->options.drain = DRAIN_READY;
	else if (strcmp(what, "all") == 0)
		w->options.drain = DRAIN_ALL;
	else
		cli_usage("--drain=%s: --drain or --drain=all is wanted", what);
}

static void set_queue_option(struct work_queue *queue, const char *option)
{
	if (strncmp(option, "jobs=", 5) == 0)
		queue->jobs = (unsigned)cli_number("--queue, jobs", option + 5, 1, WORK_JOBS_MAX);
	else if (strncmp(option, "weight=", 7) == 0)
		queue->weight =
		    (unsigned)cli_number("--queue, weight", option + 7, 1, WORK_WEIGHT_MAX);
	else
		cli_usage("--queue: %s: jobs=N or weight=W is wanted", option);
}

static void add_queue(struct working *w, const char *name, char *options)
{
	size_t count = w->options.queue_count;
	struct work_queue *queues = reallocarray(w->queues, count + 1, sizeof *queues);

	if (!queues)
		err(EX_OSERR, NULL);
	for (size_t i = 0; i < count; i++)
		if (strcmp(queues[i].name, name) == 0)
			cli_usage("--queue %s: given twice", name);
	queues[count] = (struct work_queue){.name = name};
	for (char *option; (option = strsep(&options, ",")) != NULL;)
		set_queue_option(&queues[count], option);
	w->options.queues = w->queues = queues;
	w->options.queue_count = count + 1;
}

/* What is no name is shown whole. */
static void set_queue(struct working *w, char *text)
{
	char *options = strchr(text, ',');

	if (options)
		*options = '\0';
	if (options && !queue_name_ok(text))
		*options = ',';
	cli_option(&w->cli, 'q', help);
	add_queue(w, text, options ? options + 1 : NULL);
}

/* A command is for one queue, if not for those that are named. */
static void choose_queues(struct working *w)
{
	if (w->options.queue_count == 0 && w->options.command)
		add_queue(w, "default", NULL);
}

static void take_option(struct working *w, int option)
{

	if (cli_policy(&w->defaults, option)) /* for jobs that do not bring their own */
		return;
	switch (option) {
	case 'j':
		set_jobs(w, optarg);
		break;
	case 'q':
		set_queue(w, optarg);
		break;
	case OPT_PERSIST:
		w->options.persist = true;
		break;
	case OPT_MAX_JOBS:
		w->options.max_jobs = (unsigned)cli_number("--max-jobs", optarg, 1, INT32_MAX);
		break;
	case OPT_MAX_RSS:
		w->options.max_rss = (uint64_t)cli_size("--max-rss", optarg, 1);
		break;
	case '1':
		w->options.once = true;
		break;
	case 'g':
		w->options.grace_ms = cli_duration("--grace", optarg);
		break;
	case 'B':
		set_bury_on(w, optarg);
		break;
	case OPT_NO_NEW_PRIVS:
		w->options.no_new_privileges = true;
		break;
	case OPT_ACCEPT_ENV:
		cli_variables("--accept-env", optarg, &w->options.accept_env);
		break;
	case OPT_MAX_LOAD:
		w->options.means.max_load = cli_decimal("--max-load", optarg, WORK_JOBS_MAX);
		break;
	case OPT_MIN_FREE:
		w->options.means.min_free = cli_size("--min-free", optarg, 1);
		break;
	case OPT_MAX_PRESSURE:
		w->options.means.max_pressure = cli_decimal("--max-pressure", optarg, 100);
		break;
	case OPT_DRAIN:
		set_drain(w, optarg);
		break;
	case OPT_SCAN:
		w->options.scan_ms = cli_duration("--scan", optarg);
		if (w->options.scan_ms < 100)
			cli_usage("--scan %s: 100ms is the least", optarg);
		break;
	default:
		cli_option(&w->cli, option, help);
	}
}

static void parse(struct working *w, int argc, char *const *argv)
{
	static const struct option options[] = {{"jobs", required_argument, NULL, 'j'},
	    {"drain", optional_argument, NULL, OPT_DRAIN}, {"once", no_argument, NULL, '1'},
	    {"persist", no_argument, NULL, OPT_PERSIST},
	    {"max-jobs", required_argument, NULL, OPT_MAX_JOBS},
	    {"max-rss", required_argument, NULL, OPT_MAX_RSS}, CLI_POLICY_LONG,
	    {"grace", required_argument, NULL, 'g'}, {"bury-on", required_argument, NULL, 'B'},
	    {"scan", required_argument, NULL, OPT_SCAN},
	    {"max-load", required_argument, NULL, OPT_MAX_LOAD},
	    {"min-free", required_argument, NULL, OPT_MIN_FREE},
	    {"max-pressure", required_argument, NULL, OPT_MAX_PRESSURE},
	    {"no-new-privs", no_argument, NULL, OPT_NO_NEW_PRIVS},
	    {"accept-env", required_argument, NULL, OPT_ACCEPT_ENV}, CLI_LONG};
	int option;

	while ((option = getopt_long(argc, argv, "+:j:1A:b:t:g:B:" CLI_SHORT, options, NULL)) != -1)
		take_option(w, option);
	if (!w->options.persist && (w->options.max_jobs > 0 || w->options.max_rss > 0))
		cli_usage("--max-jobs and --max-rss: of handlers that stay, with --persist");
	if (w->options.means.by_length && w->options.means.max_load == 0)
		w->options.means.max_load = (double)sysconf(_SC_NPROCESSORS_ONLN);
	if (optind < argc)
		w->options.command = argv + optind;
}

/* Nothing to drain where nothing ever was. */
static bool leave_out_missing(struct working *w, struct spool *spool)
{
	size_t kept = 0;

	if (w->options.drain == DRAIN_NO)
		return true;
	for (size_t i = 0; i < w->options.queue_count; i++) {
		if (spool && spool_has_queue(spool, w->queues[i].name))
			w->queues[kept++] = w->queues[i];
		else if (w->cli.verbose)
			warnx("no queue %s%s%s: nothing to do", w->queues[i].name,
			    spool ? " in " : ", and no spool", spool ? spool_path(spool) : "");
	}
	w->options.queue_count = kept;
	return kept > 0;
}

static bool has_work(struct working *w, struct spool *spool)
{
	struct strings queues = {0};
	bool any;

	if (w->options.queue_count > 0)
		return leave_out_missing(w, spool);
	any = spool &&
	    (w->options.drain == DRAIN_NO || spool_queues(spool, &queues) != 0 || queues.count > 0);
	strings_release(&queues);
	if (!any && w->cli.verbose)
		warnx("no queues%s%s: nothing to do", spool ? " in " : ", and no spool",
		    spool ? spool_path(spool) : "");
	return any;
}

static int complain(const struct spool *spool, bool all)
{
	switch (errno) {
	case ENOEXEC:
		warnx("the handler could not be run; its jobs wait");
		return EX_UNAVAILABLE;
	case ESTALE:
		return worklog_moved(spool, NULL);
	case EPERM:
		warnx("%s/%s is refused: it must be a file of root's or your own that nobody else "
		      "can write",
		    spool_path(spool), spool_place(spool));
		return EX_CONFIG;
	case ENOENT:
		if (all) {
			warnx("%s: no queue has a handler: name a COMMAND, or put an executable "
			      "handler into the directory of a queue",
			    spool_path(spool));
			return EX_CONFIG;
		}
		warnx("%s/%s is missing: name a COMMAND, or put an executable handler there",
		    spool_path(spool), spool_place(spool));
		return EX_CONFIG;
	case EACCES:
		if (strstr(spool_place(spool), "/handler")) {
			warnx("%s/%s is not executable", spool_path(spool), spool_place(spool));
			return EX_CONFIG;
		}
		/* fall through */
	default:
		return cli_complain(spool, NULL);
	}
}

int main(int argc, char **argv)
{
	struct working w = {.options = {.jobs = 1,
	                        .means = {.min = 1},
	                        .grace_ms = 10000,
	                        .scan_ms = 60000,
	                        .report = report,
	                        .arg = &w}};
	struct spool *spool;
	int status = EX_OK;

	worklog_begin();
	setproctitle_init(argc, argv, environ); /* before anything keeps a word of them */
	cli_begin(argv);
	signal(SIGPIPE, SIG_IGN); /* of our own stderr; a handler starts with the default */
	meta_init(&w.defaults);
	w.options.defaults = &w.defaults;
	w.options.bury_on[EX_DATAERR] = true;
	parse(&w, argc, argv);
	choose_queues(&w);
	spool = cli_open(&w.cli, w.options.drain == DRAIN_NO, w.options.drain != DRAIN_NO);
	if (!has_work(&w, spool)) {
		spool_close(spool);
		free(w.queues);
		return EX_OK;
	}
	if (spool_work(spool, &w.options) != 0)
		status = complain(spool, w.options.queue_count == 0);
	spool_close(spool);
	strings_release(&w.options.accept_env);
	meta_release(&w.defaults);
	free(w.queues);
	return status;
}
