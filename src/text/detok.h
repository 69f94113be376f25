/* detok.h - ids to text one at a time: never half a character, never one lost.
 *
 * The pieces put together equal the decoding of all ids at once, however the
 * bytes are cut. Nothing is allocated: the caller's buffer takes each piece.
 * Source: tokenizers' ByteLevel decoder and Rust's String::from_utf8_lossy: each
 * longest start of a character that cannot go on becomes one U+FFFD (Unicode
 * 3.9, "substitution of maximal subparts"). */
#ifndef GLIA_TEXT_DETOK_H
#define GLIA_TEXT_DETOK_H

#include "text/tokenizer.h"

typedef struct {
    const glia_tokenizer *tokenizer;
    bool skip_special;
    unsigned char state, n; /* of the decoder; bytes of the unfinished character */
    char held[3];
} glia_detok;

/* `skip_special` leaves out added tokens marked special. */
void glia_detok_init(glia_detok *d, const glia_tokenizer *t, bool skip_special);

/* Room that one glia_detok_push() may need, in bytes: each byte may become U+FFFD's three. */
size_t glia_detok_room(const glia_tokenizer *t);

/* Write the characters that are now certain to `out`; returns their bytes. */
size_t glia_detok_push(glia_detok *d, int32_t id, char *out);
/* The same for bytes, which need room for 3 * n + 3. */
size_t glia_detok_push_bytes(glia_detok *d, const char *bytes, size_t n, char *out);
/* The end: what is held becomes U+FFFD. At most 3 bytes. Ready for a new text after. */
size_t glia_detok_finish(glia_detok *d, char *out);

#endif
