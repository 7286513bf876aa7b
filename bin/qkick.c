/* qkick: give buried jobs another chance. See qkick(1). */
#include "pick.h"

static const char help[] =
    "usage: qkick [-q QUEUE] [-d] [--dry-run] JOB...\n"
    "       qkick [-q QUEUE] [-d] [--dry-run] -n N | --all\n"
    "Moves buried jobs back to new/ with a fresh budget of attempts, and those that wait\n"
    "for other jobs and are named. JOBs are ids, unique beginnings of ids, or paths;\n"
    "without any, they are read from standard input, one a line.\n"
    "\n"
    "  -n, --oldest N          the N oldest\n"
    "      --all               all\n"
    "  -d, --delayed           delayed jobs, and such as wait for others, too\n"
    "      --dry-run           print what would be kicked\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       only in this queue\n"
    "  -v, --verbose           print the ids of what was kicked\n"
    "  -h, --help, -V, --version\n";

static int kick(struct spool *spool, const struct job_place *place, void *arg)
{
	(void)arg;
	return spool_kick(spool, place);
}

static const char *refuse(const struct pick *pick, const struct job_place *place, int *status)
{
	if (pick->states & PICK_BIT(place->state) || place->state == JOB_RUNNING ||
	    place->state == JOB_WAITING)
		return NULL;
	*status = EX_DATAERR;
	return place->state == JOB_DELAYED ? "not buried; --delayed kicks it too" : "not buried";
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"delayed", no_argument, NULL, 'd'}, PICK_LONG, CLI_LONG};
	struct pick pick = {.states = PICK_BIT(JOB_BURIED),
	    .oldest = -1,
	    .older_ms = -1,
	    .verb = kick,
	    .done = "kicked",
	    .refuse = refuse};
	int option;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":d" PICK_SHORT CLI_SHORT, options, NULL)) != -1) {
		if (option == 'd')
			pick.states |= PICK_BIT(JOB_DELAYED) | PICK_BIT(JOB_WAITING);
		else
			pick_option(&pick, option, help);
	}
	return pick_run(&pick, argc - optind, argv + optind);
}
