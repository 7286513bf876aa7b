#include "format/strings.h"

#include <stdlib.h>
#include <string.h>

#include "format/room.h"

int strings_take(struct strings *list, char *text)
{
	char **item = text ? with_room(list->item, list->count, sizeof *item) : NULL;

	if (!item) {
		free(text);
		return -1;
	}
	list->item = item;
	list->item[list->count] = text;
	list->item[++list->count] = NULL;
	return 0;
}

int strings_add(struct strings *list, const char *text)
{
	return strings_take(list, strdup(text));
}

void strings_release(struct strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->item[i]);
	free(list->item);
	*list = (struct strings){0};
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void strings_sort(struct strings *list)
{
	if (list->count > 1)
		qsort(list->item, list->count, sizeof *list->item, by_text);
}

size_t strings_find(const struct strings *list, const char *text)
{
	size_t at = 0;

	while (at < list->count && strcmp(list->item[at], text) != 0)
		at++;
	return at;
}

bool strings_has(const struct strings *list, const char *text)
{
	return strings_find(list, text) < list->count;
}

void strings_remove(struct strings *list, size_t at)
{
	free(list->item[at]);
	list->item[at] = list->item[--list->count];
	list->item[list->count] = NULL;
}

bool strings_has_sorted(const struct strings *list, const char *text)
{
	return list->count > 0 &&
	    bsearch(&text, list->item, list->count, sizeof *list->item, by_text) != NULL;
}
