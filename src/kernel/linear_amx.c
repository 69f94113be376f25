/* linear_amx.c - bfloat16 rows through bfloat16 panels on AMX tiles; one or two rows with AVX-512.
 *
 * TDPBF16PS adds, for every element, the products of 16 even and of 16 odd k in
 * two chains from zero, then their sum to the element, rounding to nearest and
 * treating denormals as zero (Intel SDM, TDPBF16PS). That is this rung's order
 * of additions: 32 products at a time in rising k. It does not depend on the
 * rows of a tile, and few_rows() repeats it step by step with AVX-512, which
 * reads weights from memory faster than tiles of one row do.
 *
 * 2 x 2 tiles: 32 rows and 2 panels per step of 32 k, four sums in tiles. Rows
 * are taken ROWS at a time and K in blocks of K_BLOCK, so that the rows' block
 * (1 MiB) stays in the second cache while all panels pass; between blocks the
 * sums wait in y. */
#include <string.h>

#include "kernel/panel.h"
#include "kernel/tile_amx.h"

glia_linear_narrow_fn glia_linear_narrow_amx;
glia_narrow_fn glia_narrow_amx;
glia_peak_fn glia_peak_bf16_amx;

enum {
    STEP = GLIA_AMX_STEP,
    TILE_ROWS = GLIA_AMX_ROWS,
    TILE_BYTES = GLIA_AMX_BYTES,
    ROWS = 512,
    K_BLOCK = 1024,
    FEW = 2,
    WIDE = 8,
    AHEAD = 2048
};

/* Tiles 0-3 sums, 4-5 rows of x, 6-7 panels. */
static void configure(int rows0, int rows1) {
    glia_tile_config c = glia_tile_config_full();
    c.rows[0] = c.rows[1] = c.rows[4] = (uint8_t)rows0;
    c.rows[2] = c.rows[3] = c.rows[5] = (uint8_t)rows1;
    glia_tile_load(&c);
}

typedef struct {
    float *y;
    const uint16_t *x;
    const char *w; /* at the first panel and the first k of the block */
    size_t ldy, ldx, panel_bytes;
    size_t steps; /* whole steps of 32 k in this block */
    size_t lines; /* of the last, partial step: 0..15 groups of 2 k */
    bool more;    /* y holds the sums of earlier blocks */
} block;

/* The last, partial step of a panel, zeros behind it. */
static void pad_step(char *to, const block *b, size_t panel) {
    memset(to, 0, TILE_BYTES);
    memcpy(to, b->w + panel * b->panel_bytes + b->steps * TILE_BYTES, b->lines * 64);
}

/* 17..32 rows through 2 panels (the second is the first where there is only one, and its sums are dropped).
 */
static void two_by_two(const block *b, size_t second) {
    char last[2][TILE_BYTES] __attribute__((aligned(64)));
    const char *w0 = b->w, *w1 = b->w + second * b->panel_bytes;
    const uint16_t *x0 = b->x, *x1 = b->x + TILE_ROWS * b->ldx;
    const size_t ldx = b->ldx * sizeof *b->x, ldy = b->ldy * sizeof *b->y;
    float *y0 = b->y, *y1 = b->y + TILE_ROWS * b->ldy;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (b->more) {
        _tile_loadd(0, y0, ldy);
        _tile_loadd(2, y1, ldy);
        if (second) {
            _tile_loadd(1, y0 + GLIA_PANEL, ldy);
            _tile_loadd(3, y1 + GLIA_PANEL, ldy);
        }
    }
    for (size_t s = 0; s < b->steps + (b->lines != 0); s++) {
        const char *p0 = w0 + s * TILE_BYTES, *p1 = w1 + s * TILE_BYTES;
        if (s == b->steps) {
            pad_step(last[0], b, 0);
            pad_step(last[1], b, second);
            p0 = last[0];
            p1 = last[1];
        }
        _tile_loadd(4, x0 + s * STEP, ldx);
        _tile_loadd(6, p0, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, p1, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, x1 + s * STEP, ldx);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, y0, ldy);
    _tile_stored(2, y1, ldy);
    if (second) {
        _tile_stored(1, y0 + GLIA_PANEL, ldy);
        _tile_stored(3, y1 + GLIA_PANEL, ldy);
    }
}

/* 1..16 rows through 1 or 2 panels. */
static void one_by_two(const block *b, size_t second) {
    char last[2][TILE_BYTES] __attribute__((aligned(64)));
    const char *w0 = b->w, *w1 = b->w + second * b->panel_bytes;
    const size_t ldx = b->ldx * sizeof *b->x, ldy = b->ldy * sizeof *b->y;
    _tile_zero(0);
    _tile_zero(1);
    if (b->more) {
        _tile_loadd(0, b->y, ldy);
        if (second) _tile_loadd(1, b->y + GLIA_PANEL, ldy);
    }
    for (size_t s = 0; s < b->steps + (b->lines != 0); s++) {
        const char *p0 = w0 + s * TILE_BYTES, *p1 = w1 + s * TILE_BYTES;
        if (s == b->steps) {
            pad_step(last[0], b, 0);
            pad_step(last[1], b, second);
            p0 = last[0];
            p1 = last[1];
        }
        for (size_t line = 0; line < TILE_BYTES; line += 64) { /* weights come from memory */
            _mm_prefetch(p0 + AHEAD + line, _MM_HINT_T0);
            _mm_prefetch(p1 + AHEAD + line, _MM_HINT_T0);
        }
        _tile_loadd(4, b->x + s * STEP, ldx);
        _tile_loadd(6, p0, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, p1, 64);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, b->y, ldy);
    if (second) _tile_stored(1, b->y + GLIA_PANEL, ldy);
}

/* Rows [0, rows) of one block of K through all panels. */
static void sweep(block b, size_t n_panels, size_t rows) {
    const size_t whole = rows / (2 * TILE_ROWS) * (2 * TILE_ROWS), left = rows - whole;
    const block first = b;
    if (whole) configure(TILE_ROWS, TILE_ROWS);
    for (size_t p = 0; whole && p < n_panels; p += 2) {
        for (size_t r = 0; r < whole; r += 2 * TILE_ROWS) {
            b.x = first.x + r * b.ldx;
            b.y = first.y + r * b.ldy + p * GLIA_PANEL;
            b.w = first.w + p * b.panel_bytes;
            two_by_two(&b, p + 1 < n_panels);
        }
    }
    if (!left) return;
    configure(left < TILE_ROWS ? (int)left : TILE_ROWS,
              left > TILE_ROWS ? (int)(left - TILE_ROWS) : TILE_ROWS);
    for (size_t p = 0; p < n_panels; p += 2) {
        b.x = first.x + whole * b.ldx;
        b.y = first.y + whole * b.ldy + p * GLIA_PANEL;
        b.w = first.w + p * b.panel_bytes;
        if (left > TILE_ROWS)
            two_by_two(&b, p + 1 < n_panels);
        else
            one_by_two(&b, p + 1 < n_panels);
    }
}

/* ---- one or two rows ------------------------------------------------------ */

static inline __m512 even(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
static inline __m512 odd(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

/* R rows through P panels, whole K, in the order of TDPBF16PS. */
static inline __attribute__((always_inline)) void few_rows(const block *b, const int R, const int P) {
    __m512 sum[FEW * WIDE], e[FEW * WIDE], o[FEW * WIDE];
    const size_t groups = b->steps * 16 + b->lines;
#pragma GCC unroll 16
    for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g += 16) {
        const size_t end = g + 16 < groups ? g + 16 : groups;
#pragma GCC unroll 16
        for (int i = 0; i < R * P; i++) e[i] = o[i] = _mm512_setzero_ps();
        for (size_t l = g; l < end; l++) {
            __m512 xe[FEW], xo[FEW];
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) {
                int pair;
                memcpy(&pair, b->x + (size_t)r * b->ldx + 2 * l, sizeof pair);
                xe[r] = even(_mm512_set1_epi32(pair));
                xo[r] = odd(_mm512_set1_epi32(pair));
            }
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                const char *line = b->w + (size_t)p * b->panel_bytes + l * 64;
                _mm_prefetch(line + AHEAD, _MM_HINT_T0);
                const __m512i pairs = _mm512_loadu_si512(line);
#pragma GCC unroll 2
                for (int r = 0; r < R; r++) {
                    e[r * P + p] = _mm512_fmadd_ps(xe[r], even(pairs), e[r * P + p]);
                    o[r * P + p] = _mm512_fmadd_ps(xo[r], odd(pairs), o[r * P + p]);
                }
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < R * P; i++) sum[i] = _mm512_add_ps(sum[i], _mm512_add_ps(e[i], o[i]));
    }
#pragma GCC unroll 16
    for (int i = 0; i < R * P; i++)
        _mm512_storeu_ps(b->y + (size_t)(i / P) * b->ldy + i % P * GLIA_PANEL, sum[i]);
}

static void sweep_few(block b, size_t n_panels, size_t rows) {
    enum { FLUSH = 0x8040 }; /* FTZ and DAZ, as the tiles do */
    const unsigned csr = _mm_getcsr();
    _mm_setcsr(csr | FLUSH);
    while (n_panels) {
        const size_t wide = rows == 1 ? WIDE : WIDE / 2, n = n_panels >= wide ? wide : 1;
        if (rows == 1 && n > 1)
            few_rows(&b, 1, WIDE);
        else if (rows == 1)
            few_rows(&b, 1, 1);
        else if (n > 1)
            few_rows(&b, 2, WIDE / 2);
        else
            few_rows(&b, 2, 1);
        b.w += n * b.panel_bytes;
        b.y += n * GLIA_PANEL;
        n_panels -= n;
    }
    _mm_setcsr(csr);
}

void glia_linear_narrow_amx(float *y, size_t ldy, const uint16_t *x, size_t ldx, const void *w, size_t k,
                            size_t n_panels, size_t m) {
    block b = {.ldy = ldy, .ldx = ldx, .panel_bytes = glia_panel_bytes(GLIA_DTYPE_BF16, k)};
    if (m <= FEW) {
        b.y = y;
        b.x = x;
        b.w = w;
        b.steps = k / STEP;
        b.lines = (k % STEP + 1) / 2;
        if (m) sweep_few(b, n_panels, m);
        return;
    }
    for (size_t r = 0; r < m; r += ROWS)
        for (size_t at = 0; at < k; at += K_BLOCK) {
            const size_t n = glia_min(k - at, K_BLOCK);
            b.y = y + r * ldy;
            b.x = x + r * ldx + at;
            b.w = (const char *)w + at / 2 * 64;
            b.steps = n / STEP;
            b.lines = (n % STEP + 1) / 2;
            b.more = at != 0;
            sweep(b, n_panels, glia_min(m - r, ROWS));
        }
    _tile_release();
}

void glia_narrow_amx(uint16_t *y, const float *x, size_t n) {
    const __m512i half = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1),
                  quiet = _mm512_set1_epi32(0x40);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 lanes = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
        const __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        const __m512i bits = _mm512_castps_si512(v), high = _mm512_srli_epi32(bits, 16);
        const __m512i round = _mm512_add_epi32(half, _mm512_and_si512(high, one));
        __m512i h = _mm512_srli_epi32(_mm512_add_epi32(bits, round), 16);
        h = _mm512_mask_or_epi32(h, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), high, quiet);
        _mm256_mask_storeu_epi16(y + i, lanes, _mm512_cvtepi32_epi16(h));
    }
}

uint64_t glia_peak_bf16_amx(uint64_t rounds) {
    static const char zeros[TILE_BYTES] __attribute__((aligned(64)));
    configure(TILE_ROWS, TILE_ROWS);
    _tile_loadd(4, zeros, 64);
    _tile_loadd(5, zeros, 64);
    _tile_loadd(6, zeros, 64);
    _tile_loadd(7, zeros, 64);
    for (uint64_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return rounds * 4 * 2 * TILE_ROWS * GLIA_PANEL * STEP;
}
