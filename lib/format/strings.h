/* Lists of strings: struct strings of format/meta.h. */
#ifndef QSPOOL_FORMAT_STRINGS_H
#define QSPOOL_FORMAT_STRINGS_H

#include "format/meta.h"

/* TEXT, which is malloc'd, is the list's from then on, or freed. NULL: there was no memory for it. 0 / -1 with ENOMEM. */
__attribute__((warn_unused_result)) int strings_take(struct strings *list, char *text);
void strings_sort(struct strings *list);
bool strings_has(const struct strings *list, const char *text);
/* Where it is in the list; its count if it is not. */
size_t strings_find(const struct strings *list, const char *text);
/* The last one takes its place. */
void strings_remove(struct strings *list, size_t at);
/* Sooner, of a list that is sorted. */
bool strings_has_sorted(const struct strings *list, const char *text);

#endif
