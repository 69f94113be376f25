/* pack_ref.c - the definitions of `pack` and `unpack` in plain C. */
#include "kernel/panel.h"

#include <string.h>

glia_pack_fn glia_pack_ref;
glia_unpack_fn glia_unpack_ref;

static uint16_t half_at(const void *row, size_t i) { /* a checkpoint does not align its rows */
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
    memset(panel, 0, glia_lines_bytes(to, k));
    for (size_t c = 0; c < GLIA_PANEL; c++)
        for (size_t i = 0; rows[c] && i < k; i++)
            if (to == from && to != GLIA_DTYPE_F32) /* copies bits, so that a NaN keeps its payload */
                ((uint16_t *)panel)[glia_bf16_at(i, c)] = half_at(rows[c], i);
            else
                glia_panel_set(panel, to, i, c, element(rows[c], from, i));
}

void glia_unpack_ref(float *y, const void *panel, glia_dtype element, size_t k, size_t column) {
    for (size_t i = 0; i < k; i++) y[i] = glia_panel_get(panel, element, i, column);
}
