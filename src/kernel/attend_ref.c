/* attend_ref.c - the definition of `attend` and `merge` in plain C. Values and
 * weights are accumulated in chains of 16 positions, each from zero. */
#include <math.h>

#include "kernel/exp_ref.h"
#include "kernel/kv_tile.h"

glia_attend_fn glia_attend_f32_ref, glia_attend_bf16_ref;
glia_merge_fn glia_merge_ref;

static inline float dot(const float *q, const void *tile, glia_dtype dtype, size_t head_dim, size_t at) {
    float sum = 0.0f;
    for (size_t i = 0; i < head_dim; i += GLIA_CHAIN) { /* head_dim <= GLIA_RUN: one run */
        float part = 0.0f;
        for (size_t d = i; d < glia_min(head_dim, i + GLIA_CHAIN); d++)
            part += glia_key_at(tile, dtype, head_dim, at, d) * q[d];
        sum += part;
    }
    return sum;
}

static inline void add_values(float *o, const float p[GLIA_SPAN], const void *const *tile, glia_dtype dtype,
                              size_t lo, size_t hi, size_t head_dim) {
    for (size_t d = 0; d < head_dim; d++) {
        float sum = 0.0f;
        for (size_t j = lo; j < hi;) {
            const size_t end = glia_min(hi, (j / GLIA_CHAIN + 1) * GLIA_CHAIN);
            float part = 0.0f;
            for (; j < end; j++)
                part += p[j] * glia_value_at(tile[j / GLIA_KV_TILE], dtype, head_dim, j % GLIA_KV_TILE, d);
            sum += part;
        }
        o[d] = sum;
    }
}

static inline void attend_one(float *m, float *l, float *o, const float *q, const void *const *tile,
                              size_t lo, size_t hi, float scale, size_t head_dim, glia_dtype dtype) {
    float p[GLIA_SPAN];
    float max = -INFINITY, sum = 0.0f;
    for (size_t j = lo; j < hi; j++) {
        p[j] = scale * dot(q, tile[j / GLIA_KV_TILE], dtype, head_dim, j % GLIA_KV_TILE);
        if (p[j] > max) max = p[j];
    }
    for (size_t j = lo; j < hi;) {
        const size_t end = glia_min(hi, (j / GLIA_CHAIN + 1) * GLIA_CHAIN);
        float part = 0.0f;
        for (; j < end; j++) part += p[j] = glia_exp_ref(p[j] - max);
        sum += part;
    }
    *m = max;
    *l = sum;
    add_values(o, p, tile, dtype, lo, hi, head_dim);
}

static inline void attend(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                          const int16_t *lo, const int16_t *hi, float scale, size_t head_dim,
                          glia_dtype dtype) {
    for (size_t i = 0; i < n; i++)
        attend_one(out.m + i, out.l + i, out.o + i * out.ldo, q + i * ldq, tile, (size_t)lo[i], (size_t)hi[i],
                   scale, head_dim, dtype);
}

void glia_attend_f32_ref(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                         const int16_t *lo, const int16_t *hi, float scale, size_t head_dim) {
    attend(out, q, ldq, n, tile, lo, hi, scale, head_dim, GLIA_DTYPE_F32);
}

void glia_attend_bf16_ref(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                          const int16_t *lo, const int16_t *hi, float scale, size_t head_dim) {
    attend(out, q, ldq, n, tile, lo, hi, scale, head_dim, GLIA_DTYPE_BF16);
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
