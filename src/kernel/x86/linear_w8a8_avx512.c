/* linear_w8a8_avx512.c - the twin of glia_gemm_i8_i8_ref for AVX-512 without VNNI:
 * as linear_w8a8_avx2.c, with the signs in a mask. */
#include <string.h>

#include "kernel/panel.h"
#include "kernel/x86/sums_avx512.h"

glia_gemm_fn glia_gemm_i8_i8_avx512;

enum { TILE_ROWS = 10, TILE_PANELS = 2, FEW_PANELS = 8 };

typedef struct {
    __m512i magnitude;
    __mmask64 negative;
} glia_line;

GLIA_INLINE glia_line glia_line_ready(const char *at) {
    const __m512i w = _mm512_loadu_si512(at);
    return (glia_line){_mm512_abs_epi8(w), _mm512_movepi8_mask(w)};
}

GLIA_INLINE glia_sums glia_dot(glia_sums sum, glia_line w, int four) {
    const __m512i x = _mm512_set1_epi32(four);
    const __m512i sided = _mm512_mask_sub_epi8(x, w.negative, _mm512_setzero_si512(), x);
    const __m512i pairs = _mm512_maddubs_epi16(w.magnitude, sided);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

GLIA_INLINE glia_sums glia_sums_start(const int8_t *x, size_t k) {
    (void)x, (void)k;
    return _mm512_setzero_si512();
}

#include "kernel/linear_w8a8.h"

void glia_gemm_i8_i8_avx512(const glia_gemm *g) { linear(product_of(g), g->n_panels, g->m); }
