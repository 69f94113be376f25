/* draft_shard.h - a draft model that ranks share: the decoder of one rank, and the draft's
 * steps as words that rank 0 sends to all ranks.
 *
 * Rank 0 decides what is run (draft_model.c), and every rank runs it. The logits are cut by
 * vocabulary; rank 0 gathers them. */
#ifndef GLIA_DRAFT_DRAFT_SHARD_H
#define GLIA_DRAFT_DRAFT_SHARD_H

#include "draft/draft.h"

/* What one rank needs of a draft model. */
typedef struct {
    const glia_model_config *config;
    const glia_weights *weights; /* the rank's */
    glia_parallel parallel;
    glia_decoder_limits limits;
    int batch;
    /* A row of the block table: the blocks of a sequence, then those of its tree, which are never others and
     * are number first_tree of the cache and those after it. */
    int own_blocks, tree_blocks, first_tree;
} glia_draft_shape;

/* glia_draft_rank.own */
typedef struct {
    glia_draft_shape shape;
    glia_draft_rank *rank;
    glia_decoder *decoder;
    glia_plan plan;
    int32_t *table; /* [batch, max_blocks] */
    float *logits;  /* on rank 0: [max_logits, ld] of the whole vocabulary */
    size_t ld;
} glia_draft_shard;

/* A row of the block table that changes. */
typedef struct {
    int seq, n;
    const int32_t *block; /* [n] */
} glia_draft_table;

static inline int glia_draft_max_blocks(const glia_draft_shape *s) { return s->own_blocks + s->tree_blocks; }
/* Set the blocks of trees in table [batch, max_blocks]. */
void glia_draft_fill_trees(int32_t *table, const glia_draft_shape *s);

/* Add what glia_draft_shard_open() allocates to the plan. */
void glia_draft_shard_plan(const glia_draft_shape *shape, int threads, glia_plan *plan);
/* Called on the thread that is thread 0 of r->team. Sets r->own; glia_draft_shard_close() is due on failure,
 * too. */
glia_status glia_draft_shard_open(glia_draft_rank *r, const glia_draft_shape *shape, glia_err *err);
void glia_draft_shard_close(glia_draft_rank *r);

/* Words of the longest step. */
size_t glia_draft_shard_words(const glia_draft_shape *shape);
/* Write a step: the batch without its table, and the rows of the table that change. Returns how many words.
 */
size_t glia_draft_shard_write(int32_t *words, const glia_batch *b, const glia_draft_table *table, int n);
/* Take the step that the words say, and gather its logits on rank 0. */
void glia_draft_shard_obey(glia_draft_rank *r, const int32_t *words);
/* On rank 0: row i of the last step's logits, of the draft's vocabulary. */
const float *glia_draft_shard_logits(const glia_draft_rank *r, int i);

#endif
