/* err.c - see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drop a UTF-8 sequence that vsnprintf cut in the middle. */
static void trim_partial(char *s) {
    size_t n = strlen(s), back = 0;
    while (back < n && back < 3 && ((unsigned char)s[n - 1 - back] & 0xc0) == 0x80) back++;
    if (back >= n) return;
    const unsigned char lead = (unsigned char)s[n - 1 - back];
    const size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (want > back + 1) s[n - 1 - back] = '\0';
}

glia_status glia_fail(glia_err *err, glia_status status, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        const int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        if (n >= (int)sizeof err->msg) trim_partial(err->msg);
        err->status = status;
    }
    return status;
}

glia_status glia_fail_nomem(glia_err *err, size_t bytes, const char *what) {
    return glia_fail(err, GLIA_ERR_NOMEM, "no memory: %zu bytes for %s", bytes, what);
}
