/* linear_w8a8_avx2.c - the AVX2 twin of glia_gemm_i8_i8_ref. VPMADDUBSW multiplies
 * unsigned by signed bytes: the magnitudes of the weights by the rows with the
 * weights' signs. Its 16-bit sums do not saturate, since 2 * 127 * 127 < 2^15. */
#include <string.h>

#include "kernel/panel.h"
#include "kernel/x86/sums_avx2.h"

glia_gemm_fn glia_gemm_i8_i8_avx2;

enum { TILE_ROWS = 5, TILE_PANELS = 1, FEW_PANELS = 4 };

typedef struct {
    __m256i half[2], magnitude[2];
} glia_line;

GLIA_INLINE glia_line glia_line_ready(const char *at) {
    const __m256i a = glia_load_avx2(at), b = glia_load_avx2(at + 32);
    return (glia_line){{a, b}, {_mm256_abs_epi8(a), _mm256_abs_epi8(b)}};
}

GLIA_INLINE glia_sums glia_dot(glia_sums sum, glia_line w, int four) {
    const __m256i x = _mm256_set1_epi32(four), one = _mm256_set1_epi16(1);
    GLIA_UNROLL for (int h = 0; h < 2; h++) {
        const __m256i pairs = _mm256_maddubs_epi16(w.magnitude[h], _mm256_sign_epi8(x, w.half[h]));
        sum.half[h] = _mm256_add_epi32(sum.half[h], _mm256_madd_epi16(pairs, one));
    }
    return sum;
}

GLIA_INLINE glia_sums glia_sums_start(const int8_t *x, size_t k) {
    (void)x, (void)k;
    return (glia_sums){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
}
#include "kernel/linear_w8a8.h"

void glia_gemm_i8_i8_avx2(const glia_gemm *g) { linear(product_of(g), g->n_panels, g->m); }
