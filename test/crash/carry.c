/*
 * What qrelay does to a spool, without a server; for the fault sweep.
 *
 *   carry -s SPOOL push TAKEN     hands all jobs over to an engine that appends "PAYLOAD ID ATTEMPT" to TAKEN
 *   carry -s SPOOL pull ID        takes that job in; its payload is the standard input
 *   carry -s SPOOL relet ID       notes that it came by another message
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../bin/worklog.h"

enum { FLIGHT = 4, LINE_MAX_LEN = 256, PAYLOAD_MAX = 4096, GRACE_MS = 2000, SCAN_MS = 60000 };

static const char help[] = "usage: carry [-s SPOOL] push TAKEN | pull ID | relet ID\n";

/* --- an engine that takes all --- */

struct engine {
	int taken; /* the file */
	int fd;    /* readable while there are answers */
	uint64_t tickets[FLIGHT];
	size_t count;
};

static bool ready(void *arg)
{
	(void)arg;
	return true;
}

static int begin(void *arg, const struct handover_job *job, const char **why)
{
	struct engine *engine = arg;
	char payload[LINE_MAX_LEN], line[2 * LINE_MAX_LEN];
	ssize_t size = pread(job->fd, payload, sizeof payload, 0);
	int len;

	*why = NULL;
	if (size <= 0)
		return -1;
	len = snprintf(
	    line, sizeof line, "%.*s %s %u\n", (int)size - 1, payload, job->id, job->attempts + 1);
	if (write(engine->taken, line, (size_t)len) != len)
		err(EX_IOERR, NULL);
	engine->tickets[engine->count++] = job->ticket;
	return eventfd_write(engine->fd, 1);
}

static bool answer(void *arg, struct handover_answer *answer)
{
	struct engine *engine = arg;
	eventfd_t events;

	(void)eventfd_read(engine->fd, &events);
	if (engine->count == 0)
		return false;
	*answer =
	    (struct handover_answer){.ticket = engine->tickets[--engine->count], .taken = true};
	return true;
}

static void report(void *arg, const struct work_event *event)
{
	(void)arg;
	worklog(event);
}

static int push(struct spool *spool, const char *taken)
{
	struct engine engine = {
	    .taken = open(taken, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666),
	    .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
	struct work_queue queue = {.name = "default"};
	struct handover to = {
	    .ready = ready, .begin = begin, .answer = answer, .fd = engine.fd, .arg = &engine};
	const struct work_options options = {.queues = &queue,
	    .queue_count = 1,
	    .jobs = FLIGHT,
	    .means = {.min = 1},
	    .drain = DRAIN_READY,
	    .grace_ms = GRACE_MS,
	    .scan_ms = SCAN_MS,
	    .handover = &to,
	    .report = report};
	int status;

	if (engine.taken < 0 || engine.fd < 0)
		err(EX_OSERR, "%s", taken);
	status = spool_work(spool, &options) == 0 ? EX_OK : cli_complain(spool, NULL);
	close(engine.fd);
	close(engine.taken);
	return status;
}

/* --- taking in --- */

static int write_job(struct sender *sender, const char *id)
{
	struct meta meta;
	char payload[PAYLOAD_MAX];
	ssize_t size = pread(STDIN_FILENO, payload, sizeof payload, 0);
	int result = -1;

	if (size < 0)
		err(EX_IOERR, NULL);
	meta_init(&meta);
	meta.relay = strdup("engine 1");
	if (send_as(sender,
	        &(struct send_as){.id = id,
	            .priority = JOB_PRIORITY_DEFAULT,
	            .due_ms = JOB_DUE_NONE,
	            .meta = &meta}) == 0 &&
	    send_write(sender, payload, (size_t)size) == 0)
		result = send_end(sender);
	meta_release(&meta);
	return result;
}

static void sent(void *arg, const char *id, enum send_fate fate)
{
	int *status = arg;

	if (fate == SEND_DURABLE) {
		puts(id);
		return;
	}
	warnx("job %s may have been sent: a sync failed", id);
	*status = EX_TEMPFAIL;
}

static int pull(struct spool *spool, const char *id)
{
	const struct send_options options = {
	    .priority = JOB_PRIORITY_DEFAULT, .due_ms = JOB_DUE_NONE};
	struct receiver *right = receiver_open(spool, "default");
	int status = EX_OK;
	struct sender *sender = !right ? NULL : send_open(spool, "default", &options);

	if (!sender ||
	    (write_job(sender, id) != 0 &&
	        (errno != EEXIST || send_clear(sender, id) != 0 || write_job(sender, id) != 0)) ||
	    send_commit(sender, sent, &status) != 0) {
		int why = cli_complain(spool, NULL);

		status = status == EX_OK ? why : status;
	}
	send_close(sender);
	receiver_close(right);
	cli_finish_output();
	return status;
}

static int relet(struct spool *spool, const char *id)
{
	struct receiver *right = receiver_open(spool, "default");
	int status =
	    right && receiver_relay(right, id, "engine 2") == 0 ? EX_OK : cli_complain(spool, NULL);

	receiver_close(right);
	return status;
}

static const struct {
	const char *name;
	int (*run)(struct spool *spool, const char *word);
} verbs[] = {{"push", push}, {"pull", pull}, {"relet", relet}};

int main(int argc, char **argv)
{
	static const struct option options[] = {CLI_LONG};
	struct cli cli = {0};
	struct spool *spool;
	int option, status;

	cli_begin(argv);
	while ((option = getopt_long(argc, argv, ":" CLI_SHORT, options, NULL)) != -1)
		cli_option(&cli, option, help);
	if (argc - optind != 2)
		cli_usage("push TAKEN, pull ID or relet ID is wanted");
	spool = cli_open(&cli, true, false);
	status = EX_USAGE;
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(argv[optind], verbs[i].name) == 0)
			status = verbs[i].run(spool, argv[optind + 1]);
	spool_close(spool);
	return status;
}
