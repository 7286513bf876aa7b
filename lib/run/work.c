/*
 * The loop of qwork. Order in a round: scan if one is due, or a piece further, end pauses, promote what is due, look
 * after the running ones, start what there is room for, then sleep until a descriptor
 * or a deadline wakes us. Starting is last, since what ended made room for it. An idle
 * qwork makes no system call.
 */
#include "run/persist.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "spool/order.h"
#include "spool/stats.h"
#include "spool/sweep.h"
#include "spool/wait.h"
#include "sys/clock.h"

enum {
	SWEEP_EVERY_MS = 3600 * 1000,
	SCAN_PIECE_MS = 10,
	SIGNALS_AT_ONCE = 8,
	YOUNG_MS = 10,
};

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void scan_all(struct pool *p)
{
	struct worker *w;

	LIST_FOREACH (w, &p->workers, link)
		w->scan_now = true;
}

/* Real time, absolute: it neither drifts nor sleeps with the machine, and setting
 * the clock wakes us. */
static void set_timer(struct pool *p, int64_t due_ms)
{
	struct itimerspec at = {0};
	int64_t ms = due_ms == JOB_DUE_NONE ? WHEN_MAX_MS : due_ms;

	if (ms == p->timer_ms)
		return;
	if (ms <= 0)
		ms = 1;
	at.it_value.tv_sec = ms / 1000;
	at.it_value.tv_nsec = (ms % 1000) * 1000000;
	if (timerfd_settime(p->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL) == 0)
		p->timer_ms = ms;
	else if (errno == ECANCELED) /* the clock was set since; the timer is set all the same */
		scan_all(p);
}

static void read_timer(struct pool *p)
{
	uint64_t expirations;

	if (read(p->timer, &expirations, sizeof expirations) < 0 && errno == ECANCELED)
		scan_all(p); /* the clock was set: nothing that was reckoned holds */
	p->timer_ms = 0;
}

static void stop_more(struct pool *p)
{
	p->stop++;
	if (p->stop == 1)
		p->grace_at = clock_mono_ms() + p->options->grace_ms;
	if (p->stop == 1 && p->busy > 0)
		pool_note(p, "told to end: running jobs have the grace, unless told again", 0);
	if (p->stop > 1) {
		settle_stop(p, p->stop == 2 ? SIGTERM : SIGKILL);
		handover_stop(p);
	}
}

static void read_again(struct pool *p)
{
	struct worker *w;

	pool_note(p, "told to read the settings again and to look for queues", 0);
	status_reloads(p);
	LIST_FOREACH (w, &p->workers, link)
		pool_settings(w, true);
	p->look_at = 0;
}

static void claim_nothing(struct pool *p, bool nothing)
{
	if (p->claims_nothing == nothing)
		return;
	p->claims_nothing = nothing;
	pool_note(p,
	    nothing ? "told to claim nothing, until told to go on: running jobs do"
	            : "told to go on claiming",
	    0);
}

static void take_signal(struct pool *p, uint32_t number)
{
	switch (number) {
	case SIGCHLD:
		break;
	case SIGHUP:
		read_again(p);
		break;
	case SIGUSR1:
	case SIGUSR2:
		claim_nothing(p, number == SIGUSR1);
		break;
	default:
		stop_more(p);
	}
}

static void read_signals(struct pool *p)
{
	struct signalfd_siginfo info[SIGNALS_AT_ONCE];
	ssize_t len;

	do {
		len = read(p->signals, info, sizeof info);
		for (ssize_t i = 0; i < len / (ssize_t)sizeof *info; i++)
			take_signal(p, info[i].ssi_signo);
	} while (len == (ssize_t)sizeof info);
	settle_ended(p);
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

static void note_sweep_of_spool(struct pool *p, int swept, const char *cause)
{
	if (swept < 0)
		pool_trouble(p, cause, errno);
}

/* Links before the options, which tell of links whose they are. */
static void sweep(struct pool *p)
{
	struct worker *w;

	LIST_FOREACH (w, &p->workers, link) {
		note_sweep(w, sweep_drafts(&w->queue), "leftovers of senders could not be swept");
		note_sweep(
		    w, sweep_kept(&w->queue), "links of jobs that are kept could not be swept");
	}
	note_sweep_of_spool(
	    p, order_sweep(p->spool), "links of jobs that are over could not be swept");
	LIST_FOREACH (w, &p->workers, link)
		note_sweep(w, sweep_orphans(&w->queue), "what belonged to jobs could not be swept");
	note_sweep_of_spool(p, sweep_queues(p->spool), "leftover queues could not be swept");
}

static void found_over(void *arg, const char *name)
{
	release_add(arg, name);
}

/* A queue that was removed is told of by the scan. */
static void check_stats(struct worker *w)
{
	if (stats_check(&w->queue, true) != 0 && queue_in_place(&w->queue))
		worker_trouble(w,
		    errno == EBADMSG
		        ? "nothing is counted until what stands for the statistics is removed"
		        : "no statistics are kept",
		    errno);
}

static void scan(struct worker *w, int64_t now)
{
	int64_t every = w->pool->options->scan_ms;

	pool_listen(w);
	if (!w->watched && every > DEAF_SCAN_MS)
		every = DEAF_SCAN_MS;
	if (now >= w->scan_at)
		note_sweep(w, sweep_done(&w->queue), with_each_scan);
	/* One of the events that were lost may have been of them. */
	if (now >= w->scan_at || w->scan_now) {
		pool_settings(w, false);
		persist_look(w);
	}
	check_stats(w);
	note_sweep(w, sweep_linked_drafts(&w->queue), with_each_scan);
	scan_begin(w);
	w->scan_at = now + every;
}

static bool is_scan_due(const struct worker *w, int64_t now)
{
	return !w->dead && !scan_is_on(w) && (now >= w->scan_at || now >= rescan_at(w));
}

/* What is over is looked for with each scan: it keeps a job from waiting for ever after a crash. */
static void scan_if_due(struct pool *p, int64_t now)
{
	struct worker *w;
	bool any = false;

	if (now >= p->look_at)
		pool_look(p);
	if (now >= p->sweep_at) {
		sweep(p);
		p->sweep_at = now + SWEEP_EVERY_MS;
	}
	LIST_FOREACH (w, &p->workers, link)
		any |= is_scan_due(w, now);
	if (!any)
		return;
	pool_keep_controls(p);
	limits_keep(p);
	note_sweep_of_spool(p, order_find_over(p->spool, found_over, p), with_each_scan);
	LIST_FOREACH (w, &p->workers, link)
		if (is_scan_due(w, now))
			scan(w, now);
}

static void read_events(struct pool *p)
{
	if (p->watch.fd >= 0 && watch_read(&p->watch, take_event, p) != 0)
		scan_all(p);
}

/* The events of names that were read are taken before the first of these is started: it would be known once more. */
static void read_on(struct pool *p, int64_t now)
{
	bool any = false;
	struct worker *w;

	LIST_FOREACH (w, &p->workers, link) {
		any |= scan_is_on(w);
		scan_more(w, now + SCAN_PIECE_MS);
		p->look_again |= scan_is_on(w);
	}
	if (any)
		read_events(p);
}

static void end_pause(struct worker *w)
{
	if (w->paused_until != JOB_DUE_NONE && clock_real_ms() >= w->paused_until)
		take_pause(w);
}

static int64_t workers_deadline(const struct worker *w, int64_t now)
{
	int64_t next = earliest(recover_next(w), blocked_next(w));

	if (w->pool->stop == 0 && !w->dead)
		next = earliest(next, earliest(w->scan_at, rescan_at(w)));
	if (w->restart_at > now)
		next = earliest(next, w->restart_at);
	return w->hold_until > now ? earliest(next, w->hold_until) : next;
}

/* Most jobs say nothing, and many are over at once: only their end is to wake us then, and not that of their standard error
 * just before. What young ones say is passed on a little later, at times that many share. */
static int64_t grown_at(const struct running *r)
{
	return r->child.talks ? 0 : (r->started / YOUNG_MS + 2) * YOUNG_MS;
}

static int errors_fd(const struct running *r, int64_t now)
{
	return r->active && now >= grown_at(r) ? child_poll_fd(&r->child) : -1;
}

/* When it is to be polled, too. */
static int64_t errors_next(const struct running *r, int64_t now)
{
	return child_poll_fd(&r->child) >= 0 && now < grown_at(r) ? grown_at(r) : NEVER;
}

static int64_t slots_deadline(const struct pool *p, int64_t now)
{
	int64_t next = NEVER;

	for (unsigned i = 0; i < p->slots; i++) {
		const struct running *r = &p->slot[i];

		if (!r->active)
			continue;
		next = earliest(next, r->settling ? r->settle_at : r->end_at);
		next = earliest(next, errors_next(r, now));
	}
	return next;
}

/* The next instant at which something is to be done, what is due by real time aside. */
static int64_t next_deadline(const struct pool *p, int64_t now)
{
	int64_t next =
	    earliest(earliest(release_next(p), slots_deadline(p, now)), hooks_next(&p->hooks));
	const struct worker *w;

	next = earliest(next, means_next(&p->means));
	next = earliest(next, persist_next(p));
	next = earliest(next, closer_next(&p->closer));
	if (p->look_again)
		return now;
	next = earliest(next, status_next(p));
	if (p->stop == 0)
		next = earliest(next, p->look_at);
	if (p->stop == 1)
		next = earliest(next, p->grace_at);
	LIST_FOREACH (w, &p->workers, link)
		next = earliest(next, workers_deadline(w, now));
	return next;
}

static int poll_timeout(const struct pool *p, int64_t now)
{
	int64_t wait = next_deadline(p, now) - now;

	return wait <= 0 ? 0 : wait > INT32_MAX ? INT32_MAX : (int)wait;
}

/* Fills SET, which has room for all slots; returns how many entries it used. */
static nfds_t fill_poll_set(const struct pool *p, int64_t now, struct pollfd *set)
{
	nfds_t used = POOL_FDS;

	set[0] = (struct pollfd){.fd = p->signals, .events = POLLIN};
	set[1] = (struct pollfd){.fd = p->timer, .events = POLLIN};
	set[2] = (struct pollfd){.fd = p->watch.fd, .events = POLLIN};
	if (handover_is_on(p)) { /* then there are no handlers */
		set[used++] = (struct pollfd){.fd = handover_fd(p), .events = POLLIN};
		return used;
	}
	for (unsigned i = 0; i < p->slots; i++)
		if (errors_fd(&p->slot[i], now) >= 0)
			set[used++] =
			    (struct pollfd){.fd = errors_fd(&p->slot[i], now), .events = POLLIN};
	return used;
}

/* NOW is when SET was filled. */
static void drain_errors(struct pool *p, int64_t now, const struct pollfd *set, nfds_t used)
{
	for (nfds_t at = POOL_FDS, i = 0; at < used; i++)
		if (errors_fd(&p->slot[i], now) >= 0)
			if (set[at++].revents)
				child_drain(&p->slot[i].child, false);
}

/* The next instant of real time at which something is to be done. With no room no DUE matters. */
static int64_t next_due(struct pool *p)
{
	bool room = start_room(p);
	int64_t next = JOB_DUE_NONE, due;
	struct worker *w;

	LIST_FOREACH (w, &p->workers, link) {
		due = w->paused                ? w->paused_until
		    : room && start_allowed(w) ? backlog_next_ms(&w->backlog)
		                               : JOB_DUE_NONE;
		if (due != JOB_DUE_NONE && (next == JOB_DUE_NONE || due < next))
			next = due;
	}
	return next;
}

/* What is kept for the next job, when there is none. */
static void let_go(struct pool *p)
{
	struct worker *w;

	LIST_FOREACH (w, &p->workers, link)
		if (w->busy == 0)
			stats_close(&w->queue);
	for (unsigned i = 0; p->busy == 0 && i < p->slots; i++)
		sys_discard(&p->slot[i].child.errors);
}

static int wait_for_events(struct pool *p)
{
	int64_t now = clock_mono_ms();
	nfds_t used = fill_poll_set(p, now, p->poll_set);
	const struct pollfd *set = p->poll_set;
	size_t staying = persist_poll(p, p->poll_set + used);
	int n;

	let_go(p);
	closer_tick(&p->closer, now, p->busy == 0);
	set_timer(p, next_due(p));
	n = poll(p->poll_set, used + staying, poll_timeout(p, now));
	if (n <= 0)
		return n == 0 || errno == EINTR ? 0 : -1;
	if (!handover_is_on(p))
		drain_errors(p, now, set, used);
	persist_read(p, set + used, staying);
	if (set[1].revents)
		read_timer(p);
	if (set[2].revents)
		read_events(p);
	if (handover_is_on(p) && set[POOL_FDS].revents)
		handover_answers(p);
	if (set[0].revents)
		read_signals(p); /* the last, which uses the set anew */
	return 0;
}

static bool nothing_ready(const struct worker *w)
{
	const struct backlog *b = &w->backlog;

	return b->ready.count == 0 && !b->ready.fence && b->later.ready == 0 &&
	    w->scan_error == 0 && !scan_is_on(w);
}

static bool nothing_waits(const struct worker *w)
{
	const struct backlog *b = &w->backlog;

	return nothing_ready(w) &&
	    (w->pool->options->drain == DRAIN_READY || (b->later.count == 0 && !b->later.fence));
}

static bool ran_dry(const struct worker *w)
{
	return w->busy == 0 && !w->dead && !w->scan_now && nothing_ready(w) && w->probes == 0 &&
	    !blocked_any(w);
}

/* Once for each time. Of several qworks the last one that has jobs tells; what a job of ours sent before it
 * ended is among the events. */
static void tell_drained(struct worker *w)
{
	struct hook_news news = {.queue = w->name};

	if (!w->worked || !ran_dry(w))
		return;
	read_events(w->pool);
	w->pool->look_again |= !ran_dry(w);
	if (!ran_dry(w))
		return;
	w->worked = false;
	if (!recover_others_run(w))
		hooks_event(&w->pool->hooks, HOOK_DRAINED, &news);
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

/* What ends a drain or --once though something may wait. */
static int stopped_by(const struct worker *w)
{
	if (w->hold_error != 0 || w->pool->options->drain == DRAIN_NO)
		return w->hold_error;
	return w->scan_error;
}

/* A drain does not wait for what it has. */
static bool rests(const struct worker *w)
{
	return w->paused || w->dead || w->leaving || stopped_by(w) != 0;
}

/* What waits for a resource was found by the scan, and nobody else may have what it needs. */
static void scan_to_the_end(struct pool *p)
{
	struct worker *w;

	LIST_FOREACH (w, &p->workers, link)
		if (!rests(w)) {
			scan_whole(w);
			backlog_promote(&w->backlog, clock_real_ms());
			blocked_tick(w, clock_mono_ms());
		}
	start_jobs(p);
}

static bool is_quiet(struct worker *w)
{
	return w->pool->options->drain == DRAIN_READY ||
	    (!recover_others_run(w) && !somebody_waits(w));
}

/* One scan after the other misses a job that moves between them, such as one that
 * another qwork claims and retries meanwhile. If no name came or went while all
 * directories were read, what was seen is the whole of it. */
static bool sees_nothing(struct pool *p)
{
	unsigned before;
	bool nothing = true;
	struct worker *w;

	read_events(p);
	before = p->events;
	scan_to_the_end(p);
	p->look_again = false; /* rather than sleep */
	LIST_FOREACH (w, &p->workers, link)
		p->look_again |= !rests(w) && !nothing_waits(w);
	nothing = !p->look_again && p->busy == 0;
	LIST_FOREACH (w, &p->workers, link)
		nothing = nothing && (rests(w) || is_quiet(w));
	read_events(p);
	p->look_again |= p->events != before;
	return nothing && !p->look_again;
}

static bool seems_empty(const struct worker *w)
{
	if (w->pool->options->drain == DRAIN_ALL && blocked_any(w))
		return false;
	return nothing_waits(w) && w->probes == 0;
}

static bool drained(struct pool *p)
{
	const struct worker *w;
	bool any = false;

	if (p->options->drain == DRAIN_NO || p->busy > 0)
		return false;
	LIST_FOREACH (w, &p->workers, link) {
		if (!rests(w) && !seems_empty(w))
			return false;
		any |= !rests(w);
	}
	return !any || (release_is_done(p) && sees_nothing(p));
}

static int first_error(const struct pool *p)
{
	const struct worker *w;
	int error = 0;

	LIST_FOREACH (w, &p->workers, link)
		if (error == 0)
			error = stopped_by(w);
	return error;
}

static bool finished(struct pool *p)
{
	if (p->busy == 0 && (p->stop > 0 || (p->options->once && p->started > 0)))
		return true;
	if (p->busy == 0 && p->options->once && first_error(p) != 0)
		return true;
	return drained(p);
}

static void stop_after_grace(struct pool *p, int64_t now)
{
	if (p->stop == 1 && now >= p->grace_at)
		stop_more(p);
}

/* False if there is nothing to serve any more, and nothing asked for that could come. */
static bool drop_some(struct pool *p)
{
	struct worker *w, *next;

	LIST_FOREACH_SAFE (w, &p->workers, link, next)
		if ((w->dead || w->leaving) && w->busy == 0)
			pool_drop(p, w);
	return p->options->queue_count == 0 || !LIST_EMPTY(&p->workers);
}

static void look_after(struct worker *w, int64_t now)
{
	end_pause(w);
	backlog_promote(&w->backlog, clock_real_ms());
	recover_tick(w, now);
	blocked_tick(w, now);
}

static void round_of(struct pool *p)
{
	int64_t now = clock_mono_ms();
	struct worker *w;

	p->look_again = false;
	if (p->stop == 0) {
		scan_if_due(p, now);
		read_on(p, now);
	}
	settle_tick(p, now);
	handover_tick(p, now);
	release_tick(p, now);
	LIST_FOREACH (w, &p->workers, link)
		look_after(w, now);
	start_jobs(p);
	LIST_FOREACH (w, &p->workers, link)
		tell_drained(w);
	hooks_tick(&p->hooks, now);
	persist_tick(p, now);
	stop_after_grace(p, now);
	status_tick(p, now);
}

static int loop(struct pool *p)
{
	for (;;) {
		round_of(p);
		if (!drop_some(p)) {
			errno = ESTALE;
			return -1;
		}
		if (finished(p))
			break;
		if (wait_for_events(p) != 0)
			return -1;
	}
	errno = p->stop == 0 ? first_error(p) : 0;
	return errno == 0 ? 0 : -1;
}

int spool_work(struct spool *spool, const struct work_options *options)
{
	struct pool pool;
	int result = pool_open(&pool, spool, options);

	if (result == 0) {
		result = loop(&pool);
		hooks_finish(&pool.hooks);
	}
	pool_close(&pool);
	return result;
}
