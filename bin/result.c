#include "result.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char goes_on[128];

/* Nothing else is printed while it waits. Then the signal, whose handler is gone, does its work. */
static void say_goes_on(int signal)
{
	dprintf(STDERR_FILENO, "%s", goes_on);
	raise(signal);
}

static void handle_signals(const char *id)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	const struct sigaction once = {.sa_handler = say_goes_on, .sa_flags = (int)SA_RESETHAND};
	struct sigaction old;

	snprintf(goes_on, sizeof goes_on, "%s: job %s goes on without us\n",
	    program_invocation_short_name, id);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &once, NULL);
}

static void copy(int fd)
{
	static char buffer[64 << 10];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof buffer)) > 0)
		if (fwrite(buffer, 1, (size_t)n, stdout) != (size_t)n)
			err(EX_IOERR, "standard output");
	if (n < 0)
		err(EX_IOERR, "the output of the job");
	close(fd);
	cli_finish_output();
}

/* Of a job that is buried and may never have run. */
static int status_of_buried(struct spool *spool, const struct job_place *place)
{
	char *log = spool_log(spool, place);
	int status = log ? spool_log_status(log) : -1;

	free(log);
	warnx("job %s is buried; see qstat %s", place->name.id, place->name.id);
	return status > 0 ? status : EX_UNAVAILABLE;
}

static int status_of(struct spool *spool, const struct job_place *place)
{
	int fd = spool_output(spool, place);

	if (fd >= 0)
		copy(fd);
	if (place->state == JOB_BURIED)
		return status_of_buried(spool, place);
	if (fd >= 0)
		return EX_OK;
	cli_complain(spool, "the output is lost");
	return EX_UNAVAILABLE;
}

static int await_end(struct spool *spool, const char *queue, const char *id)
{
	struct await *await = await_open(spool);
	struct await_counts counts;
	int ended = 0;

	if (!await || await_job(await, queue, id) != 0)
		err(EX_OSERR, NULL);
	while (ended == 0)
		ended = await_step(await, -1, &counts);
	if (ended < 0)
		exit(cli_complain(spool, id));
	await_close(await);
	return counts.of[AWAIT_DELETED] > 0 ? AWAIT_DELETED : AWAIT_FINISHED;
}

int result_await(struct spool *spool, const char *queue, const char *id)
{
	for (handle_signals(id);;) {
		struct job_word word = {.text = id};
		bool deleted = await_end(spool, queue, id) == AWAIT_DELETED;

		if (spool_find(spool, queue, &word, 1) != 0)
			return cli_complain(spool, id);
		if (word.matches == 0) {
			warnx("job %s %s", id, deleted ? "was deleted" : "ended and was not kept");
			return EX_UNAVAILABLE;
		}
		if (word.place.state == JOB_DONE || word.place.state == JOB_BURIED)
			return status_of(spool, &word.place); /* else it was kicked just now */
	}
}
