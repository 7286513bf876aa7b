/*
 * From the start of what sends a job to the start of its handler, while nothing else is done: COUNT times it starts PROGRAM with FILE as
 * standard input, waits for the line that stamp writes to PIPE, and rests for 10 ms. Prints each time, in seconds.
 */
#include "bench.h"

static double started_at(FILE *pipe)
{
	char line[LINE_SIZE];

	if (!fgets(line, sizeof line, pipe))
		err(1, "no handler has started");
	return strtod(line, NULL);
}

static double send_one(FILE *pipe, const char *file, char **argv)
{
	double begin, started;

	open_input(file);
	begin = now();
	start(argv);
	started = started_at(pipe);
	wait_for_one(argv[0]);
	return started - begin;
}

int main(int argc, char **argv)
{
	const struct timespec rest = {.tv_nsec = 10000000};
	FILE *pipe, *report;

	if (argc < 5)
		errx(EXIT_USAGE, "usage: latency PIPE COUNT FILE PROGRAM [ARGUMENT...]");
	report = keep_output();
	pipe = fopen(argv[1], "r+e");
	if (!pipe)
		err(1, "%s", argv[1]);
	for (long i = number(argv[2]); i > 0; i--) {
		fprintf(report, "%.6f\n", send_one(pipe, argv[3], argv + 4));
		fflush(report);
		nanosleep(&rest, NULL);
	}
	return 0;
}
