/* Jobs that are handed over to an engine: one that says nothing, one that answers too late, one that refuses. */
#include "spool/spool.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <bsd/unistd.h>

#include "scratch.h"
#include "sys/clock.h"

enum { OFFERS_MAX = 8, SILENCE_MS = 10000, GRACE_MS = 1000, SCAN_MS = 60000 };

enum says { TAKEN, NOT_NOW, NEVER_MINE, NOTHING };

/* What it says to its first offer, and so on; then, of each, that it was taken. */
struct engine {
	int fd;
	const enum says *says;
	size_t count, offers, answered;
	bool repeats; /* says of the first offer once more that it was taken, before all else */
	uint64_t ticket[OFFERS_MAX];
	int64_t at[OFFERS_MAX];
	bool there[OFFERS_MAX]; /* the job, when it was offered */
};

static struct spool *spool;

static size_t ready_jobs(void)
{
	struct queue_count count;

	return spool_count(spool, "q", &count) == 0 ? count.ready : 0;
}

static bool ready(void *arg)
{
	(void)arg;
	return true;
}

static int begin_one(void *arg, const struct handover_job *job, const char **why)
{
	struct engine *e = arg;

	*why = NULL;
	if (!CHECK(e->offers < OFFERS_MAX))
		return -1;
	e->ticket[e->offers] = job->ticket;
	e->there[e->offers] = ready_jobs() == 1;
	e->at[e->offers++] = clock_mono_ms();
	return eventfd_write(e->fd, 1);
}

static bool answer(void *arg, struct handover_answer *answer)
{
	struct engine *e = arg;
	enum says says;
	eventfd_t events;

	(void)eventfd_read(e->fd, &events);
	if (e->repeats && e->offers > 1) {
		e->repeats = false;
		*answer = (struct handover_answer){.ticket = e->ticket[0], .taken = true};
		return true;
	}
	if (e->answered == e->offers)
		return false;
	says = e->answered < e->count ? e->says[e->answered] : TAKEN;
	*answer = (struct handover_answer){.ticket = e->ticket[e->answered++],
	    .taken = says == TAKEN,
	    .refused = says == NEVER_MINE ? "not mine" : NULL};
	return says != NOTHING;
}

static void report(void *arg, const struct work_event *event)
{
	(void)arg;
	(void)event;
}

static int work(struct engine *engine)
{
	struct work_queue queue = {.name = "q"};
	struct handover to = {.ready = ready,
	    .begin = begin_one,
	    .answer = answer,
	    .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
	    .arg = engine};
	const struct work_options options = {.queues = &queue,
	    .queue_count = 1,
	    .jobs = 1,
	    .means = {.min = 1},
	    .drain = DRAIN_ALL,
	    .grace_ms = GRACE_MS,
	    .scan_ms = SCAN_MS,
	    .handover = &to,
	    .report = report};
	int result;

	engine->fd = to.fd;
	result = spool_work(spool, &options);
	close(to.fd);
	return result;
}

static void count_sent(void *sent, const char *id, enum send_fate fate)
{
	(void)id;
	(void)fate;
	++*(int *)sent;
}

static void begin(void)
{
	const struct send_options options = {
	    .priority = JOB_PRIORITY_DEFAULT, .due_ms = JOB_DUE_NONE};
	struct sender *sender;
	int sent = 0;

	scratch_make();
	spool = spool_open(scratch, true);
	sender = send_open(spool, "q", &options);
	CHECK(sender && send_write(sender, "x", 1) == 0 && send_end(sender) == 0);
	CHECK(send_commit(sender, count_sent, &sent) == 0 && sent == 1);
	send_close(sender);
}

static void end(void)
{
	spool_close(spool);
	scratch_remove();
}

static size_t buried_jobs(void)
{
	struct queue_count count;

	return spool_count(spool, "q", &count) == 0 ? count.buried : 0;
}

static void what_is_not_answered_is_offered_again(void)
{
	struct engine engine = {.says = (enum says[]){NOTHING}, .count = 1};

	begin();
	CHECK(work(&engine) == 0);
	CHECK_INT((int64_t)engine.offers, 2);
	CHECK(
	    engine.ticket[0] != 0 && engine.ticket[1] != 0 && engine.ticket[0] != engine.ticket[1]);
	CHECK(engine.at[1] - engine.at[0] >= SILENCE_MS);
	CHECK(engine.there[1]);
	CHECK_INT((int64_t)ready_jobs(), 0);
	end();
}

static void an_answer_to_an_earlier_offer_counts_no_more(void)
{
	struct engine engine = {
	    .says = (enum says[]){NOT_NOW, NOT_NOW}, .count = 2, .repeats = true};

	begin();
	CHECK(work(&engine) == 0);
	CHECK_INT((int64_t)engine.offers, 3);
	CHECK(engine.there[2]);
	CHECK_INT((int64_t)ready_jobs(), 0);
	end();
}

static void what_is_refused_is_buried(void)
{
	struct engine engine = {.says = (enum says[]){NOT_NOW, NEVER_MINE}, .count = 2};

	begin();
	CHECK(work(&engine) == 0);
	CHECK_INT((int64_t)engine.offers, 2);
	CHECK_INT((int64_t)buried_jobs(), 1);
	end();
}

int main(int argc, char **argv)
{
	setproctitle_init(argc, argv, environ);
	return UNIT_RUN(TEST(what_is_not_answered_is_offered_again),
	    TEST(an_answer_to_an_earlier_offer_counts_no_more), TEST(what_is_refused_is_buried));
}
