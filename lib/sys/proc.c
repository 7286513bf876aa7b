#include "sys/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* "1: FLOCK  ADVISORY  WRITE 4242 fd:01:1234 0 EOF"; see proc_locks(5). */
static pid_t locker_of(const struct stat *file)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	pid_t found = 0;

	if (!locks)
		return 0;
	while (!found && fgets(line, sizeof line, locks)) {
		unsigned major_, minor_;
		unsigned long long inode;
		int pid;

		if (sscanf(line, "%*[^:]: FLOCK %*s %*s %d %x:%x:%llu", &pid, &major_, &minor_,
		        &inode) != 4)
			continue;
		if (inode == file->st_ino && major_ == major(file->st_dev) &&
		    minor_ == minor(file->st_dev) && pid > 0)
			found = pid;
	}
	fclose(locks);
	return found;
}

/* Whether PID's standard input is the very descriptor that holds the lock: a
 * person's `less <cur/X` opened the file anew and is no handler. proc_pid_fdinfo(5). */
static bool stdin_holds_lock(const char *pid)
{
	char path[64], line[256];
	bool holds = false;
	FILE *info;

	snprintf(path, sizeof path, "/proc/%.20s/fdinfo/0", pid);
	info = fopen(path, "re");
	if (!info)
		return false;
	while (!holds && fgets(line, sizeof line, info))
		holds = strncmp(line, "lock:", 5) == 0 && strstr(line, "FLOCK");
	fclose(info);
	return holds;
}

static bool stdin_is(const char *pid, const struct stat *file)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%.20s/fd/0", pid);
	return stat(path, &st) == 0 && st.st_ino == file->st_ino && st.st_dev == file->st_dev &&
	    stdin_holds_lock(pid);
}

/* Calls EACH for every process that has FILE, locked, as its standard input,
 * until it says stop. */
static void each_reader(const struct stat *file, bool (*each)(pid_t pid, void *arg), void *arg)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		return;
	while ((entry = readdir(proc)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]) || !stdin_is(entry->d_name, file))
			continue;
		if (!each((pid_t)strtol(entry->d_name, NULL, 10), arg))
			break;
	}
	closedir(proc);
}

static bool first_reader(pid_t pid, void *arg)
{
	*(pid_t *)arg = pid;
	return false;
}

void proc_holder(const struct stat *file, struct proc_holder *holder)
{
	holder->locker = locker_of(file);
	holder->handler = 0;
	each_reader(file, first_reader, &holder->handler);
}

struct signalling {
	int signal, groups;
	pid_t last;
};

/* qwork gives each handler a session of its own, whose group is what is signalled. */
static bool signal_group(pid_t pid, void *arg)
{
	struct signalling *s = arg;
	pid_t group = getpgid(pid);

	if (group <= 1 || group == s->last || group == getpgrp())
		return true;
	s->last = group;
	if (kill(-group, s->signal) == 0)
		s->groups++;
	return true;
}

int proc_signal_handlers(const struct stat *file, int signal)
{
	struct signalling s = {.signal = signal};

	each_reader(file, signal_group, &s);
	return s.groups;
}

bool proc_alive(pid_t pid)
{
	return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}
