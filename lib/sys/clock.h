/* The two clocks. Names and DUE use real time, waiting uses monotonic time, so
 * that setting the clock neither loses nor repeats a wait. */
#ifndef QSPOOL_SYS_CLOCK_H
#define QSPOOL_SYS_CLOCK_H

#include <stdint.h>

uint64_t clock_real_ns(void); /* since the epoch */
int64_t clock_real_ms(void);  /* since the epoch */
int64_t clock_stamp_ms(void); /* the same, as file systems read it: up to a tick behind */
int64_t clock_mono_ms(void);  /* since some point before this process */
int64_t clock_mono_us(void);  /* the same */

#endif
