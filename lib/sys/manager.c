#include "sys/manager.h"

#include <bsd/stdlib.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/files.h"

/* A path, or with '@' an abstract name, which has a NUL instead. 0 / -1. */
static int set_address(struct manager *m, const char *name)
{
	size_t len = strlen(name);

	if ((*name != '/' && *name != '@') || len >= sizeof m->address.sun_path)
		return -1;
	m->address.sun_family = AF_UNIX;
	memcpy(m->address.sun_path, name, len + 1);
	if (*name == '@')
		m->address.sun_path[0] = '\0';
	m->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

static long long number_of(const char *text)
{
	return text ? strtonum(text, 1, INT64_MAX, NULL) : 0;
}

/* Twice in its time, as sd_watchdog_enabled(3) says. */
static int64_t alive_ms(void)
{
	long long usec = number_of(getenv("WATCHDOG_USEC"));
	const char *pid = getenv("WATCHDOG_PID");

	if (usec == 0 || (pid && number_of(pid) != getpid()))
		return 0;
	return usec > 2000 ? usec / 2000 : 1;
}

void manager_open(struct manager *m)
{
	const char *name = getenv("NOTIFY_SOCKET");

	*m = MANAGER_NONE;
	if (name && set_address(m, name) == 0)
		m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (m->fd >= 0)
		m->alive_ms = alive_ms();
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void manager_close(struct manager *m)
{
	sys_discard(&m->fd);
}

int manager_tell(const struct manager *m, const char *lines)
{
	const struct sockaddr *to = (const void *)&m->address;
	int flags = MSG_DONTWAIT | MSG_NOSIGNAL;

	if (m->fd < 0 || sendto(m->fd, lines, strlen(lines), flags, to, m->address_len) >= 0)
		return 1;
	return errno == EAGAIN || errno == ENOBUFS ? 0 : -1;
}
