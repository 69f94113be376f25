/* softmax_avx512.h - the softmax of one query over one span. */
#ifndef GLIA_KERNEL_SOFTMAX_AVX512_H
#define GLIA_KERNEL_SOFTMAX_AVX512_H

#include <math.h>

#include "kernel/x86/exp_avx512.h"
#include "kernel/kernels.h"
#include "kernel/simd.h"

/* A mask of the lanes of positions [at, at + 16) that are in [lo, hi). */
static inline __mmask16 glia_seen_avx512(size_t at, size_t lo, size_t hi) {
    const unsigned below_hi = hi >= at + 16 ? 0xffffu : (1u << (hi - at)) - 1,
                   below_lo = lo <= at ? 0 : (1u << (lo - at)) - 1;
    return (__mmask16)(below_hi & ~below_lo);
}

/* Convert scores to weights in place, lo < hi. Unseen positions of the lines that [lo, hi) touches get 0. */
static inline void glia_softmax_avx512(float p[GLIA_SPAN], float *m, float *l, float scale, size_t lo,
                                       size_t hi) {
    __m512 max = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (size_t at = lo / GLIA_PANEL * GLIA_PANEL; at < hi; at += GLIA_PANEL) {
        const __m512 s = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_load_ps(p + at));
        max = _mm512_mask_max_ps(max, glia_seen_avx512(at, lo, hi), max, s);
        _mm512_store_ps(p + at, s);
    }
    *m = _mm512_reduce_max_ps(max);
    for (size_t at = lo / GLIA_PANEL * GLIA_PANEL; at < hi; at += GLIA_PANEL) {
        const __m512 e = glia_exp_avx512(_mm512_sub_ps(_mm512_load_ps(p + at), _mm512_set1_ps(*m)));
        const __m512 w = _mm512_maskz_mov_ps(glia_seen_avx512(at, lo, hi), e);
        sum = _mm512_add_ps(sum, w);
        _mm512_store_ps(p + at, w);
    }
    *l = _mm512_reduce_add_ps(sum);
}

#endif
