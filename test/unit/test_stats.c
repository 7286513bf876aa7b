/* What the statistics count, when, and what they bear. By a clock of the test's own. */
#include "spool/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/clock.h"
#include "scratch.h"

static int64_t now_ms;

int64_t clock_real_ms(void)
{
	return now_ms;
}

uint64_t clock_real_ns(void)
{
	return (uint64_t)now_ms * 1000000;
}

int64_t clock_stamp_ms(void)
{
	return now_ms;
}

int64_t clock_mono_ms(void)
{
	return now_ms;
}

enum { MINUTE = 60000, HOUR = 60 * MINUTE, PROCESSES = 8, ROUNDS = 20000 };
static const struct stats_news ran_5ms = {.count[COUNT_FINISHED] = 1, .waited_ms = -1, .ran_ms = 5};

static struct spool *spool;
static struct queue queue;

static void begin(void)
{
	now_ms = INT64_C(1800000000000) / STATS_SPAN_MS * STATS_SPAN_MS;
	scratch_make();
	spool = spool_open(scratch, true);
	CHECK(spool && queue_open(&queue, spool, "q", true) == 0);
	CHECK(stats_check(&queue, true) == 0);
	stats_keep(&queue, false);
}

static void end(void)
{
	queue_close(&queue);
	spool_close(spool);
	scratch_remove();
}

static struct queue_stats read_all(void)
{
	struct queue_stats stats = {0};

	CHECK(spool_stats(spool, "q", &stats) == 0);
	return stats;
}

static void count(int times)
{
	while (times-- > 0)
		stats_add(&queue, &ran_5ms);
}

static int64_t finished(const struct stats_period *period)
{
	return (int64_t)period->count[COUNT_FINISHED];
}

static void check_finished(int64_t all, int64_t late)
{
	struct queue_stats stats = read_all();

	CHECK_INT(finished(&stats.all), all);
	CHECK_INT(finished(&stats.late), late);
	CHECK_INT((int64_t)stats.late.ran.bucket[histogram_bucket(5)], late);
}

static void count_sent(uint64_t times)
{
	const struct stats_news sent = {.count[COUNT_SENT] = times, .waited_ms = -1, .ran_ms = -1};

	stats_add(&queue, &sent);
}

static void what_is_counted_is_read(void)
{
	struct queue_stats stats;

	begin();
	count(3);
	count_sent(7);
	now_ms += 2 * MINUTE;
	stats = read_all();
	check_finished(3, 3);
	CHECK_INT((int64_t)stats.all.count[COUNT_SENT], 7);
	CHECK_INT(stats.since_ms, now_ms - 2 * MINUTE);
	CHECK_INT(stats.all.ms, 2 * MINUTE);
	CHECK_INT(stats.late.ms, 2 * MINUTE);
	CHECK_INT(histogram_percentile(&stats.all.ran, 50), 5);
	CHECK_INT(histogram_percentile(&stats.all.waited, 50), -1);
	end();
}

static void the_last_hour_leaves_out_what_was_before(void)
{
	begin();
	count(1);
	now_ms += 30 * MINUTE;
	count(2);
	now_ms += 29 * MINUTE;
	check_finished(3, 3);
	now_ms += 6 * MINUTE;
	check_finished(3, 2);
	CHECK_INT(read_all().late.ms, HOUR);
	now_ms += 4 * MINUTE;
	count(4);
	check_finished(7, 6);
	CHECK_INT(read_all().late.ms, HOUR + 4 * MINUTE);
	now_ms += HOUR + 6 * MINUTE;
	check_finished(7, 0);
	end();
}

static void each_span_of_many_hours_is_left_behind(void)
{
	begin();
	for (int i = 1; i <= 40; i++) {
		count(1);
		check_finished(i, i < STATS_SPANS ? i : STATS_SPANS);
		now_ms += STATS_SPAN_MS;
	}
	end();
}

static void a_clock_that_was_set_back_does_no_harm(void)
{
	begin();
	now_ms += 3 * HOUR;
	count(5);
	now_ms -= 2 * HOUR;
	count(1);
	check_finished(6, 1);
	now_ms += 30 * MINUTE;
	count(1);
	check_finished(7, 2);
	now_ms -= 24 * HOUR;
	CHECK_INT(read_all().all.ms, 0);
	end();
}

static struct stats_file *map_file(void)
{
	int fd = openat(queue.fd, stats_name, O_RDWR);
	struct stats_file *file =
	    mmap(NULL, sizeof *file, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(file != MAP_FAILED);
	close(fd);
	return file;
}

/* As of a process that was killed while it copied. */
static void half_a_copy_is_not_read(void)
{
	struct stats_file *file;
	size_t at;

	begin();
	count(1);
	file = map_file();
	at = (size_t)(now_ms / STATS_SPAN_MS % STATS_SPANS);
	file->span[at] |= 1;
	file->then[at][COUNT_FINISHED] = 1000;
	count(1);
	check_finished(2, 0);
	now_ms += STATS_SPAN_MS;
	count(1);
	check_finished(3, 1);
	now_ms += 12 * STATS_SPAN_MS;
	count(1);
	check_finished(4, 2);
	munmap(file, sizeof *file);
	end();
}

/* The span changes while all of them count. */
static void nothing_is_lost_when_many_count(void)
{
	struct queue_stats stats;
	pid_t child[PROCESSES];
	int status;

	begin();
	count(1);
	for (int i = 0; i < PROCESSES; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			for (int k = 0; k < ROUNDS; k++) {
				now_ms += k % 100 ? 0 : STATS_SPAN_MS;
				count(1);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++)
		CHECK(waitpid(child[i], &status, 0) == child[i] && status == 0);
	now_ms += (int64_t)ROUNDS / 100 * STATS_SPAN_MS;
	stats = read_all();
	CHECK_INT(finished(&stats.all), PROCESSES * ROUNDS + 1);
	end();
}

static void the_first_of_many_makes_the_file(void)
{
	pid_t child[PROCESSES];
	int status;

	begin();
	stats_close(&queue);
	CHECK(unlinkat(queue.fd, stats_name, 0) == 0);
	for (int i = 0; i < PROCESSES; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			stats_keep(&queue, true);
			count_sent(3);
			_exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++)
		CHECK(waitpid(child[i], &status, 0) == child[i] && status == 0);
	CHECK_INT((int64_t)read_all().all.count[COUNT_SENT], 3 * PROCESSES);
	end();
}

/* Each access would be a SIGBUS. */
static void a_file_that_is_cut_while_it_is_mapped_kills_nobody(void)
{
	struct queue_stats stats;
	int fd;

	begin();
	count(1);
	fd = openat(queue.fd, stats_name, O_RDWR);
	CHECK(ftruncate(fd, 0) == 0);
	close(fd);
	count(2);
	CHECK(spool_stats(spool, "q", &stats) == -1 && errno == EBADMSG);
	CHECK(stats_check(&queue, true) == -1 && errno == EBADMSG);
	stats_keep(&queue, false);
	count(1);
	CHECK(unlinkat(queue.fd, stats_name, 0) == 0 && stats_check(&queue, true) == 0);
	count(1);
	check_finished(1, 1);
	end();
}

static void write_over(off_t offset, const char *text)
{
	int fd = openat(queue.fd, stats_name, O_RDWR);

	CHECK(pwrite(fd, text, strlen(text), offset) == (ssize_t)strlen(text));
	close(fd);
}

static void another_version_is_left_alone(void)
{
	struct queue_stats stats;

	begin();
	count(1);
	stats_close(&queue);
	write_over(0, "qspool stats 2\n");
	CHECK(stats_check(&queue, true) == -1 && errno == EBADMSG);
	count(1);
	count_sent(1);
	CHECK(spool_stats(spool, "q", &stats) == -1 && errno == EBADMSG);
	write_over(0, STATS_MAGIC);
	CHECK(stats_check(&queue, true) == 0);
	check_finished(1, 1);
	CHECK_INT((int64_t)read_all().all.count[COUNT_SENT], 0);
	end();
}

static void what_is_removed_or_replaced_is_made_anew(void)
{
	begin();
	count(2);
	CHECK(unlinkat(queue.fd, stats_name, 0) == 0);
	count(1);
	CHECK(stats_check(&queue, true) == 0);
	now_ms += 1000;
	stats_keep(&queue, false);
	count(1);
	check_finished(1, 1);
	end();
}

static void file_has_no_hole(void)
{
	struct stat st;

	begin();
	CHECK(fstatat(queue.fd, stats_name, &st, 0) == 0);
	CHECK_INT(st.st_size, sizeof(struct stats_file));
	CHECK(st.st_blocks * 512 >= st.st_size);
	end();
}

/* What outlives a version: another size or place needs another number in the magic. */
static void the_layout_is_what_the_page_says(void)
{
	CHECK_INT(sizeof(struct stats_file), 30600);
	CHECK_INT(offsetof(struct stats_file, span), 32);
	CHECK_INT(offsetof(struct stats_file, now), 136);
	CHECK_INT(offsetof(struct stats_file, then), 136 + 2176);
	CHECK_INT(STATS_WAITED, 16);
	CHECK_INT(STATS_RAN, 144);
	CHECK_INT(COUNT_SENT, 1);
	CHECK_INT(COUNT_DELETED, 14);
}

int main(void)
{
	return UNIT_RUN(TEST(what_is_counted_is_read),
	    TEST(the_last_hour_leaves_out_what_was_before),
	    TEST(each_span_of_many_hours_is_left_behind),
	    TEST(a_clock_that_was_set_back_does_no_harm), TEST(half_a_copy_is_not_read),
	    TEST(nothing_is_lost_when_many_count), TEST(the_first_of_many_makes_the_file),
	    TEST(a_file_that_is_cut_while_it_is_mapped_kills_nobody),
	    TEST(another_version_is_left_alone), TEST(what_is_removed_or_replaced_is_made_anew),
	    TEST(file_has_no_hole), TEST(the_layout_is_what_the_page_says));
}
