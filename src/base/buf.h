/* buf.h - a growable byte string whose failures are sticky.
 *
 * Append freely and ask once at the end: after a failed allocation every append
 * does nothing and `oom` stays set. `data` is NUL-terminated whenever non-NULL.
 * Zero-initialise; release with glia_buf_free(). */
#ifndef GLIA_BASE_BUF_H
#define GLIA_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *data;
    size_t len, cap;
    bool oom;
} glia_buf;

void glia_buf_add(glia_buf *b, const char *bytes, size_t n);
void glia_buf_puts(glia_buf *b, const char *s);
void glia_buf_putc(glia_buf *b, char c);
__attribute__((format(printf, 2, 3))) void glia_buf_printf(glia_buf *b, const char *fmt, ...);
/* Room for n more bytes and the NUL, or false with oom set. */
bool glia_buf_reserve(glia_buf *b, size_t n);
/* The bytes, owned by the caller, NUL-terminated; NULL when out of memory. *b is empty after. */
char *glia_buf_steal(glia_buf *b);
void glia_buf_free(glia_buf *b);

#endif
