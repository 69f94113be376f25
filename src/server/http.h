/* http.h - HTTP/1.1 as exchanges: one request and the reply to it. libevent is used by http.c alone.
 *
 * All functions but server_http_wake() belong to the network thread, which runs server_http_loop(). An
 * exchange begins when on_request() is called, after the whole body has arrived, and ends with
 * server_reply(), server_stream_end() or server_drop(), or when the client leaves, which gone() says. An
 * exchange that has ended may not be used any more. */
#ifndef GLIA_SERVER_HTTP_H
#define GLIA_SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct server_http server_http;
typedef struct server_exchange server_exchange;

enum { SERVER_ID_MAX = 128 };

/* For the log: one reply, or a client that left (status 499). */
typedef struct {
    const char *method, *path, *id; /* path: cut; id: of the request */
    const char *traceparent;        /* of W3C; empty: none */
    int status;
    double seconds;                              /* since the request has arrived */
    size_t prompt_tokens, output_tokens, cached; /* cached: of the prompt */
} server_log_entry;

typedef struct {
    const char *host;              /* a name or an address */
    int port;                      /* 0: any free port */
    const char *certificate, *key; /* files of TLS; NULL: HTTP without TLS */
    int max_connections;           /* open at once; more wait in the system's queue */
    size_t body_max;               /* bytes; a longer body gets status 413 */
    size_t headers_max;
    size_t output_max; /* bytes of a reply that the client has not read; more end the exchange */
    double timeout_s;  /* a connection that neither sends nor takes a byte so long is closed */
    void *user;        /* argument of the functions below */
    void (*on_request)(void *user, server_exchange *x);
    void (*on_wake)(void *user);   /* server_http_wake() was called since the last time */
    void (*on_signal)(void *user); /* SIGTERM or SIGINT */
    void (*on_timer)(void *user);  /* the time of server_http_timer() is over */
    void (*log)(void *user, const server_log_entry *e); /* once for each exchange */
} server_http_config;

/* Bind and listen. On failure *out is NULL, and `why` [cap] says why. */
bool server_http_open(server_http **out, const server_http_config *config, char *why, size_t cap);
/* The port that was bound. */
int server_http_port(const server_http *h);
/* Handle requests until server_http_stop(). */
void server_http_loop(server_http *h);
void server_http_stop(server_http *h);
/* Close the listening socket. The replies from now on close their connections. */
void server_http_refuse(server_http *h);
/* Call on_timer() after so many seconds, once. */
void server_http_timer(server_http *h, double seconds);
/* Replies that have not been sent completely. */
size_t server_http_unsent(const server_http *h);
/* Have on_wake() called. Any thread. */
void server_http_wake(server_http *h);
/* After the loop has ended. NULL is fine. */
void server_http_free(server_http *h);

/* ---- exchanges -------------------------------------------------------------- */

const char *server_method(const server_exchange *x); /* "GET"; "" for an unusual one */
/* The path without the query, percent-encoded as it came. */
const char *server_path(const server_exchange *x);
/* The text with its percent-encoding undone, which the caller frees. NULL: no memory, or a zero byte in it.
 */
char *server_decode(const char *text);
/* NULL: absent. */
const char *server_header(const server_exchange *x, const char *name);
/* The request's body, valid until the exchange ends. */
const char *server_body(server_exchange *x, size_t *len);
/* A header of the reply. Before the reply begins. */
void server_set_header(server_exchange *x, const char *name, const char *value);
/* The id of the request: its header X-Request-Id, or 32 random hexadecimal digits. The reply has it too. */
const char *server_request_id(const server_exchange *x);
/* The client's address. */
const char *server_peer(const server_exchange *x);
/* Seconds of server_seconds() when the request had arrived. */
double server_arrived(const server_exchange *x);
/* Seconds of a clock that never goes back. */
double server_seconds(void);
/* Numbers for the log. */
void server_count_tokens(server_exchange *x, size_t prompt, size_t output, size_t cached);
/* Call gone(user) if the client leaves before the reply has ended; then the exchange is over. Replaces what
 * an earlier call said; gone NULL: nothing is called. */
void server_when_gone(server_exchange *x, void (*gone)(void *user), void *user);

/* Reply and end the exchange. `type`: the content type; NULL: the body is empty. */
void server_reply(server_exchange *x, int status, const char *type, const char *body, size_t len);
/* Begin a reply of status 200 whose body comes in pieces. */
void server_stream_begin(server_exchange *x, const char *type);
/* Returns false if the client reads too slowly for output_max: then the exchange has ended without gone(). */
bool server_stream_write(server_exchange *x, const char *bytes, size_t n);
void server_stream_end(server_exchange *x);

#endif
