/* Who we are to a server, and whom we trust: credentials, keys and certificates in files. */
#ifndef QSPOOL_BIN_RELAY_ACCESS_H
#define QSPOOL_BIN_RELAY_ACCESS_H

#include "wire.h"

/* Exits with a message if the options are wrong or a file is not what it should be. */
void access_set(natsOptions *to, const struct wire_options *options);
/* Whether the JWT of a file of credentials, or NULL, is over, and WHEN that was. */
bool access_expired(const char *file, char when[static WHEN_SIZE]);

#endif
