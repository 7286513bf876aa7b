/*
 * How a job travels: as one message of NATS, whose data is the payload, byte for byte. Its headers:
 *
 *   Nats-Msg-Id      the job's id: within the stream's window for duplicates it is taken once. When it comes from a stream and
 *                    goes to another, or back, with a dot and its number there
 *   Qspool-Job       its name as in new/ or delay/, without marks: when, priority, id, attempts
 *   Qspool-Options   its options as in meta/ID, tabs for the newlines; none: it has no options
 *   Qspool-Host      of a buried one: where it was buried
 *   Qspool-Log       and its history as in log/ID, as one value of format/value.h
 *   Qspool-Reason    and why, if it was buried before it came to a spool
 *
 * QUEUE's jobs are in the stream QSPOOL_JOBS_QUEUE, under the subjects qspool.jobs.QUEUE.now.CLASS. A stream is first come first
 * served; what is urgent overtakes the others by its class. What is delayed is under qspool.jobs.QUEUE.later until it is due.
 * Buried ones are in QSPOOL_BURIED_QUEUE, under qspool.buried.QUEUE.ID. In these names a queue's dots are '=', which no queue has.
 */
#ifndef QSPOOL_BIN_RELAY_MESSAGE_H
#define QSPOOL_BIN_RELAY_MESSAGE_H

#include "wire.h"

enum {
	SUBJECT_SIZE = 128,
	HEADERS_MAX = 65535,     /* bytes; JetStream takes no more, however long a message may be */
	ROOM_FOR_HEADERS = 1024, /* but for options and history */
};

void jobs_stream(const char *queue, char name[static SUBJECT_SIZE]);
/* Whether NAME is such a stream, and of which queue. */
bool jobs_stream_parse(const char *name, char queue[static QUEUE_NAME_SIZE]);
/* For a job of that NAME: by its priority (0 to 49, 50, 51 to 99), or until it is due. */
void job_subject(const char *queue, const struct job_name *name, char subject[static SUBJECT_SIZE]);
/* Several of them: AFTER is "now.high", "now.*", "later" or ">". */
void jobs_subject(const char *queue, const char *after, char subject[static SUBJECT_SIZE]);
/* What is due so soon is not delayed any more. */
enum { SOON_MS = 500 };

/* Who pulls QUEUE answers what is said there. */
void ask_subject(const char *queue, char subject[static SUBJECT_SIZE]);

/* The stream of those that are buried, and the subject of one. */
void buried_stream(const char *queue, char name[static SUBJECT_SIZE]);
void buried_subject(const char *queue, const char *id, char subject[static SUBJECT_SIZE]);

/* The number that a stream gave to the message of which LEASE is the subject for answers: "" if it has none. */
enum { NUMBER_SIZE = 24 };
void lease_number(const char *lease, char number[static NUMBER_SIZE]);

struct message {
	const char *subject,
	    *reply;     /* REPLY may be NULL, and so may what follows but for the name */
	const char *id; /* for the stream; NULL: the job's */
	const struct job_name *name;
	const struct meta *meta;
	const char *log, *reason;
	const void *payload;
	size_t size;
};
/* The caller's to destroy: NULL with errno, EIO with wire_why(). */
natsMsg *message_make(struct wire *wire, const struct message *message);
/* Another one with what MSG has, but under that subject, reply and id of its own, and with that reason. Likewise. */
natsMsg *message_forward(struct wire *wire, natsMsg *msg, const struct message *other);
/* What it says of its job; META must be initialised, and is released on failure. 0; -1 with *WHY if it is none, or NULL: there was no
 * memory. */
int message_read(natsMsg *msg, struct job_name *name, struct meta *meta, const char **why);

#endif
