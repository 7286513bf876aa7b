#include "figures.h"

#include <string.h>

static const unsigned percents[] = {50, 95, 99};
enum { PERCENTS = sizeof percents / sizeof *percents, CELL_SIZE = WHEN_SIZE };

/* No more digits than they are worth. */
static void took(int64_t ms, char text[static CELL_SIZE])
{
	if (ms < 0)
		snprintf(text, CELL_SIZE, "-");
	else if (ms < 1000)
		snprintf(text, CELL_SIZE, "%dms", (int)ms);
	else if (ms < 60000)
		snprintf(text, CELL_SIZE, "%.1fs", (double)ms / 1000);
	else
		duration_format_short(ms, text);
}

static double per_second(uint64_t count, int64_t ms)
{
	return ms > 0 ? (double)count * 1000 / (double)ms : 0;
}

/* In a unit in which it is at least 1, if there is one. */
static void rate(double per_s, char text[static CELL_SIZE])
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	size_t i = 0;

	while (i < 3 && per_s * units[i].seconds < 1)
		i++;
	if (per_s > 0)
		snprintf(text, CELL_SIZE, "%.1f/%s", per_s * units[i].seconds, units[i].name);
	else
		snprintf(text, CELL_SIZE, "-");
}

static void row(const char *name, const char *all, const char *late)
{
	printf("%-14s %12s %12s\n", name, all, late);
}

static void put_count(const struct queue_stats *stats, enum stats_count count)
{
	char name[CELL_SIZE], all[CELL_SIZE], late[CELL_SIZE];

	snprintf(name, sizeof name, "%s", stats_count_name(count));
	for (char *c = strchr(name, '_'); c; c = strchr(c, '_'))
		*c = ' ';
	snprintf(all, sizeof all, "%llu", (unsigned long long)stats->all.count[count]);
	snprintf(late, sizeof late, "%llu", (unsigned long long)stats->late.count[count]);
	row(name, all, late);
}

static void put_rate(const char *name, const struct queue_stats *stats, enum stats_count count)
{
	char all[CELL_SIZE], late[CELL_SIZE];

	rate(per_second(stats->all.count[count], stats->all.ms), all);
	rate(per_second(stats->late.count[count], stats->late.ms), late);
	row(name, all, late);
}

static void put_times(
    const char *what, const struct histogram *all_of, const struct histogram *late_of)
{
	char name[CELL_SIZE], all[CELL_SIZE], late[CELL_SIZE];

	for (size_t i = 0; i < PERCENTS; i++) {
		snprintf(name, sizeof name, "%s p%u", what, percents[i]);
		took(histogram_percentile(all_of, percents[i]), all);
		took(histogram_percentile(late_of, percents[i]), late);
		row(name, all, late);
	}
}

void figures_table(const char *queue, const struct queue_stats *stats)
{
	char all[CELL_SIZE], late[CELL_SIZE];

	printf("queue: %s\n", queue);
	if (!stats) {
		puts("nothing was counted yet");
		return;
	}
	duration_format_short(stats->all.ms, all);
	duration_format_short(stats->late.ms, late);
	row("", "ALL", "LATE");
	row("period", all, late);
	for (enum stats_count count = COUNT_NONE + 1; count < COUNTS; count++)
		put_count(stats, count);
	put_rate("rate sent", stats, COUNT_SENT);
	put_rate("rate finished", stats, COUNT_FINISHED);
	put_times("waited", &stats->all.waited, &stats->late.waited);
	put_times("ran", &stats->all.ran, &stats->late.ran);
}

static void json_times(const char *key, const struct histogram *histogram)
{
	printf(",\"%s\":{", key);
	for (size_t i = 0; i < PERCENTS; i++) {
		int64_t ms = histogram_percentile(histogram, percents[i]);

		printf("%s\"p%u\":", i ? "," : "", percents[i]);
		if (ms < 0)
			printf("null");
		else
			printf("%.3f", (double)ms / 1000);
	}
	putchar('}');
}

static void json_period(const char *key, const struct stats_period *period)
{
	printf(",\"%s\":{\"seconds\":%.3f", key, (double)period->ms / 1000);
	for (enum stats_count count = COUNT_NONE + 1; count < COUNTS; count++)
		printf(",\"%s\":%llu", stats_count_name(count),
		    (unsigned long long)period->count[count]);
	printf(",\"sent_per_second\":%.6f", per_second(period->count[COUNT_SENT], period->ms));
	printf(
	    ",\"finished_per_second\":%.6f", per_second(period->count[COUNT_FINISHED], period->ms));
	json_times("waited_seconds", &period->waited);
	json_times("ran_seconds", &period->ran);
	putchar('}');
}

void figures_json(const char *queue, const struct queue_stats *stats)
{
	char since[WHEN_SIZE];

	if (!stats) {
		printf("{\"queue\":\"%s\",\"since\":null}\n", queue);
		return;
	}
	when_rfc3339(stats->since_ms, since);
	printf("{\"queue\":\"%s\",\"since\":\"%s\"", queue, since);
	json_period("all", &stats->all);
	json_period("late", &stats->late);
	puts("}");
}
