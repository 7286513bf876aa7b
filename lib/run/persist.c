#include "run/persist.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/environment.h"
#include "sys/clock.h"
#include "sys/mapped.h"
#include "sys/proc.h"

enum {
	RESTART_FIRST_MS = 100,
	RESTART_CAP_MS = 60 * 1000,
	LEASES_MAX =
	    1 + 2 * RESOURCES_MAX, /* the job, and the slot and the probe of each resource */
	SHOWN_MAX = 200,           /* bytes of an answer that is none */
	DRAIN_PIECES = 8,
	FD_MIN = 10, /* a shell's scripts use those below */
	END_STEP_MS = 10,
};

struct persistent {
	LIST_ENTRY(persistent) link;
	struct worker *worker; /* NULL: its queue is not served any more */
	struct child child;
	int lines;    /* to its standard input; -1: it is to end */
	int answers;  /* from its standard output */
	int lease[2]; /* what is sent to the first is held by the second, which it inherited */
	int id;       /* a file in memory that says which job it has: see sys/proc.h */
	char *which;  /* that file, mapped; or NULL */
	char control[CONTROL_NAME_SIZE];
	struct limited limited;
	struct running *job; /* NULL: it rests */
	unsigned jobs;       /* that it has answered */
	bool stale;          /* its successors are to be others */
	bool own;            /* it is for one job, which brought limits of its own */
	char text[ANSWER_SIZE];
	size_t len;
	int64_t end_at; /* when to signal its group, or NEVER */
	int end_signal;
};

/* --- beginning and end of a handler --- */

static void release(struct pool *p, struct persistent *h)
{
	int saved = errno;

	limits_kill(&h->limited);
	limits_not_used(p, &h->limited);
	sys_discard(&h->lines);
	sys_discard(&h->answers);
	sys_discard(&h->lease[0]);
	sys_discard(&h->lease[1]);
	sys_discard(&h->id);
	mapped_close(h->which, JOB_ID_LEN);
	sys_discard(&h->child.errors);
	free(h);
	errno = saved;
}

/* To where neither a script nor we give it another meaning. */
static int move_away(int *fd)
{
	int moved = fcntl(*fd, F_DUPFD_CLOEXEC, FD_MIN);

	sys_discard(fd);
	*fd = moved;
	return moved < 0 ? -1 : 0;
}

static int open_lease(struct persistent *h)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, h->lease) != 0)
		return -1;
	return move_away(&h->lease[1]);
}

/* Sealed: the handler cannot shorten it, which would make writing to the map a SIGBUS. */
static int open_id(struct persistent *h)
{
	static const char none[JOB_ID_LEN];

	h->id = memfd_create("qwork-job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (h->id < 0 || move_away(&h->id) != 0 ||
	    write(h->id, none, sizeof none) != (ssize_t)sizeof none ||
	    fcntl(h->id, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return -1;
	h->which = mapped_open(h->id, JOB_ID_LEN, true);
	return h->which ? 0 : -1;
}

static int environment_of(const struct worker *w, const struct persistent *h, struct strings *env)
{
	const struct control_dir *controls = &w->pool->controls;

	if (environment_add(env, "QSPOOL=%s", w->pool->spool->path) != 0 ||
	    environment_add(env, "QJOB_QUEUE=%s", w->name) != 0 ||
	    (controls->fd >= 0 &&
	        environment_add(env, "QJOB_CONTROL=%s/%s", controls->path, h->control) != 0))
		return -1;
	return 0;
}

/* META: the options of the job for which it is started. */
static int launch(struct worker *w, struct persistent *h, const struct meta *meta, int input,
    int output, bool *exec)
{
	static const struct meta none;
	struct child_base *base = &w->pool->base;
	const struct stay stay = {.lease = h->lease[1], .id = h->id};
	struct child_limits limits;
	struct child_start start = {.base = base,
	    .handler = &w->handler,
	    .handler_args = &w->settings.options.args,
	    .meta = &none,
	    .limits = &limits,
	    .input = input,
	    .output = output,
	    .stay = &stay};
	struct strings argv = {0}, env = {0};
	int result = -1, saved;

	limits_begin(w, h->own ? meta : &none, h->control, &h->limited, &limits);
	limits.cpu_s = h->limited.cpu_s = 0; /* of each job anew: limit_cpu() */
	if (command_build(&start, &argv) == 0 && environment_of(w, h, &env) == 0)
		result = child_launch(&h->child, &start, &argv, &env, &base->environment, exec);
	saved = errno;
	sys_discard(&limits.entrance);
	strings_release(&argv);
	strings_release(&env);
	errno = saved;
	return result;
}

static int open_pipes(struct persistent *h, int *input, int *output)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	int result = pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
	        fcntl(in[1], F_SETFL, O_NONBLOCK) != 0 || fcntl(out[0], F_SETFL, O_NONBLOCK) != 0
	    ? -1
	    : 0;

	*input = in[0];
	h->lines = in[1];
	h->answers = out[0];
	*output = out[1];
	return result;
}

/* Found anew: it may have been replaced since. */
static int begin(struct worker *w, struct persistent *h, const struct meta *meta, bool *exec)
{
	int input = -1, output = -1;
	int result = -1;

	persist_look(w); /* before it is opened: a change meanwhile is seen later */
	handler_release(&w->handler);
	spool_fail(w->pool->spool, w->name, NULL, "handler"); /* for the caller's message */
	if (handler_open(&w->handler, &w->queue, w->pool->options->command) == 0 &&
	    (w->handler.fd < 0 || move_away(&w->handler.fd) == 0) && open_lease(h) == 0 &&
	    open_id(h) == 0 && open_pipes(h, &input, &output) == 0)
		result = launch(w, h, meta, input, output, exec);
	sys_discard(&input);
	sys_discard(&output);
	return result;
}

/* What is set when a process starts cannot be changed for a job: one that brings it gets a handler for itself. */
static bool wants_its_own(const struct meta *meta)
{
	return meta->has_memory || meta->has_nice;
}

static struct persistent *create(struct worker *w, const struct meta *meta, bool *exec)
{
	struct persistent *h = calloc(1, sizeof *h);
	struct job_name nobody = {.attempts = 0};

	if (!h)
		return NULL;
	*h = (struct persistent){.worker = w,
	    .child = {.errors = -1},
	    .lines = -1,
	    .answers = -1,
	    .lease = {-1, -1},
	    .id = -1,
	    .limited = LIMITED_NOT,
	    .own = wants_its_own(meta),
	    .end_at = NEVER};
	snprintf(nobody.id, sizeof nobody.id, "handler");
	control_name(&w->pool->controls, &nobody, h->control);
	if (begin(w, h, meta, exec) != 0) {
		release(w->pool, h);
		return NULL;
	}
	LIST_INSERT_HEAD(&w->pool->persistent, h, link);
	w->pool->persistents++;
	return h;
}

static bool rests(const struct persistent *h)
{
	return !h->job && h->lines >= 0 && h->answers >= 0;
}

/* It ends at the end of its input; if it does not, by a signal. */
static void dismiss(struct persistent *h)
{
	if (h->lines < 0)
		return;
	sys_discard(&h->lines);
	h->end_at = clock_mono_ms() + WORK_KILL_AFTER_MS;
}

static void signal_group(struct persistent *h, int signal)
{
	if (h->child.pid > 0)
		kill(-h->child.pid, signal);
	h->end_signal = signal;
	h->end_at = signal == SIGTERM ? clock_mono_ms() + WORK_KILL_AFTER_MS : NEVER;
}

static void kill_now(struct persistent *h)
{
	sys_discard(&h->lines);
	signal_group(h, SIGKILL);
}

static void start_later(struct worker *w)
{
	w->restart_wait = w->restart_wait == 0 ? RESTART_FIRST_MS : 2 * w->restart_wait;
	if (w->restart_wait > RESTART_CAP_MS)
		w->restart_wait = RESTART_CAP_MS;
	w->restart_at = clock_mono_ms() + w->restart_wait;
}

/* --- the lease --- */

static size_t leases_of(const struct running *r, int fds[LEASES_MAX])
{
	size_t count = 0;

	fds[count++] = r->job.fd;
	for (size_t i = 0; i < r->grip.count; i++) {
		if (r->grip.part[i].slot >= 0)
			fds[count++] = r->grip.part[i].slot;
		if (r->grip.part[i].probe >= 0)
			fds[count++] = r->grip.part[i].probe;
	}
	return count;
}

union leases {
	char bytes[CMSG_SPACE(LEASES_MAX * sizeof(int))];
	struct cmsghdr align;
};

static int send_leases(struct persistent *h, const struct running *r)
{
	union leases space = {0};
	char nothing = 0;
	struct iovec byte = {.iov_base = &nothing, .iov_len = 1};
	int fds[LEASES_MAX];
	size_t size = leases_of(r, fds) * sizeof *fds;
	struct msghdr message = {.msg_iov = &byte,
	    .msg_iovlen = 1,
	    .msg_control = space.bytes,
	    .msg_controllen = CMSG_SPACE(size)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(head), fds, size);
	return sendmsg(h->lease[0], &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* There are those of one job at most. Without room for them they are closed at once: unix(7). What it held is open no
 * more, once we have closed ours. */
static void take_leases_back(struct persistent *h)
{
	char byte;

	(void)!recv(h->lease[1], &byte, sizeof byte, 0);
}

/* 0: as much as it wants. A job's handler takes it from the moment at which it is given the job. One whose limit
 * cannot be changed, since it is another user's by now, must not have it for the next job. */
static void limit_cpu(struct persistent *h, int64_t cpu_s)
{
	if (h->child.pid == 0 || (cpu_s == 0 && h->limited.cpu_s == 0))
		return;
	if (proc_limit_cpu(h->child.pid, cpu_s) == 0) {
		h->limited.cpu_s = cpu_s;
		return;
	}
	worker_trouble(
	    h->worker, "the limit of a handler's processor time could not be set", errno);
	h->stale |= h->limited.cpu_s != 0;
}

/* It has no job. */
static void take_back(struct persistent *h)
{
	limit_cpu(h, 0);
	memset(h->which, 0, JOB_ID_LEN);
	take_leases_back(h);
}

/* --- answers --- */

static void drain_errors(struct persistent *h)
{
	for (int i = 0; i < DRAIN_PIECES && child_drain(&h->child, false); i++)
		;
}

static bool is_too_large(const struct persistent *h)
{
	uint64_t max = h->worker->pool->options->max_rss;

	return max > 0 && proc_resident(h->child.pid) > max;
}

/* Whatever it was that it should not have gone on with. */
static bool has_served(const struct persistent *h)
{
	unsigned max = h->worker->pool->options->max_jobs;

	return h->stale || h->own || (max > 0 && h->jobs >= max) || is_too_large(h);
}

/* What its job had it has no more. */
static struct running *take_job(struct persistent *h)
{
	struct running *r = h->job;

	memcpy(r->child.tail, h->child.tail, h->child.tail_len);
	r->child.tail_len = h->child.tail_len;
	r->persistent = NULL;
	h->job = NULL;
	take_back(h);
	return r;
}

/* Of a job that is kept it is the output; else, of one that failed, the last that it said. */
static void keep_text(struct running *r, const char *text)
{
	char line[ANSWER_SIZE + 1];
	int len = snprintf(line, sizeof line, "%s\n", text);

	if (!*text)
		return;
	if (r->output >= 0 && sys_write(r->output, line, (size_t)len) != 0)
		worker_trouble(r->worker, "the output of a job could not be written", errno);
	if (r->output < 0)
		child_keep(&r->child, line, (size_t)len);
}

static void answered(struct persistent *h, int status, const char *text)
{
	struct running *r = take_job(h);
	bool told_to_end = r->end_signal != 0;

	h->jobs++;
	h->worker->restart_wait = 0;
	keep_text(r, text);
	if (told_to_end)
		signal_group(h, SIGKILL);
	if (told_to_end || has_served(h))
		dismiss(h);
	settle_end(r->worker, r, W_EXITCODE(status, 0), NULL);
}

/* It is not known any more which job it speaks of. What it said may be a print() too many: its author should see it. */
static void not_understood(struct persistent *h, const char *text, size_t len)
{
	if (h->job) {
		h->job->unanswered = "its handler's answer was not understood";
		child_keep(&h->child, text, len < SHOWN_MAX ? len : SHOWN_MAX);
	} else {
		worker_trouble(
		    h->worker, "a handler that had no job said something, and is ended", 0);
	}
	kill_now(h);
}

static void take_line(struct persistent *h, char *line, size_t len)
{
	const char *text;
	int status = strlen(line) == len ? answer_parse(line, &text) : -1;

	if (status < 0)
		not_understood(h, line, len);
	else
		answered(h, status, text);
}

/* What stands behind a line was said without having been asked. */
static void take_text(struct persistent *h)
{
	char *end = memchr(h->text, '\n', h->len);
	size_t len = end ? (size_t)(end - h->text) : h->len;

	if (end && len + 1 == h->len) {
		*end = '\0';
		h->len = 0;
		take_line(h, h->text, len);
	} else if (end || h->len == sizeof h->text) {
		not_understood(h, h->text, h->len);
	}
}

/* One that is at its end may say what it likes. */
static void read_answers(struct persistent *h)
{
	ssize_t n = read(h->answers, h->text + h->len, sizeof h->text - h->len);

	if (n > 0 && h->job && h->end_signal != SIGKILL) {
		h->len += (size_t)n;
		take_text(h);
	} else if (n > 0 && h->lines >= 0) {
		not_understood(h, "", 0);
	}
	if (n == 0 || h->end_signal == SIGKILL) { /* its end follows */
		sys_discard(&h->answers);
		if (h->end_signal == 0 && h->end_at == NEVER)
			h->end_at = clock_mono_ms() + WORK_KILL_AFTER_MS;
	}
}

/* Its answers first: poll(2) looks at them in this order, so that what it said before its answer is seen with that. */
static void watch_both(const struct persistent *h, struct pollfd set[static PERSIST_FDS])
{
	set[0] = (struct pollfd){.fd = h->answers, .events = POLLIN};
	set[1] = (struct pollfd){.fd = child_poll_fd(&h->child), .events = POLLIN};
}

static void listen_to(struct persistent *h, const struct pollfd set[static PERSIST_FDS])
{
	if (set[1].revents)
		drain_errors(h);
	if (set[0].revents && h->answers >= 0)
		read_answers(h);
}

/* --- feeding --- */

static struct persistent *resting(const struct pool *p, const struct worker *w)
{
	struct persistent *h;

	LIST_FOREACH (h, &p->persistent, link)
		if (h->worker == w && rests(h) && !h->own)
			return h;
	return NULL;
}

bool persist_ready(const struct worker *w)
{
	const struct pool *p = w->pool;

	return !p->options->persist || resting(p, w) != NULL ||
	    (clock_mono_ms() >= w->restart_at && p->persistents < p->slots);
}

/* There are no more of them than jobs may run: one of another queue makes room. */
static void make_room(struct pool *p)
{
	struct persistent *h, *idle = NULL;
	unsigned staying = 0;

	LIST_FOREACH (h, &p->persistent, link) {
		staying += h->lines >= 0;
		if (rests(h))
			idle = h; /* the oldest, since new ones come first */
	}
	if (staying >= p->options->jobs && idle)
		dismiss(idle);
}

static char *line_of(const struct running *r)
{
	const struct queue *queue = r->job.queue;
	char *line;
	int len = asprintf(&line, "%s %u %s/%s/%s/%s\n", r->job.name.id, r->job.name.attempts,
	    queue->spool->path, queue->name, queue_dir_name[DIR_CUR], r->job.file);

	return len < 0 ? NULL : line;
}

static void give(struct persistent *h, struct running *r)
{
	memcpy(r->control, h->control, sizeof r->control);
	r->persistent = h;
	r->child.pid = h->child.pid;
	r->child.errors = -1;
	r->child.tail_len = 0;
	h->child.tail_len = 0;
	h->job = r;
}

/* Of a line only a part of which it takes it may know the job. One that takes no line, or not all of it, has ended or
 * does not read. */
static bool send_line(struct persistent *h, struct running *r, const char *line)
{
	ssize_t len = (ssize_t)strlen(line), sent = write(h->lines, line, (size_t)len);

	if (sent > 0)
		give(h, r);
	if (sent != len)
		kill_now(h);
	return sent > 0;
}

/* The lease first: once it has the line it may be at work. 1; 0: H is at its end; -1: H rests. */
static int feed(struct persistent *h, struct running *r)
{
	char *line = line_of(r);
	int result = -1, saved;

	memcpy(h->which, r->job.name.id, JOB_ID_LEN);
	limit_cpu(h, limits_cpu_s(h->worker, &r->meta));
	if (line && send_leases(h, r) == 0)
		result = send_line(h, r, line);
	saved = errno;
	if (result != 1)
		take_back(h);
	if (result != 1 && (h->own || h->stale))
		dismiss(h);
	free(line);
	errno = saved;
	return result;
}

/* What it says unasked must not be taken for the answer to what it is fed next. */
static bool is_silent(struct persistent *h)
{
	struct pollfd set[PERSIST_FDS];

	watch_both(h, set);
	if (poll(set, PERSIST_FDS, 0) > 0)
		listen_to(h, set);
	return rests(h);
}

/* There is no end to those that do not even read their first line: it costs a job an attempt. */
static int start_new(struct worker *w, struct running *r, bool *exec)
{
	struct persistent *h;
	int fed;

	if (w->pool->persistents >= w->pool->slots) {
		errno = EAGAIN;
		return -1;
	}
	make_room(w->pool);
	h = create(w, &r->meta, exec);
	if (!h)
		return -1;
	fed = feed(h, r);
	if (fed == 0)
		give(h, r);
	return fed < 0 ? -1 : 0;
}

int persist_start(struct worker *w, struct running *r, bool *exec)
{
	struct persistent *h;
	int fed;

	*exec = false;
	while (!wants_its_own(&r->meta) && (h = resting(w->pool, w)) != NULL) {
		fed = is_silent(h) ? feed(h, r) : 0;
		if (fed != 0)
			return fed < 0 ? -1 : 0;
	}
	return start_new(w, r, exec);
}

/* --- the loop --- */

size_t persist_poll(const struct pool *p, struct pollfd *set)
{
	const struct persistent *h;
	size_t used = 0;

	LIST_FOREACH (h, &p->persistent, link) {
		watch_both(h, set + used);
		used += PERSIST_FDS;
	}
	return used;
}

/* In the order in which they were added to SET; none has been created since. */
void persist_read(struct pool *p, const struct pollfd *set, size_t count)
{
	struct persistent *h;
	size_t i = 0;

	LIST_FOREACH (h, &p->persistent, link) {
		if (i + PERSIST_FDS > count)
			return;
		listen_to(h, set + i);
		i += PERSIST_FDS;
	}
}

/* --- its end --- */

static struct persistent *find(const struct pool *p, pid_t pid)
{
	struct persistent *h;

	LIST_FOREACH (h, &p->persistent, link)
		if (h->child.pid == pid)
			return h;
	return NULL;
}

/* What it says of what was used is of the handler's whole life. */
static void fail_job(struct persistent *h, int status, struct rusage *used)
{
	struct running *r = take_job(h);

	r->limited = h->limited;
	h->limited = LIMITED_NOT;
	if (!r->unanswered)
		r->unanswered = "its handler ended without an answer";
	settle_end(r->worker, r, status, used);
}

static void forget(struct pool *p, struct persistent *h)
{
	LIST_REMOVE(h, link);
	child_drain(&h->child, true);
	release(p, h);
}

bool persist_ended(struct pool *p, pid_t pid, int status, struct rusage *used)
{
	struct persistent *h = find(p, pid);

	if (!h)
		return false;
	h->child.pid = 0; /* which may be another's from now on */
	drain_errors(h);
	if (h->answers >= 0 && h->job) /* it may have answered, and ended then */
		read_answers(h);
	if (h->job || h->lines >= 0)
		start_later(h->worker);
	if (h->job)
		fail_job(h, status, used);
	forget(p, h);
	p->persistents--;
	return true;
}

void persist_tick(struct pool *p, int64_t now)
{
	struct persistent *h;

	LIST_FOREACH (h, &p->persistent, link)
		if (h->end_at <= now)
			signal_group(h, h->end_signal == 0 ? SIGTERM : SIGKILL);
}

int64_t persist_next(const struct pool *p)
{
	const struct persistent *h;
	int64_t next = NEVER;

	LIST_FOREACH (h, &p->persistent, link)
		if (h->end_at < next)
			next = h->end_at;
	return next;
}

void persist_renew(struct worker *w)
{
	struct persistent *h;

	LIST_FOREACH (h, &w->pool->persistent, link) {
		if (h->worker == w && h->job)
			h->stale = true;
		else if (h->worker == w)
			dismiss(h);
	}
	w->restart_at = 0;
}

void persist_look(struct worker *w)
{
	struct stat st, seen = w->handler_seen;

	if (!w->pool->options->persist || w->pool->options->command ||
	    fstatat(w->queue.fd, "handler", &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	w->handler_seen = st;
	if (seen.st_ino != 0 &&
	    (!same_file(&st, &seen) || st.st_ctim.tv_sec != seen.st_ctim.tv_sec ||
	        st.st_ctim.tv_nsec != seen.st_ctim.tv_nsec))
		persist_renew(w);
}

void persist_dismiss(struct worker *w)
{
	struct persistent *h;

	persist_renew(w);
	LIST_FOREACH (h, &w->pool->persistent, link)
		if (h->worker == w)
			h->worker = NULL;
}

/* What they have to say at their end may be more than a pipe holds. */
static void wait_for(struct pool *p, struct persistent *h)
{
	int status;

	child_drain(&h->child, false);
	if (waitpid(h->child.pid, &status, WNOHANG) != 0)
		forget(p, h);
}

static bool told_again(const struct pool *p)
{
	struct signalfd_siginfo info;
	bool told = false;

	while (read(p->signals, &info, sizeof info) == (ssize_t)sizeof info)
		told |= info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
	return told;
}

void persist_release(struct pool *p)
{
	int64_t now;
	struct persistent *h, *next;

	LIST_FOREACH (h, &p->persistent, link) {
		dismiss(h);
		sys_discard(&h->answers);
		if (p->stop > 1)
			signal_group(h, p->stop == 2 ? SIGTERM : SIGKILL);
	}
	while (!LIST_EMPTY(&p->persistent)) {
		LIST_FOREACH_SAFE (h, &p->persistent, link, next)
			wait_for(p, h);
		now = clock_mono_ms();
		if (told_again(p))
			LIST_FOREACH (h, &p->persistent, link)
				h->end_at = now;
		persist_tick(p, now);
		if (!LIST_EMPTY(&p->persistent))
			poll(NULL, 0, END_STEP_MS);
	}
	p->persistents = 0;
}
