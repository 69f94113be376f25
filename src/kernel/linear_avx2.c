/* linear_avx2.c - the AVX2 twin of linear_ref.c: a line is two half-lines. See
 * linear_avx512.c for the shape; 16 registers hold 12 chains. */
#include "kernel/tile_avx2.h"

enum { GROUP = 8 };

glia_linear_fn glia_linear_f32_avx2, glia_linear_bf16_avx2;

typedef struct {
    float *y;
    const float *x;
    const char *w;
    size_t ldy, ldx, panel_bytes;
} product;

GLIA_INLINE void one_tile(const product *t, size_t begin, size_t end, const int R, const int H,
                          const glia_dtype dtype) {
    glia_operands o = {.x = t->x, .ldx = t->ldx};
    __m256 run[GLIA_TILE_MAX];
    GLIA_UNROLL for (int p = 0; p < H / 2; p++) o.w[p] = t->w + (size_t)p * t->panel_bytes;
    GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] = _mm256_setzero_ps();
    for (size_t k = begin; k < end; k += GLIA_CHAIN)
        glia_chain(run, &o, k, glia_min(end, k + GLIA_CHAIN), R, H, dtype);
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int h = 0; h < H; h++) {
            float *y = t->y + (size_t)r * t->ldy + (size_t)h * 8;
            const __m256 old = begin ? _mm256_loadu_ps(y) : _mm256_setzero_ps();
            _mm256_storeu_ps(y, _mm256_add_ps(old, run[r * H + h]));
        }
    }
}

/* R rows through `panels` panels, H / 2 at a time. */
GLIA_INLINE void rows(product t, size_t panels, size_t begin, size_t end, const int R, const int H,
                      const glia_dtype dtype) {
    for (; panels >= (size_t)H / 2; panels -= (size_t)H / 2) {
        one_tile(&t, begin, end, R, H, dtype);
        t.y += H * 8;
        t.w += (size_t)H / 2 * t.panel_bytes;
    }
    for (; panels; panels--) {
        one_tile(&t, begin, end, R, 2, dtype);
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
                done = left >= 6 ? 6 : glia_min(left, 3);
                if (done == 6)
                    rows(at, panels, begin, end, 6, 2, dtype);
                else if (done == 3)
                    rows(at, panels, begin, end, 3, 4, dtype);
                else if (done == 2)
                    rows(at, panels, begin, end, 2, 4, dtype);
                else
                    rows(at, panels, begin, end, 1, 8, dtype);
            }
        }
        t.y += panels * GLIA_PANEL;
        t.w += panels * t.panel_bytes;
    }
}

void glia_linear_f32_avx2(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                          size_t n_panels, size_t m) {
    const product t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_F32, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_F32);
}

void glia_linear_bf16_avx2(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                           size_t n_panels, size_t m) {
    const product t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_BF16, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_BF16);
}
