/* attend_avx2.c - the AVX2 twins of attend_ref.c: two panel products around a
 * softmax. See attend_avx512.c for the shape; three queries at a time. */
#include <math.h>

#include "kernel/exp_avx2.h"
#include "kernel/tile_avx2.h"

glia_attend_fn glia_attend_f32_avx2, glia_attend_bf16_avx2;
glia_merge_fn glia_merge_avx2;

enum { ROWS = 3, HALVES = 4 };

typedef struct {
    glia_softmax out;
    const float *q;
    size_t ldq, head_dim;
    const void *const *k, *const *v;
    float scale;
} piece;

/* p[r] = scores of R queries with the positions of the tiles that [lo, hi) touches. */
GLIA_INLINE void scores(float p[ROWS][GLIA_PIECE], const piece *a, size_t lo, size_t hi, const int R,
                        const glia_dtype dtype) {
    const size_t last = (hi - 1) / GLIA_PANEL;
    for (size_t t = lo / GLIA_PANEL; t <= last; t += 2) {
        glia_operands o = {.x = a->q, .ldx = a->ldq, .w = {a->k[t], a->k[glia_min(t + 1, last)]}};
        __m256 run[ROWS * HALVES];
        GLIA_UNROLL for (int i = 0; i < R * HALVES; i++) run[i] = _mm256_setzero_ps();
        for (size_t d = 0; d < a->head_dim; d += GLIA_CHAIN)
            glia_chain(run, &o, d, glia_min(a->head_dim, d + GLIA_CHAIN), R, HALVES, dtype);
        for (size_t h = 0; h < (t < last ? HALVES : HALVES / 2); h++) {
            GLIA_UNROLL for (int r = 0; r < R; r++)
                _mm256_storeu_ps(p[r] + t * GLIA_PANEL + h * 8, run[(size_t)r * HALVES + h]);
        }
    }
}

static inline __m256 seen(size_t at, size_t lo, size_t hi) {
    const __m256i j = _mm256_add_epi32(_mm256_set1_epi32((int)at), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(j, _mm256_set1_epi32((int)lo - 1)),
                                                _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), j)));
}

/* Scores to weights, in place; unseen positions of the touched tiles get 0. */
static inline void softmax(float p[GLIA_PIECE], float *m, float *l, float scale, size_t lo, size_t hi) {
    const __m256 none = _mm256_set1_ps(-INFINITY);
    const size_t begin = lo / 8 * 8;
    float lane[8];
    __m256 max = none, sum = _mm256_setzero_ps();
    for (size_t j = begin; j < hi; j += 8) {
        const __m256 s = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(p + j));
        max = _mm256_max_ps(max, _mm256_blendv_ps(none, s, seen(j, lo, hi)));
        _mm256_storeu_ps(p + j, s);
    }
    _mm256_storeu_ps(lane, max);
    *m = lane[0];
    for (int i = 1; i < 8; i++) *m = lane[i] > *m ? lane[i] : *m;
    for (size_t j = begin; j < hi; j += 8) {
        const __m256 e = glia_exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(p + j), _mm256_set1_ps(*m)));
        const __m256 w = _mm256_and_ps(e, seen(j, lo, hi));
        sum = _mm256_add_ps(sum, w);
        _mm256_storeu_ps(p + j, w);
    }
    _mm256_storeu_ps(lane, sum);
    *l = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* o = p v for R queries that see [lo, hi), from head dimension d on, H half-lines. */
GLIA_INLINE void values(float *o_out, size_t ldo, const float p[ROWS][GLIA_PIECE], const piece *a, size_t lo,
                        size_t hi, size_t d, const int R, const int H, const glia_dtype dtype) {
    const size_t panel_bytes = glia_panel_bytes(dtype, GLIA_PANEL);
    __m256 run[ROWS * HALVES];
    GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] = _mm256_setzero_ps();
    for (size_t t = lo / GLIA_PANEL; t * GLIA_PANEL < hi; t++) {
        const size_t at = t * GLIA_PANEL, begin = lo > at ? lo - at : 0;
        glia_operands o = {.x = p[0] + at, .ldx = GLIA_PIECE};
        GLIA_UNROLL for (int i = 0; i < H / 2; i++) o.w[i] =
            (const char *)a->v[t] + (d / GLIA_PANEL + (size_t)i) * panel_bytes;
        glia_chain(run, &o, begin, glia_min(hi - at, GLIA_PANEL), R, H, dtype);
    }
    GLIA_UNROLL for (int i = 0; i < R * H; i++) {
        const size_t c = d + (size_t)(i % H) * 8;
        if (c < a->head_dim)
            _mm256_maskstore_ps(o_out + (size_t)(i / H) * ldo + c, glia_lanes_avx2(a->head_dim - c), run[i]);
    }
}

/* R queries from i on, all of which see [lo, hi). */
GLIA_INLINE void some(const piece *a, size_t i, size_t lo, size_t hi, const int R, const glia_dtype dtype) {
    float p[ROWS][GLIA_PIECE];
    piece at = *a;
    at.q += i * a->ldq;
    float *o = a->out.o + i * a->out.ldo;
    if (lo < hi)
        scores(p, &at, lo, hi, R, dtype);
    else
        lo = hi = 0;
    for (size_t r = 0; r < (size_t)R; r++)
        if (lo < hi)
            softmax(p[r], a->out.m + i + r, a->out.l + i + r, a->scale, lo, hi);
        else
            a->out.m[i + r] = -INFINITY, a->out.l[i + r] = 0;
    size_t d = 0;
    for (; d + GLIA_PANEL < a->head_dim; d += 2 * GLIA_PANEL)
        values(o, a->out.ldo, p, a, lo, hi, d, R, HALVES, dtype);
    for (; d < a->head_dim; d += GLIA_PANEL) values(o, a->out.ldo, p, a, lo, hi, d, R, 2, dtype);
}

GLIA_INLINE void attend(const piece *a, size_t n, const unsigned char *lo, const unsigned char *hi,
                        const glia_dtype dtype) {
    for (size_t i = 0; i < n;) {
        size_t same = 1;
        while (same < ROWS && i + same < n && lo[i + same] == lo[i] && hi[i + same] == hi[i]) same++;
        if (same < 3) same = 1;
        if (same == 3)
            some(a, i, lo[i], hi[i], 3, dtype);
        else
            some(a, i, lo[i], hi[i], 1, dtype);
        i += same;
    }
}

void glia_attend_f32_avx2(glia_softmax out, const float *q, size_t ldq, size_t n,
                          const void *const k[GLIA_TILES], const void *const v[GLIA_TILES],
                          const unsigned char *lo, const unsigned char *hi, float scale, size_t head_dim) {
    const piece a = {out, q, ldq, head_dim, k, v, scale};
    attend(&a, n, lo, hi, GLIA_DTYPE_F32);
}

void glia_attend_bf16_avx2(glia_softmax out, const float *q, size_t ldq, size_t n,
                           const void *const k[GLIA_TILES], const void *const v[GLIA_TILES],
                           const unsigned char *lo, const unsigned char *hi, float scale, size_t head_dim) {
    const piece a = {out, q, ldq, head_dim, k, v, scale};
    attend(&a, n, lo, hi, GLIA_DTYPE_BF16);
}

static inline void merge_one(float *o, const float *o_part, float a, float b, size_t head_dim) {
    for (size_t d = 0; d < head_dim; d += 8) {
        const __m256i mask = glia_lanes_avx2(head_dim - d);
        const __m256 mine = _mm256_mul_ps(_mm256_maskload_ps(o + d, mask), _mm256_set1_ps(a));
        const __m256 theirs = _mm256_maskload_ps(o_part + d, mask);
        _mm256_maskstore_ps(o + d, mask, _mm256_fmadd_ps(theirs, _mm256_set1_ps(b), mine));
    }
}

void glia_merge_avx2(glia_softmax sum, glia_softmax part, size_t n, size_t head_dim) {
    for (size_t i = 0; i < n; i++) {
        const float m = sum.m[i], m_part = part.m[i];
        if (m_part == -INFINITY) continue;
        if (m == -INFINITY) {
            sum.m[i] = m_part;
            sum.l[i] = part.l[i];
            memcpy(sum.o + i * sum.ldo, part.o + i * part.ldo, head_dim * sizeof(float));
            continue;
        }
        sum.m[i] = m > m_part ? m : m_part;
        const float a = glia_exp_ref(m - sum.m[i]), b = glia_exp_ref(m_part - sum.m[i]);
        sum.l[i] = sum.l[i] * a + part.l[i] * b;
        merge_one(sum.o + i * sum.ldo, part.o + i * part.ldo, a, b, head_dim);
    }
}
