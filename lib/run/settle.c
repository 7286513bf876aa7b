#include "run/persist.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "sys/chance.h"
#include "sys/clock.h"

enum { SETTLE_AGAIN_MS = 1000, UNHEARD_MAX = 10 }; /* lines that are told of one attempt */

/* Who is to tell of its end elsewhere may be away so long. */
#define RELAYED_KEEP_MS (INT64_C(30) * 24 * 60 * 60 * 1000)

/* What became of an attempt. */
struct verdict {
	enum transition to;
	enum work_outcome outcome;
	const char *cause;  /* NULL for a success; before it is judged, what is known of it */
	const char *reason; /* that the handler gave, or NULL */
	int64_t asked_ms;   /* how long it asked to wait, or NEVER */
	int64_t until_ms;   /* of T_HOLD_BACK: real time, or JOB_DUE_NONE */
	bool blames;        /* a failure that its resources may be to blame for */
	int status;
	const struct rusage *used;
};

unsigned settle_attempts(const struct worker *w, const struct meta *meta)
{
	const struct meta *levels[] = {meta, w->pool->options->defaults, &w->settings.options};

	for (size_t i = 0; i < 3; i++)
		if (levels[i] && levels[i]->has_attempts)
			return levels[i]->attempts;
	return WORK_ATTEMPTS;
}

struct backoff settle_backoff(const struct worker *w, const struct meta *meta)
{
	const struct meta *levels[] = {meta, w->pool->options->defaults, &w->settings.options};

	for (size_t i = 0; i < 3; i++)
		if (levels[i] && levels[i]->has_backoff)
			return levels[i]->backoff;
	return WORK_BACKOFF;
}

int64_t settle_timeout(const struct worker *w, const struct meta *meta)
{
	const struct meta *levels[] = {meta, w->pool->options->defaults, &w->settings.options};

	for (size_t i = 0; i < 3; i++)
		if (levels[i] && levels[i]->has_timeout)
			return levels[i]->timeout_ms;
	return 0;
}

void worker_moved(struct worker *w, const struct job *job, int moved)
{
	if (moved == MOVED_UNSURE)
		worker_trouble(w, "a job was moved, but a power cut may undo it", errno);
	if (job->left != 0)
		worker_trouble(w, "what belonged to a job is left for the sweep", job->left);
	release_over(w->pool, job);
}

struct work_event settle_event(
    const struct worker *w, const struct job *job, enum work_outcome outcome)
{
	return (struct work_event){.outcome = outcome,
	    .queue = w->name,
	    .id = job->ours || job->name.id[0] ? job->name.id : NULL,
	    .attempt = job->name.attempts,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};
}

static int64_t retry_due(const struct backoff *backoff, unsigned attempt)
{
	return clock_real_ms() + backoff_wait_ms(backoff, attempt, chance32());
}

/* A failed attempt: another one, or the last was spent. */
static void fail(struct verdict *verdict, const char *cause, unsigned attempt, unsigned of)
{
	bool last = attempt >= of;

	verdict->cause = cause;
	verdict->blames = true;
	verdict->to = last ? T_GIVEUP : T_RETRY;
	verdict->outcome = last ? WORK_BURIED : WORK_RETRY;
}

/* A timeout counts even if the handler then ended with 0: it was told to stop before
 * it was done. At qwork's own end a 0 is believed, since the job may just have been
 * done. */
static void judge(const struct worker *w, const struct running *r, struct verdict *verdict)
{
	int status = verdict->status;
	bool exited = WIFEXITED(status);

	if (r->timed_out) {
		fail(verdict, "timed out", r->job.name.attempts, r->attempts);
	} else if (exited && WEXITSTATUS(status) == 0 && !r->unanswered) {
		verdict->to = T_FINISH;
		verdict->outcome = WORK_FINISHED;
	} else if (r->stopped) {
		verdict->to = T_RETURN;
		verdict->outcome = WORK_RETURNED;
		verdict->cause = "shut down";
	} else {
		fail(verdict, verdict->cause ? verdict->cause : "failed", r->job.name.attempts,
		    r->attempts);
		if (r->unanswered && !verdict->reason)
			verdict->reason = r->unanswered;
		if (exited && !r->unanswered && w->pool->options->bury_on[WEXITSTATUS(status)]) {
			verdict->to = T_GIVEUP;
			verdict->outcome = WORK_BURIED;
			verdict->blames = false;
		}
	}
}

/* What the handler said overrules its status where it says more: a success needs no next
 * time, and the last attempt has none. Only who ended by itself can defer: otherwise
 * a job whose handler is killed each time would never run out of attempts. */
static void obey(const struct running *r, const struct control *said, struct verdict *verdict)
{
	if (said->verdict == CONTROL_BURY) {
		verdict->to = T_GIVEUP;
		verdict->outcome = WORK_BURIED;
		verdict->cause = "buried by its handler";
		verdict->blames = false;
		verdict->reason = *said->reason ? said->reason : NULL;
	} else if (said->verdict == CONTROL_DEFER && WIFEXITED(verdict->status) && !r->timed_out) {
		verdict->to = T_DEFER;
		verdict->outcome = WORK_DEFERRED;
		verdict->cause = NULL;
		verdict->blames = false;
		verdict->asked_ms = said->wait_ms;
	} else if (said->verdict == CONTROL_RETRY_AFTER && verdict->to == T_RETRY) {
		verdict->asked_ms = said->wait_ms;
	}
}

/* A line of a control file that is not understood. */
struct unheard {
	struct worker *w;
	const struct job *job;
	unsigned lines;
};

static void tell_unheard(void *arg, unsigned line, const char *why)
{
	struct unheard *unheard = arg;
	struct work_event event = settle_event(unheard->w, unheard->job, WORK_NOTE);
	char reason[64];

	if (++unheard->lines > UNHEARD_MAX)
		return;
	snprintf(reason, sizeof reason, "line %u: %s", line, why);
	event.cause = unheard->lines < UNHEARD_MAX
	    ? "a line of the control file is ignored"
	    : "lines of the control file are ignored, this one and maybe more";
	event.reason = reason;
	worker_report(unheard->w, &event);
}

/* Once for all that have ended: opening what is not there costs each ten times as much. */
static void look_at_controls(struct pool *p)
{
	if (control_dir_changed(&p->controls))
		for (unsigned i = 0; i < p->slots; i++)
			p->slot[i].speaks = true;
}

static void hear(struct worker *w, const struct running *r, struct control *said)
{
	struct unheard unheard = {w, &r->job, 0};
	struct work_event event = settle_event(w, &r->job, WORK_NOTE);

	if (!r->speaks ||
	    control_take(&w->pool->controls, r->control, said, tell_unheard, &unheard) >= 0)
		return;
	event.cause = "what the handler said in its control file is not heard";
	event.name = r->control;
	event.reason = strerror(errno);
	worker_report(w, &event);
}

void settle_release(struct worker *w, struct running *r)
{
	running_release(r);
	if (r->settling) {
		w->held--;
		w->pool->held--;
	}
	r->active = false;
	r->settling = false;
	r->handed = 0;
	w->busy--;
	w->pool->busy--;
}

/* UNLOCK. Nobody waits for what the last close gives back to the disk. */
static void close_finished(struct worker *w, struct job *job)
{
	job_unlock(job);
	closer_take(&w->pool->closer, &job->fd);
}

static void report_held(const struct worker *w, const struct job *job, int error)
{
	struct work_event event = settle_event(w, job, WORK_NOTE);

	event.cause = "a job could not be moved on and is held until it can";
	event.reason = strerror(error);
	event.name = w->queue.spool->place;
	worker_report(w, &event);
}

static void hold(struct worker *w, struct running *r)
{
	if (!r->settling) {
		w->held++;
		w->pool->held++;
	}
	r->settling = true;
	r->settle_at = clock_mono_ms() + SETTLE_AGAIN_MS;
}

/* A full disk must not lose the job: it stays held, and is tried again. If somebody
 * moved its name (0), it is theirs now; an unlinked one counts as finished. */
static void move_on(struct worker *w, struct running *r)
{
	int moved = r->to == T_HOLD_BACK
	    ? job_move_to_wait(&r->job, r->to, r->wait_name, JOB_DUE_NONE)
	    : job_move(&r->job, r->to, r->due_ms);

	if (moved >= 0) {
		worker_moved(w, &r->job, moved);
		if (moved > 0 && r->to == T_HOLD_BACK)
			blocked_add(w, &r->job, clock_real_ms());
		if (r->to == T_FINISH || r->to == T_HAND_OVER)
			close_finished(w, &r->job);
		settle_release(w, r);
		return;
	}
	if (!r->settling)
		report_held(w, &r->job, errno);
	if (w->pool->stop > 0 || w->dead) /* whoever recovers it will try */
		settle_release(w, r);
	else
		hold(w, r);
}

void settle_to(struct worker *w, struct running *r, enum transition to, int64_t due_ms)
{
	r->to = to;
	r->due_ms = due_ms;
	move_on(w, r);
}

static void log_failure(struct worker *w, struct job *job, const struct attempt *attempt)
{
	if (log_attempt(job, attempt) != 0)
		worker_trouble(w, "the post-mortem could not be written", errno);
}

static void report_end(
    struct worker *w, const struct running *r, const struct verdict *v, double seconds)
{
	struct work_event event = settle_event(w, &r->job, v->outcome);

	event.cause = v->cause;
	event.reason = v->reason;
	event.attempts = r->attempts;
	event.status = v->status;
	event.seconds = seconds;
	event.due_ms = v->to == T_KEEP ? JOB_DUE_NONE : r->due_ms;
	worker_ended(w, &r->job, &r->meta, &event);
}

static int64_t next_due(const struct running *r, const struct verdict *v)
{
	if (v->to == T_HOLD_BACK)
		return v->until_ms;
	if (v->asked_ms != NEVER)
		return clock_real_ms() + v->asked_ms;
	if (v->to == T_KEEP)
		return clock_real_ms() + (r->meta.has_keep ? r->meta.keep_ms : RELAYED_KEEP_MS);
	return v->to == T_RETRY ? retry_due(&r->backoff, r->job.name.attempts) : JOB_DUE_NONE;
}

static void log_end(struct worker *w, struct running *r, const struct verdict *v, double seconds,
    const struct strings *notes)
{
	struct attempt attempt = {.of = r->attempts,
	    .cause = v->cause ? v->cause : "finished",
	    .reason = v->reason,
	    .status = v->status,
	    .seconds = seconds,
	    .used = v->used,
	    .tail = r->child.tail,
	    .tail_len = r->child.tail_len,
	    .notes = notes};

	if (v->to == T_RETRY || v->to == T_GIVEUP || v->to == T_KEEP)
		log_failure(w, &r->job, &attempt);
	else if (v->to != T_FINISH &&
	    log_notes(&r->job,
	        v->to == T_DEFER           ? "deferred"
	            : v->to == T_HOLD_BACK ? "held back"
	                                   : "returned",
	        notes) != 0)
		worker_trouble(w, "the notes of a handler could not be written", errno);
}

/* An attempt that had to fail, since what it needs was down already, is none. */
static void heed_resources(
    struct worker *w, struct running *r, const struct control *said, struct verdict *v)
{
	static char reason[LABEL_SIZE + 64];
	enum attempt_end end = v->outcome == WORK_FINISHED ? END_SUCCESS
	    : v->blames                                    ? END_FAILURE
	                                                   : END_NEITHER;
	const char *back = resources_settle(w, r, said, end, &v->until_ms);

	if (!back)
		return;
	snprintf(reason, sizeof reason, "the breaker of %s is open", back);
	v->to = T_HOLD_BACK;
	v->outcome = WORK_DEFERRED;
	v->cause = "held back";
	v->reason = reason;
	v->asked_ms = NEVER;
}

static enum stats_count failure_of(const char *cause)
{
	static const struct {
		const char *cause;
		enum stats_count count;
	} kinds[] = {{"timed out", COUNT_TIMED_OUT}, {"out of memory", COUNT_OUT_OF_MEMORY},
	    {"worker lost", COUNT_LOST}};

	for (size_t i = 0; cause && i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(cause, kinds[i].cause) == 0)
			return kinds[i].count;
	return COUNT_NONE;
}

/* The job's next state is decided once; moving it there may take more than one try. */
static void conclude(struct worker *w, struct running *r, int status, struct rusage *used)
{
	int64_t took_us = clock_mono_us() - r->started_us;
	double seconds = (double)took_us / 1000000;
	struct verdict v = {.status = status, .used = used, .asked_ms = NEVER};
	struct control said;

	control_init(&said);
	shares_ended(r);
	sys_discard(&r->output);
	child_drain(&r->child, true);
	r->child.pid = 0;
	r->end_at = NEVER;
	hear(w, r, &said);
	if (used)
		v.cause = limits_end(r, status, used, &v.reason);
	judge(w, r, &v);
	r->job.failure = failure_of(v.cause);
	obey(r, &said, &v);
	heed_resources(w, r, &said, &v);
	if (v.to == T_FINISH && meta_is_kept(&r->meta))
		v.to = T_KEEP;
	r->due_ms = next_due(r, &v);
	r->job.name.asked = v.asked_ms != NEVER;
	r->job.took_ms = took_us / 1000;
	log_end(w, r, &v, seconds, &said.notes);
	report_end(w, r, &v, seconds);
	control_release(&said);
	settle_to(w, r, v.to, r->due_ms);
}

void settle_end(struct worker *w, struct running *r, int status, struct rusage *used)
{
	/* The file is the handler's, and may have come into being before this job. */
	r->speaks = true;
	conclude(w, r, status, used);
}

static struct running *running_of(const struct pool *p, pid_t pid)
{
	for (unsigned i = 0; i < p->slots; i++)
		if (p->slot[i].active && p->slot[i].child.pid == pid)
			return &p->slot[i];
	return NULL;
}

/* Of a group that was told to end, what is left is killed while its leader is a zombie: nobody else can have its number
 * then. */
static void kill_group_of(const struct pool *p, pid_t pid)
{
	const struct running *r = running_of(p, pid);

	if ((r && r->end_signal != 0) || hooks_told_to_end(&p->hooks, pid))
		kill(-pid, SIGKILL);
}

static bool any_told_to_end(const struct pool *p)
{
	for (unsigned i = 0; i < p->slots; i++)
		if (p->slot[i].active && p->slot[i].end_signal != 0)
			return true;
	return hooks_told_to_end(&p->hooks, 0);
}

/* The pid; 0 or -1 if no other one has ended. */
static pid_t reap(const struct pool *p, int *status, struct rusage *used)
{
	siginfo_t ended = {0};
	pid_t any = -1;

	if (any_told_to_end(p)) {
		if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0)
			return 0;
		any = ended.si_pid;
		kill_group_of(p, any);
	}
	return wait4(any, status, WNOHANG, used);
}

static bool may_have_children(const struct pool *p, unsigned ended)
{
	return p->busy > p->held + ended || p->persistents > 0 || hooks_any_runs(&p->hooks) ||
	    p->strangers;
}

/* Whose child it was. Its number may be another's from now on. */
static void note_end(struct pool *p, pid_t pid, int status, struct rusage *used, unsigned *ended)
{
	struct running *r = running_of(p, pid);

	if (hooks_ended(&p->hooks, pid, status) || persist_ended(p, pid, status, used))
		return;
	p->strangers |= !r;
	if (!r)
		return;
	r->child.pid = 0;
	r->ended = true;
	r->status = status;
	r->used = *used;
	++*ended;
}

/* The first one behind LAST. */
static struct running *next_ended(const struct pool *p, struct running *last)
{
	for (struct running *r = last ? last + 1 : p->slot; r < p->slot + p->slots; r++)
		if (r->active && r->ended)
			return r;
	return NULL;
}

/* Whether their last words are still to be read. True if asking once more would tell of more of them. */
static bool look_at_errors(struct pool *p)
{
	struct pollfd *set = p->poll_set;
	nfds_t used = 0;
	bool again = false;

	for (struct running *r = NULL; (r = next_ended(p, r)) != NULL;)
		if (child_poll_fd(&r->child) >= 0)
			set[used++] =
			    (struct pollfd){.fd = child_poll_fd(&r->child), .events = POLLIN};
	if (used < 2 || poll(set, used, 0) < 0) /* then reading it tells, too */
		return false;
	for (struct running *r = NULL; (r = next_ended(p, r)) != NULL;)
		if (child_poll_fd(&r->child) >= 0)
			again |= child_last_polled(&r->child, set++->revents);
	return again;
}

/* Reaps all first, since some of what is to be known of them can be asked for all. */
void settle_ended(struct pool *p)
{
	struct rusage used;
	unsigned ended = 0;
	int status;
	pid_t pid;

	do {
		pid = reap(p, &status, &used);
		if (pid > 0)
			note_end(p, pid, status, &used, &ended);
	} while (pid > 0 && may_have_children(p, ended));
	if (ended == 0)
		return;
	look_at_controls(p);
	if (look_at_errors(p))
		(void)look_at_errors(p);
	for (struct running *r = NULL; (r = next_ended(p, r)) != NULL;) {
		r->ended = false;
		conclude(r->worker, r, r->status, &r->used);
	}
}

static void end_group(struct running *r, int signal, int64_t now)
{
	kill(-r->child.pid, signal);
	if (signal == SIGKILL)
		limits_kill(&r->limited);
	r->end_signal = signal;
	r->end_at = signal == SIGTERM ? now + WORK_KILL_AFTER_MS : NEVER;
}

void settle_tick(struct pool *p, int64_t now)
{
	for (unsigned i = 0; i < p->slots; i++) {
		struct running *r = &p->slot[i];

		if (r->active && r->settling && r->settle_at <= now)
			move_on(r->worker, r);
		if (!r->active || r->child.pid == 0 || r->end_at > now)
			continue;
		if (r->end_signal == 0)
			r->timed_out = true;
		end_group(r, r->end_signal == 0 ? SIGTERM : SIGKILL, now);
	}
}

void settle_stop(struct pool *p, int signal)
{
	int64_t now = clock_mono_ms();

	for (unsigned i = 0; i < p->slots; i++) {
		struct running *r = &p->slot[i];

		if (!r->active || r->child.pid == 0)
			continue;
		r->stopped = true;
		end_group(r, signal, now);
	}
}

void settle_return(struct worker *w, struct running *r, const char *cause, int error)
{
	struct work_event event = settle_event(w, &r->job, WORK_RETURNED);

	event.cause = cause;
	event.reason = strerror(error);
	event.attempts = r->attempts;
	worker_report(w, &event);
	settle_to(w, r, T_RETURN, JOB_DUE_NONE);
}

/* Released it would be recovered anew by the next scan, and logged each time. */
static void hold_lost(struct worker *w, struct job *job, enum transition to, int64_t due_ms)
{
	struct running *r = w->pool->stop > 0 || w->dead ? NULL : start_free_slot(w->pool);

	if (!r) { /* whoever recovers it will try */
		worker_trouble(w, "a lost job could not be moved on", errno);
		return;
	}
	report_held(w, job, errno);
	sys_discard(&r->child.errors);
	*r = (struct running){.worker = w,
	    .active = true,
	    .job = *job,
	    .child = {.errors = -1},
	    .limited = LIMITED_NOT,
	    .to = to,
	    .due_ms = due_ms,
	    .end_at = NEVER};
	meta_init(&r->meta);
	job->fd = -1;
	w->busy++;
	w->pool->busy++;
	hold(w, r);
}

void settle_bury(struct worker *w, struct running *r, const char *cause)
{
	struct work_event event = settle_event(w, &r->job, WORK_BURIED);

	event.cause = cause;
	event.attempts = r->attempts;
	if (log_event(&r->job, "buried", cause, true) != 0)
		worker_trouble(w, "the reason for a burial could not be written", errno);
	worker_ended(w, &r->job, &r->meta, &event);
	settle_to(w, r, T_GIVEUP, JOB_DUE_NONE);
}

void settle_lost(struct worker *w, struct job *job)
{
	struct verdict v = {.status = -1};
	struct attempt attempt = {.cause = "worker lost", .status = -1, .seconds = -1};
	struct work_event event;
	struct backoff backoff;
	struct meta meta;
	const char *why;
	int64_t due = JOB_DUE_NONE;
	int moved;

	meta_init(&meta);
	if (job_meta(&w->queue, &job->name, &meta, &why) < 0 && errno != EBADMSG)
		worker_trouble(w, "the options of a lost job cannot be read", errno);
	attempt.of = settle_attempts(w, &meta);
	backoff = settle_backoff(w, &meta);
	fail(&v, attempt.cause, job->name.attempts, attempt.of);
	if (v.to == T_RETRY)
		due = retry_due(&backoff, job->name.attempts ? job->name.attempts : 1);
	log_failure(w, job, &attempt);
	event = settle_event(w, job, v.outcome);
	event.cause = v.cause;
	event.attempts = attempt.of;
	event.due_ms = due;
	worker_ended(w, job, &meta, &event);
	w->worked = true;
	job->failure = failure_of(attempt.cause);
	moved = job_move(job, v.to, due);
	if (moved < 0)
		hold_lost(w, job, v.to, due);
	else
		worker_moved(w, job, moved);
	meta_release(&meta);
}
