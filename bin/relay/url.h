/* URLs of servers: nats://, tls:// or none before [USER[:PASSWORD]@]HOST[:PORT]. */
#ifndef QSPOOL_BIN_RELAY_URL_H
#define QSPOOL_BIN_RELAY_URL_H

#include <stdbool.h>

/* What is wrong with it, or NULL. */
const char *url_check(const char *url);
bool url_is_tls(const char *url);
/* As it may be shown: without user and password. */
enum { URL_SIZE = 160 };
void url_show(const char *url, char shown[static URL_SIZE]);

#endif
