#include "format/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGT";

/* How often 1024 is to be taken; -1 if UNIT is none. */
static int power_of(const char *unit)
{
	const char *found = *unit ? strchr(units, *unit) : NULL;

	if (*unit && (!found || unit[1]))
		return -1;
	return found ? (int)(found - units) + 1 : 0;
}

int size_parse(const char *text, int64_t *bytes)
{
	size_t digits = strspn(text, "0123456789");
	int power = power_of(text + digits);
	int64_t value = 0;

	if (digits == 0 || power < 0)
		return -1;
	for (size_t i = 0; i < digits; i++) {
		int digit = text[i] - '0';

		if (value > ((SIZE_BYTES_MAX >> 10 * power) - digit) / 10)
			return -1;
		value = value * 10 + digit;
	}
	*bytes = value << 10 * power;
	return 0;
}

void size_format(int64_t bytes, char text[static SIZE_TEXT])
{
	size_t power = 0;

	while (bytes > 0 && bytes % 1024 == 0 && power < strlen(units)) {
		bytes /= 1024;
		power++;
	}
	snprintf(text, SIZE_TEXT, "%" PRId64 "%.1s", bytes, power > 0 ? units + power - 1 : "");
}
