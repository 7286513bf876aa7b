/* qsend: put jobs into a queue. See qsend(1). */
#include "result.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BATCH_MAX = 1000, /* jobs that share one sync */
	BUFFER_SIZE = 256 << 10,
	PROGRESS_MS = 200,
	KEEP_WAITED_MS = 600000, /* what is waited for, if nothing else is said */
};

enum long_option {
	OPT_PER_JOB = 256,
	OPT_NO_SYNC,
	OPT_KEY,
	OPT_KEY_UNTIL,
	OPT_NEW_ONLY,
	OPT_BATCH,
	OPT_AFTER,
	OPT_RESOURCE,
	OPT_KEEP,
	OPT_WAIT
};

static const struct option long_options[] = {{"file", required_argument, NULL, 'f'},
    {"priority", required_argument, NULL, 'p'}, {"delay", required_argument, NULL, 'd'},
    {"at", required_argument, NULL, 'a'}, CLI_POLICY_LONG, {"ttl", required_argument, NULL, 'T'},
    {"env", required_argument, NULL, 'e'}, {"header", required_argument, NULL, 'H'},
    {"lines", no_argument, NULL, 'l'}, {"null", no_argument, NULL, '0'},
    {"per-job", required_argument, NULL, OPT_PER_JOB}, {"no-sync", no_argument, NULL, OPT_NO_SYNC},
    {"key", required_argument, NULL, OPT_KEY},
    {"key-until", required_argument, NULL, OPT_KEY_UNTIL},
    {"new-only", no_argument, NULL, OPT_NEW_ONLY}, {"batch", required_argument, NULL, OPT_BATCH},
    {"after", required_argument, NULL, OPT_AFTER},
    {"resource", required_argument, NULL, OPT_RESOURCE},
    {"keep", required_argument, NULL, OPT_KEEP}, {"wait", no_argument, NULL, OPT_WAIT}, CLI_LONG};

static const char help[] =
    "usage: qsend [-q QUEUE] [options] [--] [ARGUMENT...]\n"
    "Sends the payload on standard input as a job and prints its id once it is on disk.\n"
    "ARGUMENTs are appended to the handler's command line.\n"
    "\n"
    "  -f, --file FILE         read FILE instead of standard input\n"
    "  -p, --priority N        0 to 99, lower runs first (50)\n"
    "  -d, --delay DURATION    not before so long from now\n"
    "  -a, --at TIME           not before then: RFC 3339, @EPOCH or HH:MM\n"
    "  -A, --attempts N        attempts until it is buried\n"
    "  -b, --backoff BASE..CAP waits between attempts, doubling, such as 1s..1h\n"
    "  -t, --timeout DURATION  ends an attempt that takes longer\n"
    "      --memory SIZE       that it may take, such as 512M\n"
    "      --cpu DURATION      processor time that it may take\n"
    "      --nice N            lowers its priority, by 0 to 19\n"
    "  -T, --ttl DURATION      buried as expired if an attempt would start later\n"
    "  -e, --env NAME[=VALUE]  a variable for the handler; repeatable\n"
    "  -H, --header 'N: V'     a header for handlers and qstat; repeatable\n"
    "  -l, --lines             one job a line, its newline kept\n"
    "  -0, --null              one job a NUL-terminated record, the NUL dropped\n"
    "      --per-job N         so many lines or records in each job\n"
    "      --key KEY           not if a job of this key is not finished yet: prints its id\n"
    "      --key-until start   the key is free once the job starts (finish)\n"
    "      --new-only          exit 1 if the key is held\n"
    "      --batch BATCH       a member of the batch\n"
    "      --after ID|BATCH    not before that is over; repeatable\n"
    "      --resource NAME[=N] needs that to run; N at most have it at once, unless qlimit\n"
    "                          says otherwise; repeatable\n"
    "      --keep DURATION     keep the finished job and its output so long\n"
    "      --wait              until it has ended; then write the handler's output and exit\n"
    "                          with its status\n"
    "      --no-sync           do not wait for the disk: may be lost with the power\n"
    "  -s, --spool DIR         the spool ($QSPOOL)\n"
    "  -q, --queue QUEUE       the queue (default)\n"
    "  -v, --verbose           say what was sent on standard error\n"
    "  -h, --help, -V, --version\n";

struct sending {
	struct cli cli;
	struct send_options options;
	struct meta meta;
	const char *file;
	int terminator; /* of records: '\n' or '\0'; -1: the input is one job */
	unsigned long long per_job;
	struct spool *spool;
	struct sender *sender;
	unsigned long long sent;
	bool unsure; /* of at least one job */
	bool new_only;
	bool wait;
	char id[JOB_ID_LEN + 1]; /* of the job that is waited for */
	bool progress;
	int64_t shown_ms;
};

static void add_env(struct sending *s, const char *text)
{
	const char *value = strchr(text, '=') ? NULL : getenv(text);
	char *variable = NULL;

	if (!strchr(text, '=') && !value)
		cli_usage("--env %s: there is no such variable", text);
	if (asprintf(&variable, "%s%s%s", text, value ? "=" : "", value ? value : "") < 0)
		err(EX_OSERR, NULL);
	if (!env_ok(variable))
		cli_usage("--env %s: NAME or NAME=VALUE is wanted, and QSPOOL and QJOB_* are "
		          "qwork's",
		    text);
	if (strings_add(&s->meta.env, variable) != 0)
		err(EX_OSERR, NULL);
	free(variable);
}

static void add_header(struct sending *s, const char *text)
{
	if (!header_ok(text))
		cli_usage("--header %s: 'Name: value' is wanted", text);
	if (strings_add(&s->meta.headers, text) != 0)
		err(EX_OSERR, NULL);
}

static void set_due(struct sending *s, const char *option, int64_t due_ms)
{
	if (s->options.due_ms != JOB_DUE_NONE)
		cli_usage("%s: --delay or --at, and once", option);
	if (due_ms > WHEN_MAX_MS)
		cli_usage("%s: too far in the future", option);
	s->options.due_ms = due_ms;
}

static void set_at(struct sending *s, const char *text)
{
	int64_t when;

	if (when_parse(text, cli_now_ms(), &when) != 0)
		cli_usage("--at %s: 2026-12-31T23:59:00Z, @EPOCH or HH:MM is wanted", text);
	set_due(s, "--at", when);
}

static void set_once(char **option, const char *name, const char *text)
{
	if (*option || !*text)
		cli_usage("%s: one is wanted, and not an empty one", name);
	*option = strdup(text);
	if (!*option)
		err(EX_OSERR, NULL);
}

static void set_key_until(struct sending *s, const char *text)
{
	if (strcmp(text, "start") != 0 && strcmp(text, "finish") != 0)
		cli_usage("--key-until %s: start or finish is wanted", text);
	s->meta.key_until_start = strcmp(text, "start") == 0;
}

static void set_batch(struct sending *s, const char *text)
{
	if (job_id_ok(text))
		cli_usage("--batch %s: that is a job's id", text);
	set_once(&s->meta.batch, "--batch", text);
}

static void add_after(struct sending *s, const char *text)
{
	if (!*text)
		cli_usage("--after: an id or a batch is wanted");
	if (strings_add(&s->meta.after, text) != 0)
		err(EX_OSERR, NULL);
}

/* The limit, if there is one behind the last '='; the name ends before it. */
static unsigned cut_limit(char *name)
{
	char *limit = strrchr(name, '=');

	if (!limit || !limit[1] || strspn(limit + 1, "0123456789") != strlen(limit + 1))
		return 0;
	*limit = '\0';
	return (unsigned)cli_number("--resource", limit + 1, 1, RESOURCE_JOBS_MAX);
}

static void add_resource(struct sending *s, const char *text)
{
	char *name = strdup(text);
	unsigned limit;

	if (!name)
		err(EX_OSERR, NULL);
	limit = cut_limit(name);
	if (meta_add_resource(&s->meta, name, limit) != 0) {
		if (errno == ENOMEM)
			err(EX_OSERR, NULL);
		if (errno == E2BIG)
			cli_usage("--resource %s: a job has %d at most", text, RESOURCES_MAX);
		cli_usage("--resource %s: %s", text,
		    errno == EEXIST ? "that is given already" : "NAME or NAME=LIMIT is wanted");
	}
	free(name);
}

/* What orders a job among others; false if OPTION is another one. */
static bool order_option(struct sending *s, int option)
{
	switch (option) {
	case OPT_KEY:
		set_once(&s->meta.key, "--key", optarg);
		return true;
	case OPT_KEY_UNTIL:
		set_key_until(s, optarg);
		return true;
	case OPT_NEW_ONLY:
		return s->new_only = true;
	case OPT_BATCH:
		set_batch(s, optarg);
		return true;
	case OPT_AFTER:
		add_after(s, optarg);
		return true;
	case OPT_RESOURCE:
		add_resource(s, optarg);
		return true;
	default:
		return false;
	}
}

static void set_terminator(struct sending *s, int terminator)
{
	if (s->terminator != -1 && s->terminator != terminator)
		cli_usage("--lines and --null exclude each other");
	s->terminator = terminator;
}

/* Options that become the job's own; false if OPTION is another one. */
static bool job_option(struct sending *s, int option)
{
	struct meta *meta = &s->meta;

	if (cli_policy(meta, option))
		return true;
	switch (option) {
	case 'T':
		meta->expires_ms = cli_now_ms() + cli_duration("--ttl", optarg);
		return meta->has_expires = true;
	case OPT_KEEP:
		meta->keep_ms = cli_duration("--keep", optarg);
		if (meta->keep_ms == 0)
			cli_usage("--keep %s: longer than nothing is wanted", optarg);
		return meta->has_keep = true;
	case 'e':
		add_env(s, optarg);
		return true;
	case 'H':
		add_header(s, optarg);
		return true;
	default:
		return false;
	}
}

/* What the payload is made of; false if OPTION is another one. */
static bool input_option(struct sending *s, int option)
{
	switch (option) {
	case 'f':
		if (s->file)
			cli_usage("--file: one is wanted");
		s->file = optarg;
		return true;
	case 'l':
		set_terminator(s, '\n');
		return true;
	case '0':
		set_terminator(s, '\0');
		return true;
	case OPT_PER_JOB:
		s->per_job = (unsigned long long)cli_number("--per-job", optarg, 1, INT64_MAX);
		return true;
	default:
		return false;
	}
}

static void take_option(struct sending *s, int option)
{
	if (input_option(s, option) || job_option(s, option) || order_option(s, option))
		return;
	switch (option) {
	case 'p':
		s->options.priority =
		    (unsigned)cli_number("--priority", optarg, 0, JOB_PRIORITY_MAX);
		break;
	case 'd':
		set_due(s, "--delay", cli_now_ms() + cli_duration("--delay", optarg));
		break;
	case 'a':
		set_at(s, optarg);
		break;
	case OPT_WAIT:
		s->wait = true;
		break;
	case OPT_NO_SYNC:
		s->options.no_sync = true;
		break;
	default:
		cli_option(&s->cli, option, help);
	}
}

static void check_together(const struct sending *s)
{
	if (s->per_job > 0 && s->terminator == -1)
		cli_usage("--per-job goes with --lines or --null");
	if (s->meta.key && s->terminator != -1)
		cli_usage("--key is for one job, not for --lines or --null");
	if ((s->new_only || s->meta.key_until_start) && !s->meta.key)
		cli_usage("%s goes with --key", s->new_only ? "--new-only" : "--key-until");
	if (s->wait && s->terminator != -1)
		cli_usage("--wait is for one job, not for --lines or --null");
}

/* What was not said, and what need not be. */
static void settle_options(struct sending *s)
{
	if (s->per_job == 0)
		s->per_job = 1;
	if (s->wait && !s->meta.has_keep) {
		s->meta.has_keep = true;
		s->meta.keep_ms = KEEP_WAITED_MS;
	}
	if (s->options.due_ms != JOB_DUE_NONE && s->options.due_ms <= cli_now_ms())
		s->options.due_ms = JOB_DUE_NONE;
}

static void parse(struct sending *s, int argc, char *const *argv)
{
	int option;

	while ((option = getopt_long(
	            argc, argv, "+:f:p:d:a:A:b:t:T:e:H:l0" CLI_SHORT, long_options, NULL)) != -1)
		take_option(s, option);
	check_together(s);
	settle_options(s);
	for (int i = optind; i < argc; i++)
		if (strings_add(&s->meta.args, argv[i]) != 0)
			err(EX_OSERR, NULL);
}

static void show_progress(struct sending *s, bool last)
{
	int64_t now;

	if (!s->progress)
		return;
	now = cli_now_ms();
	if (!last && now - s->shown_ms < PROGRESS_MS)
		return;
	s->shown_ms = now;
	dprintf(STDERR_FILENO, "\r%s: %llu jobs sent%s", program_invocation_short_name, s->sent,
	    last ? "\n" : "");
}

static void report(void *arg, const char *id, enum send_fate fate)
{
	struct sending *s = arg;

	if (fate == SEND_UNSURE) {
		warnx("job %s may have been sent: it is in the queue, but a sync failed", id);
		s->unsure = true;
		return;
	}
	s->sent++;
	if (s->wait)
		memcpy(s->id, id, sizeof s->id);
	else
		puts(id);
}

/* Not an error: the work is on its way already. */
static _Noreturn void give_up_to_holder(struct sending *s, const struct send_refusal *refusal)
{
	int status = s->new_only ? 1 : EX_OK;
	char queue[QUEUE_NAME_SIZE], id[JOB_ID_LEN + 1];

	if (s->cli.verbose)
		warnx("nothing was sent: job %s in queue %s has the key", refusal->id,
		    refusal->queue);
	snprintf(queue, sizeof queue, "%s", refusal->queue);
	snprintf(id, sizeof id, "%s", refusal->id);
	send_close(s->sender); /* its draft must not lie there while we wait */
	if (s->wait && !s->new_only)
		exit(result_await(s->spool, queue, id));
	puts(id);
	cli_finish_output();
	exit(status);
}

/* What was asked for cannot be, and why. */
static _Noreturn void give_up_refused(struct sending *s, const struct send_refusal *refusal)
{
	char *name = cli_visible(refusal->name);
	bool lacks = refusal->why == REFUSED_UNKNOWN || refusal->why == REFUSED_DELETED;
	int status = lacks ? EX_NOINPUT : EX_DATAERR;

	if (refusal->why == REFUSED_SEALED)
		warnx("batch %s is sealed, since something waits for it, or complete: nobody can "
		      "join it; use another name",
		    name);
	else if (refusal->why == REFUSED_UNKNOWN)
		warnx("batch %s was never begun, or was complete long ago", name);
	else if (refusal->why == REFUSED_DELETED)
		warnx(job_id_ok(name) ? "job %s was deleted: nothing can run after it"
		                      : "a job of batch %s was deleted: nothing can run after it",
		    name);
	else
		warnx("a job of batch %s cannot run after that batch", name);
	free(name);
	warnx("%s", s->sent ? "not all was sent" : "nothing was sent");
	send_close(s->sender);
	cli_finish_output();
	exit(status);
}

static _Noreturn void refused(struct sending *s, const struct send_refusal *refusal)
{
	if (refusal->why == REFUSED_KEY)
		give_up_to_holder(s, refusal);
	give_up_refused(s, refusal);
}

static _Noreturn void give_up(struct sending *s)
{
	int status;

	show_progress(s, true);
	if (!s->unsure && errno == EPERM && send_refused(s->sender)->why != REFUSED_NOT)
		refused(s, send_refused(s->sender));
	status =
	    cli_complain(s->spool, s->sent || s->unsure ? "not all was sent" : "nothing was sent");
	send_close(s->sender);
	cli_finish_output();
	exit(s->unsure ? EX_TEMPFAIL : status);
}

static void commit(struct sending *s)
{
	if (send_commit(s->sender, report, s) != 0)
		give_up(s);
	if (fflush(stdout) != 0 || ferror(stdout))
		err(EX_TEMPFAIL, "jobs were sent, but their ids could not be written");
	show_progress(s, false);
}

/* A sender that pauses (tail -f) must not keep jobs back. */
static bool input_pauses(int fd)
{
	struct pollfd input = {.fd = fd, .events = POLLIN};

	return poll(&input, 1, 0) == 0;
}

static size_t read_input(struct sending *s, int fd, char *buffer)
{
	ssize_t n;

	if (send_pending(s->sender) > 0 && input_pauses(fd))
		commit(s);
	do
		n = read(fd, buffer, BUFFER_SIZE);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		warn("%s", s->file ? s->file : "standard input");
		if (s->terminator != -1 && send_pending(s->sender) > 0)
			commit(s); /* the records before it came whole */
		send_close(s->sender);
		exit(EX_IOERR);
	}
	return (size_t)n;
}

static void write_piece(struct sending *s, const char *data, size_t len)
{
	if (send_write(s->sender, data, len) != 0)
		give_up(s);
}

static void end_job(struct sending *s)
{
	if (send_end(s->sender) != 0)
		give_up(s);
	if (send_pending(s->sender) >= BATCH_MAX)
		commit(s);
}

static void send_whole(struct sending *s, int fd, char *buffer)
{
	size_t len;

	while ((len = read_input(s, fd, buffer)) > 0)
		write_piece(s, buffer, len);
	end_job(s);
}

static void send_records(struct sending *s, int fd, char *buffer)
{
	bool keep = s->terminator == '\n', open = false;
	unsigned long long records = 0;
	size_t len;

	while ((len = read_input(s, fd, buffer)) > 0) {
		for (char *p = buffer; p < buffer + len;) {
			size_t rest = (size_t)(buffer + len - p);
			char *end = memchr(p, s->terminator, rest);

			write_piece(s, p, end ? (size_t)(end - p) + keep : rest);
			open = true;
			p = end ? end + 1 : p + rest;
			if (end && ++records == s->per_job) {
				end_job(s);
				open = false;
				records = 0;
			}
		}
	}
	if (open)
		end_job(s);
}

static int open_input(const struct sending *s)
{
	int fd = s->file ? open(s->file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;

	if (fd < 0)
		err(cli_status(errno), "%s", s->file);
	if (!s->file && isatty(fd))
		warnx("reading from the terminal; end with Ctrl-D");
	return fd;
}

static int send_all(struct sending *s)
{
	static char buffer[BUFFER_SIZE];
	const char *queue = s->cli.queue ? s->cli.queue : "default";
	int fd = open_input(s);

	s->progress = s->terminator != -1 && isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO);
	s->spool = cli_open(&s->cli, true, false);
	s->sender = send_open(s->spool, queue, &s->options);
	if (!s->sender)
		return cli_complain(s->spool, NULL);
	if (send_begin(s->sender) != 0)
		give_up(s);
	if (s->terminator == -1)
		send_whole(s, fd, buffer);
	else
		send_records(s, fd, buffer);
	commit(s);
	show_progress(s, true);
	if (s->cli.verbose)
		warnx("%llu sent to %s in %s", s->sent, queue, spool_path(s->spool));
	if (s->wait && s->cli.verbose)
		warnx("job %s", s->id);
	return s->wait ? result_await(s->spool, queue, s->id) : EX_OK;
}

int main(int argc, char **argv)
{
	struct sending s = {.terminator = -1};
	int status;

	cli_begin(argv);
	signal(SIGPIPE, SIG_IGN); /* of who reads the ids: say that jobs were sent */
	meta_init(&s.meta);
	s.options = (struct send_options){
	    .priority = JOB_PRIORITY_DEFAULT, .due_ms = JOB_DUE_NONE, .meta = &s.meta};
	parse(&s, argc, argv);
	status = send_all(&s);
	send_close(s.sender);
	spool_close(s.spool);
	meta_release(&s.meta);
	return status;
}
