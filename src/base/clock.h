/* clock.h - seconds on a clock that never goes back. */
#ifndef GLIA_BASE_CLOCK_H
#define GLIA_BASE_CLOCK_H

#include <time.h>

/* Seconds since some moment in the past. Any thread. */
static inline double glia_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
