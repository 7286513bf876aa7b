/* The service manager that started us, if one did: the protocol of sd_notify(3). */
#ifndef QSPOOL_SYS_MANAGER_H
#define QSPOOL_SYS_MANAGER_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct manager {
	int fd; /* -1: there is none */
	struct sockaddr_un address;
	socklen_t address_len;
	int64_t alive_ms; /* it wants to hear at least so often that we live; 0: never */
};

#define MANAGER_NONE ((struct manager){.fd = -1})

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and removes them from the environment: what we start must not
 * speak for us. Without a socket, or with one that is no address, there is none. */
void manager_open(struct manager *m);
void manager_close(struct manager *m);

/* Tells it LINES such as "READY=1"; never waits. 1, also if there is none; 0: it has not read yet what it was told
 * before; -1 with errno. */
__attribute__((warn_unused_result)) int manager_tell(const struct manager *m, const char *lines);

#endif
