/* attend_amx.c - attention over a span: both products on AMX tiles, and the softmax
 * between them in AVX-512 at the same time.
 *
 * A block is up to 32 queries, and a step is 128 keys at an absolute position. A step computes scores in
 * tiles, then the weights p = exp(score - m), then o += p V. m moves to the step's largest score only if that
 * score exceeds m by 8; o and l are then scaled down. This is rare, and it depends on the query's own keys
 * alone. Three steps are pipelined: turn() interleaves the score instructions of the next step, the softmax
 * of this step and the value instructions of the last step, so that the tile unit does not wait for the
 * vector units.
 *
 * Queries and weights are rounded to bfloat16. l sums the rounded weights, so the
 * factors of the values sum to one. The error of exp is 2^-13.7, a thirtieth of
 * that rounding. The order of additions is that of the instruction (linear_amx.c):
 * scores 32 dimensions at a time, values 32 positions at a time. A query is one row
 * of a tile, so its sums do not depend on the other queries.
 *
 * The weight of an unseen key is zero, and its product with the value is added. That
 * changes nothing if the value is finite. So positions that no query of the block
 * sees are zeroed in a copy. If queries of a block see different keys of a step and
 * a value is not finite, the step's values are computed for one query at a time. */
#include <math.h>
#include <string.h>

#include "kernel/panel.h"
#include "kernel/simd.h"
#include "kernel/x86/exp_avx512.h"
#include "kernel/x86/tile_amx.h"

glia_attend_fn glia_attend_bf16_amx;
glia_narrow_fn glia_narrow_avx512_bf16;

enum {
    ROWS = 2 * GLIA_AMX_ROWS, /* queries of a block */
    KEYS = 128,               /* keys of a step */
    STEP_TILES = KEYS / GLIA_KV_TILE,
    LINES = KEYS / GLIA_PANEL, /* registers for the scores of one query in a step */
    DIM_MAX = GLIA_HEAD_DIM_MAX,
    VALUES_MAX = DIM_MAX / GLIA_PANEL * GLIA_AMX_BYTES, /* V panels of a cache tile */
};

/* A block of queries: their indices, the keys that they see, and their state. Three blocks are in use at
 * once. */
typedef struct {
    size_t first, rows;
    int lo, hi, all_lo, all_hi;              /* keys that any query sees; keys that all see */
    _Alignas(64) uint16_t q[ROWS * DIM_MAX]; /* [ROWS, dims] */
    float o[ROWS * DIM_MAX];                 /* [ROWS, columns] */
    float l[ROWS][GLIA_PANEL];               /* l as 16 partial sums */
    float m[ROWS];                           /* of scores before they are scaled */
} block;

/* What one stage of a step passes to the next. Two of these are in use at once. */
typedef struct {
    _Alignas(64) float s[ROWS][KEYS];
    uint16_t p[ROWS][KEYS];
    float shrink[ROWS]; /* factors on o for the rows in `moved` */
    uint32_t moved;
} stage;

/* One step of one block. */
typedef struct {
    block *b;
    stage *s;
    int at;             /* first key */
    size_t first, last; /* cache tiles that any query sees */
    bool fresh, done;   /* this is the block's first step; its last step */
} job;

typedef struct {
    glia_softmax out;
    const float *q;
    size_t ldq, n, head_dim;
    size_t dims, panels, k_panel_bytes; /* dims: head_dim rounded up to whole tiles */
    const void *const *tile;
    const int16_t *lo, *hi;
    float scale, margin;
    size_t rows; /* rows of a block's tiles: n if n is at most 16, else ROWS */
    stage stage[2];
    block block[3];
    _Alignas(64) char edge[2][VALUES_MAX]; /* V panels of the first and last tile, unseen positions zeroed */
} work;

/* ---- softmax -------------------------------------------------------------- */

/* The rare case: m becomes the largest of `top`, and the sums so far are scaled down. */
static __attribute__((noinline)) void move(const work *w, const job *j, size_t r, __m512 top) {
    block *b = j->b;
    const float before = b->m[r];
    b->m[r] = _mm512_reduce_max_ps(top);
    if (before == -INFINITY) return;
    j->s->shrink[r] = glia_exp_ref((before - b->m[r]) * w->scale);
    j->s->moved |= 1u << r;
    _mm512_store_ps(b->l[r], _mm512_mul_ps(_mm512_load_ps(b->l[r]), _mm512_set1_ps(j->s->shrink[r])));
}

static inline __mmask16 below(int n) { return (__mmask16)(n <= 0 ? 0 : n >= 16 ? 0xffff : (1 << n) - 1); }

/* Convert the scores of row r to weights. The row sees the keys [lo, hi) of the step unless `all` is set. */
GLIA_INLINE void soften(const work *w, const job *j, size_t r, int lo, int hi, const bool all) {
    const __m512 none = _mm512_set1_ps(-INFINITY);
    block *b = j->b;
    __m512 s[LINES], top[LINES / 2];
    GLIA_UNROLL for (int i = 0; i < LINES; i++) {
        s[i] = _mm512_load_ps(j->s->s[r] + i * GLIA_PANEL);
        if (all) continue;
        const int at = i * GLIA_PANEL;
        s[i] = _mm512_mask_mov_ps(none, (__mmask16)(below(hi - at) & ~below(lo - at)), s[i]);
    }
    GLIA_UNROLL for (int i = 0; i < LINES / 2; i++) top[i] = _mm512_max_ps(s[2 * i], s[2 * i + 1]);
    GLIA_UNROLL for (int i = 1; i < LINES / 2; i++) top[0] = _mm512_max_ps(top[0], top[i]);
    if (_mm512_cmp_ps_mask(top[0], _mm512_set1_ps(b->m[r] + w->margin), _CMP_GT_OQ)) move(w, j, r, top[0]);
    const float scale = w->scale * GLIA_LOG2_E;
    const __m512 factor = _mm512_set1_ps(scale), less = _mm512_set1_ps(-b->m[r] * scale);
    const __m512bh one = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    __m512 sum = _mm512_load_ps(b->l[r]);
    GLIA_UNROLL for (int i = 0; i < LINES; i += 2) {
        const __m512 x = glia_exp2_avx512(_mm512_fmadd_ps(s[i], factor, less));
        const __m512 y = glia_exp2_avx512(_mm512_fmadd_ps(s[i + 1], factor, less));
        const __m512bh p = _mm512_cvtne2ps_pbh(y, x);
        _mm512_store_si512(j->s->p[r] + i * GLIA_PANEL, (__m512i)p);
        sum = _mm512_dpbf16_ps(sum, p, one);
    }
    _mm512_store_ps(b->l[r], sum);
}

/* The softmax of a step, whose rows are interleaved with tile instructions. */
typedef struct {
    const work *w;
    const job *j;
    size_t row, rows;
    bool all; /* every query sees every key of the step */
    bool two; /* two rows at a time, else one */
} softmax;

static softmax softmax_of(const work *w, const job *j) {
    softmax x = {.w = w, .j = j};
    if (!j) return x;
    x.rows = w->rows;
    x.two = x.rows > STEP_TILES * (w->dims / GLIA_AMX_STEP + (w->panels + 1) / 2);
    x.all = j->at >= j->b->all_lo && j->at + KEYS <= j->b->all_hi && j->b->rows == x.rows;
    return x;
}

static __attribute__((noinline)) void soften_some(const work *w, const job *j, size_t r) {
    const bool real = r < j->b->rows;
    const int lo = real ? w->lo[j->b->first + r] - j->at : KEYS,
              hi = real ? w->hi[j->b->first + r] - j->at : 0;
    if (lo < KEYS && hi > 0 && lo < hi)
        soften(w, j, r, lo, hi, false);
    else
        memset(j->s->p[r], 0, sizeof j->s->p[r]);
}

GLIA_INLINE void soften_row(softmax *x) {
    if (x->all)
        soften(x->w, x->j, x->row, 0, KEYS, true);
    else
        soften_some(x->w, x->j, x->row);
    x->row++;
}

static __attribute__((noinline)) void soften_another(softmax *x) { soften_row(x); }

/* Compute one or two rows between two tile steps: heads of few dimensions have fewer tile steps than rows. */
GLIA_INLINE void pump(softmax *x) {
    if (x->row < x->rows) soften_row(x);
    if (x->two && x->row < x->rows) soften_another(x);
}

/* ---- the two products ----------------------------------------------------- */

/* Prefetch the tile that the next step reads. */
GLIA_INLINE void fetch(const char *p) {
    GLIA_UNROLL for (int i = 0; i < GLIA_AMX_BYTES; i += 64) _mm_prefetch(p + i, _MM_HINT_T1);
}

/* Addresses of the four sums of a 2 x 2 block of tiles; NULL: not stored. The sums of
 * a block are stored while the next block begins, each just before its tile is
 * needed again: four stores in a row would stall the tile unit. */
typedef struct {
    float *sum[4];
    size_t stride;
} place;

GLIA_INLINE void store_sums(const place *p, const int tile) {
    if (!p->sum[tile]) return;
    if (tile == 0) _tile_stored(0, p->sum[0], p->stride);
    if (tile == 1) _tile_stored(1, p->sum[1], p->stride);
    if (tile == 2) _tile_stored(2, p->sum[2], p->stride);
    if (tile == 3) _tile_stored(3, p->sum[3], p->stride);
}

/* Store a tile's sum to `before`, then start the tile from zero or from `from`. */
GLIA_INLINE void begin_sums(const place *before, const place *from, const int tile) {
    store_sums(before, tile);
    if (from && from->sum[tile]) {
        if (tile == 0) _tile_loadd(0, from->sum[0], from->stride);
        if (tile == 1) _tile_loadd(1, from->sum[1], from->stride);
        if (tile == 2) _tile_loadd(2, from->sum[2], from->stride);
        if (tile == 3) _tile_loadd(3, from->sum[3], from->stride);
    } else {
        if (tile == 0) _tile_zero(0);
        if (tile == 1) _tile_zero(1);
        if (tile == 2) _tile_zero(2);
        if (tile == 3) _tile_zero(3);
    }
}

/* One step of a block: T tiles of rows at a and a1, and two panels at b0 and b1. The panels bypass L1: no
 * other step of these rows reads them. */
GLIA_INLINE void multiply(const void *a, const void *a1, size_t stride, const char *b0, const char *b1,
                          const int T, const bool begin, const place *before, const place *from) {
    _tile_loadd(4, a, stride);
    _tile_stream_loadd(6, b0, 64);
    if (begin) begin_sums(before, from, 0);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stream_loadd(7, b1, 64);
    if (begin) begin_sums(before, from, 1);
    _tile_dpbf16ps(1, 4, 7);
    if (T == 1) return;
    _tile_loadd(5, a1, stride);
    if (begin) begin_sums(before, from, 2);
    _tile_dpbf16ps(2, 5, 6);
    if (begin) begin_sums(before, from, 3);
    _tile_dpbf16ps(3, 5, 7);
}

GLIA_INLINE void flush_sums(const place *p, const int T) {
    store_sums(p, 0);
    store_sums(p, 1);
    if (T == 1) return;
    store_sums(p, 2);
    store_sums(p, 3);
}

/* s = q k for T * 16 queries. */
GLIA_INLINE void scores(const work *w, const job *j, softmax *x, const int T) {
    const size_t stride = w->dims * sizeof(uint16_t);
    const uint16_t *q0 = j->b->q, *q1 = q0 + GLIA_AMX_ROWS * w->dims;
    place before = {.stride = sizeof j->s->s[0]};
    for (size_t t = j->first; t <= j->last; t++) {
        const char *k0 = w->tile[t], *k1 = k0 + w->k_panel_bytes, *ahead = w->tile[t + STEP_TILES];
        float *s = j->s->s[0] + (t % STEP_TILES) * GLIA_KV_TILE;
        for (size_t d = 0; d < w->dims; d += GLIA_AMX_STEP) {
            const size_t line = d / GLIA_AMX_STEP * GLIA_AMX_BYTES;
            if (d == 0)
                multiply(q0, q1, stride, k0, k1, T, true, &before, NULL);
            else
                multiply(q0 + d, q1 + d, stride, k0 + line, k1 + line, T, false, NULL, NULL);
            if (T == 1 && ahead) {
                fetch(ahead + line);
                fetch(ahead + w->k_panel_bytes + line);
            }
            pump(x);
        }
        before.sum[0] = s;
        before.sum[1] = s + GLIA_PANEL;
        before.sum[2] = s + GLIA_AMX_ROWS * KEYS;
        before.sum[3] = s + GLIA_AMX_ROWS * KEYS + GLIA_PANEL;
    }
    flush_sums(&before, T);
}

/* o += p v for T * 16 queries. v [STEP_TILES] are the V panels of the step's tiles. */
GLIA_INLINE void values(const work *w, const job *j, const char *const v[STEP_TILES], float *o, softmax *x,
                        const int T) {
    const size_t columns = w->panels * GLIA_PANEL, ld = sizeof j->s->p[0];
    place before = {.stride = columns * sizeof(float)}, here = before;
    for (size_t c = 0; c < w->panels; c += 2) {
        const size_t second = c + 1 < w->panels ? GLIA_AMX_BYTES : 0;
        here.sum[0] = o + c * GLIA_PANEL;
        here.sum[1] = second ? here.sum[0] + GLIA_PANEL : NULL;
        here.sum[2] = T == 2 ? here.sum[0] + GLIA_AMX_ROWS * columns : NULL;
        here.sum[3] = T == 2 && second ? here.sum[2] + GLIA_PANEL : NULL;
        for (size_t t = j->first; t <= j->last; t++) {
            const char *at = v[t % STEP_TILES] + c * GLIA_AMX_BYTES, *ahead = w->tile[t + STEP_TILES];
            const uint16_t *p0 = j->s->p[0] + t % STEP_TILES * GLIA_KV_TILE, *p1 = p0 + GLIA_AMX_ROWS * KEYS;
            if (t == j->first)
                multiply(p0, p1, ld, at, at + second, T, true, &before, j->fresh ? NULL : &here);
            else
                multiply(p0, p1, ld, at, at + second, T, false, NULL, NULL);
            if (T == 1 && ahead) {
                ahead += 2 * w->k_panel_bytes + c * GLIA_AMX_BYTES;
                fetch(ahead);
                fetch(ahead + second);
            }
            pump(x);
        }
        before = here;
    }
    flush_sums(&before, T);
}

static const char *values_of(const work *w, size_t t) {
    return (const char *)w->tile[t] + 2 * w->k_panel_bytes;
}

/* Copy the V panels of cache tile t and zero the positions outside [lo, hi) of the span. */
static const char *zero_unseen(const work *w, char *to, size_t t, int lo, int hi) {
    const char *from = values_of(w, t);
    for (size_t line = 0; line < w->panels * 16; line++) {
        const int j = (int)(t * GLIA_KV_TILE + line % 16 * 2);
        const uint32_t keep =
            (j >= lo && j < hi ? 0xffffu : 0) | (j + 1 >= lo && j + 1 < hi ? 0xffff0000u : 0);
        const __m512i bits = _mm512_loadu_si512(from + line * 64);
        _mm512_store_si512(to + line * 64, _mm512_and_si512(bits, _mm512_set1_epi32((int)keep)));
    }
    return to;
}

/* Set v to the V panels of a step's cache tiles, with positions outside [lo, hi) of the span zeroed. */
static void find_values(work *w, const job *j, int lo, int hi, const char *v[STEP_TILES]) {
    for (size_t t = j->first; t <= j->last; t++) {
        const int at = (int)t * GLIA_KV_TILE, end = at + GLIA_KV_TILE;
        v[t % STEP_TILES] = values_of(w, t);
        if (lo > at || hi < end) v[t % STEP_TILES] = zero_unseen(w, w->edge[lo > at ? 0 : 1], t, lo, hi);
    }
}

static bool all_finite(const work *w, const job *j) {
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    __mmask32 bad = 0;
    for (size_t t = j->first; t <= j->last; t++)
        for (size_t line = 0; line < w->panels * 16; line++) {
            const __m512i bits = _mm512_loadu_si512(values_of(w, t) + line * 64);
            bad |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(bits, exponent), exponent);
        }
    return bad == 0;
}

/* values() for one query at a time: queries see different keys, and a value is not finite. */
static __attribute__((noinline)) void values_apart(work *w, const job *j) {
    float before[ROWS * DIM_MAX], sum[ROWS * DIM_MAX];
    const size_t columns = w->panels * GLIA_PANEL;
    const char *v[STEP_TILES];
    softmax none = {.w = w};
    memcpy(before, j->b->o, sizeof before);
    for (size_t r = 0; r < j->b->rows; r++) {
        const int lo = w->lo[j->b->first + r], hi = w->hi[j->b->first + r];
        job own = *j;
        if ((size_t)lo / GLIA_KV_TILE > own.first) own.first = (size_t)lo / GLIA_KV_TILE;
        own.last = glia_min(j->last, (size_t)((hi + GLIA_KV_TILE - 1) / GLIA_KV_TILE - 1));
        const bool none_seen = lo >= hi || lo >= j->at + KEYS || hi <= j->at;
        if (none_seen && j->fresh) memset(j->b->o + r * columns, 0, columns * sizeof(float));
        if (none_seen) continue;
        find_values(w, &own, lo, hi, v);
        memcpy(sum, before, sizeof sum);
        values(w, &own, v, sum, &none, 2);
        memcpy(j->b->o + r * columns, sum + r * columns, columns * sizeof(float));
    }
}

/* ---- blocks and steps ------------------------------------------------------ */

/* Set b to the block of queries from `first` on. Returns false if none of them sees a key. */
static bool begin_block(const work *w, block *b, size_t first) {
    b->first = first;
    b->rows = glia_min(w->n - first, ROWS);
    b->lo = b->all_hi = GLIA_SPAN;
    b->hi = b->all_lo = 0;
    for (size_t i = first; i < first + b->rows; i++) {
        const int lo = w->lo[i], hi = w->hi[i];
        if (lo < hi && lo < b->lo) b->lo = lo;
        if (lo < hi && hi > b->hi) b->hi = hi;
        if (lo > b->all_lo) b->all_lo = lo;
        if (hi < b->all_hi) b->all_hi = hi;
    }
    if (b->lo >= b->hi) return false;
    for (size_t r = 0; r < w->rows; r++) {
        uint16_t *q = b->q + r * w->dims;
        b->m[r] = -INFINITY;
        _mm512_store_ps(b->l[r], _mm512_setzero_ps());
        for (size_t d = 0; d < w->dims; d += GLIA_AMX_STEP) {
            const int left = r < b->rows ? (int)(w->head_dim - d) : 0;
            const float *from = w->q + (first + r) * w->ldq + d;
            const __m512 low = _mm512_maskz_loadu_ps(below(left), from),
                         high = _mm512_maskz_loadu_ps(below(left - GLIA_PANEL), from + GLIA_PANEL);
            _mm512_storeu_si512(q + d, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
    }
    return true;
}

/* Set *next to the step after `j`, or to the first step if j->b is NULL. A new block uses other memory than
 * j->b. */
static bool next_job(work *w, const job *j, job *next) {
    block *b = j->b;
    int at = j->at + KEYS;
    if (!b || j->done) {
        size_t first = b ? b->first + b->rows : 0;
        b = !b || b == &w->block[2] ? &w->block[0] : b + 1;
        while (first < w->n && !begin_block(w, b, first)) {
            for (size_t i = first; i < first + b->rows; i++) {
                w->out.m[i] = -INFINITY;
                w->out.l[i] = 0;
                memset(w->out.o + i * w->out.ldo, 0, w->panels * GLIA_PANEL * sizeof(float));
            }
            first += b->rows;
        }
        if (first >= w->n) return false;
        at = b->lo / KEYS * KEYS;
    }
    const int lo = b->lo > at ? b->lo : at, hi = b->hi < at + KEYS ? b->hi : at + KEYS;
    *next = (job){.b = b,
                  .s = j->s == &w->stage[0] ? &w->stage[1] : &w->stage[0],
                  .at = at,
                  .first = (size_t)lo / GLIA_KV_TILE,
                  .last = (size_t)(hi - 1) / GLIA_KV_TILE,
                  .fresh = b->lo >= at,
                  .done = b->hi <= at + KEYS};
    return true;
}

static void end_softmax(const work *w, const block *b) {
    for (size_t r = 0; r < b->rows; r++) {
        w->out.m[b->first + r] = b->m[r] * w->scale;
        w->out.l[b->first + r] = _mm512_reduce_add_ps(_mm512_load_ps(b->l[r]));
    }
}

static void end_values(const work *w, const block *b) {
    const size_t columns = w->panels * GLIA_PANEL;
    for (size_t r = 0; r < b->rows; r++)
        for (size_t c = 0; c < columns; c += GLIA_PANEL)
            _mm512_storeu_ps(w->out.o + (b->first + r) * w->out.ldo + c,
                             _mm512_load_ps(b->o + r * columns + c));
}

/* Scale earlier sums down and find the V panels. Returns false if the values are computed already. */
static bool prepare_values(work *w, const job *j, const char *v[STEP_TILES]) {
    const size_t columns = w->panels * GLIA_PANEL;
    const block *b = j->b;
    for (uint32_t left = j->s->moved; left; left &= left - 1) {
        float *o = j->b->o + (size_t)__builtin_ctz(left) * columns;
        const __m512 shrink = _mm512_set1_ps(j->s->shrink[__builtin_ctz(left)]);
        for (size_t c = 0; c < columns; c += GLIA_PANEL)
            _mm512_store_ps(o + c, _mm512_mul_ps(_mm512_load_ps(o + c), shrink));
    }
    j->s->moved = 0;
    const bool alike =
        (b->all_lo <= j->at || b->all_lo == b->lo) && (b->all_hi >= j->at + KEYS || b->all_hi == b->hi);
    if (!alike && !all_finite(w, j)) {
        values_apart(w, j);
        return false;
    }
    find_values(w, j, b->lo, b->hi, v);
    return true;
}

/* Interleave the scores of `next`, the softmax of `now` and the values of `last`. */
GLIA_INLINE void turn(work *w, const job *next, const job *now, const job *last, const int T) {
    softmax x = softmax_of(w, now);
    const char *v[STEP_TILES];
    const bool some = last && prepare_values(w, last, v);
    __asm__ volatile("" : : : "memory"); /* the compiler must store before tiles load */
    if (next) scores(w, next, &x, T);
    if (some) values(w, last, v, last->b->o, &x, T);
    while (x.row < x.rows) soften_row(&x);
    if (now && now->done) end_softmax(w, now->b);
    if (last && last->done) end_values(w, last->b);
}

void glia_attend_bf16_amx(glia_softmax out, const float *q, size_t ldq, size_t n, const void *const *tile,
                          const int16_t *lo, const int16_t *hi, float scale, size_t head_dim) {
    work w;
    w.out = out, w.q = q, w.ldq = ldq, w.n = n, w.head_dim = head_dim, w.tile = tile, w.lo = lo, w.hi = hi;
    w.dims = (head_dim + GLIA_AMX_STEP - 1) / GLIA_AMX_STEP * GLIA_AMX_STEP;
    w.panels = glia_panels(head_dim);
    w.k_panel_bytes = glia_k_panel_bytes(GLIA_DTYPE_BF16, head_dim);
    w.scale = scale;
    w.margin = 8 / scale;
    w.stage[0].moved = w.stage[1].moved = 0;
    glia_tile_config config = glia_tile_config_full();
    w.rows = n <= GLIA_AMX_ROWS ? n : ROWS;
    if (n <= GLIA_AMX_ROWS) config.rows[0] = config.rows[1] = config.rows[4] = (uint8_t)n;
    job jobs[3] = {{0}}, *next = &jobs[0], *now = NULL, *last = NULL;
    const job none = {0};
    bool more = next_job(&w, &none, next);
    if (more) glia_tile_load(&config);
    while (more || now || last) {
        if (n <= GLIA_AMX_ROWS)
            turn(&w, more ? next : NULL, now, last, 1);
        else
            turn(&w, more ? next : NULL, now, last, 2);
        job *const newest = more ? next : NULL;
        last = now;
        now = newest;
        next = &jobs[0];
        while (next == now || next == last) next++;
        if (more) more = next_job(&w, now, next);
    }
    _tile_release();
}
