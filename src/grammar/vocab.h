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

/* Bytes by what patterns tell apart: a bit each for punctuation, the rest in groups. */
typedef uint64_t glia_byte_groups;
enum { GLIA_GROUP_MULTI = 62, GLIA_GROUP_BROKEN = 63 }; /* characters beyond ASCII; bytes that are no UTF-8 */
/* The bit of an ASCII byte. */
int glia_group_of(unsigned char byte);

/* Tokens of whole characters that a JSON string spells as themselves. */
enum { GLIA_PLAIN_MAX = 40 };

typedef struct {
    const glia_tokenizer *tokenizer; /* the caller's */
    glia_vocab_node *node;           /* [n] */
    uint32_t n;
    glia_byte_groups *bytes; /* [n] of a node and below; BROKEN if a character is cut before the node */
    int32_t *order;          /* the tokens of the nodes in their order, */
    uint32_t *first;         /* [n + 1] and how many of them the earlier nodes have */
    glia_vocab_node *other;  /* [n_other] the trie of tokens that are not plain, */
    uint32_t *in_node;       /* [n_other] and the same places in `node` */
    uint32_t n_other;
    uint64_t *plain; /* [GLIA_PLAIN_MAX + 1][(size + 63) / 64] plain tokens of at most so many characters */
    int32_t *twin;   /* [size] the next token with the same bytes; -1: none */
    int32_t size;    /* one more than the highest id */
    int deepest;     /* bytes of the longest token in the trie */
    int32_t think_open, think_close; /* -1: the tokenizer has no such token */
    struct glia_shared_sets *shared; /* of shared.h; NULL: none */
} glia_vocab;

/* `t` must outlive *v. Errors: GLIA_ERR_NOMEM, GLIA_ERR_LIMIT (a token longer than 65,535 bytes). */
glia_status glia_vocab_init(glia_vocab *v, const glia_tokenizer *t, glia_err *err);
void glia_vocab_free(glia_vocab *v);
static inline const uint64_t *glia_vocab_plain(const glia_vocab *v, int characters) {
    const int k = characters < GLIA_PLAIN_MAX ? characters : GLIA_PLAIN_MAX;
    return v->plain + (size_t)k * (((size_t)v->size + 63) / 64);
}
/* The node of these bytes; 0: no token begins so. */
uint32_t glia_vocab_find(const glia_vocab *v, const char *bytes, size_t n);

#endif
