/* http.h - for tests of `glia serve`: start and stop it, and a small HTTP client over loopback. */
#ifndef GLIA_TEST_HTTP_H
#define GLIA_TEST_HTTP_H

#include "cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* ---- the server ------------------------------------------------------------------ */

typedef struct {
    pid_t pid;
    int port;
    int err;          /* reads its standard error */
    char said[65536]; /* what was read of it */
} served;

static inline void serve_begin(served *s, const char *args) {
    char line[512], *argv[ARGS_MAX];
    int both[2];
    *s = (served){0};
    snprintf(line, sizeof line, "serve %s --port 0", args);
    split(line, argv);
    assert_int_equal(pipe2(both, O_CLOEXEC), 0);
    s->pid = fork();
    if (s->pid == 0) {
        dup2(both[1], 2);
        for (int fd = 3; fd < 1024; fd++)
            close(fd); /* of a shell: the server would count them as connections */
        check_exec((const char *const *)argv);
    }
    close(both[1]);
    s->err = both[0];
    if (!wait_for(s->err, s->said, sizeof s->said, "at once")) fail_msg("no server: %s", s->said);
    assert_int_equal(sscanf(strstr(s->said, "127.0.0.1:") + 10, "%d", &s->port), 1);
}

/* Wait for its end; the exit status. */
static inline int serve_wait(served *s) {
    int status;
    wait_for(s->err, s->said, sizeof s->said, "(reads to the end)");
    waitpid(s->pid, &status, 0);
    close(s->err);
    return decode(status);
}

static inline int serve_end(served *s) {
    kill(s->pid, SIGTERM);
    return serve_wait(s);
}

/* ---- the client ------------------------------------------------------------------ */

static inline int http_connect(int port) {
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval patience = {.tv_sec = 600};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0) return fd;
    close(fd);
    return -1;
}

/* Send all; false if the other side has closed. */
static inline bool http_write(int fd, const char *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        const ssize_t k = send(fd, bytes + done, n - done, MSG_NOSIGNAL);
        if (k <= 0) return false;
        done += (size_t)k;
    }
    return true;
}

/* Begin a request that closes its connection; `headers` are lines with \r\n. */
static inline int http_begin(int port, const char *method, const char *path, const char *headers,
                             const char *body, size_t len) {
    char head[2048];
    const int fd = http_connect(port);
    if (fd < 0) return fd;
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s",
                     method, path, headers);
    if (body) n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", len);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    http_write(fd, head, (size_t)n);
    if (body) http_write(fd, body, len);
    return fd;
}

typedef struct {
    int status; /* 0: no reply */
    char *raw;  /* all that came */
    char *body; /* [len] without the marks of chunks; within raw */
    size_t len;
    bool whole; /* all that the headers announce has come */
} http_reply;

/* Join the chunks in place. Returns whether the last one has come. */
static inline bool http_join(http_reply *r, size_t n) {
    char *from = r->body, *end = r->body + n;
    r->len = 0;
    while (from < end) {
        char *data;
        const size_t size = strtoul(from, &data, 16);
        if (data == from || size == 0) return data != from;
        data += 2;
        if (data + size > end) return false;
        memmove(r->body + r->len, data, size);
        r->len += size;
        r->body[r->len] = '\0'; /* before the marks of the next chunk, which begin later */
        from = data + size + 2;
    }
    return false;
}

/* Read the reply to the end of the connection, and close it. */
static inline http_reply http_end(int fd) {
    http_reply r = {0};
    size_t n = 0, cap = 0;
    for (ssize_t got = 1; got > 0; n += got > 0 ? (size_t)got : 0) {
        if (n + 65536 > cap) r.raw = realloc(r.raw, (cap = 2 * cap + 65537) + 1);
        assert_non_null(r.raw);
        do got = recv(fd, r.raw + n, 65536, 0);
        while (got < 0 && errno == EINTR); /* a process that was stopped and continues */
    }
    close(fd);
    r.raw[n] = '\0';
    char *body = strstr(r.raw, "\r\n\r\n");
    if (!body || sscanf(r.raw, "HTTP/1.%*d %d", &r.status) != 1) return r;
    r.body = body + 4;
    r.len = n - (size_t)(r.body - r.raw);
    body[2] = '\0';
    const char *length = strcasestr(r.raw, "\r\nContent-Length:");
    r.whole = !length || strtoul(length + 17, NULL, 10) == r.len;
    if (strcasestr(r.raw, "\r\nTransfer-Encoding: chunked")) r.whole = http_join(&r, r.len);
    return r;
}

static inline void http_free(http_reply *r) {
    free(r->raw);
    *r = (http_reply){0};
}

static const char http_json[] = "Content-Type: application/json\r\n";

static inline http_reply http_post(int port, const char *path, const char *body) {
    return http_end(http_begin(port, "POST", path, http_json, body, strlen(body)));
}

static inline http_reply http_get(int port, const char *path) {
    return http_end(http_begin(port, "GET", path, "", NULL, 0));
}

/* Post and parse the answer, which must have status 200. The caller owns it. */
static inline json_t *http_answer(int port, const char *path, const char *body) {
    http_reply r = http_post(port, path, body);
    CHECK(r.status == 200, "%s %s: %d %s", path, body, r.status, r.body ? r.body : "");
    json_t *root = json_loadb(r.body ? r.body : "", r.len, 0, NULL);
    assert_non_null(root);
    http_free(&r);
    return root;
}

/* The events of a stream as [{"event": its name or null, "data": JSON}, ...], without [DONE] and comments.
 * The caller owns the list. */
static inline json_t *http_events(const http_reply *r) {
    json_t *list = json_array();
    const char *at = r->body ? r->body : "";
    while (*at) {
        const char *end = strstr(at, "\n\n");
        CHECK(end != NULL, "an event without an end: %.80s", at);
        if (!end) break;
        const char *data = strncmp(at, "data: ", 6) == 0 ? at : strstr(at, "\ndata: ");
        char name[100] = "";
        sscanf(at, "event: %99[^\n]", name);
        if (data && *data == '\n') data++;
        if (data && data < end && strncmp(data, "data: [DONE]", 12) != 0) {
            json_t *value = json_loadb(data + 6, (size_t)(end - data) - 6, JSON_ALLOW_NUL, NULL);
            CHECK(value != NULL, "no JSON: %.80s", data);
            json_array_append_new(list, json_pack("{s:s?, s:o}", "event", *name ? name : NULL, "data",
                                                  value ? value : json_null()));
        }
        at = end + 2;
    }
    return list;
}

/* The value at a path such as "choices.0.text"; NULL: there is none. */
static inline json_t *http_at(const json_t *root, const char *path) {
    while (root && *path) {
        char key[80];
        const size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        root =
            json_is_array(root) ? json_array_get(root, strtoul(key, NULL, 10)) : json_object_get(root, key);
        path += n + (path[n] == '.');
    }
    return (json_t *)(uintptr_t)root;
}
static inline const char *http_text(const json_t *root, const char *path) {
    const char *text = json_string_value(http_at(root, path));
    return text ? text : "";
}

/* Sequences that wait or run. */
static inline int http_load(int port) {
    http_reply r = http_get(port, "/load");
    int n = -1;
    CHECK(r.status == 200 && sscanf(r.body, "{\"server_load\":%d}", &n) == 1, "/load: %d", r.status);
    http_free(&r);
    return n;
}

/* Wait until so many sequences wait or run; false after 600 s: the machine may be loaded. */
static inline bool http_wait_load(int port, int n) {
    const double until = check_seconds() + 600;
    while (http_load(port) != n) {
        if (check_seconds() > until) return false;
        usleep(5000);
    }
    return true;
}

#endif
