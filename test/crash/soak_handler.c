/*
 * The handler of the soak test (soak.py): checks all that it was given, does what the
 * payload asks for, and records what it did, so that it can be judged afterwards.
 *
 * A payload describes itself, in one line whose last word is the CRC-32 of all before it:
 *
 *   soak TOKEN QUEUE PRIORITY ATTEMPTS OPTIONS PLAN BODY CRC
 *
 * TOKEN is CALL.INDEX: the call of qsend and the number of the job in it. ATTEMPTS is 0 for
 * a job that brings none of its own. OPTIONS: "m" if it was sent with a header, a variable and
 * an argument that say CALL, "f" if it was dropped in as a file, else "-".
 *
 * It prints "start" and "end", each with TOKEN and its pid, to standard output, which some jobs keep. With --loop it
 * stays, as qwork --persist wants it, and answers with that.
 *
 * $SOAK/handlers takes the records, each appended by one write; $SOAK/running/ID is
 * made with O_EXCL, locked while the handler lives, and removed at its end: whoever meets
 * it locked runs at the same time as another handler of the job. One that lies there
 * unlocked is of a handler that was killed. $SOAK/said/ID is there once the job has said what it
 * says once. While $SOAK/calm exists every job succeeds.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD_MAX = 1 << 20, HAND_PRIORITY = 7, EXIT_BURY = 65, EXIT_WRONG = 70 };

struct task {
	const char *id; /* from the environment */
	int attempt;
	const char *token, *queue, *options, *plan; /* from the payload */
	int priority, attempts;
};

static int records = -1, marker = -1;
static bool stays; /* it has no environment of the job, and its standard input is not the payload */
static int64_t began_ns;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

/* KIND TIME PID ID WORDS, as one line and by one write. */
static __attribute__((format(printf, 4, 5))) void record(
    const char *kind, int64_t time, const char *id, const char *format, ...)
{
	char line[1024];
	int head = snprintf(line, sizeof line, "%s %lld %d %.40s ", kind, (long long)time,
	    (int)getpid(), *id ? id : "?");
	va_list words;
	int len;

	va_start(words, format);
	len = head + vsnprintf(line + head, sizeof line - (size_t)head - 1, format, words);
	va_end(words);
	if (len > (int)sizeof line - 2)
		len = (int)sizeof line - 2;
	line[len++] = '\n';
	if (write(records, line, (size_t)len) != len)
		_exit(EXIT_WRONG);
}

static uint32_t crc32(const char *data, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= (uint8_t)data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}

static size_t read_payload(int fd, char *payload, size_t room)
{
	size_t len = 0;
	ssize_t n;

	while (len < room && (n = read(fd, payload + len, room - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return 0;
		if (n > 0)
			len += (size_t)n;
	}
	return len;
}

/* False unless it is whole. The words are cut out of PAYLOAD. A record of a --null sender
 * has no newline. */
static bool parse_payload(struct task *task, char *payload, size_t len)
{
	char *crc, *rest = payload, *word[8];

	if (len > 0 && payload[len - 1] == '\n')
		len--;
	payload[len] = '\0';
	crc = strrchr(payload, ' ');
	if (strlen(payload) != len || !crc || strlen(crc) != 9 ||
	    crc32(payload, (size_t)(crc - payload)) != strtoul(crc + 1, NULL, 16))
		return false;
	for (size_t i = 0; i < sizeof word / sizeof *word; i++)
		if (!(word[i] = strsep(&rest, " ")))
			return false;
	task->token = word[1];
	task->queue = word[2];
	task->priority = atoi(word[3]);
	task->attempts = atoi(word[4]);
	task->options = word[5];
	task->plan = word[6];
	return strcmp(word[0], "soak") == 0;
}

static void expect(const struct task *task, const char *what, const char *got, const char *want)
{
	if (strcmp(got, want) != 0)
		record("wrong", now_ns(), task->id, "%s %s is \"%.100s\" and not \"%.100s\"",
		    task->token, what, got, want);
}

static void expect_number(const struct task *task, const char *name, int want)
{
	char text[16];

	snprintf(text, sizeof text, "%d", want);
	expect(task, name, environment(name), text);
}

static void check_environment(const struct task *task, int argc, char **argv)
{
	int own = task->attempts;
	char call[32], file[64];

	snprintf(call, sizeof call, "%.*s", (int)strcspn(task->token, "."), task->token);
	snprintf(file, sizeof file, "drop.%.40s", task->token);
	expect(task, "QJOB_QUEUE", environment("QJOB_QUEUE"), task->queue);
	expect(
	    task, "QJOB_NAME", environment("QJOB_NAME"), task->options[0] == 'f' ? file : task->id);
	expect_number(task, "QJOB_ATTEMPTS", own ? own : atoi(environment("SOAK_ATTEMPTS")));
	expect_number(task, "QJOB_SENDER", (int)geteuid());
	if (atoi(environment("QJOB_PRIORITY")) != HAND_PRIORITY)
		expect_number(task, "QJOB_PRIORITY", task->priority);
	if (task->options[0] == 'm') {
		expect(task, "QJOB_HEADER_SOAK", environment("QJOB_HEADER_SOAK"), call);
		expect(task, "SOAK_CALL", environment("SOAK_CALL"), call);
		expect(task, "the argument", argc > 1 ? argv[1] : "missing", call);
	} else {
		expect(task, "the argument", argc > 1 ? argv[1] : "", "");
	}
}

/* $QJOB_FILE must be what we read, and nobody may be able to lock it. It is opened for
 * reading, so that closing it wakes no qwork. */
static void check_lock(const struct task *task)
{
	int fd = open(environment("QJOB_FILE"), O_RDONLY | O_CLOEXEC);
	struct stat given, found;

	if (fd < 0 || fstat(fd, &found) != 0 || fstat(STDIN_FILENO, &given) != 0)
		record("wrong", now_ns(), task->id, "%s QJOB_FILE %.300s: %s", task->token,
		    environment("QJOB_FILE"), strerror(errno));
	else if (!stays && given.st_ino != found.st_ino)
		expect(task, "QJOB_FILE", "another file", "standard input");
	else if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		expect(task, "the job", "not locked", "locked");
	if (fd >= 0)
		close(fd);
}

static void marker_path(const char *id, char path[4096])
{
	snprintf(path, 4096, "%s/running/%s", environment("SOAK"), id);
}

/* What says that another handler runs, or NULL if we are alone. The lock falls when we
 * end, however we end. */
static const char *set_marker(const char *id)
{
	char path[4096];
	struct stat st;

	marker_path(id, path);
	marker = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (marker < 0 && errno == EEXIST)
		marker = open(path, O_RDWR | O_CLOEXEC);
	if (marker < 0)
		return errno == ENOENT ? "its marker was just removed" : strerror(errno);
	if (flock(marker, LOCK_EX | LOCK_NB) != 0)
		return "its marker is locked";
	if (fstat(marker, &st) != 0 || st.st_nlink == 0)
		return "its marker was removed meanwhile";
	return NULL;
}

static void release_marker(void)
{
	if (marker >= 0)
		close(marker);
	marker = -1;
}

static void remove_marker(const char *id)
{
	char path[4096];

	marker_path(id, path);
	unlink(path);
	release_marker();
}

static void sleep_ms(int ms)
{
	const struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static bool plan_is(const struct task *task, const char *plan)
{
	size_t len = strlen(plan);

	return strncmp(task->plan, plan, len) == 0 && strchr(":", task->plan[len]);
}

static int plan_number(const struct task *task)
{
	const char *colon = strchr(task->plan, ':');

	return colon ? atoi(colon + 1) : 0;
}

/* Of plans with a number of attempts that go wrong. */
static bool goes_wrong(const struct task *task)
{
	return task->attempt <= plan_number(task);
}

/* A process that keeps our standard input, and with it the lock, until somebody unlocks it. */
static void leave_daemon(const struct task *task)
{
	if (!plan_is(task, "daemon") || task->attempt > 1 || fork() != 0)
		return;
	setsid();
	sleep_ms(plan_number(task));
	_exit(0);
}

static _Noreturn void hang(void)
{
	for (;;)
		pause();
}

static void make_noise(void)
{
	for (int i = 0; i < 200; i++)
		fputs("noise of a handler that is about to fail\n", stderr);
}

static bool is_calm(void)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/calm", environment("SOAK"));
	return access(path, F_OK) == 0;
}

/* True once a job, also if the attempt is given back. */
static bool is_first_time(const struct task *task)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof path, "%s/said/%s", environment("SOAK"), task->id);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* To qwork. */
static __attribute__((format(printf, 1, 2))) bool say(const char *format, ...)
{
	FILE *control = fopen(environment("QJOB_CONTROL"), "ae");
	va_list words;
	bool said;

	if (!control)
		return false;
	va_start(words, format);
	said = vfprintf(control, format, words) > 0;
	va_end(words);
	return fclose(control) == 0 && said;
}

/* Of "trip:MS:NAME". */
static const char *plan_name(const struct task *task)
{
	const char *colon = strrchr(task->plan, ':');

	return colon ? colon + 1 : "";
}

/* Plans that fail once, and say more than that. One is planted: it says nothing. */
static bool complains(const struct task *task)
{
	bool defers = plan_is(task, "defer"), hurries = plan_is(task, "hurry");
	int ms = plan_number(task);

	if ((!defers && !hurries && !plan_is(task, "trip")) || !is_first_time(task))
		return false;
	if (plan_is(task, "trip"))
		say("trip %s %dms\n", plan_name(task), ms);
	if (hurries || (defers && say("defer %dms\n", ms)))
		record("deferred", now_ns(), task->id, "%s %d", task->token, ms);
	return true;
}

/* The exit status; some plans do not come back. */
static int carry_out(const struct task *task)
{
	if (is_calm())
		return 0;
	if (plan_is(task, "bury"))
		return EXIT_BURY;
	if (complains(task))
		return 1;
	if (plan_is(task, "slow"))
		sleep_ms(plan_number(task));
	if (plan_is(task, "fail"))
		return goes_wrong(task);
	if (plan_is(task, "noise") && goes_wrong(task)) {
		make_noise();
		return 1;
	}
	if (plan_is(task, "deaf") && goes_wrong(task))
		signal(SIGTERM, SIG_IGN);
	if ((plan_is(task, "deaf") || plan_is(task, "hang")) && goes_wrong(task))
		hang();
	if (plan_is(task, "crash") && goes_wrong(task)) {
		signal(SIGSEGV, SIG_DFL); /* the sanitizers have their own idea of it */
		raise(SIGSEGV);
	}
	return 0;
}

/* One that stays says it in its answer. */
static void say_where(const char *word, const struct task *task)
{
	if (stays)
		return;
	printf("%s %s %d\n", word, task->token, (int)getpid());
	fflush(stdout);
}

static int run(struct task *task, int argc, char **argv)
{
	int status, attempts = task->attempts ? task->attempts : atoi(environment("SOAK_ATTEMPTS"));
	const char *other;

	leave_daemon(task); /* before the marker, whose lock it would inherit */
	other = set_marker(task->id);
	if (other) {
		record("overlap", began_ns, task->id, "%s %s", task->token, other);
		release_marker();
		return 1;
	}
	record("start", began_ns, task->id, "%s %d %d %s %d", task->token, task->attempt, attempts,
	    environment("QJOB_QUEUE"), (int)getppid());
	if (!stays)
		check_environment(task, argc, argv);
	check_lock(task);
	say_where("start", task);
	status = carry_out(task);
	say_where("end", task);
	if (status != 0)
		record("failed", now_ns(), task->id, "%s %d", task->token, status);
	else if (!plan_is(task, "forget"))
		record("done", now_ns(), task->id, "%s", task->token);
	remove_marker(task->id);
	return status;
}

static int work(struct task *task, int fd, int argc, char **argv)
{
	static char payload[PAYLOAD_MAX + 1];
	size_t len;

	began_ns = now_ns();
	len = read_payload(fd, payload, PAYLOAD_MAX);
	if (!parse_payload(task, payload, len)) {
		record("garbled", began_ns, task->id, "%zu bytes: %.200s", len, payload);
		return EXIT_BURY;
	}
	return run(task, argc, argv);
}

/* 0 unless LINE is not one that qwork says. */
static int answer(char *line)
{
	char id[64], attempt[16];
	struct task task = {.id = id, .token = "?"};
	int path, fd, status;

	if (sscanf(line, "%63s %15s %n", id, attempt, &path) != 2)
		return EXIT_WRONG;
	task.attempt = atoi(attempt);
	line[strcspn(line, "\n")] = '\0';
	setenv("QJOB_FILE", line + path, 1);
	fd = open(line + path, O_RDONLY | O_CLOEXEC);
	status = fd < 0 ? EXIT_WRONG : work(&task, fd, 0, NULL);
	if (fd >= 0)
		close(fd);
	printf("%d start %s %d end %s %d\n", status, task.token, (int)getpid(), task.token,
	    (int)getpid());
	return fflush(stdout);
}

static int loop(void)
{
	char line[8192];
	int status = 0;

	while (status == 0 && fgets(line, sizeof line, stdin))
		status = answer(line);
	return status;
}

int main(int argc, char **argv)
{
	const struct rlimit no_core = {0, 0};
	struct task task = {.id = environment("QJOB_ID"),
	    .attempt = atoi(environment("QJOB_ATTEMPT")),
	    .token = "?"};
	char path[4096];

	setrlimit(RLIMIT_CORE, &no_core);
	snprintf(path, sizeof path, "%s/handlers", environment("SOAK"));
	records = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (records < 0)
		return EXIT_WRONG;
	stays = argc > 1 && strcmp(argv[1], "--loop") == 0;
	return stays ? loop() : work(&task, STDIN_FILENO, argc, argv);
}
