/* linear_w4a8.h - int8 rows through panels of 4-bit codes: the loops that the rungs of `store`
 * share.
 *
 * A line of a panel is 8 k of 16 columns. Its low halves meet four bytes of a row, its high
 * halves the next four (glia_order_c4_rows()). Codes are unsigned, so zero point * excess is
 * taken from the sum of a group, where excess is the sum of the row's group. That is done in
 * float32, in which these integers are exact.
 *
 * A rung defines the following before it includes this file:
 *   glia_sums           16 int32 sums, one for each column
 *   glia_halves         a line, as two lines of bytes
 *   glia_sums_none()    zeros
 *   glia_halves_of()    loads a line
 *   glia_dot_halves()   adds the products of eight k: a line and 8 bytes of a row
 *   glia_add_group()    y [16] += (sum - zero * excess) * scale; without zero points zero is
 *                       GLIA_C4_MIDDLE
 *   TILE_ROWS, TILE_PANELS  size of a tile for many rows
 *   FEW_PANELS          panels of a tile for one row */
#ifndef GLIA_KERNEL_LINEAR_W4A8_H
#define GLIA_KERNEL_LINEAR_W4A8_H

#include <string.h>

#include "kernel/panel.h"

enum {
    AHEAD = 1024,       /* prefetch distance in a panel for one row, bytes */
    BLOCK_GROUPS = 128, /* whose excess is kept */
    SUMS = TILE_ROWS * TILE_PANELS > FEW_PANELS ? TILE_ROWS *TILE_PANELS : FEW_PANELS,
};

/* Groups [begin, end) of k of R rows at x, whose excess is [R, BLOCK_GROUPS]. */
typedef struct {
    const glia_gemm *g;
    const int8_t *x; /* at k = 0 */
    float *y;
    const float *excess;
    size_t panel, begin, end;
} tile;

/* The sum of n bytes, n rounded up to a multiple of 16. */
GLIA_INLINE int32_t row_sum(const int8_t *x, size_t n) {
    const __m128i half = _mm_set1_epi8(-128);
    __m128i sum = _mm_setzero_si128();
    size_t i = 0;
    for (; i < n; i += 16) {
        const __m128i at = _mm_loadu_si128((const __m128i *)(const void *)(x + i));
        sum = _mm_add_epi64(sum, _mm_sad_epu8(_mm_xor_si128(at, half), _mm_setzero_si128()));
    }
    return _mm_cvtsi128_si32(_mm_add_epi64(sum, _mm_unpackhi_epi64(sum, sum))) - 128 * (int32_t)i;
}

/* One tile: R rows by P panels. */
GLIA_INLINE void one_tile(const tile *t, const int R, const int P) {
    const glia_gemm *g = t->g;
    const size_t pb = glia_panel_bytes(GLIA_WEIGHT_C4, g->k), groups = glia_groups(g->k, g->group, g->whole);
    const char *w = (const char *)g->w + t->panel * pb;
    for (size_t begin = t->begin, i = 0; begin < t->end; begin += g->group, i++) {
        const size_t end = glia_min(t->end, begin + g->group);
        glia_sums sum[SUMS];
        GLIA_UNROLL for (int j = 0; j < R * P; j++) sum[j] = glia_sums_none();
        for (size_t k = begin; k < end; k += 8) {
            glia_halves line[TILE_PANELS > FEW_PANELS ? TILE_PANELS : FEW_PANELS];
            GLIA_UNROLL for (int p = 0; p < P; p++) {
                line[p] = glia_halves_of(w + (size_t)p * pb + k * 8);
                if (R == 1) _mm_prefetch(w + (size_t)p * pb + k * 8 + AHEAD, _MM_HINT_T0);
            }
            GLIA_UNROLL for (int r = 0; r < R; r++) {
                GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] =
                    glia_dot_halves(sum[r * P + p], line[p], t->x + (size_t)r * g->x.row + k);
            }
        }
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const size_t at =
                ((t->panel + (size_t)p) * groups + (g->whole ? 0 : begin / g->group)) * GLIA_PANEL;
            GLIA_UNROLL for (int r = 0; r < R; r++) glia_add_group(
                t->y + (size_t)r * g->out.ldy + p * GLIA_PANEL, sum[r * P + p],
                g->w_zero ? g->w_zero + at : NULL, t->excess[r * BLOCK_GROUPS + (int)i], g->w_scale + at);
        }
    }
}

/* The excess of the groups of R rows. */
GLIA_INLINE void find_excess(float *excess, const tile *t, const int R) {
    for (int r = 0; r < R; r++)
        for (size_t k = t->begin, i = 0; k < t->end; k += t->g->group, i++)
            excess[r * BLOCK_GROUPS + (int)i] =
                (float)row_sum(t->x + (size_t)r * t->g->x.row + k, glia_min(t->end - k, t->g->group));
}

/* R rows from `row` on through all panels, P at a time. */
GLIA_INLINE void some_rows(const glia_gemm *g, size_t row, const int R, const int P) {
    float excess[TILE_ROWS * BLOCK_GROUPS];
    float *y = g->out.y + row * g->out.ldy;
    tile t = {.g = g, .x = (const int8_t *)g->x.x + row * g->x.row, .excess = excess};
    for (size_t r = 0; r < (size_t)R; r++)
        memset(y + r * g->out.ldy, 0, g->n_panels * GLIA_PANEL * sizeof *y);
    for (; t.begin < g->k; t.begin = t.end) {
        t.end = glia_min(g->k, t.begin + BLOCK_GROUPS * g->group);
        find_excess(excess, &t, R);
        for (size_t n; t.panel < g->n_panels; t.panel += n) {
            n = g->n_panels - t.panel >= (size_t)P ? (size_t)P : 1;
            t.y = y + t.panel * GLIA_PANEL;
            if (n > 1)
                one_tile(&t, R, P);
            else
                one_tile(&t, R, 1);
        }
        t.panel = 0;
    }
    for (size_t r = 0; r < (size_t)R; r++)
        for (size_t c = 0; c < g->n_panels * GLIA_PANEL; c++) y[r * g->out.ldy + c] *= g->x.scale[row + r];
}

static void linear(const glia_gemm *g) {
    for (size_t row = 0, n; row < g->m; row += n) {
        const size_t left = g->m - row;
        n = left >= TILE_ROWS ? TILE_ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        if (n == TILE_ROWS)
            some_rows(g, row, TILE_ROWS, TILE_PANELS);
        else if (n == 4)
            some_rows(g, row, 4, TILE_PANELS);
        else if (n == 2)
            some_rows(g, row, 2, FEW_PANELS / 2);
        else
            some_rows(g, row, 1, FEW_PANELS);
    }
}

#endif
