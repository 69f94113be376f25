/* elementwise_avx512.c - the AVX-512 twins of elementwise_ref.c. One masked step
 * serves body and tail: lanes past n load as zero and are not stored. */
#include <math.h>

#include "kernel/exp_avx512.h"
#include "kernel/kernels.h"

glia_rmsnorm_fn glia_rmsnorm_avx512;
glia_rope_fn glia_rope_avx512;
glia_swiglu_fn glia_swiglu_avx512;
glia_add_fn glia_add_avx512;
glia_divide_fn glia_divide_avx512;

static inline __mmask16 lanes(size_t left) { return (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1); }

static inline __m512d low(__m512 v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
static inline __m512d high(__m512 v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }

void glia_rmsnorm_avx512(float *y, const float *x, const float *w, size_t n, float eps) {
    __m512d a = _mm512_setzero_pd(), b = _mm512_setzero_pd();
    for (size_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(lanes(n - i), x + i);
        a = _mm512_fmadd_pd(low(v), low(v), a);
        b = _mm512_fmadd_pd(high(v), high(v), b);
    }
    const double sum = _mm512_reduce_add_pd(_mm512_add_pd(a, b));
    const __m512d scale = _mm512_set1_pd(1 / sqrt(sum / (double)n + (double)eps));
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i), g = _mm512_maskz_loadu_ps(mask, w + i);
        const __m256 lo = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_mul_pd(low(v), scale), low(g)));
        const __m256 hi = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_mul_pd(high(v), scale), high(g)));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_insertf32x8(_mm512_castps256_ps512(lo), hi, 1));
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
