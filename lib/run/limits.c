/*
 * What a job may take. Memory is limited by a control group, which has all processes of the job, or else by
 * RLIMIT_DATA: for each process by itself. Of that nobody is told that a process has reached it. It is taken
 * to be the reason if an attempt failed of which a process had at least half of the limit, or that wrote of memory
 * at its end.
 */
#include "run/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "format/size.h"
#include "sys/proc.h"

void limits_prepare(struct pool *p)
{
	if (p->groups_said || cgroups_open(&p->groups) == 0)
		return;
	p->groups_said = true;
	pool_note(p,
	    "memory is limited for each process of a job, since there is no control group for it",
	    errno);
}

/* The first that says something of it: the job, the command line, the settings. */
static struct meta resolve(const struct worker *w, const struct meta *meta)
{
	const struct meta *levels[] = {meta, w->pool->options->defaults, &w->settings.options};
	struct meta all = {0};

	for (size_t i = 0; i < 3; i++) {
		const struct meta *level = levels[i];

		if (!all.has_memory && level->has_memory)
			all.memory = level->memory;
		if (!all.has_cpu && level->has_cpu)
			all.cpu_ms = level->cpu_ms;
		if (!all.has_nice && level->has_nice)
			all.nice = level->nice;
		all.has_memory |= level->has_memory;
		all.has_cpu |= level->has_cpu;
		all.has_nice |= level->has_nice;
	}
	return all;
}

/* The descriptor is -1 if there can be no group. */
static int open_group(struct pool *p, const char *id, struct limited *limited)
{
	int fd = -1;

	limits_prepare(p);
	if (p->groups.dir < 0)
		return -1;
	if (cgroup_make(&p->groups, &limited->group, id, limited->memory) == 0)
		fd = cgroup_entrance(&limited->group);
	if (fd < 0) {
		pool_trouble(p,
		    "no control group could be made for a job: its memory is limited for each "
		    "process",
		    errno);
		cgroup_remove(&p->groups, &limited->group);
	}
	return fd;
}

static int64_t cpu_s_of(const struct meta *all)
{
	return (all->cpu_ms + 999) / 1000;
}

int64_t limits_cpu_s(const struct worker *w, const struct meta *meta)
{
	struct meta all = resolve(w, meta);

	return cpu_s_of(&all);
}

void limits_begin(struct worker *w, const struct meta *meta, const char *id,
    struct limited *limited, struct child_limits *limits)
{
	struct meta all = resolve(w, meta);

	*limited =
	    (struct limited){.group = CGROUP_NONE, .memory = all.memory, .cpu_s = cpu_s_of(&all)};
	*limits = (struct child_limits){.cpu_s = limited->cpu_s,
	    .nice = all.nice,
	    .no_new_privileges = w->pool->options->no_new_privileges,
	    .entrance = -1};
	if (all.memory > 0)
		limits->entrance = open_group(w->pool, id, limited);
	if (limits->entrance < 0)
		limits->data = all.memory;
}

void limits_kill(const struct limited *limited)
{
	cgroup_kill(&limited->group);
}

void limits_not_used(struct pool *p, struct limited *limited)
{
	if (limited->group.dir >= 0)
		cgroup_remove(&p->groups, &limited->group);
}

void limits_keep(struct pool *p)
{
	p->oom_kills = proc_oom_kills();
}

/* Or its last command, which a shell says like that. */
static bool was_killed(int status)
{
	return (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
	    (WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGKILL);
}

/* By the OOM killer, it seems: it has killed one more than is explained. */
static bool machine_was_short(struct pool *p)
{
	if (proc_oom_kills() <= p->oom_kills)
		return false;
	p->oom_kills++;
	return true;
}

/* What a process had before exec was ours. */
static bool had_half(const struct running *r, const struct rusage *used)
{
	struct rusage ours;

	return getrusage(RUSAGE_SELF, &ours) == 0 && used->ru_maxrss > ours.ru_maxrss &&
	    used->ru_maxrss >= r->limited.memory / 1024 / 2;
}

/* "Cannot allocate memory", "out of memory", "MemoryError", "std::bad_alloc": what programs write then. */
static bool wrote_of_memory(const struct child *child)
{
	char tail[LOG_TAIL_MAX + 1];
	size_t len = 0;

	for (size_t i = 0; i < child->tail_len; i++)
		if (child->tail[i] != '\0')
			tail[len++] = child->tail[i];
	tail[len] = '\0';
	return strcasestr(tail, "memory") || strstr(tail, "bad_alloc");
}

/* In words, or NULL. */
static const char *why_out_of_memory(
    struct running *r, int status, const struct rusage *used, int64_t kills)
{
	static char why[64 + SIZE_TEXT];
	bool alone = r->limited.memory > 0 && r->limited.group.dir < 0;
	char size[SIZE_TEXT];

	size_format(r->limited.memory, size);
	if (kills > 0)
		snprintf(why, sizeof why, "killed at its limit of %s", size);
	else if (was_killed(status) && machine_was_short(r->worker->pool))
		snprintf(why, sizeof why, "killed when the machine was short of it, it seems");
	else if (alone && had_half(r, used))
		snprintf(why, sizeof why, "at its limit of %s, by its peak", size);
	else if (alone && wrote_of_memory(&r->child))
		snprintf(why, sizeof why, "at its limit of %s, by what it wrote", size);
	else
		return NULL;
	return why;
}

/* Who does not end by XCPU is killed a few seconds later; but for a handler that stays, of which what was used
 * is of its life. */
static bool spent_its_time(const struct running *r, int status, const struct rusage *used)
{
	if (r->limited.cpu_s == 0 || !WIFSIGNALED(status))
		return false;
	return WTERMSIG(status) == SIGXCPU ||
	    (WTERMSIG(status) == SIGKILL && !r->unanswered &&
	        used->ru_utime.tv_sec + used->ru_stime.tv_sec >= r->limited.cpu_s);
}

static const char *find_cause(
    struct running *r, int status, const struct rusage *used, int64_t kills, const char **reason)
{
	if (r->end_signal != 0 || status == 0)
		return NULL;
	*reason = "its processor time was over";
	if (spent_its_time(r, status, used))
		return "timed out";
	*reason = why_out_of_memory(r, status, used, kills);
	return *reason ? "out of memory" : NULL;
}

const char *limits_end(struct running *r, int status, struct rusage *used, const char **reason)
{
	int64_t kills, peak;
	const char *cause;

	limits_kill(&r->limited);
	cgroup_usage(&r->limited.group, &kills, &peak);
	if (peak >= 0)
		used->ru_maxrss = (long)(peak / 1024);
	cause = find_cause(r, status, used, kills, reason);
	limits_not_used(r->worker->pool, &r->limited);
	return cause;
}
