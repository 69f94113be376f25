/* attend_avx512.c - the AVX-512 twins of attend_ref.c: a panel product, a softmax, a
 * panel product.
 *
 * Queries are computed four at a time, the last ones one by one; a query's sums are
 * the same either way. Scores of unseen keys are computed and dropped before the
 * softmax. Unseen values are never multiplied: four queries share the positions that
 * all of them see, and each query adds its remaining positions alone. */
#include "kernel/x86/softmax_avx512.h"
#include "kernel/x86/tile_avx512.h"

glia_attend_fn glia_attend_f32_avx512, glia_attend_bf16_avx512;
glia_merge_fn glia_merge_avx512;

enum { ROWS = 4, PANELS = 4 };

/* The arguments of one call. */
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
    const size_t last = (hi - 1) / GLIA_KV_TILE, panel = glia_k_panel_bytes(dtype, a->head_dim);
    for (size_t t = lo / GLIA_KV_TILE; t <= last; t += 2) {
        const char *first = a->tile[t], *second = a->tile[glia_min(t + 1, last)];
        const glia_operands o = {.x = q, .ldx = a->ldq, .w = {first, first + panel, second, second + panel}};
        __m512 run[ROWS * PANELS];
        GLIA_UNROLL for (int i = 0; i < R * PANELS; i++) run[i] = _mm512_setzero_ps();
        for (size_t d = 0; d < a->head_dim; d += GLIA_CHAIN)
            glia_chain(run, &o, d, glia_min(a->head_dim, d + GLIA_CHAIN), R, PANELS, dtype);
        for (size_t i = 0; i < (t < last ? PANELS : PANELS / 2); i++) {
            GLIA_UNROLL for (int r = 0; r < R; r++)
                _mm512_store_ps(p[r] + t * GLIA_KV_TILE + i * GLIA_PANEL, run[(size_t)r * PANELS + i]);
        }
    }
}

/* o += p v for R queries, positions [from, to) and V panels [c, c + P). */
GLIA_INLINE void values(float *o_out, size_t ldo, const float (*p)[GLIA_SPAN], const span *a, size_t from,
                        size_t to, size_t c, const int R, const int P, const glia_dtype dtype) {
    const size_t panel = glia_v_panel_bytes(dtype);
    const size_t first = 2 * glia_k_panel_bytes(dtype, a->head_dim) + c * panel;
    __m512 run[ROWS * PANELS];
    GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] =
        _mm512_loadu_ps(o_out + (size_t)(i / P) * ldo + (c + (size_t)(i % P)) * GLIA_PANEL);
    while (from < to) {
        const size_t t = from / GLIA_KV_TILE, at = t * GLIA_KV_TILE;
        const size_t end = glia_min(to, (from / GLIA_CHAIN + 1) * GLIA_CHAIN);
        glia_operands o = {.x = p[0] + at, .ldx = GLIA_SPAN};
        GLIA_UNROLL for (int i = 0; i < P; i++) o.w[i] = (const char *)a->tile[t] + first + (size_t)i * panel;
        glia_chain(run, &o, from - at, end - at, R, P, dtype);
        from = end;
    }
    GLIA_UNROLL for (int i = 0; i < R * P; i++)
        _mm512_storeu_ps(o_out + (size_t)(i / P) * ldo + (c + (size_t)(i % P)) * GLIA_PANEL, run[i]);
}

GLIA_INLINE void all_values(float *o, size_t ldo, const float (*p)[GLIA_SPAN], const span *a, size_t from,
                            size_t to, const int R, const glia_dtype dtype) {
    const size_t panels = glia_panels(a->head_dim);
    size_t c = 0;
    if (from >= to) return;
    for (; c + PANELS <= panels; c += PANELS) values(o, ldo, p, a, from, to, c, R, PANELS, dtype);
    for (; c < panels; c++) values(o, ldo, p, a, from, to, c, R, 1, dtype);
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
        glia_softmax_avx512(p[r], a->out.m + i + r, a->out.l + i + r, a->scale, (size_t)a->lo[i + r],
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
        } else if (seeing == 4) {
            some(a, i, 4, dtype);
        } else if (seeing >= 2) {
            some(a, i, 2, dtype);
            seeing = 2;
        } else {
            some(a, i, 1, dtype);
        }
        i += seeing;
    }
}

void glia_attend_f32_avx512(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                            const int16_t *lo, const int16_t *hi, float scale, size_t head_dim) {
    const span a = {out, q, ldq, head_dim, tile, lo, hi, scale};
    attend(&a, n, GLIA_DTYPE_F32);
}

void glia_attend_bf16_avx512(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                             const int16_t *lo, const int16_t *hi, float scale, size_t head_dim) {
    const span a = {out, q, ldq, head_dim, tile, lo, hi, scale};
    attend(&a, n, GLIA_DTYPE_BF16);
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
