#include "sys/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "sys/dir.h"

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
	return stat(path, &st) == 0 && same_file(&st, file) && stdin_holds_lock(pid);
}

/* The fourth field of proc_pid_stat(5), behind a name that may hold anything; 0 if it
 * cannot be known. */
static pid_t parent_of(pid_t pid)
{
	char path[64], line[512], *end;
	int parent = 0;
	FILE *info;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	info = fopen(path, "re");
	if (!info)
		return 0;
	if (fgets(line, sizeof line, info) && (end = strrchr(line, ')')) != NULL &&
	    sscanf(end, ") %*c %d", &parent) != 1)
		parent = 0;
	fclose(info);
	return parent;
}

/* The variable that begins with TEXT of those that PID was started with, malloc'd, or NULL. */
static char *variable_of(pid_t pid, const char *text)
{
	char path[64], *item = NULL;
	bool found = false;
	size_t room = 0;
	FILE *environment;

	snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
	environment = fopen(path, "re");
	if (!environment)
		return NULL;
	while (!found && getdelim(&item, &room, '\0', environment) > 0)
		found = strncmp(item, text, strlen(text)) == 0;
	fclose(environment);
	if (!found) {
		free(item);
		item = NULL;
	}
	return item;
}

/* Whether PID was started with VARIABLE in its environment. */
static bool started_with(pid_t pid, const char *variable)
{
	char *found = variable_of(pid, variable);
	bool same = found && strcmp(found, variable) == 0;

	free(found);
	return same;
}

/* Opening some devices does something: what the path leads to is looked at first. LOOK are
 * flags for that. */
static int open_regular(const char *path, int look, int flags, struct stat *st)
{
	int named = open(path, O_PATH | O_CLOEXEC | look), fd = -1;
	char again[32];

	if (named < 0)
		return -1;
	snprintf(again, sizeof again, "/proc/self/fd/%d", named);
	if (fstat(named, st) == 0 && S_ISREG(st->st_mode))
		fd = open(again, flags);
	close(named);
	return fd;
}

int proc_open_named(pid_t pid, const char *variable, int flags, struct stat *process)
{
	char path[PATH_MAX], *found = variable_of(pid, variable);
	struct stat named;
	int fd = -1;

	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	if (found && stat(path, process) == 0 &&
	    snprintf(path, sizeof path, "/proc/%d/root%s", (int)pid, found + strlen(variable)) <
	        (int)sizeof path)
		fd = open_regular(path, O_NOFOLLOW, flags, &named);
	free(found);
	return fd;
}

/* Whose handlers are looked for. */
struct wanted {
	const struct stat *file;
	char id[32];
	char variable[64]; /* QJOB_ID=... */
	pid_t locker;
};

static struct wanted wanted(const struct stat *file, const char *id)
{
	struct wanted w = {.file = file, .locker = locker_of(file)};

	snprintf(w.id, sizeof w.id, "%s", id);
	snprintf(w.variable, sizeof w.variable, "QJOB_ID=%s", id);
	return w;
}

/* Whether PID is in a session that a qwork made for a handler of this job: anybody who may
 * write the spool can lock a file in it and have a process of another session, somebody
 * else's maybe, take that for its standard input, or send one of his own there. The leader
 * is the child of the process that took the lock, or knows the job from its environment; when
 * it has ended, there are only its descendants left. */
static bool in_handler_session(const struct wanted *w, pid_t pid)
{
	pid_t leader = getsid(pid);

	if (leader <= 1)
		return false;
	if (getsid(leader) != leader)
		return started_with(pid, w->variable);
	return (w->locker > 0 && parent_of(leader) == w->locker) ||
	    started_with(leader, w->variable);
}

/* A hook is a child of a qwork too, and knows a job. */
static bool is_hook(pid_t pid)
{
	char *found = variable_of(pid, "QHOOK=");
	bool is = found != NULL;

	free(found);
	return is;
}

/* Whether the process TEXT was given its file FILE by root or by somebody of its own user: another could have it
 * signalled by who may. */
static bool is_its_own(const char *text, const struct stat *file)
{
	char path[64];
	struct stat process;

	snprintf(path, sizeof path, "/proc/%.20s", text);
	return stat(path, &process) == 0 && (file->st_uid == 0 || file->st_uid == process.st_uid);
}

/* Whether TEXT, a process, has the job's id where one that stays has it. */
static bool stays_with(const struct wanted *w, const char *text)
{
	static const char name[] = "/memfd:qwork-job";
	char path[64], link[64] = "", id[sizeof w->id] = "";
	struct stat file;
	int fd = -1;

	snprintf(path, sizeof path, "/proc/%.20s/fd/%d", text, PROC_JOB_FD);
	if (readlink(path, link, sizeof link - 1) > 0 && strncmp(link, name, sizeof name - 1) == 0)
		fd = open_regular(path, 0, O_RDONLY | O_CLOEXEC, &file);
	if (fd < 0)
		return false;
	if (!is_its_own(text, &file) || pread(fd, id, sizeof id - 1, 0) < 0)
		id[0] = '\0';
	close(fd);
	return strcmp(id, w->id) == 0;
}

/* A handler may have put something else in the place of its standard input: then it is
 * known as the child of the process that took the lock. */
static bool is_handler(const struct wanted *w, const char *text)
{
	pid_t pid = (pid_t)strtol(text, NULL, 10);

	if (stdin_is(text, w->file))
		return in_handler_session(w, pid);
	if (stays_with(w, text))
		return true;
	return w->locker > 0 && parent_of(pid) == w->locker && getsid(pid) == pid &&
	    started_with(pid, w->variable) && !is_hook(pid);
}

static void each_handler(const struct wanted *w, bool (*each)(pid_t pid, void *arg), void *arg)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		return;
	while ((entry = readdir(proc)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]) || !is_handler(w, entry->d_name))
			continue;
		if (!each((pid_t)strtol(entry->d_name, NULL, 10), arg))
			break;
	}
	closedir(proc);
}

static bool first_handler(pid_t pid, void *arg)
{
	*(pid_t *)arg = pid;
	return false;
}

void proc_holder(const struct stat *file, const char *id, struct proc_holder *holder)
{
	struct wanted w = wanted(file, id);

	holder->locker = w.locker;
	holder->handler = 0;
	each_handler(&w, first_handler, &holder->handler);
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

int proc_signal_handlers(const struct stat *file, const char *id, int signal)
{
	struct wanted w = wanted(file, id);
	struct signalling s = {.signal = signal};

	each_handler(&w, signal_group, &s);
	return s.groups;
}

bool proc_locker_is_ours(const struct stat *file)
{
	pid_t locker = locker_of(file);

	return locker > 0 && kill(locker, 0) == 0;
}

/* Whether PID has FILE open, by any descriptor; true if that may not be seen. */
static bool has_open(pid_t pid, const struct stat *file)
{
	char path[64];
	struct dirent *entry;
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	if (!fds)
		return errno != ENOENT;
	while (!found && (entry = readdir(fds)) != NULL) {
		struct stat st;

		found = fstatat(dirfd(fds), entry->d_name, &st, 0) == 0 && same_file(&st, file);
	}
	closedir(fds);
	return found;
}

/* Of a qwork that took the lock there is its number, also when it is dead; unless it is not known
 * (in another PID namespace, or where stat(2) and /proc/locks name devices differently, as on
 * btrfs). Then the parent of the handler is or is not one, if the handler itself still lives. */
bool proc_orphaned(const struct stat *file, const char *id)
{
	struct wanted w = wanted(file, id);
	pid_t handler = 0, worker = w.locker;

	each_handler(&w, first_handler, &handler);
	if (handler == 0)
		return false;
	if (worker == 0)
		worker = parent_of(getpgid(handler));
	return worker > 0 && !has_open(worker, file);
}

/* The second field of proc_pid_statm(5), in pages. */
uint64_t proc_resident(pid_t pid)
{
	unsigned long long pages = 0;
	char path[64];
	FILE *info;

	snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	info = fopen(path, "re");
	if (!info)
		return 0;
	if (fscanf(info, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(info);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int processor_time(pid_t pid, struct timespec *taken)
{
	clockid_t clock;
	int error = clock_getcpuclockid(pid, &clock);

	if (error == 0)
		return clock_gettime(clock, taken);
	errno = error;
	return -1;
}

/* The hard limit stays: only the superuser could raise it again. See setrlimit(2). */
int proc_limit_cpu(pid_t pid, int64_t seconds)
{
	struct timespec taken;
	struct rlimit ours, limit;
	rlim_t end;

	if (getrlimit(RLIMIT_CPU, &ours) != 0 || processor_time(pid, &taken) != 0 ||
	    prlimit(pid, RLIMIT_CPU, NULL, &limit) != 0)
		return -1;
	end = (rlim_t)taken.tv_sec + (taken.tv_nsec > 0) + (rlim_t)seconds;
	limit.rlim_cur = seconds > 0 && end < ours.rlim_cur ? end : ours.rlim_cur;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	return prlimit(pid, RLIMIT_CPU, &limit, NULL);
}

uint64_t proc_oom_kills(void)
{
	FILE *file = fopen("/proc/vmstat", "re");
	uint64_t kills = 0;
	char line[128];

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "oom_kill %" SCNu64, &kills) == 1)
			break;
	if (file)
		fclose(file);
	return kills;
}
