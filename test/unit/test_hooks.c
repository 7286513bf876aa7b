/* Hooks in a spool of their own: when they are called, and what they are told. The clock that they go by is ours. */
#include "run/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/clock.h"
#include "unit.h"

enum { PATIENCE_MS = 60000 };

static char path[] = "/tmp/qspool-unit.XXXXXX";
static struct hooks hooks;
static sigset_t mask;
static struct rlimit files;
static char said[256]; /* what was reported last */
static struct child_base base;
static unsigned reports;
static int64_t now;

static void note(void *arg, const struct work_event *event)
{
	(void)arg;
	reports++;
	snprintf(said, sizeof said, "%s %s", event->name, event->cause);
}

static void shell(const char *command)
{
	char text[512];

	snprintf(text, sizeof text, "cd %s && %s", path, command);
	CHECK_INT(system(text), 0); /* NOLINT(cert-env33-c) */
}

static void make_hook(const char *name, const char *script)
{
	char text[400];

	snprintf(text, sizeof text,
	    "printf '#!/bin/sh\\n%%s\\n' '%s' >.hooks/%s && chmod 755 .hooks/%s", script, name,
	    name);
	shell(text);
}

static void begin(void)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	CHECK_INT(sigprocmask(SIG_BLOCK, &child, NULL), 0);
	snprintf(path, sizeof path, "/tmp/qspool-unit.XXXXXX");
	CHECK(mkdtemp(path) != NULL);
	CHECK_INT(getrlimit(RLIMIT_NOFILE, &files), 0);
	base = (struct child_base){.signals = &mask, .files = &files};
	CHECK_INT(child_base_open(&base), 0);
	hooks = (struct hooks){.spool = spool_open(path, false), .base = &base, .report = note};
	CHECK(hooks.spool != NULL);
	hooks_init(&hooks);
	shell("mkdir .hooks");
	reports = 0;
	said[0] = '\0';
	now = clock_mono_ms();
}

static void end(void)
{
	hooks_release(&hooks);
	child_base_close(&base);
	spool_close(hooks.spool);
	shell("rm -r .hooks && rm -f out");
	CHECK_INT(rmdir(path), 0);
}

static void happens(enum hook_kind kind, const char *queue, unsigned times)
{
	struct hook_news news = {.queue = queue, .cause = "test"};

	for (unsigned i = 0; i < times; i++)
		hooks_event(&hooks, kind, &news);
}

static bool runs(enum hook_kind kind)
{
	return hooks.hook[kind].child.pid > 0;
}

/* Until the hook of this kind has ended, in real time. */
static void reap(enum hook_kind kind)
{
	pid_t pid = hooks.hook[kind].child.pid, ended = 0;
	int status = 0;

	CHECK(pid > 0);
	for (int64_t until = clock_mono_ms() + PATIENCE_MS; ended == 0 && clock_mono_ms() < until;
	     poll(NULL, 0, 5))
		ended = waitpid(pid, &status, WNOHANG);
	CHECK_INT(ended, pid);
	if (hooks_told_to_end(&hooks, pid))
		kill(-pid, SIGKILL);
	CHECK(hooks_ended(&hooks, pid, status));
	CHECK(!runs(kind));
}

/* One line a call: what it was told. */
static const char *output(void)
{
	static char text[1024];
	char name[64];
	ssize_t n;
	int fd;

	snprintf(name, sizeof name, "%s/out", path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	sys_discard(&fd);
	return text;
}

#define TELL "echo $QHOOK $QHOOK_COUNT \"$QHOOK_LIST\" >>$QSPOOL/out"

static void the_first_is_told_at_once_and_a_storm_seldom(void)
{
	begin();
	make_hook("buried", TELL);
	CHECK(hooks_next(&hooks) == INT64_MAX);
	happens(HOOK_BURIED, "q", 1);
	CHECK(hooks_next(&hooks) <= now);
	hooks_tick(&hooks, now);
	CHECK(runs(HOOK_BURIED));
	happens(HOOK_BURIED, "q", 500);
	hooks_tick(&hooks, now + 10 * HOOK_AGAIN_MS); /* one at a time */
	reap(HOOK_BURIED);
	CHECK_INT(hooks_next(&hooks), now + HOOK_AGAIN_MS);
	hooks_tick(&hooks, now + HOOK_AGAIN_MS - 1);
	CHECK(!runs(HOOK_BURIED));
	hooks_tick(&hooks, now += HOOK_AGAIN_MS);
	reap(HOOK_BURIED);
	happens(HOOK_BURIED, "r", 499);
	CHECK_INT(hooks_next(&hooks), now + 2L * HOOK_AGAIN_MS);
	hooks_tick(&hooks, now + 2L * HOOK_AGAIN_MS);
	reap(HOOK_BURIED);
	CHECK_STR(output(), "buried 1 q\nburied 500 q\nburied 499 r\n");
	CHECK_INT(reports, 0);
	end();
}

static void the_waits_end_at_a_minute_and_with_a_quiet_time(void)
{
	int64_t last = 0;

	begin();
	make_hook("failed", TELL);
	for (int i = 0; i < 10; i++) {
		last = now;
		happens(HOOK_FAILED, "q", 1);
		now = hooks_next(&hooks) > now ? hooks_next(&hooks) : now;
		hooks_tick(&hooks, now);
		reap(HOOK_FAILED);
	}
	CHECK_INT(now - last, HOOK_AGAIN_CAP_MS);
	now += 3L * HOOK_AGAIN_CAP_MS;
	happens(HOOK_FAILED, "q", 1);
	hooks_tick(&hooks, now);
	reap(HOOK_FAILED);
	happens(HOOK_FAILED, "q", 1);
	CHECK_INT(hooks_next(&hooks), now + HOOK_AGAIN_MS);
	end();
}

static void one_that_hangs_is_ended_and_keeps_no_other(void)
{
	begin();
	make_hook("buried", "trap : TERM; while :; do sleep 0.1; done");
	make_hook("drained", TELL);
	happens(HOOK_BURIED, "q", 1);
	hooks_tick(&hooks, now);
	happens(HOOK_DRAINED, "q", 1);
	happens(HOOK_DRAINED, "r", 1);
	hooks_tick(&hooks, now);
	reap(HOOK_DRAINED);
	CHECK_STR(output(), "drained 2 q r\n");
	CHECK_INT(hooks_next(&hooks), now + HOOK_TIMEOUT_MS);
	hooks_tick(&hooks, now += HOOK_TIMEOUT_MS);
	CHECK_INT(hooks_next(&hooks), now + WORK_KILL_AFTER_MS);
	hooks_tick(&hooks, now + WORK_KILL_AFTER_MS);
	reap(HOOK_BURIED);
	CHECK_STR(said, ".hooks/buried a hook took too long and was ended");
	end();
}

static void what_cannot_be_started_is_tried_again_and_loses_nothing(void)
{
	begin();
	make_hook("finished", TELL);
	shell("chmod 644 .hooks/finished");
	happens(HOOK_FINISHED, "q", 3);
	hooks_tick(&hooks, now);
	CHECK_STR(said, ".hooks/finished a hook could not be started");
	shell("chmod 722 .hooks/finished");
	hooks_tick(&hooks, now += HOOK_AGAIN_MS);
	CHECK(strstr(said, ".hooks/finished a hook is refused") != NULL);
	hooks_tick(&hooks, now += 2L * HOOK_AGAIN_MS);
	CHECK_INT(reports, 2);
	shell("chmod 755 .hooks/finished && echo '#!/nowhere' >.hooks/finished");
	hooks_tick(&hooks, now += 4L * HOOK_AGAIN_MS);
	CHECK_INT(reports, 3);
	make_hook("finished", TELL);
	happens(HOOK_FINISHED, "q", 1);
	hooks_tick(&hooks, now += 8L * HOOK_AGAIN_MS);
	reap(HOOK_FINISHED);
	CHECK_STR(output(), "finished 4 q\n");
	CHECK_INT(reports, 3);
	while (waitpid(-1, NULL, WNOHANG) > 0) /* of the exec that failed */
		;
	end();
}

static void a_shortage_is_waited_for(void)
{
	struct rlimit few;
	int first = dup(STDERR_FILENO);

	begin();
	make_hook("buried", TELL);
	happens(HOOK_BURIED, "q", 2);
	few = (struct rlimit){(rlim_t)first + 2, files.rlim_max}; /* the spool's, and one more */
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
	hooks_tick(&hooks, now);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &files), 0);
	CHECK(!runs(HOOK_BURIED));
	CHECK_STR(said, ".hooks/buried a hook could not be started");
	hooks_tick(&hooks, now += HOOK_AGAIN_MS);
	reap(HOOK_BURIED);
	CHECK_STR(output(), "buried 2 q\n");
	close(first);
	end();
}

static void where_there_is_none_nobody_waits(void)
{
	begin();
	happens(HOOK_BREAKER, "q", 7);
	hooks_tick(&hooks, now);
	CHECK(hooks_next(&hooks) == INT64_MAX);
	make_hook("breaker", TELL);
	happens(HOOK_BREAKER, "q", 1);
	CHECK_INT(hooks_next(&hooks), now + HOOK_AGAIN_MS);
	hooks_tick(&hooks, now + HOOK_AGAIN_MS);
	reap(HOOK_BREAKER);
	CHECK_STR(output(), "breaker 1 q\n");
	CHECK_INT(reports, 0);
	end();
}

static void a_failure_is_said_until_a_success(void)
{
	begin();
	make_hook("failed", "[ $QHOOK_COUNT != 1 ]");
	for (int i = 0; i < 4; i++) {
		happens(HOOK_FAILED, "q", i == 2 ? 2 : 1);
		hooks_tick(&hooks, now += 2L * HOOK_AGAIN_CAP_MS);
		reap(HOOK_FAILED);
		CHECK_INT(reports, i == 3 ? 2 : 1);
	}
	CHECK_STR(said, ".hooks/failed a hook failed");
	end();
}

static void the_end_tells_the_rest(void)
{
	begin();
	make_hook("buried", "sleep 0.1; " TELL);
	happens(HOOK_BURIED, "q", 1);
	hooks_tick(&hooks, now);
	happens(HOOK_BURIED, "q", 9);
	happens(HOOK_DRAINED, "q", 1);
	hooks_finish(&hooks);
	CHECK_STR(output(), "buried 1 q\nburied 9 q\n");
	CHECK_INT(reports, 0);
	end();
}

static void the_end_says_what_was_not_told(void)
{
	begin();
	make_hook("buried", TELL);
	shell("chmod 644 .hooks/buried");
	happens(HOOK_BURIED, "q", 1);
	hooks_finish(&hooks);
	CHECK_INT(reports, 2);
	CHECK_STR(said, ".hooks/buried a hook was not told of all, since qwork ends");
	end();
}

static void a_list_is_of_the_first_and_names_each_once(void)
{
	char queue[] = "a";

	begin();
	make_hook("drained", TELL);
	for (; *queue <= 'z'; ++*queue)
		happens(HOOK_DRAINED, queue, 2);
	hooks_tick(&hooks, now);
	reap(HOOK_DRAINED);
	CHECK_STR(output(), "drained 52 a b c d e f g h i j k l m n o p q r s t\n");
	end();
}

int main(void)
{
	return UNIT_RUN(TEST(the_first_is_told_at_once_and_a_storm_seldom),
	    TEST(the_waits_end_at_a_minute_and_with_a_quiet_time),
	    TEST(one_that_hangs_is_ended_and_keeps_no_other),
	    TEST(what_cannot_be_started_is_tried_again_and_loses_nothing),
	    TEST(a_shortage_is_waited_for), TEST(where_there_is_none_nobody_waits),
	    TEST(a_failure_is_said_until_a_success), TEST(the_end_tells_the_rest),
	    TEST(the_end_says_what_was_not_told), TEST(a_list_is_of_the_first_and_names_each_once));
}
