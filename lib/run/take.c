#include "run/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sys/clock.h"

enum { STRANGE_MAX = 1024 };

void take_strange(struct worker *w, const char *name, const char *reason)
{
	struct work_event event = {.outcome = WORK_STRANGE,
	    .name = name,
	    .reason = reason,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};

	for (size_t i = 0; i < w->strange.count; i++)
		if (strcmp(w->strange.item[i], name) == 0)
			return;
	if (w->strange.count >= STRANGE_MAX || strings_add(&w->strange, name) != 0)
		return;
	worker_report(w, &event);
}

static void add(struct worker *w, const struct waiting *model, const char *name)
{
	if (backlog_add(&w->backlog, model, name, clock_real_ms()) != 0)
		w->scan_now = true;
}

/* A foreign file takes its place by the time it came, priority 50. */
static void add_foreign(struct worker *w, const char *name, bool renamed_in)
{
	struct waiting model = {
	    .state = JOB_READY, .priority = JOB_PRIORITY_DEFAULT, .renamed_in = renamed_in};
	struct stat st;

	if (fstatat(w->queue.dir[DIR_NEW], name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	if (!S_ISREG(st.st_mode)) {
		take_strange(w, name,
		    strange_reason(S_ISLNK(st.st_mode) ? ELOOP
		            : S_ISDIR(st.st_mode)      ? EISDIR
		                                       : ENXIO));
		return;
	}
	if (!renamed_in)
		model.at_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000 +
		    FOREIGN_AGE_MS + 1;
	if (model.at_ms > clock_real_ms() + FOREIGN_AGE_MS + 1)
		model.at_ms = 0; /* the clock was set back */
	job_id_format(
	    (uint64_t)st.st_ctim.tv_sec * UINT64_C(1000000000) + (uint64_t)st.st_ctim.tv_nsec, 0,
	    model.id);
	add(w, &model, name);
}

static struct waiting model_of(const struct job_name *name, enum job_state state)
{
	struct waiting model = {.state = state, .priority = (unsigned char)name->priority};

	if (state == JOB_DELAYED)
		model.at_ms = name->due_ms;
	memcpy(model.id, name->id, sizeof model.id);
	return model;
}

static void take_new(struct worker *w, const char *name, bool renamed_in)
{
	struct job_name parsed;
	struct waiting model;

	if (name[0] == '.' || name[0] == '\0')
		return;
	if (!job_name_parse(name, &parsed)) {
		add_foreign(w, name, renamed_in);
		return;
	}
	model = model_of(&parsed, JOB_READY);
	add(w, &model, name);
}

/* If the clock was set back, a retry must not wait longer than its cap. */
static bool too_far(const struct worker *w, const struct job_name *name, int64_t now)
{
	struct meta meta;
	const char *why;
	bool far = false;

	if (name->attempts == 0 || name->due_ms - now <= settle_backoff(w, NULL).cap_ms)
		return false;
	meta_init(&meta);
	if (job_meta(&w->queue, name, &meta, &why) >= 0)
		far = name->due_ms - now > settle_backoff(w, &meta).cap_ms;
	meta_release(&meta);
	return far;
}

/* In the name, so that it holds for every qwork and across restarts. */
static void bring_nearer(struct worker *w, const char *file, const struct job_name *name)
{
	struct meta meta;
	struct job job;
	const char *why;

	if (job_hold(&job, &w->queue, JOB_DELAYED, file, O_RDWR) != HOLD_DONE)
		return;
	meta_init(&meta);
	if (job_meta(&w->queue, name, &meta, &why) < 0 ||
	    job_move(&job, T_REDATE, clock_real_ms() + settle_backoff(w, &meta).cap_ms) < 0)
		worker_note(w, "a retry that waits too long could not be brought nearer", errno);
	meta_release(&meta);
	job_release(&job);
}

static void take_delayed(struct worker *w, const char *name)
{
	struct job_name parsed;
	struct waiting model;

	if (name[0] == '.' || name[0] == '\0')
		return;
	if (!job_name_parse(name, &parsed) || parsed.due_ms == JOB_DUE_NONE) {
		take_strange(w, name, "not the name of a delayed job");
		return;
	}
	if (too_far(w, &parsed, clock_real_ms())) {
		bring_nearer(
		    w, name, &parsed); /* its new name comes as an event, or with the next scan */
		return;
	}
	model = model_of(&parsed, JOB_DELAYED);
	add(w, &model, name);
}

static int scan_new(void *worker, const char *name)
{
	take_new(worker, name, false);
	return 0;
}

static int scan_delayed(void *worker, const char *name)
{
	take_delayed(worker, name);
	return 0;
}

void take_scan(struct worker *w)
{
	w->scan_now = false;
	backlog_clear(&w->backlog);
	w->paused = queue_paused(&w->queue);
	if (queue_each(&w->queue, DIR_NEW, scan_new, w) != 0 ||
	    queue_each(&w->queue, DIR_DELAY, scan_delayed, w) != 0)
		worker_note(w, "the queue cannot be read", errno);
	recover_scan(w);
}

void take_event(void *worker, enum watched what, const char *name, bool renamed_in)
{
	struct worker *w = worker;

	switch (what) {
	case WATCHED_NEW:
		take_new(w, name, renamed_in);
		break;
	case WATCHED_DELAY:
		take_delayed(w, name);
		break;
	case WATCHED_CUR:
		recover_watch(w, name);
		break;
	case WATCHED_QUEUE:
		if (strcmp(name, "paused") == 0)
			w->paused = queue_paused(&w->queue);
		break;
	case WATCHED_SCAN:
		w->scan_now = true;
		break;
	case WATCHED_DEAD:
		w->dead = true;
		break;
	case WATCHED_LEFT:
		break; /* waking up was all that was wanted */
	}
}
