/*
 * The limit of pushing: makes a stream of JetStream as qrelay's are, and publishes COUNT payloads of 200 bytes to it by
 * libnats's asynchronous calls, with as many unanswered as there may be, until all were answered. There is no file, no header,
 * and no id by which the stream would know a duplicate.
 */
#include "bench.h"

#include <nats/nats.h>

enum { ANSWERS_MS = 300000 };

static void must(natsStatus status, const char *what)
{
	if (status != NATS_OK)
		errx(1, "%s: %s", what, natsStatus_GetText(status));
}

static void failed(jsCtx *stream, jsPubAckErr *answer, void *arg)
{
	(void)stream;
	(void)arg;
	errx(1, "not taken: %s", answer->ErrText);
}

static void make_stream(jsCtx *calls)
{
	const char *subjects[] = {"jobs"};
	jsStreamConfig config;

	jsStreamConfig_Init(&config);
	config.Name = "JOBS";
	config.Subjects = subjects;
	config.SubjectsLen = 1;
	config.Retention = js_WorkQueuePolicy;
	config.Storage = js_FileStorage;
	config.Discard = js_DiscardNew;
	must(js_AddStream(NULL, calls, &config, NULL, NULL), "stream");
}

static void publish(jsCtx *calls, long count)
{
	static const char payload[PAYLOAD];
	jsPubOptions options;

	for (long i = 0; i < count; i++)
		must(js_PublishAsync(calls, "jobs", payload, sizeof payload, NULL), "publish");
	jsPubOptions_Init(&options);
	options.MaxWait = ANSWERS_MS;
	must(js_PublishAsyncComplete(calls, &options), "answers");
}

int main(int argc, char **argv)
{
	natsConnection *connection = NULL;
	jsCtx *calls = NULL;
	jsOptions options;

	if (argc != 3)
		errx(EXIT_USAGE, "usage: stream URL COUNT");
	jsOptions_Init(&options);
	options.PublishAsync.ErrHandler = failed;
	must(natsConnection_ConnectTo(&connection, argv[1]), argv[1]);
	must(natsConnection_JetStream(&calls, connection, &options), "JetStream");
	make_stream(calls);
	publish(calls, number(argv[2]));
	jsCtx_Destroy(calls);
	natsConnection_Destroy(connection);
	nats_Close();
	return 0;
}
