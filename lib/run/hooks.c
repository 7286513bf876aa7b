#include "run/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/strings.h"
#include "run/environment.h"
#include "sys/clock.h"

/* --- what happened --- */

static void forget(struct hook *h)
{
	h->count = 0;
	strings_release(&h->about);
	strings_release(&h->list);
	sys_discard(&h->history);
}

static int describe(struct strings *env, const struct hook_news *news)
{
	if (news->cause && environment_add(env, "QHOOK_CAUSE=%s", news->cause) != 0)
		return -1;
	if (news->reason && environment_add(env, "QHOOK_REASON=%s", news->reason) != 0)
		return -1;
	if (news->resource && environment_add(env, "QHOOK_RESOURCE=%s", news->resource) != 0)
		return -1;
	return news->job ? environment_job(env, news->job, news->meta, news->attempts)
	                 : environment_add(env, "QJOB_QUEUE=%s", news->queue);
}

/* Without memory the call tells less, but it tells. */
static void note_first(struct hook *h, const struct hook_news *news)
{
	h->since = clock_real_ms();
	snprintf(h->queue, sizeof h->queue, "%s", news->queue);
	if (news->job && news->job->name.log)
		h->history = log_open(news->job);
	if (describe(&h->about, news) != 0)
		strings_release(&h->about);
}

static void note_each(struct hook *h, const struct hook_news *news)
{
	char item[QUEUE_NAME_SIZE + LABEL_SIZE], label[LABEL_SIZE];

	if (h->list.count == HOOK_LIST_MAX)
		return;
	if (news->resource && label_encode(news->resource, label) == 0)
		snprintf(item, sizeof item, "%s:%s", news->cause, label);
	else
		snprintf(item, sizeof item, "%s%s%s", news->queue, news->job ? "/" : "",
		    news->job ? news->job->name.id : "");
	if (!strings_has(&h->list, item))
		(void)!strings_add(&h->list, item);
}

void hooks_event(struct hooks *hooks, enum hook_kind kind, const struct hook_news *news)
{
	struct hook *h = &hooks->hook[kind];

	if (h->count++ == 0)
		note_first(h, news);
	note_each(h, news);
}

/* --- calling --- */

static const char *name_of(const struct hooks *hooks, const struct hook *h)
{
	return hook_name[h - hooks->hook];
}

static struct work_event event_of(
    const struct hooks *hooks, const struct hook *h, char *place, size_t size)
{
	snprintf(place, size, "%s/%s", hooks_dir_name, name_of(hooks, h));
	return (struct work_event){.outcome = WORK_NOTE,
	    .queue = h->queue,
	    .name = place,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};
}

/* CAUSE is compared by address. ERROR is that of a start, or 0. */
static void trouble(struct hooks *hooks, struct hook *h, const char *cause, int error, int status)
{
	int code = error != 0 ? error : status;
	char place[64];
	struct work_event event = event_of(hooks, h, place, sizeof place);

	if (h->said == cause && h->said_code == code)
		return;
	h->said = cause;
	h->said_code = code;
	event.cause = cause;
	event.reason = error != 0 ? strerror(error) : NULL;
	event.status = status;
	hooks->report(hooks->arg, &event);
}

static int add_list(struct strings *env, const struct strings *list)
{
	char text[HOOK_LIST_MAX * (QUEUE_NAME_SIZE + LABEL_SIZE)] = "";
	size_t used = 0;

	for (size_t i = 0; i < list->count && used < sizeof text; i++)
		used += (size_t)snprintf(
		    text + used, sizeof text - used, "%s%s", i > 0 ? " " : "", list->item[i]);
	return environment_add(env, "QHOOK_LIST=%s", text);
}

static int build_environment(const struct hooks *hooks, const struct hook *h, struct strings *env)
{
	char since[WHEN_SIZE];

	when_rfc3339(h->since, since);
	if (environment_add(env, "QSPOOL=%s", hooks->spool->path) != 0 ||
	    environment_add(env, "QHOOK=%s", name_of(hooks, h)) != 0 ||
	    environment_add(env, "QHOOK_COUNT=%lu", h->count) != 0 ||
	    environment_add(env, "QHOOK_SINCE=%s", since) != 0 || add_list(env, &h->list) != 0)
		return -1;
	for (size_t i = 0; i < h->about.count; i++)
		if (strings_add(env, h->about.item[i]) != 0)
			return -1;
	return 0;
}

static int launch(
    const struct hooks *hooks, struct hook *h, const struct handler *program, bool *exec)
{
	struct strings argv = {0}, env = {0};
	struct child_start start = {.base = hooks->base,
	    .handler = program,
	    .input = h->history,
	    .output = STDERR_FILENO,
	    .keeps_errors = true};
	int result = -1, null = -1, saved;

	if (start.input < 0)
		start.input = null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (start.input >= 0 && strings_add(&argv, program->path) == 0 &&
	    build_environment(hooks, h, &env) == 0)
		result =
		    child_launch(&h->child, &start, &argv, &env, &hooks->base->environment, exec);
	saved = errno;
	child_base_shelter(hooks->base);
	sys_discard(&null);
	strings_release(&argv);
	strings_release(&env);
	errno = saved;
	return result;
}

/* 1; 0 if there is no such hook; -1. What the last error on the spool was about stays that: a missing hook is
 * none. */
static int start(const struct hooks *hooks, struct hook *h)
{
	int dir = sys_opendir(hooks->spool->fd, hooks_dir_name);
	struct handler program = {.fd = -1};
	char place[sizeof hooks->spool->place];
	bool exec = false;
	int result = -1, saved;

	memcpy(place, hooks->spool->place, sizeof place);
	if (dir >= 0 &&
	    handler_find(&program, hooks->spool, dir, hooks_dir_name, name_of(hooks, h)) == 0)
		result = launch(hooks, h, &program, &exec) == 0 ? 1 : -1;
	else if (errno == ENOENT)
		result = 0;
	saved = errno;
	memcpy(hooks->spool->place, place, sizeof place);
	sys_discard(&dir);
	handler_release(&program);
	errno = saved;
	return result;
}

/* After a quiet time the next event is told at once again. */
static void put_off(struct hook *h, int64_t now)
{
	if (h->wait == 0 || now - h->at > h->wait)
		h->wait = HOOK_AGAIN_MS;
	else if (h->wait < HOOK_AGAIN_CAP_MS)
		h->wait = 2 * h->wait < HOOK_AGAIN_CAP_MS ? 2 * h->wait : HOOK_AGAIN_CAP_MS;
	h->at = now + h->wait;
}

static void call(struct hooks *hooks, struct hook *h, int64_t now)
{
	int started = start(hooks, h);

	if (started < 0 && errno == E2BIG) { /* then without what the job brings */
		strings_release(&h->about);
		started = start(hooks, h);
	}
	put_off(h, now);
	if (started == 1) {
		h->started = now;
		h->end_at = now + HOOK_TIMEOUT_MS;
		h->end_signal = 0;
	} else if (started == 0) {
		h->wait = 0;
		h->at = now + HOOK_AGAIN_MS;
	} else {
		trouble(hooks, h,
		    errno == EPERM ? "a hook is refused: it must belong to root or to qwork's "
		                     "user, and nobody else may write it"
		                   : "a hook could not be started",
		    errno, -1);
		return;
	}
	forget(h);
}

static void end_group(struct hook *h, int64_t now)
{
	h->end_signal = h->end_signal == 0 ? SIGTERM : SIGKILL;
	h->end_at = h->end_signal == SIGTERM ? now + WORK_KILL_AFTER_MS : INT64_MAX;
	kill(-h->child.pid, h->end_signal);
}

void hooks_tick(struct hooks *hooks, int64_t now)
{
	for (size_t i = 0; i < HOOK_KINDS; i++) {
		struct hook *h = &hooks->hook[i];

		if (h->child.pid > 0 && now >= h->end_at)
			end_group(h, now);
		else if (h->child.pid == 0 && h->count > 0 && now >= h->at)
			call(hooks, h, now);
	}
}

int64_t hooks_next(const struct hooks *hooks)
{
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < HOOK_KINDS; i++) {
		const struct hook *h = &hooks->hook[i];
		int64_t at = h->child.pid > 0 ? h->end_at : h->count > 0 ? h->at : INT64_MAX;

		next = at < next ? at : next;
	}
	return next;
}

static void settle(struct hooks *hooks, struct hook *h, int status)
{
	if (h->end_signal != 0)
		trouble(hooks, h, "a hook took too long and was ended", 0, status);
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		trouble(hooks, h, "a hook failed", 0, status);
	else
		h->said = NULL;
}

bool hooks_told_to_end(const struct hooks *hooks, pid_t pid)
{
	for (size_t i = 0; i < HOOK_KINDS; i++) {
		const struct hook *h = &hooks->hook[i];

		if (h->child.pid > 0 && h->end_signal != 0 && (pid == 0 || h->child.pid == pid))
			return true;
	}
	return false;
}

bool hooks_any_runs(const struct hooks *hooks)
{
	for (size_t i = 0; i < HOOK_KINDS; i++)
		if (hooks->hook[i].child.pid > 0)
			return true;
	return false;
}

bool hooks_ended(struct hooks *hooks, pid_t pid, int status)
{
	for (size_t i = 0; i < HOOK_KINDS; i++) {
		struct hook *h = &hooks->hook[i];

		if (h->child.pid != pid)
			continue;
		settle(hooks, h, status);
		h->child.pid = 0;
		return true;
	}
	return false;
}

/* --- the end --- */

static void give_up(struct hooks *hooks, struct hook *h)
{
	char place[64], reason[64];
	struct work_event event = event_of(hooks, h, place, sizeof place);

	snprintf(reason, sizeof reason, "%lu events", h->count);
	event.cause = "a hook was not told of all, since qwork ends";
	event.reason = reason;
	hooks->report(hooks->arg, &event);
	forget(h);
}

/* What is left of a group that was told to end is killed while the number is its. */
static void reap_ended(struct hooks *hooks)
{
	for (size_t i = 0; i < HOOK_KINDS; i++) {
		pid_t pid = hooks->hook[i].child.pid;
		siginfo_t ended = {0};
		int status = 0;

		if (pid == 0 ||
		    waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 ||
		    ended.si_pid != pid)
			continue;
		if (hooks_told_to_end(hooks, pid))
			kill(-pid, SIGKILL);
		if (waitpid(pid, &status, 0) == pid)
			(void)!hooks_ended(hooks, pid, status);
	}
}

/* Whether one runs still. */
static bool finish_some(struct hooks *hooks, int64_t now, int64_t until)
{
	bool runs = false;

	reap_ended(hooks);
	for (size_t i = 0; i < HOOK_KINDS; i++) {
		struct hook *h = &hooks->hook[i];

		if (h->child.pid == 0 && h->count > 0 && now < until)
			call(hooks, h, now);
		if (h->child.pid == 0 && h->count > 0)
			give_up(hooks, h);
		if (h->child.pid > 0 && h->end_signal == 0 && h->end_at > until)
			h->end_at = until;
		runs |= h->child.pid > 0;
	}
	hooks_tick(hooks, now);
	return runs;
}

static void end_now(struct hooks *hooks, int64_t now)
{
	for (size_t i = 0; i < HOOK_KINDS; i++)
		if (hooks->hook[i].child.pid > 0)
			hooks->hook[i].end_at = now;
}

/* Until a child has ended, or AT; returns which signal came, if one did. */
static int wait_until(int64_t at, int64_t now)
{
	int64_t ms = at > now ? at - now : 0;
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	sigset_t set;

	if (at == INT64_MAX)
		time.tv_sec = 1;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	return sigtimedwait(&set, NULL, &time);
}

void hooks_finish(struct hooks *hooks)
{
	int64_t now = clock_mono_ms(), until = now + HOOK_END_MS;
	int saved = errno;

	while (finish_some(hooks, now, until)) {
		int signal = wait_until(hooks_next(hooks), now);

		now = clock_mono_ms();
		if (signal == SIGTERM || signal == SIGINT) {
			until = now;
			end_now(hooks, now);
		}
	}
	errno = saved;
}

/* --- */

void hooks_init(struct hooks *hooks)
{
	memset(hooks->hook, 0, sizeof hooks->hook);
	for (size_t i = 0; i < HOOK_KINDS; i++)
		hooks->hook[i].history = hooks->hook[i].child.errors = -1;
}

void hooks_release(struct hooks *hooks)
{
	for (size_t i = 0; i < HOOK_KINDS; i++)
		forget(&hooks->hook[i]);
}
