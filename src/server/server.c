/* server.c - the threads of the server, from its opening to its end. */
#define _GNU_SOURCE
#include "server/server.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/app.h"

enum { HEADERS_MAX = 64 << 10, OUTPUT_MAX = 4 << 20 };

static const double flush_s = 1; /* for the last bytes of the last replies */

__attribute__((format(printf, 3, 4))) static glia_status fail(glia_err *err, glia_status status,
                                                              const char *fmt, ...) {
    va_list ap;
    if (!err) return status;
    err->status = status;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return status;
}

/* ---- the network thread ----------------------------------------------------------------- */

/* After a signal: end when nothing is left to answer. */
static void maybe_end(server_app *app) {
    if (!app->signals && !atomic_load(&app->dead)) return;
    if ((app->n_sequences || app->n_jobs) && !atomic_load(&app->dead)) return;
    if (server_http_unsent(app->http) == 0) return server_http_stop(app->http);
    server_http_timer(app->http, flush_s);
}

static void on_request(void *user, server_exchange *x) { server_handle(user, x); }

static void on_wake(void *user) {
    server_app *app = user;
    glia_event event;
    void *listener;
    app->now = server_seconds();
    while (server_events_next(&app->events, &listener, &event))
        ((server_listener *)listener)->tell(listener, &event);
    server_work_finish(&app->work);
    maybe_end(app);
}

static void cut(server_app *app) {
    app->cut = true;
    server_answer_abort_all(app);
    server_pool_abort_all(app);
}

static void on_signal(void *user) {
    server_app *app = user;
    if (++app->signals > 1) return cut(app);
    server_http_refuse(app->http);
    app->options->say("shutting down: finishing the requests that run");
    server_http_timer(app->http, app->options->shutdown_timeout_s);
    maybe_end(app);
}

/* The shutdown time-out; or, when all is answered, the time for the last bytes. */
static void on_timer(void *user) {
    server_app *app = user;
    if ((app->n_sequences == 0 && app->n_jobs == 0) || atomic_load(&app->dead))
        return server_http_stop(app->http);
    cut(app);
}

/* A worker has finished a task. */
static void on_work(void *user) {
    const server_app *app = user;
    server_http_wake(app->http);
}

static void *network(void *user) {
    server_app *app = user;
    const bool works = server_work_open(&app->work, on_work, app);
    if (works) server_http_loop(app->http);
    if (works) server_work_close(&app->work);
    app->no_workers = !works;
    atomic_store(&app->stopping, true);
    glia_engine_wake(app->engine);
    return NULL;
}

/* ---- the engine thread -------------------------------------------------------------------- */

/* Take steps until the network thread has ended. Returns why no step can follow. */
static glia_status take_steps(server_app *app, glia_err *err) {
    glia_status status = GLIA_OK;
    while (!atomic_load(&app->stopping)) {
        size_t left;
        glia_err why = {0};
        if (!glia_engine_wait(app->engine, -1) || atomic_load(&app->dead)) continue;
        const glia_status step = glia_engine_step(app->engine, &left, &why);
        server_steps_count(&app->steps, app->engine);
        const int published = server_events_publish(&app->events);
        if (step && step != GLIA_ERR_FORMAT) status = fail(err, step, "%s", why.msg);
        if (published < 0) status = fail(err, GLIA_ERR_NOMEM, "no memory for the events of a step");
        if (step == GLIA_ERR_FORMAT) app->options->say(why.msg);
        if (status) atomic_store(&app->dead, true);
        if (published || status) server_http_wake(app->http);
        if (status) break;
    }
    return status;
}

/* Start the network thread on the cores that this thread may use before the engine binds it to one. */
static glia_status start(pthread_t *thread, server_app *app, const cpu_set_t *cores, glia_err *err) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof *cores, cores);
    const int failed = pthread_create(thread, &attributes, network, app);
    pthread_attr_destroy(&attributes);
    return failed ? fail(err, GLIA_ERR_NOMEM, "a thread: %s", strerror(failed)) : GLIA_OK;
}

static void tell(const server_app *app, const glia_engine_stats *stats) {
    char line[600];
    snprintf(line, sizeof line, "serving %s at %s://%s%s%s:%d (%d sequences at once, of %d tokens)",
             app->options->name, app->options->certificate ? "https" : "http",
             strchr(app->options->host, ':') ? "[" : "", app->options->host,
             strchr(app->options->host, ':') ? "]" : "", server_http_port(app->http), stats->batch_size,
             stats->sequence_length);
    app->options->say(line);
}

static glia_status serve(server_app *app, const cpu_set_t *cores, glia_err *err) {
    glia_engine_stats stats;
    pthread_t thread;
    glia_engine_get_stats(app->engine, &stats);
    app->sequence_length = stats.sequence_length;
    app->started = time(NULL);
    server_steps_count(&app->steps, app->engine);
    tell(app, &stats);
    glia_status status = start(&thread, app, cores, err);
    if (status) return status;
    status = take_steps(app, err);
    pthread_join(thread, NULL);
    if (app->no_workers) return fail(err, GLIA_ERR_NOMEM, "no memory for the worker threads");
    return status;
}

glia_status server_run(const glia_model *m, const glia_engine_options *engine, const server_options *o,
                       glia_err *err) {
    cpu_set_t cores;
    char why[200];
    server_app app = {.options = o, .model = m};
    const server_http_config config = {
        .host = o->host,
        .port = o->port,
        .certificate = o->certificate,
        .key = o->key,
        .max_connections = o->max_connections,
        .body_max = o->body_max,
        .headers_max = HEADERS_MAX,
        .output_max = OUTPUT_MAX,
        .timeout_s = o->http_timeout_s,
        .user = &app,
        .on_request = on_request,
        .on_wake = on_wake,
        .on_signal = on_signal,
        .on_timer = on_timer,
        .log = server_log,
    };
    atomic_init(&app.stopping, false);
    atomic_init(&app.dead, false);
    glia_model_get_info(m, &app.info);
    glia_sampling_defaults_served(m, &app.defaults);
    app.text_arguments = server_takes_text_arguments(&app);
    sched_getaffinity(0, sizeof cores, &cores);
    glia_status status = GLIA_OK;
    if (!app.info.has_tokenizer)
        return fail(err, GLIA_ERR_UNSUPPORTED, "%s has no tokenizer.json, which serve needs", o->root);
    if (!server_events_open(&app.events)) return fail(err, GLIA_ERR_NOMEM, "no memory for a lock");
    if (!server_steps_open(&app.steps)) {
        server_events_free(&app.events);
        return fail(err, GLIA_ERR_NOMEM, "no memory for a lock");
    }
    if (!server_http_open(&app.http, &config, why, sizeof why)) status = fail(err, GLIA_ERR_IO, "%s", why);
    if (!status) status = glia_engine_create(&app.engine, m, engine, err);
    if (!status) status = serve(&app, &cores, err);
    server_http_free(app.http);
    glia_engine_free(app.engine);
    server_steps_free(&app.steps);
    server_events_free(&app.events);
    return status;
}
