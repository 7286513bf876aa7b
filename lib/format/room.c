#include "format/room.h"

#include <stdlib.h>

void *with_room(void *items, size_t count, size_t size)
{
	size_t next = count + 1;

	/* It doubles whenever NEXT is a power of two. */
	return (next & count) == 0 ? reallocarray(items, next, 2 * size) : items;
}
