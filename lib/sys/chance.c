#include "sys/chance.h"

#include <stdlib.h>
#include <unistd.h>

/* It fails only where Linux is older than 3.17, or where somebody has forbidden getrandom(2): names must not be guessed then. */
uint64_t chance64(void)
{
	uint64_t chance;

	if (getentropy(&chance, sizeof chance) != 0)
		abort();
	return chance;
}

uint32_t chance32(void)
{
	return (uint32_t)chance64();
}
