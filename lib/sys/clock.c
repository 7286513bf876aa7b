#include "sys/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
	struct timespec t = {0};

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t clock_real_ns(void)
{
	return read_ns(CLOCK_REALTIME);
}

int64_t clock_real_ms(void)
{
	return (int64_t)(clock_real_ns() / 1000000);
}

int64_t clock_stamp_ms(void)
{
#ifdef CLOCK_REALTIME_COARSE
	return (int64_t)(read_ns(CLOCK_REALTIME_COARSE) / 1000000);
#else
	return clock_real_ms();
#endif
}

int64_t clock_mono_ms(void)
{
	return clock_mono_us() / 1000;
}

int64_t clock_mono_us(void)
{
	return (int64_t)(read_ns(CLOCK_MONOTONIC) / 1000);
}
