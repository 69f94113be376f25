/* tls_none.c - tls.h in a build without OpenSSL. */
#include "server/tls.h"

#include <stdio.h>

bool server_tls_open(server_tls **out, const char *certificate, const char *key, char *why, size_t cap) {
    (void)certificate;
    (void)key;
    *out = NULL;
    snprintf(why, cap,
             "this build has no TLS: install libevent-dev and libssl-dev and build again, or put a proxy in "
             "front");
    return false;
}

void server_tls_free(server_tls *t) { (void)t; }

struct bufferevent *server_tls_stream(server_tls *t, struct event_base *base) {
    (void)t;
    (void)base;
    return NULL;
}
