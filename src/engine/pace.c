/* pace.c - see pace.h. */
#include "engine/pace.h"

#include <math.h>

static const double weight = 0.25; /* of the newest step in the average */

double glia_pace_work(const glia_pace *p, int from, int n) {
    return n * (1 + p->position * (from + n / 2.0));
}

/* The root of glia_pace_work(n) = work. */
int glia_pace_rows(const glia_pace *p, int from, double work, int most) {
    if (isinf(work)) return most;
    if (work <= 0) return 0;
    const double one = 1 + p->position * from;
    const double n = 2 * work / (one + sqrt(one * one + 2 * p->position * work));
    return n < most ? (int)n : most;
}

double glia_pace_room(const glia_pace *p) {
    if (p->most_seconds <= 0) return INFINITY;
    return p->unit_seconds > 0 ? p->most_seconds / p->unit_seconds : 0;
}

/* A step of many rows without sequences that generate takes less for a row, so it only begins the average. */
void glia_pace_learn(glia_pace *p, double work, int n, bool mixed, double seconds) {
    if (n < GLIA_PACE_LEAST || (p->mixed && !mixed)) return;
    const double unit = seconds / work;
    const bool first = p->unit_seconds <= 0 || !p->mixed;
    p->unit_seconds = first ? unit : p->unit_seconds + weight * (unit - p->unit_seconds);
    p->mixed = mixed;
}
