/* linear_amx.c - rows through panels on AMX tiles, and one or two rows with AVX-512.
 * The pairs of formats (rows, weights): bfloat16 and bfloat16, bfloat16 and int8,
 * int8 and int8.
 *
 * For every element, TDPBF16PS adds the products of 16 even and of 16 odd k in two
 * chains from zero, then adds the sum of both chains to the element. It rounds to
 * nearest and treats denormals as zero (Intel SDM, TDPBF16PS). That is this rung's
 * order of additions: 32 products at a time in rising k. The order does not depend
 * on the number of rows in a tile. few_rows() repeats the order with AVX-512, which
 * reads weights from memory faster than tiles of one row do.
 *
 * product_avx512.h has the order of blocks. A block is 32 rows and a pair of panels: 2 x 2
 * sums in tiles. A part of a pair of panels stays in L1; the rows bypass L1
 * (TILELOADDT1). The epilogue of a block runs between the tile instructions of the
 * next block, which hides almost all of its time.
 *
 * int8 panels under int8 rows differ in the tile instruction alone: a step is 64 bytes
 * of a row in both cases, and the int32 sums of TDPBSSD are exact. Scales are the first
 * operation of the epilogue. */
#include <assert.h>
#include <string.h>

#include "kernel/x86/tile_amx.h"

enum {
    TILE_ROWS = GLIA_AMX_ROWS,
    TILE_BYTES = GLIA_AMX_BYTES,
    BLOCK_ROWS = 2 * TILE_ROWS,
    ROW_UNIT = TILE_ROWS,
    PART = 16, /* 32 KiB of panels: L1 */
    X_BYTES = 1 << 20,
    ROWS = 256,
    PANELS = 16,
    RING = 4,
    FEW = 2,
    FEW_PANELS = 64, /* panels whose sums for few rows are kept in scratch */
    WIDE = 8,
    AHEAD = 2048, /* prefetch distance in a panel for few rows, bytes: into L1, */
    FAR = 4096,   /* and into L2 */
};
#include "kernel/x86/product_avx512.h"

glia_gemm_fn glia_gemm_bf16_bf16_amx, glia_gemm_i8_bf16_amx, glia_gemm_i8_i8_amx;
/* linear_i8_amx.c: up to FEW rows, without scales */
void glia_linear_sums_i8_amx(float *y, size_t ldy, const uint16_t *x, size_t ldx, const void *w, size_t k,
                             size_t n_panels, size_t m);
glia_gemm_fn glia_gemm_i8_i8_vnni;

/* ---- tiles ----------------------------------------------------------------- */

/* Tiles 0-3 hold sums, 4-5 rows of x, 6-7 panels. */
static void configure(size_t rows) {
    const size_t first = glia_min(rows, TILE_ROWS), second = rows > TILE_ROWS ? rows - TILE_ROWS : TILE_ROWS;
    glia_tile_config c = glia_tile_config_full();
    c.rows[0] = c.rows[1] = c.rows[4] = (uint8_t)first;
    c.rows[2] = c.rows[3] = c.rows[5] = (uint8_t)second;
    glia_tile_load(&c);
}

/* Set p to both panels at step s: widened if `wide`, a copy with zeros for a last, partial step. */
GLIA_INLINE void panels_at(const block *b, size_t s, char last[2][TILE_BYTES], const char *p[2],
                           const bool wide) {
    if (wide && b->widen && s == 0) widen_step(b, 0);
    if (wide && b->widen && s + 1 < b->steps) widen_step(b, s + 1);
    for (size_t i = 0; i < 2; i++)
        p[i] = wide ? b->wide + (2 * (s & b->slots) + i) * TILE_BYTES : b->w[i] + s * TILE_BYTES;
    if (wide || s + 1 < b->steps || b->last_lines == 16) return;
    for (size_t i = 0; i < 2; i++) {
        memset(last[i], 0, TILE_BYTES);
        memcpy(last[i], p[i], b->last_lines * 64);
        p[i] = last[i];
    }
}

#define DOT(to, x, w)                                                                                        \
    if (i8)                                                                                                  \
        _tile_dpbssd(to, x, w);                                                                              \
    else                                                                                                     \
        _tile_dpbf16ps(to, x, w)

/* Multiply one block of up to 16 rows, or with `two` of 17 to 32 rows, which then bypass L1. */
GLIA_INLINE void multiply(const block *b, ahead *next, pending *e, const bool two, const bool i8,
                          const bool wide) {
    enum { PAIR_BYTES = PAIR * sizeof(float), LOWER = TILE_ROWS * PAIR };
    char last[2][TILE_BYTES] __attribute__((aligned(64)));
    const char *p[2], *x0 = b->x, *x1 = x0 + TILE_ROWS * b->ldx;
    const size_t ldx = b->ldx, ldt = b->ldt * sizeof(float);
    if (b->from) {
        _tile_loadd(0, b->from, PAIR_BYTES);
        _tile_loadd(1, b->from + GLIA_PANEL, PAIR_BYTES);
        if (two) _tile_loadd(2, b->from + LOWER, PAIR_BYTES);
        if (two) _tile_loadd(3, b->from + LOWER + GLIA_PANEL, PAIR_BYTES);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t s = 0; s < b->steps; s++, x0 += b->x_step, x1 += b->x_step) {
        panels_at(b, s, last, p, wide);
        fetch(next, b->fetch);
        for (size_t i = 0; i < b->finish && e->done < e->rows; i++) finish_next(e);
        if (two)
            _tile_stream_loadd(4, x0, ldx);
        else
            _tile_loadd(4, x0, ldx);
        _tile_loadd(6, p[0], 64);
        DOT(0, 4, 6);
        _tile_loadd(7, p[1], 64);
        DOT(1, 4, 7);
        if (!two) continue;
        _tile_stream_loadd(5, x1, ldx);
        DOT(2, 5, 6);
        DOT(3, 5, 7);
    }
    while (e->done < e->rows) finish_next(e);
    _tile_stored(0, b->to, ldt);
    _tile_stored(1, b->to + GLIA_PANEL, ldt);
    if (two) _tile_stored(2, b->to + TILE_ROWS * b->ldt, ldt);
    if (two) _tile_stored(3, b->to + TILE_ROWS * b->ldt + GLIA_PANEL, ldt);
}

static void begin_group(product *t, const char *x, size_t rows) { (void)t, (void)x, (void)rows; }

static size_t block_rows(size_t left) { return glia_min(left, BLOCK_ROWS); }

static void multiply_block(product *t, const block *b, ahead *next, size_t rows) {
    const int kind = 3 * (rows > TILE_ROWS) + (t->i8 ? 1 : t->wide ? 2 : 0);
    if (rows != t->configured) configure(t->configured = rows);
    switch (kind) {
    case 0: multiply(b, next, &t->e, false, false, false); break;
    case 1: multiply(b, next, &t->e, false, true, false); break;
    case 2: multiply(b, next, &t->e, false, false, true); break;
    case 3: multiply(b, next, &t->e, true, false, false); break;
    case 4: multiply(b, next, &t->e, true, true, false); break;
    default: multiply(b, next, &t->e, true, false, true); break;
    }
}

/* ---- one or two rows ------------------------------------------------------- */

static inline __m512 even(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
static inline __m512 odd(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

/* Multiply R rows by P panels from `panel` on, over the whole K, in TDPBF16PS's order of additions. */
static inline __attribute__((always_inline)) void few_rows(const product *t, size_t panel, const int R,
                                                           const int P) {
    __m512 sum[FEW * WIDE], e[FEW * WIDE], o[FEW * WIDE];
    const char *w = t->w + panel * t->panel_bytes;
    const size_t groups = (t->k + 1) / 2, pb = t->panel_bytes;
#pragma GCC unroll 16
    for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g += 16) {
        const size_t end = g + 16 < groups ? g + 16 : groups;
        const char *x = t->x + g / 16 * t->x_step, *fetched = w + glia_side_by_side(g * 64 + AHEAD, pb, P);
        const char *far = w + glia_side_by_side(g * 64 + FAR, pb, P);
#pragma GCC unroll 16
        for (int i = 0; i < R * P; i++) e[i] = o[i] = _mm512_setzero_ps();
        for (size_t l = g; l < end; l++, fetched += 64, far += 64) {
            __m512 xe[FEW], xo[FEW];
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) {
                int pair;
                memcpy(&pair, x + (size_t)r * t->ldx + 4 * (l - g), sizeof pair);
                xe[r] = even(_mm512_set1_epi32(pair));
                xo[r] = odd(_mm512_set1_epi32(pair));
            }
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                _mm_prefetch(fetched + (size_t)p * pb, _MM_HINT_T0);
                _mm_prefetch(far + (size_t)p * pb, _MM_HINT_T1);
                const __m512i pairs = _mm512_loadu_si512(w + (size_t)p * pb + l * 64);
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
    for (int i = 0; i < R * P; i += 2)
        finish_row(&t->to, (size_t)(i / P), panel + (size_t)(i % P), P > 1, sum[i], sum[P > 1 ? i + 1 : i]);
    if (R == 2 && P == 1) finish_row(&t->to, 1, panel, false, sum[1], sum[1]);
}

static void sweep_few(const product *t, size_t n_panels, size_t rows) {
    const size_t wide = rows == 1 ? WIDE : WIDE / 2;
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = n_panels - p >= wide ? wide : n_panels - p >= 2 ? 2 : 1;
        if (rows == 1 && n == wide)
            few_rows(t, p, 1, WIDE);
        else if (rows == 1 && n == 2)
            few_rows(t, p, 1, 2);
        else if (rows == 1)
            few_rows(t, p, 1, 1);
        else if (n == wide)
            few_rows(t, p, 2, WIDE / 2);
        else if (n == 2)
            few_rows(t, p, 2, 2);
        else
            few_rows(t, p, 2, 1);
    }
}

/* Multiply few row-major rows by int8 panels: sums first, then the epilogue. */
static void sweep_few_i8(const product *t, size_t n_panels, size_t rows) {
    const size_t ld = FEW_PANELS * GLIA_PANEL;
    float *sums = t->partial;
    target to = t->to;
    if (t->i8) to.w_scale = NULL; /* glia_gemm_i8_i8_vnni() multiplies by the scales */
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = glia_min(n_panels - p, FEW_PANELS);
        const char *w = t->w + p * t->panel_bytes;
        if (t->i8)
            glia_gemm_i8_i8_vnni(&(glia_gemm){.out = {.y = sums, .ldy = ld},
                                              .x = {t->x, t->ldx, STEP_BYTES, t->to.x_scale},
                                              .w = w,
                                              .w_scale = t->to.w_scale + p * GLIA_PANEL,
                                              .k = t->k,
                                              .n_panels = n,
                                              .m = rows});
        else
            glia_linear_sums_i8_amx(sums, ld, (const void *)t->x, t->ldx / 2, w, t->k, n, rows);
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < n; i += 2) {
                const float *at = sums + r * ld + i * GLIA_PANEL;
                finish_row(&to, r, p + i, i + 1 < n, _mm512_loadu_ps(at), _mm512_loadu_ps(at + GLIA_PANEL));
            }
    }
}

/* ---- all ------------------------------------------------------------------ */

static void sweep_all(product *t, size_t n_panels, size_t m) {
    sweep_groups(t, n_panels, m);
    _tile_release();
}

static void run(product *t, size_t n_panels, size_t m) {
    enum { FLUSH = 0x8040 }; /* FTZ and DAZ: tiles treat denormals as zero, too */
    const unsigned csr = _mm_getcsr();
    assert(t->to.out->epilogue != GLIA_SWIGLU || n_panels % 2 == 0);
    assert(!t->to.w_scale || m > FEW || t->x_step == STEP_BYTES);
    if (m == 0 || n_panels == 0) return;
    _mm_setcsr(csr | FLUSH);
    if (m > FEW)
        sweep_all(t, n_panels, m);
    else if (t->to.w_scale)
        sweep_few_i8(t, n_panels, m);
    else
        sweep_few(t, n_panels, m);
    _mm256_zeroupper(); /* GCC omits it here; libm's exp would then take 30 times as long */
    _mm_setcsr(csr);
}

void glia_gemm_bf16_bf16_amx(const glia_gemm *g) {
    product t = product_of(g, GLIA_WEIGHT_BF16);
    run(&t, g->n_panels, g->m);
}

void glia_gemm_i8_bf16_amx(const glia_gemm *g) {
    char wide[PART * 2 * TILE_BYTES] __attribute__((aligned(64)));
    product t = product_of(g, GLIA_WEIGHT_I8);
    t.w_lines = 8;
    t.wide = wide;
    run(&t, g->n_panels, g->m);
}

void glia_gemm_i8_i8_amx(const glia_gemm *g) {
    product t = product_of(g, GLIA_WEIGHT_I8);
    t.step = 64;
    t.i8 = true;
    run(&t, g->n_panels, g->m);
}
