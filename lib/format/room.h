/* Room for one more in a list that grows. */
#ifndef QSPOOL_FORMAT_ROOM_H
#define QSPOOL_FORMAT_ROOM_H

#include <stddef.h>

/* ITEMS, of which COUNT are used, with room for two more (the second may be a NULL), each of SIZE bytes. NULL if
 * there is none; ITEMS is then as it was. The room is known by COUNT, and so a list grows one by one; it may
 * shrink at will. */
void *with_room(void *items, size_t count, size_t size);

#endif
