/*
 * What a deletion leaves for those that depend on it, so that none of them runs, wherever it waits (rule
 * DELETED-FIRST of spool-layout.md): .wait/ID/.deleted of a job, and of the batch whose member it was
 * .batch/LABEL/deleted.ID, or deleted once it is gone. They are empty files. That of a job has no meaning
 * while the job lives, those of a batch have none until it is complete.
 */
#ifndef QSPOOL_SPOOL_DELETION_H
#define QSPOOL_SPOOL_DELETION_H

#include "spool/job.h"

#define DELETION_MARK ".deleted"
#define DELETION_BATCH_MARK "deleted"

/* Before T11 of a held job of BATCH (NULL: of none): marks it if somebody may wait for it, and the batch if
 * nobody can join that any more; durably. 0 / -1. A crash leaves marks of a job that lives. */
NODISCARD int deletion_mark(const struct job *job, const char *batch);
/* After it, once it is durable: one mark of the batch is enough, however many members are deleted. */
void deletion_done(const struct job *job, const char *batch);
/* Before T3 of a held job, whose links are those that it had when it was locked: takes back, durably, what a deletion left that was not
 * carried out. From then on nobody can begin one. 0 / -1. */
NODISCARD int deletion_revoke(const struct job *job);
/* Whether NAME below .wait/, a job or a batch that is over, has a mark: 1, 0, -1. */
NODISCARD int deletion_is_marked(struct spool *spool, const char *name);

#endif
