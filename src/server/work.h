/* work.h - a pool of worker threads. The network thread gives them tasks that may take long: parsing a body,
 * rendering a chat, tokenizing, compiling a constraint, reading an adapter.
 *
 * Tasks begin in the order in which they were given. All functions belong to the network thread. */
#ifndef GLIA_SERVER_WORK_H
#define GLIA_SERVER_WORK_H

#include <pthread.h>
#include <stdbool.h>

enum { SERVER_WORKERS = 2 };

typedef struct server_task server_task;
struct server_task {
    void (*run)(server_task *t);  /* worker thread */
    void (*done)(server_task *t); /* network thread, after run() */
    void (*drop)(server_task *t); /* network thread, instead of done(): the pool is closed */
    server_task *next;            /* the pool's */
};

typedef struct {
    server_task *first, **last;
} server_tasks;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    server_tasks waiting, finished;
    bool closing;
    int n_threads;
    pthread_t thread[SERVER_WORKERS];
    void (*wake)(void *user); /* worker thread: a task has finished */
    void *user;
} server_work;

/* Start the threads. Returns false if memory ran out: then nothing is held. */
bool server_work_open(server_work *w, void (*wake)(void *user), void *user);
/* Give the pool a task. It stays the caller's memory. */
void server_work_put(server_work *w, server_task *t);
/* Call done() of the tasks that have finished since the last call. */
void server_work_finish(server_work *w);
/* Wait for the tasks that run, and drop all that are left. */
void server_work_close(server_work *w);

#endif
