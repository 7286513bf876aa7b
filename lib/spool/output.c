#include "spool/output.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "spool/job.h"

/* Not truncated but replaced: who reads the last attempt's still has the whole of it, and what others
 * may have planted under this name is not written to. */
int output_create(struct queue *queue, const char *id)
{
	int fd;

	if (queue_make_dir(queue, DIR_DONE) != 0 || queue_make_dir(queue, DIR_OUT) != 0)
		return -1;
	if (sys_unlink(queue->dir[DIR_OUT], id) != 0 && errno != ENOENT)
		return queue_fail(queue, DIR_OUT, id);
	fd = sys_append(queue->dir[DIR_OUT], id, queue->spool->file_mode);
	return fd >= 0 ? fd : queue_fail(queue, DIR_OUT, id);
}

void output_find_dirs(struct queue *queue)
{
	static const enum queue_dir dirs[] = {DIR_DONE, DIR_OUT};

	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		if (queue->dir[dirs[i]] < 0)
			queue->dir[dirs[i]] = sys_opendir(queue->fd, queue_dir_name[dirs[i]]);
}

int spool_output(struct spool *spool, const struct job_place *place)
{
	struct queue queue;
	struct stat st;
	int fd;

	if (!place->ours) {
		errno = ENOENT;
		return place_fail(spool, place);
	}
	if (queue_open(&queue, spool, place->queue, false) != 0)
		return -1;
	errno = ENOENT;
	fd = queue.dir[DIR_OUT] < 0
	    ? -1
	    : openat(queue.dir[DIR_OUT], place->name.id,
	          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		sys_discard(&fd);
		errno = EINVAL;
	}
	if (fd < 0)
		queue_fail(&queue, DIR_OUT, place->name.id);
	queue_close(&queue);
	return fd;
}
