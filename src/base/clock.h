/* clock.h - seconds on a clock that never goes back. */
#ifndef GLIA_BASE_CLOCK_H
#define GLIA_BASE_CLOCK_H

/* Seconds since some moment in the past. Any thread. */
double glia_seconds(void);

#endif
