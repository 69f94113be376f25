/* sums_avx512.h - 16 int32 sums in a register, for linear_w8a8.h. */
#ifndef GLIA_KERNEL_SUMS_AVX512_H
#define GLIA_KERNEL_SUMS_AVX512_H

#include <immintrin.h>

#include "kernel/simd.h"

typedef __m512i glia_sums;

GLIA_INLINE glia_sums glia_sums_load(const float *y) { return _mm512_loadu_si512(y); }
GLIA_INLINE void glia_sums_store(float *y, glia_sums sum) { _mm512_storeu_si512(y, sum); }
GLIA_INLINE void glia_sums_finish(float *y, glia_sums sum, float x_scale, const float *w_scale) {
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(x_scale), _mm512_loadu_ps(w_scale));
    _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
}

#endif
