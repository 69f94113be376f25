/* events.c - see events.h. An event is a fixed part, then the lists that it points to. */
#include "server/events.h"

#include <string.h>

typedef struct {
    void *user;
    glia_event event;
    size_t stop_len; /* with its NUL; 0: no stop string */
} fixed;

bool server_events_open(server_events *q) {
    *q = (server_events){0};
    return pthread_mutex_init(&q->lock, NULL) == 0;
}

void server_events_free(server_events *q) {
    server_text_free(&q->collected);
    server_text_free(&q->published);
    server_text_free(&q->taken);
    pthread_mutex_destroy(&q->lock);
}

void server_events_add(server_events *q, void *user, const glia_event *event) {
    server_text *t = &q->collected;
    const size_t n = (size_t)event->n_top;
    const fixed f = {
        .user = user, .event = *event, .stop_len = event->stop_reason ? strlen(event->stop_reason) + 1 : 0};
    server_add(t, (const char *)&f, sizeof f);
    server_add(t, (const char *)event->top_tokens, n * sizeof *event->top_tokens);
    server_add(t, (const char *)event->top_logprobs, n * sizeof *event->top_logprobs);
    server_add(t, (const char *)event->hidden, (size_t)event->n_hidden * sizeof *event->hidden);
    server_add(t, event->stop_reason, f.stop_len);
    server_add(t, event->text, event->text_len);
    static const char zeros[sizeof(fixed)];
    server_add(t, zeros, (sizeof(max_align_t) - t->len % sizeof(max_align_t)) % sizeof(max_align_t));
}

static void swap(server_text *a, server_text *b) {
    const server_text c = *a;
    *a = *b;
    *b = c;
}

int server_events_publish(server_events *q) {
    const bool some = q->collected.len > 0;
    if (!some) return q->collected.oom ? -1 : 0;
    pthread_mutex_lock(&q->lock);
    if (q->published.len == 0)
        swap(&q->published, &q->collected);
    else
        server_add(&q->published, q->collected.data, q->collected.len);
    const bool lost = q->published.oom || q->collected.oom;
    pthread_mutex_unlock(&q->lock);
    server_text_clear(&q->collected);
    return lost ? -1 : 1;
}

/* Replace what was read by what was published. */
static bool take(server_events *q) {
    server_text_clear(&q->taken);
    q->at = 0;
    pthread_mutex_lock(&q->lock);
    swap(&q->published, &q->taken);
    pthread_mutex_unlock(&q->lock);
    return q->taken.len > 0;
}

bool server_events_next(server_events *q, void **user, glia_event *event) {
    if (q->at >= q->taken.len && !take(q)) return false;
    fixed f;
    const char *at = q->taken.data + q->at;
    memcpy(&f, at, sizeof f);
    at += sizeof f;
    const size_t n = (size_t)f.event.n_top;
    *event = f.event;
    *user = f.user;
    event->top_tokens = (const int32_t *)(const void *)at;
    at += n * sizeof *event->top_tokens;
    event->top_logprobs = (const float *)(const void *)at;
    at += n * sizeof *event->top_logprobs;
    event->hidden = f.event.n_hidden ? (const float *)(const void *)at : NULL;
    at += (size_t)f.event.n_hidden * sizeof *event->hidden;
    event->stop_reason = f.stop_len ? at : NULL;
    event->text = at + f.stop_len;
    at = event->text + event->text_len;
    q->at = (size_t)(at - q->taken.data);
    q->at += (sizeof(max_align_t) - q->at % sizeof(max_align_t)) % sizeof(max_align_t);
    return true;
}
