/* kv_tile.h - addresses of a position's elements in a tile of the KV cache. */
#ifndef GLIA_KERNEL_KV_TILE_H
#define GLIA_KERNEL_KV_TILE_H

#include <math.h>

#include "kernel/panel.h"

/* The K panel whose column at % 16 is position `at`. */
static inline char *glia_k_panel(void *tile, glia_dtype dtype, size_t head_dim, size_t at) {
    return (char *)tile + at / GLIA_PANEL * glia_k_panel_bytes(dtype, head_dim);
}

/* The V panel whose column d % 16 is dimension d. */
static inline char *glia_v_panel(void *tile, glia_dtype dtype, size_t head_dim, size_t d) {
    return (char *)tile + 2 * glia_k_panel_bytes(dtype, head_dim) +
           d / GLIA_PANEL * glia_v_panel_bytes(dtype);
}

/* The scales of an int8 tile: 32 for keys, then 32 for values. */
static inline float *glia_kv_scales(void *tile, size_t head_dim) {
    char *at = (char *)tile + glia_kv_tile_bytes(GLIA_DTYPE_I8, head_dim) - 2 * GLIA_KV_TILE * sizeof(float);
    return (float *)(void *)at;
}

/* The scale of one head's n elements; an element times *factor, rounded, is its int8. */
static inline float glia_kv_scale(const float *x, size_t n, float *factor) {
    float top = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        finite &= a < INFINITY;
        top = a > top ? a : top;
    }
    *factor = finite && top >= 0x1p-100f ? 127 / top : 0;
    return !finite ? NAN : top >= 0x1p-100f ? top / 127 : 0;
}

static inline float glia_key_at(const void *tile, glia_dtype dtype, size_t head_dim, size_t at, size_t d) {
    const char *panel = glia_k_panel((void *)(uintptr_t)tile, dtype, head_dim, at);
    const float x = glia_panel_get(panel, dtype, d, at % GLIA_PANEL);
    return dtype == GLIA_DTYPE_I8 ? x * glia_kv_scales((void *)(uintptr_t)tile, head_dim)[at] : x;
}

static inline float glia_value_at(const void *tile, glia_dtype dtype, size_t head_dim, size_t at, size_t d) {
    const char *panel = glia_v_panel((void *)(uintptr_t)tile, dtype, head_dim, d);
    const float x = glia_panel_get(panel, dtype, at, d % GLIA_PANEL);
    if (dtype != GLIA_DTYPE_I8) return x;
    return x * glia_kv_scales((void *)(uintptr_t)tile, head_dim)[GLIA_KV_TILE + at];
}

#endif
