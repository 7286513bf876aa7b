#include "run/persist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spool/key.h"
#include "spool/output.h"
#include "spool/stats.h"
#include "sys/clock.h"

enum {
	LOCKED_FIRST_MS = 10,
	LOCKED_DOUBLINGS = 12, /* 10 ms to 41 s */
	ERROR_AGAIN_MS = 1000,
	ERROR_DOUBLINGS = 6, /* to 64 s */
	HOLD_FIRST_MS = 1000,
	HOLD_CAP_MS = 60000,
	ROUND_MAX = 200,
};

/* Of its own queue, beside those of others: whether there is room in the pool, too, is another question, or a queue of which as many run as may
 * run in all would count as one that has no jobs. */
static unsigned ceiling(const struct worker *w)
{
	if (w->asked && w->asked->jobs > 0)
		return w->asked->jobs;
	return w->settings.jobs > 0 ? w->settings.jobs : WORK_JOBS_MAX;
}

unsigned start_slots(const struct worker *w)
{
	unsigned all = w->pool->options->jobs, own = ceiling(w);

	return own < all ? own : all;
}

bool start_allowed(const struct worker *w)
{
	const struct pool *p = w->pool;

	return w->scan.concluded && !w->paused && !w->dead && !w->leaving && p->stop == 0 &&
	    !p->claims_nothing && !(p->options->once && p->started > 0) &&
	    w->busy - w->held < ceiling(w) && clock_mono_ms() >= w->hold_until &&
	    persist_ready(w) && handover_ready(p);
}

bool start_room(const struct pool *p)
{
	return p->busy < p->slots && p->busy - p->held < p->options->jobs;
}

struct running *start_free_slot(struct pool *p)
{
	for (unsigned i = 0; i < p->slots; i++)
		if (!p->slot[i].active)
			return &p->slot[i];
	return NULL;
}

void running_release(struct running *r)
{
	job_release(&r->job);
	meta_release(&r->meta);
	grip_release(&r->grip);
}

/* What is no fault of the job, such as a handler that cannot be run, or a full cur/: no
 * reason to spend the attempts of all of them, or to say so for each. ERROR is what a
 * drain ends with. */
static void hold_queue(struct worker *w, const char *cause, int reason, int error)
{
	struct work_event event = {.outcome = WORK_HELD,
	    .cause = cause,
	    .reason = strerror(reason),
	    .status = -1,
	    .seconds = -1};

	if (error == ENOEXEC)
		event.name = w->pool->options->command ? w->pool->options->command[0]
		                                       : spool_place(w->queue.spool);
	w->hold_error = error;
	w->hold_wait = w->hold_wait == 0 ? HOLD_FIRST_MS : 2 * w->hold_wait;
	if (w->hold_wait > HOLD_CAP_MS)
		w->hold_wait = HOLD_CAP_MS;
	w->hold_until = clock_mono_ms() + w->hold_wait;
	event.due_ms = clock_real_ms() + w->hold_wait;
	worker_report(w, &event);
}

bool start_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN ||
	    error == ETOOMANYREFS;
}

/* One job cannot be opened, adopted or buried. Of the others some may need no space: it is
 * tried again later, beside them. */
void start_job_failed(struct worker *w, const char *cause, int error)
{
	if (start_shortage(error) || error == EROFS) {
		hold_queue(w, cause, error, error);
		return;
	}
	worker_trouble(w, cause, error);
	w->hold_error = error;
}

bool start_unfit(struct worker *w, struct job *job, const struct meta *meta, const char *why)
{
	struct work_event event = settle_event(w, job, WORK_BURIED);
	int moved;

	event.cause = why;
	if (log_event(job, "buried", why, true) != 0)
		worker_trouble(w, "the reason for a burial could not be written", errno);
	moved = job_move(job, T_BURY, JOB_DUE_NONE);
	if (moved < 0) {
		start_job_failed(w, "a job that cannot run could not be buried", errno);
		return false;
	}
	worker_moved(w, job, moved);
	worker_ended(w, job, meta, &event);
	return true;
}

/* E2BIG comes of the job's own arguments and environment, unless the handler stays: burying it says so,
 * holding the queue would make all others wait for it. */
static void start_failed(struct worker *w, struct running *r, bool exec)
{
	int error = errno;

	limits_not_used(w->pool, &r->limited);
	resources_not_used(w, r);
	if (error == E2BIG && !w->pool->options->persist) {
		settle_bury(w, r, "its arguments and environment are too long");
		return;
	}
	settle_return(w, r, exec ? "exec failed" : "the handler could not be started", error);
	if (start_shortage(error)) {
		spool_fail(w->queue.spool, w->queue.name, NULL, NULL);
		hold_queue(w, "no handler can be started", error, error);
	} else {
		hold_queue(w, "the handler cannot be run", error, ENOEXEC);
	}
}

static void begin_attempt(struct worker *w, struct running *r)
{
	int64_t timeout = settle_timeout(w, &r->meta);

	r->worker = w;
	r->persistent = NULL;
	r->unanswered = NULL;
	r->limited = LIMITED_NOT;
	r->active = true;
	r->settling = r->timed_out = r->stopped = r->ended = r->speaks = false;
	r->end_signal = 0;
	r->attempts = settle_attempts(w, &r->meta);
	r->backoff = settle_backoff(w, &r->meta);
	r->started_us = clock_mono_us();
	r->started = r->started_us / 1000;
	r->end_at = timeout > 0 ? r->started + timeout : NEVER;
	w->busy++;
	w->pool->busy++;
}

/* 0 / -1; EXEC: it was that which failed. */
static int start_handler(struct worker *w, struct running *r, bool *exec)
{
	struct child_limits limits;
	struct child_start start = {.base = &w->pool->base,
	    .handler = &w->handler,
	    .handler_args = &w->settings.options.args,
	    .job = &r->job,
	    .meta = &r->meta,
	    .attempts = r->attempts,
	    .controls = &w->pool->controls,
	    .control = r->control,
	    .grip = &r->grip,
	    .input = r->job.fd,
	    .limits = &limits,
	    .accept_env = &w->pool->options->accept_env,
	    .output = r->output};
	int result;

	control_name(&w->pool->controls, &r->job.name, r->control);
	handler_release(&w->handler);
	spool_fail(w->queue.spool, w->queue.name, NULL, "handler"); /* for hold_queue() */
	if (handler_open(&w->handler, &w->queue, w->pool->options->command) != 0)
		return -1;
	limits_begin(w, &r->meta, r->job.name.id, &r->limited, &limits);
	result = child_start(&r->child, &start, exec);
	sys_discard(&limits.entrance);
	return result;
}

static void run(struct worker *w, struct running *r)
{
	bool exec = false;
	int started;

	begin_attempt(w, r);
	started =
	    w->pool->options->persist ? persist_start(w, r, &exec) : start_handler(w, r, &exec);
	grip_close(&r->grip);
	if (started != 0 || !r->persistent)
		sys_discard(&r->output);
	if (started != 0) {
		start_failed(w, r, exec);
		return;
	}
	shares_started(r);
	w->started++;
	w->pool->started++;
	w->worked = true;
	w->hold_error = 0;
	w->hold_wait = 0;
}

static void unkey_at_start(struct worker *w, const struct running *r)
{
	if (r->meta.key && r->meta.key_until_start &&
	    key_release(&w->queue, r->job.name.id, r->meta.key) != 0)
		worker_trouble(w, "the key of a job that starts stays held until it ends", errno);
}

/* Before the attempt is counted: that there is no room for what is kept is no fault of the job. */
static bool prepare_to_keep(struct worker *w, struct running *r)
{
	r->output = -1;
	if (r->meta.has_keep)
		r->output = output_create(&w->queue, r->job.name.id);
	if (r->meta.has_keep ? r->output >= 0
	                     : !meta_is_kept(&r->meta) || queue_make_dir(&w->queue, DIR_DONE) == 0)
		return true;
	hold_queue(w,
	    r->meta.has_keep ? "the output of a job cannot be kept" : "a job cannot be kept", errno,
	    errno);
	return false;
}

/* How long a job that is about to start has waited, by what its name or its file says. */
static int64_t waited_ms(const struct running *r)
{
	const struct job *job = &r->job;
	int64_t since = (int64_t)job->st.st_ctim.tv_sec * 1000 + job->st.st_ctim.tv_nsec / 1000000;
	int64_t now = clock_real_ms();

	if (job->name.due_ms != JOB_DUE_NONE)
		since = job->name.due_ms;
	else if (job->ours && job->state == JOB_READY && !job->name.log && r->meta.after.count == 0)
		since = (int64_t)(job_id_sent_ns(job->name.id) / 1000000);
	return since < now ? now - since : 0;
}

/* The attempt is counted by this rename, before anything runs: a job that takes
 * the machine down each time runs out of attempts. False: try again later. */
static bool claim(struct worker *w, struct running *r)
{
	bool adopted = !r->job.ours;
	int claimed;

	stats_keep(&w->queue, false);
	r->job.took_ms = waited_ms(r);
	claimed = job_move(&r->job, T_CLAIM, JOB_DUE_NONE);
	if (claimed == 1) {
		r->job.ours = true;
		unkey_at_start(w, r);
		run(w, r);
		return true;
	}
	sys_discard(&r->output);
	if (adopted && !r->job.both)
		meta_remove(&w->queue, r->job.name.id);
	if (claimed < 0 && errno == EEXIST)
		worker_trouble(w, "a job waits for another one of its name to leave cur/", errno);
	else if (claimed < 0)
		hold_queue(w, "no job can be claimed", errno, errno);
	resources_not_used(w, r);
	running_release(r);
	return claimed == 0;
}

static enum claim open_entry(
    struct worker *w, struct running *r, const struct waiting *entry, const char **why)
{
	char wait[WAIT_NAME_SIZE];
	size_t len;

	if (entry->state != JOB_WAITING)
		return claim_open(&r->job, &w->queue, entry->state, entry->file, entry->renamed_in,
		    &r->meta, why);
	len = strcspn(entry->file, "/");
	memcpy(wait, entry->file, len);
	wait[len] = '\0';
	return claim_open_waiting(&r->job, &w->queue, wait, entry->file + len + 1, &r->meta, why);
}

/* The job is held and must never run. True if it is done with. */
static bool end_unfit(struct worker *w, struct running *r, const char *why)
{
	bool buried = start_unfit(w, &r->job, &r->meta, why);

	running_release(r);
	return buried;
}

/* The same if another engine is to have it. */
static bool hand_over(struct worker *w, struct running *r)
{
	const char *why;

	switch (handover_start(w, r, &why)) {
	case HANDED:
		return true;
	case HANDED_UNFIT:
		return end_unfit(w, r, why);
	case HANDED_NOT:
		running_release(r);
		return true;
	case HANDED_LATER:
		running_release(r);
		break;
	}
	return false;
}

/* The job is held and may run. True if it is done with. */
static bool start_open(struct worker *w, struct running *r)
{
	int taken;

	if (handover_is_on(w->pool))
		return hand_over(w, r);
	taken = resources_take(w, r);
	if (taken != 1)
		return taken == 0;
	if (prepare_to_keep(w, r))
		return claim(w, r);
	resources_not_used(w, r);
	running_release(r);
	return false;
}

/* To be adopted, buried or checked, or it needs what others have. */
static bool may_take_long(const struct waiting *entry)
{
	struct job_name name;

	return entry->state == JOB_WAITING || !job_name_parse(entry->file, &name) || name.meta ||
	    name.unsynced;
}

/* True if ENTRY is done with; false if *AGAIN_MS from now it is to be looked at again. */
static bool start_one(
    struct worker *w, struct running *r, const struct waiting *entry, int64_t *again_ms)
{
	int doublings = entry->tries < LOCKED_DOUBLINGS ? entry->tries : LOCKED_DOUBLINGS;
	const char *why;

	*again_ms = (int64_t)ERROR_AGAIN_MS
	    << (doublings < ERROR_DOUBLINGS ? doublings : ERROR_DOUBLINGS);
	meta_init(&r->meta);
	if (may_take_long(entry))
		child_base_shelter(&w->pool->base);
	switch (open_entry(w, r, entry, &why)) {
	case CLAIM_OPEN:
		return start_open(w, r);
	case CLAIM_GONE:
		return true;
	case CLAIM_STRANGE:
		take_strange(w, entry->file, why);
		return true;
	case CLAIM_UNFIT:
		return end_unfit(w, r, why);
	case CLAIM_LOCKED:
		*again_ms = (int64_t)LOCKED_FIRST_MS << doublings;
		return false;
	case CLAIM_YOUNG:
		*again_ms = FOREIGN_AGE_MS;
		return false;
	case CLAIM_ERROR:
		start_job_failed(w, "a job could not be opened", errno);
		break;
	}
	return false;
}

static void start_entry(struct worker *w, struct waiting *entry)
{
	unsigned before = w->started;
	int64_t again_ms;
	bool done = start_one(w, start_free_slot(w->pool), entry, &again_ms);

	if (w->started == before)
		shares_tried(w);
	if (entry->state == JOB_WAITING) {
		blocked_tried(w, entry, done, again_ms);
	} else if (done) {
		free(entry);
	} else {
		if (entry->tries < UINT8_MAX)
			entry->tries++;
		backlog_postpone(&w->backlog, entry, clock_real_ms() + again_ms);
	}
}

static unsigned waiting(const struct pool *p)
{
	const struct worker *w;
	size_t count = 0;

	LIST_FOREACH (w, &p->workers, link)
		if (start_allowed(w))
			count += w->backlog.ready.count;
	return (unsigned)count;
}

static bool machine_bears(struct pool *p)
{
	return means_allow(&p->means, p->busy - p->held, waiting(p), clock_mono_ms());
}

static void tell_of_means(struct pool *p)
{
	struct work_event event =
	    report_event(WORK_NOTE, "no further job is started: the machine has enough to do");

	switch (means_news(&p->means, clock_mono_ms())) {
	case MEANS_HOLDS:
		event.reason = p->means.reason;
		p->options->report(p->options->arg, &event);
		break;
	case MEANS_LETS_GO:
		pool_note(p, "jobs are started again as they come", 0);
		break;
	case MEANS_NO_NEWS:
		break;
	}
}

/* Of a crowd that cannot run, those that do run are not to wait until all of it was looked at. */
void start_jobs(struct pool *p)
{
	means_count(&p->means, p->busy - p->held, clock_mono_ms());
	for (unsigned n = 0;; n++) {
		struct worker *w = shares_next(p);

		if (!w || !start_room(p) || !machine_bears(p))
			break;
		if (n == ROUND_MAX) {
			p->look_again = true;
			break;
		}
		start_entry(w, backlog_take(&w->backlog));
	}
	child_base_shelter(&p->base);
	tell_of_means(p);
}
