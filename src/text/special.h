/* special.h - the tokens that a model directory names outside of tokenizer.json.
 *
 * tokenizer_config.json names special tokens, and may list added tokens in
 * "added_tokens_decoder". Without that key, special_tokens_map.json overrides its
 * members, and added_tokens.json lists added tokens; both are older forms.
 * Source: transformers 5.24, tokenization_utils_base.py (_from_pretrained, __init__)
 * and tokenization_utils_tokenizers.py (__init__). */
#ifndef GLIA_TEXT_SPECIAL_H
#define GLIA_TEXT_SPECIAL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "text/added.h"

typedef struct {
    json_t *config; /* the members of tokenizer_config.json, after the overrides */
    json_t *named;  /* from name to text: "bos_token", ..., and the model's own names */
    json_t *extra;  /* texts of special tokens without a name */
    /* Tokens that the tokenizer must know, in the order in which new ones get ids. The
     * flags of a token with id >= 0 override those of tokenizer.json; a token with id -1
     * is only added if tokenizer.json does not have it. */
    glia_added_token *token;
    size_t n;
    bool plain;             /* tokens in `named` and `extra` are special and have no other flag */
    bool has_decoder;       /* the file has added_tokens_decoder */
    const char *class_name; /* "Qwen2Tokenizer" or "GPT2Tokenizer", which replace components of
                             * tokenizer.json; static. NULL: another class */
} glia_special;

/* Read the files of `dir`. A file that does not exist counts as {}. On success the
 * caller must call glia_special_free(); on failure *s is zeroed. Errors: GLIA_ERR_IO,
 * GLIA_ERR_FORMAT, GLIA_ERR_LIMIT, GLIA_ERR_NOMEM; the message names the file and the key. */
glia_status glia_special_read(glia_special *s, const char *dir, glia_err *err);
void glia_special_free(glia_special *s);

#endif
