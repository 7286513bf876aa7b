#include "format/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIBBSD_NETBSD_VIS /* unused here, but libbsd wants to be told which strnvis() */
#include <bsd/vis.h>

char *value_encode(const char *value)
{
	size_t len = strlen(value);
	char *text = reallocarray(NULL, len + 1, 4);

	if (!text)
		return NULL;
	if (strvisx(text, value, len, VIS_CSTYLE | VIS_NL | VIS_TAB | VIS_NOLOCALE) == -1) {
		free(text);
		errno = ENOMEM; /* it fails for nothing else */
		return NULL;
	}
	return text;
}

int value_decode(const char *text, char **value)
{
	char *decoded = malloc(strlen(text) + 1);
	int len;

	if (!decoded)
		return -1;
	len = strunvis(decoded, text);
	if (len < 0 || strlen(decoded) != (size_t)len) {
		free(decoded);
		errno = EINVAL;
		return -1;
	}
	*value = decoded;
	return 0;
}
