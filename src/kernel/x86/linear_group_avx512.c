/* linear_group_avx512.c - float32 rows through panels of grouped formats with AVX-512. */
#include <immintrin.h>

#include "kernel/linear_group.h"
#include "kernel/simd.h"

glia_gemm_fn glia_gemm_c4_f32_avx512, glia_gemm_c8_f32_avx512, glia_gemm_f8_f32_avx512;
glia_gemm_fn glia_gemm_f32_f32_avx512;

GLIA_INLINE __m512i zeros(const glia_group_code *code) {
    if (!code->zero) return _mm512_setzero_si512();
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)code->zero));
}

static void widen_c4(float *to, const char *lines, size_t n, const glia_group_code *code) {
    const __m512i zero = zeros(code), low = _mm512_set1_epi32(15);
    const __m512 table = code->zero ? _mm512_setzero_ps() : _mm512_loadu_ps(code->table);
    for (size_t k = 0; k < n; k += 8, lines += 64, to += 8 * GLIA_PANEL) {
        const __m512i line = _mm512_loadu_si512(lines);
        GLIA_UNROLL for (unsigned i = 0; i < 8; i++) {
            const __m512i q = _mm512_srli_epi32(line, i % 2 * 16 + i / 2 * 4);
            const __m512 value = code->zero
                                     ? _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_and_si512(q, low), zero))
                                     : _mm512_permutexvar_ps(q, table); /* by the low 4 bits */
            _mm512_store_ps(to + i * GLIA_PANEL, value);
        }
    }
}

static void widen_c8(float *to, const char *lines, size_t n, const glia_group_code *code) {
    const __m512i zero = zeros(code);
    for (size_t k = 0; k < n; k += 4, lines += 64, to += 4 * GLIA_PANEL) {
        const __m512i line = _mm512_loadu_si512(lines);
        GLIA_UNROLL for (unsigned i = 0; i < 4; i++) {
            const __m512i q = _mm512_srai_epi32(_mm512_slli_epi32(line, 24 - 8 * i), 24);
            _mm512_store_ps(to + i * GLIA_PANEL, _mm512_cvtepi32_ps(_mm512_sub_epi32(q, zero)));
        }
    }
}

/* Float8 in the low byte of each lane. Exponent and fraction go into place; the exponent gets the difference
 * of the biases. */
GLIA_INLINE __m512 f8(__m512i lane) {
    const __m512i byte = _mm512_and_si512(lane, _mm512_set1_epi32(0xff)),
                  magnitude = _mm512_and_si512(lane, _mm512_set1_epi32(0x7f));
    const __m512i sign = _mm512_slli_epi32(_mm512_sub_epi32(byte, magnitude), 24);
    const __m512i normal = _mm512_add_epi32(_mm512_slli_epi32(magnitude, 20), _mm512_set1_epi32(120 << 23));
    const __m512 small = _mm512_mul_ps(_mm512_cvtepi32_ps(magnitude), _mm512_set1_ps(0x1p-9f));
    const __mmask16 subnormal = _mm512_testn_epi32_mask(lane, _mm512_set1_epi32(0x78));
    return _mm512_castsi512_ps(
        _mm512_or_si512(sign, _mm512_mask_mov_epi32(normal, subnormal, _mm512_castps_si512(small))));
}

static void widen_f8(float *to, const char *lines, size_t n, const glia_group_code *code) {
    (void)code;
    for (size_t k = 0; k < n; k += 4, lines += 64, to += 4 * GLIA_PANEL) {
        const __m512i line = _mm512_loadu_si512(lines);
        GLIA_UNROLL for (unsigned i = 0; i < 4; i++)
            _mm512_store_ps(to + i * GLIA_PANEL, f8(_mm512_srli_epi32(line, 8 * i)));
    }
}

void glia_gemm_c4_f32_avx512(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_C4, widen_c4, glia_gemm_f32_f32_avx512);
}
void glia_gemm_c8_f32_avx512(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_C8, widen_c8, glia_gemm_f32_f32_avx512);
}
void glia_gemm_f8_f32_avx512(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_F8, widen_f8, glia_gemm_f32_f32_avx512);
}
