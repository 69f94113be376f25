/* kv_tile.h - where a position's elements lie in a tile of the KV cache. */
#ifndef GLIA_KERNEL_KV_TILE_H
#define GLIA_KERNEL_KV_TILE_H

#include "kernel/panel.h"

/* The K panel that holds position `at`, as its column at % 16. */
static inline char *glia_k_panel(void *tile, glia_dtype dtype, size_t head_dim, size_t at) {
    return (char *)tile + at / GLIA_PANEL * glia_k_panel_bytes(dtype, head_dim);
}

/* The V panel that holds dimension d, as its column d % 16. */
static inline char *glia_v_panel(void *tile, glia_dtype dtype, size_t head_dim, size_t d) {
    return (char *)tile + 2 * glia_k_panel_bytes(dtype, head_dim) +
           d / GLIA_PANEL * glia_v_panel_bytes(dtype);
}

static inline float glia_key_at(const void *tile, glia_dtype dtype, size_t head_dim, size_t at, size_t d) {
    const char *panel = glia_k_panel((void *)(uintptr_t)tile, dtype, head_dim, at);
    return glia_panel_get(panel, dtype, d, at % GLIA_PANEL);
}

static inline float glia_value_at(const void *tile, glia_dtype dtype, size_t head_dim, size_t at, size_t d) {
    const char *panel = glia_v_panel((void *)(uintptr_t)tile, dtype, head_dim, d);
    return glia_panel_get(panel, dtype, at, d % GLIA_PANEL);
}

#endif
