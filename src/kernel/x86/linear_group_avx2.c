/* linear_group_avx2.c - as linear_group_avx512.c with AVX2: 8 columns at a time. */
#include <immintrin.h>

#include "kernel/linear_group.h"
#include "kernel/simd.h"

glia_gemm_fn glia_gemm_c4_f32_avx2, glia_gemm_c8_f32_avx2, glia_gemm_f8_f32_avx2;
glia_gemm_fn glia_gemm_f32_f32_avx2;

GLIA_INLINE __m256i zeros(const glia_group_code *code, int half) {
    if (!code->zero) return _mm256_setzero_si256();
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(code->zero + 8 * half)));
}

GLIA_INLINE __m256i load(const char *at) { return _mm256_loadu_si256((const __m256i *)(const void *)at); }

/* The value of a 4-bit code in the low bits of each lane. */
GLIA_INLINE __m256 look_up(__m256i q, const float *table) {
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), q),
                 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), q);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(q, 28))); /* by bit 3 */
}

static void widen_c4(float *to, const char *lines, size_t n, const glia_group_code *code) {
    const __m256i low = _mm256_set1_epi32(15);
    for (size_t k = 0; k < n; k += 8, lines += 64, to += 8 * GLIA_PANEL)
        for (int half = 0; half < 2; half++) {
            const __m256i line = load(lines + 32 * half), zero = zeros(code, half);
            GLIA_UNROLL for (int i = 0; i < 8; i++) {
                const __m256i q = _mm256_srli_epi32(line, i % 2 * 16 + i / 2 * 4);
                const __m256 value =
                    code->zero ? _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_and_si256(q, low), zero))
                               : look_up(q, code->table);
                _mm256_store_ps(to + i * GLIA_PANEL + 8 * half, value);
            }
        }
}

static void widen_c8(float *to, const char *lines, size_t n, const glia_group_code *code) {
    for (size_t k = 0; k < n; k += 4, lines += 64, to += 4 * GLIA_PANEL)
        for (int half = 0; half < 2; half++) {
            const __m256i line = load(lines + 32 * half), zero = zeros(code, half);
            GLIA_UNROLL for (int i = 0; i < 4; i++) {
                const __m256i q = _mm256_srai_epi32(_mm256_slli_epi32(line, 24 - 8 * i), 24);
                _mm256_store_ps(to + i * GLIA_PANEL + 8 * half,
                                _mm256_cvtepi32_ps(_mm256_sub_epi32(q, zero)));
            }
        }
}

/* As f8() of linear_group_avx512.c. */
GLIA_INLINE __m256 f8(__m256i lane) {
    const __m256i byte = _mm256_and_si256(lane, _mm256_set1_epi32(0xff)),
                  magnitude = _mm256_and_si256(lane, _mm256_set1_epi32(0x7f));
    const __m256i sign = _mm256_slli_epi32(_mm256_sub_epi32(byte, magnitude), 24);
    const __m256i normal = _mm256_add_epi32(_mm256_slli_epi32(magnitude, 20), _mm256_set1_epi32(120 << 23));
    const __m256 small = _mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), _mm256_set1_ps(0x1p-9f));
    const __m256i subnormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), magnitude);
    return _mm256_or_ps(_mm256_castsi256_ps(sign),
                        _mm256_blendv_ps(_mm256_castsi256_ps(normal), small, _mm256_castsi256_ps(subnormal)));
}

static void widen_f8(float *to, const char *lines, size_t n, const glia_group_code *code) {
    (void)code;
    for (size_t k = 0; k < n; k += 4, lines += 64, to += 4 * GLIA_PANEL)
        for (int half = 0; half < 2; half++) {
            const __m256i line = load(lines + 32 * half);
            GLIA_UNROLL for (int i = 0; i < 4; i++)
                _mm256_store_ps(to + i * GLIA_PANEL + 8 * half, f8(_mm256_srli_epi32(line, 8 * i)));
        }
}

void glia_gemm_c4_f32_avx2(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_C4, widen_c4, glia_gemm_f32_f32_avx2);
}
void glia_gemm_c8_f32_avx2(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_C8, widen_c8, glia_gemm_f32_f32_avx2);
}
void glia_gemm_f8_f32_avx2(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_F8, widen_f8, glia_gemm_f32_f32_avx2);
}
