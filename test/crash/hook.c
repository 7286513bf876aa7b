/*
 * Makes the tools of test/crash/tools/ fail or die at a chosen change of the spool.
 * They are those of bin/ with this file linked in, whose constructor sets sys_hook.
 *
 * QSPOOL_FAULT=ACTION:CALL:K[,...]   at the K-th of these calls (from 1; 0: at each)
 *   CALL    create fchmod write fsync-file fsync-dir syncfs close rename replace link unlink
 *           mkdir rmdir, or any; CALL@TEXT: only of a path that contains TEXT
 *   ACTION  kill-before kill-after   SIGKILL
 *           stop     SIGSTOP before it; made once it goes on
 *           skip     say that it was made
 *           late     of fsync-file and syncfs: made only after the next rename
 *           short    write half of it
 *           EIO ENOSPC ...           fail so
 * QSPOOL_FAULT_PAUSE=US   before one in four of all calls, a pause of up to so many microseconds: so that
 *                         what others do comes between
 * QSPOOL_FAULT_LOG=FILE   appends a line a call, with tabs between: process, call, what was
 *                         done, the errno that the tool saw (0: none), return addresses on
 *                         the stack, path. At exit, the call is "exit" and the errno the
 *                         number of descriptors that are open.
 * QSPOOL_FAULT_SITES=1    with the addresses, which take time
 */
#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "sys/files.h"

enum { FAULTS_MAX = 8, LATE_MAX = 64, STACK_MAX = 32, PAUSE_ONE_IN = 4, MADE = 0 };

enum action { KILL_BEFORE, KILL_AFTER, STOP, SKIP, LATE, SHORT, FAIL };

struct fault {
	enum action action;
	int error;
	const char *call;
	const char *path; /* contains this, or NULL */
	unsigned long long at, seen;
};

static struct fault fault[FAULTS_MAX];
static size_t faults;
/* The call that is being made, and what strikes it. */
static const char *making;
static const struct fault *now;
static char place[4096]; /* what that is of */
static struct late {
	int fd;
	int (*sync)(int fd);
} late[LATE_MAX];
static size_t lates;
static int log_fd = -1;
static uint32_t pause_us;
static bool log_sites;

static const char *const action_name[] = {
    "kill-before", "kill-after", "stop", "skip", "late", "short", "fail"};

static const struct {
	const char *name;
	int error;
} errors[] = {{"EACCES", EACCES}, {"EDQUOT", EDQUOT}, {"EEXIST", EEXIST}, {"EINTR", EINTR},
    {"EINVAL", EINVAL}, {"EIO", EIO}, {"EMFILE", EMFILE}, {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM},
    {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"ESTALE", ESTALE}};

static int parse_action(struct fault *f, const char *text)
{
	for (size_t i = 0; i < FAIL; i++)
		if (strcmp(text, action_name[i]) == 0) {
			f->action = (enum action)i;
			return 0;
		}
	f->action = FAIL;
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (strcmp(text, errors[i].name) == 0) {
			f->error = errors[i].error;
			return 0;
		}
	return -1;
}

static void add_fault(char *text)
{
	char *action = strsep(&text, ":"), *path = strsep(&text, ":");
	const char *why = NULL;

	if (faults == FAULTS_MAX)
		errx(EX_USAGE, "QSPOOL_FAULT: too many");
	if (!text || parse_action(&fault[faults], action) != 0)
		errx(EX_USAGE, "QSPOOL_FAULT: %s: ACTION:CALL:K is wanted", action);
	fault[faults].call = strsep(&path, "@");
	fault[faults].path = path;
	fault[faults].at = (unsigned long long)strtonum(text, 0, INT64_MAX, &why);
	if (why)
		errx(EX_USAGE, "QSPOOL_FAULT: %s: %s", text, why);
	faults++;
}

static bool is_dir(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static const char *exact_call(const char *call, int fd)
{
	if (strcmp(call, "fsync") != 0)
		return call;
	return is_dir(fd) ? "fsync-dir" : "fsync-file";
}

static int add_address(struct dl_phdr_info *info, size_t size, void *base)
{
	(void)size;
	*(uintptr_t *)base = info->dlpi_addr;
	return 1; /* the first is the program itself */
}

/* As addr2line(1) wants them: each within its call, and relative to the program's start. */
static void put_sites(FILE *out)
{
	void *stack[STACK_MAX];
	uintptr_t base = 0;
	int n = backtrace(stack, STACK_MAX);

	dl_iterate_phdr(add_address, &base);
	for (int i = 0; i < n; i++)
		fprintf(out, "%s%#jx", i ? " " : "", (uintmax_t)((uintptr_t)stack[i] - base - 1));
}

static void find_place(int fd, const char *name)
{
	char link[32], path[sizeof place / 2];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path);
	snprintf(place, sizeof place, "%.*s%s%.255s", n > 0 ? (int)n : 0, path,
	    n > 0 && *name ? "/" : "", name);
}

/* One line in one write. */
static void put_log(const char *call, const char *done, int error)
{
	char *line = NULL;
	size_t len = 0;
	FILE *out = log_fd < 0 ? NULL : open_memstream(&line, &len);

	if (!out)
		return;
	fprintf(out, "%d\t%s\t%s\t%d\t", (int)getpid(), call, done, error);
	if (log_sites)
		put_sites(out);
	fprintf(out, "\t%s\n", place);
	if (fclose(out) != 0 || write(log_fd, line, len) != (ssize_t)len)
		err(EX_IOERR, "QSPOOL_FAULT_LOG");
	free(line);
}

static const struct fault *next_fault(const char *call)
{
	const struct fault *strikes = NULL;

	for (size_t i = 0; i < faults; i++) {
		struct fault *f = &fault[i];

		if ((strcmp(f->call, call) != 0 && strcmp(f->call, "any") != 0) ||
		    (f->path && !strstr(place, f->path)))
			continue;
		f->seen++;
		if (!strikes && (f->at == 0 || f->at == f->seen))
			strikes = f;
	}
	return strikes;
}

/* By a descriptor of its own: the caller's may be closed before. */
static void put_off(const char *call, int fd)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (lates == LATE_MAX)
		errx(EX_SOFTWARE, "QSPOOL_FAULT: too much is late");
	late[lates].fd = open(path, O_RDONLY | O_CLOEXEC);
	late[lates].sync = strcmp(call, "syncfs") == 0 ? syncfs : fsync;
	if (late[lates].fd < 0)
		err(EX_SOFTWARE, "%s", path);
	lates++;
}

static void catch_up(void)
{
	for (; lates > 0; lates--) {
		struct late *l = &late[lates - 1];

		if (l->sync(l->fd) != 0 || close(l->fd) != 0)
			err(EX_IOERR, "QSPOOL_FAULT: late");
	}
}

static int strike(const char *call, int fd, size_t *len)
{
	switch (now->action) {
	case KILL_BEFORE:
		put_log(call, "kill-before", 0);
		kill(getpid(), SIGKILL);
		break;
	case STOP:
		kill(getpid(), SIGSTOP);
		break;
	case LATE:
		put_off(call, fd);
		/* fall through */
	case SKIP:
		put_log(call, action_name[now->action], 0);
		return SYS_SKIP;
	case SHORT:
		*len = *len > 1 ? *len / 2 : *len;
		break;
	case FAIL:
		put_log(call, "fail", now->error);
		return now->error;
	case KILL_AFTER:
		break;
	}
	return MADE;
}

static int before(const char *call, int fd, const char *name, size_t *len)
{
	if (pause_us > 0 && arc4random_uniform(PAUSE_ONE_IN) == 0)
		usleep(arc4random_uniform(pause_us));
	making = exact_call(call, fd);
	find_place(fd, name);
	now = next_fault(making);
	return now ? strike(making, fd, len) : MADE;
}

static void after(const char *call, int fd, const char *name, int error)
{
	(void)fd, (void)name;
	put_log(making, now ? action_name[now->action] : "made", error);
	if (now && now->action == KILL_AFTER)
		kill(getpid(), SIGKILL);
	if (strcmp(call, "rename") == 0 && error == 0)
		catch_up();
}

__attribute__((constructor)) static void set_hook(void)
{
	static const struct sys_hook hook = {.before = before, .after = after};
	const char *log = getenv("QSPOOL_FAULT_LOG"), *text = getenv("QSPOOL_FAULT"),
	           *pause = getenv("QSPOOL_FAULT_PAUSE"), *why = NULL;
	static char copy[1024];
	char *list = text && *text ? copy : NULL, *item;

	if (!log && !list && !pause)
		return;
	if (pause)
		pause_us = (uint32_t)strtonum(pause, 1, 1000000, &why);
	if (why)
		errx(EX_USAGE, "QSPOOL_FAULT_PAUSE: %s: %s", pause, why);
	if (list && strlcpy(copy, text, sizeof copy) >= sizeof copy)
		errx(EX_USAGE, "QSPOOL_FAULT: too long");
	while ((item = strsep(&list, ",")) != NULL)
		add_fault(item);
	if (log)
		log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (log && log_fd < 0)
		err(EX_CANTCREAT, "%s", log);
	log_sites = getenv("QSPOOL_FAULT_SITES") != NULL;
	sys_hook = &hook;
}

__attribute__((destructor)) static void end_log(void)
{
	DIR *dir = log_fd < 0 ? NULL : opendir("/proc/self/fd");
	int open_files = -2; /* the log, and this directory */

	if (!dir)
		return;
	for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
		open_files += entry->d_name[0] != '.';
	closedir(dir);
	place[0] = '\0';
	put_log("exit", "", open_files);
}
