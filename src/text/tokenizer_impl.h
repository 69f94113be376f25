/* tokenizer_impl.h - what tokenizer.c runs and tokenizer_parts.c fills. */
#ifndef GLIA_TEXT_TOKENIZER_IMPL_H
#define GLIA_TEXT_TOKENIZER_IMPL_H

#include <jansson.h>

#include "text/added.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

enum { NORMALIZERS_MAX = 8 };

struct glia_tokenizer {
    glia_bpe bpe; /* tokens of the model, then the added ones */
    glia_added_token *added;
    size_t n_added;
    glia_added_trie trie, normalized_trie; /* indices into added */
    glia_normal_form form[NORMALIZERS_MAX];
    int n_forms;
    glia_pretokenizer pre;
    bool byte_level;        /* the pre-tokenizer has been read to its end, which has to be ByteLevel */
    glia_ids before, after; /* what the post-processor puts around the ids */
    size_t longest;
    int32_t bos, eos, pad;
};

/* All but vocab and merges, which are in t->bpe already: `rest` is the tree
 * that glia_tokenizer_read() left. */
glia_status glia_tokenizer_parts(glia_tokenizer *t, const json_t *rest, const char *where, glia_err *err);
/* tokenizer_config.json: bos, eos, pad; and that it agrees with tokenizer.json. */
glia_status glia_tokenizer_config(glia_tokenizer *t, const char *path, glia_err *err);

/* Append the text after all normalizers. */
void glia_tokenizer_normalize(const glia_tokenizer *t, glia_buf *out, const char *text, size_t len);
/* NULL when no added token has this content. */
const glia_added_token *glia_tokenizer_added(const glia_tokenizer *t, const char *content);

#endif
