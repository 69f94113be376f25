/* err.c - see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Drop the UTF-8 sequence at the end if vsnprintf cut it. */
static void trim_partial(char *s) {
    size_t n = strlen(s), back = 0;
    while (back < n && back < 3 && ((unsigned char)s[n - 1 - back] & 0xc0) == 0x80) back++;
    if (back >= n) return;
    const unsigned char lead = (unsigned char)s[n - 1 - back];
    const size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (want > back + 1) s[n - 1 - back] = '\0';
}

/* Length of the character at `p`; 0 for a control character or bytes that are not UTF-8. */
static int printable(const unsigned char *p) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const int n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    uint32_t c = n > 1 ? *p & (0x7fu >> n) : *p;
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0), surrogate = c >= 0xd800 && c < 0xe000;
    return control || surrogate || c < least[n] || c > 0x10ffff ? 0 : n;
}

void glia_one_line(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p;) {
        const int n = printable(p);
        if (n == 0) *p = '?';
        p += n ? n : 1;
    }
}

glia_status glia_fail(glia_err *err, glia_status status, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        const int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        if (n >= (int)sizeof err->msg) trim_partial(err->msg);
        glia_one_line(err->msg);
        err->status = status;
    }
    return status;
}

glia_status glia_fail_nomem(glia_err *err, size_t bytes, const char *what) {
    return glia_fail(err, GLIA_ERR_NOMEM, "no memory: %zu bytes for %s", bytes, what);
}
