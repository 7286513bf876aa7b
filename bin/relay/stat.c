#include "stat.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"

enum {
	QUIET_MS = 250, /* a host that has not answered by then says nothing */
	HOST_SIZE = 128
};

struct host {
	char name[HOST_SIZE];
	unsigned long long jobs;
};

struct figures {
	const char *queue;
	char queue_tag[24]; /* of what hosts answer */
	uint64_t depth, waiting, in_flight, delayed, redelivered, buried;
	int64_t limit;     /* of what is in flight; 0: none */
	int64_t oldest_ms; /* when it came, or JOB_DUE_NONE */
	struct host *host;
	size_t hosts;
};

/* --- gathering --- */

static int read_streams(struct wire *wire, struct figures *f)
{
	char stream[SUBJECT_SIZE];
	jsStreamInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus status;

	jobs_stream(f->queue, stream);
	status = js_GetStreamInfo(&info, wire_stream(wire), stream, NULL, &error);
	if (status == NATS_NOT_FOUND)
		return wire_explain(
		    wire, "there is no such stream: nobody has pushed or pulled that queue");
	if (status != NATS_OK)
		return wire_fail(wire, status, error);
	f->depth = info->State.Msgs;
	f->oldest_ms = f->depth > 0 ? info->State.FirstTime / 1000000 : JOB_DUE_NONE;
	jsStreamInfo_Destroy(info);
	buried_stream(f->queue, stream);
	status = js_GetStreamInfo(&info, wire_stream(wire), stream, NULL, &error);
	if (status == NATS_NOT_FOUND)
		return 0;
	if (status != NATS_OK)
		return wire_fail(wire, status, error);
	f->buried = info->State.Msgs;
	jsStreamInfo_Destroy(info);
	return 0;
}

/* Delayed ones are given out and go back, and are on no host. */
static void add_consumer(struct figures *f, enum consumer which, const jsConsumerInfo *info)
{
	if (which == CONSUMER_LATER) {
		f->delayed = info->NumPending + (uint64_t)info->NumAckPending;
		return;
	}
	if (which == CONSUMER_LIMITED)
		f->limit = info->Config->MaxAckPending;
	f->in_flight += (uint64_t)info->NumAckPending;
	f->redelivered += (uint64_t)info->NumRedelivered;
}

/* There is none before the first host has pulled. */
static int read_consumers(struct wire *wire, struct figures *f)
{
	char stream[SUBJECT_SIZE];
	uint64_t elsewhere;

	jobs_stream(f->queue, stream);
	for (enum consumer i = 0; i < CONSUMERS; i++) {
		jsConsumerInfo *info = NULL;
		jsErrCode error = 0;
		natsStatus status = js_GetConsumerInfo(
		    &info, wire_stream(wire), stream, consumer_name[i], NULL, &error);

		if (status == NATS_OK)
			add_consumer(f, i, info);
		jsConsumerInfo_Destroy(info);
		if (status != NATS_OK && status != NATS_NOT_FOUND)
			return wire_fail(wire, status, error);
	}
	elsewhere = f->in_flight + f->delayed;
	f->waiting = f->depth > elsewhere ? f->depth - elsewhere : 0;
	return 0;
}

/* {"host":"a","jobs":7} */
static void add_host(struct figures *f, natsMsg *msg)
{
	json_t *said =
	    json_loadb(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), 0, NULL);
	const char *name = json_string_value(json_object_get(said, "host"));
	struct host *hosts = name ? reallocarray(f->host, f->hosts + 1, sizeof *hosts) : NULL;

	if (hosts) {
		f->host = hosts;
		hosts += f->hosts++;
		snprintf(hosts->name, sizeof hosts->name, "%s", name);
		hosts->jobs = (unsigned long long)json_integer_value(json_object_get(said, "jobs"));
	}
	json_decref(said);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct host *)a)->name, ((const struct host *)b)->name);
}

/* Who pulls says what he has: nobody else knows. */
static int ask_hosts(struct wire *wire, struct figures *f)
{
	static unsigned serial;
	char subject[SUBJECT_SIZE];
	natsMsg *msg;

	ask_subject(f->queue, subject);
	snprintf(f->queue_tag, sizeof f->queue_tag, "host-%u", ++serial);
	if (wire_say(wire, subject, "", f->queue_tag) != 0)
		return -1;
	while ((msg = wire_await(wire, f->queue_tag, QUIET_MS)) != NULL) {
		bool nobody = natsMsg_IsNoResponders(msg);

		if (!nobody)
			add_host(f, msg);
		natsMsg_Destroy(msg);
		if (nobody)
			break;
	}
	if (f->hosts > 0)
		qsort(f->host, f->hosts, sizeof *f->host, by_name);
	return 0;
}

/* --- showing --- */

static void show_json(const struct figures *f)
{
	char when[WHEN_SIZE] = "", limit[24] = "null";
	int64_t lag = f->oldest_ms == JOB_DUE_NONE ? 0 : clock_real_ms() - f->oldest_ms;

	if (f->oldest_ms != JOB_DUE_NONE)
		when_rfc3339(f->oldest_ms, when);
	if (f->limit > 0)
		snprintf(limit, sizeof limit, "%lld", (long long)f->limit);
	printf(
	    "{\"queue\":\"%s\",\"depth\":%llu,\"waiting\":%llu,\"in_flight\":%llu,\"delayed\":%llu,"
	    "\"redelivered\":%llu,\"buried\":%llu,\"limit\":%s,\"lag_ms\":%lld",
	    f->queue, (unsigned long long)f->depth, (unsigned long long)f->waiting,
	    (unsigned long long)f->in_flight, (unsigned long long)f->delayed,
	    (unsigned long long)f->redelivered, (unsigned long long)f->buried, limit,
	    (long long)(lag > 0 ? lag : 0));
	cli_json_member("oldest", *when ? when : NULL);
	printf(",\"hosts\":[");
	for (size_t i = 0; i < f->hosts; i++) {
		printf("%s{\"host\":", i > 0 ? "," : "");
		cli_json_string(stdout, f->host[i].name);
		printf(",\"in_flight\":%llu}", f->host[i].jobs);
	}
	puts("]}");
}

static void show_row(const struct figures *f)
{
	char lag[WHEN_SIZE] = "-", limit[24], in_flight[48];
	int64_t ms = f->oldest_ms == JOB_DUE_NONE ? 0 : clock_real_ms() - f->oldest_ms;

	if (f->oldest_ms != JOB_DUE_NONE)
		duration_format_short(ms > 0 ? ms : 0, lag);
	snprintf(limit, sizeof limit, "/%lld", (long long)f->limit);
	snprintf(in_flight, sizeof in_flight, "%llu%s", (unsigned long long)f->in_flight,
	    f->limit > 0 ? limit : "");
	printf("%-16s %8llu %9s %8llu %11llu %8llu %8s\n", f->queue, (unsigned long long)f->waiting,
	    in_flight, (unsigned long long)f->delayed, (unsigned long long)f->redelivered,
	    (unsigned long long)f->buried, lag);
	for (size_t i = 0; i < f->hosts; i++) {
		char *name = cli_visible(f->host[i].name);

		printf("  %-14s          %9llu\n", name ? name : "?", f->host[i].jobs);
		free(name);
	}
}

static int show_queue(const struct relay_stat *stat, const char *queue)
{
	struct figures f = {.queue = queue, .oldest_ms = JOB_DUE_NONE};
	int status = EX_OK;

	if (read_streams(stat->wire, &f) != 0 || read_consumers(stat->wire, &f) != 0 ||
	    ask_hosts(stat->wire, &f) != 0) {
		warnx("queue %s: %s", queue, wire_why(stat->wire));
		status = EX_UNAVAILABLE;
	} else {
		(stat->json ? show_json : show_row)(&f);
	}
	free(f.host);
	return status;
}

int relay_stat(const struct relay_stat *stat)
{
	struct strings found = {0};
	const struct strings *queues = stat->queues;
	int status = EX_OK;

	if (queues->count == 0 && streams_queues(stat->wire, &found) != 0) {
		warnx("%s", wire_why(stat->wire));
		return EX_UNAVAILABLE;
	}
	if (queues->count == 0)
		queues = &found;
	if (!stat->json)
		puts("QUEUE             WAITING IN-FLIGHT  DELAYED REDELIVERED   BURIED   OLDEST");
	for (size_t i = 0; i < queues->count; i++)
		status = cli_first_failure(status, show_queue(stat, queues->item[i]));
	strings_release(&found);
	cli_finish_output();
	return status;
}
