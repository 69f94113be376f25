/* work.c - see work.h. */
#include "server/work.h"

#include <stddef.h>

static void put(server_tasks *list, server_task *t) {
    t->next = NULL;
    *list->last = t;
    list->last = &t->next;
}

static server_task *take(server_tasks *list) {
    server_task *t = list->first;
    if (!t) return NULL;
    list->first = t->next;
    if (!t->next) list->last = &list->first;
    return t;
}

static void *work(void *user) {
    server_work *w = user;
    pthread_mutex_lock(&w->lock);
    while (!w->closing) {
        server_task *t = take(&w->waiting);
        if (!t) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        t->run(t);
        pthread_mutex_lock(&w->lock);
        put(&w->finished, t);
        w->wake(w->user);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

bool server_work_open(server_work *w, void (*wake)(void *user), void *user) {
    *w = (server_work){.wake = wake, .user = user};
    w->waiting.last = &w->waiting.first;
    w->finished.last = &w->finished.first;
    if (pthread_mutex_init(&w->lock, NULL)) return false;
    if (pthread_cond_init(&w->changed, NULL)) return pthread_mutex_destroy(&w->lock), false;
    while (w->n_threads < SERVER_WORKERS && pthread_create(&w->thread[w->n_threads], NULL, work, w) == 0)
        w->n_threads++;
    if (w->n_threads > 0) return true;
    server_work_close(w);
    return false;
}

void server_work_put(server_work *w, server_task *t) {
    pthread_mutex_lock(&w->lock);
    put(&w->waiting, t);
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static server_task *next_finished(server_work *w) {
    pthread_mutex_lock(&w->lock);
    server_task *t = take(&w->finished);
    pthread_mutex_unlock(&w->lock);
    return t;
}

void server_work_finish(server_work *w) {
    for (server_task *t; (t = next_finished(w)) != NULL;) t->done(t);
}

void server_work_close(server_work *w) {
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->n_threads; i++) pthread_join(w->thread[i], NULL);
    for (server_task *t; (t = take(&w->finished)) != NULL;) t->drop(t);
    for (server_task *t; (t = take(&w->waiting)) != NULL;) t->drop(t);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}
