/* buf.h - a growable byte string whose failures are sticky.
 *
 * After a failed allocation `oom` is set and appending does nothing, so a caller
 * checks once, at the end. `data` is NUL-terminated unless it is NULL. Zero the
 * struct before use and release it with glia_buf_free(). One thread at a time. */
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
/* Make room for n more bytes and the NUL. Returns false and sets `oom` without memory. */
bool glia_buf_reserve(glia_buf *b, size_t n);
/* Hand the NUL-terminated bytes to the caller, who frees them, and empty *b. NULL if
 * memory ran out. */
char *glia_buf_steal(glia_buf *b);
void glia_buf_free(glia_buf *b);

#endif
