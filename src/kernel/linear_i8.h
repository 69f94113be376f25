/* linear_i8.h - many float32 rows through int8 panels. One run of GROUP panels is
 * widened to float32 in L2, and the rung's float32 kernel multiplies it: the sums
 * of a run are that kernel's. Runs are added in y, in the order of that kernel.
 * Each rung includes this file and passes its own widening and kernel. */
#ifndef GLIA_KERNEL_LINEAR_I8_H
#define GLIA_KERNEL_LINEAR_I8_H

#include "kernel/panel.h"

/* Convert `groups` lines, each 4 k of 16 columns, to float32 lines. */
typedef void glia_widen_fn(float *to, const char *lines, size_t groups);

/* Add the sums t of one run to y; multiply by scale after the last run. */
static inline void glia_add_run(float *y, const float *t, const float *scale, bool first, bool last,
                                size_t panels) {
    for (size_t p = 0; p < panels; p++, y += GLIA_PANEL, t += GLIA_PANEL, scale += GLIA_PANEL)
        for (size_t c = 0; c < GLIA_PANEL; c++) {
            const float sum = first ? t[c] : y[c] + t[c];
            y[c] = last ? sum * scale[c] : sum;
        }
}

/* `f32` is the rung's kernel for float32 weights and rows. */
static inline void glia_linear_i8_many(const glia_gemm *g, glia_widen_fn *widen, glia_gemm_fn *f32) {
    enum { GROUP = 4, ROWS = 48 };
    float wide[GROUP * GLIA_RUN * GLIA_PANEL] __attribute__((aligned(64)));
    float t[ROWS * GROUP * GLIA_PANEL] __attribute__((aligned(64)));
    const size_t panel_bytes = glia_panel_bytes(GLIA_WEIGHT_I8, g->k), k = g->k, ldy = g->out.ldy;
    const char *w = g->w;
    const float *scale = g->w_scale;
    for (size_t p = 0; p < g->n_panels; p += GROUP, w += GROUP * panel_bytes, scale += GROUP * GLIA_PANEL) {
        const size_t panels = glia_min(g->n_panels - p, GROUP);
        for (size_t begin = 0; begin < k; begin += GLIA_RUN) {
            const size_t n = glia_min(k - begin, GLIA_RUN), groups = (n + 3) / 4;
            for (size_t i = 0; i < panels; i++)
                widen(wide + i * n * GLIA_PANEL, w + i * panel_bytes + begin / 4 * 64, groups);
            for (size_t r = 0; r < g->m; r += ROWS) {
                const size_t rows = glia_min(g->m - r, ROWS), width = GROUP * GLIA_PANEL;
                f32(&(glia_gemm){
                    .out = {.y = t, .ldy = width},
                    .x = {(const char *)g->x.x + r * g->x.row + begin * sizeof(float), g->x.row, 64, NULL},
                    .w = wide,
                    .k = n,
                    .n_panels = panels,
                    .m = rows});
                for (size_t i = 0; i < rows; i++)
                    glia_add_run(g->out.y + (r + i) * ldy + p * GLIA_PANEL, t + i * width, scale, begin == 0,
                                 begin + n == k, panels);
            }
        }
    }
}

#endif
