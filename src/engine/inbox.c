/* inbox.c - see inbox.h. */
#define _GNU_SOURCE
#include "engine/inbox.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

glia_status glia_inbox_open(glia_inbox *b, glia_err *err) {
    pthread_condattr_t clock;
    *b = (glia_inbox){0};
    int why = pthread_mutex_init(&b->lock, NULL);
    if (why) return glia_fail(err, GLIA_ERR_NOMEM, "a lock: %s", strerror(why));
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    why = pthread_cond_init(&b->changed, &clock);
    pthread_condattr_destroy(&clock);
    if (!why) return GLIA_OK;
    pthread_mutex_destroy(&b->lock);
    return glia_fail(err, GLIA_ERR_NOMEM, "a condition variable: %s", strerror(why));
}

void glia_inbox_free(glia_inbox *b) {
    assert(!b->live);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
}

/* ---- any thread ------------------------------------------------------------- */

static void put(glia_inbox *b, glia_request *r) {
    r->id = ++b->last_id;
    r->live_before = &b->live;
    r->live_next = b->live;
    if (b->live) b->live->live_before = &r->live_next;
    b->live = r;
    b->n_live++;
    r->seq.next = NULL;
    if (b->first)
        b->last->seq.next = &r->seq;
    else
        b->first = r;
    b->last = r;
}

glia_status glia_inbox_put(glia_inbox *b, glia_request *r, uint64_t *id, glia_err *err) {
    glia_err why;
    pthread_mutex_lock(&b->lock);
    why = b->closed;
    if (!why.status) {
        put(b, r);
        if (id) *id = r->id;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return why.status ? glia_fail(err, why.status, "%s", why.msg) : GLIA_OK;
}

void glia_inbox_abort(glia_inbox *b, uint64_t id) {
    pthread_mutex_lock(&b->lock);
    glia_request *r = b->live;
    while (r && r->id != id) r = r->live_next;
    if (r) {
        atomic_store(&r->aborted, true);
        b->aborts = true;
    }
    pthread_mutex_unlock(&b->lock);
}

void glia_inbox_wake(glia_inbox *b) {
    pthread_mutex_lock(&b->lock);
    b->woken = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* ---- the engine thread -------------------------------------------------------- */

glia_request *glia_inbox_take(glia_inbox *b) {
    pthread_mutex_lock(&b->lock);
    glia_request *r = b->first;
    b->first = b->last = NULL;
    pthread_mutex_unlock(&b->lock);
    return r;
}

bool glia_inbox_take_aborts(glia_inbox *b) {
    pthread_mutex_lock(&b->lock);
    const bool aborts = b->aborts;
    b->aborts = false;
    pthread_mutex_unlock(&b->lock);
    return aborts;
}

void glia_inbox_remove(glia_inbox *b, glia_request *r) {
    pthread_mutex_lock(&b->lock);
    *r->live_before = r->live_next;
    if (r->live_next) r->live_next->live_before = r->live_before;
    b->n_live--;
    pthread_mutex_unlock(&b->lock);
}

size_t glia_inbox_count(glia_inbox *b) {
    pthread_mutex_lock(&b->lock);
    const size_t n = b->n_live;
    pthread_mutex_unlock(&b->lock);
    return n;
}

void glia_inbox_close(glia_inbox *b, const glia_err *why) {
    pthread_mutex_lock(&b->lock);
    b->closed = *why;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static struct timespec deadline(int timeout_ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) t.tv_sec++, t.tv_nsec -= 1000000000L;
    return t;
}

bool glia_inbox_wait(glia_inbox *b, int timeout_ms) {
    const struct timespec end = deadline(timeout_ms < 0 ? 0 : timeout_ms);
    int why = 0;
    pthread_mutex_lock(&b->lock);
    while (!b->n_live && !b->closed.status && !b->woken && why != ETIMEDOUT)
        why = timeout_ms < 0 ? pthread_cond_wait(&b->changed, &b->lock)
                             : pthread_cond_timedwait(&b->changed, &b->lock, &end);
    b->woken = false;
    const bool work = b->n_live || b->closed.status;
    pthread_mutex_unlock(&b->lock);
    return work;
}
