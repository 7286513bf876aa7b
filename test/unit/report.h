/* What a parser says is wrong with lines: "LINE: WHY" for each. */
#ifndef QSPOOL_TEST_REPORT_H
#define QSPOOL_TEST_REPORT_H

#include <stdio.h>
#include <string.h>

struct report {
	unsigned count;
	char text[512];
};

static inline void note(void *arg, unsigned line, const char *why)
{
	struct report *report = arg;
	size_t len = strlen(report->text);

	report->count++;
	snprintf(report->text + len, sizeof report->text - len, "%u: %s\n", line, why);
}

#endif
