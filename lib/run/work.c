/*
 * The loop of qwork. Order in a round: scan if one is due, promote what is due,
 * start what there is room for, look after the running ones, then sleep until a
 * descriptor or a deadline wakes us. An idle qwork makes no system call.
 */
#include "run/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "spool/sweep.h"
#include "sys/clock.h"

enum {
	SWEEP_EVERY_MS = 3600 * 1000,
	DEAF_SCAN_MS = 1000, /* without inotify */
	FIRST_FD = 3,        /* of the poll set: signals, timer, events, then stderr of slots */
};

static void settings_wrong(void *arg, unsigned line, const char *why)
{
	struct worker *w = arg;
	struct work_event event = {.outcome = WORK_NOTE,
	    .cause = "a line of settings is ignored",
	    .reason = why,
	    .attempt = line,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};

	worker_report(w, &event);
}

static void load_settings(struct worker *w)
{
	meta_release(&w->settings);
	if (settings_load(&w->queue, &w->settings, settings_wrong, w) != 0)
		worker_note(w,
		    errno == EPERM ? "settings are refused: they must belong to root or to "
		                     "qwork's user, and nobody else may write them"
		                   : "settings cannot be read",
		    errno);
}

static int take_signals(struct worker *w)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &ours, &w->old_signals) != 0)
		return -1;
	w->signals = signalfd(-1, &ours, SFD_NONBLOCK | SFD_CLOEXEC);
	return w->signals < 0 ? -1 : 0;
}

/* Real time, absolute: it neither drifts nor sleeps with the machine, and setting
 * the clock wakes us. */
static void set_timer(struct worker *w, int64_t due_ms)
{
	struct itimerspec at = {0};
	int64_t ms = due_ms == JOB_DUE_NONE ? WHEN_MAX_MS : due_ms;

	if (ms == w->timer_ms)
		return;
	if (ms <= 0)
		ms = 1;
	at.it_value.tv_sec = ms / 1000;
	at.it_value.tv_nsec = (ms % 1000) * 1000000;
	if (timerfd_settime(w->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL) == 0)
		w->timer_ms = ms;
}

static void read_timer(struct worker *w)
{
	uint64_t expirations;

	if (read(w->timer, &expirations, sizeof expirations) < 0 && errno == ECANCELED)
		w->scan_now = true; /* the clock was set: nothing that was reckoned holds */
	w->timer_ms = 0;
}

static void stop_more(struct worker *w)
{
	w->stop++;
	if (w->stop == 1)
		w->grace_at = clock_mono_ms() + w->options->grace_ms;
	else
		settle_stop(w, w->stop == 2 ? SIGTERM : SIGKILL);
}

static void read_signals(struct worker *w)
{
	struct signalfd_siginfo info;

	while (read(w->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGHUP)
			load_settings(w);
		else if (info.ssi_signo != SIGCHLD)
			stop_more(w);
	}
	settle_ended(w);
}

static void listen_to_queue(struct worker *w)
{
	if (watch_open(&w->watch, &w->queue, w->options->drain == DRAIN_ALL) != 0)
		worker_note(w, "no inotify: the queue is scanned every second instead", errno);
}

static int worker_open(struct worker *w, struct spool *spool, const struct work_options *options)
{
	*w = (struct worker){.options = options,
	    .queue = QUEUE_CLOSED,
	    .handler = {.fd = -1},
	    .watch = {.fd = -1},
	    .signals = -1,
	    .timer = -1,
	    .grace_at = NEVER};
	meta_init(&w->settings);
	backlog_init(&w->backlog);
	if (queue_open(&w->queue, spool, options->queue, true) != 0)
		return -1;
	if (handler_open(&w->handler, &w->queue, options->command) != 0)
		return -1;
	load_settings(w);
	w->slot = calloc(options->jobs, sizeof *w->slot);
	w->timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (!w->slot || w->timer < 0 || take_signals(w) != 0)
		return -1;
	for (unsigned i = 0; i < options->jobs; i++)
		w->slot[i].job.fd = w->slot[i].child.errors = -1;
	listen_to_queue(w);
	return 0;
}

static void worker_close(struct worker *w)
{
	int saved = errno;

	for (unsigned i = 0; w->slot && i < w->options->jobs; i++) {
		job_release(&w->slot[i].job);
		sys_discard(&w->slot[i].child.errors);
	}
	if (w->signals >= 0)
		sigprocmask(SIG_SETMASK, &w->old_signals, NULL);
	sys_discard(&w->signals);
	sys_discard(&w->timer);
	watch_close(&w->watch);
	backlog_clear(&w->backlog);
	strings_release(&w->strange);
	meta_release(&w->settings);
	handler_release(&w->handler);
	queue_close(&w->queue);
	free(w->slot);
	errno = saved;
}

static void scan_if_due(struct worker *w, int64_t now)
{
	int64_t every = w->options->scan_ms;

	if (w->watch.fd < 0 && every > DEAF_SCAN_MS)
		every = DEAF_SCAN_MS;
	if (now >= w->sweep_at) {
		if (sweep_drafts(&w->queue) < 0 || sweep_orphans(&w->queue) < 0)
			worker_note(w, "leftovers could not be swept", errno);
		w->sweep_at = now + SWEEP_EVERY_MS;
	}
	if (w->scan_now || now >= w->scan_at || backlog_wants_scan(&w->backlog)) {
		take_scan(w);
		w->scan_at = now + every;
	}
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The next instant at which something is to be done, DUE aside. */
static int64_t next_deadline(const struct worker *w, int64_t now)
{
	int64_t next = recover_next(w);

	if (w->stop == 0)
		next = earliest(next, w->scan_at);
	if (w->stop == 1)
		next = earliest(next, w->grace_at);
	if (w->hold_until > now)
		next = earliest(next, w->hold_until);
	for (unsigned i = 0; i < w->options->jobs; i++) {
		const struct running *r = &w->slot[i];

		if (r->active && r->settling)
			next = earliest(next, r->settle_at);
		else if (r->active)
			next = earliest(next, r->end_at);
	}
	return next;
}

static int poll_timeout(const struct worker *w)
{
	int64_t now = clock_mono_ms();
	int64_t wait = next_deadline(w, now) - now;

	return wait <= 0 ? 0 : wait > INT32_MAX ? INT32_MAX : (int)wait;
}

static int wait_for_events(struct worker *w)
{
	size_t count = FIRST_FD + w->options->jobs;
	struct pollfd *set = calloc(count, sizeof *set);
	int n;

	if (!set)
		return -1;
	/* With all slots taken no DUE matters. */
	set_timer(w,
	    w->busy < w->options->jobs && start_allowed(w) ? backlog_next_ms(&w->backlog)
	                                                   : JOB_DUE_NONE);
	set[0] = (struct pollfd){.fd = w->signals, .events = POLLIN};
	set[1] = (struct pollfd){.fd = w->timer, .events = POLLIN};
	set[2] = (struct pollfd){.fd = w->watch.fd, .events = POLLIN};
	for (unsigned i = 0; i < w->options->jobs; i++)
		set[FIRST_FD + i] = (struct pollfd){
		    .fd = w->slot[i].active ? w->slot[i].child.errors : -1, .events = POLLIN};
	n = poll(set, count, poll_timeout(w));
	if (n > 0) {
		for (unsigned i = 0; i < w->options->jobs; i++)
			if (set[FIRST_FD + i].revents)
				child_drain(&w->slot[i].child, false);
		if (set[1].revents)
			read_timer(w);
		if (set[2].revents && watch_read(&w->watch, take_event, w) != 0)
			w->scan_now = true;
		if (set[0].revents)
			read_signals(w);
	}
	free(set);
	return n < 0 && errno != EINTR ? -1 : 0;
}

static bool nothing_waits(const struct worker *w)
{
	const struct backlog *b = &w->backlog;

	if (b->ready.count > 0 || b->ready.cut || b->pending > 0)
		return false;
	return w->options->drain == DRAIN_READY || (b->later.count == 0 && !b->later.cut);
}

/* Scanned once more before it is believed: an event may still be on its way. */
static bool drained(struct worker *w)
{
	if (w->options->drain == DRAIN_NO || w->busy > 0)
		return false;
	if (w->paused || w->hold_error != 0)
		return true;
	if (!nothing_waits(w) || w->probes > 0)
		return false;
	take_scan(w);
	backlog_promote(&w->backlog, clock_real_ms());
	if (!nothing_waits(w))
		return false;
	return w->options->drain == DRAIN_READY || !recover_others_run(w);
}

static bool finished(struct worker *w)
{
	if (w->busy == 0 && (w->stop > 0 || (w->options->once && w->started > 0)))
		return true;
	if (w->busy == 0 && w->options->once && w->hold_error != 0)
		return true;
	return drained(w);
}

static void stop_after_grace(struct worker *w, int64_t now)
{
	if (w->stop == 1 && now >= w->grace_at)
		stop_more(w);
}

static int loop(struct worker *w)
{
	for (;;) {
		int64_t now = clock_mono_ms();

		if (w->stop == 0)
			scan_if_due(w, now);
		backlog_promote(&w->backlog, clock_real_ms());
		start_jobs(w);
		recover_tick(w, now);
		settle_tick(w, now);
		stop_after_grace(w, now);
		if (w->dead && w->busy == 0) {
			errno = ESTALE;
			return -1;
		}
		if (finished(w))
			break;
		if (wait_for_events(w) != 0)
			return -1;
	}
	if (w->hold_error != 0 && w->stop == 0) {
		errno = ENOEXEC;
		return -1;
	}
	return 0;
}

int spool_work(struct spool *spool, const struct work_options *options)
{
	struct worker worker;
	int result = worker_open(&worker, spool, options);

	if (result == 0)
		result = loop(&worker);
	worker_close(&worker);
	return result;
}
