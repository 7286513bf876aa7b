/* What there is to say of resources, for people. */
#include "spool/resource.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "spool/job.h"
#include "spool/wait.h"

enum { NAME_SIZE_MAX = 65536, PATH_SIZE = 32 };

/* The name behind a label that was cut is in a file, without its newline. */
static char *read_name(const struct resource *r)
{
	char decoded[LABEL_SIZE];
	struct stat st;
	size_t len;
	char *name;

	if (label_decode(r->label, decoded) == 0)
		return strdup(decoded);
	name = read_small(r->fd, "name", NAME_SIZE_MAX, &len, &st);
	if (name && len > 0 && name[len - 1] == '\n')
		name[len - 1] = '\0';
	return name && *name ? name : strdup(r->label);
}

static int held(const struct resource *r, const char *path)
{
	int fd = openat(r->fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int is = fd < 0 ? -1 : flock(fd, LOCK_SH | LOCK_NB) != 0;

	sys_discard(&fd);
	return is;
}

static size_t count_running(const struct resource *r)
{
	char path[PATH_SIZE];
	size_t count = 0;
	int is = 0;

	for (unsigned n = 1; is >= 0; n++) {
		snprintf(path, sizeof path, "slot/%u", n);
		is = held(r, path);
		count += is == 1;
	}
	return count;
}

static int count_one(void *arg, const struct job_place *place)
{
	(void)place;
	++*(size_t *)arg;
	return 0;
}

static int tell(const struct resource *r, resource_visit *visit, void *arg)
{
	struct resource_status status = {.label = r->label};
	char wait[WAIT_NAME_SIZE], turn[TURN_SIZE];
	struct limit_state state;
	char *name = NULL;
	int result = -1;

	snprintf(wait, sizeof wait, "@%s", r->label);
	if (resource_limits(r, &status.limits) != 0 ||
	    wait_each(r->spool, wait, NULL, count_one, &status.waiting) != 0 ||
	    resource_last_probe(r, turn) != 0 || (name = read_name(r)) == NULL)
		goto out;
	resource_peek_state(r, &state);
	status.name = name;
	status.failures = state.failures;
	status.running = count_running(r);
	status.probing = held(r, "slot/probe") == 1;
	status.probe = *turn ? turn_id(turn) : NULL;
	result = visit(arg, &status);
out:
	free(name);
	return result;
}

int resource_look(struct spool *spool, const char *name, resource_visit *visit, void *arg)
{
	struct resource r;
	int result = resource_enter(&r, spool, name, false);

	if (result == 0 && r.fd < 0) {
		errno = ENOENT;
		result = resource_fail(&r, NULL);
	}
	if (result == 0)
		result = tell(&r, visit, arg);
	resource_leave(&r);
	return result;
}

struct look {
	struct spool *spool;
	resource_visit *visit;
	void *arg;
};

static int look_at_label(void *arg, const char *label, bool regular)
{
	const struct look *look = arg;
	struct resource r;
	int result;

	(void)regular; /* opening it as a directory tells */
	if (strlen(label) >= sizeof r.label)
		return 0;
	result = resource_enter_label(&r, look->spool, label);
	if (result != 0 && (errno == ENOTDIR || errno == ELOOP))
		result = 0;
	if (r.fd >= 0)
		result = tell(&r, look->visit, look->arg);
	resource_leave(&r);
	return result;
}

int resource_each(struct spool *spool, resource_visit *visit, void *arg)
{
	struct look look = {spool, visit, arg};
	int top = spool_dir(spool, SPOOL_RESOURCE, false);

	if (top < 0)
		return errno == ENOENT ? 0 : -1;
	return dir_each(sys_opendir(top, "."), EACH_VISIBLE, look_at_label, &look);
}
