/*
 * A client and a worker of the peers that are servers, as good as C makes them, over a socket of the Unix domain:
 *
 *   client PROTOCOL SOCKET put <PAYLOAD            one job, and the server's word for it
 *   client PROTOCOL SOCKET fill COUNT              jobs of 200 bytes, 100 in flight; prints how many a second
 *   client PROTOCOL SOCKET work JOBS COUNT PROGRAM [ARGUMENT...]
 *                                                  runs PROGRAM for COUNT jobs, by vfork and execve, JOBS at once
 *
 * PROTOCOL is beanstalkd (put; reserve and delete) or redis (RPUSH; BLPOP: a job that was taken is lost if its worker
 * dies). The payload is received and thrown away: to hand it to the program would cost more.
 */
#include "bench.h"

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { LINE = 256, FLIGHT = 100, JOBS_MAX = 64, ID = 24 };

struct job {
	pid_t pid;
	char id[ID];
};

struct protocol {
	const char *name;
	const char *stored; /* how the answer to a put begins */
	const char *take;   /* what asks for a job and waits for one */
	void (*put)(const char *data, size_t len);
	void (*taken)(char id[static ID]); /* reads the answer to it */
	const char *done;      /* what is said of a job that ended, with its id; or NULL */
	const char *forgotten; /* how the answer to that begins */
};

static FILE *in, *out;
static const struct protocol *protocol;
static long unanswered; /* what was said of jobs that ended */

static const char *answer(void)
{
	static char line[LINE];

	if (!fgets(line, sizeof line, in))
		errx(1, "%s has hung up", protocol->name);
	return line;
}

static void expect(const char *start)
{
	const char *line = answer();

	if (strncmp(line, start, strlen(start)) != 0)
		errx(1, "%s says %s", protocol->name, line);
}

static void skip(size_t len)
{
	static char data[64 << 10];

	if (len > sizeof data || fread(data, 1, len, in) != len)
		errx(1, "%s sent no payload", protocol->name);
}

static void beanstalkd_put(const char *data, size_t len)
{
	fprintf(out, "put 0 0 3600 %zu\r\n", len);
	fwrite(data, 1, len, out);
	fputs("\r\n", out);
}

static void beanstalkd_taken(char id[static ID])
{
	size_t len;
	const char *line = answer();

	if (sscanf(line, "RESERVED %23s %zu", id, &len) != 2)
		errx(1, "beanstalkd says %s", line);
	skip(len + 2);
}

static void redis_put(const char *data, size_t len)
{
	fprintf(out, "*3\r\n$5\r\nRPUSH\r\n$1\r\nq\r\n$%zu\r\n", len);
	fwrite(data, 1, len, out);
	fputs("\r\n", out);
}

static void redis_taken(char id[static ID])
{
	size_t len;
	const char *line;

	*id = '\0';
	expect("*2");
	expect("$1");
	expect("q");
	line = answer();
	if (sscanf(line, "$%zu", &len) != 1)
		errx(1, "redis says %s", line);
	skip(len + 2);
}

static const struct protocol protocols[] = {
    {"beanstalkd", "INSERTED", "reserve\r\n", beanstalkd_put, beanstalkd_taken, "delete %s\r\n",
        "DELETED"},
    {"redis", ":", "*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n", redis_put, redis_taken, NULL,
        NULL},
};

static void connect_to(const char *name, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
		if (strcmp(protocols[i].name, name) == 0)
			protocol = &protocols[i];
	if (!protocol || strlen(path) >= sizeof address.sun_path)
		errx(EXIT_USAGE, "%s %s: no such protocol, or too long", name, path);
	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		err(1, "%s", path);
	in = fdopen(fd, "r");
	out = fdopen(fcntl(fd, F_DUPFD_CLOEXEC, 0), "w");
	if (!in || !out)
		err(1, "fdopen");
}

static void flush(void)
{
	if (fflush(out) != 0)
		err(1, "%s", protocol->name);
}

static void put(void)
{
	static char data[64 << 10];
	size_t len = fread(data, 1, sizeof data, stdin);

	protocol->put(data, len);
	flush();
	expect(protocol->stored);
}

/* More in flight, and their answers alone fill a socket: beanstalkd waits until they are read, and we until it reads. */
static void fill(long count)
{
	static const char payload[PAYLOAD] = "x";
	double begin = now();

	for (long i = 0; i < count; i += FLIGHT) {
		long flight = count - i < FLIGHT ? count - i : FLIGHT;

		for (long k = 0; k < flight; k++)
			protocol->put(payload, sizeof payload);
		flush();
		for (long k = 0; k < flight; k++)
			expect(protocol->stored);
	}
	print_rate(stdout, count, begin);
}

/* What was said of others goes the same way. */
static void settle(void)
{
	flush();
	for (; unanswered > 0; unanswered--)
		expect(protocol->forgotten);
}

static void take(struct job *job, char **argv)
{
	fputs(protocol->take, out);
	settle();
	protocol->taken(job->id);
	job->pid = start(argv);
}

static struct job *find(struct job *jobs, pid_t pid)
{
	while (jobs->pid != pid)
		jobs++;
	return jobs;
}

static void end_one(struct job *jobs, const char *program)
{
	struct job *job = find(jobs, wait_for_one(program));

	job->pid = 0;
	if (protocol->done) {
		fprintf(out, protocol->done, job->id);
		unanswered++;
	}
}

static void work(long limit, long count, char **argv)
{
	struct job jobs[JOBS_MAX] = {{0}};

	if (limit > JOBS_MAX)
		errx(EXIT_USAGE, "at most %d jobs at once", JOBS_MAX);
	for (long started = 0, ended = 0; ended < count;) {
		if (started < count && started - ended < limit) {
			take(find(jobs, 0), argv);
			started++;
		} else {
			end_one(jobs, argv[0]);
			ended++;
		}
	}
	settle();
}

int main(int argc, char **argv)
{
	if (argc < 4)
		errx(EXIT_USAGE, "usage: client PROTOCOL SOCKET put|fill|work [ARGUMENT...]");
	connect_to(argv[1], argv[2]);
	if (strcmp(argv[3], "put") == 0 && argc == 4)
		put();
	else if (strcmp(argv[3], "fill") == 0 && argc == 5)
		fill(number(argv[4]));
	else if (strcmp(argv[3], "work") == 0 && argc > 6)
		work(number(argv[4]), number(argv[5]), argv + 6);
	else
		errx(EXIT_USAGE, "usage: client PROTOCOL SOCKET put|fill|work [ARGUMENT...]");
	return 0;
}
