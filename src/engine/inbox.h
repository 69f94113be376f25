/* inbox.h - requests on their way from any thread to the engine thread.
 *
 * The inbox knows every request that has not ended, by id. A lock guards all of
 * it and is held for a few instructions only; no callback runs under it. */
#ifndef GLIA_ENGINE_INBOX_H
#define GLIA_ENGINE_INBOX_H

#include <pthread.h>

#include "engine/request.h"

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    glia_request *live; /* every request that has not ended, linked by live_next */
    size_t n_live;
    glia_request *first, *last; /* not taken yet, linked by seq.next */
    uint64_t last_id;
    bool aborts; /* a request was aborted since glia_inbox_take_aborts() */
    bool woken;
    glia_err closed; /* why no request is taken in any more */
} glia_inbox;

glia_status glia_inbox_open(glia_inbox *b, glia_err *err);
/* Call it only after all requests were removed. */
void glia_inbox_free(glia_inbox *b);

/* ---- any thread ------------------------------------------------------------- */

/* Give the request an id and put it in. Fails with the error that glia_inbox_close() was given; the caller
 * then still owns the request. */
glia_status glia_inbox_put(glia_inbox *b, glia_request *r, uint64_t *id, glia_err *err);
/* Mark the request as aborted, if it has not ended. */
void glia_inbox_abort(glia_inbox *b, uint64_t id);
void glia_inbox_wake(glia_inbox *b);

/* ---- the engine thread -------------------------------------------------------- */

/* Requests put in since the last call, linked by seq.next, oldest first; NULL: none. */
glia_request *glia_inbox_take(glia_inbox *b);
/* Was a request aborted since the last call? */
bool glia_inbox_take_aborts(glia_inbox *b);
/* The request has ended: its id names nothing any more. */
void glia_inbox_remove(glia_inbox *b, glia_request *r);
/* Requests that have not ended. */
size_t glia_inbox_count(glia_inbox *b);
/* Take no request in any more. */
void glia_inbox_close(glia_inbox *b, const glia_err *why);
/* As glia_engine_wait(). */
bool glia_inbox_wait(glia_inbox *b, int timeout_ms);

#endif
