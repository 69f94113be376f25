/* limits.c - see limits.h. */
#include "engine/limits.h"

#include <string.h>

enum { SCORE_LOGIT_BYTES = 64 << 20 };

size_t glia_limit_draws(const glia_engine_limits *l) { return (size_t)l->batch * (1 + (size_t)l->drafts); }

size_t glia_limit_rows(const glia_engine_limits *l) { return (size_t)l->chunk + glia_limit_draws(l); }

size_t glia_limit_tree_blocks(const glia_engine_limits *l) {
    return l->drafts > l->depth ? (size_t)glia_blocks_for(l->drafts, l->block_size) : 0;
}

size_t glia_limit_blocks(const glia_engine_limits *l) {
    return (size_t)glia_blocks_for(l->sequence_length, l->block_size) + glia_limit_tree_blocks(l);
}

size_t glia_limit_moves(const glia_engine_limits *l) {
    return glia_limit_tree_blocks(l) ? (size_t)l->batch * (size_t)l->depth : 0;
}

int glia_limit_score_rows(const glia_model_config *c, const glia_engine_limits *l) {
    const int64_t fit = SCORE_LOGIT_BYTES / (c->vocab * (int64_t)sizeof(float));
    return fit < 1 ? 1 : fit < l->chunk ? (int)fit : l->chunk;
}

size_t glia_limit_logits(const glia_model_config *c, const glia_engine_limits *l) {
    const size_t scored = (size_t)glia_limit_score_rows(c, l), drawn = glia_limit_draws(l);
    return scored + drawn;
}

glia_blocks_shape glia_limit_cache(const glia_model_config *c, const glia_parallel *p,
                                   const glia_engine_limits *l) {
    const int members = glia_local_of(c, p).members;
    glia_blocks_shape s = {.block_size = l->block_size, .members = members, .unit = 1};
    if (members > 1) s.unit = GLIA_FLASH_UNIT / l->block_size;
    s.n_blocks = glia_blocks_enough(l->batch, l->sequence_length, &s);
    if (l->cache_blocks && l->cache_blocks < s.n_blocks) s.n_blocks = l->cache_blocks / members * members;
    return s;
}

glia_draft_limits glia_limit_draft(const glia_model_config *c, const glia_parallel *p,
                                   const glia_engine_limits *l) {
    return (glia_draft_limits){
        .batch = l->batch,
        .sequence_length = l->sequence_length,
        .nodes = l->drafts,
        .depth = l->depth,
        .chunk = l->chunk,
        .block_size = l->block_size,
        .n_blocks = glia_limit_cache(c, p, l).n_blocks,
        .kv_dtype = l->kv_dtype,
    };
}

glia_decoder_limits glia_limit_decoder(const glia_model_config *c, const glia_parallel *p,
                                       const glia_engine_limits *l) {
    const glia_blocks_shape cache = glia_limit_cache(c, p, l);
    const int trees = l->batch * (int)glia_limit_tree_blocks(l) * cache.members;
    const bool residual = l->needs.n_residual_layers > 0;
    glia_decoder_limits d = {
        .kv_dtype = l->kv_dtype,
        .max_rows = (int)glia_limit_rows(l),
        .max_logits = (int)glia_limit_logits(c, l),
        .block_size = l->block_size,
        .n_blocks = cache.n_blocks + trees,
        .sequence_length = l->sequence_length,
        .tree_slot = trees ? glia_blocks_for(l->sequence_length, l->block_size) * l->block_size : 0,
        .max_hidden = l->needs.hidden ? (int)glia_limit_rows(l) : l->batch,
        .max_residual = residual ? (int)glia_limit_rows(l) : 0,
        .n_residual_layers = l->needs.n_residual_layers,
        .quantize_rows = l->quantize_rows,
        .rotate = l->rotate,
        .adapters = l->adapters,
        .reordered = l->reordered,
    };
    memcpy(d.residual_layer, l->needs.residual_layer, sizeof d.residual_layer);
    return d;
}
