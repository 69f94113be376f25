/* linear_avx512_bf16.c - bfloat16 and int8 rows with AVX-512 BF16 and VNNI, which multiply
 * pairs of bfloat16 and fours of int8. The pairs of formats (rows, weights): bfloat16 and
 * bfloat16, bfloat16 and int8, int8 and int8.
 *
 * This rung adds the pairs of the whole K, in rising k, to one float32 per element, as
 * dot_avx512_bf16.h describes. An int8 sum starts at -128 times the sum of the row.
 *
 * product_avx512.h has the order of blocks. A block is up to 12 rows and a pair of panels:
 * 24 sums in registers. A line of a panel is loaded once for all rows of a block, and four
 * bytes of a row are broadcast to both panels. Up to FEW rows that are row-major, and the
 * few rows of an adapter among others, are bound by memory: every panel is read once, and
 * several panels side by side are as many streams. */
#include "kernel/panel.h"
#include "kernel/x86/dot_avx512_bf16.h"

enum {
    BLOCK_ROWS = GLIA_DOT_ROWS,
    ROW_UNIT = BLOCK_ROWS,
    PART = 32, /* 64 KiB of panels: L2 */
    X_BYTES = 1 << 19,
    ROWS = 252,
    PANELS = 16,
    RING = 4,
    FEW = 4,
    AHEAD = 2048, /* prefetch distance in a panel for few rows, bytes: into L1, */
    FAR = 4096,   /* and into L2 */
};
#include "kernel/x86/product_avx512.h"

glia_gemm_fn glia_gemm_bf16_bf16_avx512_bf16, glia_gemm_i8_bf16_avx512_bf16, glia_gemm_i8_i8_avx512_bf16;

enum { ROWS_MAX = X_BYTES / STEP_BYTES }; /* rows of a group */

/* Which formats: rows and panels as they are stored; int8 panels under bfloat16 rows, widened in memory for
 * several blocks of rows, or in registers for one; int8 rows. */
typedef enum { HALVES, WIDENED, ONCE, BYTES } formats;

/* -128 times the sum of the int8 row at x, whose steps are x_step bytes apart. */
static int32_t first_sum(const product *t, const char *x) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t s = 0; s < steps_of(t); s++)
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), _mm512_loadu_si512(x + s * t->x_step));
    return (int32_t)(0u - (uint32_t)_mm512_reduce_add_epi32(sum)); /* may wrap */
}

/* ---- blocks ----------------------------------------------------------------- */

/* sum [R, 2] += n lines of two int8 panels by R rows at x of bfloat16. The lines at `next` are prefetched. */
GLIA_INLINE void dot_once(__m512i *sum, const char *const *w, const char *const *next, const char *x,
                          size_t n, const int R) {
    for (size_t at = 0; at < n; at++) {
        __m512i line[2][2];
        GLIA_UNROLL for (int p = 0; p < 2; p++) {
            widen_pairs(line[p], _mm512_loadu_si512(w[p] + at * 64));
            _mm_prefetch(next[p] + at * 64, _MM_HINT_T1);
        }
        GLIA_UNROLL for (int half = 0; half < 2; half++) {
            GLIA_UNROLL for (int r = 0; r < R; r++) {
                const __m512i four = glia_dot_four(x + r * GLIA_DOT_STEP + at * 8 + half * 4);
                GLIA_UNROLL for (int p = 0; p < 2; p++) sum[2 * r + p] =
                    glia_dot(sum[2 * r + p], line[p][half], four, false);
            }
        }
    }
}

/* Multiply a block of R rows. Of its last step only the lines that exist are read. */
GLIA_INLINE void multiply(const product *t, const block *b, ahead *next, const int R, const formats f) {
    const char *x = b->x;
    __m512i sum[2 * BLOCK_ROWS];
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        if (b->from) {
            sum[2 * r] = _mm512_load_si512(b->from + r * PAIR);
            sum[2 * r + 1] = _mm512_load_si512(b->from + r * PAIR + GLIA_PANEL);
        } else {
            sum[2 * r] = sum[2 * r + 1] = _mm512_set1_epi32(f == BYTES ? t->first[b->row + (size_t)r] : 0);
        }
    }
    for (size_t s = 0; s < b->steps; s++, x += b->x_step) {
        const size_t step_bytes = t->w_lines * 64, lines = s + 1 < b->steps ? t->w_lines : b->last_lines,
                     n = f == WIDENED ? 2 * lines : lines, fetched = glia_min(b->fetch, n);
        const char *w[2] = {b->w[0] + s * step_bytes, b->w[1] + s * step_bytes}, *far[2];
        take_lines(next, b->fetch, far);
        if (f == ONCE) {
            dot_once(sum, w, far, x, n, R);
            continue;
        }
        if (f == WIDENED) {
            if (b->widen) widen_step(b, s);
            w[0] = b->wide + 2 * (s & b->slots) * PANEL_STEP;
            w[1] = w[0] + PANEL_STEP;
        }
        glia_dot_some(sum, w, far, x, 0, fetched, R, 2, f == BYTES);
        glia_dot_some(sum, w, NULL, x, fetched, n, R, 2, f == BYTES);
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        _mm512_storeu_si512(b->to + (size_t)r * b->ldt, sum[2 * r]);
        _mm512_storeu_si512(b->to + (size_t)r * b->ldt + GLIA_PANEL, sum[2 * r + 1]);
    }
}

static void begin_group(product *t, const char *x, size_t rows) {
    assert(!t->first || rows <= ROWS_MAX);
    for (size_t r = 0; t->first && r < rows; r++) t->first[r] = first_sum(t, x + r * t->ldx);
}

/* Blocks of about equal height. */
static size_t block_rows(size_t left) { return left / ((left + BLOCK_ROWS - 1) / BLOCK_ROWS); }

static void multiply_block(product *t, const block *b, ahead *next, size_t rows) {
    while (t->e.done < t->e.rows) finish_next(&t->e);
    if (t->i8) {
        GLIA_WITH_12_ROWS(rows, 1, 12, multiply(t, b, next, R, BYTES))
    } else if (t->wide && b->slots == SIZE_MAX) {
        GLIA_WITH_12_ROWS(rows, 1, 12, multiply(t, b, next, R, WIDENED))
    } else if (t->wide) {
        GLIA_WITH_12_ROWS(rows, 1, 12, multiply(t, b, next, R, ONCE))
    } else {
        GLIA_WITH_12_ROWS(rows, 1, 12, multiply(t, b, next, R, HALVES))
    }
}

/* ---- few rows --------------------------------------------------------------- */

/* One line of P panels by R row-major rows at x, which are ldx bytes apart. A line of int8 under bfloat16 is
 * two lines. */
GLIA_INLINE void few_lines(__m512i *sum, const char *w, size_t panel_bytes, const char *x, size_t ldx,
                           const int R, const int P, const formats f) {
    __m512i four[FEW][2];
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        four[r][0] = glia_dot_four(x + (size_t)r * ldx);
        if (f == WIDENED) four[r][1] = glia_dot_four(x + (size_t)r * ldx + 4);
    }
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        const char *at = w + (size_t)p * panel_bytes;
        __m512i line[2];
        if (f == WIDENED)
            widen_pairs(line, _mm512_loadu_si512(at));
        else
            line[0] = glia_dot_line(at, f == BYTES);
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            sum[r * P + p] = glia_dot(sum[r * P + p], line[0], four[r][0], f == BYTES);
            if (f == WIDENED) sum[r * P + p] = glia_dot(sum[r * P + p], line[1], four[r][1], false);
        }
    }
}

/* Where the four (WIDENED: eight) bytes for the line at `at` stand in a row, without `steps` a row-major one.
 */
GLIA_INLINE size_t few_at(const product *t, size_t at, const formats f, const bool steps) {
    return steps ? at / PANEL_STEP * t->x_step + at % PANEL_STEP / 16 : at / (f == WIDENED ? 8 : 16);
}

/* Multiply R rows by P panels from `panel` on, over the whole K. */
GLIA_INLINE void few_rows(const product *t, const char *x, size_t row, size_t panel, const int R, const int P,
                          const formats f, const bool steps) {
    const size_t pb = t->panel_bytes;
    const char *w = t->w + panel * pb;
    __m512i sum[GLIA_DOT_SUMS];
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] =
            _mm512_set1_epi32(f == BYTES ? t->first[r] : 0);
    }
    for (size_t at = 0; at < pb; at += 64) {
        const char *next = t->next ? t->next + panel * pb + at : w + glia_side_by_side(at + AHEAD, pb, P);
        GLIA_UNROLL for (int p = 0; p < P; p++) _mm_prefetch(next + (size_t)p * pb, _MM_HINT_T1);
        few_lines(sum, w + at, pb, x + few_at(t, at, f, steps), t->ldx, R, P, f);
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p += 2)
            finish_row(&t->to, row + (size_t)r, panel + (size_t)p, P > 1, (__m512)sum[r * P + p],
                       (__m512)sum[r * P + (P > 1 ? p + 1 : p)]);
    }
}

GLIA_INLINE void few_panels(const product *t, size_t n_panels, const char *x, size_t row, const int R,
                            const int P, const formats f, const bool steps) {
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = n_panels - p >= (size_t)P ? (size_t)P : n_panels - p >= 2 ? 2 : 1;
        if (n == (size_t)P)
            few_rows(t, x, row, p, R, P, f, steps);
        else if (n == 2)
            few_rows(t, x, row, p, R, 2, f, steps);
        else
            few_rows(t, x, row, p, R, 1, f, steps);
    }
}

GLIA_INLINE void sweep_few(product *t, size_t n_panels, size_t m, const formats f, const bool steps) {
    for (size_t row = 0, rows; row < m; row += rows) {
        const char *x = t->x + row * t->ldx;
        rows = glia_min(m - row, FEW);
        begin_group(t, x, rows);
        switch (rows) {
        case 1: few_panels(t, n_panels, x, row, 1, 8, f, steps); break;
        case 2: few_panels(t, n_panels, x, row, 2, 8, f, steps); break;
        case 3: few_panels(t, n_panels, x, row, 3, 6, f, steps); break;
        default: few_panels(t, n_panels, x, row, 4, 6, f, steps); break;
        }
    }
}

/* ---- all -------------------------------------------------------------------- */

GLIA_INLINE void run(const glia_gemm *g, product *t, const formats f) {
    enum { FLUSH = 0x8040 }; /* FTZ and DAZ: VDPBF16PS treats denormals as zero, too */
    const unsigned csr = _mm_getcsr();
    assert(g->out.epilogue != GLIA_SWIGLU || g->n_panels % 2 == 0);
    assert(t->x_step == STEP_BYTES || t->ldx == STEP_BYTES);
    if (g->m == 0 || g->n_panels == 0) return;
    _mm_setcsr(csr | FLUSH);
    if (t->x_step == STEP_BYTES && (g->m == 1 || t->ldx != STEP_BYTES))
        sweep_few(t, g->n_panels, g->m, f, false);
    else if (f == HALVES && g->m <= FEW)
        sweep_few(t, g->n_panels, g->m, f, true);
    else
        sweep_groups(t, g->n_panels, g->m);
    _mm256_zeroupper(); /* GCC omits it here; libm's exp would then take 30 times as long */
    _mm_setcsr(csr);
}

void glia_gemm_bf16_bf16_avx512_bf16(const glia_gemm *g) {
    product t = product_of(g, GLIA_WEIGHT_BF16);
    run(g, &t, HALVES);
}

void glia_gemm_i8_bf16_avx512_bf16(const glia_gemm *g) {
    char wide[PART * 2 * PANEL_STEP] __attribute__((aligned(64)));
    product t = product_of(g, GLIA_WEIGHT_I8);
    t.w_lines = 8;
    t.wide = wide;
    run(g, &t, WIDENED);
}

void glia_gemm_i8_i8_avx512_bf16(const glia_gemm *g) {
    int32_t first[ROWS_MAX];
    product t = product_of(g, GLIA_WEIGHT_I8);
    t.step = 64;
    t.i8 = true;
    t.first = first;
    run(g, &t, BYTES);
}
