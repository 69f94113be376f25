/* linear_w8a8_avxvnni.c - the twin of glia_gemm_i8_i8_ref for AVX2 with AVX-VNNI: as
 * linear_w8a8_vnni.c, with a line in two halves. */
#include <string.h>

#include "kernel/panel.h"
#include "kernel/x86/sums_avx2.h"

glia_gemm_fn glia_gemm_i8_i8_avxvnni;

enum { TILE_ROWS = 6, TILE_PANELS = 1, FEW_PANELS = 4 };

typedef struct {
    __m256i half[2];
} glia_line;

GLIA_INLINE glia_line glia_line_ready(const char *at) {
    const __m256i offset = _mm256_set1_epi8(-128);
    return (glia_line){
        {_mm256_xor_si256(glia_load_avx2(at), offset), _mm256_xor_si256(glia_load_avx2(at + 32), offset)}};
}

GLIA_INLINE glia_sums glia_dot(glia_sums sum, glia_line w, int four) {
    const __m256i x = _mm256_set1_epi32(four);
    GLIA_UNROLL for (int h = 0; h < 2; h++) sum.half[h] = _mm256_dpbusd_epi32(sum.half[h], w.half[h], x);
    return sum;
}

/* -128 times the sum of the row, which has zeros up to a multiple of 64. Vector sums may wrap. */
GLIA_INLINE glia_sums glia_sums_start(const int8_t *x, size_t k) {
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < k; i += 32)
        sum = _mm256_dpbusd_epi32(sum, _mm256_set1_epi8(-128), glia_load_avx2(x + i));
    sum = _mm256_add_epi32(sum, _mm256_permute2x128_si256(sum, sum, 1)); /* halves, fours, neighbours */
    sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0x4e));
    sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0xb1));
    const __m256i start = _mm256_sub_epi32(_mm256_setzero_si256(), sum);
    return (glia_sums){{start, start}};
}

#include "kernel/linear_w8a8.h"

void glia_gemm_i8_i8_avxvnni(const glia_gemm *g) { linear(product_of(g), g->n_panels, g->m); }
