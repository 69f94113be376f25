/* linear_group.h - float32 rows through panels of grouped formats. The values of a
 * group are widened to float32, and the rung's float32 kernel multiplies them: the
 * sums of a group are that kernel's. They are added in y, each times its scale. Each
 * rung includes this file and passes its own widening and kernel. */
#ifndef GLIA_KERNEL_LINEAR_GROUP_H
#define GLIA_KERNEL_LINEAR_GROUP_H

#include "kernel/panel.h"

/* What the codes of a panel's group mean. */
typedef struct {
    const int8_t *zero; /* [16] or NULL */
    const float *table; /* [16] */
} glia_group_code;

/* Convert the codes of k [0, n) to float32 lines, and no more than LINES - 1 lines after them. */
typedef void glia_widen_codes_fn(float *to, const char *lines, size_t n, const glia_group_code *code);

enum { GLIA_GROUP_PANELS = 4, GLIA_GROUP_ROWS = 48, GLIA_GROUP_SLACK = 8 };

/* y += t * scale, or y = t * scale if the group is the first. */
static inline void glia_add_group(float *y, const float *t, const float *scale, bool first) {
    for (size_t c = 0; c < GLIA_PANEL; c++) y[c] = first ? t[c] * scale[c] : y[c] + t[c] * scale[c];
}

/* The group [begin, begin + n) of `panels` panels from panel p on, for all rows. */
static inline void glia_linear_one_group(const glia_gemm *g, const float *wide, size_t p, size_t panels,
                                         size_t begin, size_t n, glia_gemm_fn *f32) {
    enum { WIDTH = GLIA_GROUP_PANELS * GLIA_PANEL };
    float t[GLIA_GROUP_ROWS * WIDTH] __attribute__((aligned(64)));
    const size_t groups = glia_groups(g->k, g->group, g->whole), at = g->whole ? 0 : begin / g->group;
    for (size_t r = 0; r < g->m; r += GLIA_GROUP_ROWS) {
        const size_t rows = glia_min(g->m - r, GLIA_GROUP_ROWS);
        f32(&(glia_gemm){
            .out = {.y = t, .ldy = WIDTH},
            .x = {(const char *)g->x.x + r * g->x.row + begin * sizeof(float), g->x.row, 64, NULL},
            .w = wide,
            .k = n,
            .n_panels = panels,
            .m = rows});
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < panels; j++)
                glia_add_group(g->out.y + (r + i) * g->out.ldy + (p + j) * GLIA_PANEL,
                               t + i * WIDTH + j * GLIA_PANEL,
                               g->w_scale + ((p + j) * groups + at) * GLIA_PANEL, begin == 0);
    }
}

/* `f32` is the rung's kernel for float32 weights and rows. */
static inline void glia_linear_groups(const glia_gemm *g, glia_weight_format format,
                                      glia_widen_codes_fn *widen, glia_gemm_fn *f32) {
    float wide[(GLIA_GROUP_PANELS * GLIA_GROUP_MAX + GLIA_GROUP_SLACK) * GLIA_PANEL]
        __attribute__((aligned(64)));
    const size_t panel_bytes = glia_panel_bytes(format, g->k), groups = glia_groups(g->k, g->group, g->whole);
    for (size_t p = 0; p < g->n_panels; p += GLIA_GROUP_PANELS) {
        const size_t panels = glia_min(g->n_panels - p, GLIA_GROUP_PANELS);
        for (size_t begin = 0; begin < g->k; begin += g->group) {
            const size_t n = glia_min(g->k - begin, g->group);
            for (size_t j = 0; j < panels; j++) {
                const size_t at = ((p + j) * groups + (g->whole ? 0 : begin / g->group)) * GLIA_PANEL;
                const glia_group_code code = {g->w_zero ? g->w_zero + at : NULL, g->table};
                widen(wide + j * n * GLIA_PANEL,
                      (const char *)g->w + (p + j) * panel_bytes + glia_panel_bytes(format, begin), n, &code);
            }
            glia_linear_one_group(g, wide, p, panels, begin, n, f32);
        }
    }
}

#endif
