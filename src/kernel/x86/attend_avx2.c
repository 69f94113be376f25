/* attend_avx2.c - the AVX2 twins of attend_ref.c: a panel product, a softmax, a panel
 * product. The structure is that of attend_avx512.c, with three queries at a time. */
#include <math.h>

#include "kernel/x86/exp_avx2.h"
#include "kernel/x86/tile_avx2.h"

glia_attend_fn glia_attend_f32_avx2, glia_attend_bf16_avx2;
glia_merge_fn glia_merge_avx2;

enum { ROWS = 3, HALVES = 4 };

typedef struct {
    glia_softmax out;
    const float *q;
    size_t ldq, head_dim;
    const void *const *tile;
    const int16_t *lo, *hi;
    float scale;
} span;

/* p[r] = scores of query r with all positions of the cache tiles that [lo, hi) touches. */
GLIA_INLINE void scores(float p[ROWS][GLIA_SPAN], const span *a, const float *q, size_t lo, size_t hi,
                        const int R, const glia_dtype dtype) {
    const size_t panel = glia_k_panel_bytes(dtype, a->head_dim);
    for (size_t t = lo / GLIA_KV_TILE; t <= (hi - 1) / GLIA_KV_TILE; t++) {
        const char *tile = a->tile[t];
        const glia_operands o = {.x = q, .ldx = a->ldq, .w = {tile, tile + panel}};
        __m256 run[ROWS * HALVES];
        GLIA_UNROLL for (int i = 0; i < R * HALVES; i++) run[i] = _mm256_setzero_ps();
        for (size_t d = 0; d < a->head_dim; d += GLIA_CHAIN)
            glia_chain(run, &o, d, glia_min(a->head_dim, d + GLIA_CHAIN), R, HALVES, dtype);
        GLIA_UNROLL for (int i = 0; i < R * HALVES; i++)
            _mm256_storeu_ps(p[i / HALVES] + t * GLIA_KV_TILE + i % HALVES * 8, run[i]);
    }
}

static inline __m256 seen(size_t at, size_t lo, size_t hi) {
    const __m256i j = _mm256_add_epi32(_mm256_set1_epi32((int)at), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(j, _mm256_set1_epi32((int)lo - 1)),
                                                _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), j)));
}

/* Convert scores to weights in place, lo < hi. Unseen positions of the half-lines that [lo, hi) touches get
 * 0. */
static inline void softmax(float p[GLIA_SPAN], float *m, float *l, float scale, size_t lo, size_t hi) {
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

/* o += p v for R queries, positions [from, to) and H half-lines of head dimensions from d on. */
GLIA_INLINE void values(float *o_out, size_t ldo, const float (*p)[GLIA_SPAN], const span *a, size_t from,
                        size_t to, size_t d, const int R, const int H, const glia_dtype dtype) {
    const size_t panel = glia_v_panel_bytes(dtype);
    const size_t first = 2 * glia_k_panel_bytes(dtype, a->head_dim) + d / GLIA_PANEL * panel;
    __m256 run[ROWS * HALVES];
    GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] =
        _mm256_loadu_ps(o_out + (size_t)(i / H) * ldo + d + (size_t)(i % H) * 8);
    while (from < to) {
        const size_t t = from / GLIA_KV_TILE, at = t * GLIA_KV_TILE;
        const size_t end = glia_min(to, (from / GLIA_CHAIN + 1) * GLIA_CHAIN);
        glia_operands o = {.x = p[0] + at, .ldx = GLIA_SPAN};
        GLIA_UNROLL for (int i = 0; i < H / 2; i++) o.w[i] =
            (const char *)a->tile[t] + first + (size_t)i * panel;
        glia_chain(run, &o, from - at, end - at, R, H, dtype);
        from = end;
    }
    GLIA_UNROLL for (int i = 0; i < R * H; i++)
        _mm256_storeu_ps(o_out + (size_t)(i / H) * ldo + d + (size_t)(i % H) * 8, run[i]);
}

GLIA_INLINE void all_values(float *o, size_t ldo, const float (*p)[GLIA_SPAN], const span *a, size_t from,
                            size_t to, const int R, const glia_dtype dtype) {
    size_t d = 0;
    if (from >= to) return;
    for (; d + GLIA_PANEL < a->head_dim; d += 2 * GLIA_PANEL)
        values(o, ldo, p, a, from, to, d, R, HALVES, dtype);
    for (; d < a->head_dim; d += GLIA_PANEL) values(o, ldo, p, a, from, to, d, R, 2, dtype);
}

/* Attention of queries [i, i + R), each of which sees a key. */
GLIA_INLINE void some(const span *a, size_t i, const int R, const glia_dtype dtype) {
    _Alignas(64) float p[ROWS][GLIA_SPAN];
    float *o = a->out.o + i * a->out.ldo;
    size_t lo = GLIA_SPAN, hi = 0, all_lo = 0, all_hi = GLIA_SPAN; /* keys that any sees; that all see */
    for (size_t r = i; r < i + (size_t)R; r++) {
        lo = glia_min(lo, (size_t)a->lo[r]);
        all_hi = glia_min(all_hi, (size_t)a->hi[r]);
        if ((size_t)a->hi[r] > hi) hi = (size_t)a->hi[r];
        if ((size_t)a->lo[r] > all_lo) all_lo = (size_t)a->lo[r];
    }
    scores(p, a, a->q + i * a->ldq, lo, hi, R, dtype);
    for (size_t r = 0; r < (size_t)R; r++) {
        softmax(p[r], a->out.m + i + r, a->out.l + i + r, a->scale, (size_t)a->lo[i + r],
                (size_t)a->hi[i + r]);
        memset(o + r * a->out.ldo, 0, glia_panels(a->head_dim) * GLIA_PANEL * sizeof *o);
    }
    if (R > 1) {
        all_lo = (all_lo + GLIA_CHAIN - 1) / GLIA_CHAIN * GLIA_CHAIN;
        all_hi = all_hi / GLIA_CHAIN * GLIA_CHAIN;
        for (size_t r = 0; all_lo < all_hi && r < (size_t)R; r++)
            all_values(o + r * a->out.ldo, a->out.ldo, p + r, a, (size_t)a->lo[i + r], all_lo, 1, dtype);
        all_values(o, a->out.ldo, p, a, all_lo, all_hi, R, dtype);
    }
    for (size_t r = 0; r < (size_t)R; r++) {
        const size_t from = R > 1 && all_lo < all_hi ? all_hi : (size_t)a->lo[i + r];
        all_values(o + r * a->out.ldo, a->out.ldo, p + r, a, from, (size_t)a->hi[i + r], 1, dtype);
    }
}

GLIA_INLINE void attend(const span *a, size_t n, const glia_dtype dtype) {
    for (size_t i = 0; i < n;) {
        size_t seeing = 0;
        while (seeing < ROWS && i + seeing < n && a->lo[i + seeing] < a->hi[i + seeing]) seeing++;
        if (seeing == 0) {
            a->out.m[i] = -INFINITY;
            a->out.l[i] = 0;
            memset(a->out.o + i * a->out.ldo, 0, glia_panels(a->head_dim) * GLIA_PANEL * sizeof(float));
            seeing = 1;
        } else if (seeing == 3) {
            some(a, i, 3, dtype);
        } else {
            some(a, i, 1, dtype);
            seeing = 1;
        }
        i += seeing;
    }
}

void glia_attend_f32_avx2(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                          const int16_t *lo, const int16_t *hi, float scale, size_t head_dim) {
    const span a = {out, q, ldq, head_dim, tile, lo, hi, scale};
    attend(&a, n, GLIA_DTYPE_F32);
}

void glia_attend_bf16_avx2(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                           const int16_t *lo, const int16_t *hi, float scale, size_t head_dim) {
    const span a = {out, q, ldq, head_dim, tile, lo, hi, scale};
    attend(&a, n, GLIA_DTYPE_BF16);
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
