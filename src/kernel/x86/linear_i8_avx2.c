/* linear_i8_avx2.c - float32 rows through int8 panels with AVX2: as
 * linear_i8_avx512.c, with a line in two halves. */
#include <immintrin.h>

#include "kernel/linear_i8.h"
#include "kernel/simd.h"

enum { FEW = 3, SUMS = 8, AHEAD = 2048 };

glia_gemm_fn glia_gemm_i8_f32_avx2;
glia_gemm_fn glia_gemm_f32_f32_avx2;

/* As glia_widen_i8() of i8_avx512.h, for 8 columns. */
GLIA_INLINE void widen_half(__m256 w[4], const char *half) {
    const __m256i low = _mm256_set1_epi32(0xff), high = _mm256_set1_epi32(0xff00);
    const __m256i at23 = _mm256_set1_epi32(0x4b000080), at15 = _mm256_set1_epi32(0x47008000);
    const __m256 off23 = _mm256_set1_ps(0x1p23f + 128), off15 = _mm256_set1_ps(0x1p15f + 128);
    const __m256i line = _mm256_load_si256((const __m256i *)(const void *)half);
    const __m256i upper = _mm256_srli_epi32(line, 16);
    const __m256i bits[4] = {_mm256_xor_si256(_mm256_and_si256(line, low), at23),
                             _mm256_xor_si256(_mm256_and_si256(line, high), at15),
                             _mm256_xor_si256(_mm256_and_si256(upper, low), at23),
                             _mm256_xor_si256(_mm256_and_si256(upper, high), at15)};
    w[0] = _mm256_sub_ps(_mm256_castsi256_ps(bits[0]), off23);
    w[1] = _mm256_sub_ps(_mm256_castsi256_ps(bits[1]), off15);
    w[2] = _mm256_sub_ps(_mm256_castsi256_ps(bits[2]), off23);
    w[3] = _mm256_sub_ps(_mm256_castsi256_ps(bits[3]), off15);
}

typedef struct {
    float *y;
    const float *x, *scale;
    const char *w;
    size_t ldy, ldx, panel_bytes, k;
} product;

/* Add the products of the n (1 to 4) k from k on to sum. */
GLIA_INLINE void step(__m256 *sum, const product *t, size_t k, size_t n, const int R, const int H) {
    GLIA_UNROLL for (int h = 0; h < H; h++) {
        __m256 w[4];
        const char *half = t->w + (size_t)(h / 2) * t->panel_bytes + k * 16 + h % 2 * 32;
        widen_half(w, half);
        if (h % 2 == 0) _mm_prefetch(half + AHEAD, _MM_HINT_T0);
        GLIA_UNROLL for (size_t j = 0; j < 4; j++) {
            if (j >= n) break;
            GLIA_UNROLL for (int r = 0; r < R; r++) {
                const __m256 x = _mm256_broadcast_ss(t->x + (size_t)r * t->ldx + k + j);
                sum[r * H + h] = _mm256_fmadd_ps(w[j], x, sum[r * H + h]);
            }
        }
    }
}

/* Multiply R rows by H / 2 panels. */
GLIA_INLINE void few(const product *t, const int R, const int H) {
    __m256 all[SUMS]; /* of R * H, GCC would keep them in memory */
    GLIA_UNROLL for (int i = 0; i < R * H; i++) all[i] = _mm256_setzero_ps();
    for (size_t begin = 0; begin < t->k; begin += GLIA_RUN) {
        const size_t end = glia_min(t->k, begin + GLIA_RUN);
        __m256 run[SUMS];
        GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] = _mm256_setzero_ps();
        for (size_t at = begin; at < end; at += GLIA_CHAIN) {
            __m256 sum[SUMS];
            GLIA_UNROLL for (int i = 0; i < R * H; i++) sum[i] = _mm256_setzero_ps();
            if (end - at >= GLIA_CHAIN) {
                GLIA_UNROLL for (size_t k = 0; k < GLIA_CHAIN; k += 4) step(sum, t, at + k, 4, R, H);
            } else {
                for (size_t k = at; k < end; k += 4) step(sum, t, k, glia_min(end - k, 4), R, H);
            }
            GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] = _mm256_add_ps(run[i], sum[i]);
        }
        GLIA_UNROLL for (int i = 0; i < R * H; i++) all[i] = _mm256_add_ps(all[i], run[i]);
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int h = 0; h < H; h++)
            _mm256_storeu_ps(t->y + (size_t)r * t->ldy + h * 8,
                             _mm256_mul_ps(all[r * H + h], _mm256_loadu_ps(t->scale + h * 8)));
    }
}

GLIA_INLINE void rows(product t, size_t panels, const int R, const int H) {
    for (size_t n; panels; panels -= n) {
        n = panels >= (size_t)H / 2 ? (size_t)H / 2 : 1;
        if (n > 1)
            few(&t, R, H);
        else
            few(&t, R, 2);
        t.y += n * GLIA_PANEL;
        t.w += n * t.panel_bytes;
        t.scale += n * GLIA_PANEL;
    }
}

static void widen(float *to, const char *lines, size_t groups) {
    for (size_t g = 0; g < groups; g++, lines += 64, to += 64) {
        __m256 w[2][4];
        widen_half(w[0], lines);
        widen_half(w[1], lines + 32);
        GLIA_UNROLL for (int j = 0; j < 4; j++) {
            _mm256_store_ps(to + j * GLIA_PANEL, w[0][j]);
            _mm256_store_ps(to + j * GLIA_PANEL + 8, w[1][j]);
        }
    }
}

void glia_gemm_i8_f32_avx2(const glia_gemm *g) {
    const size_t m = g->m, n_panels = g->n_panels;
    const product t = {g->out.y,
                       g->x.x,
                       g->w_scale,
                       g->w,
                       g->out.ldy,
                       g->x.row / sizeof(float),
                       glia_panel_bytes(GLIA_WEIGHT_I8, g->k),
                       g->k};
    if (m > FEW)
        glia_linear_i8_many(g, widen, glia_gemm_f32_f32_avx2);
    else if (m == 3)
        rows(t, n_panels, 3, 2);
    else if (m == 2)
        rows(t, n_panels, 2, 4);
    else if (m == 1)
        rows(t, n_panels, 1, 8);
}
