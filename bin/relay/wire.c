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

#include "sys/clock.h"

enum {
	PING_MS = 5000, /* a peer that says nothing to two of them is gone */
	PINGS_OUT = 2,
	WRITE_MS = 5000, /* a peer that takes nothing for so long is gone, too */
	AGAIN_FIRST_MS = 100,
	AGAIN_DOUBLINGS = 6, /* to 6.4 s, of which the upper half is chance */
	CALL_MS = 3000,
	CLOSE_MS = 1000,
	QUEUES_MAX = 256,
	SPENT_MAX = 64,
	SPENT_LONG = 4096,
	URL_SIZE = 160, /* of one that is shown */
};

struct heard {
	natsMsg *msg;
	struct heard *next;
};

struct wire {
	natsOptions *options;
	natsConnection *connection;
	natsSubscription *inbox;
	natsSubscription *given;             /* what consumers give out, as it was asked for */
	natsSubscription *asked[QUEUES_MAX]; /* of wire_listen() */
	size_t asked_count;
	jsCtx *stream;
	char prefix[WIRE_REPLY_SIZE / 2]; /* of the subjects of answers, with the last dot */
	int event;
	char why[256];
	char first_why[256]; /* it was not to be had at first */
	char news[256 + 64];
	unsigned told; /* of `times` */
	bool told_down, told_over, ever_down;
	natsMsg *spent[SPENT_MAX];
	size_t spents;
	atomic_bool closing; /* nothing more is heard */
	/* What libnats's threads write: */
	atomic_bool up, over;
	atomic_uint times;
	pthread_mutex_t mutex;
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

bool wire_option(struct wire_options *options, int option)
{
	switch (option) {
	case WIRE_CREDS:
		options->creds = optarg;
		return true;
	case WIRE_NKEY:
		options->nkey = optarg;
		return true;
	case WIRE_SEED:
		options->seed = optarg;
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

/* --- in libnats's threads --- */

static void wake(const struct wire *wire)
{
	const uint64_t one = 1;

	(void)!write(wire->event, &one, sizeof one);
}

static void connected(natsConnection *connection, void *arg)
{
	struct wire *wire = arg;

	(void)connection;
	wire->times++;
	wire->up = true;
	wake(wire);
}

static void disconnected(natsConnection *connection, void *arg)
{
	struct wire *wire = arg;

	(void)connection;
	wire->up = false;
	wake(wire);
}

/* libnats gives up, whatever it was told, if a server refuses twice who we are. */
static void closed(natsConnection *connection, void *arg)
{
	struct wire *wire = arg;

	(void)connection;
	wire->up = false;
	wire->over = true;
	wake(wire);
}

/* Otherwise libnats would print them. */
static void failed(
    natsConnection *connection, natsSubscription *subscription, natsStatus status, void *wire)
{
	(void)connection;
	(void)subscription;
	(void)status;
	wake(wire);
}

static int64_t wait_again(natsConnection *connection, int attempts, void *wire)
{
	int doublings = attempts < AGAIN_DOUBLINGS ? attempts : AGAIN_DOUBLINGS;
	uint32_t longest = (uint32_t)AGAIN_FIRST_MS << doublings;

	(void)connection;
	(void)wire;
	return longest / 2 + arc4random_uniform(longest / 2);
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

/* WHAT may be what is wrong. */
static void must(natsStatus status, int exit_status, const char *what)
{
	const char *more;

	if (status == NATS_OK)
		return;
	more = nats_GetLastError(NULL);
	errx(exit_status, "%s: %s", what, more && *more ? more : natsStatus_GetText(status));
}

static bool is_tls(const char *url)
{
	return strncmp(url, "tls://", 6) == 0;
}

/* Without who we are, and without what is no port: that may be a password whose host was forgotten. */
static void show_url(const char *url, char shown[static URL_SIZE])
{
	const char *host = strstr(url, "://") ? strstr(url, "://") + 3 : url, *port;
	int scheme = (int)(host - url), len;

	host = strrchr(host, '@') ? strrchr(host, '@') + 1 : host;
	port = host + (host[0] == '[' ? strcspn(host, "]") : 0);
	port += strcspn(port, ":");
	len = (int)(port - host);
	if (*port && strspn(port + 1, "0123456789") == strlen(port + 1))
		len += (int)strlen(port);
	snprintf(shown, URL_SIZE, "%.*s%.*s", scheme, url, len, host);
}

/* What is wrong with HOST or HOST:PORT, or NULL; libnats would take the one for "localhost" or wait for the other for ever. */
static const char *check_host(const char *host)
{
	bool bracket = host[0] == '[';
	size_t len = bracket ? strcspn(host, "]") : strcspn(host, ":");
	const char *why = NULL;

	if (bracket && host[len] != ']')
		return "its bracket is not closed";
	len += bracket;
	if (len == 0)
		return "it has no host";
	if (strchr(host, '/'))
		return "a path is of no use";
	if (host[len] == '\0')
		return NULL;
	if (host[len] == ':')
		strtonum(host + len + 1, 1, 65535, &why);
	return host[len] != ':' || why ? "its port is none from 1 to 65535" : NULL;
}

static const char *check_url(const char *url)
{
	const char *end = strstr(url, "://"), *host = end ? end + 3 : url;
	const char *user = strrchr(host, '@');

	if (url[strcspn(url, " \t\r\n\v\f")])
		return "it has blanks";
	if (end && strncmp(url, "nats://", 7) != 0 && !is_tls(url))
		return "it begins neither with nats:// nor with tls://";
	return check_host(user ? user + 1 : host);
}

/* libnats takes tls:// for nats://: it would tell the server who we are before it asked for TLS, or without. */
static void set_servers(natsOptions *options, char *urls)
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
		why = check_url(url);
		show_url(url, shown);
		if (why)
			errx(EX_CONFIG, "URL %s: %s", shown, why);
		tls += is_tls(url);
		server[count++] = url;
	}
	if (tls > 0 && tls < count)
		cli_usage("URL: tls:// of all servers, or of none");
	must(natsOptions_SetServers(options, server, count), EX_USAGE, "URL");
	if (tls > 0)
		must(natsOptions_SetSecure(options, true), EX_CONFIG, "TLS");
}

/* libnats reads these when it connects, again and again: that they cannot be read is to be told at once. */
static void must_be_readable(const char *option, const char *file)
{
	if (file && access(file, R_OK) != 0)
		err(cli_status(errno), "%s %s", option, file);
}

static void set_secrets(natsOptions *to, const struct wire_options *options)
{
	must_be_readable("--creds", options->creds);
	must_be_readable("--nkey-seed", options->seed);
	if (!options->nkey != !options->seed)
		cli_usage("--nkey and --nkey-seed: one is nothing without the other");
	if (options->creds && options->nkey)
		cli_usage("--creds and --nkey: one of them is enough");
	if (options->creds)
		must(natsOptions_SetUserCredentialsFromFiles(to, options->creds, NULL), EX_CONFIG,
		    options->creds);
	if (options->nkey)
		must(natsOptions_SetNKeyFromSeed(to, options->nkey, options->seed), EX_CONFIG,
		    options->seed);
}

static void set_tls(natsOptions *to, const struct wire_options *options)
{
	must_be_readable("--tls-ca", options->ca);
	must_be_readable("--tls-cert", options->cert);
	must_be_readable("--tls-key", options->key);
	if (!options->cert != !options->key)
		cli_usage("--tls-cert and --tls-key: one is nothing without the other");
	if (options->ca)
		must(
		    natsOptions_LoadCATrustedCertificates(to, options->ca), EX_CONFIG, options->ca);
	if (options->cert)
		must(natsOptions_LoadCertificatesChain(to, options->cert, options->key), EX_CONFIG,
		    options->cert);
	if (options->ca || options->cert)
		must(natsOptions_SetSecure(to, true), EX_CONFIG, "TLS");
}

static void set_name(natsOptions *options, const char *role)
{
	char host[128] = "", name[256];

	gethostname(host, sizeof host - 1);
	snprintf(name, sizeof name, "qrelay %s on %s", role, host);
	must(natsOptions_SetName(options, name), EX_SOFTWARE, "NATS");
}

static natsOptions *make_options(struct wire *wire, const struct wire_options *from)
{
	natsOptions *to = NULL;

	must(natsOptions_Create(&to), EX_OSERR, "NATS");
	set_servers(to, from->urls);
	set_name(to, from->role);
	set_secrets(to, from);
	set_tls(to, from);
	natsOptions_SetClosedCB(to, closed, wire);
	natsOptions_SetReconnectedCB(to, connected, wire);
	natsOptions_SetDisconnectedCB(to, disconnected, wire);
	natsOptions_SetErrorHandler(to, failed, wire);
	natsOptions_SetCustomReconnectDelay(to, wait_again, wire);
	natsOptions_SetMaxReconnect(to, -1);
	natsOptions_SetPingInterval(to, PING_MS);
	natsOptions_SetMaxPingsOut(to, PINGS_OUT);
	/* What is written waits with the lock of the connection, for which pings and all calls would wait, too. */
	natsOptions_SetWriteDeadline(to, WRITE_MS);
	natsOptions_SetFailRequestsOnDisconnect(to, true);
	return to;
}

static void take_inbox(struct wire *wire)
{
	natsInbox *inbox = NULL;
	char subject[sizeof wire->prefix + sizeof WIRE_GIVEN];
	natsStatus status;

	must(natsInbox_Create(&inbox), EX_OSERR, "NATS");
	snprintf(wire->prefix, sizeof wire->prefix, "%s.", inbox);
	natsInbox_Destroy(inbox);
	snprintf(subject, sizeof subject, "%s*", wire->prefix);
	status = natsConnection_Subscribe(&wire->inbox, wire->connection, subject, hear, wire);
	if (status == NATS_CONNECTION_CLOSED)
		errx(EX_NOPERM, "refused: %s", wire->first_why);
	must(status, EX_SOFTWARE, "NATS");
	natsSubscription_SetPendingLimits(wire->inbox, -1, -1);
	snprintf(subject, sizeof subject, "%s" WIRE_GIVEN "*", wire->prefix);
	must(natsConnection_Subscribe(&wire->given, wire->connection, subject, hear, wire),
	    EX_SOFTWARE, "NATS");
	natsSubscription_SetPendingLimits(wire->given, -1, -1);
}

/* The first time it is seen why it fails, which is not told of those in the background. */
static void connect(struct wire *wire)
{
	natsStatus status = natsConnection_Connect(&wire->connection, wire->options);

	if (status == NATS_OK) {
		connected(wire->connection, wire);
		return;
	}
	wire_fail(wire, status, 0);
	snprintf(wire->first_why, sizeof wire->first_why, "%s", wire->why);
	natsOptions_SetRetryOnFailedConnect(wire->options, true, connected, wire);
	status = natsConnection_Connect(&wire->connection, wire->options);
	if (status != NATS_OK && status != NATS_NOT_YET_CONNECTED)
		must(status, EX_CONFIG, "NATS");
	if (status == NATS_OK)
		connected(wire->connection, wire);
}

struct wire *wire_open(struct wire_options *options)
{
	struct wire *wire = calloc(1, sizeof *wire);
	sigset_t all, before;
	jsOptions calls;

	if (!wire)
		err(EX_OSERR, NULL);
	wire->last = &wire->first;
	pthread_mutex_init(&wire->mutex, NULL);
	wire->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (wire->event < 0)
		err(EX_OSERR, NULL);
	sigfillset(
	    &all); /* for libnats's threads, which have it from here: signals are not theirs */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	wire->options = make_options(wire, options);
	connect(wire);
	jsOptions_Init(&calls);
	calls.Wait = CALL_MS;
	must(
	    natsConnection_JetStream(&wire->stream, wire->connection, &calls), EX_SOFTWARE, "NATS");
	take_inbox(wire);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return wire;
}

static void destroy_spent(struct wire *wire)
{
	while (wire->spents > 0)
		natsMsg_Destroy(wire->spent[--wire->spents]);
}

void wire_close(struct wire *wire)
{
	const char *tag;
	natsMsg *msg;

	if (!wire)
		return;
	if (wire_is_up(wire))
		natsConnection_FlushTimeout(wire->connection, CLOSE_MS);
	wire->closing = true;
	natsSubscription_Destroy(wire->inbox);
	natsSubscription_Destroy(wire->given);
	for (size_t i = 0; i < wire->asked_count; i++)
		natsSubscription_Destroy(wire->asked[i]);
	jsCtx_Destroy(wire->stream);
	natsConnection_Close(wire->connection);
	natsConnection_Destroy(wire->connection);
	natsOptions_Destroy(wire->options);
	while ((msg = wire_next(wire, &tag)) != NULL) /* libnats has to be there for that */
		natsMsg_Destroy(msg);
	destroy_spent(wire);
	nats_CloseAndWait(CLOSE_MS); /* none of its threads is to come back to what is freed here */
	close(wire->event);
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
	return wire->up;
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
	char url[128] = "";

	natsConnection_GetConnectedUrl(wire->connection, url, sizeof url);
	snprintf(wire->news, sizeof wire->news, "connected to %s",
	    strrchr(url, '@') ? strrchr(url, '@') + 1 : url);
	wire->told_down = false;
}

static void tell_down(struct wire *wire)
{
	const char *why = NULL;

	natsConnection_GetLastError(wire->connection, &why);
	if (wire->times == 0)
		why = wire->first_why;
	snprintf(wire->news, sizeof wire->news, "%s: %s",
	    wire->over ? "refused" : "not connected, and trying again",
	    why && *why ? why : "no server answers");
	wire->told_down = wire->ever_down = true;
	wire->told_over = wire->over;
}

const char *wire_news(struct wire *wire)
{
	unsigned times = wire->times;

	if (wire->up && times != wire->told)
		tell_up(wire);
	else if (!wire->up && (!wire->told_down || wire->over != wire->told_over))
		tell_down(wire);
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

	while (!wire->up && !wire->over && left > 0) {
		if (poll(&event, 1, (int)left) < 0 && errno != EINTR)
			return -1;
		sleep_again(wire);
		left = until - clock_mono_ms();
	}
	wire->told = 0;
	if (wire->up)
		return 0;
	tell_down(wire);
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

/* libnats says where in its source it failed, and then why. */
static const char *reason(natsStatus status)
{
	const char *text = nats_GetLastError(NULL), *behind;

	if (!text || !*text)
		return natsStatus_GetText(status);
	behind = text[0] == '(' ? strstr(text, "): ") : NULL;
	return behind ? behind + strlen("): ") : text;
}

int wire_fail(struct wire *wire, natsStatus status, jsErrCode error)
{
	if (error != 0)
		return wire_explain(wire, "%s (JetStream's error %d)", reason(status), (int)error);
	return wire_explain(wire, "%s", reason(status));
}

/* --- saying and hearing --- */

void wire_reply(const struct wire *wire, const char *tag, char reply[static WIRE_REPLY_SIZE])
{
	snprintf(reply, WIRE_REPLY_SIZE, "%s%s", wire->prefix, tag);
}

int wire_publish(struct wire *wire, natsMsg *msg)
{
	natsStatus status = natsConnection_PublishMsg(wire->connection, msg);

	return status == NATS_OK ? 0 : wire_fail(wire, status, 0);
}

int wire_say(struct wire *wire, const char *subject, const char *text, const char *tag)
{
	char reply[WIRE_REPLY_SIZE] = "";
	natsStatus status;

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
	natsStatus status;

	if (wire->asked_count == QUEUES_MAX)
		return wire_fail(wire, NATS_NO_MEMORY, 0);
	status = natsConnection_Subscribe(
	    &wire->asked[wire->asked_count], wire->connection, subject, hear, wire);
	if (status != NATS_OK)
		return wire_fail(wire, status, 0);
	wire->asked_count++;
	return 0;
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
