/* elementwise_avx2.c - the AVX2 twins of elementwise_ref.c. One masked step
 * serves body and tail: lanes past n load as zero and are not stored. */
#include <math.h>

#include "kernel/exp_avx2.h"
#include "kernel/kernels.h"

glia_rmsnorm_fn glia_rmsnorm_avx2;
glia_rope_fn glia_rope_avx2;
glia_swiglu_fn glia_swiglu_avx2;
glia_add_fn glia_add_avx2;
glia_divide_fn glia_divide_avx2;

static inline __m256d low(__m256 v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
static inline __m256d high(__m256 v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }

static inline double sum4(__m256d v) {
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

void glia_rmsnorm_avx2(float *y, const float *x, const float *w, size_t n, float eps) {
    __m256d a = _mm256_setzero_pd(), b = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = _mm256_maskload_ps(x + i, glia_lanes_avx2(n - i));
        a = _mm256_fmadd_pd(low(v), low(v), a);
        b = _mm256_fmadd_pd(high(v), high(v), b);
    }
    const double sum = sum4(_mm256_add_pd(a, b));
    const __m256d scale = _mm256_set1_pd(1 / sqrt(sum / (double)n + (double)eps));
    for (size_t i = 0; i < n; i += 8) {
        const __m256i mask = glia_lanes_avx2(n - i);
        const __m256 v = _mm256_maskload_ps(x + i, mask), g = _mm256_maskload_ps(w + i, mask);
        const __m128 lo = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_mul_pd(low(v), scale), low(g)));
        const __m128 hi = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_mul_pd(high(v), scale), high(g)));
        _mm256_maskstore_ps(y + i, mask, _mm256_set_m128(hi, lo));
    }
}

void glia_rope_avx2(float *x, const float *cos, const float *sin, size_t n) {
    const size_t half = n / 2;
    for (size_t i = 0; i < half; i += 8) {
        const __m256i mask = glia_lanes_avx2(half - i);
        const __m256 a = _mm256_maskload_ps(x + i, mask), b = _mm256_maskload_ps(x + half + i, mask);
        const __m256 c = _mm256_maskload_ps(cos + i, mask), s = _mm256_maskload_ps(sin + i, mask);
        _mm256_maskstore_ps(x + i, mask, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_maskstore_ps(x + half + i, mask, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
}

void glia_swiglu_avx2(float *y, const float *g, const float *u, size_t n) {
    const __m256 one = _mm256_set1_ps(1.0f), zero = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        const __m256i mask = glia_lanes_avx2(n - i);
        const __m256 v = _mm256_maskload_ps(g + i, mask);
        const __m256 e = glia_exp_avx2(_mm256_sub_ps(zero, v));
        const __m256 s = _mm256_div_ps(v, _mm256_add_ps(one, e));
        _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(s, _mm256_maskload_ps(u + i, mask)));
    }
}

void glia_add_avx2(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        const __m256i mask = glia_lanes_avx2(n - i);
        const __m256 v = _mm256_maskload_ps(x + i, mask);
        _mm256_maskstore_ps(y + i, mask, _mm256_add_ps(_mm256_maskload_ps(y + i, mask), v));
    }
}

void glia_divide_avx2(float *y, const float *x, float divisor, size_t n) {
    const __m256 d = _mm256_set1_ps(divisor), zero = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        const __m256i mask = glia_lanes_avx2(n - i);
        const __m256 v = _mm256_div_ps(_mm256_maskload_ps(x + i, mask), d);
        _mm256_maskstore_ps(y + i, mask, _mm256_add_ps(v, zero));
    }
}
