/* linear_w4a8_avxvnni.c - as linear_w4a8_avx2.c with AVX-VNNI. */
#include "kernel/x86/halves_avx2.h"

glia_gemm_fn glia_gemm_c4_i8_avxvnni;

enum { TILE_ROWS = 5, TILE_PANELS = 1, FEW_PANELS = 4 };

GLIA_INLINE glia_sums glia_dot_halves(glia_sums sum, glia_halves w, const int8_t *x) {
    const __m256i low = glia_four(x), high = glia_four(x + 4);
    GLIA_UNROLL for (int i = 0; i < 2; i++) sum.half[i] =
        _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(sum.half[i], w.low[i], low), w.high[i], high);
    return sum;
}
#include "kernel/linear_w4a8.h"

void glia_gemm_c4_i8_avxvnni(const glia_gemm *g) { linear(g); }
