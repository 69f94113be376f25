/* http.c - HTTP by libevent's evhttp. No other file uses libevent.
 *
 * Traps of evhttp 2.1 that this file avoids:
 *   It stops reading while a request is handled, so a client that leaves is not seen. Reading is enabled
 *   again, but without evhttp's read callback, which ends the process when bytes arrive at that time.
 *   Its time-out of reading would end an exchange whose client rightly waits.
 *   When a client leaves, the request outlives its connection, and its handler has to free it.
 *   It answers what is not HTTP, and bodies and headers that are too long, with a page of HTML. The function
 *   that does so, evhttp_send_error(), is replaced by one of this file: libevent calls it by its public name.
 *   It takes a chunk whose size is no number for a body that is too long: both get status 413.
 *   It writes warnings to stderr. */
#define _GNU_SOURCE
#include "server/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/tls.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

enum { BACKLOG = 1024, PIPELINED_MAX = 65536, PATH = 120, TRACEPARENT = 55 };

struct server_http {
    server_http_config config;
    struct event_base *base;
    struct evhttp *http;
    server_tls *tls;                       /* NULL: none */
    struct evhttp_bound_socket *listening; /* NULL: no longer */
    struct event *wake, *timer, *full, *signals[2];
    int wake_fd, port;
    int first_fd; /* the least descriptor that a connection may have */
    bool refusing;
    size_t unsent;
};

struct server_exchange {
    server_http *http;
    struct evhttp_request *request;
    void (*gone)(void *user);
    void *user;
    bool replied; /* the reply is complete, but not yet sent */
    int status;
    double arrived;
    char id[SERVER_ID_MAX + 1], traceparent[TRACEPARENT + 1];
    size_t prompt_tokens, output_tokens, cached;
};

/* The server whose loop runs on this thread. evhttp_send_error() is not told it. */
static _Thread_local server_http *looping;

static void drop_message(int severity, const char *message) {
    (void)severity;
    (void)message;
}

static struct timeval time_of(double seconds) {
    return (struct timeval){.tv_sec = (time_t)seconds,
                            .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
}

/* ---- opening ------------------------------------------------------------------ */

static struct evconnlistener *listen_at(struct event_base *base, const char *host, int port, char *why,
                                        size_t cap) {
    char service[16];
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    snprintf(service, sizeof service, "%d", port);
    const int failed = getaddrinfo(host, service, &hints, &found);
    if (failed) return snprintf(why, cap, "%s: %s", host, gai_strerror(failed)), NULL;
    struct evconnlistener *listener = evconnlistener_new_bind(
        base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG,
        found->ai_addr, (int)found->ai_addrlen);
    if (!listener) snprintf(why, cap, "%s, port %d: %s", host, port, strerror(errno));
    freeaddrinfo(found);
    return listener;
}

static int port_of(int fd) {
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    getsockname(fd, (struct sockaddr *)&a, &n);
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static void on_request(struct evhttp_request *request, void *user);

static void on_wake(evutil_socket_t fd, short what, void *user) {
    server_http *h = user;
    uint64_t times;
    (void)what;
    if (read(fd, &times, sizeof times) > 0) h->config.on_wake(h->config.user);
}

static void on_timer(evutil_socket_t fd, short what, void *user) {
    server_http *h = user;
    (void)fd;
    (void)what;
    h->config.on_timer(h->config.user);
}

static void on_signal(evutil_socket_t fd, short what, void *user) {
    server_http *h = user;
    (void)fd;
    (void)what;
    h->config.on_signal(h->config.user);
}

/* Descriptors are given lowest first, so one as high as this says how many connections there are at least. */
static bool is_full(const server_http *h) {
    const int fd = dup(h->wake_fd);
    if (fd >= 0) close(fd);
    return fd < 0 || fd - h->first_fd >= h->config.max_connections;
}

/* Accept no more for a while: those that connect wait in the system's queue. */
static void pause_if_full(server_http *h) {
    const struct timeval a_while = {.tv_usec = 50000};
    if (!h->listening) return;
    struct evconnlistener *listener = evhttp_bound_socket_get_listener(h->listening);
    if (!is_full(h)) {
        evconnlistener_enable(listener);
        return;
    }
    evconnlistener_disable(listener);
    evtimer_add(h->full, &a_while);
}

static void on_full(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    pause_if_full(user);
}

static bool add_events(server_http *h) {
    static const int numbers[] = {SIGTERM, SIGINT};
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->wake_fd < 0) return false;
    h->wake = event_new(h->base, h->wake_fd, EV_READ | EV_PERSIST, on_wake, h);
    h->timer = evtimer_new(h->base, on_timer, h);
    h->full = evtimer_new(h->base, on_full, h);
    for (int i = 0; i < 2; i++) {
        h->signals[i] = evsignal_new(h->base, numbers[i], on_signal, h);
        if (!h->signals[i] || event_add(h->signals[i], NULL)) return false;
    }
    return h->wake && h->timer && h->full && event_add(h->wake, NULL) == 0;
}

/* evhttp asks for the stream of a connection that was accepted. */
static struct bufferevent *new_stream(struct event_base *base, void *user) {
    server_http *h = user;
    pause_if_full(h);
    return h->tls ? server_tls_stream(h->tls, base) : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

/* Room for the connections, as far as the system allows it. */
static void raise_limit(server_http *h) {
    struct rlimit limit;
    const int spare = 64; /* for files that are read meanwhile */
    h->first_fd = dup(h->wake_fd);
    if (h->first_fd >= 0) close(h->first_fd);
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    const rlim_t wanted = (rlim_t)(h->first_fd + h->config.max_connections + spare);
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < wanted && limit.rlim_cur > (rlim_t)(h->first_fd + spare))
        h->config.max_connections = (int)limit.rlim_cur - h->first_fd - spare;
}

static bool open_http(server_http *h, char *why, size_t cap) {
    const server_http_config *c = &h->config;
    const struct timeval patience = time_of(c->timeout_s);
    snprintf(why, cap, "no memory for a server");
    h->base = event_base_new();
    h->http = h->base ? evhttp_new(h->base) : NULL;
    if (!h->http || !add_events(h)) return false;
    if (c->certificate && !server_tls_open(&h->tls, c->certificate, c->key, why, cap)) return false;
    struct evconnlistener *listener = listen_at(h->base, c->host, c->port, why, cap);
    if (!listener) return false;
    h->port = port_of(evconnlistener_get_fd(listener));
    h->listening = evhttp_bind_listener(h->http, listener);
    if (!h->listening) return evconnlistener_free(listener), false;
    raise_limit(h);
    evhttp_set_bevcb(h->http, new_stream, h);
    evhttp_set_gencb(h->http, on_request, h);
    evhttp_set_max_body_size(h->http, (ev_ssize_t)c->body_max);
    evhttp_set_max_headers_size(h->http, (ev_ssize_t)c->headers_max);
    evhttp_set_timeout_tv(h->http, &patience);
    evhttp_set_allowed_methods(h->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
                                            EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    return true;
}

bool server_http_open(server_http **out, const server_http_config *config, char *why, size_t cap) {
    server_http *h = calloc(1, sizeof *h);
    *out = NULL;
    if (!h) return snprintf(why, cap, "no memory for a server"), false;
    event_set_log_callback(drop_message);
    signal(SIGPIPE, SIG_IGN); /* a client that leaves is an error of write() */
    h->config = *config;
    h->wake_fd = -1;
    if (!open_http(h, why, cap)) return server_http_free(h), false;
    *out = h;
    return true;
}

void server_http_free(server_http *h) {
    if (!h) return;
    struct event *events[] = {h->wake, h->timer, h->full, h->signals[0], h->signals[1]};
    if (h->http) evhttp_free(h->http);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i]) event_free(events[i]);
    if (h->base) event_base_free(h->base);
    server_tls_free(h->tls);
    if (h->wake_fd >= 0) close(h->wake_fd);
    free(h);
}

int server_http_port(const server_http *h) { return h->port; }
void server_http_loop(server_http *h) {
    looping = h;
    event_base_dispatch(h->base);
    looping = NULL;
}
void server_http_stop(server_http *h) { event_base_loopbreak(h->base); }
size_t server_http_unsent(const server_http *h) { return h->unsent; }

void server_http_refuse(server_http *h) {
    if (h->listening) evhttp_del_accept_socket(h->http, h->listening);
    h->listening = NULL;
    h->refusing = true;
}

void server_http_timer(server_http *h, double seconds) {
    const struct timeval t = time_of(seconds);
    evtimer_add(h->timer, &t);
}

void server_http_wake(server_http *h) {
    const uint64_t one = 1;
    while (write(h->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* ---- the life of an exchange ---------------------------------------------------- */

static struct bufferevent *stream_of(const server_exchange *x) {
    return evhttp_connection_get_bufferevent(evhttp_request_get_connection(x->request));
}

double server_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void log_end(const server_exchange *x) {
    char path[PATH];
    snprintf(path, sizeof path, "%s", server_path(x));
    for (char *c = path; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
    const char *method = server_method(x);
    x->http->config.log(x->http->config.user, &(server_log_entry){.method = *method ? method : "-",
                                                                  .path = *path ? path : "-",
                                                                  .id = x->id,
                                                                  .traceparent = x->traceparent,
                                                                  .status = x->status,
                                                                  .seconds = server_seconds() - x->arrived,
                                                                  .prompt_tokens = x->prompt_tokens,
                                                                  .output_tokens = x->output_tokens,
                                                                  .cached = x->cached});
}

/* One reply less is unsent. When none is left after server_http_refuse(), whoever waits for that is told. */
static void count_sent(server_http *h) {
    h->unsent--;
    if (h->refusing && h->unsent == 0) server_http_wake(h);
}

/* The connection is closed before the reply was sent. */
static void on_close(struct evhttp_connection *connection, void *user) {
    server_exchange *x = user;
    (void)connection;
    if (!x->replied) {
        x->status = 499;
        log_end(x);
        if (x->gone) x->gone(x->user);
        evhttp_request_free(x->request); /* evhttp has left the request to its handler */
    }
    count_sent(x->http);
    free(x);
}

/* The reply was sent: the connection may bring the next request. */
static void on_complete(struct evhttp_request *request, void *user) {
    server_exchange *x = user;
    server_http *h = x->http;
    const struct timeval t = time_of(h->config.timeout_s);
    struct evhttp_connection *connection = evhttp_request_get_connection(request);
    evhttp_connection_set_closecb(connection, NULL, NULL);
    bufferevent_set_timeouts(stream_of(x), &t, &t);
    bufferevent_setwatermark(stream_of(x), EV_READ, 0, 0);
    count_sent(h);
    free(x);
}

/* See whether the client leaves, and keep what it sends meanwhile for the next request. */
static void watch(const server_exchange *x) {
    bufferevent_data_cb on_read, on_write;
    bufferevent_event_cb on_event;
    void *arg;
    const struct timeval t = time_of(x->http->config.timeout_s);
    struct bufferevent *stream = stream_of(x);
    bufferevent_getcb(stream, &on_read, &on_write, &on_event, &arg);
    bufferevent_setcb(stream, NULL, on_write, on_event, arg);
    bufferevent_setwatermark(stream, EV_READ, 0, PIPELINED_MAX);
    bufferevent_set_timeouts(stream, NULL, &t);
    bufferevent_enable(stream, EV_READ);
}

/* The client's id if it is printable, else a random one. */
static void choose_id(server_exchange *x) {
    const char *given = server_header(x, "X-Request-Id");
    uint64_t random[2] = {0, 0};
    size_t n = given ? strlen(given) : 0;
    for (size_t i = 0; i < n; i++)
        if (given[i] < ' ' || given[i] > '~') n = 0;
    while (getrandom(random, sizeof random, 0) < 0 && errno == EINTR) {
    }
    if (n)
        snprintf(x->id, sizeof x->id, "%s", given);
    else
        snprintf(x->id, sizeof x->id, "%016llx%016llx", (unsigned long long)random[0],
                 (unsigned long long)random[1]);
}

/* 00-{32 hexadecimal digits}-{16}-{2}, which https://www.w3.org/TR/trace-context/ calls version 00. */
static bool is_traceparent(const char *t) {
    if (!t || strlen(t) != TRACEPARENT || strncmp(t, "00-", 3) != 0) return false;
    for (size_t i = 3; i < TRACEPARENT; i++)
        if (i == 35 || i == 52 ? t[i] != '-' : !strchr("0123456789abcdef", t[i])) return false;
    return strspn(t + 3, "0") < 32 && strspn(t + 36, "0") < 16;
}

/* The reply says which request it answers. */
static void identify(server_exchange *x) {
    const char *trace = server_header(x, "traceparent");
    choose_id(x);
    server_set_header(x, "X-Request-Id", x->id);
    if (!is_traceparent(trace)) return;
    memcpy(x->traceparent, trace, TRACEPARENT);
    server_set_header(x, "traceparent", x->traceparent);
}

/* evhttp's reply has an id and a line of the log too. */
static void log_error(struct evhttp_request *request, int status) {
    server_exchange x = {.http = looping, .request = request, .status = status, .arrived = server_seconds()};
    if (!looping) return;
    identify(&x);
    log_end(&x);
}

/* Takes the place of libevent's function of that name, which libevent calls too. */
__attribute__((visibility("default"))) void evhttp_send_error(struct evhttp_request *request, int status,
                                                              const char *reason) {
    static const struct {
        int status;
        const char *type, *message;
    } errors[] = {
        {400, "Bad Request", "the request is not HTTP, or the headers are too long"},
        {413, "Request Entity Too Large", "the body is too long, or the size of a chunk is no number"},
        {405, "Method Not Allowed", "Method Not Allowed"},
        {503, "ServiceUnavailableError", "no memory for the request"}};
    const char *type = "Bad Request", *message = "the server cannot read this request";
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    struct evbuffer *body = evbuffer_new();
    if (status == HTTP_NOTIMPLEMENTED) status = HTTP_BADMETHOD; /* no fault of the server */
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].status != status) continue;
        type = errors[i].type;
        message = errors[i].message;
    }
    if (!request->major) request->major = request->minor = 1; /* the first line was not understood */
    evhttp_clear_headers(headers);
    evhttp_add_header(headers, "Content-Type", "application/json");
    evhttp_add_header(headers, "Connection", "close");
    log_error(request, status);
    if (body)
        evbuffer_add_printf(body,
                            "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":%d}}",
                            message, type, status);
    evhttp_send_reply(request, status, reason, body);
    if (body) evbuffer_free(body);
}

static void on_request(struct evhttp_request *request, void *user) {
    server_http *h = user;
    const int one = 1;
    server_exchange *x = calloc(1, sizeof *x);
    if (!x) return evhttp_send_error(request, 503, NULL);
    x->http = h;
    x->request = request;
    x->arrived = server_seconds();
    h->unsent++;
    setsockopt(bufferevent_getfd(stream_of(x)), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_close, x);
    evhttp_request_set_on_complete_cb(request, on_complete, x);
    watch(x);
    identify(x);
    h->config.on_request(h->config.user, x);
}

/* ---- the request -------------------------------------------------------------- */

const char *server_method(const server_exchange *x) {
    static const struct {
        enum evhttp_cmd_type type;
        const char *name;
    } names[] = {{EVHTTP_REQ_GET, "GET"},         {EVHTTP_REQ_POST, "POST"}, {EVHTTP_REQ_HEAD, "HEAD"},
                 {EVHTTP_REQ_OPTIONS, "OPTIONS"}, {EVHTTP_REQ_PUT, "PUT"},   {EVHTTP_REQ_DELETE, "DELETE"},
                 {EVHTTP_REQ_PATCH, "PATCH"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (evhttp_request_get_command(x->request) == names[i].type) return names[i].name;
    return "";
}

const char *server_path(const server_exchange *x) {
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(x->request);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    return path ? path : "";
}

char *server_decode(const char *text) {
    size_t n = 0;
    char *decoded = evhttp_uridecode(text, 0, &n);
    if (!decoded || strlen(decoded) == n) return decoded;
    free(decoded);
    return NULL;
}

const char *server_header(const server_exchange *x, const char *name) {
    return evhttp_find_header(evhttp_request_get_input_headers(x->request), name);
}

const char *server_body(server_exchange *x, size_t *len) {
    struct evbuffer *body = evhttp_request_get_input_buffer(x->request);
    *len = evbuffer_get_length(body);
    const char *bytes = *len ? (const char *)evbuffer_pullup(body, -1) : "";
    if (!bytes) *len = 0;
    return bytes ? bytes : "";
}

const char *server_request_id(const server_exchange *x) { return x->id; }
const char *server_peer(const server_exchange *x) {
    char *address = NULL;
    uint16_t port;
    evhttp_connection_get_peer(evhttp_request_get_connection(x->request), &address, &port);
    return address ? address : "";
}

double server_arrived(const server_exchange *x) { return x->arrived; }

void server_count_tokens(server_exchange *x, size_t prompt, size_t output, size_t cached) {
    x->prompt_tokens = prompt;
    x->output_tokens = output;
    x->cached = cached;
}

void server_when_gone(server_exchange *x, void (*gone)(void *user), void *user) {
    x->gone = gone;
    x->user = user;
}

/* ---- the reply ------------------------------------------------------------------ */

void server_set_header(server_exchange *x, const char *name, const char *value) {
    struct evkeyvalq *headers = evhttp_request_get_output_headers(x->request);
    evhttp_remove_header(headers, name);
    evhttp_add_header(headers, name, value);
}

static void begin(server_exchange *x, int status, const char *type) {
    x->status = status;
    if (type) server_set_header(x, "Content-Type", type);
    if (x->http->refusing) server_set_header(x, "Connection", "close");
}

/* From here on x belongs to on_close() and on_complete(). */
static void finish(server_exchange *x) {
    x->replied = true;
    log_end(x);
}

void server_reply(server_exchange *x, int status, const char *type, const char *body, size_t len) {
    struct evbuffer *bytes = evbuffer_new();
    begin(x, status, type ? type : "text/plain");
    if (bytes) evbuffer_add(bytes, body, len);
    finish(x);
    evhttp_send_reply(x->request, status, NULL, bytes);
    if (bytes) evbuffer_free(bytes);
}

void server_stream_begin(server_exchange *x, const char *type) {
    begin(x, 200, type);
    server_set_header(x, "Cache-Control", "no-cache");
    server_set_header(x, "X-Accel-Buffering", "no"); /* nginx must not collect the stream */
    evhttp_send_reply_start(x->request, 200, "OK");
}

bool server_stream_write(server_exchange *x, const char *bytes, size_t n) {
    struct evbuffer *piece = evbuffer_new();
    if (piece) evbuffer_add(piece, bytes, n);
    if (piece) evhttp_send_reply_chunk(x->request, piece);
    if (piece) evbuffer_free(piece);
    if (piece && evbuffer_get_length(bufferevent_get_output(stream_of(x))) <= x->http->config.output_max)
        return true;
    struct evhttp_connection *connection = evhttp_request_get_connection(x->request);
    x->status = 499;
    log_end(x);
    count_sent(x->http);
    evhttp_connection_set_closecb(connection, NULL, NULL);
    evhttp_connection_free(connection); /* and the request with it */
    free(x);
    return false;
}

void server_stream_end(server_exchange *x) {
    finish(x);
    evhttp_send_reply_end(x->request);
}
