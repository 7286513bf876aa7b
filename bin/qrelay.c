/* qrelay: carry jobs between spools over NATS JetStream. See qrelay(1). */
#include "relay/buried.h"
#include "relay/pull.h"
#include "relay/push.h"
#include "relay/stat.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "worklog.h"

enum {
	OPT_DRAIN = 256,
	OPT_REPLICAS,
	OPT_FLIGHT,
	OPT_ROOM,
	OPT_LEASE,
	OPT_LIMIT,
	OPT_ACCEPT_ENV,
	OPT_PAYLOAD,
	OPT_ALL,
	FLIGHT_USUAL = 512,
	GRACE_USUAL_MS = 10000,
	LEASE_USUAL_MS = 30000,
	PATIENCE_MS = 10000, /* of those that do not stay, for a server */
};

static const char help[] =
    "usage: qrelay push -q QUEUE... [--drain] [URL]\n"
    "       qrelay pull -q QUEUE... [--room N] [URL]\n"
    "       qrelay stat [-q QUEUE]... [-j] [URL]\n"
    "       qrelay buried [-q QUEUE]... [-j | --payload] [URL] [JOB...]\n"
    "       qrelay kick [-q QUEUE]... [URL] JOB... | --all\n"
    "Carries jobs between spools by way of NATS JetStream. URL is that of a server, such as\n"
    "nats://10.0.0.1, or of several with commas between; $QRELAY_URL if it is not given.\n"
    "\n"
    "push    takes jobs of QUEUE out of the spool, once the stream has them\n"
    "      --drain             exit once the queue is empty\n"
    "      --accept-env NAMES  variables that any sender may set, as for qwork\n"
    "      --in-flight N       jobs that are on their way at once (512)\n"
    "      --replicas N        of a stream that is missing (3; 1 where there is no cluster)\n"
    "pull    takes as many as there is room for into the spool, and tells of their ends\n"
    "      --room N            so many ready at most (twice what the qworks run at once)\n"
    "      --lease DURATION    of a consumer that is missing: a host that says nothing for so\n"
    "                          long has lost its jobs to others (30s)\n"
    "      --limit N           so many at most on all hosts together, from now on; or none\n"
    "  -g, --grace DURATION    time for running jobs to end after TERM or INT (10s)\n"
    "      --replicas N        as above\n"
    "stat    shows the streams of QUEUE, or of all, and which hosts have what of them\n"
    "  -j, --json              one JSON object a line; of buried ones, too\n"
    "buried  lists what was buried on any host, or shows JOBs, ids or beginnings of ids\n"
    "      --payload           of one JOB its payload, and nothing else\n"
    "kick    has them tried again, with a fresh budget of attempts, wherever there is room\n"
    "      --all               all of QUEUE, or of all queues\n"
    "\n"
    "  -q, --queue QUEUE       repeatable\n" WIRE_HELP
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -v, --verbose           log or print the id of each job\n"
    "  -h, --help, -V, --version\n";

struct relay {
	struct cli cli;
	struct wire_options wire;
	struct strings queues, accept_env;
	struct push push;
	struct pull pull;
	struct relay_stat stat;
	struct buried buried;
};

/* --- verbs --- */

/* Those that stay go on as long as there is no server; of the others somebody waits for the answer. */
static struct wire *open_now(struct relay *relay)
{
	struct wire *wire = wire_open(&relay->wire);

	if (wire_wait(wire, PATIENCE_MS) != 0)
		errx(wire_is_over(wire) ? EX_NOPERM : EX_UNAVAILABLE, "%s", wire_why(wire));
	return wire;
}

static int run_push(struct relay *relay)
{
	struct spool *spool = cli_open(&relay->cli, true, false);
	int status;

	relay->push.wire = wire_open(&relay->wire);
	relay->push.queues = &relay->queues;
	relay->push.accept_env = &relay->accept_env;
	relay->push.verbose = relay->cli.verbose;
	status = push_run(&relay->push, spool);
	wire_close(relay->push.wire);
	spool_close(spool);
	return status;
}

/* Of jobs that leave many are open at once, and the usual limit is for select(2). */
static void raise_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

static int run_pull(struct relay *relay)
{
	struct spool *spool = cli_open(&relay->cli, true, false);
	int status;

	raise_files();
	relay->pull.wire = wire_open(&relay->wire);
	relay->pull.queues = &relay->queues;
	relay->pull.verbose = relay->cli.verbose;
	status = pull_run(&relay->pull, spool);
	wire_close(relay->pull.wire);
	spool_close(spool);
	return status;
}

static int run_stat(struct relay *relay)
{
	int status;

	relay->stat.wire = open_now(relay);
	relay->stat.queues = &relay->queues;
	status = relay_stat(&relay->stat);
	wire_close(relay->stat.wire);
	return status;
}

static int run_on_buried(struct relay *relay, int (*run)(const struct buried *buried))
{
	int status;

	relay->buried.wire = open_now(relay);
	relay->buried.queues = &relay->queues;
	relay->buried.verbose = relay->cli.verbose;
	status = run(&relay->buried);
	wire_close(relay->buried.wire);
	return status;
}

static int run_buried(struct relay *relay)
{
	buried_check_show(&relay->buried);
	return run_on_buried(relay, buried_show);
}

static int run_kick(struct relay *relay)
{
	buried_check_kick(&relay->buried);
	return run_on_buried(relay, buried_kick);
}

static const struct verb {
	const char *name;
	int (*run)(struct relay *relay);
	bool of_queues, of_jobs;
} verbs[] = {{"push", run_push, true, false}, {"pull", run_pull, true, false},
    {"stat", run_stat, false, false}, {"buried", run_buried, false, true},
    {"kick", run_kick, false, true}};

/* --- the command line --- */

static void add_queue(struct relay *relay)
{
	cli_option(&relay->cli, 'q', help);
	if (relay->queues.count == WIRE_QUEUES_MAX)
		cli_usage("--queue %s: that is more than %d", optarg, WIRE_QUEUES_MAX);
	for (size_t i = 0; i < relay->queues.count; i++)
		if (strcmp(relay->queues.item[i], optarg) == 0)
			cli_usage("--queue %s: given twice", optarg);
	if (strings_add(&relay->queues, optarg) != 0)
		err(EX_OSERR, NULL);
}

static void take_option(struct relay *relay, int option)
{
	if (wire_option(&relay->wire, option))
		return;
	switch (option) {
	case 'q':
		add_queue(relay);
		break;
	case OPT_DRAIN:
		relay->push.drain = true;
		break;
	case OPT_REPLICAS:
		relay->push.replicas = relay->pull.replicas =
		    (int)cli_number("--replicas", optarg, 1, REPLICAS_MAX);
		break;
	case OPT_FLIGHT:
		relay->push.flight = (unsigned)cli_number("--in-flight", optarg, 1, WORK_JOBS_MAX);
		break;
	case OPT_ACCEPT_ENV:
		cli_variables("--accept-env", optarg, &relay->accept_env);
		break;
	case OPT_ROOM:
		relay->pull.room = (unsigned)cli_number("--room", optarg, 1, WORK_JOBS_MAX);
		break;
	case OPT_LEASE:
		relay->pull.lease_ms = cli_duration("--lease", optarg);
		if (relay->pull.lease_ms < LEASE_LEAST_MS)
			cli_usage("--lease %s: 1s is the least", optarg);
		break;
	case OPT_LIMIT:
		relay->pull.limit = strcmp(optarg, "none") == 0
		    ? LIMIT_NONE
		    : (int)cli_number("--limit", optarg, 1, LIMIT_MAX);
		break;
	case 'g':
		relay->pull.grace_ms = cli_duration("--grace", optarg);
		break;
	case 'j':
		relay->stat.json = relay->buried.json = true;
		break;
	case OPT_PAYLOAD:
		relay->buried.payload = true;
		break;
	case OPT_ALL:
		relay->buried.all = true;
		break;
	default:
		cli_option(&relay->cli, option, help);
	}
}

static const struct verb *take_verb(const char *name)
{
	for (size_t i = 0; name && i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	cli_usage(
	    "%s%spush, pull, stat, buried or kick is wanted", name ? name : "", name ? ": " : "");
}

static void take_url(struct relay *relay, const char *word)
{
	const char *from = word ? word : getenv("QRELAY_URL");

	relay->wire.urls = strdup(from ? from : "");
	if (!relay->wire.urls)
		err(EX_OSERR, NULL);
	if (!*relay->wire.urls)
		cli_usage("which server? A URL is wanted, such as nats://127.0.0.1");
}

/* What is no URL is a job, where jobs are wanted. */
static void take_words(struct relay *relay, const struct verb *verb, int count, char **words)
{
	bool url = count > 0 && (!verb->of_jobs || strstr(words[0], "://"));

	take_url(relay, url ? words[0] : NULL);
	relay->buried.count = count - url;
	relay->buried.words = words + url;
	if (!verb->of_jobs && count > 1)
		cli_usage(
		    "%s: one URL is enough; of several servers, with commas between", words[1]);
	if (verb->of_queues && relay->queues.count == 0)
		cli_usage("%s: of which queue? -q QUEUE is wanted", verb->name);
}

static const struct verb *parse(struct relay *relay, int argc, char **argv)
{
	static const struct option options[] = {{"drain", no_argument, NULL, OPT_DRAIN},
	    {"replicas", required_argument, NULL, OPT_REPLICAS},
	    {"in-flight", required_argument, NULL, OPT_FLIGHT},
	    {"room", required_argument, NULL, OPT_ROOM},
	    {"accept-env", required_argument, NULL, OPT_ACCEPT_ENV},
	    {"lease", required_argument, NULL, OPT_LEASE},
	    {"limit", required_argument, NULL, OPT_LIMIT}, {"grace", required_argument, NULL, 'g'},
	    {"json", no_argument, NULL, 'j'}, {"payload", no_argument, NULL, OPT_PAYLOAD},
	    {"all", no_argument, NULL, OPT_ALL}, WIRE_LONG, CLI_LONG};
	const struct verb *verb;
	int option;

	while ((option = getopt_long(argc, argv, ":g:j" CLI_SHORT, options, NULL)) != -1)
		take_option(relay, option);
	verb = take_verb(argv[optind]);
	relay->wire.role = verb->name;
	take_words(relay, verb, argc - optind - 1, argv + optind + 1);
	return verb;
}

/* What setproctitle(3bsd) needs; it leaves copies in ARGV. A URL may have a password in it, which is not to be seen by ps(1). */
static void prepare_title(int argc, char **argv)
{
	char **seen = calloc((size_t)argc + 1, sizeof *seen);

	if (!seen)
		err(EX_OSERR, NULL);
	memcpy(seen, argv, (size_t)argc * sizeof *seen);
	setproctitle_init(argc, argv, environ);
	for (int i = 1; i < argc; i++)
		if (seen[i] != argv[i] && strchr(seen[i], '@'))
			memset(seen[i], '*', strlen(seen[i]));
	free(seen);
}

int main(int argc, char **argv)
{
	struct relay relay = {.push = {.flight = FLIGHT_USUAL},
	    .pull = {.grace_ms = GRACE_USUAL_MS, .lease_ms = LEASE_USUAL_MS}};
	const struct verb *verb;
	int status;

	worklog_begin();
	prepare_title(argc, argv);
	cli_begin(argv);
	signal(SIGPIPE, SIG_IGN);
	wire_environment(&relay.wire);
	verb = parse(&relay, argc, argv);
	status = verb->run(&relay);
	strings_release(&relay.queues);
	strings_release(&relay.accept_env);
	free(relay.wire.urls);
	return status;
}
