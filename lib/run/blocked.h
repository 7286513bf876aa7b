/*
 * A resource for which jobs of this queue wait: what qwork remembers of those, and when it tries them.
 *
 *   blocked.c        when the first is tried
 *   blocked_names.c  which is the first
 */
#ifndef QSPOOL_RUN_BLOCKED_H
#define QSPOOL_RUN_BLOCKED_H

#include "run/worker.h"

#include <time.h>

enum { NOT_WATCHED = -1, UNWATCHABLE = -2 };

struct blocked {
	LIST_ENTRY(blocked) link;
	char wait_name[WAIT_NAME_SIZE]; /* '@' and the label */

	/* blocked_names.c */
	struct window window; /* of names of this queue, as the backlog has them */
	struct timespec read; /* st_mtim of the directory when it was read */
	bool unread;          /* there are names that the window was not told of */
	/* IN-TURN: behind this one the order of the window begins; "": with the first of all. */
	char after[TURN_SIZE];
	bool others_first; /* before ours comes one of another queue */

	/* blocked.c */
	enum { RESTS, FED, STAYS } stand;
	int64_t try_at;            /* monotonic ms */
	int dir_watch, slot_watch; /* or one of the above */
	unsigned stage;            /* of again_after[] */
	unsigned busy;             /* how often in a row its state was locked */
	unsigned char tries;       /* how often the first could not be tried */
};

/* Remembers one of this queue, which waits there. 0 / -1 with ENOMEM. */
int blocked_put(struct blocked *b, const struct job_place *place);
/* Forgets the one that ENTRY, which was in the backlog, is of. */
void blocked_drop(struct blocked *b, struct waiting *entry);
/* Reads the directory anew if it may tell something. */
void blocked_refresh(struct worker *w, struct blocked *b);
/* The first; NULL: none waits that is known. */
const struct waiting *blocked_first(struct worker *w, struct blocked *b);
/* Whether all is known, and that is none. */
bool blocked_is_empty(const struct blocked *b);
/* Puts the window in order. Real time until which those of other queues have the turn; 0: it is ours. */
int64_t blocked_turn(struct worker *w, struct blocked *b);

#endif
