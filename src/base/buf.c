/* buf.c - see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool glia_buf_reserve(glia_buf *b, size_t n) {
    if (b->oom || n >= SIZE_MAX / 2 - b->len) {
        b->oom = true;
        return false;
    }
    if (b->len + n + 1 <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < b->len + n + 1) cap *= 2;
    char *grown = realloc(b->data, cap);
    if (!grown) {
        b->oom = true;
        return false;
    }
    b->data = grown;
    b->cap = cap;
    b->data[b->len] = '\0';
    return true;
}

void glia_buf_add(glia_buf *b, const char *bytes, size_t n) {
    if (!glia_buf_reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void glia_buf_puts(glia_buf *b, const char *s) { glia_buf_add(b, s, strlen(s)); }

void glia_buf_putc(glia_buf *b, char c) { glia_buf_add(b, &c, 1); }

void glia_buf_printf(glia_buf *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && glia_buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

char *glia_buf_steal(glia_buf *b) {
    char *data = NULL;
    if (!b->oom && glia_buf_reserve(b, 0)) {
        data = b->data;
        b->data = NULL;
    }
    glia_buf_free(b);
    return data;
}

void glia_buf_free(glia_buf *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}
