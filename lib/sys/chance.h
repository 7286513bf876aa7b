/* Chance, by getentropy(3): nothing to set up, nothing that a fork would copy. */
#ifndef QSPOOL_SYS_CHANCE_H
#define QSPOOL_SYS_CHANCE_H

#include <stdint.h>

uint32_t chance32(void);
uint64_t chance64(void);

#endif
