/* vocab.h - the tokens of a tokenizer as a trie over their bytes, built once and shared.
 *
 * Tokens marked special, and <think> and </think>, are not in the trie: no text of a constraint
 * spells them. */
#ifndef GLIA_GRAMMAR_VOCAB_H
#define GLIA_GRAMMAR_VOCAB_H

#include "text/tokenizer.h"

/* In depth-first order. */
typedef struct {
    uint32_t skip;  /* nodes of the subtree, this one included */
    int32_t token;  /* -1: only a beginning of tokens */
    uint16_t depth; /* of the root 0 */
    unsigned char byte;
} glia_vocab_node;

typedef struct {
    const glia_tokenizer *tokenizer; /* the caller's */
    glia_vocab_node *node;           /* [n] */
    uint32_t n;
    int32_t *twin;                   /* [size] the next token with the same bytes; -1: none */
    int32_t size;                    /* one more than the highest id */
    int deepest;                     /* bytes of the longest token in the trie */
    int32_t think_open, think_close; /* -1: the tokenizer has no such token */
} glia_vocab;

/* `t` must outlive *v. Errors: GLIA_ERR_NOMEM, GLIA_ERR_LIMIT (a token longer than 65,535 bytes). */
glia_status glia_vocab_init(glia_vocab *v, const glia_tokenizer *t, glia_err *err);
void glia_vocab_free(glia_vocab *v);
/* The node of these bytes; 0: no token begins so. */
uint32_t glia_vocab_find(const glia_vocab *v, const char *bytes, size_t n);

#endif
