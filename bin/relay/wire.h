/*
 * The connection to a NATS server, or to whichever of several is there. libnats has threads of its own; what they hear is
 * queued here, and all of this is called by one thread.
 *
 * It connects in the background, and again when the connection is lost, waiting longer and longer with jitter: nothing here
 * waits for it but where that is said. Only a server that refuses twice who we are is final. Times are ms.
 */
#ifndef QSPOOL_BIN_RELAY_WIRE_H
#define QSPOOL_BIN_RELAY_WIRE_H

#include <nats/nats.h>

#include "../cli.h"

struct wire_options {
	char *urls;              /* separated by commas; is taken apart */
	const char *role;        /* "push", ...: in the name that the server shows */
	const char *creds;       /* file of a user's JWT and seed; or NULL, like all that follow */
	const char *nkey, *seed; /* a public key, and the file of its seed */
	const char *ca, *cert, *key; /* files of PEM: whom to trust, and who we are */
};

/* $QRELAY_CREDS, QRELAY_NKEY, QRELAY_NKEY_SEED, QRELAY_TLS_CA, QRELAY_TLS_CERT, QRELAY_TLS_KEY. */
void wire_environment(struct wire_options *options);
/* From the command line: true if OPTION is one of these. */
enum { WIRE_CREDS = 768, WIRE_NKEY, WIRE_SEED, WIRE_CA, WIRE_CERT, WIRE_KEY };
#define WIRE_LONG                                                                                  \
	{"creds", required_argument, NULL, WIRE_CREDS},                                            \
	    {"nkey", required_argument, NULL, WIRE_NKEY},                                          \
	    {"nkey-seed", required_argument, NULL, WIRE_SEED},                                     \
	    {"tls-ca", required_argument, NULL, WIRE_CA},                                          \
	    {"tls-cert", required_argument, NULL, WIRE_CERT},                                      \
	{                                                                                          \
		"tls-key", required_argument, NULL, WIRE_KEY                                       \
	}
bool wire_option(struct wire_options *options, int option);
/* Of the --help of who has them. */
#define WIRE_HELP                                                                                  \
	"      --creds FILE        credentials of a NATS user\n"                                   \
	"      --nkey KEY          or the public key of one,\n"                                    \
	"      --nkey-seed FILE    and the file of its seed\n"                                     \
	"      --tls-ca FILE       certificates to trust (the system's)\n"                         \
	"      --tls-cert FILE     and our own,\n"                                                 \
	"      --tls-key FILE      with its key\n"

struct wire;

/* Exits with a message if the options are wrong. */
struct wire *wire_open(struct wire_options *options);
/* Sends what was published, if that takes no more than a second. NULL is fine. */
void wire_close(struct wire *wire);
/* Readable when wire_news() or wire_next() may have something; until wire_next() had nothing. */
int wire_fd(const struct wire *wire);
bool wire_is_up(const struct wire *wire);
/* The server does not want us: nothing more is tried. */
bool wire_is_over(const struct wire *wire);
/* What has become of the connection since the last call, in words and one after the other; NULL: nothing. Valid until the
 * next call. */
const char *wire_news(struct wire *wire);
/* Whether it ever was not, once it had been tried. */
bool wire_was_down(const struct wire *wire);
/* How often it was connected. */
unsigned wire_times(const struct wire *wire);
/* Waits until it is up: 0, or -1 with wire_why(). */
int wire_wait(struct wire *wire, int64_t timeout_ms);
/* Why the last call here failed, or why it does not connect. */
const char *wire_why(const struct wire *wire);
/* Bytes that a message may have, headers and all. */
size_t wire_longest(const struct wire *wire);

/* With what the subjects of all answers begin, whoever asks. */
#define WIRE_INBOXES "_INBOX."
/* What a message is to have as its reply, for its answer to come here under TAG, a word without dots of at most 60 bytes, or with
 * WIRE_GIVEN before it, where a consumer is asked for messages. */
#define WIRE_GIVEN "r."
enum { WIRE_REPLY_SIZE = 128 };
void wire_reply(const struct wire *wire, const char *tag, char reply[static WIRE_REPLY_SIZE]);
/* MSG stays the caller's. 0 / -1. */
int wire_publish(struct wire *wire, natsMsg *msg);
/* Publishes a text; TAG may be NULL: no answer is wanted. */
int wire_say(struct wire *wire, const char *subject, const char *text, const char *tag);
/* The next message that came, and where its tag begins, or NULL if it is none of the answers but was sent by a consumer: the
 * caller's to destroy. NULL: no more. */
natsMsg *wire_next(struct wire *wire, const char **tag);
/* The next one with that tag, which is waited for; what else comes is forgotten. */
natsMsg *wire_await(struct wire *wire, const char *wanted, int64_t timeout_ms);
/* What is published to SUBJECT comes, too. At most WIRE_QUEUES_MAX of them. 0 / -1. */
enum { WIRE_QUEUES_MAX = 256 };
int wire_listen(struct wire *wire, const char *subject);
/* Consumers give out nothing more to us. Afterwards wire_next() has what they gave until then. Waits for the server. */
void wire_ask_no_more(struct wire *wire);
/* Destroys MSG, if it is short maybe later. */
void wire_done_with(struct wire *wire, natsMsg *msg);
/* What a call of libnats says, without where in its source. */
const char *wire_reason(natsStatus status);
/* Exits with EXIT_STATUS unless it is NATS_OK; WHAT may be what is wrong. */
void wire_must(natsStatus status, int exit_status, const char *what);
/* For the calls of libnats; fails with wire_why(). */
jsCtx *wire_stream(const struct wire *wire);
/* Notes why, in other words; -1. */
int wire_explain(struct wire *wire, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Notes why; -1. */
int wire_fail(struct wire *wire, natsStatus status, jsErrCode error);

#endif
