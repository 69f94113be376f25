/* detok.c - see detok.h. */
#include "text/detok.h"

#include <string.h>

#include "text/unicode.h"

void glia_detok_init(glia_detok *d, const glia_tokenizer *t, bool skip_special) {
    memset(d, 0, sizeof *d);
    d->tokenizer = t;
    d->skip_special = skip_special;
}

size_t glia_detok_room(const glia_tokenizer *t) { return 3 * glia_tokenizer_longest(t) + 3; }

static size_t put_replacement(char *out) {
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

size_t glia_detok_push_bytes(glia_detok *d, const char *bytes, size_t n, char *out) {
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char byte = (unsigned char)bytes[i];
        unsigned next = glia_utf8_step(d->state, byte);
        if (next == GLIA_UTF8_REJECT && d->state != GLIA_UTF8_ACCEPT) { /* `byte` may begin a character */
            written += glia_detok_finish(d, out + written);
            next = glia_utf8_step(GLIA_UTF8_ACCEPT, byte);
        }
        if (next == GLIA_UTF8_REJECT) {
            written += put_replacement(out + written);
        } else if (next != GLIA_UTF8_ACCEPT) {
            d->held[d->n++] = (char)byte;
            d->state = (unsigned char)next;
        } else {
            memcpy(out + written, d->held, d->n);
            written += d->n;
            out[written++] = (char)byte;
            d->state = d->n = 0;
        }
    }
    return written;
}

size_t glia_detok_push(glia_detok *d, int32_t id, char *out) {
    size_t n;
    const char *bytes = glia_tokenizer_bytes(d->tokenizer, id, &n);
    if (!bytes || (d->skip_special && glia_tokenizer_is_special(d->tokenizer, id))) return 0;
    return glia_detok_push_bytes(d, bytes, n, out);
}

size_t glia_detok_finish(glia_detok *d, char *out) {
    const size_t n = d->n ? put_replacement(out) : 0;
    d->state = d->n = 0;
    return n;
}
