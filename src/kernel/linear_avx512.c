/* linear_avx512.c - the AVX-512 twin of linear_ref.c: a line is a register.
 *
 * A tile of R rows and P panels keeps one chain per output line in a register;
 * finished chains go to `run` on the stack, finished runs to y. Which tile a row
 * falls into changes no sum. Few rows: many panels at once, each its own stream
 * from memory. Many rows: GROUP panels of one run stay in the second cache while
 * all rows pass through them. */
#include "kernel/tile_avx512.h"

enum { GROUP = 8 };

glia_linear_fn glia_linear_f32_avx512, glia_linear_bf16_avx512;

typedef struct {
    float *y;
    const float *x;
    const char *w;
    size_t ldy, ldx, panel_bytes;
} product;

GLIA_INLINE void one_tile(const product *t, size_t begin, size_t end, const int R, const int P,
                          const glia_dtype dtype) {
    glia_operands o = {.x = t->x, .ldx = t->ldx};
    __m512 run[GLIA_TILE_MAX];
    GLIA_UNROLL for (int p = 0; p < P; p++) o.w[p] = t->w + (size_t)p * t->panel_bytes;
    GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = _mm512_setzero_ps();
    for (size_t k = begin; k < end; k += GLIA_CHAIN)
        glia_chain(run, &o, k, glia_min(end, k + GLIA_CHAIN), R, P, dtype);
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            float *y = t->y + (size_t)r * t->ldy + (size_t)p * GLIA_PANEL;
            const __m512 old = begin ? _mm512_loadu_ps(y) : _mm512_setzero_ps();
            _mm512_storeu_ps(y, _mm512_add_ps(old, run[r * P + p]));
        }
    }
}

/* R rows through `panels` panels, P at a time. */
GLIA_INLINE void rows(product t, size_t panels, size_t begin, size_t end, const int R, const int P,
                      const glia_dtype dtype) {
    for (; panels >= (size_t)P; panels -= (size_t)P) {
        one_tile(&t, begin, end, R, P, dtype);
        t.y += P * GLIA_PANEL;
        t.w += (size_t)P * t.panel_bytes;
    }
    for (; panels; panels--) {
        one_tile(&t, begin, end, R, 1, dtype);
        t.y += GLIA_PANEL;
        t.w += t.panel_bytes;
    }
}

GLIA_INLINE void linear(product t, size_t k, size_t n_panels, size_t m, const glia_dtype dtype) {
    for (size_t p = 0; p < n_panels; p += GROUP) {
        const size_t panels = glia_min(n_panels - p, GROUP);
        for (size_t begin = 0; begin < k; begin += GLIA_RUN) {
            const size_t end = glia_min(k, begin + GLIA_RUN);
            product at = t;
            for (size_t left = m, done; left; left -= done, at.y += done * t.ldy, at.x += done * t.ldx) {
                done = left >= 12 ? 12 : glia_min(left, 4);
                if (done == 12)
                    rows(at, panels, begin, end, 12, 2, dtype);
                else if (done == 4)
                    rows(at, panels, begin, end, 4, 4, dtype);
                else if (done == 3)
                    rows(at, panels, begin, end, 3, 4, dtype);
                else if (done == 2)
                    rows(at, panels, begin, end, 2, 8, dtype);
                else
                    rows(at, panels, begin, end, 1, 8, dtype);
            }
        }
        t.y += panels * GLIA_PANEL;
        t.w += panels * t.panel_bytes;
    }
}

void glia_linear_f32_avx512(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                            size_t n_panels, size_t m) {
    const product t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_F32, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_F32);
}

void glia_linear_bf16_avx512(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                             size_t n_panels, size_t m) {
    const product t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_BF16, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_BF16);
}
