/* panel.h - one element of a panel, and the order of additions.
 *
 * Every long sum in this folder has three levels, the same on every rung: an
 * element is a sum of runs of GLIA_RUN products, a run is a sum of chains of
 * GLIA_CHAIN products, and a chain adds its products one by one. Each level starts
 * from zero and goes up in k. The error on random data grows with
 * CHAIN + RUN / CHAIN + k / RUN; the error of one long chain grows with k. */
#ifndef GLIA_KERNEL_PANEL_H
#define GLIA_KERNEL_PANEL_H

#include "kernel/kernels.h"

#include "base/bf16.h"

enum { GLIA_CHAIN = 16, GLIA_RUN = 512 };

/* Index of the element at k and column c in a bfloat16 panel. */
static inline size_t glia_bf16_at(size_t k, size_t c) { return k / 2 * 32 + c * 2 + k % 2; }

/* The same in an int8 panel. */
static inline size_t glia_i8_at(size_t k, size_t c) { return k / 4 * 64 + c * 4 + k % 4; }

/* The byte that holds the 4-bit code at k and column c. The code is the high half if k / 2 is odd. */
static inline size_t glia_c4_at(size_t k, size_t c) { return k / 8 * 64 + c * 4 + k % 2 * 2 + k % 8 / 4; }
static inline int glia_c4_get(const void *panel, size_t k, size_t c) {
    return ((const uint8_t *)panel)[glia_c4_at(k, c)] >> (k / 2 % 2 * 4) & 15;
}

/* One element as float32. The caller multiplies an int8 element by its column's scale. */
static inline float glia_panel_get(const void *panel, glia_dtype element, size_t k, size_t c) {
    if (element == GLIA_DTYPE_F32) return ((const float *)panel)[k * GLIA_PANEL + c];
    if (element == GLIA_DTYPE_I8) return ((const int8_t *)panel)[glia_i8_at(k, c)];
    const uint16_t half = ((const uint16_t *)panel)[glia_bf16_at(k, c)];
    return element == GLIA_DTYPE_F16 ? glia_f16_to_f32(half) : glia_bf16_to_f32(half);
}

static inline void glia_panel_set(void *panel, glia_dtype element, size_t k, size_t c, float value) {
    if (element == GLIA_DTYPE_F32)
        ((float *)panel)[k * GLIA_PANEL + c] = value;
    else
        ((uint16_t *)panel)[glia_bf16_at(k, c)] =
            element == GLIA_DTYPE_F16 ? glia_f32_to_f16(value) : glia_f32_to_bf16(value);
}

/* For P consecutive panels that are read side by side: the offset of the line that the first panel
 * reads at byte `at`. Past that panel's end it is a line of the first of the next P panels. */
static inline size_t glia_side_by_side(size_t at, size_t panel_bytes, int P) {
    return at < panel_bytes ? at : at + (size_t)(P - 1) * panel_bytes;
}

static inline size_t glia_min(size_t a, size_t b) { return a < b ? a : b; }

#endif
