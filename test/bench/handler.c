/*
 * The least that a handler that stays can do (qwork --persist): reads lines, and answers each with success. With FILE it writes there how many
 * of COUNT jobs it got a second, from the one after FIRST on.
 */
#include "bench.h"

static void report(const char *file, long count, double begin)
{
	char draft[4096];
	FILE *out;

	snprintf(draft, sizeof draft, "%s.draft", file);
	out = fopen(draft, "w");
	if (!out)
		err(1, "%s", draft);
	print_rate(out, count, begin);
	if (fclose(out) != 0 || rename(draft, file) != 0)
		err(1, "%s", file);
}

int main(int argc, char **argv)
{
	long first = 0, count = 0;
	double begin = 0;
	char line[4096];

	if (argc != 1 && argc != 4)
		errx(EXIT_USAGE, "usage: handler [FILE FIRST COUNT]");
	if (argc == 4) {
		first = number(argv[2]);
		count = number(argv[3]);
	}
	for (long i = 1; fgets(line, sizeof line, stdin); i++) {
		if (count && i == first)
			begin = now();
		if (count && i == first + count)
			report(argv[1], count, begin);
		write_all(STDOUT_FILENO, "0\n", 2);
	}
	return 0;
}
