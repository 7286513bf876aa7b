#include "spool/log.h"

#include <bsd/vis.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/logfmt.h"
#include "format/visible.h"
#include "sys/clock.h"

/* Fills LINE (of SIZE) with the time; returns a stream that goes on behind it. */
static FILE *begin_line(char **line, size_t *size)
{
	char now[WHEN_SIZE];
	FILE *out = open_memstream(line, size);

	when_rfc3339(clock_real_ms(), now);
	if (out)
		fputs(now, out);
	return out;
}

static void put_encoded(FILE *out, const char *text, size_t len)
{
	char *encoded = visible(text, len, VIS_CSTYLE | VIS_NL);

	if (encoded)
		fputs(encoded, out);
	free(encoded);
}

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void put_usage(FILE *out, const struct attempt *attempt)
{
	if (attempt->seconds >= 0)
		fprintf(out, " seconds=%.3f", attempt->seconds);
	if (attempt->used)
		fprintf(out, " user=%.3f sys=%.3f maxrss=%ldK", seconds_of(attempt->used->ru_utime),
		    seconds_of(attempt->used->ru_stime), attempt->used->ru_maxrss);
}

static void put_tail(FILE *out, const char *tail, size_t len)
{
	while (len > 0) {
		const char *end = memchr(tail, '\n', len);
		size_t line = end ? (size_t)(end - tail) : len;

		fputs("  | ", out);
		put_encoded(out, tail, line);
		fputc('\n', out);
		tail += line;
		len -= line;
		if (len > 0) {
			tail++;
			len--;
		}
	}
}

static void put_notes(FILE *out, const struct strings *notes)
{
	for (size_t i = 0; i < notes->count; i++) {
		fputs("  note: ", out);
		put_encoded(out, notes->item[i], strlen(notes->item[i]));
		fputc('\n', out);
	}
}

/* Room for stderr and notes in this log? Its events are always written. */
static bool has_room(const struct job *job)
{
	struct stat st;

	return fstatat(job->queue->dir[DIR_LOG], job->name.id, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    st.st_size < LOG_SIZE_MAX;
}

static int append(struct job *job, const char *text, size_t len, bool sync)
{
	const struct queue *queue = job->queue;
	int fd = sys_append(queue->dir[DIR_LOG], job->name.id, queue->spool->file_mode);
	int result;

	if (fd < 0)
		return queue_fail(queue, DIR_LOG, job->name.id);
	job->name.log = true;
	result = sys_write(fd, text, len);
	if (result == 0 && sync)
		result = sys_fsync(fd) == 0 ? sys_fsync(queue->dir[DIR_LOG]) : -1;
	if (result != 0)
		queue_fail(queue, DIR_LOG, job->name.id);
	sys_discard(&fd);
	return result;
}

/* Closes OUT, whose memory is *TEXT, and appends that. */
static int finish(struct job *job, FILE *out, char **text, const size_t *len, bool sync)
{
	int result = -1;

	if (out && fclose(out) == 0)
		result = append(job, *text, *len, sync);
	free(*text);
	return result;
}

int log_open(const struct job *job)
{
	int dir = job->queue->dir[DIR_LOG];
	int fd =
	    openat(dir, job->name.id, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? -1 : sys_check_plain(dir, fd);
}

int spool_log_status(const char *log)
{
	return logfmt_last_status(log);
}

int log_attempt(struct job *job, const struct attempt *attempt)
{
	char *text = NULL, host[256] = "";
	size_t len = 0;
	FILE *out = begin_line(&text, &len);

	if (!out)
		return -1;
	gethostname(host, sizeof host - 1);
	fprintf(out, " attempt=%u of=%u", job->name.attempts, attempt->of);
	logfmt_put(out, "cause", attempt->cause);
	if (attempt->reason)
		logfmt_put(out, "reason", attempt->reason);
	logfmt_status(out, attempt->status);
	put_usage(out, attempt);
	logfmt_put(out, "host", host);
	fputc('\n', out);
	if (has_room(job)) {
		if (attempt->notes)
			put_notes(out, attempt->notes);
		put_tail(out, attempt->tail, attempt->tail_len);
	}
	return finish(job, out, &text, &len, false);
}

int log_notes(struct job *job, const char *event, const struct strings *notes)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if (notes->count == 0 || !has_room(job))
		return 0;
	out = begin_line(&text, &len);
	if (!out)
		return -1;
	fprintf(out, " %s attempt=%u\n", event, job->name.attempts);
	put_notes(out, notes);
	return finish(job, out, &text, &len, false);
}

int log_event(struct job *job, const char *event, const char *reason, bool sync)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = begin_line(&text, &len);

	if (!out)
		return -1;
	fprintf(out, " %s by=%u", event, (unsigned)geteuid());
	if (reason)
		logfmt_put(out, "reason", reason);
	fputc('\n', out);
	return finish(job, out, &text, &len, sync);
}
