/* tls_openssl.c - tls.h by OpenSSL and libevent's bufferevent_openssl. TLS 1.2 and 1.3. */
#include "server/tls.h"

#include <stdio.h>
#include <stdlib.h>

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

struct server_tls {
    SSL_CTX *context;
};

/* The reason of OpenSSL's last error. */
static bool fail(const char *file, const char *wanted, char *why, size_t cap) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    snprintf(why, cap, "%s: no %s in PEM form: %s", file, wanted, reason ? reason : "it cannot be read");
    ERR_clear_error();
    return false;
}

static bool load(server_tls *t, const char *certificate, const char *key, char *why, size_t cap) {
    snprintf(why, cap, "no memory for TLS");
    t->context = SSL_CTX_new(TLS_server_method());
    if (!t->context) return false;
    SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION);
    SSL_CTX_set_mode(t->context, SSL_MODE_RELEASE_BUFFERS); /* of connections that wait */
    if (SSL_CTX_use_certificate_chain_file(t->context, certificate) != 1)
        return fail(certificate, "certificate", why, cap);
    if (SSL_CTX_use_PrivateKey_file(t->context, key, SSL_FILETYPE_PEM) != 1)
        return fail(key, "private key that fits the certificate", why, cap);
    if (SSL_CTX_check_private_key(t->context) != 1)
        return fail(key, "private key that fits the certificate", why, cap);
    return true;
}

bool server_tls_open(server_tls **out, const char *certificate, const char *key, char *why, size_t cap) {
    *out = NULL;
    server_tls *t = calloc(1, sizeof *t);
    if (!t) return snprintf(why, cap, "no memory for TLS"), false;
    if (load(t, certificate, key, why, cap)) {
        *out = t;
        return true;
    }
    server_tls_free(t);
    return false;
}

void server_tls_free(server_tls *t) {
    if (!t) return;
    SSL_CTX_free(t->context);
    free(t);
}

struct bufferevent *server_tls_stream(server_tls *t, struct event_base *base) {
    SSL *ssl = SSL_new(t->context);
    if (!ssl) return NULL;
    struct bufferevent *stream =
        bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (!stream) SSL_free(ssl);
    if (stream) bufferevent_openssl_set_allow_dirty_shutdown(stream, 1); /* many clients just close */
    return stream;
}
