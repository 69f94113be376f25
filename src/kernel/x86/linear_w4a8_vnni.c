/* linear_w4a8_vnni.c - as linear_w4a8_avx512.c with VNNI. */
#include "kernel/x86/halves_avx512.h"

glia_gemm_fn glia_gemm_c4_i8_vnni;

enum { TILE_ROWS = 12, TILE_PANELS = 2, FEW_PANELS = 8 };

GLIA_INLINE glia_sums glia_dot_halves(glia_sums sum, glia_halves w, const int8_t *x) {
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, w.low, glia_four(x)), w.high, glia_four(x + 4));
}
#include "kernel/linear_w4a8.h"

void glia_gemm_c4_i8_vnni(const glia_gemm *g) { linear(g); }
