#include "run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/environment.h"
#include "sys/proc.h"

enum {
	OOM_SCORE_MORE = 500,
	OOM_SCORE_MAX = 1000, /* proc_pid_oom_score_adj(5) */
};

/* What the child needs, made before vfork: between vfork and exec it shares our
 * memory and may only make system calls. */
struct launch {
	const struct child_start *start;
	char **argv, **envp;
	char path[32]; /* of a handler that is executed by descriptor, or "" */
	int errors;    /* becomes its stderr; -1: it opens that by itself, as END */
	char end[16];  /* of a pipe whose other one we have: its name in our /proc/self/fd */
	volatile bool unopened; /* that failed */
	volatile int error;
};

/* Protection that qwork has is not for what it runs. */
static int score_of_children(int own)
{
	int score = (own > 0 ? own : 0) + OOM_SCORE_MORE;

	return score < OOM_SCORE_MAX ? score : OOM_SCORE_MAX;
}

int child_base_open(struct child_base *base)
{
	base->parent = getpid();
	base->score_fd = open("/proc/self/oom_score_adj", O_RDWR | O_APPEND | O_NOCTTY | O_CLOEXEC);
	base->exposed = false;
	base->fds = sys_opendir(AT_FDCWD, "/proc/self/fd");
	base->environment = (struct strings){0};
	return environment_own(&base->environment);
}

void child_base_close(struct child_base *base)
{
	child_base_shelter(base);
	sys_discard(&base->score_fd);
	sys_discard(&base->fds);
	strings_release(&base->environment);
}

static bool write_score(const struct child_base *base, int score)
{
	char text[16];
	int len = snprintf(text, sizeof text, "%d\n", score);

	return write(base->score_fd, text, (size_t)len) == (ssize_t)len;
}

/* Somebody may have changed it since the last time. Neither raising it nor lowering it again needs a privilege, unless
 * one who had that raised it: proc_pid_oom_score_adj(5). Where it cannot be done, the handler is worth a start all the same. */
static void expose(struct child_base *base)
{
	char text[16] = "";

	if (base->exposed || base->score_fd < 0 ||
	    pread(base->score_fd, text, sizeof text - 1, 0) <= 0)
		return;
	base->own_score = (int)strtol(text, NULL, 10);
	base->exposed = write_score(base, score_of_children(base->own_score));
}

void child_base_shelter(struct child_base *base)
{
	int saved = errno;

	if (base->exposed)
		base->exposed = !write_score(base, base->own_score);
	errno = saved;
}

/* No more than we have ourselves. */
static int limit(unsigned resource, rlim_t soft, rlim_t hard)
{
	struct rlimit ours, new;

	if (getrlimit(resource, &ours) != 0)
		return -1;
	new.rlim_max = hard < ours.rlim_max ? hard : ours.rlim_max;
	new.rlim_cur = soft < new.rlim_max ? soft : new.rlim_max;
	return setrlimit(resource, &new);
}

static int apply_limits(const struct child_limits *limits)
{
	rlim_t data = (rlim_t)limits->data, cpu = (rlim_t)limits->cpu_s;

	if (limits->entrance >= 0 && write(limits->entrance, "0", 1) < 0)
		return -1;
	if (data > 0 && limit(RLIMIT_DATA, data, data) != 0)
		return -1;
	if (cpu > 0 && limit(RLIMIT_CPU, cpu, cpu + WORK_KILL_AFTER_MS / 1000) != 0)
		return -1;
	if (limits->nice > 0)
		(void)!nice((int)limits->nice);
	return limits->no_new_privileges ? prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) : 0;
}

static void keep_open(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

/* SLOT: the last process that has it open, has it. */
static void hand_down(const struct grip *grip)
{
	for (size_t i = 0; grip && i < grip->count; i++) {
		keep_open(grip->part[i].slot);
		keep_open(grip->part[i].probe);
	}
}

static int open_errors(struct launch *launch)
{
	int fd = launch->errors;

	if (fd < 0) {
		fd = openat(launch->start->base->fds, launch->end, O_WRONLY | O_NOCTTY | O_CLOEXEC);
		launch->unopened = fd < 0;
	}
	return fd < 0 ? -1 : dup2(fd, STDERR_FILENO);
}

static _Noreturn void launch_child(struct launch *launch)
{
	const struct child_start *start = launch->start;
	const struct sigaction plain = {.sa_handler = SIG_DFL};

	setsid();
	prctl(PR_SET_PDEATHSIG, start->stay ? SIGKILL : SIGTERM);
	if (getppid() != start->base->parent) /* it died before that took hold */
		_exit(127);
	if (dup2(start->input, STDIN_FILENO) < 0 || open_errors(launch) < 0)
		goto fail;
	if (start->output >= 0 && dup2(start->output, STDOUT_FILENO) < 0)
		goto fail;
	if (start->stay && dup2(start->stay->id, PROC_JOB_FD) < 0)
		goto fail;
	if (start->stay)
		keep_open(start->stay->lease);
	if (start->limits && apply_limits(start->limits) != 0)
		goto fail;
	hand_down(start->grip);
	sigaction(SIGPIPE, &plain, NULL);
	sigprocmask(SIG_SETMASK, start->base->signals, NULL);
	setrlimit(RLIMIT_NOFILE, start->base->files);
	if (start->handler->fd >= 0)
		fcntl(start->handler->fd, F_SETFD, 0); /* a script's interpreter opens it */
	if (launch->path[0])
		execve(launch->path, launch->argv, launch->envp);
	else
		execvpe(launch->argv[0], launch->argv, launch->envp);
fail:
	launch->error = errno;
	_exit(127);
}

/* vfork, not fork: from a process of 64 MB fork is five times slower. */
static __attribute__((noinline)) pid_t launch_vfork(struct launch *launch)
{
	pid_t pid = vfork();

	if (pid == 0)
		launch_child(launch); /* NOLINT(clang-analyzer-unix.Vfork): only system calls */
	return pid;
}

static int start_launch(struct child *child, struct launch *launch, bool *exec)
{
	pid_t pid;

	expose(launch->start->base);
	pid = launch_vfork(launch);
	if (pid < 0)
		return -1;
	if (launch->error != 0) { /* it has ended, or is about to */
		(void)!waitpid(pid, NULL, 0);
		*exec = true;
		errno = launch->error;
		return -1;
	}
	child->pid = pid;
	return 0;
}

static int start_with_new_pipe(struct child *child, struct launch *launch, bool *exec)
{
	int end[2], result = -1;

	sys_discard(&child->errors);
	if (pipe2(end, O_CLOEXEC) != 0)
		return -1;
	child->errors = end[0];
	launch->errors = end[1];
	if (fcntl(child->errors, F_SETFL, O_NONBLOCK) == 0)
		result = start_launch(child, launch, exec);
	sys_discard(&launch->errors);
	return result;
}

/* The pipe that the last child had, of which this one opens the other end. 1; 0 if there is none, or it cannot be opened. */
static int start_with_old_pipe(struct child *child, struct launch *launch, bool *exec)
{
	int *fds = &launch->start->base->fds;

	if (child->errors < 0 || !child->silent || *fds < 0)
		return 0;
	snprintf(launch->end, sizeof launch->end, "%d", child->errors);
	if (start_launch(child, launch, exec) == 0)
		return 1;
	if (!launch->unopened)
		return -1;
	if (launch->error != EMFILE && launch->error != ENFILE && launch->error != ENOMEM)
		sys_discard(fds); /* nor will it be the next time */
	launch->error = 0;
	*exec = false;
	return 0;
}

static int start_with_pipe(struct child *child, struct launch *launch, bool *exec)
{
	int result = start_with_old_pipe(child, launch, exec);

	if (result == 0)
		result = start_with_new_pipe(child, launch, exec) == 0 ? 1 : -1;
	if (result < 0)
		sys_discard(&child->errors);
	child->silent = child->left = false;
	return result == 1 ? 0 : -1;
}

/* Both, one behind the other: malloc'd, its strings are theirs. NULL with ENOMEM. */
static char **join(const struct strings *env, const struct strings *inherited)
{
	size_t more = inherited ? inherited->count : 0;
	char **all = calloc(env->count + more + 1, sizeof *all);

	if (all && env->count > 0)
		memcpy(all, env->item, env->count * sizeof *all);
	if (all && more > 0)
		memcpy(all + env->count, inherited->item, more * sizeof *all);
	return all;
}

int child_launch(struct child *child, const struct child_start *start, const struct strings *argv,
    const struct strings *env, const struct strings *inherited, bool *exec)
{
	struct launch launch = {.start = start,
	    .argv = argv->item,
	    .envp = join(env, inherited),
	    .errors = start->keeps_errors ? STDERR_FILENO : -1};
	int result = -1, saved;

	*exec = false;
	if (start->handler->fd >= 0)
		snprintf(launch.path, sizeof launch.path, "/proc/self/fd/%d", start->handler->fd);
	if (launch.envp)
		result = start->keeps_errors ? start_launch(child, &launch, exec)
		                             : start_with_pipe(child, &launch, exec);
	saved = errno;
	free(launch.envp);
	errno = saved;
	return result;
}

int child_start(struct child *child, const struct child_start *start, bool *exec)
{
	struct strings argv = {0}, env = {0};
	const struct strings *inherited;
	int result = -1, saved;

	child->pid = 0;
	child->talks = child->tail_len > 0;
	child->tail_len = 0;
	*exec = false;
	if (command_build(start, &argv) == 0 && environment_build(start, &env, &inherited) == 0)
		result = child_launch(child, start, &argv, &env, inherited, exec);
	saved = errno;
	strings_release(&argv);
	strings_release(&env);
	errno = saved;
	return result;
}

void child_keep(struct child *child, const char *data, size_t len)
{
	size_t keep;

	if (len >= sizeof child->tail) {
		data += len - sizeof child->tail;
		len = sizeof child->tail;
	}
	keep = sizeof child->tail - len;
	if (keep < child->tail_len) {
		memmove(child->tail, child->tail + child->tail_len - keep, keep);
		child->tail_len = keep;
	}
	memcpy(child->tail + child->tail_len, data, len);
	child->tail_len += len;
}

/* Our own stderr may be gone (EPIPE): the tail is kept all the same. */
static void pass_on(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

/* One piece at a time, so that a talkative handler does not keep us from the others;
 * at the end all that a pipe holds, and no more than that: a process that the handler
 * left behind may write for ever. */
bool child_drain(struct child *child, bool last)
{
	char buffer[16384];
	ssize_t n = 0;

	for (int pieces = last ? 8 : 1; child->errors >= 0 && !child->silent && pieces > 0;
	     pieces--) {
		n = read(child->errors, buffer, sizeof buffer);
		if (n > 0) {
			pass_on(buffer, (size_t)n);
			child_keep(child, buffer, (size_t)n);
		} else if (n == 0) {
			child->silent = true;
		} else if (errno != EAGAIN && errno != EINTR) {
			sys_discard(&child->errors);
		} else {
			break;
		}
	}
	if (last && !child->silent)
		sys_discard(&child->errors);
	return n > 0;
}

int child_poll_fd(const struct child *child)
{
	return child->silent ? -1 : child->errors;
}

/* That nobody has the other end may be seen before what was written there just now: what is left is known if that is seen again. */
bool child_last_polled(struct child *child, short revents)
{
	bool left = child->left;

	child->left = revents == POLLHUP;
	child->silent = left && child->left;
	return !left && child->left;
}
