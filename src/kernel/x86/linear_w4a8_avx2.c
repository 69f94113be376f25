/* linear_w4a8_avx2.c - the AVX2 twin of glia_gemm_c4_i8_ref. VPMADDUBSW multiplies codes by
 * rows. Its 16-bit sums, and the sum of both halves of a line, do not saturate. */
#include "kernel/x86/halves_avx2.h"

glia_gemm_fn glia_gemm_c4_i8_avx2;

enum { TILE_ROWS = 4, TILE_PANELS = 1, FEW_PANELS = 4 };

GLIA_INLINE glia_sums glia_dot_halves(glia_sums sum, glia_halves w, const int8_t *x) {
    const __m256i low = glia_four(x), high = glia_four(x + 4), one = _mm256_set1_epi16(1);
    GLIA_UNROLL for (int i = 0; i < 2; i++) {
        const __m256i pairs =
            _mm256_add_epi16(_mm256_maddubs_epi16(w.low[i], low), _mm256_maddubs_epi16(w.high[i], high));
        sum.half[i] = _mm256_add_epi32(sum.half[i], _mm256_madd_epi16(pairs, one));
    }
    return sum;
}
#include "kernel/linear_w4a8.h"

void glia_gemm_c4_i8_avx2(const glia_gemm *g) { linear(g); }
