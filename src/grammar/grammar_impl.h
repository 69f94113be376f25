/* grammar_impl.h - a compiled grammar, private to src/grammar. */
#ifndef GLIA_GRAMMAR_GRAMMAR_IMPL_H
#define GLIA_GRAMMAR_GRAMMAR_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "grammar/grammar.h"
#include "grammar/pda.h"
#include "grammar/shared.h"

typedef struct glia_schema glia_schema; /* of schema.h */
void glia_schema_free(glia_schema *s);  /* NULL is fine */
/* Append what the schema means, for people. */
void glia_schema_describe(glia_schema *s, glia_buf *out);

struct glia_grammar {
    atomic_int references;
    const glia_vocab *vocab;
    glia_rx_pool *rx;
    glia_cfg cfg;
    glia_pda pda;
    glia_node root;
    bool empty;
    glia_pda_state start, after_thinking;
    pthread_mutex_t lock; /* of all below, and of rx and pda */
    glia_vec set_of;      /* uint32_t of each expression: its set + 1; 0: not known yet */
    glia_vec sets;        /* glia_token_set */
    glia_vec masks;       /* uint64_t *, ready masks of states */
    size_t set_bytes;
    glia_pda_state *walk; /* [2 * (deepest + 1)] */
    char **warnings;
    size_t n_warnings;
    glia_vec schemas;    /* glia_schema * */
    glia_schema *schema; /* the one that is the grammar, for glia_grammar_write(); or NULL */
};

/* The tokens that may follow state s, without ending tokens, OR-ed into mask [(size + 63) / 64]. Holds the
 * lock. False: the pool has failed. */
bool glia_mask_or(glia_grammar *g, glia_pda_state s, uint64_t *mask);
void glia_mask_free(glia_grammar *g);

/* Add a sentence. */
__attribute__((format(printf, 2, 3))) void glia_grammar_warn(glia_grammar *g, const char *fmt, ...);

#endif
