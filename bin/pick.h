/*
 * Picking jobs by name or by a filter, and doing one verb to each: what qbury,
 * qkick and qdel have in common.
 */
#ifndef QSPOOL_BIN_PICK_H
#define QSPOOL_BIN_PICK_H

#include "cli.h"

#define PICK_BIT(state) (1u << (state))

struct pick {
	struct cli cli;
	unsigned states; /* set of PICK_BIT: what a filter selects */
	bool all;
	long long oldest; /* -1: not given */
	int64_t older_ms; /* sent before so long; -1: not given */
	bool dry_run;
	bool can_kill; /* has the option --kill */
	bool kill;     /* end a running job's handler first */
	bool filtered; /* jobs were selected by a filter, not named */
	/* As spool_bury() and its like. */
	int (*verb)(struct spool *spool, const struct job_place *place, void *arg);
	const char *done; /* "buried", ... */
	/* Why the verb is not for a job in this state, or NULL; *STATUS is set with it. */
	const char *(*refuse)(const struct pick *pick, const struct job_place *place, int *status);
	bool by_filter; /* set by pick_run(): the jobs are not named */
	void *arg;
};

enum pick_option { PICK_ALL = 512, PICK_DRY_RUN };
#define PICK_SHORT "n:"
#define PICK_LONG                                                                                  \
	{"oldest", required_argument, NULL, 'n'}, {"all", no_argument, NULL, PICK_ALL},            \
	{                                                                                          \
		"dry-run", no_argument, NULL, PICK_DRY_RUN                                         \
	}

/* Takes an option that all three have, or one of cli_option(). */
void pick_option(struct pick *pick, int option, const char *help);
/* Does it; returns the status of the first failure. */
int pick_run(struct pick *pick, int count, char *const *argv);

#endif
