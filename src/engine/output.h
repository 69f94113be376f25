/* output.h - one request's way from tokens to what its user sees: characters,
 * then stop strings, then thinking apart from content.
 *
 * A stop string is found wherever tokens cut it, and ends the text at its first
 * byte. Of several the one that ends first counts, then the longest; so the
 * answer does not depend on how the text was cut into tokens. Only text that
 * may be the beginning of a stop string is held back. */
#ifndef GLIA_ENGINE_OUTPUT_H
#define GLIA_ENGINE_OUTPUT_H

#include "text/detok.h"
#include "text/parse.h"

typedef struct {
    const char *const *stop; /* [n_stop] not empty */
    size_t n_stop;
    bool include_stop; /* the stop string is part of the text */
    bool raw;          /* leave thinking and its tags in the text */
    glia_detok detok;
    glia_parse parse;
    char *text; /* [glia_output_room()] */
    size_t held;
    const char *stopped_by;
} glia_output;

/* Bytes of glia_output.text. */
size_t glia_output_room(const glia_tokenizer *t, const char *const *stop, size_t n_stop);

/* stop, n_stop, include_stop, raw and text are set; `thinking`: the prompt ends inside <think>. */
void glia_output_begin(glia_output *o, const glia_tokenizer *t, bool thinking);

/* Emit what the next token lets be seen; token -1 adds nothing. `may_stop`:
 * look for stop strings that end in it. `last`: no token follows, hold nothing
 * back. True when a stop string was found, named by stopped_by; then the text
 * is complete as well. */
bool glia_output_push(glia_output *o, int32_t token, bool may_stop, bool last, glia_piece_fn *emit,
                      void *user);

#endif
