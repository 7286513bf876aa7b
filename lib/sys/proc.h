/*
 * Who holds a file's lock, from /proc. For people and for ending what should
 * have ended: never for deciding whether a job is free, which only the lock
 * itself says.
 */
#ifndef QSPOOL_SYS_PROC_H
#define QSPOOL_SYS_PROC_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/stat.h>

struct proc_holder {
	pid_t locker;  /* process that took the flock, alive or not; 0 if unknown */
	pid_t handler; /* a process whose standard input is the file; 0 if unknown */
};

/* Fills *HOLDER as far as /proc lets this user see. */
void proc_holder(const struct stat *file, struct proc_holder *holder);

/* Signals the process group of each process whose standard input is FILE.
 * Returns how many groups were signalled. */
int proc_signal_handlers(const struct stat *file, int signal);

/* Whether PID exists (a zombie does). */
bool proc_alive(pid_t pid);

#endif
