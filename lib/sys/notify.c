#include "sys/notify.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int notify_watch(int fd, int dir, uint32_t mask)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/self/fd/%d", dir);
	return inotify_add_watch(fd, path, mask | IN_ONLYDIR);
}

int notify_each(int fd, notify_visit *visit, void *arg)
{
	_Alignas(struct inotify_event) char buffer[16384];
	ssize_t len;

	while ((len = read(fd, buffer, sizeof buffer)) > 0) {
		for (char *p = buffer; p < buffer + len;) {
			const struct inotify_event *event = (const void *)p;
			int result = visit(arg, event);

			if (result != 0)
				return result;
			p += sizeof *event + event->len;
		}
		if ((size_t)len < sizeof buffer / 2)
			return 0; /* there was no more */
	}
	return len == 0 || errno == EAGAIN ? 0 : -1;
}
