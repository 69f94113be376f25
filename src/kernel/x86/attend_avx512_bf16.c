/* attend_avx512_bf16.c - attention over a span with AVX-512 BF16: scores, a softmax, values.
 *
 * A block is up to 12 queries. Queries and weights are rounded to bfloat16 and stored in
 * steps, as rows of linear layers are. A cache tile is a pair of K panels, so its scores are
 * the product of a tile of rows and two panels (dot_avx512_bf16.h); so is each pair of its
 * V panels with the weights. l sums the rounded weights, so the factors of the values sum
 * to one. The error of exp is 2^-13.7, a thirtieth of the rounding.
 *
 * A score adds the pairs of dimensions in rising order to one sum; a value adds the pairs of
 * positions (2 i, 2 i + 1) that the query sees so. Weights of unseen keys are zero. Values
 * of unseen keys are never multiplied: the queries of a block share the pairs that all of
 * them see, each query adds its remaining pairs alone, and of a pair that it sees half of,
 * the other value counts as zero. */
#include "kernel/x86/dot_avx512_bf16.h"
#include "kernel/x86/softmax_avx512.h"

#include "kernel/panel.h"

glia_attend_fn glia_attend_bf16_avx512_bf16;

enum {
    ROWS = GLIA_DOT_ROWS,
    FEW = 8,   /* rows up to which a span may be read from memory, not from cache */
    DIMS = 32, /* dimensions of a step */
    STEPS = GLIA_HEAD_DIM_MAX / DIMS,
    GROUP = 4,         /* lines */
    PANEL_STEP = 1024, /* bytes of a step of a panel: of all dimensions of a K panel, or a whole V panel */
};

/* The arguments of one call, and a block's queries, scores and weights. */
typedef struct {
    glia_softmax out;
    const float *q;
    size_t ldq, head_dim, steps, panels;
    const void *const *tile;
    const int16_t *lo, *hi;
    float scale;
    _Alignas(64) uint16_t x[STEPS][ROWS][DIMS];
    _Alignas(64) float s[ROWS][GLIA_SPAN];
    _Alignas(64) uint16_t p[GLIA_SPAN_TILES][ROWS][GLIA_KV_TILE];
} work;

static size_t tile_of(size_t position) { return position / GLIA_KV_TILE; }

/* Round query i to bfloat16, as row r of the block. */
static void take_query(work *w, size_t i, size_t r) {
    const float *q = w->q + i * w->ldq;
    for (size_t s = 0, d = 0; s < w->steps; s++, d += DIMS) {
        const size_t left = w->head_dim - d;
        const __m512 low = _mm512_maskz_loadu_ps(glia_seen_avx512(0, 0, left), q + d);
        const __m512 high = left > GLIA_PANEL ? _mm512_maskz_loadu_ps(glia_seen_avx512(GLIA_PANEL, 0, left),
                                                                      q + d + GLIA_PANEL)
                                              : _mm512_setzero_ps();
        _mm512_store_si512(w->x[s][r], (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* The tile behind t, or t if nothing follows: what is prefetched while t is multiplied. */
static const char *tile_ahead(const work *w, size_t t) { return w->tile[w->tile[t + 1] ? t + 1 : t]; }

/* Panels that R queries multiply side by side. For few queries it is one, so that memory is read in one
 * stream, with prefetches. */
GLIA_INLINE int side_by_side(const int R) { return R <= FEW ? 1 : 2; }

/* s[r] = the scores of R queries with all positions of the tiles that [lo, hi) touches. */
GLIA_INLINE void scores(work *w, size_t lo, size_t hi, const int R) {
    const int side = side_by_side(R);
    const size_t panel = w->steps * PANEL_STEP;
    for (size_t t = tile_of(lo); t <= tile_of(hi - 1); t++) {
        for (size_t c = 0; c < 2; c += (size_t)side) {
            const char *k = (const char *)w->tile[t] + c * panel, *next = tile_ahead(w, t) + c * panel;
            __m512i sum[2 * ROWS];
            GLIA_UNROLL for (int i = 0; i < side * R; i++) sum[i] = _mm512_setzero_si512();
            for (size_t s = 0; s < w->steps; s++, k += PANEL_STEP, next += PANEL_STEP) {
                const char *pair[2] = {k, k + panel};
                glia_dot_some(sum, pair, R <= FEW ? &next : NULL, (const char *)w->x[s], 0, GLIA_DOT_LINES, R,
                              side, false);
            }
            GLIA_UNROLL for (int i = 0; i < side * R; i++) _mm512_store_si512(
                w->s[i / side] + t * GLIA_KV_TILE + (c + (size_t)(i % side)) * GLIA_PANEL, sum[i]);
        }
    }
}

/* Convert the scores of row r, which sees [lo, hi), to weights, and set *m and *l. */
static void soften(work *w, size_t r, size_t lo, size_t hi, float *m, float *l) {
    const float *s = w->s[r];
    const size_t first = tile_of(lo), last = tile_of(hi - 1);
    __m512 max = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (size_t at = lo / GLIA_PANEL * GLIA_PANEL; at < hi; at += GLIA_PANEL)
        max = _mm512_mask_max_ps(max, glia_seen_avx512(at, lo, hi), max, _mm512_load_ps(s + at));
    const float top = _mm512_reduce_max_ps(max), scale = w->scale * GLIA_LOG2_E;
    const __m512 factor = _mm512_set1_ps(scale), less = _mm512_set1_ps(-top * scale);
    const __m512bh one = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    for (size_t t = first; t <= last; t++) {
        __m512 e[2];
        GLIA_UNROLL for (int i = 0; i < 2; i++) {
            const size_t at = t * GLIA_KV_TILE + (size_t)i * GLIA_PANEL;
            const __mmask16 seen = at < hi ? glia_seen_avx512(at, lo, hi) : 0;
            const __m512 x = _mm512_fmadd_ps(_mm512_load_ps(s + at), factor, less);
            e[i] = _mm512_maskz_mov_ps(seen, glia_exp2_avx512(x));
        }
        const __m512bh p = _mm512_cvtne2ps_pbh(e[1], e[0]);
        _mm512_store_si512(w->p[t][r], (__m512i)p);
        sum = _mm512_dpbf16_ps(sum, p, one);
    }
    *m = top * w->scale;
    *l = _mm512_reduce_add_ps(sum);
}

/* ---- values ----------------------------------------------------------------- */

/* V panel c of tile t. */
static const char *v_panel(const work *w, size_t t, size_t c) {
    return (const char *)w->tile[t] + (2 * w->steps + c) * PANEL_STEP;
}

/* Index of the sum of row r and panel p, where `side` panels are multiplied side by side. */
GLIA_INLINE int sum_of(const int p, const int r, const int R, const int side) {
    return p / side * side * R + r * side + p % side;
}

/* Columns of P V panels from panel c on: o [R] += the values at positions [from, to), which are even, by the
 * weights of rows `row` and on. */
GLIA_INLINE void columns(const work *w, float *o, size_t row, size_t c, size_t from, size_t to, const int R,
                         const int P) {
    const int side = P > 1 ? side_by_side(R) : 1;
    __m512i sum[GLIA_DOT_SUMS];
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        GLIA_UNROLL for (int r = 0; r < R; r++) sum[sum_of(p, r, R, side)] =
            _mm512_loadu_si512(o + (size_t)r * w->out.ldo + (c + (size_t)p) * GLIA_PANEL);
    }
    for (size_t at = from, end; at < to; at = end) {
        const size_t t = tile_of(at), line = at % GLIA_KV_TILE / 2;
        const char *v[8], *next = tile_ahead(w, t) + (2 * w->steps + c) * PANEL_STEP, *ahead[8];
        end = glia_min(to, (t + 1) * GLIA_KV_TILE);
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            v[p] = v_panel(w, t, c + (size_t)p);
            ahead[p] = next + p * PANEL_STEP;
        }
        GLIA_UNROLL for (int p = 0; p < P; p += side)
            glia_dot_some(sum + p * R, v + p, R <= FEW ? ahead + p : NULL, (const char *)w->p[t][row], line,
                          line + (end - at) / 2, R, side, false);
    }
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        GLIA_UNROLL for (int r = 0; r < R; r++) _mm512_storeu_si512(
            o + (size_t)r * w->out.ldo + (c + (size_t)p) * GLIA_PANEL, sum[sum_of(p, r, R, side)]);
    }
}

/* All columns. Few rows take many panels at a time, so that memory is read in long stretches. */
GLIA_INLINE void values(const work *w, float *o, size_t r, size_t from, size_t to, const int R) {
    size_t c = 0;
    for (; R <= 3 && c + 8 <= w->panels; c += 8) columns(w, o, r, c, from, to, R, R <= 3 ? 8 : 1);
    for (; R <= 6 && c + 4 <= w->panels; c += 4) columns(w, o, r, c, from, to, R, R <= 6 ? 4 : 1);
    for (; c + 2 <= w->panels; c += 2) columns(w, o, r, c, from, to, R, 2);
    for (; c < w->panels; c++) columns(w, o, r, c, from, to, R, 1);
}

/* o of one row += the value at `position`; the other half of its pair is not seen. */
static void half_value(const work *w, float *o, size_t r, size_t position) {
    const size_t t = tile_of(position), line = position % GLIA_KV_TILE / 2;
    const __m512i keep = _mm512_set1_epi32(position % 2 ? (int)0xffff0000 : 0xffff);
    const __m512i four = glia_dot_four((const char *)w->p[t][r] + line * 4);
    for (size_t c = 0; c < w->panels; c++) {
        const __m512i value = _mm512_and_si512(_mm512_loadu_si512(v_panel(w, t, c) + line * 64), keep);
        const __m512i sum = _mm512_loadu_si512(o + c * GLIA_PANEL);
        _mm512_storeu_si512(o + c * GLIA_PANEL, glia_dot(sum, value, four, false));
    }
}

/* The values at [from, to) for row r alone. */
static void values_alone(const work *w, float *o, size_t r, size_t from, size_t to) {
    if (from < to && from % 2) half_value(w, o, r, from++);
    if (from >= to) return;
    if (from < to / 2 * 2) values(w, o, r, from, to / 2 * 2, 1);
    if (to % 2) half_value(w, o, r, to - 1);
}

/* ---- blocks ----------------------------------------------------------------- */

/* Attention of R queries from i on, each of which sees a key. */
GLIA_INLINE void attend(work *w, size_t i, const int R) {
    float *o = w->out.o + i * w->out.ldo;
    size_t lo = GLIA_SPAN, hi = 0, all_lo = 0, all_hi = GLIA_SPAN; /* keys that any sees; that all see */
    for (size_t r = 0; r < (size_t)R; r++) {
        const size_t from = (size_t)w->lo[i + r], to = (size_t)w->hi[i + r];
        lo = glia_min(lo, from);
        all_hi = glia_min(all_hi, to);
        if (to > hi) hi = to;
        if (from > all_lo) all_lo = from;
        take_query(w, i + r, r);
        memset(o + r * w->out.ldo, 0, w->panels * GLIA_PANEL * sizeof *o);
    }
    scores(w, lo, hi, R);
    for (size_t r = 0; r < (size_t)R; r++)
        soften(w, r, (size_t)w->lo[i + r], (size_t)w->hi[i + r], w->out.m + i + r, w->out.l + i + r);
    all_lo = (all_lo + 1) / 2 * 2;
    all_hi = all_hi / 2 * 2;
    const bool shared = all_lo < all_hi;
    for (size_t r = 0; shared && r < (size_t)R; r++)
        values_alone(w, o + r * w->out.ldo, r, (size_t)w->lo[i + r], all_lo);
    if (shared) values(w, o, 0, all_lo, all_hi, R);
    for (size_t r = 0; r < (size_t)R; r++)
        values_alone(w, o + r * w->out.ldo, r, shared ? all_hi : (size_t)w->lo[i + r], (size_t)w->hi[i + r]);
}

static bool sees(const work *w, size_t i) { return w->lo[i] < w->hi[i]; }

static void sees_nothing(const work *w, size_t i) {
    w->out.m[i] = -INFINITY;
    w->out.l[i] = 0;
    memset(w->out.o + i * w->out.ldo, 0, w->panels * GLIA_PANEL * sizeof(float));
}

void glia_attend_bf16_avx512_bf16(glia_softmax out, const float *q, size_t ldq, size_t n,
                                  const void *const *tile, const int16_t *lo, const int16_t *hi, float scale,
                                  size_t head_dim) {
    work w;
    w.out = out, w.q = q, w.ldq = ldq, w.head_dim = head_dim, w.tile = tile, w.lo = lo, w.hi = hi;
    w.scale = scale;
    w.steps = (head_dim + DIMS - 1) / DIMS;
    w.panels = glia_panels(head_dim);
    for (size_t i = 0, run; i < n; i += run) {
        for (run = 0; run < ROWS && i + run < n && sees(&w, i + run);) run++;
        GLIA_WITH_12_ROWS(run, 1, 12, attend(&w, i, R))
        if (run == 0) sees_nothing(&w, i), run = 1;
    }
}
