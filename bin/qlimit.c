/* qlimit: show and set what limits resources. See qlimit(1). */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum long_option { OPT_JOBS = 256, OPT_RATE, OPT_BURST, OPT_BREAKER };
enum { SETTINGS = RESOURCE_BREAKER + 1 };

static const char help[] =
    "usage: qlimit [-j] [NAME]\n"
    "       qlimit [--jobs N] [--rate N/s] [--burst N] [--breaker FAILURES,BASE..CAP]\n"
    "              [--open [--for DURATION] | --close] NAME\n"
    "Shows resources, which jobs name by qsend --resource, or limits one.\n"
    "\n"
    "      --jobs N            so many jobs at most have it at once; 0: none\n"
    "      --rate N/s          so many start in a second (/m, /h, /d)\n"
    "      --burst N           so many may start at once (what the rate gives in 100ms)\n"
    "      --breaker FAILURES,BASE..CAP\n"
    "                          after so many failures in a row jobs wait, BASE at first\n"
    "                          and up to CAP, such as 5,30s..10m, and one probes\n"
    "                          each of these may be none\n"
    "  -o, --open              open the breaker: its jobs wait until it is closed\n"
    "  -f, --for DURATION      only for so long; then one job probes\n"
    "  -c, --close             close it: its jobs are let in gradually\n"
    "  -j, --json              one JSON object a line\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -v, --verbose           show the resource after it was changed\n"
    "  -h, --help, -V, --version\n";

struct limit_tool {
	struct cli cli;
	const char *value[SETTINGS]; /* NULL: not given; "none" removes it */
	bool open, close, json;
	int64_t for_ms; /* 0: for good */
	struct spool *spool;
	size_t shown;
};

static const char *const option_of[SETTINGS] = {"--jobs", "--rate", "--burst", "--breaker"};
static const char *const wanted[SETTINGS] = {"0 to 1000000, or none,",
    "10/s, 600/m, 5000/h or 20/d, or none,", "1 to 1000000, or none,",
    "FAILURES,BASE..CAP, such as 5,30s..10m, or none,"};

/* --- showing --- */

enum { STATE_SIZE = 2 * WHEN_SIZE };

static void state_text(const struct resource_status *s, char text[static STATE_SIZE])
{
	const struct limits *limits = &s->limits;
	char until[WHEN_SIZE];

	if (limits->open && limits->until.until_ms != OPEN_FOR_GOOD && !s->probing &&
	    limits->until.until_ms > cli_now_ms()) {
		when_rfc3339(limits->until.until_ms, until);
		snprintf(text, STATE_SIZE, "open until %s", until);
	} else if (limits->open) {
		strcpy(text,
		    s->probing                                    ? "probing"
		        : limits->until.until_ms == OPEN_FOR_GOOD ? "open"
		                                                  : "probe is due");
	} else if (limits->window > 0) {
		snprintf(text, STATE_SIZE, "lets in %u", limits->window);
	} else {
		strcpy(text, "closed");
	}
}

struct texts {
	char jobs[LIMIT_SIZE], rate[LIMIT_SIZE], burst[LIMIT_SIZE], breaker[LIMIT_SIZE];
	char state[STATE_SIZE];
};

/* "-" for what is not set. */
static void put_texts(const struct resource_status *s, struct texts *texts)
{
	const struct limits *limits = &s->limits;

	*texts = (struct texts){"-", "-", "-", "-", ""};
	if (limits->has_jobs)
		snprintf(texts->jobs, LIMIT_SIZE, "%u", limits->jobs);
	if (limits->has_rate)
		rate_format(&limits->rate, texts->rate);
	if (limits->has_rate || limits->has_burst)
		snprintf(texts->burst, LIMIT_SIZE, "%u", limits->burst);
	if (limits->has_breaker)
		breaker_format(&limits->breaker, texts->breaker);
	state_text(s, texts->state);
}

static int show_row(void *arg, const struct resource_status *s)
{
	struct limit_tool *t = arg;
	char *name = cli_visible(s->name);
	struct texts texts;

	if (t->shown++ == 0)
		printf("%-20s %7s %7s %7s %9s %-16s %s\n", "RESOURCE", "LIMIT", "RUNNING",
		    "WAITING", "RATE", "BREAKER", "STATE");
	put_texts(s, &texts);
	printf("%-20s %7s %7zu %7zu %9s %-16s %s%s%s\n", name, texts.jobs, s->running, s->waiting,
	    texts.rate, texts.breaker, texts.state, s->limits.wrong ? ", wrong: " : "",
	    s->limits.wrong ? s->limits.wrong : "");
	free(name);
	return 0;
}

static int show_one(void *arg, const struct resource_status *s)
{
	struct texts texts;
	char *name = cli_visible(s->name);

	(void)arg;
	put_texts(s, &texts);
	printf("resource  %s\ndirectory .resource/%s\njobs      %s\nrate      %s\n"
	       "burst     %s\nbreaker   %s\nstate     %s\nfailures  %u\nrunning   %zu\n"
	       "waiting   %zu\n",
	    name, s->label, texts.jobs, texts.rate, texts.burst, texts.breaker, texts.state,
	    s->failures, s->running, s->waiting);
	if (s->limits.open && s->probe)
		printf("probe     %s\n", s->probe);
	if (s->limits.wrong)
		printf("wrong     %s\n", s->limits.wrong);
	free(name);
	return 0;
}

static void json_text(const char *key, const char *text)
{
	cli_json_member(key, text && strcmp(text, "-") != 0 ? text : NULL);
}

static void json_number(const char *key, bool has, unsigned long long number)
{
	if (has)
		printf(",\"%s\":%llu", key, number);
	else
		printf(",\"%s\":null", key);
}

static int show_json(void *arg, const struct resource_status *s)
{
	const struct limits *limits = &s->limits;
	char until[WHEN_SIZE];
	bool timed = limits->open && limits->until.until_ms != OPEN_FOR_GOOD;
	struct texts texts;

	(void)arg;
	put_texts(s, &texts);
	fputs("{\"resource\":", stdout);
	cli_json_string(stdout, s->name);
	json_text("directory", s->label);
	json_number("jobs", limits->has_jobs, limits->jobs);
	json_text("rate", texts.rate);
	json_number("burst", limits->has_rate || limits->has_burst, limits->burst);
	json_text("breaker", texts.breaker);
	printf(",\"open\":%s,\"probing\":%s", limits->open ? "true" : "false",
	    s->probing ? "true" : "false");
	if (timed)
		when_rfc3339(limits->until.until_ms, until);
	json_text("open_until", timed ? until : NULL);
	json_text("probe", limits->open ? s->probe : NULL);
	json_number("window", limits->window > 0, limits->window);
	json_number("failures", true, s->failures);
	json_number("running", true, s->running);
	json_number("waiting", true, s->waiting);
	json_text("wrong", limits->wrong);
	puts("}");
	return 0;
}

static int complain(const struct limit_tool *t, const char *name)
{
	char *shown;

	if (errno != ENOENT || !name)
		return cli_complain(t->spool, NULL);
	shown = cli_visible(name);
	warnx("no resource %s in %s", shown, spool_path(t->spool));
	free(shown);
	return EX_NOINPUT;
}

static int show(struct limit_tool *t, const char *name)
{
	int result;

	if (!name)
		result = resource_each(t->spool, t->json ? show_json : show_row, t);
	else
		result = resource_look(t->spool, name, t->json ? show_json : show_one, t);
	return result == 0 ? EX_OK : complain(t, name);
}

/* --- setting --- */

static int set(const struct limit_tool *t, const char *name)
{
	for (unsigned i = 0; i < SETTINGS; i++) {
		const char *value = t->value[i];

		if (!value)
			continue;
		if (strcmp(value, "none") == 0)
			value = NULL;
		if (resource_set(t->spool, name, (enum resource_setting)i, value) != 0)
			return cli_complain(t->spool, NULL);
	}
	if (t->open && resource_open(t->spool, name, t->for_ms) != 0)
		return cli_complain(t->spool, NULL);
	if (t->close && resource_close(t->spool, name) < 0)
		return cli_complain(t->spool, NULL);
	return EX_OK;
}

/* Before anything is changed. */
static void check_value(unsigned i, const char *value)
{
	if (strcmp(value, "none") != 0 && !resource_setting_ok((enum resource_setting)i, value))
		cli_usage("%s %s: %s is wanted", option_of[i], value, wanted[i]);
}

static bool changes(const struct limit_tool *t)
{
	for (unsigned i = 0; i < SETTINGS; i++)
		if (t->value[i])
			return true;
	return t->open || t->close;
}

static void take_option(struct limit_tool *t, int option)
{
	switch (option) {
	case OPT_JOBS:
	case OPT_RATE:
	case OPT_BURST:
	case OPT_BREAKER:
		check_value((unsigned)(option - OPT_JOBS), optarg);
		t->value[option - OPT_JOBS] = optarg;
		break;
	case 'o':
		t->open = true;
		break;
	case 'f':
		t->for_ms = cli_duration("--for", optarg);
		if (t->for_ms <= 0)
			cli_usage("--for %s: more than nothing is wanted", optarg);
		break;
	case 'c':
		t->close = true;
		break;
	case 'j':
		t->json = true;
		break;
	default:
		cli_option(&t->cli, option, help);
	}
}

static void parse(struct limit_tool *t, int argc, char *const *argv)
{
	static const struct option options[] = {{"jobs", required_argument, NULL, OPT_JOBS},
	    {"rate", required_argument, NULL, OPT_RATE},
	    {"burst", required_argument, NULL, OPT_BURST},
	    {"breaker", required_argument, NULL, OPT_BREAKER}, {"open", no_argument, NULL, 'o'},
	    {"for", required_argument, NULL, 'f'}, {"close", no_argument, NULL, 'c'},
	    {"json", no_argument, NULL, 'j'}, CLI_LONG};
	int option;

	while ((option = getopt_long(argc, argv, ":of:cj" CLI_SHORT, options, NULL)) != -1)
		take_option(t, option);
	if (t->cli.queue)
		cli_usage("--queue: a resource is of no queue");
	if (t->open && t->close)
		cli_usage("--open and --close exclude each other");
	if (t->for_ms > 0 && !t->open)
		cli_usage("--for goes with --open");
	if (argc - optind > 1 || (argc > optind && !*argv[optind]))
		cli_usage("one NAME is wanted");
	if (optind == argc && changes(t))
		cli_usage("the NAME of a resource is wanted");
}

int main(int argc, char **argv)
{
	struct limit_tool t = {0};
	const char *name;
	int status = EX_OK;

	cli_begin(argv);
	parse(&t, argc, argv);
	name = argv[optind];
	t.spool = cli_open(&t.cli, changes(&t), false);
	if (changes(&t))
		status = set(&t, name);
	if (status == EX_OK && (!changes(&t) || t.cli.verbose || t.json))
		status = show(&t, name);
	cli_finish_output();
	spool_close(t.spool);
	return status;
}
