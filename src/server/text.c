/* text.c - see text.h. */
#include "server/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Make room for n more bytes and the NUL. */
static bool reserve(server_text *t, size_t n) {
    if (t->oom) return false;
    if (n < t->cap - t->len) return true;
    size_t cap = t->cap ? t->cap : 64;
    while (cap - t->len <= n) cap *= 2;
    char *data = realloc(t->data, cap);
    t->oom = !data;
    if (!data) return false;
    t->data = data;
    t->cap = cap;
    return true;
}

void server_add(server_text *t, const char *bytes, size_t n) {
    if (!reserve(t, n)) return;
    if (n) memcpy(t->data + t->len, bytes, n);
    t->len += n;
    t->data[t->len] = '\0';
}

void server_puts(server_text *t, const char *s) { server_add(t, s, strlen(s)); }

void server_printf(server_text *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !reserve(t, (size_t)n)) return;
    va_start(ap, fmt);
    vsnprintf(t->data + t->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    t->len += (size_t)n;
}

static void add_escaped(server_text *t, unsigned char c) {
    static const char names[] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    if (c == '"' || c == '\\')
        server_printf(t, "\\%c", c);
    else if (c < sizeof names && names[c])
        server_printf(t, "\\%c", names[c]);
    else
        server_printf(t, "\\u%04x", c);
}

void server_json(server_text *t, const char *bytes, size_t n) {
    server_add(t, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        if (c >= 32 && c != '"' && c != '\\') continue;
        server_add(t, bytes + from, i - from);
        add_escaped(t, c);
        from = i + 1;
    }
    server_add(t, bytes + from, n - from);
    server_add(t, "\"", 1);
}

void server_json_puts(server_text *t, const char *s) {
    if (s)
        server_json(t, s, strlen(s));
    else
        server_puts(t, "null");
}

void server_json_logprob(server_text *t, float x) {
    if (isfinite(x))
        server_printf(t, "%.9g", (double)x);
    else
        server_puts(t, "-9999.0");
}

void server_text_clear(server_text *t) { t->len = 0; }

void server_text_free(server_text *t) {
    free(t->data);
    *t = (server_text){0};
}
