/* The environment and the command line of a handler, and the parts of which a hook's are made. */
#ifndef QSPOOL_RUN_ENVIRONMENT_H
#define QSPOOL_RUN_ENVIRONMENT_H

#include "run/child.h"

/* Our own environment, over it the job's (all of it if payload and options belong to
 * root or to our user, else only LANG, LC_*, TZ and what is accepted), over that QSPOOL and QJOB_*. It is
 * ENV, which is the caller's to release, and behind that what is INHERITED, unless that is NULL: copying and sorting all
 * of it for each job is worth doing only where a name may be in both. 0 / -1 with ENOMEM. */
NODISCARD int environment_build(
    const struct child_start *start, struct strings *env, const struct strings **inherited);

/* All add to ENV, and all are 0 / -1 with ENOMEM. */
__attribute__((format(printf, 2, 3))) NODISCARD int environment_add(
    struct strings *env, const char *format, ...);
/* What a job is, its headers too: QJOB_*, but not where its file is. */
NODISCARD int environment_job(
    struct strings *env, const struct job *job, const struct meta *meta, unsigned attempts);
/* What it brings of that its sender may set; any sender what ACCEPT says. */
NODISCARD int environment_brought(struct strings *env, const struct job *job,
    const struct meta *meta, const struct strings *accept);
/* Our own environment, but for names that are for qwork to give; each name once. */
NODISCARD int environment_own(struct strings *env);

/* The command line: the queue's handler with the arguments that the queue's settings give it, or the command
 * that was given; behind it the job's own. */
NODISCARD int command_build(const struct child_start *start, struct strings *argv);

#endif
