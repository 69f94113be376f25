/* softmax_avx512.h - the softmax of one query over one piece, held in four registers. */
#ifndef GLIA_KERNEL_SOFTMAX_AVX512_H
#define GLIA_KERNEL_SOFTMAX_AVX512_H

#include <math.h>

#include "kernel/exp_avx512.h"
#include "kernel/kernels.h"
#include "kernel/simd.h"

/* Scores to weights, in place; unseen positions get 0. */
static inline void glia_softmax_avx512(float p[GLIA_PIECE], float *m, float *l, float scale, size_t lo,
                                       size_t hi) {
    const uint64_t seen = (hi == GLIA_PIECE ? ~UINT64_C(0) : (UINT64_C(1) << hi) - 1) & ~UINT64_C(0) << lo;
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 s[GLIA_TILES], max = none, sum = _mm512_setzero_ps();
    GLIA_UNROLL for (int t = 0; t < GLIA_TILES; t++) {
        const __mmask16 mask = (__mmask16)(seen >> (t * GLIA_PANEL));
        s[t] = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_loadu_ps(p + t * GLIA_PANEL));
        max = _mm512_mask_max_ps(max, mask, max, s[t]);
    }
    *m = _mm512_reduce_max_ps(max);
    GLIA_UNROLL for (int t = 0; t < GLIA_TILES; t++) {
        const __mmask16 mask = (__mmask16)(seen >> (t * GLIA_PANEL));
        s[t] = _mm512_maskz_mov_ps(mask, glia_exp_avx512(_mm512_sub_ps(s[t], _mm512_set1_ps(*m))));
        sum = _mm512_add_ps(sum, s[t]);
        _mm512_storeu_ps(p + t * GLIA_PANEL, s[t]);
    }
    *l = _mm512_reduce_add_ps(sum);
}

#endif
