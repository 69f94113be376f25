/* measure.h - what the machine can do, measured on the threads of one rank. */
#ifndef GLIA_ENGINE_MEASURE_H
#define GLIA_ENGINE_MEASURE_H

#include "base/team.h"

/* Measure with all threads of `team`: reading memory [bytes], at most a GiB of it, and the matrix peaks. */
void glia_measure(glia_ceilings *c, glia_team *team, unsigned cpu_flags, const void *memory, size_t bytes);

#endif
