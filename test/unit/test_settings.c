#include "format/settings.h"

#include <stdlib.h>

#include "report.h"
#include "unit.h"

static void parse(const char *text, size_t len, struct settings *parsed, struct report *report)
{
	char *copy = malloc(len ? len : 1);

	if (copy && text)
		memcpy(copy, text, len);
	settings_init(parsed);
	*report = (struct report){0};
	settings_parse(copy, len, parsed, note, report);
	free(copy);
}

static void right_settings(void)
{
	static const char text[] = "# how jobs run here\n"
	                           "\n"
	                           "attempts 5\n"
	                           "  backoff\t1s..1h \r\n"
	                           " \t\n"
	                           "   # indented\n"
	                           "jobs 4\n"
	                           "memory 512M\n"
	                           "cpu 1m\n"
	                           "nice 19\n"
	                           "weight\t1000\n"
	                           "arg --size\n"
	                           "arg two words\n"
	                           "timeout   30s";
	struct settings settings;
	struct report report;

	parse(text, sizeof text - 1, &settings, &report);
	CHECK_STR(report.text, "");
	CHECK(settings.options.has_attempts && settings.options.attempts == 5);
	CHECK(settings.options.has_backoff && settings.options.backoff.base_ms == 1000 &&
	    settings.options.backoff.cap_ms == 3600000);
	CHECK(settings.options.has_timeout && settings.options.timeout_ms == 30000);
	CHECK(settings.options.has_memory && settings.options.memory == 512 << 20);
	CHECK(settings.options.has_cpu && settings.options.cpu_ms == 60000);
	CHECK(settings.options.has_nice && settings.options.nice == 19);
	CHECK(!settings.options.has_expires && !settings.options.name);
	CHECK(settings.jobs == 4 && settings.weight == 1000);
	CHECK(settings.options.args.count == 2);
	CHECK_STR(settings.options.args.item[1], "two words");

	settings_release(&settings);
	parse("", 0, &settings, &report);
	CHECK(report.count == 0 && meta_empty(&settings.options));
	parse("\n", 1, &settings, &report);
	CHECK(report.count == 0 && meta_empty(&settings.options));
}

static void wrong_settings(void)
{
	static const char text[] = "attempts 0\n"
	                           "attempts 7\n"
	                           "attempts 8\n"
	                           "\n"
	                           "env A=b\n"
	                           "name x\n"
	                           "key k\n"
	                           "keep 1d\n"
	                           "resource 1 a\n"
	                           "colour red\n"
	                           "timeout\n"
	                           "timeout 1s\0m\n"
	                           "backoff 1s 2s\n"
	                           "qspool 1\n"
	                           "timeout 1m # a minute\n"
	                           "timeout 1m\n"
	                           "jobs 0\n"
	                           "jobs 10001\n"
	                           "jobs 2\n"
	                           "jobs 3\n"
	                           "weight -1\n"
	                           "weight 1001\n";
	struct settings settings;
	struct report report;

	parse(text, sizeof text - 1, &settings, &report);
	CHECK_STR(report.text,
	    "1: wrong value\n"
	    "3: repeated option\n"
	    "5: not an option of a queue\n"
	    "6: not an option of a queue\n"
	    "7: not an option of a queue\n"
	    "8: not an option of a queue\n"
	    "9: not an option of a queue\n"
	    "10: unknown option\n"
	    "11: wrong value\n"
	    "12: NUL byte\n"
	    "13: wrong value\n"
	    "14: unknown option\n"
	    "15: wrong value\n"
	    "17: wrong value\n"
	    "18: wrong value\n"
	    "20: repeated option\n"
	    "21: wrong value\n"
	    "22: wrong value\n");
	CHECK(settings.jobs == 2 && settings.weight == 0);
	CHECK(settings.options.has_attempts && settings.options.attempts == 7);
	CHECK(settings.options.has_timeout && settings.options.timeout_ms == 60000);
	CHECK(!settings.options.has_backoff && settings.options.env.count == 0 &&
	    !settings.options.name);
}

static void long_settings(void)
{
	char text[2000];
	struct settings settings;
	struct report report;

	memset(text, 'x', sizeof text);
	parse(text, sizeof text, &settings, &report);
	CHECK_STR(report.text, "1: line too long\n");

	text[0] = '#';
	parse(text, sizeof text, &settings, &report);
	CHECK_STR(report.text, "");

	memset(text, ' ', sizeof text);
	memcpy(text, "attempts", 8);
	text[1022] = '3';
	parse(text, sizeof text, &settings, &report);
	CHECK(report.count == 0 && settings.options.attempts == 3);
	text[1023] = '3';
	parse(text, sizeof text, &settings, &report);
	CHECK_STR(report.text, "1: line too long\n");
}

int main(void)
{
	return UNIT_RUN(TEST(right_settings), TEST(wrong_settings), TEST(long_settings));
}
