/* attend_avx512.c - the AVX-512 twins of attend_ref.c: two panel products
 * around a softmax that is held in four registers.
 *
 * Four queries at a time where they see the same keys, else one by one; a query's
 * sums are the same either way. Scores of unseen columns are computed and thrown
 * away before anything is added to them; unseen values are never multiplied. */
#include "kernel/softmax_avx512.h"
#include "kernel/tile_avx512.h"

glia_attend_fn glia_attend_f32_avx512, glia_attend_bf16_avx512;
glia_merge_fn glia_merge_avx512;

enum { ROWS = 4 };

/* One call's arguments; lo and hi are those of the queries at hand. */
typedef struct {
    glia_softmax out;
    const float *q;
    size_t ldq, head_dim;
    const void *const *k, *const *v;
    float scale;
} piece;

/* p[r] = scores of R queries with all 64 positions; tiles outside [lo, hi) are not read. */
GLIA_INLINE void scores(float p[ROWS][GLIA_PIECE], const piece *a, size_t lo, size_t hi, const int R,
                        const glia_dtype dtype) {
    const size_t first = lo / GLIA_PANEL, last = (hi - 1) / GLIA_PANEL;
    glia_operands o = {.x = a->q, .ldx = a->ldq};
    __m512 run[ROWS * GLIA_TILES];
    for (size_t t = 0; t < GLIA_TILES; t++) o.w[t] = a->k[t < first ? first : t > last ? last : t];
    GLIA_UNROLL for (int i = 0; i < R * GLIA_TILES; i++) run[i] = _mm512_setzero_ps();
    for (size_t d = 0; d < a->head_dim; d += GLIA_CHAIN)
        glia_chain(run, &o, d, glia_min(a->head_dim, d + GLIA_CHAIN), R, GLIA_TILES, dtype);
    GLIA_UNROLL for (int i = 0; i < R * GLIA_TILES; i++)
        _mm512_storeu_ps(p[i / GLIA_TILES] + i % GLIA_TILES * GLIA_PANEL, run[i]);
}

/* o = p v for R queries that see [lo, hi), panels d / 16 .. d / 16 + P - 1 of the values. */
GLIA_INLINE void values(float *o_out, size_t ldo, const float p[ROWS][GLIA_PIECE], const piece *a, size_t lo,
                        size_t hi, size_t d, const int R, const int P, const glia_dtype dtype) {
    const size_t panel_bytes = glia_panel_bytes(dtype, GLIA_PANEL);
    __m512 run[ROWS * 4];
    GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = _mm512_setzero_ps();
    for (size_t t = lo / GLIA_PANEL; t * GLIA_PANEL < hi; t++) {
        const size_t at = t * GLIA_PANEL, begin = lo > at ? lo - at : 0;
        glia_operands o = {.x = p[0] + at, .ldx = GLIA_PIECE};
        GLIA_UNROLL for (int i = 0; i < P; i++) o.w[i] =
            (const char *)a->v[t] + (d / GLIA_PANEL + (size_t)i) * panel_bytes;
        glia_chain(run, &o, begin, glia_min(hi - at, GLIA_PANEL), R, P, dtype);
    }
    GLIA_UNROLL for (int i = 0; i < R * P; i++) {
        const size_t c = d + (size_t)(i % P) * GLIA_PANEL, left = a->head_dim - c;
        const __mmask16 mask = (__mmask16)(left >= GLIA_PANEL ? 0xffffu : (1u << left) - 1);
        _mm512_mask_storeu_ps(o_out + (size_t)(i / P) * ldo + c, mask, run[i]);
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
            glia_softmax_avx512(p[r], a->out.m + i + r, a->out.l + i + r, a->scale, lo, hi);
        else
            a->out.m[i + r] = -INFINITY, a->out.l[i + r] = 0;
    size_t d = 0;
    for (; d + 3 * GLIA_PANEL < a->head_dim; d += 4 * GLIA_PANEL)
        values(o, a->out.ldo, p, a, lo, hi, d, R, 4, dtype);
    for (; d < a->head_dim; d += GLIA_PANEL) values(o, a->out.ldo, p, a, lo, hi, d, R, 1, dtype);
}

GLIA_INLINE void attend(const piece *a, size_t n, const unsigned char *lo, const unsigned char *hi,
                        const glia_dtype dtype) {
    for (size_t i = 0; i < n;) {
        size_t same = 1;
        while (same < ROWS && i + same < n && lo[i + same] == lo[i] && hi[i + same] == hi[i]) same++;
        if (same == 3) same = 2;
        if (same == 4)
            some(a, i, lo[i], hi[i], 4, dtype);
        else if (same == 2)
            some(a, i, lo[i], hi[i], 2, dtype);
        else
            some(a, i, lo[i], hi[i], 1, dtype);
        i += same;
    }
}

void glia_attend_f32_avx512(glia_softmax out, const float *q, size_t ldq, size_t n,
                            const void *const k[GLIA_TILES], const void *const v[GLIA_TILES],
                            const unsigned char *lo, const unsigned char *hi, float scale, size_t head_dim) {
    const piece a = {out, q, ldq, head_dim, k, v, scale};
    attend(&a, n, lo, hi, GLIA_DTYPE_F32);
}

void glia_attend_bf16_avx512(glia_softmax out, const float *q, size_t ldq, size_t n,
                             const void *const k[GLIA_TILES], const void *const v[GLIA_TILES],
                             const unsigned char *lo, const unsigned char *hi, float scale, size_t head_dim) {
    const piece a = {out, q, ldq, head_dim, k, v, scale};
    attend(&a, n, lo, hi, GLIA_DTYPE_BF16);
}

static inline void merge_one(float *o, const float *o_part, float a, float b, size_t head_dim) {
    for (size_t d = 0; d < head_dim; d += 16) {
        const __mmask16 mask = (__mmask16)(head_dim - d >= 16 ? 0xffffu : (1u << (head_dim - d)) - 1);
        const __m512 mine = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, o + d), _mm512_set1_ps(a));
        const __m512 theirs = _mm512_maskz_loadu_ps(mask, o_part + d);
        _mm512_mask_storeu_ps(o + d, mask, _mm512_fmadd_ps(theirs, _mm512_set1_ps(b), mine));
    }
}

void glia_merge_avx512(glia_softmax sum, glia_softmax part, size_t n, size_t head_dim) {
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
