/*
 * Any bytes but NUL as a piece of one line of plain ASCII: vis(3) with VIS_CSTYLE | VIS_NL |
 * VIS_TAB, and VIS_NOLOCALE: the same text whatever the locale. Spaces stay.
 */
#ifndef QSPOOL_FORMAT_VALUE_H
#define QSPOOL_FORMAT_VALUE_H

/* A malloc'd string; NULL with ENOMEM. */
char *value_encode(const char *value);

/* 0 and *VALUE malloc'd, or -1 with ENOMEM, or EINVAL: not encoded, or a NUL in it. Takes
 * every form that unvis(3) knows, "\040" and "\s" for a space among them. */
int value_decode(const char *text, char **value);

#endif
