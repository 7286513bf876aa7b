#include "spool/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int wait_fail(struct spool *spool, const char *name, const char *file)
{
	return spool_fail(spool, spool_dir_name[SPOOL_WAIT], name, file);
}

int wait_open(struct spool *spool, const char *name, bool create)
{
	int top = spool_dir(spool, SPOOL_WAIT, create);
	int fd = top < 0 ? -1 : sys_opendir(top, name);

	if (top >= 0 && fd < 0 && errno == ENOENT && create &&
	    (sys_mkdir(top, name, spool->dir_mode) == 0 || errno == EEXIST))
		fd = sys_opendir(top, name);
	return fd >= 0 ? fd : wait_fail(spool, name, NULL);
}

bool wait_exists(struct spool *spool, const char *name)
{
	int top = spool_dir(spool, SPOOL_WAIT, false);
	struct stat st;

	return top >= 0 && fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

void wait_remove(struct spool *spool, const char *name)
{
	int saved = errno;
	int top = spool_dir(spool, SPOOL_WAIT, false);

	if (top >= 0)
		(void)!sys_rmdir(top, name);
	errno = saved;
}

struct names {
	int (*visit)(void *arg, const char *name);
	void *arg;
};

static int visit_name(void *arg, const char *name, bool regular)
{
	const struct names *names = arg;

	if (strlen(name) >= WAIT_NAME_SIZE)
		return 0;
	(void)regular; /* opening it as a directory tells */
	return names->visit(names->arg, name);
}

int wait_each_name(struct spool *spool, int (*visit)(void *arg, const char *name), void *arg)
{
	struct names names = {visit, arg};
	int top = spool_dir(spool, SPOOL_WAIT, false);
	int fd = top < 0 ? -1 : sys_opendir(top, ".");

	if (fd < 0)
		return errno == ENOENT ? 0 : wait_fail(spool, NULL, NULL);
	return dir_each(fd, EACH_VISIBLE, visit_name, &names);
}

struct jobs {
	struct job_place place;
	const char *queue;
	job_visit *visit;
	void *arg;
};

static int visit_job(void *arg, const char *file, bool regular)
{
	struct jobs *jobs = arg;
	struct job_place *place = &jobs->place;

	if (strlen(file) >= sizeof place->file)
		return 0;
	place->ours = regular && waiting_name_parse(file, &place->name, place->queue);
	if (!place->ours)
		place->queue[0] = '\0';
	if (jobs->queue && strcmp(jobs->queue, place->queue) != 0)
		return 0;
	memcpy(place->file, file, strlen(file) + 1);
	return jobs->visit(jobs->arg, place);
}

int wait_each(struct spool *spool, const char *name, const char *queue, job_visit *visit, void *arg)
{
	struct jobs jobs = {
	    .place = {.state = JOB_WAITING}, .queue = queue, .visit = visit, .arg = arg};
	int fd = wait_open(spool, name, false);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	snprintf(jobs.place.wait, sizeof jobs.place.wait, "%s", name);
	return dir_each(fd, EACH_VISIBLE, visit_job, &jobs);
}

struct everywhere {
	struct spool *spool;
	const char *queue;
	job_visit *visit;
	void *arg;
};

static int visit_jobs_of(void *arg, const char *name)
{
	const struct everywhere *e = arg;

	return wait_each(e->spool, name, e->queue, e->visit, e->arg);
}

int wait_each_job(struct spool *spool, const char *queue, job_visit *visit, void *arg)
{
	struct everywhere everywhere = {spool, queue, visit, arg};

	return wait_each_name(spool, visit_jobs_of, &everywhere);
}
