/* linear_w8a8.h - int8 rows through int8 panels: the loops that all rungs share.
 *
 * A rung defines the following before it includes this file:
 *   glia_sums             16 int32 sums, one for each column
 *   glia_line             a line of a panel, converted for products
 *   glia_line_ready()     loads and converts a line
 *   glia_dot()            adds the products of four k: a line and 4 bytes of a row
 *   glia_sums_start()     the initial sums: zero, or minus a row's excess in glia_dot()
 *   glia_sums_load/store  from and to memory
 *   glia_sums_finish()    multiplies by the scales and stores float32
 *   TILE_ROWS, TILE_PANELS  size of a tile for many rows
 *   FEW_PANELS            panels of a tile for one row
 *
 * Integer sums are exact, so their order is free. Between blocks of K they are kept
 * in y as int32. A block of K of GROUP panels stays in L2 while all rows use it. */
#ifndef GLIA_KERNEL_LINEAR_W8A8_H
#define GLIA_KERNEL_LINEAR_W8A8_H

enum {
    GROUP = 8,
    BLOCK = 4096,
    AHEAD = 2048,
    FEW_ROWS = 4,
    SUMS = TILE_ROWS * TILE_PANELS > 2 * FEW_PANELS ? TILE_ROWS *TILE_PANELS : 2 * FEW_PANELS,
};

typedef struct {
    float *y;
    const int8_t *x; /* at k = 0 */
    const float *x_scale, *w_scale;
    const char *w; /* at k = 0 */
    size_t ldy, ldx, panel_bytes, k;
} product;

/* One tile: R rows and P panels, k in [begin, end). begin is a multiple of 4. */
GLIA_INLINE void one_tile(const product *t, size_t begin, size_t end, const int R, const int P) {
    glia_sums sum[SUMS]; /* of R * P, GCC would keep them in memory */
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        const glia_sums start = glia_sums_start(t->x + (size_t)r * t->ldx, begin ? 0 : t->k);
        GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] =
            begin ? glia_sums_load(t->y + (size_t)r * t->ldy + p * GLIA_PANEL) : start;
    }
    for (size_t k = begin; k < end; k += 4) {
        glia_line line[FEW_PANELS];
        const char *ahead = t->w + glia_side_by_side(k * 16 + AHEAD, t->panel_bytes, P);
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            line[p] = glia_line_ready(t->w + (size_t)p * t->panel_bytes + k * 16);
            if (R <= FEW_ROWS) _mm_prefetch(ahead + (size_t)p * t->panel_bytes, _MM_HINT_T1);
        }
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            int four;
            memcpy(&four, t->x + (size_t)r * t->ldx + k, sizeof four);
            GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] = glia_dot(sum[r * P + p], line[p], four);
        }
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            float *y = t->y + (size_t)r * t->ldy + p * GLIA_PANEL;
            if (end < t->k)
                glia_sums_store(y, sum[r * P + p]);
            else
                glia_sums_finish(y, sum[r * P + p], t->x_scale[r], t->w_scale + p * GLIA_PANEL);
        }
    }
}

/* R rows through `panels` panels, P at a time. */
GLIA_INLINE void rows(product t, size_t panels, size_t begin, size_t end, const int R, const int P) {
    for (size_t n; panels; panels -= n) {
        n = panels >= (size_t)P ? (size_t)P : 1;
        if (n > 1)
            one_tile(&t, begin, end, R, P);
        else
            one_tile(&t, begin, end, R, 1);
        t.y += n * GLIA_PANEL;
        t.w += n * t.panel_bytes;
        t.w_scale += n * GLIA_PANEL;
    }
}

static product product_of(const glia_gemm *g) {
    return (product){g->out.y, g->x.x,     g->x.scale, g->w_scale,
                     g->w,     g->out.ldy, g->x.row,   glia_panel_bytes(GLIA_WEIGHT_I8, g->k),
                     g->k};
}

static void linear(product t, size_t n_panels, size_t m) {
    for (size_t p = 0; p < n_panels; p += GROUP) {
        const size_t panels = glia_min(n_panels - p, GROUP);
        for (size_t begin = 0; begin < t.k; begin += BLOCK) {
            const size_t end = glia_min(t.k, begin + BLOCK);
            product at = t;
            for (size_t left = m, done; left; left -= done) {
                done = left >= TILE_ROWS ? TILE_ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
                if (done == TILE_ROWS)
                    rows(at, panels, begin, end, TILE_ROWS, TILE_PANELS);
                else if (done == 4)
                    rows(at, panels, begin, end, 4, TILE_PANELS);
                else if (done == 2)
                    rows(at, panels, begin, end, 2, FEW_PANELS / 2);
                else
                    rows(at, panels, begin, end, 1, FEW_PANELS);
                at.y += done * t.ldy;
                at.x += done * t.ldx;
                at.x_scale += done;
            }
        }
        t.y += panels * GLIA_PANEL;
        t.w += panels * t.panel_bytes;
        t.w_scale += panels * GLIA_PANEL;
    }
}

#endif
