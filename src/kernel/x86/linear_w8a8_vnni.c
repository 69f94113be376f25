/* linear_w8a8_vnni.c - the twin of glia_gemm_i8_i8_ref for AVX-512 with VNNI.
 * VPDPBUSD multiplies unsigned by signed bytes: weights + 128 by rows. So a sum
 * starts at -128 times the sum of the row. Sums wrap at 32 bits, so an intermediate
 * sum may leave the range of an int32. */
#include <string.h>

#include "kernel/panel.h"
#include "kernel/x86/sums_avx512.h"

glia_gemm_fn glia_gemm_i8_i8_vnni;

enum { TILE_ROWS = 12, TILE_PANELS = 2, FEW_PANELS = 8 };

typedef __m512i glia_line;

GLIA_INLINE glia_line glia_line_ready(const char *at) {
    return _mm512_xor_si512(_mm512_loadu_si512(at), _mm512_set1_epi8(-128));
}

GLIA_INLINE glia_sums glia_dot(glia_sums sum, glia_line w, int four) {
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}

/* -128 times the sum of the row, which has zeros up to a multiple of 64. Vector sums may wrap. */
GLIA_INLINE glia_sums glia_sums_start(const int8_t *x, size_t k) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < k; i += 64)
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), _mm512_loadu_si512(x + i));
    const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e)); /* add halves, then neighbours */
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_broadcastd_epi32(four));
}

#include "kernel/linear_w8a8.h"

void glia_gemm_i8_i8_vnni(const glia_gemm *g) { linear(product_of(g), g->n_panels, g->m); }
