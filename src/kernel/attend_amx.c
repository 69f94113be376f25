/* attend_amx.c - attention over a piece as two products on AMX tiles, the softmax
 * between them in AVX-512.
 *
 * Queries and softmax weights are rounded to bfloat16. The orders of additions
 * are the instruction's (linear_amx.c): scores 32 dimensions at a time, values
 * one tile of 16 positions at a time. A tile row is a query, so the sums are
 * those of a query alone.
 *
 * Unseen weights are zero and their products are added; that changes nothing as
 * long as the values are finite. So positions that no query sees are zeroed in a
 * copy, and where queries see different keys of a piece with a value that is not
 * finite, each goes alone. */
#include <string.h>

#include "kernel/panel.h"
#include "kernel/softmax_avx512.h"
#include "kernel/tile_amx.h"

glia_attend_fn glia_attend_bf16_amx;
glia_narrow_fn glia_narrow_amx;

enum {
    DIM_MAX = GLIA_HEAD_DIM_MAX + GLIA_AMX_STEP, /* and a line more, against equal cache sets */
    PANELS_MAX = GLIA_HEAD_DIM_MAX / GLIA_PANEL,
    VALUE_BYTES = 512, /* of one panel of a V tile */
    ROWS = GLIA_AMX_ROWS,
};

typedef struct {
    size_t n, head_dim, lo, hi; /* [lo, hi): what any query sees */
    const void *k[GLIA_TILES], *v[GLIA_TILES];
    uint16_t q[GLIA_QUERIES_MAX][DIM_MAX];
    float s[GLIA_QUERIES_MAX][GLIA_PIECE];
    uint16_t p[GLIA_QUERIES_MAX][GLIA_PIECE + GLIA_AMX_STEP];
    _Alignas(64) char edge[2][PANELS_MAX * VALUE_BYTES]; /* V tiles at lo and at hi, the unseen zeroed */
} work;

/* Tiles 0-3 sums and 4 the rows of `rows` queries, 5 a K or V tile of `lines` lines. */
static void configure(size_t rows, size_t lines) {
    glia_tile_config c = glia_tile_config_full();
    for (int t = 0; t < 5; t++) c.rows[t] = (uint8_t)rows;
    c.rows[5] = (uint8_t)lines;
    c.row_bytes[4] = (uint16_t)(4 * lines);
    glia_tile_load(&c);
}

/* s = q k for up to 16 queries from i on, tiles first..last of the piece. */
static void scores(work *w, size_t i, size_t first, size_t last) {
    _Alignas(64) char tail[GLIA_AMX_BYTES];
    const size_t stride = sizeof w->q[0], whole = w->head_dim / GLIA_AMX_STEP,
                 lines = w->head_dim % GLIA_AMX_STEP / 2;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t d = 0; d < whole + (lines != 0); d++) {
        _tile_loadd(4, w->q[i] + d * GLIA_AMX_STEP, stride);
        for (size_t t = first; t <= last; t++) {
            const char *k = (const char *)w->k[t] + d * GLIA_AMX_BYTES;
            if (d == whole) {
                memset(tail, 0, sizeof tail);
                memcpy(tail, k, lines * 64);
                k = tail;
            }
            _tile_loadd(5, k, 64);
            if (t == 0)
                _tile_dpbf16ps(0, 4, 5);
            else if (t == 1)
                _tile_dpbf16ps(1, 4, 5);
            else if (t == 2)
                _tile_dpbf16ps(2, 4, 5);
            else
                _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, w->s[i], sizeof w->s[0]);
    _tile_stored(1, w->s[i] + 16, sizeof w->s[0]);
    _tile_stored(2, w->s[i] + 32, sizeof w->s[0]);
    _tile_stored(3, w->s[i] + 48, sizeof w->s[0]);
}

/* Store tile 0..3 as 16 columns of o, no more than head_dim has. */
static void store_sums(int tile, float *o, size_t ldo, size_t rows, size_t columns) {
    _Alignas(64) float t[ROWS][GLIA_PANEL];
    const bool direct = columns >= GLIA_PANEL;
    float *to = direct ? o : t[0];
    const size_t stride = (direct ? ldo : GLIA_PANEL) * sizeof(float);
    if (tile == 0)
        _tile_stored(0, to, stride);
    else if (tile == 1)
        _tile_stored(1, to, stride);
    else if (tile == 2)
        _tile_stored(2, to, stride);
    else
        _tile_stored(3, to, stride);
    for (size_t r = 0; !direct && r < rows; r++) memcpy(o + r * ldo, t[r], columns * sizeof(float));
}

/* o = p v for up to 16 queries from i on, four panels of the values at a time. */
static void values(const work *w, size_t i, size_t rows, float *o, size_t ldo) {
    const size_t first = w->lo / GLIA_PANEL, last = (w->hi - 1) / GLIA_PANEL,
                 panels = glia_panels(w->head_dim);
    for (size_t d = 0; d < panels; d += 4) {
        const size_t some = glia_min(panels - d, 4);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (size_t t = first; t <= last; t++) {
            const char *v = (const char *)w->v[t] + d * VALUE_BYTES;
            _tile_loadd(4, w->p[i] + t * GLIA_PANEL, sizeof w->p[0]);
            _tile_loadd(5, v, 64);
            _tile_dpbf16ps(0, 4, 5);
            if (some < 2) continue;
            _tile_loadd(5, v + VALUE_BYTES, 64);
            _tile_dpbf16ps(1, 4, 5);
            if (some < 3) continue;
            _tile_loadd(5, v + 2 * VALUE_BYTES, 64);
            _tile_dpbf16ps(2, 4, 5);
            if (some < 4) continue;
            _tile_loadd(5, v + 3 * VALUE_BYTES, 64);
            _tile_dpbf16ps(3, 4, 5);
        }
        for (size_t c = 0; c < some; c++) {
            const size_t column = (d + c) * GLIA_PANEL;
            store_sums((int)c, o + column, ldo, rows, w->head_dim - column);
        }
    }
}

/* The V tile of position `at`, positions outside [lo, hi) zeroed in `copy`. */
static const void *zero_unseen(const work *w, size_t t, char *copy) {
    const size_t panels = glia_panels(w->head_dim), start = t * GLIA_PANEL;
    uint32_t keep[8];
    for (size_t line = 0; line < 8; line++) {
        const size_t j = start + 2 * line;
        keep[line] =
            (j >= w->lo && j < w->hi ? 0xffffu : 0) | (j + 1 >= w->lo && j + 1 < w->hi ? 0xffff0000u : 0);
    }
    for (size_t line = 0; line < panels * 8; line++) {
        const __m512i bits = _mm512_loadu_si512((const char *)w->v[t] + line * 64);
        _mm512_storeu_si512(copy + line * 64, _mm512_and_si512(bits, _mm512_set1_epi32((int)keep[line % 8])));
    }
    return copy;
}

static bool all_finite(const work *w) {
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    __mmask32 bad = 0;
    for (size_t t = w->lo / GLIA_PANEL; t * GLIA_PANEL < w->hi; t++)
        for (size_t line = 0; line < glia_panels(w->head_dim) * 8; line++) {
            const __m512i bits = _mm512_loadu_si512((const char *)w->v[t] + line * 64);
            bad |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(bits, exponent), exponent);
        }
    return bad == 0;
}

/* What any query sees. False where some see other keys than the rest. */
static bool join(work *w, const unsigned char *lo, const unsigned char *hi) {
    w->lo = GLIA_PIECE;
    w->hi = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (lo[i] >= hi[i]) continue;
        if (lo[i] < w->lo) w->lo = lo[i];
        if (hi[i] > w->hi) w->hi = hi[i];
    }
    bool same = true;
    for (size_t i = 0; i < w->n; i++) same &= lo[i] == w->lo && hi[i] == w->hi;
    return same;
}

static void take(work *w, glia_softmax out, const float *q, size_t ldq, const unsigned char *lo,
                 const unsigned char *hi, float scale) {
    const size_t first = w->lo / GLIA_PANEL, last = (w->hi - 1) / GLIA_PANEL;
    const size_t padded = (w->head_dim + GLIA_AMX_STEP - 1) / GLIA_AMX_STEP * GLIA_AMX_STEP;
    for (size_t i = 0; i < w->n; i++) {
        glia_narrow_amx(w->q[i], q + i * ldq, w->head_dim);
        for (size_t d = w->head_dim; d < padded; d++) w->q[i][d] = 0;
    }
    for (size_t i = 0; i < w->n; i += ROWS) {
        if (i == 0 || w->n - i < ROWS) configure(glia_min(w->n - i, ROWS), GLIA_AMX_ROWS);
        scores(w, i, first, last);
    }
    for (size_t i = 0; i < w->n; i++) {
        if (lo[i] < hi[i]) {
            glia_softmax_avx512(w->s[i], out.m + i, out.l + i, scale, lo[i], hi[i]);
        } else {
            out.m[i] = -INFINITY;
            out.l[i] = 0;
            memset(w->s[i], 0, sizeof w->s[i]);
        }
        glia_narrow_amx(w->p[i], w->s[i], GLIA_PIECE);
    }
    if (w->lo % GLIA_PANEL) w->v[first] = zero_unseen(w, first, w->edge[0]);
    if (w->hi % GLIA_PANEL && (last != first || w->lo % GLIA_PANEL == 0))
        w->v[last] = zero_unseen(w, last, w->edge[1]);
    for (size_t i = 0; i < w->n; i += ROWS) {
        const size_t rows = glia_min(w->n - i, ROWS);
        if (i == 0 || rows < ROWS) configure(rows, GLIA_AMX_ROWS / 2);
        values(w, i, rows, out.o + i * out.ldo, out.ldo);
    }
    _tile_release();
}

void glia_attend_bf16_amx(glia_softmax out, const float *q, size_t ldq, size_t n,
                          const void *const k[GLIA_TILES], const void *const v[GLIA_TILES],
                          const unsigned char *lo, const unsigned char *hi, float scale, size_t head_dim) {
    work w;
    w.n = n;
    w.head_dim = head_dim;
    memcpy(w.k, k, sizeof w.k);
    memcpy(w.v, v, sizeof w.v);
    const bool same = join(&w, lo, hi);
    if (w.lo >= w.hi) {
        for (size_t i = 0; i < n; i++) {
            out.m[i] = -INFINITY;
            out.l[i] = 0;
            memset(out.o + i * out.ldo, 0, head_dim * sizeof(float));
        }
    } else if (same || n == 1 || all_finite(&w)) {
        take(&w, out, q, ldq, lo, hi, scale);
    } else {
        for (size_t i = 0; i < n; i++) {
            const glia_softmax one = {out.m + i, out.l + i, out.o + i * out.ldo, out.ldo};
            glia_attend_bf16_amx(one, q + i * ldq, ldq, 1, k, v, lo + i, hi + i, scale, head_dim);
        }
    }
}
