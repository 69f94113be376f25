/* kv_cache.c - see kv_cache.h. */
#include "layer/kv_cache.h"

glia_kv_cache glia_kv_cache_shape(glia_dtype dtype, int block_size, int kv_heads, int head_dim,
                                  int n_blocks) {
    glia_kv_cache c = {
        .shape = {.dtype = dtype, .block_size = block_size, .kv_heads = kv_heads, .head_dim = head_dim},
        .n_blocks = n_blocks,
    };
    c.block_bytes = glia_kv_block_bytes(&c.shape);
    return c;
}
