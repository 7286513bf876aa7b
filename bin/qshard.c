/* qshard: cut a range of numbers into smaller ones. See qshard(1). */
#include "cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

#include "format/shard.h"

static const char help[] =
    "usage: qshard FROM TO --size N | --into N | --log [--min N] [--max N]\n"
    "Cuts the numbers FROM to TO, both included, into ranges, and prints a line for each,\n"
    "ready for qsend --lines.\n"
    "\n"
    "      --size N            N numbers in each\n"
    "      --into N            N ranges, equal but for one number\n"
    "      --log               ranges that grow with their distance from TO\n"
    "      --min N             with --log, the newest ones (10000)\n"
    "      --max N             with --log, the oldest ones (10000000)\n"
    "  -r, --newest-first      from TO down to FROM\n"
    "  -j, --json              one JSON object a line\n"
    "      --sh                variables for a shell: FROM=1 TO=1000\n"
    "  -v, --verbose           say on standard error how many ranges there are\n"
    "  -h, --help, -V, --version\n";

enum long_option { OPT_SIZE = 256, OPT_INTO, OPT_LOG, OPT_MIN, OPT_MAX, OPT_SH };

struct sharding {
	struct cli cli;
	struct shard all;
	int numbers; /* FROM and TO, as far as they were named */
	int method;  /* the option */
	long long amount;
	long long min, max; /* 0 if not given */
	bool newest_first;
	int form; /* the option, 0 for text */
};

static void take_method(struct sharding *s, int option, long long amount)
{
	if (s->method)
		cli_usage("one of --size, --into and --log is wanted, and once");
	s->method = option;
	s->amount = amount;
}

static void take_form(struct sharding *s, int option)
{
	if (s->form && s->form != option)
		cli_usage("--json and --sh exclude each other");
	s->form = option;
}

static void take_option(struct sharding *s, int option)
{
	switch (option) {
	case OPT_SIZE:
		take_method(s, option, cli_number("--size", optarg, 1, INT64_MAX));
		break;
	case OPT_INTO:
		take_method(s, option, cli_number("--into", optarg, 1, INT64_MAX));
		break;
	case OPT_LOG:
		take_method(s, option, 0);
		break;
	case OPT_MIN:
		s->min = cli_number("--min", optarg, 1, INT64_MAX);
		break;
	case OPT_MAX:
		s->max = cli_number("--max", optarg, 1, INT64_MAX);
		break;
	case 'r':
		s->newest_first = true;
		break;
	case 'j':
	case OPT_SH:
		take_form(s, option);
		break;
	default:
		cli_option(&s->cli, option, help);
	}
}

static void take_number(struct sharding *s, const char *text)
{
	if (s->numbers == 0)
		s->all.from = cli_number("FROM", text, INT64_MIN, INT64_MAX);
	else if (s->numbers == 1)
		s->all.to = cli_number("TO", text, INT64_MIN, INT64_MAX);
	else
		cli_usage("%s: FROM and TO are wanted, and nothing else", text);
	s->numbers++;
}

static bool is_negative(const char *text)
{
	return text[0] == '-' && isdigit((unsigned char)text[1]);
}

/* In any order, and -5 is a number: no option looks like one. */
static void take_words(struct sharding *s, int argc, char **argv)
{
	static const struct option options[] = {{"size", required_argument, NULL, OPT_SIZE},
	    {"into", required_argument, NULL, OPT_INTO}, {"log", no_argument, NULL, OPT_LOG},
	    {"min", required_argument, NULL, OPT_MIN}, {"max", required_argument, NULL, OPT_MAX},
	    {"newest-first", no_argument, NULL, 'r'}, {"json", no_argument, NULL, 'j'},
	    {"sh", no_argument, NULL, OPT_SH}, CLI_LONG_BARE};

	while (optind < argc) {
		int option = is_negative(argv[optind])
		    ? -1
		    : getopt_long(argc, argv, "+:rj" CLI_SHORT_BARE, options, NULL);

		if (option != -1)
			take_option(s, option);
		else if (optind < argc)
			take_number(s, argv[optind++]);
	}
}

static void check(struct sharding *s)
{
	if (s->numbers < 2)
		cli_usage("%s is wanted", s->numbers == 0 ? "a range, FROM and TO," : "TO");
	if (s->all.from > s->all.to)
		cli_usage("FROM %" PRId64 " is greater than TO %" PRId64, s->all.from, s->all.to);
	if (!s->method)
		cli_usage("one of --size, --into and --log is wanted");
	if ((s->min || s->max) && s->method != OPT_LOG)
		cli_usage("--min and --max go with --log");
	s->min = s->min ? s->min : SHARD_BUCKET_MIN;
	s->max = s->max ? s->max : SHARD_BUCKET_MAX;
	if (s->min > s->max)
		cli_usage("--min %lld is greater than --max %lld", s->min, s->max);
}

static void cut(const struct sharding *s, struct shards *shards)
{
	if (s->method == OPT_SIZE)
		shards_of_size(shards, s->all, (uint64_t)s->amount);
	else if (s->method == OPT_INTO)
		shards_into(shards, s->all, (uint64_t)s->amount);
	else
		shards_by_distance(shards, s->all, (uint64_t)s->min, (uint64_t)s->max);
}

static int print_json(struct shard shard)
{
	uint64_t span = shard_span(shard);
	char count[] = "18446744073709551616"; /* of all int64_t, which no integer can say */

	if (span != UINT64_MAX)
		snprintf(count, sizeof count, "%" PRIu64, span + 1);
	return printf("{\"from\":%" PRId64 ",\"to\":%" PRId64 ",\"count\":%s}\n", shard.from,
	    shard.to, count);
}

static int print(const struct sharding *s, struct shard shard)
{
	if (s->form == 'j')
		return print_json(shard);
	if (s->form == OPT_SH)
		return printf("FROM=%" PRId64 " TO=%" PRId64 "\n", shard.from, shard.to);
	return printf("%" PRId64 " %" PRId64 "\n", shard.from, shard.to);
}

/* Returns how many there were. */
static uint64_t print_all(const struct sharding *s, struct shards *shards)
{
	bool (*take)(struct shards *, struct shard *) =
	    s->newest_first ? shards_take_newest : shards_take_oldest;
	struct shard shard;
	uint64_t printed = 0;

	for (; take(shards, &shard); printed++)
		if (print(s, shard) < 0)
			err(EX_IOERR, "standard output");
	cli_finish_output();
	return printed;
}

int main(int argc, char **argv)
{
	struct sharding s = {0};
	struct shards shards;
	uint64_t printed;

	cli_begin(argv);
	take_words(&s, argc, argv);
	check(&s);
	cut(&s, &shards);
	printed = print_all(&s, &shards);
	if (s.cli.verbose)
		warnx("%" PRIu64 " range%s", printed, printed == 1 ? "" : "s");
	return EX_OK;
}
