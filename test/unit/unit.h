/*
 * Unit tests in TAP: a test is a function, a program a table of them.
 *
 *   static void adds(void) { CHECK_INT(1 + 1, 2); }
 *   int main(void) { return UNIT_RUN(TEST(adds)); }
 *
 * A failed check says where and goes on; the test it stands in is "not ok", and
 * the program then exits with 1.
 */
#ifndef QSPOOL_TEST_UNIT_H
#define QSPOOL_TEST_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit_test {
	const char *name;
	void (*run)(void);
};

static unsigned unit_failures;

#define CHECK(condition) unit_check(condition, __FILE__, __LINE__, #condition)
#define CHECK_INT(got, want) unit_check_int(got, want, __FILE__, __LINE__, #got)
#define CHECK_STR(got, want) unit_check_str(got, want, __FILE__, __LINE__, #got)

#define TEST(function)                                                                             \
	{                                                                                          \
#function, function                                                                \
	}
#define UNIT_RUN(...)                                                                              \
	unit_run((const struct unit_test[]){__VA_ARGS__},                                          \
	    sizeof((const struct unit_test[]){__VA_ARGS__}) / sizeof(struct unit_test))

static inline bool unit_check(bool ok, const char *file, int line, const char *what)
{
	if (!ok) {
		unit_failures++;
		printf("# %s:%d: %s\n", file, line, what);
	}
	return ok;
}

static inline bool unit_check_int(
    int64_t got, int64_t want, const char *file, int line, const char *what)
{
	bool ok = unit_check(got == want, file, line, what);

	if (!ok)
		printf("#   got %lld, want %lld\n", (long long)got, (long long)want);
	return ok;
}

static inline bool unit_check_str(
    const char *got, const char *want, const char *file, int line, const char *what)
{
	bool ok = unit_check(got && strcmp(got, want) == 0, file, line, what);

	if (!ok)
		printf("#   got \"%s\", want \"%s\"\n", got ? got : "(null)", want);
	return ok;
}

static inline int unit_run(const struct unit_test *test, size_t count)
{
	unsigned failed = 0;

	printf("1..%zu\n", count);
	for (size_t i = 0; i < count; i++) {
		unit_failures = 0;
		test[i].run();
		printf("%s %zu - %s\n", unit_failures ? "not ok" : "ok", i + 1, test[i].name);
		fflush(stdout);
		failed += unit_failures > 0;
	}
	return failed > 0;
}

#endif
