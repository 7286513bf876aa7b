/* inotify: watching directories, and reading what is told of them. */
#ifndef QSPOOL_SYS_NOTIFY_H
#define QSPOOL_SYS_NOTIFY_H

#include <inotifytools/inotify.h>
#include <stdint.h>

/* Watches the directory DIR for MASK, by its descriptor: what happens to its path is no matter. Its watch descriptor,
 * the same if FD watches it already; -1 with errno. */
__attribute__((warn_unused_result)) int notify_watch(int fd, int dir, uint32_t mask);

/* Calls VISIT for each event that FD, which must not block, has until that returns other than 0; then the rest may
 * be lost. 0: all from before the call were seen; -1 with errno, or what VISIT returned. */
typedef int notify_visit(void *arg, const struct inotify_event *event);
__attribute__((warn_unused_result)) int notify_each(int fd, notify_visit *visit, void *arg);

#endif
