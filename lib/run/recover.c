#include "run/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/proc.h"

/* The event of the last close comes a little before the kernel drops the lock. */
static const int64_t probe_after[] = {0, 10, 100, 500};
enum { PROBE_STAGES = sizeof probe_after / sizeof *probe_after };

bool worker_runs(const struct worker *w, const char *file)
{
	const struct pool *p = w->pool;

	for (unsigned i = 0; w->busy > 0 && i < p->slots; i++)
		if (p->slot[i].active && p->slot[i].worker == w &&
		    strcmp(p->slot[i].job.file, file) == 0)
			return true;
	return false;
}

/* Not known whether its worker is lost: the next scan, which is soon, may find out. */
static void probe_failed(struct worker *w, int error)
{
	w->scan_error = error;
	worker_trouble(w, "a job in cur/ could not be looked at", error);
}

/* Recovers it unless somebody holds it. While many wait for being moved on, it is left for a
 * later scan: it would take the place of a job that can be run. */
static enum hold probe(struct worker *w, const char *file)
{
	struct job job;
	enum hold held = recover_hold(&job, &w->queue, file);

	if (held == HOLD_DONE && !job.ours)
		take_strange(w, file, "not the name of a job");
	else if (held == HOLD_DONE && w->pool->held < HELD_MAX)
		settle_lost(w, &job);
	else if (held == HOLD_ERROR && start_shortage(errno))
		probe_failed(w, errno);
	else if (held == HOLD_STRANGE || held == HOLD_ERROR)
		take_strange(w, file, strange_reason(errno));
	if (held == HOLD_DONE)
		job_release(&job);
	return held;
}

void recover_watch(struct worker *w, const char *file)
{
	struct probe *p = &w->probe[w->probes];

	if (worker_runs(w, file) || strlen(file) >= sizeof p->file)
		return;
	for (size_t i = 0; i < w->probes; i++)
		if (strcmp(w->probe[i].file, file) == 0)
			return;
	if (w->probes == PROBES_MAX) { /* a crowd: the scan finds them */
		w->scan_now = true;
		return;
	}
	*p = (struct probe){.at = clock_mono_ms() + probe_after[0]};
	memcpy(p->file, file, strlen(file) + 1);
	w->probes++;
}

void recover_tick(struct worker *w, int64_t now)
{
	for (size_t i = 0; i < w->probes;) {
		struct probe *p = &w->probe[i];

		if (p->at > now) {
			i++;
			continue;
		}
		if (probe(w, p->file) != HOLD_LOCKED || ++p->stage == PROBE_STAGES) {
			*p = w->probe[--w->probes];
			continue;
		}
		p->at = now + probe_after[p->stage];
	}
}

int64_t recover_next(const struct worker *w)
{
	int64_t next = NEVER;

	for (size_t i = 0; i < w->probes; i++)
		if (w->probe[i].at < next)
			next = w->probe[i].at;
	return next;
}

/* A handler that outlived its qwork has nobody left to end it when its time is up. */
static void end_overdue(struct worker *w, const char *file)
{
	struct job_name name;
	struct meta meta;
	struct stat st;
	const char *why;
	int64_t timeout;

	if (!job_name_parse(file, &name) ||
	    fstatat(w->queue.dir[DIR_CUR], file, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	meta_init(&meta);
	timeout = job_meta(&w->queue, &name, &meta, &why) < 0 ? 0 : settle_timeout(w, &meta);
	meta_release(&meta);
	if (timeout == 0 ||
	    clock_real_ms() < (int64_t)st.st_ctim.tv_sec * 1000 + timeout + WORK_KILL_AFTER_MS)
		return;
	if (proc_orphaned(&st, name.id))
		proc_signal_handlers(&st, name.id, SIGKILL);
}

static int scan_cur(void *worker, const char *file, bool regular)
{
	struct worker *w = worker;

	(void)regular; /* the probe finds out, and reports it */
	if (worker_runs(w, file) || probe(w, file) != HOLD_LOCKED)
		return 0;
	end_overdue(w, file);
	if (w->missed && w->probes < PROBES_MAX)
		recover_watch(w, file);
	return 0;
}

void recover_scan(struct worker *w)
{
	if (queue_each(&w->queue, DIR_CUR, scan_cur, w) != 0) {
		w->scan_error = errno;
		worker_trouble(w, "cur/ cannot be read", errno);
	}
}

static int is_others(void *worker, const char *file, bool regular)
{
	(void)regular;
	return !worker_runs(worker, file) && probe(worker, file) == HOLD_LOCKED;
}

bool recover_others_run(struct worker *w)
{
	return queue_each(&w->queue, DIR_CUR, is_others, w) == 1;
}
