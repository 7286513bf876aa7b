/*
 * The loop of qwork. Order in a round: scan if one is due, end a pause, promote what is due, look
 * after the running ones, start what there is room for, then sleep until a descriptor
 * or a deadline wakes us. Starting is last, since what ended made room for it. An idle
 * qwork makes no system call.
 */
#include "run/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "spool/order.h"
#include "spool/sweep.h"
#include "spool/wait.h"
#include "sys/clock.h"
#include "sys/proc.h"

enum {
	SWEEP_EVERY_MS = 3600 * 1000,
	DEAF_SCAN_MS = 1000, /* without inotify, and after a scan that failed */
	FIRST_FD = 3,        /* of the poll set: signals, timer, events, then stderr of slots */
	FDS_A_JOB = 2,       /* the payload and stderr */
	FDS_A_RESOURCE =
	    5, /* of the one job that takes them: two directories, state, slot, probe */
	FDS_MORE = 64 + RESOURCES_MAX * FDS_A_RESOURCE, /* HELD_MAX among them */
	OOM_SCORE_MORE = 500,
	OOM_SCORE_MAX = 1000, /* proc_pid_oom_score_adj(5) */
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
	const struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t ours;

	/* Ignored by whoever started us, it would let the kernel reap our children. */
	sigaction(SIGCHLD, &plain, &w->old_sigchld);
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
	if (w->stop == 1 && w->busy > 0)
		worker_note(w, "told to end: running jobs have the grace, unless told again", 0);
	if (w->stop > 1)
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

/* The usual limit of 1024 is for select(); we poll, and handlers get back what we had. */
static int make_room_for_files(struct worker *w)
{
	rlim_t wanted = (rlim_t)w->options->jobs * FDS_A_JOB + FDS_MORE;
	struct rlimit more;

	if (getrlimit(RLIMIT_NOFILE, &w->files) != 0)
		return -1;
	more = w->files;
	if (more.rlim_cur >= wanted)
		return 0;
	if (more.rlim_max < wanted) {
		errno = EMFILE;
		return -1;
	}
	more.rlim_cur = wanted;
	return setrlimit(RLIMIT_NOFILE, &more);
}

static int listen_to_queue(struct worker *w)
{
	return watch_open(&w->watch, &w->queue, w->options->drain == DRAIN_ALL);
}

static void listen_first(struct worker *w)
{
	if (listen_to_queue(w) != 0)
		worker_note(w, "no inotify: the queue is scanned every second instead", errno);
}

/* Tried with each scan, before it: what comes after it then is an event. */
static void listen_again(struct worker *w)
{
	if (w->watch.fd >= 0 || listen_to_queue(w) != 0)
		return;
	worker_note(w, "inotify is back: the queue is watched again", 0);
	w->scan_now = true;
}

/* When memory runs out a handler is to go, not qwork. Protection that qwork has is not
 * for what it runs. */
static int handlers_oom_score_adj(void)
{
	int own = proc_oom_score_adj();
	int more = (own > 0 ? own : 0) + OOM_SCORE_MORE;

	return more < OOM_SCORE_MAX ? more : OOM_SCORE_MAX;
}

/* They are in no spool, so spool_place() knows nothing of them. */
static void note_controls(const struct worker *w, const char *cause)
{
	struct work_event event = {.outcome = WORK_NOTE,
	    .cause = cause,
	    .reason = strerror(errno),
	    .name = w->controls.path,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};

	worker_report(w, &event);
}

static int worker_open(struct worker *w, struct spool *spool, const struct work_options *options)
{
	*w = (struct worker){.options = options,
	    .queue = QUEUE_CLOSED,
	    .handler = {.fd = -1},
	    .controls = {.fd = -1},
	    .watch = {.fd = -1},
	    .signals = -1,
	    .timer = -1,
	    .paused_until = JOB_DUE_NONE,
	    .grace_at = NEVER};
	meta_init(&w->settings);
	backlog_init(&w->backlog);
	LIST_INIT(&w->blocked);
	if (queue_open(&w->queue, spool, options->queue, true) != 0)
		return -1;
	if (handler_open(&w->handler, &w->queue, options->command) != 0)
		return -1;
	queue_serve(&w->queue);
	load_settings(w);
	w->slots = options->jobs + HELD_MAX;
	w->slot = calloc(w->slots, sizeof *w->slot);
	w->poll_set = calloc(FIRST_FD + w->slots, sizeof *w->poll_set);
	w->oom_score_adj = handlers_oom_score_adj();
	for (unsigned i = 0; w->slot && i < w->slots; i++)
		w->slot[i].job.fd = w->slot[i].job.wait = w->slot[i].child.errors = -1;
	spool_fail(spool, options->queue, NULL, NULL); /* where the errors to come happened */
	w->timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (!w->slot || !w->poll_set || w->timer < 0 || make_room_for_files(w) != 0 ||
	    take_signals(w) != 0)
		return -1;
	listen_first(w);
	return 0;
}

/* Once a minute is enough for what is rare. */
static void keep_controls(struct worker *w)
{
	int error = control_dir_renew(&w->controls) == 0 ? 0 : errno;

	if (error != 0 && error != w->controls_error)
		note_controls(w, "handlers have no control file");
	w->controls_error = error;
}

/* What comes while we end asked for just that, and must not kill us once it is let in. */
static void swallow_signals(const struct worker *w)
{
	struct signalfd_siginfo info;

	while (read(w->signals, &info, sizeof info) == (ssize_t)sizeof info)
		;
}

static void close_slot(struct running *r)
{
	if (r->child.pid > 0)
		sys_discard(&r->job.fd); /* unlocking would free a job whose handler lives */
	running_release(r);
	sys_discard(&r->child.errors);
}

static void worker_close(struct worker *w)
{
	int saved = errno;

	release_all(w);
	for (unsigned i = 0; w->slot && i < w->slots; i++)
		close_slot(&w->slot[i]);
	if (w->signals >= 0) {
		swallow_signals(w);
		sigprocmask(SIG_SETMASK, &w->old_signals, NULL);
		sigaction(SIGCHLD, &w->old_sigchld, NULL);
		setrlimit(RLIMIT_NOFILE, &w->files);
	}
	sys_discard(&w->signals);
	sys_discard(&w->timer);
	watch_close(&w->watch);
	backlog_clear(&w->backlog);
	blocked_release(w);
	strings_release(&w->strange);
	meta_release(&w->settings);
	handler_release(&w->handler);
	if (control_dir_close(&w->controls) != 0)
		note_controls(w, "the directory of control files could not be removed");
	queue_close(&w->queue);
	free(w->slot);
	free(w->poll_set);
	errno = saved;
}

/* When an early scan is to be made: at once if events were lost; soon if the last one did
 * not see all (no memory, no descriptors); at once if a window ran empty by starting jobs; if it ran empty without that, its names were of no use, and
 * the next ones may be no better. */
static int64_t rescan_at(const struct worker *w)
{
	if (w->scan_now)
		return 0;
	if (w->scan_error != 0)
		return w->scanned_at + DEAF_SCAN_MS;
	if (!backlog_wants_scan(&w->backlog))
		return NEVER;
	return w->started != w->started_then ? 0 : w->scanned_at + DEAF_SCAN_MS;
}

/* Of what is done with each scan: what keeps one of these from it keeps the others, and is said once. */
static const char with_each_scan[] =
    "what crashes left, or what is kept no longer, could not be swept";

static void note_sweep(struct worker *w, int swept, const char *cause)
{
	if (swept < 0)
		worker_trouble(w, cause, errno);
}

static void sweep(struct worker *w)
{
	note_sweep(w, sweep_drafts(&w->queue), "leftovers of senders could not be swept");
	/* Before the options, which tell of links whose they are. */
	note_sweep(w, sweep_kept(&w->queue), "links of jobs that are kept could not be swept");
	note_sweep(
	    w, order_sweep(w->queue.spool), "links of jobs that are over could not be swept");
	note_sweep(w, sweep_orphans(&w->queue), "what belonged to jobs could not be swept");
	note_sweep(w, sweep_queues(w->queue.spool), "leftover queues could not be swept");
}

static void found_over(void *arg, const char *name)
{
	release_add(arg, name);
}

/* With each scan: it is what keeps a job from waiting for ever after a crash. */
static void sweep_order(struct worker *w)
{
	note_sweep(w, sweep_linked_drafts(&w->queue), with_each_scan);
	note_sweep(w, order_find_over(w->queue.spool, found_over, w), with_each_scan);
}

static void scan_if_due(struct worker *w, int64_t now)
{
	int64_t every = w->options->scan_ms;

	if (w->watch.fd < 0 && every > DEAF_SCAN_MS)
		every = DEAF_SCAN_MS;
	if (now >= w->sweep_at) {
		sweep(w);
		w->sweep_at = now + SWEEP_EVERY_MS;
	}
	if (now >= w->scan_at)
		note_sweep(w, sweep_done(&w->queue), with_each_scan);
	if (now >= w->scan_at || now >= rescan_at(w)) {
		listen_again(w);
		keep_controls(w);
		sweep_order(w);
		take_scan(w);
		w->scan_at = now + every;
	}
}

static void end_pause(struct worker *w)
{
	if (w->paused_until != JOB_DUE_NONE && clock_real_ms() >= w->paused_until)
		take_pause(w);
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The next instant at which something is to be done, what is due by real time aside. */
static int64_t next_deadline(const struct worker *w, int64_t now)
{
	int64_t next = earliest(earliest(recover_next(w), release_next(w)), blocked_next(w));

	if (w->look_again)
		return now;
	if (w->stop == 0 && !w->dead)
		next = earliest(next, earliest(w->scan_at, rescan_at(w)));
	if (w->stop == 1)
		next = earliest(next, w->grace_at);
	if (w->hold_until > now)
		next = earliest(next, w->hold_until);
	for (unsigned i = 0; i < w->slots; i++) {
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

static void read_events(struct worker *w)
{
	if (w->watch.fd >= 0 && watch_read(&w->watch, take_event, w) != 0)
		w->scan_now = true;
}

/* Fills SET, which has room for all slots; returns how many entries it used. */
static nfds_t fill_poll_set(const struct worker *w, struct pollfd *set)
{
	nfds_t used = FIRST_FD;

	set[0] = (struct pollfd){.fd = w->signals, .events = POLLIN};
	set[1] = (struct pollfd){.fd = w->timer, .events = POLLIN};
	set[2] = (struct pollfd){.fd = w->watch.fd, .events = POLLIN};
	for (unsigned i = 0; i < w->slots; i++)
		if (w->slot[i].active && w->slot[i].child.errors >= 0)
			set[used++] =
			    (struct pollfd){.fd = w->slot[i].child.errors, .events = POLLIN};
	return used;
}

static void drain_errors(struct worker *w, const struct pollfd *set, nfds_t used)
{
	for (nfds_t at = FIRST_FD, i = 0; at < used; i++)
		if (w->slot[i].active && w->slot[i].child.errors == set[at].fd) {
			if (set[at].revents)
				child_drain(&w->slot[i].child, false);
			at++;
		}
}

/* The next instant of real time at which something is to be done. With no room no DUE matters. */
static int64_t next_due(struct worker *w)
{
	if (w->paused)
		return w->paused_until;
	return start_room(w) && start_allowed(w) ? backlog_next_ms(&w->backlog) : JOB_DUE_NONE;
}

static int wait_for_events(struct worker *w)
{
	nfds_t used = fill_poll_set(w, w->poll_set);
	const struct pollfd *set = w->poll_set;
	int n;

	set_timer(w, next_due(w));
	n = poll(w->poll_set, used, poll_timeout(w));
	if (n <= 0)
		return n == 0 || errno == EINTR ? 0 : -1;
	drain_errors(w, set, used);
	if (set[1].revents)
		read_timer(w);
	if (set[2].revents)
		read_events(w);
	if (set[0].revents)
		read_signals(w);
	return 0;
}

static bool nothing_waits(const struct worker *w)
{
	const struct backlog *b = &w->backlog;

	if (b->ready.count > 0 || b->ready.fence || b->later.ready > 0 || w->scan_error != 0)
		return false;
	return w->options->drain == DRAIN_READY || (b->later.count == 0 && !b->later.fence);
}

/* What waits for a resource was found by the scan, and nobody else may have what it needs. */
static void try_blocked(struct worker *w)
{
	blocked_tick(w, clock_mono_ms());
	start_jobs(w);
}

static int is_waiting(void *arg, const struct job_place *place)
{
	(void)arg;
	(void)place;
	return 1;
}

/* For a job, a batch or a resource: what ends that makes an event, or the next scan sees it. */
static bool somebody_waits(struct worker *w)
{
	return wait_each_job(w->queue.spool, w->queue.name, is_waiting, NULL) != 0;
}

/* One scan after the other misses a job that moves between them, such as one that
 * another qwork claims and retries meanwhile. If no name came or went while all
 * directories were read, what was seen is the whole of it. */
static bool sees_nothing(struct worker *w)
{
	unsigned before;
	bool nothing;

	read_events(w);
	before = w->events;
	take_scan(w);
	backlog_promote(&w->backlog, clock_real_ms());
	try_blocked(w);
	w->look_again = !nothing_waits(w); /* rather than sleep */
	nothing = !w->look_again && w->busy == 0 &&
	    (w->options->drain == DRAIN_READY || (!recover_others_run(w) && !somebody_waits(w)));
	read_events(w);
	w->look_again |= w->events != before;
	return nothing && !w->look_again;
}

/* What ends a drain or --once though something may wait. */
static int stopped_by(const struct worker *w)
{
	if (w->hold_error != 0 || w->options->drain == DRAIN_NO)
		return w->hold_error;
	return w->scan_error;
}

static bool drained(struct worker *w)
{
	if (w->options->drain == DRAIN_NO || w->busy > 0)
		return false;
	if (w->paused || stopped_by(w) != 0)
		return true;
	if (w->options->drain == DRAIN_ALL && blocked_any(w))
		return false;
	return nothing_waits(w) && w->probes == 0 && release_is_done(w) && sees_nothing(w);
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

		w->look_again = false;
		if (w->stop == 0 && !w->dead)
			scan_if_due(w, now);
		end_pause(w);
		backlog_promote(&w->backlog, clock_real_ms());
		recover_tick(w, now);
		settle_tick(w, now);
		release_tick(w, now);
		blocked_tick(w, now);
		start_jobs(w);
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
	if (w->stop == 0 && stopped_by(w) != 0) {
		errno = stopped_by(w);
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
