/* Who starts the next job, in a time of its own: an hour takes no time here. */
#include "run/shares.c" /* NOLINT(bugprone-suspicious-include): with a clock of ours */

#include "unit.h"

enum { SLOTS_MAX = 10, MS = 1000, S = 1000 * MS, MINUTE = 60 * S };

static int64_t now_us;

int64_t clock_mono_us(void)
{
	return now_us;
}

struct sim_queue {
	struct worker worker;
	int64_t takes_us; /* a job of it */
	int64_t had_us;   /* by those that have ended */
	size_t ceiling;
	bool stuck; /* none of its jobs can run */
};

static struct pool pool;
static struct sim_queue queues[3];
static struct running *slots;
static unsigned slot_count;

bool start_allowed(const struct worker *w)
{
	const struct sim_queue *q = (const struct sim_queue *)w;

	return w->share.running < q->ceiling;
}

static void begin(unsigned slots_there)
{
	pool = (struct pool){0};
	memset(slots, 0, SLOTS_MAX * sizeof *slots);
	slot_count = slots_there;
	now_us = (int64_t)1000 * MINUTE;
	for (int i = 2; i >= 0; i--) {
		queues[i] = (struct sim_queue){
		    .worker = {.pool = &pool}, .takes_us = 10 * MS, .ceiling = SLOTS_MAX};
		LIST_INSERT_HEAD(&pool.workers, &queues[i].worker, link);
	}
}

static void come(int queue, unsigned jobs)
{
	queues[queue].worker.backlog.ready.count = jobs;
}

static struct running *free_slot(void)
{
	for (unsigned i = 0; i < slot_count; i++)
		if (!slots[i].active)
			return &slots[i];
	return NULL;
}

static void start(struct running *r, struct worker *w)
{
	struct sim_queue *q = (struct sim_queue *)w;

	w->backlog.ready.count--;
	if (q->stuck) {
		shares_tried(w);
		return;
	}
	*r = (struct running){.worker = w, .active = true, .started_us = now_us};
	r->end_at = now_us + q->takes_us;
	shares_started(r);
}

static void end(struct running *r)
{
	struct sim_queue *q = (struct sim_queue *)r->worker;

	now_us = r->end_at;
	shares_ended(r);
	q->had_us += now_us - r->started_us;
	r->active = false;
}

static struct running *next_to_end(void)
{
	struct running *next = NULL;

	for (unsigned i = 0; i < slot_count; i++)
		if (slots[i].active && (!next || slots[i].end_at < next->end_at))
			next = &slots[i];
	return next;
}

static void run_for(int64_t us)
{
	int64_t until = now_us + us;

	for (;;) {
		struct running *r;
		struct worker *w;

		while ((w = shares_next(&pool)) != NULL && (r = free_slot()) != NULL)
			start(r, w);
		r = next_to_end();
		if (!r || r->end_at > until)
			break;
		end(r);
	}
	now_us = until;
	shares_next(&pool);
}

static void forget_what_was_had(void)
{
	for (int i = 0; i < 3; i++)
		queues[i].had_us = 0;
}

/* Whether QUEUE had so much of all, in percent, and no more than five more or less. */
static bool had_about(int queue, int64_t percent)
{
	int64_t all = queues[0].had_us + queues[1].had_us + queues[2].had_us;
	int64_t got = all > 0 ? 100 * queues[queue].had_us / all : 0;

	if (got >= percent - 5 && got <= percent + 5)
		return true;
	printf("# queue %d had %lld%%, not %lld%%\n", queue, (long long)got, (long long)percent);
	return false;
}

static void weights_are_shares(void)
{
	for (unsigned n = 1; n <= SLOTS_MAX; n++) {
		begin(n);
		queues[0].worker.settings.weight = 3;
		come(0, 100000);
		come(1, 100000);
		run_for(MINUTE);
		CHECK(had_about(0, 75));
		CHECK(had_about(1, 25));
	}
}

static void the_command_line_goes_before_the_settings(void)
{
	const struct work_queue asked = {.weight = 3};

	begin(1);
	queues[0].worker.asked = &asked;
	queues[0].worker.settings.weight = 1000;
	come(0, 100000);
	come(1, 100000);
	run_for(MINUTE);
	CHECK(had_about(0, 75));
}

static void time_is_shared_not_jobs(void)
{
	for (unsigned n = 1; n <= 3; n++) {
		begin(n);
		queues[0].takes_us = MINUTE;
		queues[1].takes_us = 100 * MS;
		come(0, 1000);
		come(1, 1000000);
		run_for((int64_t)200 * MINUTE);
		CHECK(had_about(0, 50));
	}
}

static void what_is_idle_lends_its_share(void)
{
	begin(2);
	queues[0].worker.settings.weight = 1000;
	come(1, 100000);
	run_for(MINUTE);
	CHECK(had_about(1, 100));
	CHECK_INT(queues[1].had_us / S, 120);
}

static void who_was_idle_gets_no_credit(void)
{
	for (unsigned n = 1; n <= SLOTS_MAX; n++) {
		begin(n);
		come(0, 10000000);
		run_for((int64_t)60 * MINUTE);
		come(1, 100000);
		forget_what_was_had();
		run_for(10 * S);
		CHECK(had_about(0, 50));
	}
}

/* One long job of a queue that nobody kept from it. */
static void who_ran_alone_owes_nothing(void)
{
	for (unsigned n = 1; n <= 2; n++) {
		begin(n);
		queues[0].takes_us = (int64_t)60 * MINUTE;
		come(0, 1);
		run_for((int64_t)61 * MINUTE);
		queues[0].takes_us = 10 * MS;
		come(0, 100000);
		come(1, 100000);
		forget_what_was_had();
		run_for(10 * S);
		CHECK(had_about(0, 50));
	}
}

static void who_comes_late_in_a_long_job_waits_for_no_more_than_was_missed(void)
{
	begin(1);
	queues[0].takes_us = (int64_t)60 * MINUTE;
	come(0, 1000);
	run_for((int64_t)59 * MINUTE);
	come(1, 100000);
	run_for(MINUTE);
	queues[0].takes_us = 10 * MS;
	come(0, 100000);
	forget_what_was_had();
	run_for((int64_t)3 * MINUTE);
	CHECK(queues[1].had_us >= MINUTE);
	CHECK(queues[0].had_us >= MINUTE / 2);
}

static void a_new_weight_counts_from_now_on(void)
{
	static const unsigned weights[][2] = {{1, 9}, {9, 1}};

	for (int i = 0; i < 2; i++) {
		begin(1);
		queues[0].worker.settings.weight = weights[i][0];
		come(0, 10000000);
		come(1, 10000000);
		run_for((int64_t)60 * MINUTE);
		queues[0].worker.settings.weight = weights[i][1];
		forget_what_was_had();
		run_for(10 * S);
		CHECK(had_about(0, weights[i][1] == 9 ? 90 : 50));
	}
}

/* What they were expected to take is not what others owe who came meanwhile. */
static void long_jobs_that_turn_out_short(void)
{
	begin(SLOTS_MAX);
	queues[0].takes_us = (int64_t)60 * MINUTE;
	come(0, 10000000);
	run_for((int64_t)600 * MINUTE);
	queues[0].takes_us = 10 * MS;
	run_for((int64_t)60 * MINUTE + 5 * MS);
	come(1, 10000000);
	forget_what_was_had();
	run_for(MINUTE);
	CHECK(queues[0].had_us > 0);
	CHECK(had_about(1, 50));
}

static void a_ceiling_owes_nothing(void)
{
	begin(SLOTS_MAX);
	queues[0].ceiling = 1;
	queues[0].worker.settings.weight = 1000;
	come(0, 10000000);
	come(1, 10000000);
	run_for((int64_t)60 * MINUTE);
	CHECK(had_about(0, 10));
	come(2, 100000);
	forget_what_was_had();
	run_for(10 * S);
	CHECK(had_about(1, 45));
	CHECK(had_about(2, 45));
}

static void a_crowd_that_cannot_run_keeps_nobody_waiting(void)
{
	begin(1);
	queues[0].stuck = true;
	come(0, 60000);
	come(1, 10000);
	run_for(10 * S);
	CHECK_INT(queues[1].had_us / S, 10);
	CHECK(queues[0].worker.backlog.ready.count > 0);
}

int main(void)
{
	int failed;

	slots = calloc(SLOTS_MAX, sizeof *slots);
	if (!slots)
		return 1;
	failed = UNIT_RUN(TEST(weights_are_shares), TEST(the_command_line_goes_before_the_settings),
	    TEST(time_is_shared_not_jobs), TEST(what_is_idle_lends_its_share),
	    TEST(who_was_idle_gets_no_credit), TEST(who_ran_alone_owes_nothing),
	    TEST(who_comes_late_in_a_long_job_waits_for_no_more_than_was_missed),
	    TEST(a_new_weight_counts_from_now_on), TEST(long_jobs_that_turn_out_short),
	    TEST(a_ceiling_owes_nothing), TEST(a_crowd_that_cannot_run_keeps_nobody_waiting));
	free(slots);
	return failed;
}
