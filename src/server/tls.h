/* tls.h - TLS for connections of the server. A build has one of two files: tls_openssl.c, or tls_none.c,
 * which refuses. */
#ifndef GLIA_SERVER_TLS_H
#define GLIA_SERVER_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct bufferevent;
struct event_base;

typedef struct server_tls server_tls;

/* Read a certificate chain and its private key, both PEM. On failure *out is NULL, and `why` [cap] says why.
 */
bool server_tls_open(server_tls **out, const char *certificate, const char *key, char *why, size_t cap);
/* NULL is fine. */
void server_tls_free(server_tls *t);
/* The stream of a connection that will be accepted; NULL: no memory. */
struct bufferevent *server_tls_stream(server_tls *t, struct event_base *base);

#endif
