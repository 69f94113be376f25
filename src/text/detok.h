/* detok.h - streaming decoder from token ids to text in whole characters.
 *
 * The pieces, joined, equal the decoding of all ids at once, wherever tokens split
 * a character. Nothing is allocated: each piece goes to the caller's buffer.
 * Source: tokenizers' ByteLevel decoder and Rust's String::from_utf8_lossy. A
 * maximal prefix of a character that cannot continue becomes one U+FFFD (Unicode
 * 3.9, "substitution of maximal subparts"). */
#ifndef GLIA_TEXT_DETOK_H
#define GLIA_TEXT_DETOK_H

#include "text/tokenizer.h"

typedef struct {
    const glia_tokenizer *tokenizer;
    bool skip_special;
    unsigned char state; /* of glia_utf8_step() */
    unsigned char n;     /* bytes in held[] */
    char held[3];        /* the bytes of an unfinished character */
} glia_detok;

/* With `skip_special`, special added tokens give no text. */
void glia_detok_init(glia_detok *d, const glia_tokenizer *t, bool skip_special);

/* The most bytes that one glia_detok_push() writes: every byte of the longest token
 * may become U+FFFD, which has three bytes. */
size_t glia_detok_room(const glia_tokenizer *t);

/* Write the characters that token `id` completes to `out` [glia_detok_room()].
 * Returns the number of bytes written. */
size_t glia_detok_push(glia_detok *d, int32_t id, char *out);
/* The same for `n` bytes instead of a token; `out` needs 3 * n + 3 bytes. */
size_t glia_detok_push_bytes(glia_detok *d, const char *bytes, size_t n, char *out);
/* End the text: an unfinished character becomes U+FFFD. Writes at most 3 bytes and
 * returns how many. Then *d can decode another text. */
size_t glia_detok_finish(glia_detok *d, char *out);

#endif
