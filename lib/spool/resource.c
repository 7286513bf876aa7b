/* The files of .resource/LABEL/: reading, replacing, and the lock of what changes with each job. */
#include "spool/resource.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "format/strings.h"
#include "spool/job.h"
#include "sys/clock.h"

enum {
	SETTING_SIZE_MAX = 4096,
	LOCK_TRIES = 50,
	LOCK_PAUSE_MS = 2,
	DRAFT_SIZE = 32,
	CLOCK_APART_MS = 60 * 1000, /* that of a file server, say */
};

int resource_fail(const struct resource *r, const char *file)
{
	return spool_fail(r->spool, spool_dir_name[SPOOL_RESOURCE], r->label, file);
}

/* For people: a long name is not to be told from its label. After a crash it may be missing. */
static int write_name(const struct resource *r, const char *name)
{
	int fd = sys_create(r->fd, "name", r->spool->file_mode);
	int saved;

	if (fd < 0)
		return errno == EEXIST ? 0 : -1;
	if (sys_write(fd, name, strlen(name)) == 0 && sys_write(fd, "\n", 1) == 0)
		return sys_close(fd);
	saved = errno;
	(void)!sys_unlink(r->fd, "name");
	sys_discard(&fd);
	errno = saved;
	return -1;
}

/* A failure leaves none, unless somebody else uses it already. */
static int make_dir(struct resource *r, int top, const char *name)
{
	int saved;

	if (sys_mkdir(top, r->label, r->spool->dir_mode) != 0 && errno != EEXIST)
		return resource_fail(r, NULL);
	r->fd = sys_opendir(top, r->label);
	if (r->fd >= 0 && write_name(r, name) == 0)
		return 0;
	resource_fail(r, "name");
	saved = errno;
	sys_discard(&r->fd);
	(void)!sys_rmdir(top, r->label);
	errno = saved;
	return -1;
}

/* 1; 0 if there is none; -1. */
static int open_dir(struct resource *r, int top)
{
	if (top >= 0)
		r->fd = sys_opendir(top, r->label);
	if (r->fd >= 0)
		return 1;
	return errno == ENOENT ? 0 : resource_fail(r, NULL);
}

int resource_enter_label(struct resource *r, struct spool *spool, const char *label)
{
	*r = (struct resource){.spool = spool, .fd = -1};
	snprintf(r->label, sizeof r->label, "%s", label);
	return open_dir(r, spool_dir(spool, SPOOL_RESOURCE, false)) < 0 ? -1 : 0;
}

int resource_enter(struct resource *r, struct spool *spool, const char *name, bool create)
{
	int top, is;

	*r = (struct resource){.spool = spool, .fd = -1};
	if (label_encode(name, r->label) != 0)
		return -1;
	top = spool_dir(spool, SPOOL_RESOURCE, create);
	is = open_dir(r, top);
	return is == 0 && create ? make_dir(r, top, name) : is < 0 ? -1 : 0;
}

void resource_leave(struct resource *r)
{
	sys_discard(&r->fd);
}

/* --- settings --- */

/* 1 and TEXT, 0 if there is none, -1. What is no small regular file is as a text that nobody understands. */
static int read_line(
    const struct resource *r, const char *file, char text[static LIMIT_SIZE], struct stat *st)
{
	size_t len;
	char *all = read_small(r->fd, file, SETTING_SIZE_MAX, &len, st);

	strcpy(text, "?");
	if (!all && errno == ENOENT)
		return 0;
	if (!all && errno != EFBIG && errno != EINVAL && errno != ELOOP && errno != ENXIO)
		return resource_fail(r, file);
	if (all && len < LIMIT_SIZE && strlen(all) == len)
		memcpy(text, all, len + 1);
	free(all);
	return 1;
}

static bool parse_jobs(const char *text, struct limits *limits)
{
	return limit_number_parse(text, 0, RESOURCE_JOBS_MAX, &limits->jobs) == 0;
}

static bool parse_rate(const char *text, struct limits *limits)
{
	return rate_parse(text, &limits->rate) == 0;
}

static bool parse_burst(const char *text, struct limits *limits)
{
	return limit_number_parse(text, 1, BURST_MAX, &limits->burst) == 0;
}

static bool parse_breaker(const char *text, struct limits *limits)
{
	return breaker_parse(text, &limits->breaker) == 0;
}

static const struct {
	const char *file;
	bool (*parse)(const char *text, struct limits *limits);
} settings[] = {[RESOURCE_JOBS] = {"jobs", parse_jobs},
    [RESOURCE_RATE] = {"rate", parse_rate},
    [RESOURCE_BURST] = {"burst", parse_burst},
    [RESOURCE_BREAKER] = {"breaker", parse_breaker}};
enum { SETTINGS = sizeof settings / sizeof *settings };

/* By touch(1) an old `open` is one that stays: its time was over for long when it was last written; not for
 * an instant, as when who wrote it was stopped meanwhile. One that was written by a clock that was set back since
 * (as T13) would stay for as long as that was: it is over. */
static struct breaker_open judge_open(struct breaker_open open, int64_t written_ms)
{
	if (open.until_ms <= written_ms - CLOCK_APART_MS)
		return (struct breaker_open){OPEN_FOR_GOOD, 0};
	if (open.until_ms != OPEN_FOR_GOOD && written_ms > clock_real_ms() + CLOCK_APART_MS)
		open.until_ms = 0;
	return open;
}

int resource_read_open(const struct resource *r, struct limits *limits)
{
	char text[LIMIT_SIZE];
	struct stat st;
	int is = read_line(r, "open", text, &st);

	limits->open = is == 1;
	if (is <= 0)
		return is;
	breaker_open_parse(text, &limits->until);
	limits->until = judge_open(
	    limits->until, (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000);
	return 0;
}

static int read_window(const struct resource *r, struct limits *limits)
{
	char text[LIMIT_SIZE];
	struct stat st;
	int is = read_line(r, "window", text, &st);

	if (is == 1 && limit_number_parse(text, 1, RESOURCE_JOBS_MAX, &limits->window) != 0)
		limits->window = 1;
	return is < 0 ? -1 : 0;
}

int resource_limits(const struct resource *r, struct limits *limits)
{
	bool *const has[SETTINGS] = {[RESOURCE_JOBS] = &limits->has_jobs,
	    [RESOURCE_RATE] = &limits->has_rate,
	    [RESOURCE_BURST] = &limits->has_burst,
	    [RESOURCE_BREAKER] = &limits->has_breaker};
	char text[LIMIT_SIZE];
	struct stat st;

	*limits = (struct limits){0};
	if (r->fd < 0)
		return 0;
	for (size_t i = 0; i < SETTINGS; i++) {
		int is = read_line(r, settings[i].file, text, &st);

		if (is < 0)
			return -1;
		*has[i] = is == 1 && settings[i].parse(text, limits);
		if (is == 1 && !*has[i] && !limits->wrong)
			limits->wrong = settings[i].file;
	}
	if (!limits->has_burst && limits->has_rate)
		limits->burst = rate_burst(&limits->rate);
	return read_window(r, limits) != 0 ? -1 : resource_read_open(r, limits);
}

/* --- whose turn it is to probe --- */

void turn_format(unsigned priority, const char *id, char turn[static TURN_SIZE])
{
	snprintf(turn, TURN_SIZE, "%02u.%s", priority % 100, id);
}

const char *turn_id(const char *turn)
{
	return turn + 3;
}

static bool turn_ok(const char *turn)
{
	return strspn(turn, "0123456789") == 2 && turn[2] == '.' && job_id_ok(turn_id(turn));
}

/* In the file that the probe has locked: `open` means something else to an older qwork if it says more. */
int resource_last_probe(const struct resource *r, char turn[static TURN_SIZE])
{
	char text[LIMIT_SIZE];
	struct stat st;
	int is = read_line(r, "slot/probe", text, &st);

	turn[0] = text[strcspn(text, "\n")] = '\0';
	if (is == 1 && turn_ok(text))
		memcpy(turn, text, TURN_SIZE);
	return is < 0 ? -1 : 0;
}

static enum breaker_stands look_at_breaker(
    const struct resource *r, char after[static TURN_SIZE], int64_t *since_ms)
{
	struct limits limits;

	if (resource_read_open(r, &limits) != 0)
		return BREAKER_ERROR;
	if (!limits.open)
		return BREAKER_CLOSED;
	*since_ms = limits.until.until_ms;
	if (*since_ms == OPEN_FOR_GOOD || *since_ms > clock_real_ms())
		return BREAKER_OPEN;
	return resource_last_probe(r, after) != 0 ? BREAKER_ERROR : BREAKER_DUE;
}

enum breaker_stands resource_look_at_breaker(
    struct spool *spool, const char *label, char after[static TURN_SIZE], int64_t *since_ms)
{
	enum breaker_stands stands = BREAKER_ERROR;
	struct resource r;

	if (resource_enter_label(&r, spool, label) == 0)
		stands = r.fd < 0 ? BREAKER_CLOSED : look_at_breaker(&r, after, since_ms);
	resource_leave(&r);
	return stands;
}

/* --- replacing --- */

static int write_draft(const struct resource *r, const char *draft, const char *text, bool sync)
{
	int fd;

	if (sys_unlink(r->fd, draft) != 0 && errno != ENOENT)
		return -1;
	fd = sys_create(r->fd, draft, r->spool->file_mode);
	if (fd < 0)
		return -1;
	if (sys_write(fd, text, strlen(text)) == 0 && sys_write(fd, "\n", 1) == 0 &&
	    (!sync || sys_fsync(fd) == 0))
		return sys_close(fd);
	sys_discard(&fd);
	return -1;
}

static int replace(const struct resource *r, const char *file, const char *text, bool sync)
{
	char draft[DRAFT_SIZE];
	int saved;

	snprintf(draft, sizeof draft, ".draft-%s", file);
	if (write_draft(r, draft, text, sync) == 0 && sys_replace(r->fd, draft, r->fd, file) == 0)
		return 0;
	saved = errno;
	(void)!sys_unlink(r->fd, draft);
	errno = saved;
	return -1;
}

int resource_put(const struct resource *r, const char *file, const char *text, bool sync)
{
	int result = text ? replace(r, file, text, sync) : sys_unlink(r->fd, file);

	if (result != 0 && !text && errno == ENOENT)
		result = 0;
	if (result == 0 && sync)
		result = sys_fsync(r->fd);
	return result == 0 ? 0 : resource_fail(r, file);
}

bool resource_setting_ok(enum resource_setting setting, const char *text)
{
	struct limits unused;

	return settings[setting].parse(text, &unused);
}

int resource_set(
    struct spool *spool, const char *name, enum resource_setting setting, const char *text)
{
	struct limit_state state;
	struct resource r;
	int lock = -1, result = -1;

	if (text && !resource_setting_ok(setting, text)) {
		errno = EINVAL;
		return -1;
	}
	if (resource_enter(&r, spool, name, text != NULL) == 0)
		result = r.fd < 0 ? 0 : -1;
	if (r.fd >= 0 && (lock = resource_lock(&r, &state)) >= 0)
		result = resource_put(&r, settings[setting].file, text, true);
	if (result == 0 && r.fd >= 0)
		result = sys_fsync(spool_dir(spool, SPOOL_RESOURCE, false));
	sys_discard(&lock);
	resource_leave(&r);
	return result;
}

/* --- state --- */

/* It is written in place: not if others may have put a file of ours there. */
static int open_existing(const struct resource *r)
{
	int fd = openat(r->fd, "state", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? -1 : sys_check_plain(r->fd, fd);
}

static int open_state(const struct resource *r)
{
	int fd = open_existing(r);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	fd = sys_create(r->fd, "state", r->spool->file_mode);
	return fd < 0 && errno == EEXIST ? open_existing(r) : fd;
}

static void read_state(int fd, struct limit_state *state)
{
	char text[LIMIT_STATE_LEN + 1];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, LIMIT_STATE_LEN, 0);

	text[n > 0 ? n : 0] = '\0';
	limit_state_parse(text, state);
}

/* Without memory for that it is waited for again, and EAGAIN is what is told. */
static void remember_busy(struct strings *busy, const char *label)
{
	int saved = errno;

	(void)!strings_add(busy, label);
	errno = saved;
}

/* Whoever has it, has it for an instant, or is stopped: who waits for him each time does nothing else. */
static int lock_patiently(const struct resource *r, int fd)
{
	struct strings *busy = &r->spool->busy;
	size_t at = strings_find(busy, r->label);
	bool known = at < busy->count;
	int locked, tries = known ? 1 : LOCK_TRIES;

	while ((locked = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK && --tries > 0)
		poll(NULL, 0, LOCK_PAUSE_MS);
	if (locked != 0 && errno == EWOULDBLOCK && !known)
		remember_busy(busy, r->label);
	else if (locked == 0 && known)
		strings_remove(busy, at);
	return locked;
}

int resource_lock(const struct resource *r, struct limit_state *state)
{
	int fd = open_state(r);

	if (fd < 0 || lock_patiently(r, fd) != 0) {
		sys_discard(&fd);
		return resource_fail(r, "state");
	}
	read_state(fd, state);
	return fd;
}

/* In place, since it is what is locked; of always the same length, so that a reader meets no half. */
int resource_put_state(const struct resource *r, int fd, const struct limit_state *state)
{
	char text[LIMIT_STATE_LEN + 1];

	limit_state_format(state, text);
	if (lseek(fd, 0, SEEK_SET) == 0 && sys_write(fd, text, LIMIT_STATE_LEN) == 0)
		return 0;
	return resource_fail(r, "state");
}

void resource_peek_state(const struct resource *r, struct limit_state *state)
{
	int fd = openat(r->fd, "state", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	read_state(fd, state);
	sys_discard(&fd);
}
