/* exp_avx2.h - exp_ref.h for 8 values, with fused multiply-adds. */
#ifndef GLIA_KERNEL_EXP_AVX2_H
#define GLIA_KERNEL_EXP_AVX2_H

#include <immintrin.h>

#include "kernel/exp_ref.h"

static inline __m256 glia_exp2_int_avx2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

static inline __m256 glia_exp_avx2(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(GLIA_EXP_MIN), x); /* of max and min, the second operand */
    x = _mm256_min_ps(_mm256_set1_ps(GLIA_EXP_MAX), x); /* is the result if it is NaN */
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(GLIA_LOG2_E)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(GLIA_LN2_HIGH), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(GLIA_LN2_LOW), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    const __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1);
    p = _mm256_mul_ps(p, glia_exp2_int_avx2(half));
    return _mm256_mul_ps(p, glia_exp2_int_avx2(_mm256_sub_epi32(i, half)));
}

/* A mask of the lanes below n, for loads and stores of tails. */
static inline __m256i glia_lanes_avx2(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : (int)n),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif
