/* halves_avx2.h - as halves_avx512.h with AVX2: a line is in two registers. */
#ifndef GLIA_KERNEL_HALVES_AVX2_H
#define GLIA_KERNEL_HALVES_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

typedef struct {
    __m256i half[2]; /* 8 columns each */
} glia_sums;
typedef struct {
    __m256i low[2], high[2];
} glia_halves;

GLIA_INLINE glia_sums glia_sums_none(void) {
    return (glia_sums){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
}

GLIA_INLINE glia_halves glia_halves_of(const char *at) {
    const __m256i mask = _mm256_set1_epi8(15);
    glia_halves h;
    GLIA_UNROLL for (int i = 0; i < 2; i++) {
        const __m256i line = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32 * i));
        h.low[i] = _mm256_and_si256(line, mask);
        h.high[i] = _mm256_and_si256(_mm256_srli_epi16(line, 4), mask);
    }
    return h;
}

/* Four bytes of a row in all lanes. */
GLIA_INLINE __m256i glia_four(const int8_t *x) {
    int four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

GLIA_INLINE void glia_add_group(float *y, glia_sums sum, const int8_t *zero, float excess,
                                const float *scale) {
    GLIA_UNROLL for (int i = 0; i < 2; i++) {
        const __m256 point = zero ? _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
                                        _mm_loadl_epi64((const __m128i *)(const void *)(zero + 8 * i))))
                                  : _mm256_set1_ps(GLIA_C4_MIDDLE);
        const __m256 exact = _mm256_fnmadd_ps(point, _mm256_set1_ps(excess), _mm256_cvtepi32_ps(sum.half[i]));
        const __m256 scaled = _mm256_mul_ps(exact, _mm256_loadu_ps(scale + 8 * i));
        _mm256_storeu_ps(y + 8 * i, _mm256_add_ps(_mm256_loadu_ps(y + 8 * i), scaled));
    }
}

#endif
