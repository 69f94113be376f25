/* linear_ref.c - rows through panels, in plain C: what kernels.h means. The
 * sums have the three levels of panel.h; only here without fused multiply-adds. */
#include "kernel/panel.h"

glia_linear_fn glia_linear_f32_ref, glia_linear_bf16_ref;
glia_linear_fn glia_linear_integers_ref;

static inline void chain(float sum[GLIA_PANEL], const float *x, const void *panel, glia_dtype dtype,
                         size_t begin, size_t end) {
    float part[GLIA_PANEL] = {0};
    for (size_t i = begin; i < end; i++)
        for (size_t c = 0; c < GLIA_PANEL; c++) part[c] += glia_panel_get(panel, dtype, i, c) * x[i];
    for (size_t c = 0; c < GLIA_PANEL; c++) sum[c] += part[c];
}

static inline void product(float y[GLIA_PANEL], const float *x, const void *panel, glia_dtype dtype,
                           size_t k) {
    float sum[GLIA_PANEL] = {0};
    for (size_t run = 0; run < k; run += GLIA_RUN) {
        float part[GLIA_PANEL] = {0};
        const size_t end = glia_min(k, run + GLIA_RUN);
        for (size_t i = run; i < end; i += GLIA_CHAIN)
            chain(part, x, panel, dtype, i, glia_min(end, i + GLIA_CHAIN));
        for (size_t c = 0; c < GLIA_PANEL; c++) sum[c] += part[c];
    }
    for (size_t c = 0; c < GLIA_PANEL; c++) y[c] = sum[c];
}

static inline void linear(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                          size_t n_panels, size_t m, glia_dtype dtype) {
    for (size_t p = 0; p < n_panels; p++) {
        const void *panel = (const char *)w + p * glia_panel_bytes(dtype, k);
        for (size_t r = 0; r < m; r++) product(y + r * ldy + p * GLIA_PANEL, x + r * ldx, panel, dtype, k);
    }
}

void glia_linear_f32_ref(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                         size_t n_panels, size_t m) {
    linear(y, ldy, x, ldx, w, k, n_panels, m, GLIA_DTYPE_F32);
}

void glia_linear_bf16_ref(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                          size_t n_panels, size_t m) {
    linear(y, ldy, x, ldx, w, k, n_panels, m, GLIA_DTYPE_BF16);
}

/* int8 panels before their scales, for linear_i8_ref.c. */
void glia_linear_integers_ref(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                              size_t n_panels, size_t m) {
    linear(y, ldy, x, ldx, w, k, n_panels, m, GLIA_DTYPE_I8);
}
