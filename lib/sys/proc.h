/*
 * Who holds a file's lock, from /proc. For people and for ending what should
 * have ended: never for deciding whether a job is free, which only the lock
 * itself says.
 */
#ifndef QSPOOL_SYS_PROC_H
#define QSPOOL_SYS_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/stat.h>

/* Of a handler that stays, this descriptor leads to a file in memory that says which job it has: the id, or NULs
 * while it has none. */
enum { PROC_JOB_FD = 3 };

struct proc_holder {
	pid_t locker;  /* process that took the flock, alive or not; 0 if unknown */
	pid_t handler; /* a process that works on the job; 0 if unknown */
};

/* A handler of the job ID is a process whose standard input is the locked descriptor of FILE,
 * in a session whose leader is a child of the locker or was started with the job's QJOB_ID; or
 * such a leader itself. Filled as far as /proc lets this user see. */
void proc_holder(const struct stat *file, const char *id, struct proc_holder *holder);

/* Signals the process group of each handler. Returns how many groups were signalled. */
int proc_signal_handlers(const struct stat *file, const char *id, int signal);

/* Whether the process that locked FILE lives and is one that we may signal. */
bool proc_locker_is_ours(const struct stat *file);

/* Opens the regular file whose absolute path PID was started with in VARIABLE ("NAME="), where PID
 * sees it. PROCESS is PID itself, whose owner is. -1 if that cannot be. */
int proc_open_named(pid_t pid, const char *variable, int flags, struct stat *process);

/* Whether a handler has FILE, and the qwork that started it has it no more: that qwork is
 * dead. False if it cannot be known. */
bool proc_orphaned(const struct stat *file, const char *id);

/* Bytes of memory that PID has for itself; 0 if that cannot be known. */
uint64_t proc_resident(pid_t pid);

/* PID may take so many more seconds of processor time, and then gets XCPU; 0: as many as this process may. 0 / -1. */
int proc_limit_cpu(pid_t pid, int64_t seconds);

/* How many processes the OOM killer has killed on this machine, since Linux 4.13; 0 if that cannot be known. */
uint64_t proc_oom_kills(void);

#endif
