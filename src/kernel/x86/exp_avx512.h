/* exp_avx512.h - exp_ref.h for 16 values, with fused multiply-adds, and SwiGLU, which
 * the epilogues of linear layers use. */
#ifndef GLIA_KERNEL_EXP_AVX512_H
#define GLIA_KERNEL_EXP_AVX512_H

#include <immintrin.h>

#include "kernel/exp_ref.h"

static inline __m512 glia_exp_avx512(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(GLIA_EXP_MIN), x); /* of max and min, the second operand */
    x = _mm512_min_ps(_mm512_set1_ps(GLIA_EXP_MAX), x); /* is the result if it is NaN */
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(GLIA_LOG2_E)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(GLIA_LN2_HIGH), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(GLIA_LN2_LOW), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n); /* rounds a subnormal result once, too */
}

/* 2^t, with an error of 2^-13.7: a polynomial of t - floor(t), times 2^floor(t). -inf gives 0, NaN gives
 * NaN. */
static inline __m512 glia_exp2_avx512(__m512 t) {
    const __m512 f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_set1_ps(0.0780245215f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.226067156f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.695833564f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999925196f));
    return _mm512_scalef_ps(p, t);
}

/* silu(g) * u */
static inline __m512 glia_swiglu16_avx512(__m512 g, __m512 u) {
    const __m512 e = glia_exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), g));
    return _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), e)), u);
}

#endif
