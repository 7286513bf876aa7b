/*
 * The jobs of a stream that live on this host: from the moment at which they are being sent into the spool until the stream has
 * heard, for certain, that they have ended. The consumer gives a lease on each, which we renew by saying that it is in
 * progress, three times as often as it asks for; a host that does not has lost its jobs to others.
 *
 * At its end a job is acknowledged, and again after a third of the lease: a server of version 2.9 answers before the quorum has it,
 * and if that server dies just then, the acknowledgement dies with it. The second one is within the lease, so nobody else was
 * given the job meanwhile.
 *
 * A job may come again as another message, since it was kicked, or since who pushed it died before he knew that he had:
 * so the number of the message in the stream belongs to what is known of it.
 */
#ifndef QSPOOL_BIN_RELAY_HELD_H
#define QSPOOL_BIN_RELAY_HELD_H

#include <bsd/sys/tree.h>

#include "stream.h"

enum held_phase {
	HELD_WAITS,  /* it came and cannot be taken just now: it is looked at again */
	HELD_COMING, /* being sent into the spool */
	HELD_ALIVE,  /* not over */
	HELD_LEAVES, /* on its way to a stream */
	HELD_ENDED,  /* to be acknowledged */
	HELD_OVER,   /* that it ended is known for certain */
};

struct held {
	RB_ENTRY(held) link;
	char id[JOB_ID_LEN + 1];
	char number[NUMBER_SIZE]; /* of its message in the stream of QUEUE */
	const char *queue;
	unsigned serial; /* tells it from others of that id */
	char *lease;     /* the subject for what is to be said of it */
	enum held_phase phase;
	bool buried;        /* it lies in buried/ */
	int64_t stream;     /* when its stream came into being; 0: not known, since it was found */
	bool vanished;      /* a name of it is gone; another one may be there */
	bool left;          /* for a stream, or was never here: nothing of it is in the spool */
	unsigned confirmed; /* acknowledgements that were answered */
	int64_t at;         /* monotonic ms: when the next word is due */
	int64_t again_at;   /* and when to try again what failed or was not answered */
	natsMsg *msg;       /* as it came, until it is in the spool */
	natsMsg *out;       /* as it goes: what is not in the spool, until a stream has it */
	struct spool_hold *hold; /* while it leaves the spool */
};

RB_HEAD(held_tree, held);

/* The one that is in the spool; or NULL. */
struct held *held_here(struct held_tree *tree, const char *id);
/* The one of that message, or NULL. */
struct held *held_find(
    struct held_tree *tree, const char *id, const char *queue, const char *number);
/* A new one, or NULL with ENOMEM. QUEUE must live as long; ID may be something else of what is no job. */
struct held *held_add(struct held_tree *tree, const char *id, const char *queue, const char *lease);
/* Another lease of the same. 0 / -1. */
int held_lease(struct held *held, const char *lease);
/* Of another message of the same job: the old lease, the caller's; or NULL, and nothing is changed. */
char *held_change(struct held *held, const char *lease);
void held_remove(struct held_tree *tree, struct held *held);
void held_release(struct held_tree *tree);
struct held *held_first(struct held_tree *tree);
struct held *held_next(struct held *held);

/* The tag of an answer that is about it, which KIND begins. */
enum { HELD_TAG_SIZE = 1 + JOB_ID_LEN + 1 + NUMBER_SIZE };
void held_tag(const struct held *held, char kind, char tag[static HELD_TAG_SIZE]);
/* Which one such a tag means, or NULL. */
struct held *held_of_tag(struct held_tree *tree, const char *tag);

/* It is over: to be acknowledged from now on. */
void held_ended(struct held *held);
/* Says what is due; the consumer gives leases of so long. Unless it is KNOWN that the stream is still the one that gave it, not
 * that it is over. */
void held_tick(struct held *held, struct wire *wire, int64_t now, int64_t lease_ms, bool known);
/* The same of one whose stream is not there any more: nobody is to be told. */
void held_without_stream(struct held *held, int64_t now, int64_t lease_ms);
/* Nothing is said of it for as long as is between renewals. */
void held_later(struct held *held, int64_t now, int64_t lease_ms);
/* Its acknowledgement was answered. */
void held_confirmed(struct held *held, int64_t now, int64_t lease_ms);

#endif
