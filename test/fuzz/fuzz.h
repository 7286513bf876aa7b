/*
 * Fuzz targets: each takes any bytes and checks promises of one module of lib/format, not
 * only that it survives. libFuzzer calls them under `make fuzz`, replay.c in `make check`.
 */
#ifndef QSPOOL_TEST_FUZZ_H
#define QSPOOL_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The entry point of every target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that is broken is named, and then stops everything. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* The input as a string, in memory of exactly its size, so that reading beyond its end
 * is noticed. The caller frees it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	MUST(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* Eight bytes of the input from AT on as a number, little end first; 0 where it has ended. */
static inline uint64_t fuzz_number(const uint8_t *data, size_t size, size_t at)
{
	uint64_t number = 0;

	for (size_t i = 0; i < 8; i++)
		if (at + i < size)
			number |= (uint64_t)data[at + i] << (8 * i);
	return number;
}

static inline int fuzz_sign(int comparison)
{
	return (comparison > 0) - (comparison < 0);
}

#endif
