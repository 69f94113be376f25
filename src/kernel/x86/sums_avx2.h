/* sums_avx2.h - 16 int32 sums in two registers, for linear_w8a8.h. */
#ifndef GLIA_KERNEL_SUMS_AVX2_H
#define GLIA_KERNEL_SUMS_AVX2_H

#include <immintrin.h>

#include "kernel/simd.h"

typedef struct {
    __m256i half[2];
} glia_sums;

GLIA_INLINE __m256i glia_load_avx2(const void *p) { return _mm256_loadu_si256(p); }
GLIA_INLINE glia_sums glia_sums_load(const float *y) {
    return (glia_sums){{glia_load_avx2(y), glia_load_avx2(y + 8)}};
}
GLIA_INLINE void glia_sums_store(float *y, glia_sums sum) {
    _mm256_storeu_si256((void *)y, sum.half[0]);
    _mm256_storeu_si256((void *)(y + 8), sum.half[1]);
}
GLIA_INLINE void glia_sums_finish(float *y, glia_sums sum, float x_scale, const float *w_scale) {
    GLIA_UNROLL for (int h = 0; h < 2; h++) {
        const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(x_scale), _mm256_loadu_ps(w_scale + h * 8));
        _mm256_storeu_ps(y + h * 8, _mm256_mul_ps(_mm256_cvtepi32_ps(sum.half[h]), scale));
    }
}

#endif
