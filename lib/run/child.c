#include "run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "run/environment.h"
#include "sys/proc.h"

/* What the child needs, made before vfork: between vfork and exec it shares our
 * memory and may only make system calls. */
struct launch {
	const struct child_start *start;
	char **argv, **envp;
	char path[32]; /* of a handler that is executed by descriptor, or "" */
	char oom_score_adj[16];
	int errors;
	pid_t parent;
	volatile int error;
};

/* Of the child alone, also while it shares our memory. To raise it needs no privilege;
 * where it cannot be done, the handler is worth a start all the same. */
static void offer_to_oom_killer(const struct launch *launch)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, launch->oom_score_adj, strlen(launch->oom_score_adj));
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

static _Noreturn void launch_child(struct launch *launch)
{
	const struct child_start *start = launch->start;
	const struct sigaction plain = {.sa_handler = SIG_DFL};

	setsid();
	prctl(PR_SET_PDEATHSIG, start->stay ? SIGKILL : SIGTERM);
	if (getppid() != launch->parent) /* it died before that took hold */
		_exit(127);
	if (dup2(start->input, STDIN_FILENO) < 0 || dup2(launch->errors, STDERR_FILENO) < 0)
		goto fail;
	if (start->output >= 0 && dup2(start->output, STDOUT_FILENO) < 0)
		goto fail;
	if (start->stay && dup2(start->stay->id, PROC_JOB_FD) < 0)
		goto fail;
	if (start->stay)
		keep_open(start->stay->lease);
	offer_to_oom_killer(launch);
	if (start->limits && apply_limits(start->limits) != 0)
		goto fail;
	hand_down(start->grip);
	sigaction(SIGPIPE, &plain, NULL);
	sigprocmask(SIG_SETMASK, start->signals, NULL);
	setrlimit(RLIMIT_NOFILE, start->files);
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

	launch->parent = getpid();
	pid = launch_vfork(launch);
	if (pid < 0)
		return -1;
	if (launch->error != 0) { /* it has ended already, and is reaped with the others */
		*exec = true;
		errno = launch->error;
		return -1;
	}
	child->pid = pid;
	return 0;
}

static int start_with_pipe(struct child *child, struct launch *launch, bool *exec)
{
	int pipe_end[2] = {-1, -1};
	int result = -1;

	if (pipe2(pipe_end, O_CLOEXEC) == 0 && fcntl(pipe_end[0], F_SETFL, O_NONBLOCK) == 0) {
		launch->errors = pipe_end[1];
		result = start_launch(child, launch, exec);
	}
	if (result == 0)
		child->errors = pipe_end[0];
	else
		sys_discard(&pipe_end[0]);
	sys_discard(&pipe_end[1]);
	return result;
}

int child_launch(struct child *child, const struct child_start *start, const struct strings *argv,
    const struct strings *env, bool *exec)
{
	struct launch launch = {
	    .start = start, .argv = argv->item, .envp = env->item, .errors = STDERR_FILENO};

	*exec = false;
	snprintf(launch.oom_score_adj, sizeof launch.oom_score_adj, "%d", start->oom_score_adj);
	if (start->handler->fd >= 0)
		snprintf(launch.path, sizeof launch.path, "/proc/self/fd/%d", start->handler->fd);
	return start->keeps_errors ? start_launch(child, &launch, exec)
	                           : start_with_pipe(child, &launch, exec);
}

int child_start(struct child *child, const struct child_start *start, bool *exec)
{
	struct strings argv = {0}, env = {0};
	int result = -1, saved;

	child->pid = 0;
	child->errors = -1;
	child->tail_len = 0;
	*exec = false;
	if (command_build(start, &argv) == 0 && environment_build(start, &env) == 0)
		result = child_launch(child, start, &argv, &env, exec);
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
void child_drain(struct child *child, bool last)
{
	char buffer[16384];

	for (int pieces = last ? 8 : 1; child->errors >= 0 && pieces > 0; pieces--) {
		ssize_t n = read(child->errors, buffer, sizeof buffer);

		if (n > 0) {
			pass_on(buffer, (size_t)n);
			child_keep(child, buffer, (size_t)n);
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			sys_discard(&child->errors);
		} else {
			break;
		}
	}
	if (last)
		sys_discard(&child->errors);
}
