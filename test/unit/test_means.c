/* Courses of loads, replayed: when a further job may start. */
#include "run/means.h"

#include <unistd.h>

#include "unit.h"

/* A machine whose processes all compute: the load average follows what runs, as the kernel's does. */
struct machine {
	struct gauges gauges;
	unsigned reads;
};

static void read_machine(void *arg, struct gauges *gauges)
{
	struct machine *machine = arg;

	machine->reads++;
	*gauges = machine->gauges;
}

static struct machine idle(void)
{
	return (struct machine){.gauges = {.load = 0, .available = INT64_C(1) << 30}};
}

static void average(struct machine *machine, int64_t ms)
{
	machine->gauges.load +=
	    (machine->gauges.runnable - machine->gauges.load) * (double)ms / 60000;
}

static struct means limited(struct machine *machine, struct work_means limits)
{
	struct means m;

	means_init(&m, &limits, read_machine, machine);
	return m;
}

static void without_limits_nothing_is_read(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1});

	for (unsigned n = 0; n < 100; n++)
		CHECK(means_allow(&m, n, 1000, 5000));
	CHECK_INT(machine.reads, 0);
	CHECK(means_next(&m) == INT64_MAX);
}

/* A course of 200 jobs of 3 s on an idle machine: at most MOST at once. Returns how long it took. */
static int64_t work_off(struct means *m, struct machine *machine, unsigned most)
{
	int64_t ends[200] = {0}, now = 5000;
	unsigned left = 200, running = 0, first = 0;

	for (; left > 0 || running > 0; now += 20) {
		while (running > 0 && ends[first] <= now) {
			first++;
			running--;
		}
		/* Now and then all wait for a disk just when they are looked at. */
		machine->gauges.runnable = now % 300 < 40 ? 0 : running;
		while (left > 0 && running < 50 && means_allow(m, running, left, now)) {
			ends[200 - left--] = now + 3000;
			running++;
			CHECK(running <= most);
		}
		average(machine, 20);
		CHECK(machine->gauges.load < 3);
		if (now > 3600000)
			break;
	}
	return now - 5000;
}

static void the_load_stays_where_it_is_to_be(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1, .max_load = 2});
	int64_t took = work_off(&m, &machine, 2);

	CHECK(took < 330 * 1000); /* 300 s, were there always two */
}

static void a_sample_that_missed_them_starts_nothing(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1, .max_load = 4});
	int64_t now = 5000;

	for (unsigned n = 0; n < 4; n++)
		CHECK(means_allow(&m, n, 10, now));
	for (; now < 9000; now += 100) {
		machine.gauges.runnable = now % 200 ? 0 : 4;
		CHECK(!means_allow(&m, 4, 10, now));
	}
	machine.gauges.runnable = 1; /* and stays: three of them wait for something */
	for (; now < 12000 && !means_allow(&m, 4, 10, now); now += 100)
		;
	CHECK(now < 10000);
}

static void others_count_too(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1, .max_load = 4});

	machine.gauges.runnable = 4;
	CHECK(means_allow(&m, 0, 10, 5000));
	CHECK(!means_allow(&m, 1, 10, 5000));
	CHECK_INT(means_next(&m), 5100);
	machine.gauges.runnable = 1;
	CHECK(means_allow(&m, 1, 10, 6500));
}

static void the_average_does_not_forget(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1, .max_load = 4});

	machine.gauges.load = 4;
	CHECK(!means_allow(&m, 1, 10, 5000));
	machine.gauges.load = 3.99;
	CHECK(means_allow(&m, 1, 10, 6000));
}

static void jobs_that_sleep_are_started_one_after_the_other(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1, .max_load = 2});
	unsigned running = 0;

	for (int64_t now = 5000; now <= 15000; now += 50)
		while (running < 50 && means_allow(&m, running, 100, now))
			running++;
	CHECK(running >= 15 && running <= 30);
}

/* Of 90 ms, and the next one after 10 ms. */
static void short_jobs_follow_each_other_at_once(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine,
	    (struct work_means){.min = 1, .max_load = 2, .min_free = 1, .max_pressure = 50});
	unsigned running = 0, refused = 0;

	for (int64_t now = 5000; now < 9000; now += 100) {
		for (running = 0; running < 2; running++)
			if (!means_allow(&m, running, 100, now))
				break;
		refused += running < 2 && now > 6500;
		means_count(&m, running, now + 1);
		means_count(&m, 0, now + 90);
	}
	CHECK_INT(refused, 0);
}

static void memory_and_pressure(void)
{
	struct machine machine = idle();
	struct work_means limits = {.min = 1, .min_free = 1 << 20, .max_pressure = 10};
	struct means m = limited(&machine, limits);

	means_count(&m, 4, 1000);
	CHECK(means_allow(&m, 4, 10, 5000));
	machine.gauges.available = (1 << 20) - 1;
	CHECK(!means_allow(&m, 4, 10, 6000));
	CHECK(means_news(&m, 6000) == MEANS_HOLDS);
	CHECK(strstr(m.reason, "memory are available"));
	machine.gauges.available++;
	CHECK(means_allow(&m, 4, 10, 7000));
	machine.gauges.pressure = 10;
	CHECK(!means_allow(&m, 4, 10, 8000));
	machine.gauges.pressure = 9.99;
	CHECK(means_allow(&m, 4, 10, 9000));
}

/* Each job doubles what is taken, and is seen a second later. */
static void what_was_started_is_seen_before_as_many_more_are(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1, .min_free = 1});
	unsigned running = 0, before = 0;

	for (int64_t now = 5000; now < 20000; now += 20) {
		if (now % 1000 == 0) {
			CHECK(running <= 4 * before + 2);
			before = running;
		}
		while (running < 500 && means_allow(&m, running, 1000, now))
			running++;
	}
	CHECK_INT(running, 500);
}

static void what_is_not_known_limits_nothing(void)
{
	struct machine machine = {.gauges = {-1, -1, -1, -1}};
	struct work_means limits = {.min = 1, .max_load = 1, .min_free = 1, .max_pressure = 1};
	struct means m = limited(&machine, limits);

	means_count(&m, 5, 1000);
	CHECK(means_allow(&m, 5, 10, 5000));
}

static void some_may_always_run(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 3, .max_load = 1});

	machine.gauges.load = machine.gauges.runnable = 50;
	CHECK(means_allow(&m, 2, 10, 5000));
	CHECK(!means_allow(&m, 3, 10, 5000));
	m.limits.min = 0;
	CHECK(!means_allow(&m, 0, 10, 9000));
}

static void no_more_run_than_wait(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 2, .by_length = true});

	CHECK(means_allow(&m, 1, 1, 5000));
	CHECK(!means_allow(&m, 2, 2, 5000));
	CHECK(means_allow(&m, 2, 3, 5000));
	CHECK(!means_allow(&m, 3, 3, 5000));
	CHECK(means_news(&m, 5000) == MEANS_NO_NEWS);
	/* Those that run take long: one more for each second in which some waited for nothing. */
	CHECK_INT(means_next(&m), 6000);
	CHECK(!means_allow(&m, 3, 1, 5999));
	CHECK(means_allow(&m, 3, 1, 6000));
	CHECK(!means_allow(&m, 4, 1, 6001));
	CHECK_INT(means_next(&m), 7001);
	CHECK(means_allow(&m, 4, 5, 6500));
	CHECK(!means_allow(&m, 5, 5, 7001));
}

static void it_is_said_once_that_jobs_are_held_back(void)
{
	struct machine machine = idle();
	struct means m = limited(&machine, (struct work_means){.min = 1, .max_load = 2});
	int64_t now = 5000;

	machine.gauges.load = 7;
	for (; now < 30000; now += 100) {
		CHECK(!means_allow(&m, 1, 10, now));
		CHECK(means_news(&m, now) == (now == 5000 ? MEANS_HOLDS : MEANS_NO_NEWS));
	}
	CHECK_STR(m.reason, "load 7.00, and 0 processes run, the limit is 2");
	machine.gauges.load = 0;
	CHECK(means_allow(&m, 1, 10, now));
	CHECK(means_news(&m, now) == MEANS_NO_NEWS);
	means_count(&m, 2, now + 200);
	now = means_next(&m);
	CHECK_INT(now, 29900 + 10000);
	CHECK(means_news(&m, now) == MEANS_LETS_GO);
	CHECK(means_news(&m, now) == MEANS_NO_NEWS);
	CHECK(means_next(&m) == INT64_MAX);
}

static void this_machine(void)
{
	struct gauge_files files = GAUGES_CLOSED;
	struct gauges gauges;

	gauges_read(&files, &gauges);
	CHECK(
	    gauges.load < 0 && gauges.runnable < 0 && gauges.available < 0 && gauges.pressure < 0);
	gauges_open(&files);
	gauges_read(&files, &gauges);
	CHECK(gauges.load >= 0 && gauges.runnable >= 0 && gauges.runnable < 100000);
	CHECK(gauges.available > 1 << 20 &&
	    gauges.available <= sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
	CHECK(files.fd[GAUGE_PRESSURE_IO] < 0 || (gauges.pressure >= 0 && gauges.pressure <= 100));
	gauges_close(&files);
}

int main(void)
{
	return UNIT_RUN(TEST(without_limits_nothing_is_read),
	    TEST(the_load_stays_where_it_is_to_be), TEST(a_sample_that_missed_them_starts_nothing),
	    TEST(others_count_too), TEST(the_average_does_not_forget),
	    TEST(jobs_that_sleep_are_started_one_after_the_other),
	    TEST(short_jobs_follow_each_other_at_once), TEST(memory_and_pressure),
	    TEST(what_was_started_is_seen_before_as_many_more_are),
	    TEST(what_is_not_known_limits_nothing), TEST(some_may_always_run),
	    TEST(no_more_run_than_wait), TEST(this_machine),
	    TEST(it_is_said_once_that_jobs_are_held_back));
}
