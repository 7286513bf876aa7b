/*
 * Amounts of bytes as people write them: digits and K, M, G or T, of 1024 each, or nothing for bytes.
 */
#ifndef QSPOOL_FORMAT_SIZE_H
#define QSPOOL_FORMAT_SIZE_H

#include <stdint.h>

enum { SIZE_TEXT = 24 };
#define SIZE_BYTES_MAX (INT64_C(1) << 60)

/* 0, or -1: not of that form, or more than SIZE_BYTES_MAX. */
int size_parse(const char *text, int64_t *bytes);
/* With the largest unit of which it is a whole number. BYTES >= 0. */
void size_format(int64_t bytes, char text[static SIZE_TEXT]);

#endif
