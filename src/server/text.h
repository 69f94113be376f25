/* text.h - a growable byte string whose failures are sticky, and JSON written into it.
 *
 * After a failed allocation `oom` is set and appending does nothing, so a caller checks once, at the end.
 * `data` is NUL-terminated unless it is NULL. Zero the struct before use and release it with
 * server_text_free(). One thread at a time. */
#ifndef GLIA_SERVER_TEXT_H
#define GLIA_SERVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *data;
    size_t len, cap;
    bool oom;
} server_text;

void server_add(server_text *t, const char *bytes, size_t n);
void server_puts(server_text *t, const char *s);
__attribute__((format(printf, 2, 3))) void server_printf(server_text *t, const char *fmt, ...);
/* Append n bytes of UTF-8 as a JSON string, quotes included. */
void server_json(server_text *t, const char *bytes, size_t n);
/* The same for a string that ends in NUL; NULL becomes null. */
void server_json_puts(server_text *t, const char *s);
/* Append a log-probability: the shortest 9 digits that give the float back; -9999.0 for minus infinity. */
void server_json_logprob(server_text *t, float x);
/* Make it empty and keep its memory. */
void server_text_clear(server_text *t);
void server_text_free(server_text *t);

#endif
