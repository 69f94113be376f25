/* limits.h - what fixes all memory of an engine, and the sizes that follow.
 *
 * Pure functions of the model's shape, the ranks and the limits. */
#ifndef GLIA_ENGINE_LIMITS_H
#define GLIA_ENGINE_LIMITS_H

#include "draft/draft.h"
#include "engine/blocks.h"
#include "format/config.h"
#include "layer/parallel.h"
#include "model/decoder.h"

typedef struct {
    glia_dtype kv_dtype;
    int batch;           /* running sequences */
    int sequence_length; /* positions of a sequence */
    int chunk;           /* prompt rows of a step */
    int block_size;      /* positions of a cache block, a multiple of 32 */
    int cache_blocks;    /* of the cache; 0: enough for every running sequence */
    int drafts;          /* draft rows of a sequence in a step; 0: no speculation */
    int depth;           /* tokens of a path of drafts; less than `drafts`: drafts are trees */
    glia_draft_needs needs;
    size_t draft_area, draft_words; /* of a draft that ranks share: as of glia_draft_sharing; else 0 */
    bool prefix_cache;
    bool quantize_rows; /* the weights are w8a8 */
    bool rotate;        /* the weights are rotated */
    glia_place_limits adapters;
    int adapters_in_memory; /* adapters kept outside the places */
    bool adapters_by_uses;  /* the least frequently used adapter gives way, else the least recently used */
    int adapters_decay;     /* as glia_places.decay */
    size_t reordered;       /* the largest k of a matrix whose rows are reordered, or 0 */
} glia_engine_limits;

/* Rows of a step. */
size_t glia_limit_rows(const glia_engine_limits *l);
/* Entries of a sequence's row of the block tables: blocks of its positions, then blocks of its drafted tree.
 */
size_t glia_limit_blocks(const glia_engine_limits *l);
/* Blocks of a sequence's drafted tree: rows that have no slot at their position. They belong to the slot of
 * the running sequence. */
size_t glia_limit_tree_blocks(const glia_engine_limits *l);
/* Keys and values that are copied before a step. */
size_t glia_limit_moves(const glia_engine_limits *l);
/* Rows of a step that draw a token: one of each sequence, and one of each draft. */
size_t glia_limit_draws(const glia_engine_limits *l);
/* Rows of one step of glia_engine_score(), and prompt rows of a step whose logits are wanted, so that their
 * logits fit a fixed buffer. */
int glia_limit_score_rows(const glia_model_config *c, const glia_engine_limits *l);
/* Rows of logits of a step. */
size_t glia_limit_logits(const glia_model_config *c, const glia_engine_limits *l);
/* The block manager's shape: the blocks of all members where ranks share positions. */
glia_blocks_shape glia_limit_cache(const glia_model_config *c, const glia_parallel *p,
                                   const glia_engine_limits *l);
glia_draft_limits glia_limit_draft(const glia_model_config *c, const glia_parallel *p,
                                   const glia_engine_limits *l);
glia_decoder_limits glia_limit_decoder(const glia_model_config *c, const glia_parallel *p,
                                       const glia_engine_limits *l);

#endif
