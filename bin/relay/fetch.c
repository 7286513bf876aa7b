#include "fetch.h"

#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"

enum {
	ANSWER_MS = 2000,
	TURN_MS = 250, /* where consumers take turns */
	LATER_BATCH = 64,
	/* Statuses of a request's end: none left; its time is over. */
	NONE_LEFT = 404,
	TIME_OVER = 408,
};

static enum consumer first(const struct fetch *fetch)
{
	return fetch->limited ? CONSUMER_LIMITED : CONSUMER_HIGH;
}

/* Behind the last one that is swept. */
static enum consumer end(const struct fetch *fetch)
{
	return (fetch->limited ? CONSUMER_LIMITED : CONSUMER_LOW) + 1;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

void fetch_reset(struct fetch *fetch, const struct consuming *consuming)
{
	for (enum consumer i = 0; i < CONSUMERS; i++)
		fetch->request[i].left = 0;
	fetch->limited = consuming->limited;
	fetch->batch = consuming->batch;
	fetch->wait_ms = consuming->wait_ms;
	fetch->sweep = first(fetch);
}

static void request(struct fetch *fetch, struct wire *wire, enum consumer consumer, unsigned batch,
    int64_t wait_ms, int64_t now)
{
	struct request *request = &fetch->request[consumer];
	char subject[2 * SUBJECT_SIZE], stream[SUBJECT_SIZE], text[96], tag[48];

	jobs_stream(fetch->queue, stream);
	snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream,
	    consumer_name[consumer]);
	if (wait_ms > 0)
		snprintf(text, sizeof text, "{\"batch\":%u,\"expires\":%lld}", batch,
		    (long long)wait_ms * 1000000);
	else
		snprintf(text, sizeof text, "{\"batch\":%u,\"no_wait\":true}", batch);
	*request = (struct request){.left = batch,
	    .waits = wait_ms > 0,
	    .serial = ++fetch->serial,
	    .until = now + wait_ms + ANSWER_MS};
	snprintf(tag, sizeof tag, WIRE_GIVEN "%u-%u-%u", fetch->index, (unsigned)consumer,
	    request->serial);
	if (wire_say(wire, subject, text, tag) != 0)
		request->left = 0;
}

static void forget_lost(struct fetch *fetch, int64_t now)
{
	for (enum consumer i = 0; i < CONSUMERS; i++)
		if (now >= fetch->request[i].until)
			fetch->request[i].left = 0;
}

static unsigned reserved(const struct fetch *fetch)
{
	unsigned sum = 0;

	for (enum consumer i = first(fetch); i < end(fetch); i++)
		sum += fetch->request[i].left;
	return sum;
}

/* One for which it waits would have come if there were any. */
static void skip_waiting(struct fetch *fetch)
{
	while (fetch->sweep < end(fetch) && fetch->request[fetch->sweep].left > 0 &&
	    fetch->request[fetch->sweep].waits)
		fetch->sweep++;
}

static void wait_for_any(struct fetch *fetch, struct wire *wire, unsigned room, int64_t now)
{
	unsigned many = (unsigned)(end(fetch) - first(fetch));
	int64_t wait_ms = room >= many || fetch->wait_ms < TURN_MS ? fetch->wait_ms : TURN_MS;

	for (unsigned i = 0; i < many && room > 0; i++) {
		unsigned at = (fetch->turn + i) % many;
		enum consumer consumer = (enum consumer)(first(fetch) + at);

		if (fetch->request[consumer].left > 0)
			continue;
		request(fetch, wire, consumer, 1, wait_ms, now);
		if (--room == 0)
			fetch->turn = at + 1;
	}
}

void fetch_step(struct fetch *fetch, struct wire *wire, unsigned room, int64_t now)
{
	unsigned asked;

	forget_lost(fetch, now);
	if (fetch->request[CONSUMER_LATER].left == 0)
		request(fetch, wire, CONSUMER_LATER, least(LATER_BATCH, fetch->batch),
		    fetch->wait_ms, now);
	asked = reserved(fetch);
	if (room <= asked)
		return;
	room -= asked;
	skip_waiting(fetch);
	if (fetch->sweep == end(fetch))
		wait_for_any(fetch, wire, room, now);
	else if (fetch->request[fetch->sweep].left == 0)
		request(fetch, wire, fetch->sweep, least(room, fetch->batch), 0, now);
}

/* After all that were asked for: what is urgent may have come meanwhile. */
void fetch_came(struct fetch *fetch, enum consumer consumer)
{
	struct request *request = &fetch->request[consumer];

	if (request->left > 0)
		request->left--;
	request->until =
	    later(request->until, clock_mono_ms() + ANSWER_MS); /* what is long takes long */
	if (request->left == 0)
		fetch->sweep = first(fetch);
}

bool fetch_tag(const char *tag, unsigned *index)
{
	char *rest;

	if (strncmp(tag, WIRE_GIVEN, strlen(WIRE_GIVEN)) != 0)
		return false;
	*index = (unsigned)strtoul(tag + strlen(WIRE_GIVEN), &rest, 10);
	return *rest == '-';
}

const char *fetch_answer(struct fetch *fetch, const char *tag, natsMsg *msg)
{
	unsigned index, consumer, serial;
	const char *text = NULL;
	int status;

	if (sscanf(tag, WIRE_GIVEN "%u-%u-%u", &index, &consumer, &serial) != 3 ||
	    consumer >= CONSUMERS || fetch->request[consumer].serial != serial)
		return NULL;
	fetch->request[consumer].left = 0;
	if (natsMsgHeader_Get(msg, "Status", &text) != NATS_OK || !text)
		return NULL;
	status = atoi(text);
	if (status != NONE_LEFT && status != TIME_OVER)
		return natsMsgHeader_Get(msg, "Description", &text) == NATS_OK && text
		    ? text
		    : "the consumer does not answer";
	if (fetch->sweep == consumer)
		fetch->sweep++;
	return NULL;
}

int64_t fetch_next(const struct fetch *fetch)
{
	int64_t next = INT64_MAX;

	for (enum consumer i = 0; i < CONSUMERS; i++)
		if (fetch->request[i].left > 0 && fetch->request[i].until < next)
			next = fetch->request[i].until;
	return next;
}
