/* linear_ref.c - the definition of the product of float32 rows and panels in plain
 * C. Sums have the three levels of panel.h. This rung alone has no fused multiply-add. */
#include "kernel/panel.h"

glia_gemm_fn glia_gemm_f32_f32_ref, glia_gemm_bf16_f32_ref, glia_gemm_f16_f32_ref, glia_gemm_i8_f32_ref;

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

static inline void linear(const glia_gemm *g, glia_weight_format format) {
    const glia_dtype element = glia_weight_traits[format].element;
    for (size_t p = 0; p < g->n_panels; p++) {
        const void *panel = (const char *)g->w + p * glia_panel_bytes(format, g->k);
        const float *scale = g->w_scale ? g->w_scale + p * GLIA_PANEL : NULL;
        for (size_t r = 0; r < g->m; r++) {
            float *y = g->out.y + r * g->out.ldy + p * GLIA_PANEL;
            product(y, (const void *)((const char *)g->x.x + r * g->x.row), panel, element, g->k);
            for (size_t c = 0; scale && c < GLIA_PANEL; c++) y[c] *= scale[c];
        }
    }
}

void glia_gemm_f32_f32_ref(const glia_gemm *g) { linear(g, GLIA_WEIGHT_F32); }

void glia_gemm_bf16_f32_ref(const glia_gemm *g) { linear(g, GLIA_WEIGHT_BF16); }

void glia_gemm_f16_f32_ref(const glia_gemm *g) { linear(g, GLIA_WEIGHT_F16); }

void glia_gemm_i8_f32_ref(const glia_gemm *g) { linear(g, GLIA_WEIGHT_I8); }
