/* attend_ref.c - attention over one piece, and merging, in plain C: what
 * kernels.h means. Scores are summed as panel.h says, values tile by tile. */
#include "kernel/panel.h"

#include <math.h>

#include "kernel/exp_ref.h"

glia_attend_fn glia_attend_f32_ref, glia_attend_bf16_ref;
glia_merge_fn glia_merge_ref;

static inline float dot(const float *q, const void *k_tile, glia_dtype dtype, size_t head_dim,
                        size_t column) {
    float sum = 0.0f;
    for (size_t i = 0; i < head_dim; i += GLIA_CHAIN) { /* head_dim <= GLIA_RUN: one run */
        float part = 0.0f;
        for (size_t d = i; d < glia_min(head_dim, i + GLIA_CHAIN); d++)
            part += glia_panel_get(k_tile, dtype, d, column) * q[d];
        sum += part;
    }
    return sum;
}

static inline void add_values(float *o, const float p[GLIA_PIECE], const void *const v[GLIA_TILES],
                              glia_dtype dtype, size_t lo, size_t hi, size_t head_dim) {
    for (size_t d = 0; d < head_dim; d++) {
        const size_t panel = d / GLIA_PANEL * glia_panel_bytes(dtype, GLIA_PANEL);
        float sum = 0.0f;
        for (size_t j = lo; j < hi;) {
            const size_t tile = j / GLIA_PANEL, end = glia_min(hi, (tile + 1) * GLIA_PANEL);
            float part = 0.0f;
            for (; j < end; j++)
                part += p[j] *
                        glia_panel_get((const char *)v[tile] + panel, dtype, j % GLIA_PANEL, d % GLIA_PANEL);
            sum += part;
        }
        o[d] = sum;
    }
}

static inline void attend_one(float *m, float *l, float *o, const float *q, const void *const k[GLIA_TILES],
                              const void *const v[GLIA_TILES], size_t lo, size_t hi, float scale,
                              size_t head_dim, glia_dtype dtype) {
    float p[GLIA_PIECE];
    float max = -INFINITY, sum = 0.0f;
    for (size_t j = lo; j < hi; j++) {
        p[j] = scale * dot(q, k[j / GLIA_PANEL], dtype, head_dim, j % GLIA_PANEL);
        if (p[j] > max) max = p[j];
    }
    for (size_t j = lo; j < hi; j++) {
        p[j] = glia_exp_ref(p[j] - max);
        sum += p[j];
    }
    *m = max;
    *l = sum;
    add_values(o, p, v, dtype, lo, hi, head_dim);
}

void glia_attend_f32_ref(glia_softmax out, const float *q, size_t ldq, size_t n,
                         const void *const k[GLIA_TILES], const void *const v[GLIA_TILES],
                         const unsigned char *lo, const unsigned char *hi, float scale, size_t head_dim) {
    for (size_t i = 0; i < n; i++)
        attend_one(out.m + i, out.l + i, out.o + i * out.ldo, q + i * ldq, k, v, lo[i], hi[i], scale,
                   head_dim, GLIA_DTYPE_F32);
}

void glia_attend_bf16_ref(glia_softmax out, const float *q, size_t ldq, size_t n,
                          const void *const k[GLIA_TILES], const void *const v[GLIA_TILES],
                          const unsigned char *lo, const unsigned char *hi, float scale, size_t head_dim) {
    for (size_t i = 0; i < n; i++)
        attend_one(out.m + i, out.l + i, out.o + i * out.ldo, q + i * ldq, k, v, lo[i], hi[i], scale,
                   head_dim, GLIA_DTYPE_BF16);
}

void glia_merge_ref(glia_softmax sum, glia_softmax part, size_t n, size_t head_dim) {
    for (size_t i = 0; i < n; i++) {
        float *o = sum.o + i * sum.ldo;
        const float *o_part = part.o + i * part.ldo;
        if (part.m[i] == -INFINITY) continue;
        if (sum.m[i] == -INFINITY) {
            sum.m[i] = part.m[i];
            sum.l[i] = part.l[i];
            for (size_t d = 0; d < head_dim; d++) o[d] = o_part[d];
            continue;
        }
        const float max = sum.m[i] > part.m[i] ? sum.m[i] : part.m[i];
        const float a = glia_exp_ref(sum.m[i] - max), b = glia_exp_ref(part.m[i] - max);
        sum.m[i] = max;
        sum.l[i] = sum.l[i] * a + part.l[i] * b;
        for (size_t d = 0; d < head_dim; d++) o[d] = o[d] * a + o_part[d] * b;
    }
}
