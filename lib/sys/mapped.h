/*
 * A file in memory that several processes share. Whoever may write the file may shorten it, and a
 * file system may have no room for what is changed (a snapshot, a reflink): a load or store is a SIGBUS then.
 * So that this ends no process, all goes through mapped_access(): it takes SIGBUS for the whole
 * process once, and a fault in the map puts private memory in its place, by which the access goes on.
 * Rejected: to ask for the size before each access, since it may change behind that; to leave by siglongjmp(), since the
 * caller's variables are unclear then; a handler for the time of an access only, which threads would
 * take from each other. Other faults go to the handler that was there before. A program that sets its own later must
 * live with the signal.
 */
#ifndef QSPOOL_SYS_MAPPED_H
#define QSPOOL_SYS_MAPPED_H

#include <stdbool.h>
#include <stddef.h>

/* SIZE bytes of FD, which may be closed then; NULL with errno. */
void *mapped_open(int fd, size_t size, bool writable);
void mapped_close(void *map, size_t size); /* NULL is fine; errno survives */
/* Calls ACCESS, which may load and store atomically within MAP and do nothing else. False: the file
 * did not bear it; what was stored is lost, what was loaded is 0, and MAP is good for nothing more but being closed. */
bool mapped_access(void *map, size_t size, void (*access)(void *map, void *arg), void *arg);

#endif
