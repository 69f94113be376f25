/* output.h - the text of one request: tokens become characters, stop strings end the
 * text, and thinking is separated from content.
 *
 * A stop string is found even if it spans tokens, and the text ends before it. If
 * several stop strings match, the one that ends first counts, then the longest, so
 * the answer does not depend on how tokens cut the text. Only text that may be the
 * beginning of a stop string is held back. */
#ifndef GLIA_ENGINE_OUTPUT_H
#define GLIA_ENGINE_OUTPUT_H

#include "text/detok.h"
#include "text/parse.h"

typedef struct {
    const char *const *stop; /* [n_stop] not empty */
    size_t n_stop;
    bool include_stop; /* the stop string is part of the text */
    bool keep_special; /* special tokens are part of the text */
    bool raw;          /* leave thinking and its tags in the text */
    glia_detok detok;
    glia_parse parse;
    char *text;             /* [glia_output_room()] */
    size_t held;            /* bytes of `text` that are held back */
    const char *stopped_by; /* the stop string that was found, or NULL */
} glia_output;

/* Bytes of glia_output.text. */
size_t glia_output_room(const glia_tokenizer *t, const char *const *stop, size_t n_stop);

/* Begin an output whose stop, n_stop, include_stop, keep_special, raw and text are set. `thinking`: the
 * prompt ends inside <think>. */
void glia_output_begin(glia_output *o, const glia_tokenizer *t, bool thinking);

/* Add a token (-1: none) and emit the text that can be shown now. `may_stop`: look for
 * stop strings that end in this token's text. `last`: no token follows, so nothing is
 * held back. Returns true if a stop string was found (stopped_by); then the text is
 * complete as well. */
bool glia_output_push(glia_output *o, int32_t token, bool may_stop, bool last, glia_piece_fn *emit,
                      void *user);

#endif
