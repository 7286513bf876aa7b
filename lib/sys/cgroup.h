/*
 * Control groups, of version 2, each of one job: where this process may divide its own, as under systemd with
 * Delegate=memory.
 *
 *   OWN/                   where qwork was started
 *     qspool-PID-CHANCE/   of one qwork, which has a lock on it (flock) as long as it lives
 *       qwork/             the process itself: a group that hands on memory must not have any
 *       NAME/              of a job
 *
 * What a qwork that was killed leaves, the next one removes, but for groups in which something still runs.
 * This is no part of a spool: nothing here goes through sys/files.h but what it says of descriptors.
 */
#ifndef QSPOOL_SYS_CGROUP_H
#define QSPOOL_SYS_CGROUP_H

#include <stdint.h>

#include "sys/files.h"

enum { CGROUP_NAME_SIZE = 64, CGROUPS_LEFT_MAX = 32 };

/* Of this process. */
struct cgroups {
	int own, dir; /* OWN and the one of this qwork; -1: there is none */
	char name[CGROUP_NAME_SIZE];
	unsigned made;
	char left[CGROUPS_LEFT_MAX][CGROUP_NAME_SIZE]; /* of jobs, that could not be removed yet */
	unsigned left_count;
};

/* Of a job. */
struct cgroup {
	int dir; /* -1: there is none */
	char name[CGROUP_NAME_SIZE];
};

#define CGROUPS_CLOSED ((struct cgroups){.own = -1, .dir = -1})
#define CGROUP_NONE ((struct cgroup){.dir = -1})

/* Divides the group of this process, unless that is done. 0; or -1 with errno, and nothing is changed: ENOENT there are none of version
 * 2, ENOTSUP without the memory controller, EACCES, EROFS or EPERM they are not ours to divide, EBUSY others are in
 * the group of this process. */
NODISCARD int cgroups_open(struct cgroups *groups);
/* Undoes that, as far as can be: what was killed in groups of jobs is given a second to be gone. */
void cgroups_close(struct cgroups *groups);

/* A new group, whose processes together get MEMORY bytes and no swap, and are all killed if they need more. NAME
 * tells people what it is of. */
NODISCARD int cgroup_make(
    struct cgroups *groups, struct cgroup *group, const char *name, int64_t memory);
/* A descriptor: who writes "0" to it is in the group. */
NODISCARD int cgroup_entrance(const struct cgroup *group);
/* Kills all processes in it, since Linux 5.14. */
void cgroup_kill(const struct cgroup *group);
/* How many of its processes were killed because there was no more memory; and the most bytes that they had
 * together, since Linux 5.19. -1: not known. */
void cgroup_usage(const struct cgroup *group, int64_t *oom_kills, int64_t *peak);
/* Removes it, now or, if something that was killed still is in it, with one of the next. */
void cgroup_remove(struct cgroups *groups, struct cgroup *group);

#endif
