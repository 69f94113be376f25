/* shared.h - what expressions say about the tokens of a vocabulary, kept for all its grammars.
 *
 * Many grammars have the same expressions: the rest of a string, of a number, of a word. Their token
 * sets are kept by what glia_rx_spell() writes, and never change. Any thread. */
#ifndef GLIA_GRAMMAR_SHARED_H
#define GLIA_GRAMMAR_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an expression says about every token, whatever follows the expression. */
typedef struct {
    uint32_t *some;  /* [n_some] tokens that it accepts, ... */
    uint64_t *dense; /* or a bit for each token; NULL: `some` */
    uint32_t *exits; /* [n_exits] nodes of the trie where it can end, below which it rejects tokens */
    uint32_t n_some, n_exits;
    bool borrowed; /* the arrays are of the shared sets */
} glia_token_set;

void glia_token_set_free(glia_token_set *s);

typedef struct glia_shared_sets glia_shared_sets;

glia_shared_sets *glia_shared_sets_new(void);    /* NULL without memory */
void glia_shared_sets_free(glia_shared_sets *s); /* NULL is fine */
/* The set of a key, borrowed until glia_shared_sets_free(). False if there is none. */
bool glia_shared_sets_find(glia_shared_sets *s, const void *key, size_t len, glia_token_set *out);
/* Keep the set, whose arrays need `bytes`: *set then borrows them. Does nothing if there is no room. */
void glia_shared_sets_keep(glia_shared_sets *s, const void *key, size_t len, glia_token_set *set,
                           size_t bytes);

#endif
