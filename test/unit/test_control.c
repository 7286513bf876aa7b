#include "format/control.h"

#include "report.h"
#include "unit.h"

static void parse(const char *text, struct control *control, struct report *report)
{
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);

	if (copy)
		memcpy(copy, text, len);
	control_init(control);
	*report = (struct report){0};
	control_parse(copy, len, control, note, report);
	free(copy);
}

/* One line that trips RESOURCE. */
static void check_trip(const char *text, const char *resource, int64_t for_ms)
{
	struct control control;
	struct report report;

	parse(text, &control, &report);
	CHECK_STR(report.text, "");
	if (CHECK_INT((int64_t)control.trips, 1)) {
		CHECK_STR(control.tripped[0].resource, resource);
		CHECK_INT(control.tripped[0].for_ms, for_ms);
	}
	CHECK(control.verdict == CONTROL_NONE);
	control_release(&control);
	CHECK_INT((int64_t)control.trips, 0);
}

static void check_wrong(const char *text, const char *why)
{
	struct control control;
	struct report report;

	parse(text, &control, &report);
	CHECK_STR(report.text, why);
	CHECK_INT((int64_t)control.trips, 0);
	control_release(&control);
}

static void resources(void)
{
	check_trip("trip disk", "disk", 0);
	check_trip("trip disk 300\n", "disk", 300000);
	check_trip(" trip\t disk \t 5m \r\n", "disk", 300000);
	check_trip("trip disk 1ms", "disk", 1);
	check_trip("trip disk 30d", "disk", CONTROL_WAIT_MAX_MS);
	check_trip("trip a\\040b\\sc\\n 7d", "a b c\n", CONTROL_WAIT_MAX_MS);
	check_trip("trip caf\\M-C\\M-) 1", "caf\xc3\xa9", 1000);
	check_trip("trip a\\\\b", "a\\b", 0);
}

static void wrong_resources(void)
{
	check_wrong("trip", "1: no resource\n");
	check_wrong("trip \n", "1: no resource\n");
	check_wrong("trip \\$ 1", "1: no resource\n");
	check_wrong("trip a\\0 1", "1: not a name as vis(1) writes it\n");
	check_wrong("trip \\Mx 1", "1: not a name as vis(1) writes it\n");
	check_wrong("\ntrip disk soon", "2: not a duration\n");
	check_wrong("trip disk space 5m", "1: not a duration\n");
	check_wrong("trip disk 5m 5m", "1: not a duration\n");
	check_wrong("trip disk -1", "1: not a duration\n");
	check_wrong("trip disk 0", "1: not a time to wait\n");
	check_wrong("tripdisk 1", "1: unknown verb\n");
}

static void of_each_resource_the_last_trip_counts(void)
{
	struct control control;
	struct report report;

	parse("trip a 1\ntrip b\ntrip a x\ntrip \\141 2\ntrip c 3", &control, &report);
	CHECK_STR(report.text, "3: not a duration\n");
	if (CHECK_INT((int64_t)control.trips, 3)) {
		CHECK_STR(control.tripped[0].resource, "a");
		CHECK_INT(control.tripped[0].for_ms, 2000);
		CHECK_STR(control.tripped[1].resource, "b");
		CHECK_STR(control.tripped[2].resource, "c");
	}
	control_release(&control);
}

static void so_many_and_no_more(void)
{
	char text[CONTROL_TRIPS_MAX * 16 + 64] = "";
	struct control control;
	struct report report;

	for (int i = 0; i <= CONTROL_TRIPS_MAX; i++)
		sprintf(text + strlen(text), "trip r%d\n", i);
	strcat(text, "trip r0 1\ntrip x\n");
	parse(text, &control, &report);
	CHECK_STR(report.text, "17: too many trips\n19: too many trips\n");
	CHECK_INT((int64_t)control.trips, CONTROL_TRIPS_MAX);
	CHECK_INT(control.tripped[0].for_ms, 1000);
	CHECK_STR(control.tripped[CONTROL_TRIPS_MAX - 1].resource, "r15");
	control_release(&control);
}

/* A text for people is cut; half a name or half a duration would be another one. */
static void long_values(void)
{
	char text[1200] = "";
	struct control control;
	struct report report;

	snprintf(text, sizeof text, "trip %0*d", CONTROL_TEXT_MAX, 1);
	check_trip(text, text + 5, 0);
	snprintf(text, sizeof text, "trip %0*d", CONTROL_TEXT_MAX + 1, 1);
	check_wrong(text, "1: too long\n");
	snprintf(text, sizeof text, "trip disk%*s300", CONTROL_TEXT_MAX, "");
	check_wrong(text, "1: too long\n");
	snprintf(text, sizeof text, "defer %0*d", CONTROL_TEXT_MAX + 1, 5);
	check_wrong(text, "1: too long\n");

	snprintf(text, sizeof text, "note %0*d", CONTROL_TEXT_MAX + 1, 1);
	parse(text, &control, &report);
	CHECK_STR(report.text, "");
	CHECK(control.notes.count == 1 && strlen(control.notes.item[0]) == CONTROL_TEXT_MAX);
	control_release(&control);
}

static void beside_other_verbs(void)
{
	struct control control;
	struct report report;

	parse("defer 1m\n\ntrip disk\nprogress 1/2\n", &control, &report);
	CHECK_STR(report.text, "");
	CHECK(control.verdict == CONTROL_DEFER && control.wait_ms == 60000);
	CHECK_STR(control.progress, "1/2");
	CHECK_INT((int64_t)control.trips, 1);
	control_release(&control);
}

int main(void)
{
	return UNIT_RUN(TEST(resources), TEST(wrong_resources),
	    TEST(of_each_resource_the_last_trip_counts), TEST(so_many_and_no_more),
	    TEST(long_values), TEST(beside_other_verbs));
}
