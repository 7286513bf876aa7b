/*
 * The log of a disk: what disk.c writes and replay.c reads. Two files in one directory:
 *
 *   index  one struct record for each write, flush and discard, in the order in which they
 *          were carried out. A record is appended before the request is answered, so the number of
 *          records is the POSITION: what was acknowledged at position P must survive in
 *          every disk that the first P records can leave.
 *   data   the bytes of the writes, one after the other
 *
 * A record is 32 bytes and never lies across two pages, so whoever looks at the size of the index
 * sees whole records only.
 */
#ifndef QSPOOL_POWERCUT_LOG_H
#define QSPOOL_POWERCUT_LOG_H

#include <stdint.h>

enum record_kind { RECORD_WRITE = 'W', RECORD_FLUSH = 'F', RECORD_DISCARD = 'D' };

struct record {
	uint64_t kind;
	uint64_t offset, length; /* on the disk, in bytes; 0 for a flush */
	uint64_t data;           /* where the bytes of a write begin in the data file */
};
_Static_assert(sizeof(struct record) == 32, "the size of a record is part of the format");

#endif
