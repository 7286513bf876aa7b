/*
 * Text from others, made fit for a terminal or a line of a log: what is printable in the
 * locale stays, every other byte is encoded with vis(3), so that unvis(1) gives back
 * what it was. A character at a time: libbsd's strvis() of a whole text that is not all
 * valid in the locale writes the low bytes of its characters, and those of U+041B are an
 * escape.
 */
#ifndef QSPOOL_FORMAT_VISIBLE_H
#define QSPOOL_FORMAT_VISIBLE_H

#include <stddef.h>

/* FLAGS are vis(3)'s. Malloc'd; NULL with ENOMEM. */
char *visible(const char *text, size_t len, int flags);

#endif
