/* halves_avx512.h - 4-bit codes under int8 rows with AVX-512, for linear_w4a8.h. */
#ifndef GLIA_KERNEL_HALVES_AVX512_H
#define GLIA_KERNEL_HALVES_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

typedef __m512i glia_sums;
typedef struct {
    __m512i low, high;
} glia_halves;

GLIA_INLINE glia_sums glia_sums_none(void) { return _mm512_setzero_si512(); }

GLIA_INLINE glia_halves glia_halves_of(const char *at) {
    const __m512i line = _mm512_loadu_si512(at), mask = _mm512_set1_epi8(15);
    return (glia_halves){_mm512_and_si512(line, mask), _mm512_and_si512(_mm512_srli_epi16(line, 4), mask)};
}

/* Four bytes of a row in all lanes. */
GLIA_INLINE __m512i glia_four(const int8_t *x) {
    int four;
    memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}

/* 16 zero points, or GLIA_C4_MIDDLE if zero is NULL. */
GLIA_INLINE __m512 glia_zero_points(const int8_t *zero) {
    if (!zero) return _mm512_set1_ps(GLIA_C4_MIDDLE);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)zero)));
}

/* before + (sum - zero * excess) * scale. The difference is exact. */
GLIA_INLINE __m512 glia_with_group(__m512 before, glia_sums sum, __m512 zero, float excess, __m512 scale) {
    const __m512 exact = _mm512_fnmadd_ps(zero, _mm512_set1_ps(excess), _mm512_cvtepi32_ps(sum));
    return _mm512_add_ps(before, _mm512_mul_ps(exact, scale));
}

GLIA_INLINE void glia_add_group(float *y, glia_sums sum, const int8_t *zero, float excess,
                                const float *scale) {
    _mm512_storeu_ps(
        y, glia_with_group(_mm512_loadu_ps(y), sum, glia_zero_points(zero), excess, _mm512_loadu_ps(scale)));
}

#endif
