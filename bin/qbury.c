/* qbury: set jobs aside for a person. See qbury(1). */
#include "pick.h"

static const char help[] =
    "usage: qbury [-q QUEUE] [-k] [-r REASON] [--dry-run] JOB...\n"
    "       qbury [-q QUEUE] [-k] [-r REASON] [--dry-run] -n N | --all\n"
    "Moves jobs that are ready, delayed or waiting to buried/. JOBs are ids, unique beginnings\n"
    "of ids, or paths; without any, they are read from standard input, one a line.\n"
    "\n"
    "  -n, --oldest N          the N oldest\n"
    "      --all               all\n"
    "  -r, --reason TEXT       kept in the job's history\n"
    "  -k, --kill              end the handler of a running job first\n"
    "      --dry-run           print what would be buried\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       only in this queue\n"
    "  -v, --verbose           print the ids of what was buried\n"
    "  -h, --help, -V, --version\n";

static int bury(struct spool *spool, const struct job_place *place, void *arg)
{
	return spool_bury(spool, place, arg);
}

static const char *refuse(const struct pick *pick, const struct job_place *place, int *status)
{
	(void)pick;
	if (place->state != JOB_DONE)
		return NULL;
	*status = EX_DATAERR;
	return "and only kept";
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"reason", required_argument, NULL, 'r'},
	    {"kill", no_argument, NULL, 'k'}, PICK_LONG, CLI_LONG};
	struct pick pick = {
	    .states = PICK_BIT(JOB_READY) | PICK_BIT(JOB_DELAYED) | PICK_BIT(JOB_WAITING),
	    .oldest = -1,
	    .older_ms = -1,
	    .can_kill = true,
	    .verb = bury,
	    .done = "buried",
	    .refuse = refuse};
	int option;

	cli_begin(argv);
	while (
	    (option = getopt_long(argc, argv, ":r:k" PICK_SHORT CLI_SHORT, options, NULL)) != -1) {
		if (option == 'r')
			pick.arg = optarg;
		else if (option == 'k')
			pick.kill = true;
		else
			pick_option(&pick, option, help);
	}
	return pick_run(&pick, argc - optind, argv + optind);
}
