/* What the process has: signals, descriptors, control files, and the list of its workers. */
#include "run/persist.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/proc.h"

enum {
	FDS_A_JOB = 2,     /* the payload and stderr */
	FDS_A_HANDLER = 6, /* that stays: persist.c */
	FDS_A_QUEUE = QUEUE_DIRS + 4,
	FDS_A_RESOURCE =
	    5, /* of the one job that takes them: two directories, state, slot, probe */
	FDS_MORE = 64 + RESOURCES_MAX * FDS_A_RESOURCE, /* HELD_MAX among them */
};

/* --- the process --- */

static int take_signals(struct pool *p)
{
	const struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t ours;

	/* Ignored by whoever started us, it would let the kernel reap our children. */
	sigaction(SIGCHLD, &plain, &p->old_sigchld);
	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	sigaddset(&ours, SIGUSR1);
	sigaddset(&ours, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &ours, &p->old_signals) != 0)
		return -1;
	p->signals = signalfd(-1, &ours, SFD_NONBLOCK | SFD_CLOEXEC);
	return p->signals < 0 ? -1 : 0;
}

/* What comes while we end asked for just that, and must not kill us once it is let in. */
static void swallow_signals(const struct pool *p)
{
	struct signalfd_siginfo info;

	while (read(p->signals, &info, sizeof info) == (ssize_t)sizeof info)
		;
}

static void give_back_signals(struct pool *p)
{
	if (p->signals < 0)
		return;
	swallow_signals(p);
	sigprocmask(SIG_SETMASK, &p->old_signals, NULL);
	sigaction(SIGCHLD, &p->old_sigchld, NULL);
	setrlimit(RLIMIT_NOFILE, &p->files);
	sys_discard(&p->signals);
}

static rlim_t files_for(const struct pool *p, size_t queues)
{
	return (rlim_t)p->options->jobs * FDS_A_JOB + (rlim_t)queues * FDS_A_QUEUE + FDS_MORE +
	    (p->options->persist ? (rlim_t)p->slots * FDS_A_HANDLER : 0);
}

/* The usual limit of 1024 is for select(); we poll, and handlers get back what we had. Queues may
 * come: all that may be had is taken. */
static int make_room_for_files(struct pool *p)
{
	rlim_t least = files_for(p, p->options->queue_count), wanted = least + CLOSER_FDS;
	struct rlimit more;

	if (getrlimit(RLIMIT_NOFILE, &p->files) != 0)
		return -1;
	more = p->files;
	if (more.rlim_max < least) {
		errno = EMFILE;
		return -1;
	}
	if (more.rlim_cur < wanted)
		more.rlim_cur = wanted < more.rlim_max ? wanted : more.rlim_max;
	if (p->options->queue_count == 0)
		more.rlim_cur = more.rlim_max;
	p->files_max = more.rlim_cur;
	return setrlimit(RLIMIT_NOFILE, &more);
}

/* They are in no spool, so spool_place() knows nothing of them. */
static void note_controls(const struct pool *p, const char *cause)
{
	struct work_event event = report_event(WORK_NOTE, cause);

	event.reason = strerror(errno);
	event.name = p->controls.path;
	p->options->report(p->options->arg, &event);
}

void pool_keep_controls(struct pool *p)
{
	int error = control_dir_renew(&p->controls) == 0 ? 0 : errno;

	if (error != 0 && error != p->controls_error)
		note_controls(p, "handlers have no control file");
	p->controls_error = error;
}

static int take_slots(struct pool *p)
{
	p->slots = p->options->jobs + HELD_MAX;
	p->slot = calloc(p->slots, sizeof *p->slot);
	p->poll_set = calloc(POOL_FDS + p->slots * (1 + PERSIST_FDS), sizeof *p->poll_set);
	for (unsigned i = 0; p->slot && i < p->slots; i++)
		p->slot[i].limited.group.dir = p->slot[i].job.fd = p->slot[i].job.wait =
		    p->slot[i].child.errors = -1;
	return p->slot && p->poll_set ? 0 : -1;
}

static void close_slot(struct running *r)
{
	if (r->child.pid > 0)
		sys_discard(&r->job.fd); /* unlocking would free a job whose handler lives */
	running_release(r);
	sys_discard(&r->child.errors);
}

static void read_gauges(void *gauges, struct gauges *now)
{
	gauges_read(gauges, now);
}

/* What cannot be known from the start, such as pressure where the kernel keeps none, limits nothing. */
static void open_means(struct pool *p)
{
	const struct work_means *limits = &p->options->means;
	struct gauges now;

	means_init(&p->means, limits, read_gauges, &p->gauges);
	if (!means_limited(limits))
		return;
	gauges_open(&p->gauges);
	gauges_read(&p->gauges, &now);
	if (limits->max_load > 0 && now.load < 0)
		pool_note(p, "the load cannot be known, and limits nothing", 0);
	if (limits->min_free > 0 && now.available < 0)
		pool_note(p, "what memory is free cannot be known, and limits nothing", 0);
	if (limits->max_pressure > 0 && now.pressure < 0)
		pool_note(p, "the kernel keeps no account of pressure: it limits nothing", 0);
}

/* --- workers --- */

static void settings_wrong(void *arg, unsigned line, const char *why)
{
	struct work_event event = report_event(WORK_NOTE, "a line of settings is ignored");

	event.reason = why;
	event.attempt = line;
	worker_report(arg, &event);
}

/* TEXT becomes the worker's. It is compared, not the time of the file, which two changes may share. */
static void obey_settings(struct worker *w, char *text, size_t len, bool again)
{
	bool same = len == w->settings_len &&
	    (len == 0 || (text && w->settings_text && memcmp(text, w->settings_text, len) == 0));

	if (same && !again) {
		free(text);
		return;
	}
	free(w->settings_text);
	w->settings_text = text;
	w->settings_len = len;
	settings_release(&w->settings);
	w->scan.known = false; /* T13 may have another cap now */
	persist_renew(w);
	if (text)
		settings_parse(text, len, &w->settings, settings_wrong, w);
	if (w->settings.options.has_memory)
		limits_prepare(w->pool);
}

static void publish_slots(struct worker *w)
{
	unsigned slots = handover_is_on(w->pool) ? 0 : start_slots(w);

	if (slots != w->published)
		queue_publish_slots(&w->queue, slots);
	w->published = slots;
}

/* Those that cannot be read just now, for lack of descriptors say, are still what somebody wants. */
void pool_settings(struct worker *w, bool again)
{
	size_t len = 0;
	char *text = settings_read(&w->queue, &len);
	int error = text || errno == ENOENT ? 0 : errno;
	bool same = error == w->settings_error;

	w->settings_error = error;
	if (error == 0 || error == EPERM)
		obey_settings(w, text, len, again);
	if (error != 0 && (!same || again))
		worker_note(w,
		    error == EPERM ? "settings are refused: they must belong to root or to "
		                     "qwork's user, and nobody else may write them"
		                   : "settings cannot be read: what was read before counts",
		    error);
	publish_slots(w);
}

/* Tried with each scan, before it: what comes after it then is an event. */
void pool_listen(struct worker *w)
{
	struct pool *p = w->pool;
	bool first = w->scanned_at == 0;

	if (w->watched)
		return;
	if (p->watch.fd >= 0 || watch_open(&p->watch) == 0)
		w->watched =
		    watch_queue(&p->watch, &w->queue, p->options->drain == DRAIN_ALL, w) == 0;
	if (!w->watched && first)
		worker_note(w, "no inotify: the queue is scanned every second instead", errno);
	if (w->watched && !first) {
		worker_note(w, "inotify is back: the queue is watched again", 0);
		w->scan_now = true;
	}
}

static struct worker *worker_add(struct pool *p, const char *name, const struct work_queue *asked)
{
	struct worker *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->pool = p;
	w->asked = asked;
	w->queue = QUEUE_CLOSED;
	w->handler.fd = -1;
	w->paused_until = JOB_DUE_NONE;
	snprintf(w->name, sizeof w->name, "%s", name);
	w->error = ENOENT;
	settings_init(&w->settings);
	backlog_init(&w->backlog);
	scan_init(w);
	LIST_INIT(&w->blocked);
	LIST_INSERT_HEAD(&p->idle, w, link);
	return w;
}

/* Lets go of the queue, and forgets what was known of it. */
static void worker_release(struct worker *w)
{
	persist_dismiss(w);
	watch_leave(&w->pool->watch, w);
	backlog_clear(&w->backlog);
	scan_end(w);
	blocked_release(w);
	strings_release(&w->strange);
	settings_release(&w->settings);
	free(w->settings_text);
	handler_release(&w->handler);
	queue_close(&w->queue);
}

static void worker_remove(struct worker *w)
{
	worker_release(w);
	LIST_REMOVE(w, link);
	free(w);
}

static void remove_all(struct worker_list *list)
{
	struct worker *w, *next;

	LIST_FOREACH_SAFE (w, list, link, next)
		worker_remove(w);
}

/* One queue too many would take the descriptors that jobs need. */
static bool has_files(const struct pool *p)
{
	const struct worker *w;
	size_t queues = 1;

	LIST_FOREACH (w, &p->workers, link)
		queues++;
	errno = EMFILE;
	return files_for(p, queues) <= p->files_max;
}

/* Serves its queue from now on. 0 / -1. */
static int worker_serve(struct worker *w, bool create)
{
	struct pool *p = w->pool;

	if (!has_files(p))
		return spool_fail(p->spool, w->name, NULL, NULL);
	if (queue_open(&w->queue, p->spool, w->name, create) != 0)
		return -1;
	if (!handover_is_on(p) && handler_open(&w->handler, &w->queue, p->options->command) != 0) {
		handler_release(&w->handler);
		queue_close(&w->queue);
		return -1;
	}
	LIST_REMOVE(w, link);
	LIST_INSERT_HEAD(&p->workers, w, link);
	queue_serve(&w->queue);
	pool_settings(w, true);
	spool_fail(p->spool, w->name, NULL, NULL); /* where the errors to come happened */
	return 0;
}

/* It may come back: then it starts anew. */
static void worker_rest(struct worker *w)
{
	struct pool *p = w->pool;
	const struct work_queue *asked = w->asked;
	char name[QUEUE_NAME_SIZE];

	memcpy(name, w->name, sizeof name);
	worker_remove(w);
	if (!worker_add(p, name, asked))
		pool_trouble(p, "no memory for a queue that may come back", errno);
}

/* --- which queues there are --- */

static bool serves_all(const struct pool *p)
{
	return p->options->queue_count == 0;
}

static struct worker *find(struct worker_list *list, const char *name)
{
	struct worker *w;

	LIST_FOREACH (w, list, link)
		if (strcmp(w->name, name) == 0)
			return w;
	return NULL;
}

static const char *why_not_served(const struct worker *w)
{
	if (w->by_handler && w->error == EPERM)
		return "not served: its handler is refused, which must belong to root or to "
		       "qwork's user, and nobody else may write it";
	if (w->by_handler && w->error == EACCES)
		return "not served: its handler is not executable";
	return "not served";
}

/* A queue that has no handler is none of ours. */
static void say_why_not(const struct worker *w)
{
	if (w->error == ENOENT)
		return;
	spool_fail(w->pool->spool, w->name, NULL, w->by_handler ? "handler" : NULL);
	worker_note(w, why_not_served(w), w->error);
}

static void try_to_serve(struct worker *w)
{
	int before = w->error;

	if (worker_serve(w, false) == 0) {
		if (w->pool->begun)
			worker_note(w, "served from now on", 0);
		return;
	}
	w->error = errno;
	w->by_handler = strstr(w->pool->spool->place, "/handler") != NULL;
	if (w->pool->begun && w->error != before)
		say_why_not(w);
}

static void watch_for(struct pool *p, int dir, const char *cause)
{
	if (p->watch.fd >= 0 && watch_look(&p->watch, dir) == 0)
		return;
	if (p->watch.fd >= 0)
		pool_trouble(p, cause, errno);
	p->deaf = true;
}

static void watch_for_handler(struct pool *p, const char *name)
{
	int fd = sys_opendir(p->spool->fd, name);

	if (fd >= 0)
		watch_for(p, fd, "a queue that may get a handler cannot be watched");
	else
		p->deaf |= errno != ENOENT;
	sys_discard(&fd);
}

/* A directory made by hand is a queue once it has its directories: its first job makes them. What cannot be opened is
 * none of ours; if that changes, it is an event of the spool. */
static int watch_for_queue(void *arg, const char *name, bool regular)
{
	struct pool *p = arg;
	int fd = -1;

	if (!regular && queue_name_ok(name) && !find(&p->workers, name) && !find(&p->idle, name))
		fd = sys_opendir(p->spool->fd, name);
	if (fd >= 0)
		watch_for(p, fd, "a directory that may become a queue cannot be watched");
	sys_discard(&fd);
	return 0;
}

/* Watched before they are read, so that a queue which comes meanwhile is an event. */
static void find_queues(struct pool *p)
{
	struct strings names = {0};

	if (dir_each(sys_opendir(p->spool->fd, "."), EACH_VISIBLE, watch_for_queue, p) != 0 ||
	    spool_queues(p->spool, &names) != 0)
		pool_trouble(p, "the queues of the spool cannot be read", errno);
	for (size_t i = 0; i < names.count; i++)
		if (!find(&p->workers, names.item[i]) && !find(&p->idle, names.item[i]) &&
		    !worker_add(p, names.item[i], NULL))
			pool_trouble(p, "no memory for a queue", errno);
	strings_release(&names);
}

static bool has_no_handler(struct worker *w)
{
	handler_release(&w->handler);
	return handler_open(&w->handler, &w->queue, NULL) != 0 && errno == ENOENT;
}

static void look_at_served(struct pool *p)
{
	struct worker *w;

	LIST_FOREACH (w, &p->workers, link) {
		w->leaving = has_no_handler(w);
		p->deaf |= !w->watched && w->scanned_at != 0;
	}
}

/* Watched before it is looked at, so that a handler which comes meanwhile is an event. */
static void look_at_idle(struct pool *p)
{
	struct worker *w, *next;

	LIST_FOREACH_SAFE (w, &p->idle, link, next) {
		watch_for_handler(p, w->name);
		try_to_serve(w);
	}
}

/* The queues that come are what the spool's own directory tells of. */
static void look(struct pool *p)
{
	p->deaf = p->watch.fd < 0 && watch_open(&p->watch) != 0;
	watch_for(p, p->spool->fd, "the spool cannot be watched for queues that come");
	if (serves_all(p)) {
		look_at_served(p);
		find_queues(p);
	}
	look_at_idle(p);
}

static void forget_gone(struct pool *p)
{
	struct worker *w, *next;

	LIST_FOREACH_SAFE (w, &p->idle, link, next)
		if (!w->asked && !spool_has_queue(p->spool, w->name))
			worker_remove(w);
}

void pool_look(struct pool *p)
{
	int64_t every = p->options->scan_ms;

	p->look_at = clock_mono_ms() + every;
	if (!serves_all(p) && LIST_EMPTY(&p->idle))
		return;
	forget_gone(p);
	look(p);
	if (p->deaf && every > DEAF_SCAN_MS)
		p->look_at = clock_mono_ms() + DEAF_SCAN_MS;
}

void pool_drop(struct pool *p, struct worker *w)
{
	if (!w->dead)
		worker_note(w, "not served any more: it has no handler", 0);
	else if (p->options->queue_count != 1)
		worker_note(w, "not served any more: a directory of it was removed or moved", 0);
	worker_rest(w);
	p->look_at = 0;
}

static int serve_what_was_asked_for(struct pool *p)
{
	for (size_t i = p->options->queue_count; i-- > 0;) {
		const struct work_queue *asked = &p->options->queues[i];
		struct worker *w = worker_add(p, asked->name, asked);

		if (!w || worker_serve(w, true) != 0)
			return -1;
	}
	return 0;
}

static int serve_all(struct pool *p)
{
	struct worker *w;

	if (watch_open(&p->watch) != 0)
		pool_note(p, "no inotify: the spool is scanned instead", errno);
	look(p);
	if (!LIST_EMPTY(&p->workers) || (p->options->drain == DRAIN_NO && !p->options->once)) {
		LIST_FOREACH (w, &p->idle, link)
			say_why_not(w);
		if (LIST_EMPTY(&p->workers))
			pool_note(p, "no queue has a handler yet: waiting for one", 0);
		return 0;
	}
	LIST_FOREACH (w, &p->idle, link)
		if (w->error != ENOENT)
			break;
	errno = w ? w->error : ENOENT;
	return spool_fail(
	    p->spool, w ? w->name : NULL, NULL, !w || w->by_handler ? "handler" : NULL);
}

/* Handlers that stay are told it in a line. */
static int check_path(const struct pool *p)
{
	if (!p->options->persist || !strchr(p->spool->path, '\n'))
		return 0;
	errno = EINVAL;
	return -1;
}

int pool_open(struct pool *p, struct spool *spool, const struct work_options *options)
{
	*p = (struct pool){.options = options,
	    .spool = spool,
	    .controls = {.fd = -1},
	    .watch = {.fd = -1},
	    .groups = CGROUPS_CLOSED,
	    .gauges = GAUGES_CLOSED,
	    .signals = -1,
	    .timer = -1,
	    .base = {.signals = &p->old_signals, .files = &p->files, .score_fd = -1, .fds = -1},
	    .grace_at = NEVER,
	    .status = {.manager = MANAGER_NONE}};
	p->hooks = (struct hooks){
	    .spool = spool, .base = &p->base, .report = options->report, .arg = options->arg};
	hooks_init(&p->hooks);
	status_open(&p->status);
	p->timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (p->timer < 0 || check_path(p) != 0 || take_slots(p) != 0 ||
	    make_room_for_files(p) != 0 || take_signals(p) != 0 || child_base_open(&p->base) != 0)
		return spool_fail(spool, NULL, NULL, NULL);
	if (p->files_max >= files_for(p, options->queue_count) + CLOSER_FDS)
		closer_open(&p->closer);
	open_means(p);
	limits_keep(p);
	if (options->defaults && options->defaults->has_memory)
		limits_prepare(p);
	if ((serves_all(p) ? serve_all(p) : serve_what_was_asked_for(p)) != 0)
		return -1;
	p->begun = true;
	return 0;
}

void pool_close(struct pool *p)
{
	int saved = errno;

	status_close(p);
	release_all(p);
	for (unsigned i = 0; p->slot && i < p->slots; i++)
		close_slot(&p->slot[i]);
	persist_release(p);
	remove_all(&p->workers);
	remove_all(&p->idle);
	give_back_signals(p);
	sys_discard(&p->timer);
	watch_close(&p->watch);
	hooks_release(&p->hooks);
	child_base_close(&p->base);
	gauges_close(&p->gauges);
	if (control_dir_close(&p->controls) != 0)
		note_controls(p, "the directory of control files could not be removed");
	cgroups_close(&p->groups);
	closer_close(&p->closer);
	free(p->slot);
	free(p->poll_set);
	errno = saved;
}
