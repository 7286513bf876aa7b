#include "format/visible.h"

#include <bsd/vis.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

/* Bytes of the printable character of several bytes at TEXT; 0 if there is none. */
static size_t printable(const char *text, size_t len)
{
	mbstate_t state = {0};
	wchar_t character;
	size_t n = mbrtowc(&character, text, len, &state);

	return n > 1 && n <= len && iswprint((wint_t)character) ? n : 0;
}

char *visible(const char *text, size_t len, int flags)
{
	char *encoded = reallocarray(NULL, len + 1, 4), *end = encoded;

	for (size_t at = 0, n; end && at < len; at += n) {
		n = printable(text + at, len - at);
		if (n > 0) {
			memcpy(end, text + at, n);
			end += n;
		} else {
			n = 1; /* vis() takes memory of its own, and gives NULL without */
			end = vis(end, (unsigned char)text[at], flags | VIS_NOLOCALE,
			    at + 1 < len ? (unsigned char)text[at + 1] : 0);
		}
	}
	if (end) {
		*end = '\0';
		return encoded;
	}
	free(encoded);
	return NULL;
}
