#include "run/persist.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "spool/pause.h"
#include "sys/clock.h"

enum { STRANGE_MAX = 1024 };

/* Where NAME is in the sorted list of what was reported, or would be. */
static size_t strange_index(const struct worker *w, const char *name)
{
	size_t low = 0, high = w->strange.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(w->strange.item[middle], name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_known_strange(const struct worker *w, const char *name)
{
	size_t at = strange_index(w, name);

	return at < w->strange.count && strcmp(w->strange.item[at], name) == 0;
}

/* Of a crowd that is too large to remember, those beyond are reported by one line. */
void take_strange(struct worker *w, const char *name, const char *reason)
{
	size_t at = strange_index(w, name), last = w->strange.count;
	struct work_event event = {.outcome = WORK_STRANGE,
	    .name = name,
	    .reason = reason,
	    .status = -1,
	    .seconds = -1,
	    .due_ms = JOB_DUE_NONE};

	if (last >= STRANGE_MAX || is_known_strange(w, name) || strings_add(&w->strange, name) != 0)
		return;
	for (size_t i = last; i > at; i--) {
		char *moved = w->strange.item[i];

		w->strange.item[i] = w->strange.item[i - 1];
		w->strange.item[i - 1] = moved;
	}
	worker_report(w, &event);
	if (last + 1 == STRANGE_MAX)
		worker_note(w, "there are more strange files than are named here; see qstat", 0);
}

/* A strange file is looked at again with each scan, since a person may have mended
 * it; as long as nobody has it is left alone, or a drain would wait for it. */
static const char *still_strange(const struct worker *w, enum queue_dir dir, const char *name)
{
	if (w->strange.count == 0 || (w->strange.count < STRANGE_MAX && !is_known_strange(w, name)))
		return NULL;
	return strange_now(&w->queue, dir, name);
}

/* How a name is known. */
enum known { FOUND, CREATED, RENAMED_IN };

/* What comes during a scan may be met by it or not. */
static int add_came(struct worker *w, const struct waiting *model, const char *name)
{
	int64_t now = clock_real_ms();
	int added = backlog_add(&w->backlog, model, name, now);

	return scan_is_on(w) && added == 0 ? backlog_add(&w->scan.came, model, name, now) : added;
}

static void add(struct worker *w, const struct waiting *model, const char *name, enum known known)
{
	if ((known == FOUND ? scan_add : add_came)(w, model, name) == 0)
		return;
	w->scan_error = errno;
	worker_trouble(w, "no memory for the names that wait", errno);
}

/* A foreign file takes its place by the time it came, priority 50. */
static void add_foreign(struct worker *w, const char *name, enum known known)
{
	struct waiting model = {.state = JOB_READY,
	    .priority = JOB_PRIORITY_DEFAULT,
	    .renamed_in = known == RENAMED_IN};
	const char *why = strange_now(&w->queue, DIR_NEW, name);
	struct stat st;

	if (why) {
		take_strange(w, name, why);
		return;
	}
	if (fstatat(w->queue.dir[DIR_NEW], name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		w->scan.known &= errno == ENOENT;
		return;
	}
	if (!model.renamed_in)
		model.at_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000 +
		    FOREIGN_AGE_MS + 1;
	if (model.at_ms > clock_real_ms() + FOREIGN_AGE_MS + 1)
		model.at_ms = 0; /* the clock was set back */
	job_id_format(
	    (uint64_t)st.st_ctim.tv_sec * UINT64_C(1000000000) + (uint64_t)st.st_ctim.tv_nsec, 0,
	    model.id);
	add(w, &model, name, known);
}

/* What another engine is to have, it has before it is due. */
static struct waiting model_of(
    const struct worker *w, const struct job_name *name, enum job_state state)
{
	struct waiting model = {.state = state, .priority = (unsigned char)name->priority};

	if (state == JOB_DELAYED && !handover_is_on(w->pool))
		model.at_ms = name->due_ms;
	memcpy(model.id, name->id, sizeof model.id);
	return model;
}

static void take_new(struct worker *w, const char *name, enum known known)
{
	struct job_name parsed;
	struct waiting model;

	if (name[0] == '.' || name[0] == '\0' || still_strange(w, DIR_NEW, name))
		return;
	if (!job_name_parse(name, &parsed)) {
		add_foreign(w, name, known);
		return;
	}
	model = model_of(w, &parsed, JOB_READY);
	add(w, &model, name, known);
}

/* What a handler may ask for is not bounded by the cap. */
static int64_t longest_wait(
    const struct worker *w, const struct job_name *name, const struct meta *meta)
{
	return name->asked ? CONTROL_WAIT_MAX_MS : settle_backoff(w, meta).cap_ms;
}

/* If the clock was set back, a retry must not wait longer than its cap. */
static bool too_far(const struct worker *w, const struct job_name *name, int64_t now)
{
	struct meta meta;
	const char *why;
	bool far = false;

	if ((name->attempts == 0 && !name->asked) ||
	    name->due_ms - now <= longest_wait(w, name, NULL))
		return false;
	meta_init(&meta);
	if (job_meta(&w->queue, name, &meta, &why) >= 0)
		far = name->due_ms - now > longest_wait(w, name, &meta);
	meta_release(&meta);
	return far;
}

/* In the name, so that it holds for every qwork and across restarts. What could not be done is tried again by the next scan. */
static void bring_nearer(
    struct worker *w, const char *file, const struct job_name *name, enum known known)
{
	struct waiting model;
	struct meta meta;
	struct job job;
	const char *why;
	enum hold held;

	held = job_hold(&job, &w->queue, JOB_DELAYED, file, O_RDWR);
	if (held != HOLD_DONE) {
		w->scan.known &= held == HOLD_GONE;
		return;
	}
	meta_init(&meta);
	if (job_meta(&w->queue, name, &meta, &why) < 0 ||
	    job_move(&job, T_REDATE, clock_real_ms() + longest_wait(w, name, &meta)) < 0) {
		worker_trouble(w, "a retry that waits too long could not be brought nearer", errno);
		w->scan.known = false;
	}
	model = model_of(w, &job.name, JOB_DELAYED);
	add(w, &model, job.file, known);
	meta_release(&meta);
	job_release(&job);
}

static void take_delayed(struct worker *w, const char *name, enum known known)
{
	struct job_name parsed;
	struct waiting model;

	if (name[0] == '.' || name[0] == '\0' || still_strange(w, DIR_DELAY, name))
		return;
	if (!job_name_parse(name, &parsed) || parsed.due_ms == JOB_DUE_NONE) {
		take_strange(w, name, "not the name of a delayed job");
		return;
	}
	if (too_far(w, &parsed, clock_real_ms())) {
		bring_nearer(w, name, &parsed, known);
		return;
	}
	model = model_of(w, &parsed, JOB_DELAYED);
	add(w, &model, name, known);
}

void take_again(struct worker *w, const struct job *job, int64_t at_ms)
{
	struct waiting model = model_of(w, &job->name, job->state);

	if (job->state == JOB_WAITING) /* the next look at what waits finds it */
		return;
	model.at_ms = at_ms;
	add(w, &model, job->file, RENAMED_IN);
}

void take_found(struct worker *w, enum queue_dir dir, const char *name)
{
	(dir == DIR_NEW ? take_new : take_delayed)(w, name, FOUND);
}

void take_pause(struct worker *w)
{
	struct pause pause = pause_look(&w->queue);

	w->paused = pause_holds(&pause);
	w->paused_until = pause.until_ms;
	if (pause.kind == PAUSE_OVER && pause_sweep(&w->queue) != 0)
		worker_trouble(w, "a pause that is over could not be removed", errno);
}

static void take_queue_event(struct worker *w, const char *name)
{
	take_pause(w);
	w->dead |= !queue_in_place(&w->queue);
	if (strcmp(name, "settings") == 0)
		pool_settings(w, false);
	if (strcmp(name, "handler") == 0) { /* one that could not be run may have been mended */
		w->hold_until = 0;
		persist_renew(w);
		w->pool->look_at = 0;
	}
}

static void take_workers_event(struct worker *w, const struct watched_event *event)
{
	switch (event->what) {
	case WATCHED_NEW:
		take_new(w, event->name, event->renamed_in ? RENAMED_IN : CREATED);
		break;
	case WATCHED_DELAY:
		take_delayed(w, event->name, event->renamed_in ? RENAMED_IN : CREATED);
		break;
	case WATCHED_CUR:
		recover_watch(w, event->name);
		break;
	case WATCHED_QUEUE:
		take_queue_event(w, event->name);
		break;
	case WATCHED_DEAD:
		w->dead = true;
		break;
	case WATCHED_LEFT: /* waking up was all that was wanted */
	case WATCHED_SCAN:
	case WATCHED_OTHER:
		break;
	}
}

void take_event(void *pool, const struct watched_event *event)
{
	struct pool *p = pool;
	struct worker *w;

	p->events += event->what != WATCHED_OTHER;
	if (event->owner) {
		take_workers_event(event->owner, event);
		return;
	}
	if (event->what != WATCHED_OTHER)
		p->look_at = 0;
	LIST_FOREACH (w, &p->workers, link) {
		w->scan_now |= event->what == WATCHED_SCAN;
		if (event->what == WATCHED_OTHER)
			blocked_event(w, event);
	}
}
