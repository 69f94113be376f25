/* pace.h - how many prompt rows fit into a step that must not last long. Pure: the caller measures.
 *
 * The work of a row is 1 for its products with the weights, and `position` more for each position that it
 * attends to. The seconds of a unit of work are a moving average of measured steps, so the estimate follows
 * the machine, the batch and the length of the contexts. */
#ifndef GLIA_ENGINE_PACE_H
#define GLIA_ENGINE_PACE_H

#include <stdbool.h>

/* Prompt rows that a step has room for however long they take. A step of fewer rows is bound by reading the
 * weights, so it would hardly be shorter. */
enum { GLIA_PACE_LEAST = 32 };

typedef struct {
    double most_seconds; /* limit: of a step in which sequences generate; 0: none */
    double position;     /* work of a row for each position that it attends to */
    double unit_seconds; /* of a unit of work; 0: not known */
    bool mixed;          /* unit_seconds was measured in steps in which sequences generate */
} glia_pace;

/* The work of n rows that begin at position `from`. */
double glia_pace_work(const glia_pace *p, int from, int n);
/* The most rows from position `from` on, at most `most`, whose work is at most `work`. */
int glia_pace_rows(const glia_pace *p, int from, double work, int most);
/* The work of a step that takes p->most_seconds; INFINITY without a limit, 0 if nothing is measured. */
double glia_pace_room(const glia_pace *p);
/* A step of so much work, with n prompt rows, took so long. mixed: sequences generated in it. */
void glia_pace_learn(glia_pace *p, double work, int n, bool mixed, double seconds);

#endif
