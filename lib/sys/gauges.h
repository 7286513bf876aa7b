/*
 * What the machine bears and has left, as proc(5) shows it: /proc/loadavg, /proc/meminfo and, where the
 * kernel keeps them, /proc/pressure/memory and /proc/pressure/io.
 */
#ifndef QSPOOL_SYS_GAUGES_H
#define QSPOOL_SYS_GAUGES_H

#include <stdint.h>

/* -1: not known, each. */
struct gauges {
	double load; /* the average of the last minute */
	double
	    runnable; /* processes that run at this instant, or could, without the one that asks */
	int64_t available; /* bytes of memory */
	double pressure;   /* percent of the last 10 seconds in which some process waited for memory
	                    * or, if that is more, for a disk */
};

enum { GAUGE_LOAD, GAUGE_MEMORY, GAUGE_PRESSURE_MEMORY, GAUGE_PRESSURE_IO, GAUGE_FILES };

/* Kept open, since they may be read often. */
struct gauge_files {
	int fd[GAUGE_FILES]; /* -1: not open */
};

#define GAUGES_CLOSED ((struct gauge_files){{-1, -1, -1, -1}})

/* Opens what can be opened; gauges_close() afterwards. */
void gauges_open(struct gauge_files *files);
void gauges_close(struct gauge_files *files);
void gauges_read(const struct gauge_files *files, struct gauges *gauges);

#endif
