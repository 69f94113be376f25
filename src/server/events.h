/* events.h - the queue of engine events from the engine thread to the network thread.
 *
 * The engine thread collects the events of a step and publishes them at once, so that tokens which are ready
 * together are handled together. */
#ifndef GLIA_SERVER_EVENTS_H
#define GLIA_SERVER_EVENTS_H

#include <pthread.h>

#include <glia.h>

#include "server/text.h"

typedef struct {
    server_text collected; /* the engine thread's */
    server_text published; /* under the lock */
    server_text taken;     /* the network thread's */
    pthread_mutex_t lock;
    size_t at; /* of `taken` */
} server_events;

bool server_events_open(server_events *q);
void server_events_free(server_events *q);

/* Engine thread: copy the event. */
void server_events_add(server_events *q, void *user, const glia_event *event);
/* Engine thread: pass on what was collected. Returns 1 if there was something, 0 if not, -1 if memory ran out
 * and events are lost. */
int server_events_publish(server_events *q);

/* Network thread: the next event; pointers are valid until the next call. Returns false if none is left. */
bool server_events_next(server_events *q, void **user, glia_event *event);

#endif
