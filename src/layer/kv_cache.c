/* kv_cache.c - see kv_cache.h. */
#include "layer/kv_cache.h"

glia_kv_cache glia_kv_cache_shape(const glia_device_ops *ops, glia_dtype dtype, int block_size,
                                  const glia_local *local, int head_dim, int n_blocks) {
    glia_kv_cache c = {
        .shape = {.dtype = dtype,
                  .block_size = block_size,
                  .kv_heads = local->kv_heads,
                  .head_dim = head_dim,
                  .members = local->members,
                  .member = local->member,
                  .unit = GLIA_FLASH_UNIT,
                  .tree_slot = INT32_MAX},
        .n_blocks = n_blocks / local->members,
    };
    c.block_bytes = ops->kv_block_bytes(&c.shape);
    return c;
}
