/* A directory for one test, which is removed with all that is in it. */
#ifndef QSPOOL_TEST_SCRATCH_H
#define QSPOOL_TEST_SCRATCH_H

#include <ftw.h>

#include "unit.h"

static char scratch[] = "/tmp/qspool-unit.XXXXXX";

static inline void scratch_make(void)
{
	memcpy(strrchr(scratch, '.'), ".XXXXXX", sizeof ".XXXXXX");
	CHECK(mkdtemp(scratch) != NULL);
}

static inline int scratch_remove_one(
    const char *name, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(name);
}

static inline void scratch_remove(void)
{
	CHECK(nftw(scratch, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

#endif
