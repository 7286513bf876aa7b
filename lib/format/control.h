/*
 * What a handler says through the file $QJOB_CONTROL: one verb a line, appended.
 *
 *   retry-after DURATION   if this attempt failed, the next is due then, not by the backoff
 *   defer DURATION         back to wait so long; the attempt is not spent
 *   bury [REASON]          set aside now
 *   progress TEXT          for people who look at the running job
 *   note TEXT              kept in the job's log
 *   trip RESOURCE [DURATION]  nobody gets this resource for so long
 *
 * Of retry-after, defer and bury the last counts, and so it is with progress, and with trip for
 * each RESOURCE. That is encoded as format/value.h says, blanks in it too ("\s" or "\040"); a
 * plain word is itself. Blanks around a verb and its value are skipped, and empty lines; the
 * last line may lack its end. A line that is none of these is named, and changes nothing.
 */
#ifndef QSPOOL_FORMAT_CONTROL_H
#define QSPOOL_FORMAT_CONTROL_H

#include "format/meta.h"

enum {
	CONTROL_SIZE_MAX = 64 * 1024, /* so much of the end of a file is read */
	CONTROL_TEXT_MAX = 1000,      /* bytes of a value; longer texts are cut, others are wrong */
	CONTROL_NOTES_MAX = 100,
	CONTROL_TRIPS_MAX = 16,
};

/* The longest wait that a handler may ask for; of more it gets this. */
#define CONTROL_WAIT_MAX_MS (INT64_C(7) * 24 * 60 * 60 * 1000)

enum control_verdict { CONTROL_NONE, CONTROL_RETRY_AFTER, CONTROL_DEFER, CONTROL_BURY };

struct control_trip {
	char *resource; /* decoded, not empty */
	int64_t for_ms; /* 1..CONTROL_WAIT_MAX_MS; 0: not said */
};

struct control {
	enum control_verdict verdict;
	int64_t wait_ms;                     /* of retry-after and defer; 0 otherwise */
	char reason[CONTROL_TEXT_MAX + 1];   /* of bury, raw; "" if none */
	char progress[CONTROL_TEXT_MAX + 1]; /* raw; "" if none */
	struct strings notes;                /* raw */
	struct control_trip tripped[CONTROL_TRIPS_MAX];
	size_t trips; /* so many of them, each resource once */
};

void control_init(struct control *control);
void control_release(struct control *control);

/* CONTROL must be initialised. Lines that are not understood are reported through WRONG
 * (line number from 1, and why), which may be NULL; all others count. Never fails; for want
 * of memory a note or trip may be missing. */
void control_parse(const char *text, size_t len, struct control *control,
    void (*wrong)(void *arg, unsigned line, const char *why), void *arg);

#endif
