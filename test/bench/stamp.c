/*
 * A handler that says when it started: writes the time by the clock that nobody sets and by that of the day, both in
 * seconds, to the fifo PIPE.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	double started = now(), day = time_of_day();
	char line[LINE_SIZE];
	int fd, len;

	if (argc != 2)
		errx(EXIT_USAGE, "usage: stamp PIPE");
	len = snprintf(line, sizeof line, "%.6f %.6f\n", started, day);
	fd = open(argv[1], O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", argv[1]);
	write_all(fd, line, (size_t)len);
	return 0;
}
