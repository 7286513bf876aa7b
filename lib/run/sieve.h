/*
 * The foremost of very many names that come in any order: a heap of their keys, the last one on top, so that
 * most names are left out after one comparison.
 */
#ifndef QSPOOL_RUN_SIEVE_H
#define QSPOOL_RUN_SIEVE_H

#include "run/backlog.h"
#include "spool/spool.h"

struct sifted;

struct sieve {
	struct sifted *item;
	size_t count, max;
	bool left_out; /* some were */
};

void sieve_init(struct sieve *sieve, size_t max);
void sieve_release(struct sieve *sieve);
/* Keeps a copy if it is among the first MAX so far. 0, or -1 with ENOMEM. */
NODISCARD int sieve_put(struct sieve *sieve, const struct waiting *model, const char *file);
/* Moves what was kept to WINDOW. If any was left out, that takes in none behind it. */
void sieve_pour(struct sieve *sieve, struct window *window);

#endif
