/* linear_avx2.c - the AVX2 twin of linear_ref.c: a line is two half-lines. See
 * linear_avx512.c for the shape; 16 registers hold 12 chains. */
#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

enum { GROUP = 8, AHEAD = 2048 /* bytes between a line's prefetch and its use */ };

glia_linear_fn glia_linear_f32_avx2, glia_linear_bf16_avx2;

/* R * H outputs of 8 columns; H half-lines are H / 2 panels. */
typedef struct {
    float *y;
    const float *x;
    const char *w;
    size_t ldy, ldx, panel_bytes;
} tile;

GLIA_INLINE void steps_f32(__m256 *sum, const tile *t, size_t begin, size_t end, const int R, const int H) {
    for (size_t k = begin; k < end; k++) {
        GLIA_UNROLL for (int h = 0; h < H; h++) {
            const char *half = t->w + (size_t)(h / 2) * t->panel_bytes + k * 64 + (size_t)(h % 2) * 32;
            const __m256 w = _mm256_load_ps((const float *)(const void *)half);
            if (R == 1 && h % 2 == 0) _mm_prefetch(half + AHEAD, _MM_HINT_T0);
            GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * H + h] =
                _mm256_fmadd_ps(w, _mm256_set1_ps(t->x[(size_t)r * t->ldx + k]), sum[r * H + h]);
        }
    }
}

/* Two steps a line; when k is odd the second half of the last line is not multiplied. */
GLIA_INLINE void steps_bf16(__m256 *sum, const tile *t, size_t begin, size_t end, const int R, const int H) {
    const __m256i high = _mm256_set1_epi32((int)0xffff0000);
    for (size_t k = begin; k < end; k += 2) {
        GLIA_UNROLL for (int h = 0; h < H; h++) {
            const char *half = t->w + (size_t)(h / 2) * t->panel_bytes + k * 32 + (size_t)(h % 2) * 32;
            const __m256i w = _mm256_load_si256((const __m256i *)(const void *)half);
            const __m256 even = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
            const __m256 odd = _mm256_castsi256_ps(_mm256_and_si256(w, high));
            if (R == 1 && h % 2 == 0) _mm_prefetch(half + AHEAD, _MM_HINT_T0);
            GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * H + h] =
                _mm256_fmadd_ps(even, _mm256_set1_ps(t->x[(size_t)r * t->ldx + k]), sum[r * H + h]);
            if (k + 1 < end)
                GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * H + h] =
                    _mm256_fmadd_ps(odd, _mm256_set1_ps(t->x[(size_t)r * t->ldx + k + 1]), sum[r * H + h]);
        }
    }
}

GLIA_INLINE void one_tile(const tile *t, size_t begin, size_t end, const int R, const int H,
                          glia_dtype dtype) {
    __m256 run[12];
    GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] = _mm256_setzero_ps();
    for (size_t k = begin; k < end; k += GLIA_CHAIN) {
        __m256 sum[12];
        const size_t stop = glia_min(end, k + GLIA_CHAIN);
        GLIA_UNROLL for (int i = 0; i < R * H; i++) sum[i] = _mm256_setzero_ps();
        if (dtype == GLIA_DTYPE_F32)
            steps_f32(sum, t, k, stop, R, H);
        else
            steps_bf16(sum, t, k, stop, R, H);
        GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] = _mm256_add_ps(run[i], sum[i]);
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int h = 0; h < H; h++) {
            float *y = t->y + (size_t)r * t->ldy + (size_t)h * 8;
            const __m256 old = begin ? _mm256_loadu_ps(y) : _mm256_setzero_ps();
            _mm256_storeu_ps(y, _mm256_add_ps(old, run[r * H + h]));
        }
    }
}

/* R rows through `panels` panels, H / 2 at a time. */
GLIA_INLINE void rows(tile t, size_t panels, size_t begin, size_t end, const int R, const int H,
                      glia_dtype dtype) {
    for (; panels >= (size_t)H / 2; panels -= (size_t)H / 2) {
        one_tile(&t, begin, end, R, H, dtype);
        t.y += H * 8;
        t.w += (size_t)H / 2 * t.panel_bytes;
    }
    for (; H > 2 && panels; panels--) {
        one_tile(&t, begin, end, R, 2, dtype);
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
            for (size_t left = m, done; left; left -= done, at.y += done * t.ldy, at.x += done * t.ldx) {
                done = left >= 6 ? 6 : left >= 3 ? 3 : 1;
                if (done == 6)
                    rows(at, panels, begin, end, 6, 2, dtype);
                else if (done == 3)
                    rows(at, panels, begin, end, 3, 4, dtype);
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
    const tile t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_F32, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_F32);
}

void glia_linear_bf16_avx2(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t k,
                           size_t n_panels, size_t m) {
    const tile t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_DTYPE_BF16, k)};
    linear(t, k, n_panels, m, GLIA_DTYPE_BF16);
}
