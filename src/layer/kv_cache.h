/* kv_cache.h - storage of keys and values: blocks of positions, per layer.
 *
 * A block holds `block_size` positions of one layer; a sequence's block table
 * says which. Contiguous storage is the special case of consecutive blocks. */
#ifndef GLIA_LAYER_KV_CACHE_H
#define GLIA_LAYER_KV_CACHE_H

#include "device/device.h"
#include "layer/parallel.h"

/* The positions of a block are a multiple of this number, which suits the cache tiles of every device. */
enum { GLIA_BLOCK_UNIT = 32 };

typedef struct {
    glia_kv_layer shape; /* its base is layer 0's */
    size_t block_bytes;
    int n_blocks;
} glia_kv_cache;

/* `n_blocks`: of all members together, a multiple of them. */
glia_kv_cache glia_kv_cache_shape(const glia_device_ops *ops, glia_dtype dtype, int block_size,
                                  const glia_local *local, int head_dim, int n_blocks);

/* Bytes of all blocks of one layer. */
static inline size_t glia_kv_cache_layer_bytes(const glia_kv_cache *c) {
    return c->block_bytes * (size_t)c->n_blocks;
}

static inline glia_kv_layer glia_kv_cache_layer(const glia_kv_cache *c, int layer) {
    glia_kv_layer l = c->shape;
    l.base += (size_t)layer * glia_kv_cache_layer_bytes(c);
    return l;
}

#endif
