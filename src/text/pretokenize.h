/* pretokenize.h - splits text into the words that BPE encodes one by one.
 *
 * The split is a pipeline: each step splits every piece that the previous step made.
 * Source: Hugging Face tokenizers 0.22, pre_tokenizers/{split,byte_level}.rs
 * and NormalizedString::split. */
#ifndef GLIA_TEXT_PRETOKENIZE_H
#define GLIA_TEXT_PRETOKENIZE_H

#include "text/regex.h"

typedef enum {
    GLIA_SPLIT_REMOVED, /* matches are dropped */
    GLIA_SPLIT_ISOLATED,
    GLIA_SPLIT_MERGED_WITH_PREVIOUS,
    GLIA_SPLIT_MERGED_WITH_NEXT,
    GLIA_SPLIT_CONTIGUOUS, /* adjacent matches are one piece */
} glia_split_behavior;

typedef struct {
    glia_regex *regex; /* owned; NULL: put a space before each piece that does not begin with one */
    glia_split_behavior behavior;
    bool invert; /* the text between matches counts as the match */
} glia_split_step;

enum { GLIA_SPLIT_STEPS_MAX = 16 };

typedef struct {
    glia_split_step step[GLIA_SPLIT_STEPS_MAX];
    int n;
} glia_pretokenizer;

void glia_pretokenizer_free(glia_pretokenizer *p);

/* Receives one word, len > 0, valid during the call. A failure ends
 * glia_pretokenize(), which returns it. */
typedef glia_status glia_word_fn(void *user, const char *word, size_t len, glia_err *err);

/* Split valid UTF-8 text and pass each word to `fn`. Threads may share *p; each
 * needs its own *m. Errors: GLIA_ERR_LIMIT (see regex.h), GLIA_ERR_NOMEM, and what
 * `fn` returns. */
glia_status glia_pretokenize(const glia_pretokenizer *p, glia_matcher *m, const char *text, size_t len,
                             glia_word_fn *fn, void *user, glia_err *err);

#endif
