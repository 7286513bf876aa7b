#include "stream.h"

#include <stdlib.h>
#include <string.h>

enum {
	WAITING_MAX = 8192,    /* hosts that wait for jobs of a class */
	UNLIMITED = 100000000, /* libnats leaves out what is negative, and then it would be 1,000 */
};

static int add(struct wire *wire, jsStreamConfig *config, jsErrCode *error)
{
	natsStatus status = js_AddStream(NULL, wire_stream(wire), config, NULL, error);

	return status == NATS_OK ? 0 : wire_fail(wire, status, *error);
}

static int add_replicated(struct wire *wire, jsStreamConfig *config, int replicas)
{
	jsErrCode error = 0;
	int result;

	config->Replicas = replicas > 0 ? replicas : REPLICAS_USUAL;
	result = add(wire, config, &error);
	if (result != 0 && replicas == 0 && error == JSStreamReplicasNotSupportedErr) {
		config->Replicas = 1;
		result = add(wire, config, &error);
	}
	return result;
}

/* One that somebody made in another way may say that it has what it does not keep, or never say it. */
static int check(struct wire *wire, const jsStreamConfig *wanted, const jsStreamConfig *is)
{
	const char *why = is->NoAck              ? "does not acknowledge what it takes (no_ack)"
	    : is->Retention != wanted->Retention ? wanted->Retention == js_WorkQueuePolicy
	        ? "is no work queue (retention)"
	        : "does not keep what it has (retention)"
	    : is->Discard != wanted->Discard && (is->MaxMsgs > 0 || is->MaxBytes > 0)
	    ? "makes room by dropping what is old (discard)"
	    : is->MaxMsgsPerSubject > 0 ? "drops all but some of a subject (max_msgs_per_subject)"
	    : is->MaxAge > 0            ? "drops what is old (max_age)"
	    : is->Storage != js_FileStorage ? "is in memory, which ends with its servers (storage)"
	                                    : NULL;

	return why ? wire_explain(wire, "the stream %s %s", is->Name, why) : 0;
}

static int ensure(struct wire *wire, jsStreamConfig *config, int replicas, int64_t *created)
{
	jsStreamInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus status = js_GetStreamInfo(&info, wire_stream(wire), config->Name, NULL, &error);
	int result;

	config->Discard = js_DiscardNew;
	result = status == NATS_OK ? check(wire, config, info->Config) : 0;
	if (status == NATS_OK && created)
		*created = info->Created;
	jsStreamInfo_Destroy(info);
	if (status == NATS_OK)
		return result;
	if (status != NATS_NOT_FOUND)
		return wire_fail(wire, status, error);
	config->Storage = js_FileStorage;
	result = add_replicated(wire, config, replicas);
	return result == 0 && created ? ensure(wire, config, replicas, created) : result;
}

static int ensure_named(struct wire *wire, const char *name, const char *subject,
    jsRetentionPolicy retention, int replicas, int64_t *created)
{
	jsStreamConfig config;

	jsStreamConfig_Init(&config);
	config.Name = name;
	config.Subjects = &subject;
	config.SubjectsLen = 1;
	config.Retention = retention;
	config.AllowDirect = retention == js_LimitsPolicy; /* they are read one after the other */
	return ensure(wire, &config, replicas, created);
}

int stream_ensure(struct wire *wire, const char *queue, int replicas, int64_t *created)
{
	char name[SUBJECT_SIZE], subject[SUBJECT_SIZE];

	jobs_stream(queue, name);
	jobs_subject(queue, ">", subject);
	if (ensure_named(wire, name, subject, js_WorkQueuePolicy, replicas, created) != 0)
		return -1;
	buried_stream(queue, name);
	buried_subject(queue, "*", subject);
	return ensure_named(wire, name, subject, js_LimitsPolicy, replicas, NULL);
}

int stream_drop(struct wire *wire, const char *queue, const char *number)
{
	uint64_t seq = strtoull(number, NULL, 10);
	char stream[SUBJECT_SIZE];
	natsMsg *msg = NULL;
	jsErrCode error = 0;
	natsStatus status;

	jobs_stream(queue, stream);
	status = js_GetMsg(&msg, wire_stream(wire), stream, seq, NULL, &error);
	natsMsg_Destroy(msg);
	if (status == NATS_OK)
		status = js_DeleteMsg(wire_stream(wire), stream, seq, NULL, &error);
	return status == NATS_OK || status == NATS_NOT_FOUND ? 0 : wire_fail(wire, status, error);
}

/* --- consumers --- */

const char *const consumer_name[CONSUMERS] = {"high", "normal", "low", "limited", "later"};

static const char *const consumer_subjects[CONSUMERS] = {
    "now.high", "now.normal", "now.low", "now.*", "later"};

enum consumer consumer_parse(const char *name)
{
	enum consumer i = 0;

	while (i < CONSUMERS && strcmp(name, consumer_name[i]) != 0)
		i++;
	return i;
}

/* 1 and INFO, the caller's; 0: there is none; -1. */
static int look(struct wire *wire, const char *stream, enum consumer which, jsConsumerInfo **info)
{
	jsErrCode error = 0;
	natsStatus status =
	    js_GetConsumerInfo(info, wire_stream(wire), stream, consumer_name[which], NULL, &error);

	if (status == NATS_OK)
		return 1;
	return status == NATS_NOT_FOUND ? 0 : wire_fail(wire, status, error);
}

static int make(struct wire *wire, const char *queue, enum consumer which,
    const struct consuming *c, jsConsumerInfo **info)
{
	char stream[SUBJECT_SIZE], subject[SUBJECT_SIZE];
	jsConsumerConfig config;
	jsErrCode error = 0;
	natsStatus status;

	jobs_stream(queue, stream);
	jobs_subject(queue, consumer_subjects[which], subject);
	jsConsumerConfig_Init(&config);
	config.Durable = consumer_name[which];
	config.FilterSubject = subject;
	config.DeliverPolicy = js_DeliverAll;
	config.AckPolicy = js_AckExplicit;
	config.AckWait = c->lease_ms * 1000000;
	config.MaxAckPending = which == CONSUMER_LIMITED ? c->limit : UNLIMITED;
	config.MaxWaiting = WAITING_MAX;
	status = js_AddConsumer(info, wire_stream(wire), stream, &config, NULL, &error);
	return status == NATS_OK ? 0 : wire_fail(wire, status, error);
}

static int64_t shorter(int64_t ms, int64_t ns)
{
	return ns > 0 && ns / 1000000 < ms ? ns / 1000000 : ms;
}

/* One that somebody made in another way. */
static int obey(
    struct wire *wire, const char *stream, const jsConsumerConfig *is, struct consuming *c)
{
	if (is->MaxDeliver > 0)
		return wire_explain(wire,
		    "consumer %s of the stream %s gives a job up after %lld times (max_deliver)",
		    is->Durable, stream, (long long)is->MaxDeliver);
	c->lease_ms = shorter(c->lease_ms, is->AckWait);
	c->wait_ms = shorter(c->wait_ms, is->MaxRequestExpires);
	if (is->MaxRequestBatch > 0 && is->MaxRequestBatch < c->batch)
		c->batch = (unsigned)is->MaxRequestBatch;
	return 0;
}

static int ensure_consumer(
    struct wire *wire, const char *queue, enum consumer which, struct consuming *c)
{
	char stream[SUBJECT_SIZE];
	jsConsumerInfo *info = NULL;
	int found;

	jobs_stream(queue, stream);
	found = look(wire, stream, which, &info);
	if (found == 0)
		found = make(wire, queue, which, c, &info) == 0 ? 1 : -1;
	if (found == 1 && obey(wire, stream, info->Config, c) != 0)
		found = -1;
	jsConsumerInfo_Destroy(info);
	return found == 1 ? 0 : -1;
}

/* What hosts have of it would be given out again. */
static int remove_consumer(struct wire *wire, const char *queue, enum consumer which)
{
	char stream[SUBJECT_SIZE];
	jsConsumerInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus status = NATS_OK;
	int found;

	jobs_stream(queue, stream);
	found = look(wire, stream, which, &info);
	if (found == 1 && info->NumAckPending > 0) {
		wire_explain(wire,
		    "hosts have jobs of queue %s: whether it is limited is changed when they have "
		    "none",
		    queue);
		found = -1;
	}
	jsConsumerInfo_Destroy(info);
	if (found == 1)
		status = js_DeleteConsumer(
		    wire_stream(wire), stream, consumer_name[which], NULL, &error);
	if (status != NATS_OK)
		return wire_fail(wire, status, error);
	return found < 0 ? -1 : 0;
}

/* Its number may be changed at any time. */
static int set_limit(
    struct wire *wire, const char *queue, const jsConsumerInfo *now, const struct consuming *c)
{
	char stream[SUBJECT_SIZE];
	jsConsumerConfig config = *now->Config;
	jsErrCode error = 0;
	natsStatus status;

	if (c->limit <= 0 || config.MaxAckPending == c->limit)
		return 0;
	jobs_stream(queue, stream);
	config.MaxAckPending = c->limit;
	status = js_UpdateConsumer(NULL, wire_stream(wire), stream, &config, NULL, &error);
	return status == NATS_OK ? 0 : wire_fail(wire, status, error);
}

/* Consumers of such a stream may not overlap: one for all takes the place of the others, or they of it. */
static int choose(struct wire *wire, const char *queue, struct consuming *c)
{
	char stream[SUBJECT_SIZE];
	jsConsumerInfo *info = NULL;
	int found, result;

	jobs_stream(queue, stream);
	found = look(wire, stream, CONSUMER_LIMITED, &info);
	c->limited = c->limit > 0 || (c->limit == 0 && found == 1);
	result = found == 1 ? set_limit(wire, queue, info, c) : found;
	jsConsumerInfo_Destroy(info);
	if (c->limited)
		for (enum consumer i = CONSUMER_HIGH; result == 0 && i <= CONSUMER_LOW; i++)
			result = remove_consumer(wire, queue, i);
	else if (result == 0 && found == 1)
		result = remove_consumer(wire, queue, CONSUMER_LIMITED);
	return result;
}

int consumers_ensure(struct wire *wire, const char *queue, struct consuming *c)
{
	enum consumer i, last;

	if (choose(wire, queue, c) != 0 || ensure_consumer(wire, queue, CONSUMER_LATER, c) != 0)
		return -1;
	i = c->limited ? CONSUMER_LIMITED : CONSUMER_HIGH;
	last = c->limited ? CONSUMER_LIMITED : CONSUMER_LOW;
	for (; i <= last; i++)
		if (ensure_consumer(wire, queue, i, c) != 0)
			return -1;
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int streams_queues(struct wire *wire, struct strings *list)
{
	char queue[QUEUE_NAME_SIZE];
	jsStreamNamesList *names = NULL;
	jsErrCode error = 0;
	natsStatus status = js_StreamNames(&names, wire_stream(wire), NULL, &error);

	if (status != NATS_OK && status != NATS_NOT_FOUND)
		return wire_fail(wire, status, error);
	for (int i = 0; names && i < names->Count; i++)
		if (jobs_stream_parse(names->List[i], queue) && strings_add(list, queue) != 0)
			err(EX_OSERR, NULL);
	jsStreamNamesList_Destroy(names);
	if (list->count > 1)
		qsort(list->item, list->count, sizeof *list->item, by_text);
	return 0;
}
