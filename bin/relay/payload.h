#ifndef QSPOOL_BIN_RELAY_PAYLOAD_H
#define QSPOOL_BIN_RELAY_PAYLOAD_H

#include <stddef.h>

/* All of the file FD, malloc'd, and its length; NULL with errno. */
char *payload_read(int fd, size_t *size);

#endif
