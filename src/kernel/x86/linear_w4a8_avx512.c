/* linear_w4a8_avx512.c - as linear_w4a8_avx2.c with AVX-512. */
#include "kernel/x86/halves_avx512.h"

glia_gemm_fn glia_gemm_c4_i8_avx512;

enum { TILE_ROWS = 8, TILE_PANELS = 2, FEW_PANELS = 8 };

GLIA_INLINE glia_sums glia_dot_halves(glia_sums sum, glia_halves w, const int8_t *x) {
    const __m512i pairs = _mm512_add_epi16(_mm512_maddubs_epi16(w.low, glia_four(x)),
                                           _mm512_maddubs_epi16(w.high, glia_four(x + 4)));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#include "kernel/linear_w4a8.h"

void glia_gemm_c4_i8_avx512(const glia_gemm *g) { linear(g); }
