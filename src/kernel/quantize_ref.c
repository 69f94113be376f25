/* quantize_ref.c - the definitions of `absmax`, `pack_i8` and `quantize` in plain C. */
#include "kernel/panel.h"

#include <math.h>
#include <string.h>

glia_absmax_fn glia_absmax_ref;
glia_pack_i8_fn glia_pack_i8_ref;
glia_quantize_fn glia_quantize_ref;

/* Element i of a row whose steps of 64 bytes are `step` bytes apart, at any alignment. */
static float element(const void *row, size_t step, glia_dtype from, size_t i) {
    const size_t size = from == GLIA_DTYPE_F32 ? 4 : 2, at = i * size;
    const char *element = (const char *)row + at / 64 * step + at % 64;
    uint16_t bits;
    float f;
    if (from == GLIA_DTYPE_F32) {
        memcpy(&f, element, sizeof f);
        return f;
    }
    memcpy(&bits, element, sizeof bits);
    return from == GLIA_DTYPE_BF16 ? glia_bf16_to_f32(bits) : glia_f16_to_f32(bits);
}

/* The bits of magnitudes, compared as integers, have the order of the floats: NaN is above infinity. */
static float largest(const void *row, size_t step, glia_dtype from, size_t k) {
    uint32_t most = 0;
    for (size_t i = 0; i < k; i++) {
        const float f = element(row, step, from, i);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        bits &= 0x7fffffffu;
        if (bits > most) most = bits;
    }
    float f;
    memcpy(&f, &most, sizeof f);
    return isfinite(f) ? f : NAN;
}

float glia_absmax_ref(const void *row, glia_dtype from, size_t k) { return largest(row, 64, from, k); }

void glia_pack_i8_ref(void *panel, const void *const rows[GLIA_PANEL], glia_dtype from, size_t k,
                      const float scale[GLIA_PANEL]) {
    int8_t *to = panel;
    memset(panel, 0, glia_panel_bytes(GLIA_WEIGHT_I8, k));
    for (size_t c = 0; c < GLIA_PANEL; c++)
        for (size_t i = 0; rows[c] && scale[c] > 0 && i < k; i++)
            to[glia_i8_at(i, c)] = (int8_t)rintf(element(rows[c], 64, from, i) / scale[c]);
}

void glia_quantize_ref(int8_t *q, size_t q_step, float *scale, const void *x, size_t x_step, glia_dtype from,
                       size_t k) {
    const float most = largest(x, x_step, from, k);
    const float steps = most >= 0x1p-120f ? GLIA_I8_MAX / most : 0; /* false for NaN too */
    *scale = isnan(most) ? most : steps > 0 ? most / GLIA_I8_MAX : 0;
    for (size_t i = 0; i < k; i++) { /* a NaN cannot be converted to an integer */
        const float v = steps > 0 ? element(x, x_step, from, i) * steps : 0;
        q[i / 64 * q_step + i % 64] = (int8_t)rintf(v);
    }
    if (k % 64) memset(q + k / 64 * q_step + k % 64, 0, 64 - k % 64);
}
