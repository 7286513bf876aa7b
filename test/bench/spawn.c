/*
 * The limit of running commands, and what sends one job after another: starts PROGRAM COUNT times by vfork and execve,
 * JOBS of them in flight, and waits for each. With -i each has FILE, opened for it, as standard input. What they print
 * is thrown away. Prints how many were run a second.
 */
#include "bench.h"

static const char *input;

static void run(long jobs, long count, char **argv)
{
	for (long started = 0, ended = 0; ended < count;) {
		if (started < count && started - ended < jobs) {
			if (input)
				open_input(input);
			start(argv);
			started++;
		} else {
			wait_for_one(argv[0]);
			ended++;
		}
	}
}

int main(int argc, char **argv)
{
	FILE *report;
	double begin;
	int c;

	while ((c = getopt(argc, argv, "+i:")) == 'i')
		input = optarg;
	if (c != -1 || argc - optind < 3)
		errx(EXIT_USAGE, "usage: spawn [-i FILE] JOBS COUNT PROGRAM [ARGUMENT...]");
	report = keep_output();
	begin = now();
	run(number(argv[optind]), number(argv[optind + 1]), argv + optind + 2);
	print_rate(report, number(argv[optind + 1]), begin);
	return 0;
}
