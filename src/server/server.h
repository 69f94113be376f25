/* server.h - a server of OpenAI's HTTP interface on top of include/glia.h.
 *
 * The network thread reads requests, submits them and writes answers. Worker threads parse bodies, check
 * them, render chats and tokenize. The engine thread takes steps and does nothing else; it passes events on
 * by server/events.h. */
#ifndef GLIA_SERVER_SERVER_H
#define GLIA_SERVER_SERVER_H

#include <glia.h>

/* Which of the waiting requests is next. */
typedef enum {
    SERVER_FCFS,     /* the oldest */
    SERVER_PRIORITY, /* the lowest "priority", then the oldest */
    SERVER_FAIR, /* the one whose client has the fewest running. A client is a key; without keys, an address
                  */
} server_policy;

/* Strings outlive the server. */
typedef struct {
    const char *host;
    int port;                      /* 0: any free port */
    const char *certificate, *key; /* files of TLS, both or none; NULL: HTTP without TLS */
    const char *name;              /* of the model, as requests say it */
    const char *root;              /* where the model is, for GET /v1/models */
    const char *const *keys;       /* [n_keys]; a request needs one of them if there are any */
    size_t n_keys;
    const char *origins;       /* whose pages may read answers, separated by commas; "*": every origin */
    const char *chat_template; /* [chat_template_len] NULL: the model's own */
    size_t chat_template_len;
    const char *template_kwargs; /* a JSON object: variables of the template that requests may override; NULL:
                                  * none */
    int max_queued;              /* sequences that wait or run; more are refused with status 503 */
    int max_connections;         /* open at once; more wait in the system's queue */
    size_t body_max;             /* bytes of a request's body */
    double http_timeout_s;       /* a connection that neither sends nor takes a byte so long is closed */
    double shutdown_timeout_s;   /* requests that run at the first signal may take so long */
    bool adapters;               /* the engine has places for LoRA adapters */
    bool has_seed;               /* requests without a seed get `seed`, else a random one */
    uint64_t seed;
    server_policy policy;
    bool json_log;                     /* a line for a request is a JSON object */
    void (*say)(const char *line);     /* one line of the log */
    void (*say_raw)(const char *line); /* the same without a prefix */
} server_options;

/* Create an engine of the model and serve until SIGTERM or SIGINT: then refuse connections, finish the
 * requests that run, and return GLIA_OK. A second signal, or the shutdown time-out, aborts them. Call it on
 * the thread that loaded the model, which is the engine thread meanwhile. Errors: of glia_engine_create();
 * GLIA_ERR_IO if the address cannot be bound or the engine has died. */
glia_status server_run(const glia_model *m, const glia_engine_options *engine, const server_options *o,
                       glia_err *err);

#endif
