/* kv_ref.c - the definitions of `kv_store`, `kv_copy` and `kv_widen` in plain C. */
#include "kernel/kv_tile.h"

#include <string.h>

glia_kv_store_fn glia_kv_store_ref;
glia_kv_copy_fn glia_kv_copy_ref;
glia_kv_widen_fn glia_kv_widen_ref;

static int8_t quantise(float x, float factor) { return factor == 0 ? 0 : (int8_t)rintf(x * factor); }

static void store_i8(void *tile, size_t at, const float *k, const float *v, size_t head_dim) {
    float *scale = glia_kv_scales(tile, head_dim) + at, k_factor, v_factor;
    int8_t *k_panel = (int8_t *)glia_k_panel(tile, GLIA_DTYPE_I8, head_dim, at);
    scale[0] = glia_kv_scale(k, head_dim, &k_factor);
    scale[GLIA_KV_TILE] = glia_kv_scale(v, head_dim, &v_factor);
    for (size_t d = 0; d < head_dim; d++) {
        int8_t *v_panel = (int8_t *)glia_v_panel(tile, GLIA_DTYPE_I8, head_dim, d);
        k_panel[glia_i8_at(d, at % GLIA_PANEL)] = quantise(k[d], k_factor);
        v_panel[glia_i8_at(at, d % GLIA_PANEL)] = quantise(v[d], v_factor);
    }
    for (size_t d = head_dim; d % 4; d++) k_panel[glia_i8_at(d, at % GLIA_PANEL)] = 0;
}

void glia_kv_store_ref(void *tile, glia_dtype dtype, size_t at, const float *k, const float *v,
                       size_t head_dim) {
    char *k_panel = glia_k_panel(tile, dtype, head_dim, at);
    if (dtype == GLIA_DTYPE_I8) {
        store_i8(tile, at, k, v, head_dim);
        return;
    }
    for (size_t d = 0; d < head_dim; d++) {
        glia_panel_set(k_panel, dtype, d, at % GLIA_PANEL, k[d]);
        glia_panel_set(glia_v_panel(tile, dtype, head_dim, d), dtype, at, d % GLIA_PANEL, v[d]);
    }
    for (size_t d = head_dim; dtype == GLIA_DTYPE_BF16 && d % 32; d++)
        glia_panel_set(k_panel, dtype, d, at % GLIA_PANEL, 0);
}

/* Bytes of an element, and its index in its panel. */
static inline void copy_element(char *to, size_t i, const char *from, size_t j, size_t bytes) {
    memcpy(to + i * bytes, from + j * bytes, bytes);
}

static inline size_t place(glia_dtype dtype, size_t k, size_t c) {
    if (dtype == GLIA_DTYPE_I8) return glia_i8_at(k, c);
    return dtype == GLIA_DTYPE_BF16 ? glia_bf16_at(k, c) : k * GLIA_PANEL + c;
}

void glia_kv_copy_ref(void *tile, glia_dtype dtype, size_t at, const void *from, size_t from_at,
                      size_t head_dim) {
    void *source = (void *)(uintptr_t)from;
    const size_t bytes = dtype == GLIA_DTYPE_F32  ? 4
                         : dtype == GLIA_DTYPE_I8 ? 1
                                                  : 2,
                 whole = dtype == GLIA_DTYPE_F32 ? head_dim : (head_dim + 31) / 32 * 32;
    const char *k_from = glia_k_panel(source, dtype, head_dim, from_at);
    char *k_to = glia_k_panel(tile, dtype, head_dim, at);
    for (size_t d = 0; d < whole; d++)
        copy_element(k_to, place(dtype, d, at % GLIA_PANEL), k_from, place(dtype, d, from_at % GLIA_PANEL),
                     bytes);
    for (size_t d = 0; d < head_dim; d++)
        copy_element(glia_v_panel(tile, dtype, head_dim, d), place(dtype, at, d % GLIA_PANEL),
                     glia_v_panel(source, dtype, head_dim, d), place(dtype, from_at, d % GLIA_PANEL), bytes);
    if (dtype != GLIA_DTYPE_I8) return;
    float *to_scale = glia_kv_scales(tile, head_dim) + at,
          *from_scale = glia_kv_scales(source, head_dim) + from_at;
    to_scale[0] = from_scale[0];
    to_scale[GLIA_KV_TILE] = from_scale[GLIA_KV_TILE];
}

/* What is added to dimension d of the key at position `at` of the tile. */
static float key_bias(const float *bias, const float *angles, size_t head_dim, size_t at, size_t d) {
    const size_t half = head_dim / 2, pair = d < half ? d : d - half;
    if (!bias) return 0;
    if (!angles) return bias[d];
    const float *c = angles + ((at / GLIA_PANEL * half + pair) * 2) * GLIA_PANEL + at % GLIA_PANEL;
    return bias[d] * c[0] + (d < half ? -bias[d + half] : bias[pair]) * c[GLIA_PANEL];
}

void glia_kv_widen_ref(void *to, glia_dtype dtype, const void *from, size_t head_dim, const float *bias,
                       const float *angles) {
    for (size_t at = 0; at < GLIA_KV_TILE; at++) {
        char *k_panel = glia_k_panel(to, dtype, head_dim, at);
        for (size_t d = 0; d < head_dim; d++) {
            glia_panel_set(k_panel, dtype, d, at % GLIA_PANEL,
                           glia_key_at(from, GLIA_DTYPE_I8, head_dim, at, d) +
                               key_bias(bias, angles, head_dim, at, d));
            glia_panel_set(glia_v_panel(to, dtype, head_dim, d), dtype, at, d % GLIA_PANEL,
                           glia_value_at(from, GLIA_DTYPE_I8, head_dim, at, d));
        }
        for (size_t d = head_dim; dtype == GLIA_DTYPE_BF16 && d % 32; d++)
            glia_panel_set(k_panel, dtype, d, at % GLIA_PANEL, 0);
    }
}
