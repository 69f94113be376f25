/* pack_ref.c - into panels and out of them, in plain C: what kernels.h means. */
#include "kernel/panel.h"

#include <string.h>

glia_pack_fn glia_pack_ref;
glia_unpack_fn glia_unpack_ref;
glia_kv_store_fn glia_kv_store_f32_ref, glia_kv_store_bf16_ref;
glia_kv_copy_fn glia_kv_copy_f32_ref, glia_kv_copy_bf16_ref;

static uint16_t half_at(const void *row, size_t i) { /* rows of a file need not be aligned */
    uint16_t bits;
    memcpy(&bits, (const char *)row + i * sizeof bits, sizeof bits);
    return bits;
}

static float element(const void *row, glia_dtype from, size_t i) {
    float f;
    if (from == GLIA_DTYPE_BF16) return glia_bf16_to_f32(half_at(row, i));
    if (from == GLIA_DTYPE_F16) return glia_f16_to_f32(half_at(row, i));
    memcpy(&f, (const char *)row + i * sizeof f, sizeof f);
    return f;
}

void glia_pack_ref(void *panel, glia_dtype to, const void *const rows[GLIA_PANEL], glia_dtype from,
                   size_t k) {
    memset(panel, 0, glia_panel_bytes(to, k));
    for (size_t c = 0; c < GLIA_PANEL; c++)
        for (size_t i = 0; rows[c] && i < k; i++)
            if (to == from && to == GLIA_DTYPE_BF16) /* bits, so that a NaN keeps its payload */
                ((uint16_t *)panel)[glia_bf16_at(i, c)] = half_at(rows[c], i);
            else
                glia_panel_set(panel, to, i, c, element(rows[c], from, i));
}

void glia_unpack_ref(float *y, const void *panel, glia_dtype dtype, size_t k, size_t column) {
    for (size_t i = 0; i < k; i++) y[i] = glia_panel_get(panel, dtype, i, column);
}

static inline void store(void *k_tile, void *v_tile, size_t at, const float *k, const float *v,
                         size_t head_dim, glia_dtype dtype) {
    for (size_t d = 0; d < head_dim; d++) {
        char *v_panel = (char *)v_tile + d / GLIA_PANEL * glia_panel_bytes(dtype, GLIA_PANEL);
        glia_panel_set(k_tile, dtype, d, at, k[d]);
        glia_panel_set(v_panel, dtype, at, d % GLIA_PANEL, v[d]);
    }
}

void glia_kv_store_f32_ref(void *k_tile, void *v_tile, size_t at, const float *k, const float *v,
                           size_t head_dim) {
    store(k_tile, v_tile, at, k, v, head_dim, GLIA_DTYPE_F32);
}

void glia_kv_store_bf16_ref(void *k_tile, void *v_tile, size_t at, const float *k, const float *v,
                            size_t head_dim) {
    store(k_tile, v_tile, at, k, v, head_dim, GLIA_DTYPE_BF16);
}

void glia_kv_copy_f32_ref(void *k_to, void *v_to, size_t at, const void *k_from, const void *v_from,
                          size_t from, size_t head_dim) {
    for (size_t d = 0; d < head_dim; d++) {
        const size_t panel = d / GLIA_PANEL * GLIA_PANEL * GLIA_PANEL, c = d % GLIA_PANEL;
        ((uint32_t *)k_to)[d * GLIA_PANEL + at] = ((const uint32_t *)k_from)[d * GLIA_PANEL + from];
        ((uint32_t *)v_to)[panel + at * GLIA_PANEL + c] =
            ((const uint32_t *)v_from)[panel + from * GLIA_PANEL + c];
    }
}

void glia_kv_copy_bf16_ref(void *k_to, void *v_to, size_t at, const void *k_from, const void *v_from,
                           size_t from, size_t head_dim) {
    for (size_t d = 0; d < head_dim; d++) {
        const size_t panel = d / GLIA_PANEL * GLIA_PANEL * GLIA_PANEL, c = d % GLIA_PANEL;
        ((uint16_t *)k_to)[glia_bf16_at(d, at)] = ((const uint16_t *)k_from)[glia_bf16_at(d, from)];
        ((uint16_t *)v_to)[panel + glia_bf16_at(at, c)] =
            ((const uint16_t *)v_from)[panel + glia_bf16_at(from, c)];
    }
}
