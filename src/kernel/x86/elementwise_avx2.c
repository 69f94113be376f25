/* elementwise_avx2.c - the AVX2 twins of elementwise_ref.c. Body and tail are the
 * same masked step: lanes past n are loaded as zero and not stored. */
#include <math.h>

#include "kernel/x86/exp_avx2.h"
#include "kernel/kernels.h"
#include "kernel/rms.h"
#include "kernel/simd.h"

glia_rmsnorm_fn glia_rmsnorm_avx2;
glia_rope_fn glia_rope_avx2;
glia_swiglu_fn glia_swiglu_avx2;
glia_add_fn glia_add_avx2;
glia_divide_fn glia_divide_avx2;

/* The sum of the squares of x's lanes, in float64. */
static inline __m256d add_squares(__m256d sum, __m128 x) {
    const __m256d v = _mm256_cvtps_pd(x);
    return _mm256_fmadd_pd(v, v, sum);
}

static inline double sum4(__m256d v) {
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

void glia_rmsnorm_avx2(float *y, const float *x, const float *w, size_t n, float eps) {
    __m256d sum[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        GLIA_UNROLL for (int c = 0; c < 4; c++) sum[c] = add_squares(sum[c], _mm_loadu_ps(x + i + 4 * c));
    for (; i < n; i += 4)
        sum[0] = add_squares(sum[0], _mm_maskload_ps(x + i, _mm256_castsi256_si128(glia_lanes_avx2(n - i))));
    sum[0] = _mm256_add_pd(_mm256_add_pd(sum[0], sum[1]), _mm256_add_pd(sum[2], sum[3]));
    const glia_two_floats s = glia_rms_scale(sum4(sum[0]), n, eps);
    const __m256 high = _mm256_set1_ps(s.high), low = _mm256_set1_ps(s.low);
    for (i = 0; i < n; i += 8) {
        const __m256i mask = glia_lanes_avx2(n - i);
        const __m256 v = _mm256_maskload_ps(x + i, mask), g = _mm256_maskload_ps(w + i, mask);
        const __m256 p = _mm256_mul_ps(v, high), rest = _mm256_fmadd_ps(v, low, _mm256_fmsub_ps(v, high, p));
        const __m256 product = _mm256_fmadd_ps(p, g, _mm256_mul_ps(rest, g));
        _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(product, _mm256_set1_ps(1 / GLIA_RMS_UP)));
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
