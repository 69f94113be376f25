/* ahead.c - see ahead.h. */
#include "engine/ahead.h"

static void *compute(void *arg) {
    glia_ahead *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->over) {
        if (a->n == 0) {
            pthread_cond_wait(&a->work, &a->lock);
            continue;
        }
        glia_grammar *g = a->queue[a->first].grammar;
        const uint32_t place = a->queue[a->first].place;
        a->first = (a->first + 1) % GLIA_AHEAD_MAX;
        a->n--;
        pthread_mutex_unlock(&a->lock);
        glia_grammar_prepare(g, place);
        glia_grammar_release(g);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

void glia_ahead_init(glia_ahead *a) {
    *a = (glia_ahead){.n = 0};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->work, NULL);
}

void glia_ahead_start(glia_ahead *a) {
    pthread_mutex_lock(&a->lock);
    if (!a->started) a->started = pthread_create(&a->thread, NULL, compute, a) == 0;
    pthread_mutex_unlock(&a->lock);
}

void glia_ahead_close(glia_ahead *a) {
    pthread_mutex_lock(&a->lock);
    a->over = true;
    pthread_cond_signal(&a->work);
    pthread_mutex_unlock(&a->lock);
    if (a->started) pthread_join(a->thread, NULL);
    for (; a->n > 0; a->n--) {
        glia_grammar_release(a->queue[a->first].grammar);
        a->first = (a->first + 1) % GLIA_AHEAD_MAX;
    }
    pthread_cond_destroy(&a->work);
    pthread_mutex_destroy(&a->lock);
}

void glia_ahead_want(glia_ahead *a, glia_grammar *g, uint32_t place) {
    pthread_mutex_lock(&a->lock);
    if (a->started && a->n < GLIA_AHEAD_MAX) {
        glia_grammar_retain(g);
        a->queue[(a->first + a->n++) % GLIA_AHEAD_MAX] = (__typeof__(a->queue[0])){g, place};
        pthread_cond_signal(&a->work);
    }
    pthread_mutex_unlock(&a->lock);
}
