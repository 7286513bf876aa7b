/* Jobs that come from elsewhere: how they are sent, and what who told of them must be able to know. */
#include "spool/spool.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bsd/unistd.h>

#include "format/strings.h"
#include "scratch.h"
#include "sys/files.h"

#define ID_A "06d5kz3rwv8e0hj4mnpa"
#define ID_B "06d5kz3rwv8e0hj4mnpb"
#define ID_C "06d5kz3rwv8e0hj4mnpc"

static struct spool *spool;
static struct meta relayed;

static void begin(void)
{
	scratch_make();
	spool = spool_open(scratch, true);
	CHECK(spool != NULL);
	meta_init(&relayed);
	relayed.relay = strdup("hub 17");
}

static void end(void)
{
	meta_release(&relayed);
	spool_close(spool);
	scratch_remove();
}

static struct sender *open_sender(const char *queue)
{
	const struct send_options options = {
	    .priority = JOB_PRIORITY_DEFAULT, .due_ms = JOB_DUE_NONE};
	struct sender *sender = send_open(spool, queue, &options);

	CHECK(sender != NULL);
	return sender;
}

static struct send_as as_of(const char *id)
{
	return (struct send_as){
	    .id = id, .priority = JOB_PRIORITY_DEFAULT, .due_ms = JOB_DUE_NONE, .meta = &relayed};
}

static void count_sent(void *sent, const char *id, enum send_fate fate)
{
	(void)id;
	CHECK(fate == SEND_DURABLE);
	++*(int *)sent;
}

static int commit(struct sender *sender)
{
	int sent = 0;

	return send_commit(sender, count_sent, &sent) == 0 ? sent : -1;
}

static int add(struct sender *sender, const struct send_as *as)
{
	return send_as(sender, as) == 0 && send_write(sender, "x", 1) == 0 ? send_end(sender) : -1;
}

static bool is_there(const char *name)
{
	char file[512];

	snprintf(file, sizeof file, "%s/%s", scratch, name);
	return access(file, F_OK) == 0;
}

static size_t files_in(const char *name)
{
	char path[512];
	size_t count = 0;
	DIR *dir;

	snprintf(path, sizeof path, "%s/%s", scratch, name);
	dir = opendir(path);
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count - 2;
}

static void each_comes_with_what_it_had(void)
{
	struct send_as plain = as_of(ID_A), tried = as_of(ID_B), later = as_of(ID_C);
	struct sender *sender;
	struct meta meta;
	const char *why;
	struct job_place place = {.queue = "q", .state = JOB_READY, .ours = true};

	begin();
	sender = open_sender("q");
	plain.meta = NULL;
	tried.priority = 7;
	tried.attempts = 3;
	later.due_ms = 1795320951123;
	CHECK(add(sender, &plain) == 0 && add(sender, &tried) == 0 && add(sender, &later) == 0);
	CHECK(send_end(sender) == 0); /* and one of its own */
	CHECK_INT(commit(sender), 4);
	CHECK(is_there("q/new/50." ID_A ".0"));
	CHECK(is_there("q/new/07." ID_B ".3,m"));
	CHECK(is_there("q/delay/20261122T041551.123Z.50." ID_C ".0,m"));
	CHECK_INT((int64_t)files_in("q/new"), 3);
	CHECK_INT((int64_t)files_in("q/meta"), 2);
	CHECK_INT((int64_t)files_in("q/tmp"), 0);
	meta_init(&meta);
	CHECK(job_name_parse("07." ID_B ".3,m", &place.name));
	CHECK_INT(spool_meta(spool, &place, &meta, &why), 0);
	CHECK_STR(meta.relay, "hub 17");
	meta_release(&meta);
	send_close(sender);
	end();
}

static void what_cannot_be_is_refused(void)
{
	struct send_as wrong[7];
	struct meta tied[3];
	struct sender *sender;

	begin();
	sender = open_sender("q");
	for (size_t i = 0; i < 3; i++)
		meta_init(&tied[i]);
	tied[0].key = strdup("k");
	tied[1].batch = strdup("b");
	CHECK(strings_add(&tied[2].after, ID_B) == 0);
	for (size_t i = 0; i < 7; i++) {
		wrong[i] = as_of(ID_A);
		if (i < 3)
			wrong[i].meta = &tied[i];
	}
	wrong[3].id = "06d5kz3rwv8e0hj4mnp";
	wrong[4].priority = JOB_PRIORITY_MAX + 1;
	wrong[5].attempts = JOB_ATTEMPTS_MAX + 1;
	wrong[6].due_ms = WHEN_MAX_MS + 1;
	for (size_t i = 0; i < 7; i++) {
		errno = 0;
		CHECK(send_as(sender, &wrong[i]) == -1 && errno == EINVAL);
	}
	CHECK(send_write(sender, "x", 1) == 0);
	wrong[0].meta = NULL; /* too late for it */
	CHECK(send_as(sender, &wrong[0]) == -1 && errno == EINVAL);
	for (size_t i = 0; i < 3; i++)
		meta_release(&tied[i]);
	send_close(sender);
	end();
}

static void a_sender_of_ordered_jobs_takes_none(void)
{
	struct meta tied;
	struct send_as as = as_of(ID_A);
	struct send_options options = {.priority = 50, .due_ms = JOB_DUE_NONE, .meta = &tied};
	struct sender *sender;

	begin();
	meta_init(&tied);
	tied.key = strdup("k");
	sender = send_open(spool, "q", &options);
	CHECK(sender && send_as(sender, &as) == -1 && errno == EINVAL);
	send_close(sender);
	meta_release(&tied);
	end();
}

/* What has its options is another job, or the same one: these are not to be taken from it. */
static void one_that_is_there_is_let_be(void)
{
	struct send_as a = as_of(ID_A), b = as_of(ID_B);
	struct sender *first, *second;

	begin();
	first = open_sender("q");
	second = open_sender("q");
	CHECK(add(first, &a) == 0);
	errno = 0;
	CHECK(add(second, &a) == -1 && errno == EEXIST); /* in tmp/ */
	CHECK_INT(commit(first), 1);
	errno = 0;
	CHECK(add(second, &a) == -1 && errno == EEXIST); /* in new/ */
	CHECK(add(second, &b) == 0);
	CHECK_INT(commit(second), 1);
	CHECK(is_there("q/new/50." ID_A ".0,m") && is_there("q/meta/" ID_A));
	CHECK(is_there("q/new/50." ID_B ".0,m") && is_there("q/meta/" ID_B));
	CHECK_INT((int64_t)files_in("q/tmp"), 0);
	send_close(first);
	send_close(second);
	end();
}

static void no_report(void *arg, const struct work_event *event)
{
	(void)arg, (void)event;
}

static char handler[] = "true";
static char *const command[] = {handler, NULL};

static int work(enum work_drain drain)
{
	const struct work_queue queue = {.name = "q"};
	const struct meta none = {.trusted = false};
	const struct work_options options = {.queues = &queue,
	    .queue_count = 1,
	    .jobs = 5,
	    .means = {.min = 1},
	    .drain = drain,
	    .scan_ms = 60000,
	    .defaults = &none,
	    .command = command,
	    .report = no_report};

	return spool_work(spool, &options);
}

static void drain(void)
{
	CHECK(work(DRAIN_ALL) == 0);
}

static int take_place(void *arg, const struct job_place *place)
{
	*(struct job_place *)arg = *place;
	return 1;
}

/* Of the one in done/. */
static struct job_place finished(void)
{
	struct job_place place = {.queue = ""};

	CHECK_INT(spool_each(spool, "q", JOB_DONE, take_place, &place), 1);
	return place;
}

static void send_relayed(const char *id)
{
	struct sender *sender = open_sender("q");
	struct send_as as = as_of(id);

	CHECK(add(sender, &as) == 0);
	CHECK_INT(commit(sender), 1);
	send_close(sender);
}

static void finished_it_is_there_until_it_was_told(void)
{
	struct job_place place, gone;
	struct timespec now;

	begin();
	send_relayed(ID_A);
	drain();
	CHECK_INT((int64_t)files_in("q/done"), 1);
	CHECK(!is_there("q/out"));
	place = finished();
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK_STR(place.name.id, ID_A);
	CHECK_INT((place.name.due_ms / 1000 - now.tv_sec + 1800) / 3600, 30 * 24);
	CHECK_INT(spool_forget(spool, &place), 1);
	CHECK_INT((int64_t)files_in("q/done"), 0);
	CHECK_INT((int64_t)files_in("q/meta"), 0);
	CHECK_INT((int64_t)files_in("q/log"), 0);
	gone = place;
	CHECK_INT(spool_forget(spool, &gone), 0);
	end();
}

static void kept_for_its_own_sake_it_stays(void)
{
	struct job_place place;

	begin();
	relayed.has_keep = true;
	relayed.keep_ms = 3600 * 1000;
	send_relayed(ID_A);
	drain();
	place = finished();
	CHECK(place.name.due_ms < (int64_t)(time(NULL) + 3601) * 1000);
	CHECK(is_there("q/out/" ID_A));
	CHECK_INT(spool_forget(spool, &place), 0);
	CHECK_INT((int64_t)files_in("q/done"), 1);
	end();
}

static void only_what_is_finished_is_forgotten(void)
{
	struct job_place place = {.queue = "q", .state = JOB_READY, .ours = true};

	begin();
	send_relayed(ID_A);
	snprintf(place.file, sizeof place.file, "50." ID_A ".0,m");
	CHECK(job_name_parse(place.file, &place.name));
	errno = 0;
	CHECK(spool_forget(spool, &place) == -1 && errno == EINVAL);
	CHECK(is_there("q/new/50." ID_A ".0,m"));
	end();
}

/* Which directories are synced, and how often anything is. */
static struct {
	unsigned tmp, new, delay, meta, all, fs;
} synced;

static bool leads_to(int fd, const char *name)
{
	char path[512];
	struct stat a, b;

	snprintf(path, sizeof path, "%s/q/%s", scratch, name);
	return stat(path, &a) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino &&
	    a.st_dev == b.st_dev;
}

static void note_sync(const char *call, int fd, const char *name, int error)
{
	(void)name;
	CHECK_INT(error, 0);
	synced.fs += strcmp(call, "syncfs") == 0;
	if (strcmp(call, "fsync") != 0)
		return;
	synced.all++;
	synced.tmp += leads_to(fd, "tmp");
	synced.new += leads_to(fd, "new");
	synced.delay += leads_to(fd, "delay");
	synced.meta += leads_to(fd, "meta");
}

/* Of the type that the hook has. */
/* NOLINTNEXTLINE(readability-non-const-parameter) */
static int go_on(const char *call, int fd, const char *name, size_t *len)
{
	(void)call, (void)fd, (void)name, (void)len;
	return 0;
}

static int commit_noted(struct sender *sender)
{
	static const struct sys_hook noting = {go_on, note_sync};
	int sent;

	memset(&synced, 0, sizeof synced);
	sys_hook = &noting;
	sent = commit(sender);
	sys_hook = NULL;
	return sent;
}

static void each_directory_that_got_a_name_is_synced(void)
{
	struct send_as now = as_of(ID_A), later = as_of(ID_B);
	struct sender *sender;

	begin();
	sender = open_sender("q");
	CHECK(send_end(sender) == 0);
	CHECK_INT(commit(sender), 1); /* the statistics are there from now on */
	now.meta = NULL;
	later.due_ms = 1795320951123;
	CHECK(add(sender, &now) == 0 && add(sender, &later) == 0);
	CHECK_INT(commit_noted(sender), 2);
	CHECK_INT(synced.new, 1);
	CHECK_INT(synced.delay, 1);
	CHECK_INT(synced.meta, 1);
	CHECK_INT(synced.all, 3 + 3); /* two payloads, the options of one */
	now.id = ID_C;
	CHECK(add(sender, &now) == 0);
	CHECK_INT(commit_noted(sender), 1);
	CHECK_INT(synced.new, 1);
	CHECK_INT(synced.all, 2); /* what the batch before needed is none of its business */
	send_close(sender);
	end();
}

static void many_share_a_sync(void)
{
	char id[] = ID_A;
	struct send_as as = as_of(id);
	struct sender *sender;

	begin();
	sender = open_sender("q");
	CHECK(send_end(sender) == 0);
	CHECK_INT(commit(sender), 1);
	for (int c = '0'; c <= '9'; c++) {
		id[JOB_ID_LEN - 1] = (char)c;
		as.due_ms = c == '7' ? 1795320951123 : JOB_DUE_NONE;
		CHECK(add(sender, &as) == 0);
	}
	CHECK_INT(commit_noted(sender), 10);
	CHECK_INT(synced.fs, 1);
	CHECK_INT(synced.all, 2);
	CHECK_INT(synced.new, 1);
	CHECK_INT(synced.delay, 1);
	send_close(sender);
	end();
}

/* --- waiting for a set that changes --- */

enum { SOON_MS = 5000 }; /* sooner than the scan that is made in any case */

static struct await *await;

/* Nothing is to be looked for any more: what is known from now on is known by events. */
static void rest(void)
{
	struct await_counts counts;
	bool rests = false; /* nothing is still to be looked for */

	for (int i = 0; !rests && i < SOON_MS; i++) {
		CHECK(await_step(await, 0, &counts) >= 0);
		rests = await_timeout(await) >= SOON_MS;
		poll(NULL, 0, rests ? 0 : 1);
	}
	CHECK(rests);
}

static void watch_from_the_start(const char *queue)
{
	await = await_open(spool);
	CHECK(await && await_queue(await, queue) == 0);
	rest();
}

static int note_fate(void *arg, const char *id, enum await_fate fate)
{
	char *fates = arg;

	snprintf(fates + strlen(fates), 8, "%c%d", id[JOB_ID_LEN - 1], (int)fate);
	return 0;
}

/* The last character of each id and its fate. */
static const char *fates(void)
{
	static char text[256];

	text[0] = '\0';
	CHECK_INT(await_each(await, note_fate, text), 0);
	return text;
}

static struct await_counts step(void)
{
	struct await_counts counts;

	CHECK(await_step(await, 0, &counts) >= 0);
	return counts;
}

/* Until COUNT have that fate; before any scan but those that an event asks for. */
static bool come_to(enum await_fate fate, size_t count)
{
	struct pollfd events = {.events = POLLIN};
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		if (step().of[fate] == count)
			return true;
		events.fd = await_fd(await);
		poll(&events, 1, await_timeout(await) < SOON_MS ? await_timeout(await) : SOON_MS);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 < SOON_MS);
	return false;
}

static void send_awaited(struct sender *sender, const char *queue, const char *id)
{
	struct send_as as = as_of(id);

	CHECK(add(sender, &as) == 0);
	CHECK(await_job(await, queue, id) == 0);
	CHECK_INT(commit(sender), 1);
}

static void delete_ready(const char *id)
{
	struct job_place place = {.queue = "q", .state = JOB_READY, .ours = true};

	snprintf(place.file, sizeof place.file, "50.%s.0,m", id);
	CHECK(job_name_parse(place.file, &place.name));
	CHECK_INT(spool_delete(spool, &place), 1);
}

static void begin_awaiting(struct sender **sender)
{
	begin();
	*sender = open_sender("q");
	watch_from_the_start("q");
}

static void end_awaiting(struct sender *sender)
{
	await_close(await);
	send_close(sender);
	end();
}

static void what_comes_late_is_seen_to_finish(void)
{
	struct sender *sender;

	begin_awaiting(&sender);
	send_awaited(sender, "q", ID_B);
	CHECK_INT((int64_t)step().of[AWAIT_OUTSTANDING], 1);
	send_awaited(sender, "q", ID_A);
	send_awaited(sender, "q", ID_C);
	CHECK(await_job(await, "q", ID_C) == 0); /* once more */
	CHECK_INT((int64_t)step().of[AWAIT_OUTSTANDING], 3);
	drain();
	CHECK(come_to(AWAIT_FINISHED, 3));
	CHECK_STR(fates(), "a1b1c1");
	end_awaiting(sender);
}

/* Between two steps, from its draft to its end: only the events in their order tell that. */
static void what_comes_late_is_seen_to_be_deleted(void)
{
	struct sender *sender;
	struct pollfd events = {.events = POLLIN};

	begin_awaiting(&sender);
	send_awaited(sender, "q", ID_A);
	delete_ready(ID_A);
	events.fd = await_fd(await);
	CHECK_INT(poll(&events, 1, 0), 1);
	CHECK_INT((int64_t)step().of[AWAIT_DELETED], 1);
	end_awaiting(sender);
}

static void one_that_is_there_already_is_looked_for(void)
{
	struct sender *sender;

	begin_awaiting(&sender);
	send_relayed(ID_A);
	rest();
	CHECK(await_job(await, "q", ID_A) == 0);
	CHECK(await_timeout(await) < SOON_MS);
	rest();
	CHECK_STR(fates(), "a0");
	delete_ready(ID_A);
	CHECK_INT((int64_t)step().of[AWAIT_DELETED], 1);
	end_awaiting(sender);
}

static void what_was_told_of_an_earlier_one_is_not_believed(void)
{
	struct sender *sender;
	struct send_as again = as_of(ID_A);

	begin_awaiting(&sender);
	send_relayed(ID_A);
	delete_ready(ID_A);
	CHECK(add(sender, &again) == 0);
	CHECK(await_job(await, "q", ID_A) == 0);
	CHECK_STR(fates(), "a0");
	CHECK_INT((int64_t)step().of[AWAIT_OUTSTANDING], 1);
	CHECK_INT(commit(sender), 1);
	delete_ready(ID_A);
	CHECK_INT((int64_t)step().of[AWAIT_DELETED], 1);
	end_awaiting(sender);
}

static void what_is_forgotten_counts_no_more(void)
{
	struct sender *sender;

	begin_awaiting(&sender);
	send_awaited(sender, "q", ID_C);
	send_awaited(sender, "q", ID_A);
	send_awaited(sender, "q", ID_B);
	await_forget(await, ID_B);
	await_forget(await, "06d5kz3rwv8e0hj4mnpz");
	CHECK_STR(fates(), "a0c0");
	CHECK_INT((int64_t)step().of[AWAIT_OUTSTANDING], 2);
	delete_ready(ID_B);
	delete_ready(ID_C);
	CHECK_INT((int64_t)step().of[AWAIT_DELETED], 1);
	CHECK_STR(fates(), "a0c3");
	await_forget(await, ID_C);
	CHECK_INT((int64_t)step().of[AWAIT_DELETED], 0);
	delete_ready(ID_A);
	CHECK_INT((int64_t)step().of[AWAIT_DELETED], 1);
	end_awaiting(sender);
}

/* What a rename left to be looked for is not looked for in vain. */
static void what_moves_can_be_forgotten(void)
{
	struct sender *sender;
	char from[512], to[512];

	begin_awaiting(&sender);
	send_awaited(sender, "q", ID_A);
	rest();
	snprintf(from, sizeof from, "%s/q/new/50." ID_A ".0,m", scratch);
	snprintf(to, sizeof to, "%s/elsewhere", scratch);
	CHECK_INT(rename(from, to), 0);
	(void)step();
	CHECK(await_timeout(await) < SOON_MS);
	await_forget(await, ID_A);
	rest();
	CHECK_STR(fates(), "");
	end_awaiting(sender);
}

static void a_queue_may_come_later(void)
{
	struct sender *sender;

	begin();
	watch_from_the_start("q");
	sender = open_sender("q");
	send_awaited(sender, "q", ID_A);
	CHECK_INT((int64_t)step().of[AWAIT_OUTSTANDING], 1);
	drain();
	CHECK(come_to(AWAIT_FINISHED, 1));
	end_awaiting(sender);
}

static void a_queue_may_be_added_later(void)
{
	struct sender *sender;

	begin();
	sender = open_sender("q");
	watch_from_the_start("other");
	CHECK(await_queue(await, "q") == 0);
	rest();
	send_awaited(sender, "q", ID_A);
	delete_ready(ID_A);
	CHECK_INT((int64_t)step().of[AWAIT_DELETED], 1);
	end_awaiting(sender);
}

/* --- slots --- */

static struct queue open_queue(void)
{
	struct queue queue;

	CHECK(queue_open(&queue, spool, "q", true) == 0);
	return queue;
}

static void slots_add_up_until_who_has_them_is_gone(void)
{
	enum { MANY = 40 };
	struct queue one, many[MANY];

	begin();
	CHECK(spool_slots(spool, "q") == -1 && errno == ENOENT);
	one = open_queue();
	CHECK_INT(spool_slots(spool, "q"), 0);
	queue_publish_slots(&one, 7);
	CHECK_INT(spool_slots(spool, "q"), 7);
	for (int i = 0; i < MANY; i++) {
		many[i] = open_queue();
		queue_publish_slots(&many[i], WORK_JOBS_MAX);
	}
	CHECK_INT(spool_slots(spool, "q"), 7 + MANY * WORK_JOBS_MAX);
	queue_publish_slots(&one, 3);
	CHECK_INT(spool_slots(spool, "q"), 3 + MANY * WORK_JOBS_MAX);
	for (int i = 0; i < MANY; i++)
		queue_close(&many[i]);
	CHECK_INT(spool_slots(spool, "q"), 3);
	queue_close(&one);
	CHECK_INT(spool_slots(spool, "q"), 0);
	end();
}

static void set_jobs(const char *line)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof path, "%s/q/settings", scratch);
	file = fopen(path, "w");
	CHECK(file && fchmod(fileno(file), 0600) == 0 && fputs(line, file) >= 0);
	CHECK(file && fclose(file) == 0);
}

static bool slots_become(int slots)
{
	for (int i = 0; i < SOON_MS; i++) {
		if (spool_slots(spool, "q") == slots)
			return true;
		poll(NULL, 0, 1);
	}
	return false;
}

static void a_worker_says_how_many_it_runs(void)
{
	struct queue queue;
	pid_t worker;

	begin();
	queue = open_queue();
	queue_close(&queue);
	set_jobs("jobs 3\n");
	worker = fork();
	if (worker == 0)
		_exit(work(DRAIN_NO) != 0);
	CHECK(slots_become(3));
	set_jobs("jobs 4\n");
	CHECK(kill(worker, SIGHUP) == 0 && slots_become(4));
	set_jobs("jobs 40\n");
	CHECK(kill(worker, SIGHUP) == 0 && slots_become(5));
	CHECK(kill(worker, SIGKILL) == 0 && slots_become(0));
	CHECK(waitpid(worker, NULL, 0) == worker);
	end();
}

int main(int argc, char **argv)
{
	setproctitle_init(argc, argv, environ);
	return UNIT_RUN(TEST(each_comes_with_what_it_had), TEST(what_cannot_be_is_refused),
	    TEST(a_sender_of_ordered_jobs_takes_none), TEST(one_that_is_there_is_let_be),
	    TEST(each_directory_that_got_a_name_is_synced), TEST(many_share_a_sync),
	    TEST(finished_it_is_there_until_it_was_told), TEST(kept_for_its_own_sake_it_stays),
	    TEST(only_what_is_finished_is_forgotten), TEST(what_comes_late_is_seen_to_finish),
	    TEST(what_comes_late_is_seen_to_be_deleted),
	    TEST(one_that_is_there_already_is_looked_for),
	    TEST(what_was_told_of_an_earlier_one_is_not_believed),
	    TEST(what_is_forgotten_counts_no_more), TEST(what_moves_can_be_forgotten),
	    TEST(a_queue_may_come_later), TEST(a_queue_may_be_added_later),
	    TEST(slots_add_up_until_who_has_them_is_gone), TEST(a_worker_says_how_many_it_runs));
}
