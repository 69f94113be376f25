/* elementwise_avx512.c - the AVX-512 twins of elementwise_ref.c. Body and tail are the
 * same masked step: lanes past n are loaded as zero and not stored. */
#include <math.h>

#include "kernel/x86/exp_avx512.h"
#include "kernel/kernels.h"
#include "kernel/rms.h"
#include "kernel/simd.h"

glia_rmsnorm_fn glia_rmsnorm_avx512;
glia_rope_fn glia_rope_avx512;
glia_swiglu_fn glia_swiglu_avx512;
glia_add_fn glia_add_avx512;
glia_divide_fn glia_divide_avx512;

static inline __mmask16 lanes(size_t left) { return (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1); }

/* The sum of the squares of x's lanes, in float64. */
static inline __m512d add_squares(__m512d sum, __m256 x) {
    const __m512d v = _mm512_cvtps_pd(x);
    return _mm512_fmadd_pd(v, v, sum);
}

void glia_rmsnorm_avx512(float *y, const float *x, const float *w, size_t n, float eps) {
    __m512d sum[4] = {_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        GLIA_UNROLL for (int c = 0; c < 4; c++) sum[c] = add_squares(sum[c], _mm256_loadu_ps(x + i + 8 * c));
    for (; i < n; i += 8) sum[0] = add_squares(sum[0], _mm256_maskz_loadu_ps((__mmask8)lanes(n - i), x + i));
    sum[0] = _mm512_add_pd(_mm512_add_pd(sum[0], sum[1]), _mm512_add_pd(sum[2], sum[3]));
    const glia_two_floats s = glia_rms_scale(_mm512_reduce_add_pd(sum[0]), n, eps);
    const __m512 high = _mm512_set1_ps(s.high), low = _mm512_set1_ps(s.low);
    for (i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i), g = _mm512_maskz_loadu_ps(mask, w + i);
        const __m512 p = _mm512_mul_ps(v, high), rest = _mm512_fmadd_ps(v, low, _mm512_fmsub_ps(v, high, p));
        const __m512 product = _mm512_fmadd_ps(p, g, _mm512_mul_ps(rest, g));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(product, _mm512_set1_ps(1 / GLIA_RMS_UP)));
    }
}

void glia_rope_avx512(float *x, const float *cos, const float *sin, size_t n) {
    const size_t half = n / 2;
    for (size_t i = 0; i < half; i += 16) {
        const __mmask16 mask = lanes(half - i);
        const __m512 a = _mm512_maskz_loadu_ps(mask, x + i), b = _mm512_maskz_loadu_ps(mask, x + half + i);
        const __m512 c = _mm512_maskz_loadu_ps(mask, cos + i), s = _mm512_maskz_loadu_ps(mask, sin + i);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + half + i, mask, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
    }
}

void glia_swiglu_avx512(float *y, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 gate = _mm512_maskz_loadu_ps(mask, g + i), up = _mm512_maskz_loadu_ps(mask, u + i);
        _mm512_mask_storeu_ps(y + i, mask, glia_swiglu16_avx512(gate, up));
    }
}

void glia_add_avx512(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y + i), v));
    }
}

void glia_divide_avx512(float *y, const float *x, float divisor, size_t n) {
    const __m512 d = _mm512_set1_ps(divisor), zero = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 v = _mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + i), d);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(v, zero));
    }
}
