/* tokenizer_impl.h - the tokenizer's struct, private to src/text/tokenizer*.c. */
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
    glia_bpe bpe; /* tokens of the model, then added tokens */
    glia_added_token *added;
    size_t n_added;
    glia_added_trie trie, normalized_trie; /* indices into added */
    glia_normal_form form[NORMALIZERS_MAX];
    int n_forms;
    glia_pretokenizer pre;
    bool split_special;     /* special tokens in a text are encoded as text */
    bool byte_level;        /* while reading: the pre-tokenizer's last step, ByteLevel, has been read */
    glia_ids before, after; /* ids that the post-processor puts before and after a text's ids */
    size_t longest;
    int32_t bos, eos, pad;
};

/* Read all components from `rest`, which glia_tokenizer_read() made. The caller has
 * filled t->bpe with the vocabulary and the merges. */
glia_status glia_tokenizer_components(glia_tokenizer *t, const json_t *rest, const char *where,
                                      glia_err *err);
/* Read the special and added tokens that `dir` names outside of tokenizer.json. */
glia_status glia_tokenizer_special(glia_tokenizer *t, const char *dir, glia_err *err);

/* The id that the tokenizers library gives an added token: a token of the
 * vocabulary keeps its id; any other gets the highest id so far plus one. */
int64_t glia_tokenizer_added_id(const glia_tokenizer *t, const char *bytes, size_t len, bool raw);
/* Replace the normalizer and the pre-tokenizer by those of the class, which is
 * glia_special.class_name, as transformers 5 does; version 4 uses those of the file. */
glia_status glia_tokenizer_rebuild(glia_tokenizer *t, const char *class_name, bool prefix_space,
                                   glia_err *err);
/* Set t->longest. */
void glia_tokenizer_measure(glia_tokenizer *t);
/* Build the tries from t->added. */
glia_status glia_tokenizer_index_added(glia_tokenizer *t, glia_err *err);

/* Apply all normalizers to the text and append the result to *out. */
void glia_tokenizer_normalize(const glia_tokenizer *t, glia_buf *out, const char *text, size_t len);
/* The added token with this content; NULL: none. */
const glia_added_token *glia_tokenizer_added(const glia_tokenizer *t, const char *content);

#endif
