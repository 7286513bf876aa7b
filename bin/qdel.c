/* qdel: delete jobs. See qdel(1). */
#include "pick.h"

#include <string.h>

enum { OPT_STATE = 256, OPT_OLDER_THAN };

static const char help[] =
    "usage: qdel [-q QUEUE] [-k] [--dry-run] JOB...\n"
    "       qdel [-q QUEUE] [-k] [--dry-run] [--state STATE] [--older-than DURATION]\n"
    "            [-n N | --all]\n"
    "Deletes jobs, their options and their history. JOBs are ids, unique beginnings of\n"
    "ids, or paths; without any and without a filter, they are read from standard\n"
    "input, one a line.\n"
    "\n"
    "      --all               all of the queue that -q names, but what is finished and kept\n"
    "      --state STATE       only ready, delayed, waiting, buried or finished ones\n"
    "      --older-than DURATION  only those sent longer ago\n"
    "  -n, --oldest N          only the N oldest\n"
    "  -k, --kill              end the handler of a running job first\n"
    "      --dry-run           print what would be deleted\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       only in this queue\n"
    "  -v, --verbose           print the ids of what was deleted\n"
    "  -h, --help, -V, --version\n";

static int delete (struct spool *spool, const struct job_place *place, void *arg)
{
	(void)arg;
	return spool_delete(spool, place);
}

static unsigned state_bit(const char *name)
{
	static const enum job_state states[] = {
	    JOB_READY, JOB_DELAYED, JOB_WAITING, JOB_BURIED, JOB_DONE};

	for (size_t i = 0; i < sizeof states / sizeof *states; i++)
		if (strcmp(name, job_state_name(states[i])) == 0)
			return PICK_BIT(states[i]);
	cli_usage("--state %s: ready, delayed, waiting, buried or finished is wanted", name);
}

static void take_option(struct pick *pick, int option)
{
	switch (option) {
	case OPT_STATE:
		pick->states = state_bit(optarg);
		pick->filtered = true;
		break;
	case OPT_OLDER_THAN:
		pick->older_ms = cli_duration("--older-than", optarg);
		pick->filtered = true;
		break;
	case 'k':
		pick->kill = true;
		break;
	default:
		pick_option(pick, option, help);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"state", required_argument, NULL, OPT_STATE},
	    {"older-than", required_argument, NULL, OPT_OLDER_THAN},
	    {"kill", no_argument, NULL, 'k'}, PICK_LONG, CLI_LONG};
	struct pick pick = {.states = PICK_BIT(JOB_READY) | PICK_BIT(JOB_DELAYED) |
	        PICK_BIT(JOB_WAITING) | PICK_BIT(JOB_BURIED),
	    .oldest = -1,
	    .older_ms = -1,
	    .can_kill = true,
	    .verb = delete,
	    .done = "deleted"};
	int option;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":k" PICK_SHORT CLI_SHORT, options, NULL)) != -1)
		take_option(&pick, option);
	if (pick.all && !pick.cli.queue)
		cli_usage("--all deletes all of one queue: name it with -q");
	return pick_run(&pick, argc - optind, argv + optind);
}
