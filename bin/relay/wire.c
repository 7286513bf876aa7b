#include "wire.h"

#include <bsd/stdlib.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "access.h"
#include "sys/clock.h"
#include "url.h"

enum {
	PING_MS = 5000, /* a peer that says nothing to two of them is gone */
	PINGS_OUT = 2,
	WRITE_MS = 5000, /* a peer that takes nothing for so long is gone, too */
	AGAIN_FIRST_MS = 100,
	AGAIN_DOUBLINGS = 6, /* to 6.4 s, of which the upper half is chance */
	CALL_MS = 3000,
	PATIENCE_MS =
	    100000, /* with a handshake: more than 32 servers take that do not answer at all */
	CLOSE_MS = 1000,
	SPENT_MAX = 64,
	SPENT_LONG = 4096,
};

struct heard {
	natsMsg *msg;
	struct heard *next;
};

struct wire {
	natsOptions *options;
	char servers[URL_SIZE];     /* to be shown */
	const char *creds;          /* or NULL */
	natsConnection *connection; /* or NULL, with what follows */
	natsSubscription *inbox;
	natsSubscription *given; /* what consumers give out, as it was asked for */
	natsSubscription *asked[WIRE_QUEUES_MAX];
	jsCtx *stream;
	struct strings subjects;          /* of wire_listen() */
	char prefix[WIRE_REPLY_SIZE / 2]; /* of the subjects of answers, with the last dot */
	int event;
	char why[256];
	char news[256 + URL_SIZE + 512];
	unsigned told; /* of `times` */
	bool over, told_down, told_over, ever_down;
	natsMsg *spent[SPENT_MAX];
	size_t spents;
	pthread_t connector;
	atomic_bool closing; /* nothing more is heard */
	/* What libnats's threads and the connector write: */
	atomic_bool lost; /* the connection, or the one that was made */
	atomic_uint times;
	atomic_llong since; /* ms: a connection is being made since then; or 0 */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool wanted, unwelcome, ended;
	unsigned failures;
	natsConnection *made;
	char said[256]; /* why there is none, as far as is known */
	struct heard *first, **last;
};

void wire_environment(struct wire_options *options)
{
	options->creds = getenv("QRELAY_CREDS");
	options->nkey = getenv("QRELAY_NKEY");
	options->seed = getenv("QRELAY_NKEY_SEED");
	options->ca = getenv("QRELAY_TLS_CA");
	options->cert = getenv("QRELAY_TLS_CERT");
	options->key = getenv("QRELAY_TLS_KEY");
}

static void forget(const char **option, const char *variable)
{
	if (*option == getenv(variable))
		*option = NULL;
}

/* Who says on the command line who he is means what he says there. */
bool wire_option(struct wire_options *options, int option)
{
	switch (option) {
	case WIRE_CREDS:
		options->creds = optarg;
		forget(&options->nkey, "QRELAY_NKEY");
		forget(&options->seed, "QRELAY_NKEY_SEED");
		return true;
	case WIRE_NKEY:
		options->nkey = optarg;
		forget(&options->creds, "QRELAY_CREDS");
		return true;
	case WIRE_SEED:
		options->seed = optarg;
		forget(&options->creds, "QRELAY_CREDS");
		return true;
	case WIRE_CA:
		options->ca = optarg;
		return true;
	case WIRE_CERT:
		options->cert = optarg;
		return true;
	case WIRE_KEY:
		options->key = optarg;
		return true;
	default:
		return false;
	}
}

/* libnats says where in its source it failed, and then why; of this thread's last failure, whichever that was. */
const char *wire_reason(natsStatus status)
{
	natsStatus last = NATS_OK;
	const char *text = nats_GetLastError(&last), *behind;

	if (last != status || !text || !*text)
		return natsStatus_GetText(status);
	behind = text[0] == '(' ? strstr(text, "): ") : NULL;
	return behind ? behind + strlen("): ") : text;
}

/* --- in libnats's threads --- */

static void wake(const struct wire *wire)
{
	const uint64_t one = 1;

	(void)!write(wire->event, &one, sizeof one);
}

static void closed(natsConnection *connection, void *arg)
{
	struct wire *wire = arg;

	(void)connection;
	wire->lost = true;
	wake(wire);
}

/* Otherwise libnats would print them. What is said first, that we are not welcome any more, is why there is no connection, and not
 * what is said when it tries again. */
static void failed(
    natsConnection *connection, natsSubscription *subscription, natsStatus status, void *arg)
{
	struct wire *wire = arg;

	(void)connection;
	(void)subscription;
	pthread_mutex_lock(&wire->mutex);
	if (status == NATS_CONNECTION_AUTH_FAILED && !*wire->said)
		snprintf(wire->said, sizeof wire->said, "%s", wire_reason(status));
	pthread_mutex_unlock(&wire->mutex);
	wake(wire);
}

static void hear(natsConnection *connection, natsSubscription *inbox, natsMsg *msg, void *arg)
{
	struct heard *heard = malloc(sizeof *heard);
	struct wire *wire = arg;
	bool first;

	(void)connection;
	(void)inbox;
	if (!heard || wire->closing) { /* as if it had been lost on its way */
		free(heard);
		natsMsg_Destroy(msg);
		return;
	}
	*heard = (struct heard){.msg = msg};
	pthread_mutex_lock(&wire->mutex);
	first = wire->first == NULL;
	*wire->last = heard;
	wire->last = &heard->next;
	pthread_mutex_unlock(&wire->mutex);
	if (first)
		wake(wire);
}

/* --- opening --- */

void wire_must(natsStatus status, int exit_status, const char *what)
{
	if (status != NATS_OK)
		errx(exit_status, "%s: %s", what, wire_reason(status));
}

/* As many as there is room for. */
static void add_shown(struct wire *wire, const char *url)
{
	size_t len = strlen(wire->servers), room = sizeof wire->servers - len;

	if (strlen(url) + sizeof ",..." < room)
		snprintf(wire->servers + len, room, "%s%s", len > 0 ? "," : "", url);
	else if (len == 0 || wire->servers[len - 1] != '.')
		snprintf(wire->servers + len, room, "%s...", len > 0 ? "," : "");
}

/* libnats takes tls:// for nats://: it would tell the server who we are before it asked for TLS, or without. */
static void set_servers(struct wire *wire, natsOptions *options, char *urls)
{
	const char *server[32], *why;
	char shown[URL_SIZE];
	int count = 0, tls = 0;
	char *url;

	while ((url = strsep(&urls, ",")) != NULL) {
		if (count == sizeof server / sizeof *server)
			cli_usage("URL: more than %d servers", count);
		if (!*url)
			cli_usage("URL: one of them is empty");
		why = url_check(url);
		url_show(url, shown);
		if (why)
			errx(EX_CONFIG, "URL %s: %s", shown, why);
		add_shown(wire, shown);
		tls += url_is_tls(url);
		server[count++] = url;
	}
	if (tls > 0 && tls < count)
		cli_usage("URL: tls:// of all servers, or of none");
	wire_must(natsOptions_SetServers(options, server, count), EX_USAGE, "URL");
	if (tls > 0)
		wire_must(natsOptions_SetSecure(options, true), EX_CONFIG, "TLS");
}

static void set_name(natsOptions *options, const char *role)
{
	char host[128] = "", name[256];

	gethostname(host, sizeof host - 1);
	snprintf(name, sizeof name, "qrelay %s on %s", role, host);
	wire_must(natsOptions_SetName(options, name), EX_SOFTWARE, "NATS");
}

static natsOptions *make_options(struct wire *wire, const struct wire_options *from)
{
	natsOptions *to = NULL;

	wire_must(natsOptions_Create(&to), EX_OSERR, "NATS");
	set_servers(wire, to, from->urls);
	set_name(to, from->role);
	access_set(to, from);
	natsOptions_SetClosedCB(to, closed, wire);
	natsOptions_SetErrorHandler(to, failed, wire);
	natsOptions_SetAllowReconnect(to, false);
	natsOptions_SetPingInterval(to, PING_MS);
	natsOptions_SetMaxPingsOut(to, PINGS_OUT);
	/* What is written waits with the lock of the connection, for which pings and all calls would wait, too. */
	natsOptions_SetWriteDeadline(to, WRITE_MS);
	natsOptions_SetFailRequestsOnDisconnect(to, true);
	return to;
}

/* --- connecting --- */

/* In a thread of its own, and not in libnats's: that one gives up for good if the first try comes as far as a handshake, and has
 * the lock for which all calls wait until the last one has ended, if it ever does. */
static void conclude(struct wire *wire, natsStatus status, natsConnection *made, bool again)
{
	wire->made = made;
	wire->wanted = status != NATS_OK;
	wire->failures = status == NATS_OK ? 0 : wire->failures + 1;
	if (status == NATS_OK) {
		wire->times++;
	} else {
		snprintf(wire->said, sizeof wire->said, "%s", wire_reason(status));
		wire->unwelcome = again && status == NATS_CONNECTION_AUTH_FAILED;
		wire->wanted = !wire->unwelcome;
	}
	wake(wire);
}

static void wait_to_try(struct wire *wire)
{
	unsigned doublings = wire->failures < AGAIN_DOUBLINGS ? wire->failures : AGAIN_DOUBLINGS;
	uint32_t longest = (uint32_t)AGAIN_FIRST_MS << doublings;
	int64_t ms = longest / 2 + arc4random_uniform(longest / 2);
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!wire->closing &&
	    pthread_cond_timedwait(&wire->changed, &wire->mutex, &until) != ETIMEDOUT)
		;
}

static void *make_connections(void *arg)
{
	struct wire *wire = arg;
	bool first = true, refused = false;

	pthread_mutex_lock(&wire->mutex);
	while (!wire->closing) {
		natsConnection *made = NULL;
		natsStatus status;

		if (!wire->wanted) {
			pthread_cond_wait(&wire->changed, &wire->mutex);
			continue;
		}
		if (!first)
			wait_to_try(wire);
		first = false;
		if (wire->closing)
			break;
		pthread_mutex_unlock(&wire->mutex);
		wire->since = clock_mono_ms();
		status = natsConnection_Connect(&made, wire->options);
		wire->since = 0;
		pthread_mutex_lock(&wire->mutex);
		conclude(wire, status, made, refused);
		refused = status == NATS_CONNECTION_AUTH_FAILED;
	}
	wire->ended = true;
	pthread_cond_broadcast(&wire->changed);
	pthread_mutex_unlock(&wire->mutex);
	return NULL;
}

static void want(struct wire *wire)
{
	pthread_mutex_lock(&wire->mutex);
	wire->wanted = true;
	pthread_cond_broadcast(&wire->changed);
	pthread_mutex_unlock(&wire->mutex);
}

static void release(struct wire *wire)
{
	natsSubscription_Destroy(wire->inbox);
	natsSubscription_Destroy(wire->given);
	wire->inbox = wire->given = NULL;
	for (size_t i = 0; i < wire->subjects.count; i++) {
		natsSubscription_Destroy(wire->asked[i]);
		wire->asked[i] = NULL;
	}
	jsCtx_Destroy(wire->stream);
	wire->stream = NULL;
	natsConnection_Close(wire->connection);
	natsConnection_Destroy(wire->connection);
	wire->connection = NULL;
}

static void drop(struct wire *wire)
{
	const char *why = NULL;

	natsConnection_GetLastError(wire->connection, &why);
	pthread_mutex_lock(&wire->mutex);
	if (!*wire->said)
		snprintf(wire->said, sizeof wire->said, "%s", why ? why : "");
	pthread_mutex_unlock(&wire->mutex);
	release(wire);
	wire->lost = false;
	want(wire);
}

/* To the subjects of answers that begin with AFTER, and have one more word. */
static natsStatus subscribe(struct wire *wire, natsSubscription **to, const char *after)
{
	char subject[sizeof wire->prefix + 16];
	natsStatus status;

	snprintf(subject, sizeof subject, "%s%s*", wire->prefix, after);
	status = natsConnection_Subscribe(to, wire->connection, subject, hear, wire);
	if (status == NATS_OK)
		natsSubscription_SetPendingLimits(*to, -1, -1);
	return status;
}

static natsStatus begin(struct wire *wire)
{
	natsStatus status;
	jsOptions calls;

	jsOptions_Init(&calls);
	calls.Wait = CALL_MS;
	status = natsConnection_JetStream(&wire->stream, wire->connection, &calls);
	if (status == NATS_OK)
		status = subscribe(wire, &wire->inbox, "");
	if (status == NATS_OK)
		status = subscribe(wire, &wire->given, WIRE_GIVEN);
	for (size_t i = 0; status == NATS_OK && i < wire->subjects.count; i++)
		status = natsConnection_Subscribe(
		    &wire->asked[i], wire->connection, wire->subjects.item[i], hear, wire);
	return status;
}

/* libnats has no limit of time for what comes after the first word of a server: then nobody else is tried, and nothing told. */
static void check_patience(const struct wire *wire)
{
	int64_t since = wire->since;

	if (since != 0 && clock_mono_ms() - since > PATIENCE_MS)
		errx(EX_TEMPFAIL, "%s: a server begins to talk and does not go on", wire->servers);
}

/* Takes the connection that was made, and has another one made in place of one that is lost. */
static void look(struct wire *wire)
{
	natsConnection *made;

	pthread_mutex_lock(&wire->mutex);
	made = wire->made;
	wire->made = NULL;
	wire->over |= wire->unwelcome;
	pthread_mutex_unlock(&wire->mutex);
	if (made) {
		wire->connection = made;
		if (begin(wire) != NATS_OK)
			natsConnection_Close(made); /* by which it is lost, a little later */
	}
	if (wire->lost && wire->connection)
		drop(wire);
	check_patience(wire);
}

/* --- opening and closing --- */

static void take_inbox(struct wire *wire)
{
	natsInbox *inbox = NULL;

	wire_must(natsInbox_Create(&inbox), EX_OSERR, "NATS");
	snprintf(wire->prefix, sizeof wire->prefix, "%s.", inbox);
	natsInbox_Destroy(inbox);
}

static void init_locks(struct wire *wire)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&wire->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&wire->changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

struct wire *wire_open(struct wire_options *options)
{
	struct wire *wire = calloc(1, sizeof *wire);
	sigset_t all, before;

	if (!wire)
		err(EX_OSERR, NULL);
	wire->last = &wire->first;
	wire->wanted = true;
	init_locks(wire);
	wire->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (wire->event < 0)
		err(EX_OSERR, NULL);
	sigfillset(
	    &all); /* for libnats's threads, which have it from here: signals are not theirs */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	wire->options = make_options(wire, options);
	wire->creds = options->creds;
	take_inbox(wire);
	errno = pthread_create(&wire->connector, NULL, make_connections, wire);
	if (errno != 0)
		err(EX_OSERR, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return wire;
}

static void destroy_spent(struct wire *wire)
{
	while (wire->spents > 0)
		natsMsg_Destroy(wire->spent[--wire->spents]);
}

/* False: it is in the midst of a handshake, which libnats does not end. */
static bool end_connector(struct wire *wire)
{
	struct timespec until;
	int error = 0;
	bool ended;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLOSE_MS / 1000;
	pthread_mutex_lock(&wire->mutex);
	wire->closing = true;
	pthread_cond_broadcast(&wire->changed);
	while (!wire->ended && error == 0)
		error = pthread_cond_timedwait(&wire->changed, &wire->mutex, &until);
	ended = wire->ended;
	pthread_mutex_unlock(&wire->mutex);
	if (ended)
		pthread_join(wire->connector, NULL);
	return ended;
}

void wire_close(struct wire *wire)
{
	const char *tag;
	natsMsg *msg;

	if (!wire)
		return;
	if (wire_is_up(wire))
		natsConnection_FlushTimeout(wire->connection, CLOSE_MS);
	if (!end_connector(wire))
		return; /* all of it is in use still */
	release(wire);
	natsConnection_Destroy(wire->made);
	natsOptions_Destroy(wire->options);
	while ((msg = wire_next(wire, &tag)) != NULL) /* libnats has to be there for that */
		natsMsg_Destroy(msg);
	destroy_spent(wire);
	if (nats_CloseAndWait(CLOSE_MS) != NATS_OK)
		return; /* its threads may come back to what would be freed here */
	close(wire->event);
	strings_release(&wire->subjects);
	pthread_cond_destroy(&wire->changed);
	pthread_mutex_destroy(&wire->mutex);
	free(wire);
}

/* --- what is going on --- */

int wire_fd(const struct wire *wire)
{
	return wire->event;
}

bool wire_is_up(const struct wire *wire)
{
	return wire->connection && !wire->lost;
}

bool wire_is_over(const struct wire *wire)
{
	return wire->over;
}

bool wire_was_down(const struct wire *wire)
{
	return wire->ever_down;
}

unsigned wire_times(const struct wire *wire)
{
	return wire->told;
}

static void tell_up(struct wire *wire)
{
	char url[256] = "", shown[URL_SIZE];

	natsConnection_GetConnectedUrl(wire->connection, url, sizeof url);
	url_show(url, shown);
	snprintf(wire->news, sizeof wire->news, "connected to %s", *shown ? shown : wire->servers);
	pthread_mutex_lock(&wire->mutex);
	wire->said[0] = '\0';
	pthread_mutex_unlock(&wire->mutex);
	wire->told_down = false;
}

static void tell_down(struct wire *wire, const char *more)
{
	const char *why = NULL;
	char when[WHEN_SIZE] = "";
	bool expired = wire->over && access_expired(wire->creds, when);

	if (wire->connection)
		natsConnection_GetLastError(wire->connection, &why);
	pthread_mutex_lock(&wire->mutex);
	if (*wire->said)
		why = wire->said;
	snprintf(wire->news, sizeof wire->news, "%s %s%s: %s%s%s%s%s",
	    wire->over ? "refused by" : "not connected to", wire->servers, wire->over ? "" : more,
	    why && *why ? why : "no server answers", expired ? ": " : "",
	    expired ? wire->creds : "", expired ? " expired at " : "", when);
	pthread_mutex_unlock(&wire->mutex);
	wire->told_down = wire->ever_down = true;
	wire->told_over = wire->over;
}

static bool was_tried(struct wire *wire)
{
	bool tried;

	pthread_mutex_lock(&wire->mutex);
	tried = wire->failures > 0 || wire->times > 0;
	pthread_mutex_unlock(&wire->mutex);
	return tried;
}

const char *wire_news(struct wire *wire)
{
	unsigned times;
	bool up;

	look(wire);
	times = wire->times;
	up = wire_is_up(wire);
	if (up && times != wire->told)
		tell_up(wire);
	else if (!up && was_tried(wire) && (!wire->told_down || wire->over != wire->told_over))
		tell_down(wire, ", and trying again");
	else
		return NULL;
	wire->told = times;
	return wire->news;
}

/* Before what it told of is looked at. */
static void sleep_again(const struct wire *wire)
{
	uint64_t events;

	(void)!read(wire->event, &events, sizeof events);
}

/* Asking a server costs a round trip, and libnats has no call that waits for the connection. */
int wire_wait(struct wire *wire, int64_t timeout_ms)
{
	struct pollfd event = {.fd = wire->event, .events = POLLIN};
	int64_t until = clock_mono_ms() + timeout_ms, left = timeout_ms;

	look(wire);
	while (!wire_is_up(wire) && !wire->over && left > 0) {
		if (poll(&event, 1, (int)left) < 0 && errno != EINTR)
			return -1;
		sleep_again(wire);
		look(wire);
		left = until - clock_mono_ms();
	}
	wire->told = 0;
	if (wire_is_up(wire))
		return 0;
	tell_down(wire, "");
	return -1;
}

const char *wire_why(const struct wire *wire)
{
	return wire->told_down ? wire->news : wire->why;
}

size_t wire_longest(const struct wire *wire)
{
	int64_t longest = natsConnection_GetMaxPayload(wire->connection);

	return longest > 0 ? (size_t)longest : 0;
}

int wire_explain(struct wire *wire, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(wire->why, sizeof wire->why, format, args);
	va_end(args);
	return -1;
}

int wire_fail(struct wire *wire, natsStatus status, jsErrCode error)
{
	if (error == JSNotEnabledErr || status == NATS_NO_RESPONDERS)
		return wire_explain(wire, "this server has no JetStream: %s", wire_reason(status));
	if (error == JSNotEnabledForAccountErr)
		return wire_explain(wire, "this account has no JetStream");
	if (error != 0)
		return wire_explain(
		    wire, "%s (JetStream's error %d)", wire_reason(status), (int)error);
	return wire_explain(wire, "%s", wire_reason(status));
}

/* --- saying and hearing --- */

void wire_reply(const struct wire *wire, const char *tag, char reply[static WIRE_REPLY_SIZE])
{
	snprintf(reply, WIRE_REPLY_SIZE, "%s%s", wire->prefix, tag);
}

int wire_publish(struct wire *wire, natsMsg *msg)
{
	natsStatus status = wire->connection ? natsConnection_PublishMsg(wire->connection, msg)
	                                     : NATS_CONNECTION_DISCONNECTED;

	return status == NATS_OK ? 0 : wire_fail(wire, status, 0);
}

int wire_say(struct wire *wire, const char *subject, const char *text, const char *tag)
{
	char reply[WIRE_REPLY_SIZE] = "";
	natsStatus status;

	if (!wire->connection)
		return wire_fail(wire, NATS_CONNECTION_DISCONNECTED, 0);
	if (tag)
		wire_reply(wire, tag, reply);
	status = tag ? natsConnection_PublishRequestString(wire->connection, subject, reply, text)
	             : natsConnection_PublishString(wire->connection, subject, text);
	return status == NATS_OK ? 0 : wire_fail(wire, status, 0);
}

static struct heard *take(struct wire *wire)
{
	struct heard *heard;

	pthread_mutex_lock(&wire->mutex);
	heard = wire->first;
	if (heard)
		wire->first = heard->next;
	if (!wire->first)
		wire->last = &wire->first;
	pthread_mutex_unlock(&wire->mutex);
	return heard;
}

/* What a consumer sends has the subject under which it was published. */
static const char *tag_of(const struct wire *wire, const char *subject)
{
	size_t len = strlen(wire->prefix);

	return strncmp(subject, wire->prefix, len) == 0 ? subject + len : NULL;
}

natsMsg *wire_next(struct wire *wire, const char **tag)
{
	struct heard *heard = take(wire);
	natsMsg *msg = NULL;

	if (!heard) {
		sleep_again(wire);
		heard = take(wire);
	}
	if (heard) {
		msg = heard->msg;
		*tag = tag_of(wire, natsMsg_GetSubject(msg));
	}
	free(heard);
	return msg;
}

natsMsg *wire_await(struct wire *wire, const char *wanted, int64_t timeout_ms)
{
	struct pollfd event = {.fd = wire->event, .events = POLLIN};
	int64_t until = clock_mono_ms() + timeout_ms, left = timeout_ms;
	const char *tag;
	natsMsg *msg;

	for (;;) {
		while ((msg = wire_next(wire, &tag)) != NULL) {
			if (tag && strcmp(tag, wanted) == 0)
				return msg;
			natsMsg_Destroy(msg);
		}
		if (left <= 0 || (poll(&event, 1, (int)left) < 0 && errno != EINTR))
			return NULL;
		left = until - clock_mono_ms();
	}
}

int wire_listen(struct wire *wire, const char *subject)
{
	size_t at = wire->subjects.count;
	natsStatus status = NATS_OK;

	if (at == WIRE_QUEUES_MAX || strings_add(&wire->subjects, subject) != 0)
		return wire_fail(wire, NATS_NO_MEMORY, 0);
	if (wire->connection)
		status = natsConnection_Subscribe(
		    &wire->asked[at], wire->connection, subject, hear, wire);
	return status == NATS_OK ? 0 : wire_fail(wire, status, 0);
}

void wire_ask_no_more(struct wire *wire)
{
	if (wire_is_up(wire) && natsSubscription_Drain(wire->given) == NATS_OK)
		natsSubscription_WaitForDrainCompletion(wire->given, CALL_MS);
}

/* libnats has a thread that frees messages, and wakes it for each that comes while it sleeps: many come at once. */
void wire_done_with(struct wire *wire, natsMsg *msg)
{
	wire->spent[wire->spents++] = msg;
	if (wire->spents == SPENT_MAX || natsMsg_GetDataLength(msg) > SPENT_LONG)
		destroy_spent(wire);
}

jsCtx *wire_stream(const struct wire *wire)
{
	return wire->stream;
}
