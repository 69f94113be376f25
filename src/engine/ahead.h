/* ahead.h - masks of constraints, computed on a thread of their own while a step runs.
 *
 * The leader says at which places draws of the coming step may happen. The thread finds their masks,
 * which the grammars keep; the draw finds them there, or computes what is not there yet. So no draw
 * depends on the thread. */
#ifndef GLIA_ENGINE_AHEAD_H
#define GLIA_ENGINE_AHEAD_H

#include <pthread.h>
#include <stdbool.h>

#include "grammar/grammar.h"

enum { GLIA_AHEAD_MAX = 256 };

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    bool started, over;
    struct {
        glia_grammar *grammar; /* with a reference */
        uint32_t place;
    } queue[GLIA_AHEAD_MAX];
    int first, n;
} glia_ahead;

void glia_ahead_init(glia_ahead *a);
/* End the thread, and let the grammars go. */
void glia_ahead_close(glia_ahead *a);
/* Start the thread, unless it runs. Without a thread nothing is computed ahead. Any thread. */
void glia_ahead_start(glia_ahead *a);
/* Queue a place. Dropped if the queue is full or the thread does not run. Allocates nothing. */
void glia_ahead_want(glia_ahead *a, glia_grammar *g, uint32_t place);

#endif
