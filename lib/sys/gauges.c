#include "sys/gauges.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sys/files.h"

static const char *const path[GAUGE_FILES] = {[GAUGE_LOAD] = "/proc/loadavg",
    [GAUGE_MEMORY] = "/proc/meminfo",
    [GAUGE_PRESSURE_MEMORY] = "/proc/pressure/memory",
    [GAUGE_PRESSURE_IO] = "/proc/pressure/io"};

void gauges_open(struct gauge_files *files)
{
	for (int i = 0; i < GAUGE_FILES; i++)
		files->fd[i] = open(path[i], O_RDONLY | O_CLOEXEC);
}

void gauges_close(struct gauge_files *files)
{
	for (int i = 0; i < GAUGE_FILES; i++)
		sys_discard(&files->fd[i]);
}

/* The beginning of a file, which holds all that is wanted; "" if it cannot be read. Numbers are then read as two
 * of digits: what parts them must not depend on the locale. */
static const char *text_of(const struct gauge_files *files, int which, char text[static 256])
{
	ssize_t len = files->fd[which] < 0 ? -1 : pread(files->fd[which], text, 255, 0);

	text[len < 0 ? 0 : len] = '\0';
	return text;
}

/* "0.20 0.18 0.12 1/80 11206": we are one of those that run. */
static void read_load(const struct gauge_files *files, struct gauges *gauges)
{
	char text[256];
	unsigned whole, hundredths, runnable;

	if (sscanf(text_of(files, GAUGE_LOAD, text), "%u.%2u %*s %*s %u/", &whole, &hundredths,
	        &runnable) != 3)
		return;
	gauges->load = whole + hundredths / 100.0;
	gauges->runnable = runnable > 1 ? runnable - 1 : 0;
}

static void read_memory(const struct gauge_files *files, struct gauges *gauges)
{
	static const char key[] = "MemAvailable:";
	char text[256];
	const char *line = strstr(text_of(files, GAUGE_MEMORY, text), key);
	int64_t kib;

	if (line && sscanf(line + sizeof key - 1, "%" SCNd64 " kB", &kib) == 1)
		gauges->available = kib * 1024;
}

/* "some avg10=0.22 avg60=...": proc_pressure(5). */
static double read_pressure(const struct gauge_files *files, int which)
{
	char text[256];
	unsigned whole, hundredths;

	if (sscanf(text_of(files, which, text), "some avg10=%u.%2u", &whole, &hundredths) != 2)
		return -1;
	return whole + hundredths / 100.0;
}

void gauges_read(const struct gauge_files *files, struct gauges *gauges)
{
	double io = read_pressure(files, GAUGE_PRESSURE_IO);

	*gauges = (struct gauges){-1, -1, -1, read_pressure(files, GAUGE_PRESSURE_MEMORY)};
	if (io > gauges->pressure)
		gauges->pressure = io;
	read_load(files, gauges);
	read_memory(files, gauges);
}
