/* linear_avx512.c - the AVX-512 twin of linear_ref.c: a line is a register.
 *
 * A tile of R rows and P panels keeps one chain per output line in a register;
 * finished chains go to `run` on the stack, finished runs to y. Which tile a row
 * falls into changes no sum. Few rows: many panels at once, each its own stream
 * from memory. Many rows: GROUP panels of one run stay in the second cache while
 * all rows pass through them. */
#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

enum { GROUP = 8, AHEAD = 2048 /* bytes between a line's prefetch and its use */ };

glia_linear_fn glia_linear_f32_avx512, glia_linear_bf16_avx512;

/* R * P outputs of one tile. */
typedef struct {
    float *y;
    const float *x;
    const char *w;
    size_t ldy, ldx, panel_bytes;
} tile;

GLIA_INLINE void steps_f32(__m512 *sum, const tile *t, size_t begin, size_t end, const int R, const int P) {
    for (size_t k = begin; k < end; k++) {
        __m512 w[8];
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const char *line = t->w + (size_t)p * t->panel_bytes + k * 64;
            w[p] = _mm512_load_ps(line);
            if (R <= 2) _mm_prefetch(line + AHEAD, _MM_HINT_T0);
        }
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            const __m512 x = _mm512_set1_ps(t->x[(size_t)r * t->ldx + k]);
            GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] = _mm512_fmadd_ps(w[p], x, sum[r * P + p]);
        }
    }
}

/* Two steps a line; when k is odd the second half of the last line is not multiplied. */
GLIA_INLINE void steps_bf16(__m512 *sum, const tile *t, size_t begin, size_t end, const int R, const int P) {
    const __m512i high = _mm512_set1_epi32((int)0xffff0000);
    for (size_t k = begin; k < end; k += 2) {
        __m512i w[8];
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const char *line = t->w + (size_t)p * t->panel_bytes + k * 32;
            w[p] = _mm512_load_si512(line);
            if (R <= 2) _mm_prefetch(line + AHEAD, _MM_HINT_T0);
        }
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(w[p], 16));
            GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * P + p] =
                _mm512_fmadd_ps(even, _mm512_set1_ps(t->x[(size_t)r * t->ldx + k]), sum[r * P + p]);
        }
        if (k + 1 == end) break;
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(w[p], high));
            GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * P + p] =
                _mm512_fmadd_ps(odd, _mm512_set1_ps(t->x[(size_t)r * t->ldx + k + 1]), sum[r * P + p]);
        }
    }
}

GLIA_INLINE void one_tile(const tile *t, size_t begin, size_t end, const int R, const int P,
                          glia_dtype dtype) {
    __m512 run[24];
    GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = _mm512_setzero_ps();
    for (size_t k = begin; k < end; k += GLIA_CHAIN) {
        __m512 sum[24];
        const size_t stop = glia_min(end, k + GLIA_CHAIN);
        GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_ps();
        if (dtype == GLIA_DTYPE_F32)
            steps_f32(sum, t, k, stop, R, P);
        else
            steps_bf16(sum, t, k, stop, R, P);
        GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = _mm512_add_ps(run[i], sum[i]);
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            float *y = t->y + (size_t)r * t->ldy + (size_t)p * GLIA_PANEL;
            const __m512 old = begin ? _mm512_loadu_ps(y) : _mm512_setzero_ps();
            _mm512_storeu_ps(y, _mm512_add_ps(old, run[r * P + p]));
        }
    }
}

/* R rows through `panels` panels, P at a time. */
GLIA_INLINE void rows(tile t, size_t panels, size_t begin, size_t end, const int R, const int P,
                      glia_dtype dtype) {
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

GLIA_INLINE void linear(tile t, size_t k, size_t n_panels, size_t m, glia_dtype dtype) {
    for (size_t p = 0; p < n_panels; p += GROUP) {
        const size_t panels = glia_min(n_panels - p, GROUP);
        for (size_t begin = 0; begin < k; begin += GLIA_RUN) {
            const size_t end = glia_min(k, begin + GLIA_RUN);
            tile at = t;
            size_t left = m;
            while (left) {
                size_t done = left >= 12 ? 12 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
                if (done == 12)
                    rows(at, panels, begin, end, 12, 2, dtype);
                else if (done == 4)
                    rows(at, panels, begin, end, 4, 4, dtype);
                else if (done == 2)
                    rows(at, panels, begin, end, 2, 8, dtype);
                else
                    rows(at, panels, begin, end, 1, 8, dtype);
                at.y += done * t.ldy;
                at.x += done * t.ldx;
                left -= done;
            }
        }
        t.y += panels * GLIA_PANEL;
        t.w += panels * t.panel_bytes;
    }
}

void glia_linear_f32_avx512(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                            size_t n_panels, size_t m) {
    const tile t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_F32, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_F32);
}

void glia_linear_bf16_avx512(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                             size_t n_panels, size_t m) {
    const tile t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_BF16, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_BF16);
}
