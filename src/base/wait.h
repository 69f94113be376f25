/* wait.h - how one thread waits for another: it spins, then yields its core, then
 * sleeps on a futex.
 *
 * Barriers of a decode step are a few microseconds apart, so a waiting thread
 * spins first. An idle engine must cost nothing and more threads than cores must
 * make progress, so the thread sleeps in the end. */
#ifndef GLIA_BASE_WAIT_H
#define GLIA_BASE_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>

/* A counter that only grows (and wraps), in memory that all threads see. Zero it. */
typedef struct {
    _Alignas(64) atomic_uint count;
    atomic_uint sleepers;
} glia_counter;

typedef struct {
    int spins;              /* rounds before the thread yields; 0 with more threads than cores */
    const atomic_int *stop; /* the wait ends early when *stop is not 0; NULL: it never does */
    bool processes;         /* the counter lies in memory that processes share */
} glia_waiting;

/* Set the counter to `count` and wake every thread that sleeps on it. `processes`
 * as for those who wait. What this thread wrote before is seen by who waited. */
void glia_counter_set(glia_counter *c, unsigned count, bool processes);

/* Wait until the counter has reached `count`; it may be up to 2^31 ahead. Returns
 * false if *how->stop ended the wait, at most 20 ms after it was set. */
bool glia_counter_wait(glia_counter *c, unsigned count, const glia_waiting *how);

#endif
