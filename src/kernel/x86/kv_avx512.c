/* kv_avx512.c - the AVX-512 twins of kv_ref.c. The 4-byte groups of a key are scattered
 * to the lines of its column; the elements of a value are stored under a mask. No byte
 * of another position is written, because other threads store those positions. */
#include <immintrin.h>

#include "kernel/kv_tile.h"
#include "kernel/simd.h"

glia_kv_store_fn glia_kv_store_avx512;
glia_kv_widen_fn glia_kv_widen_avx512;

/* Sixteen floats from d on, zeros from head_dim on. */
static inline __m512 take(const float *x, size_t d, size_t head_dim) {
    const size_t left = head_dim > d ? head_dim - d : 0;
    return _mm512_maskz_loadu_ps((__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1), x + d);
}

/* glia_f32_to_bf16 of each lane, in its low half. */
static inline __m512i narrow(__m512 v) {
    const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    const __m512i even =
        _mm512_add_epi32(_mm512_and_si512(upper, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, even), 16);
    return _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), upper,
                                _mm512_set1_epi32(0x40));
}

/* Store n groups of 4 bytes to one column of n lines. */
static inline void scatter(char *column, __m512i groups, size_t n) {
    const __m512i lines =
        _mm512_slli_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), 4);
    const __mmask16 mask = (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1);
    _mm512_mask_i32scatter_epi32((int *)(void *)column, mask, lines, groups, 4);
}

static void store_f32(void *tile, size_t at, const float *k, const float *v, size_t head_dim) {
    char *column = glia_k_panel(tile, GLIA_DTYPE_F32, head_dim, at) + at % GLIA_PANEL * 4;
    for (size_t d = 0; d < head_dim; d += 16) {
        const size_t left = glia_min(head_dim - d, 16);
        scatter(column + d * 64, _mm512_castps_si512(take(k, d, head_dim)), left);
        _mm512_mask_storeu_ps(glia_v_panel(tile, GLIA_DTYPE_F32, head_dim, d) + at * 64,
                              (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1), take(v, d, head_dim));
    }
}

static void store_bf16(void *tile, size_t at, const float *k, const float *v, size_t head_dim) {
    char *column = glia_k_panel(tile, GLIA_DTYPE_BF16, head_dim, at) + at % GLIA_PANEL * 4;
    for (size_t d = 0; d < head_dim; d += 32) { /* up to the panel's end: zeros from head_dim on */
        const __m256i low = _mm512_cvtepi32_epi16(narrow(take(k, d, head_dim))),
                      high = _mm512_cvtepi32_epi16(narrow(take(k, d + 16, head_dim)));
        scatter(column + d * 32, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1), 16);
    }
    const __mmask32 half = at % 2 ? 0xaaaaaaaau : 0x55555555u;
    for (size_t d = 0; d < head_dim; d += 16) {
        const __m512i value = narrow(take(v, d, head_dim));
        const size_t left = glia_min(head_dim - d, 16);
        const __mmask32 mask = half & (left >= 16 ? 0xffffffffu : (1u << 2 * left) - 1);
        _mm512_mask_storeu_epi16(glia_v_panel(tile, GLIA_DTYPE_BF16, head_dim, d) + at / 2 * 64, mask,
                                 at % 2 ? _mm512_slli_epi32(value, 16) : value);
    }
}

/* Sixteen elements as int8, each in 32 bits. */
static inline __m512i quantise(__m512 x, float factor) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(factor)));
}

static void store_i8(void *tile, size_t at, const float *k, const float *v, size_t head_dim) {
    float *scale = glia_kv_scales(tile, head_dim) + at, k_factor, v_factor;
    char *column = glia_k_panel(tile, GLIA_DTYPE_I8, head_dim, at) + at % GLIA_PANEL * 4;
    scale[0] = glia_kv_scale(k, head_dim, &k_factor);
    scale[GLIA_KV_TILE] = glia_kv_scale(v, head_dim, &v_factor);
    for (size_t d = 0; d < head_dim; d += 64) {
        __m512i bytes = _mm512_setzero_si512();
        GLIA_UNROLL for (int i = 0; i < 4; i++) {
            const __m128i four =
                _mm512_cvtepi32_epi8(quantise(take(k, d + (size_t)i * 16, head_dim), k_factor));
            bytes = _mm512_mask_broadcast_i32x4(bytes, (__mmask16)(0xf << 4 * i), four);
        }
        scatter(column + d * 16, bytes, (glia_min(head_dim - d, 64) + 3) / 4);
    }
    for (size_t d = 0; d < head_dim; d += 16) {
        const __m512i value = quantise(take(v, d, head_dim), v_factor);
        const size_t left = glia_min(head_dim - d, 16);
        const __mmask64 mask = UINT64_C(0x1111111111111111) << at % 4 &
                               (left >= 16 ? UINT64_MAX : (UINT64_C(1) << 4 * left) - 1);
        _mm512_mask_storeu_epi8(glia_v_panel(tile, GLIA_DTYPE_I8, head_dim, d) + at / 4 * 64, mask,
                                _mm512_sll_epi32(value, _mm_cvtsi32_si128((int)(at % 4 * 8))));
    }
}

void glia_kv_store_avx512(void *tile, glia_dtype dtype, size_t at, const float *k, const float *v,
                          size_t head_dim) {
    if (dtype == GLIA_DTYPE_F32)
        store_f32(tile, at, k, v, head_dim);
    else if (dtype == GLIA_DTYPE_BF16)
        store_bf16(tile, at, k, v, head_dim);
    else
        store_i8(tile, at, k, v, head_dim);
}

/* Byte b of each 4-byte group, times its scale. */
static inline __m512 widen(__m512i bytes, int b, __m512 scale) {
    const __m512i left = _mm512_sll_epi32(bytes, _mm_cvtsi32_si128(24 - 8 * b));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(left, 24)), scale);
}

/* RoPE of a bias, as it is added to the keys of a K panel. */
typedef struct {
    const float *bias, *turned; /* [head_dim] the bias, and what its sine is multiplied by */
    const float *angles;        /* [head_dim / 2][cos, sin][16], or NULL */
    size_t head_dim;
} key_bias;

/* Sixteen keys' dimension d. */
GLIA_INLINE __m512 add_bias(__m512 x, const key_bias *b, size_t d) {
    const size_t half = b->head_dim / 2;
    if (d >= b->head_dim) return x;
    const __m512 bias = _mm512_set1_ps(b->bias[d]);
    if (!b->angles) return _mm512_add_ps(x, bias);
    const float *c = b->angles + (d < half ? d : d - half) * 32;
    const __m512 by_sine = _mm512_mul_ps(_mm512_set1_ps(b->turned[d]), _mm512_loadu_ps(c + 16));
    return _mm512_add_ps(x, _mm512_add_ps(_mm512_mul_ps(bias, _mm512_loadu_ps(c)), by_sine));
}

/* Store dimensions or positions d to d + 3 of 16 columns: 4 float32 lines or 2 bfloat16 lines. */
GLIA_INLINE void store_line(char *to, const __m512 x[4], const glia_dtype dtype) {
    if (dtype == GLIA_DTYPE_F32) {
        GLIA_UNROLL for (int b = 0; b < 4; b++) _mm512_storeu_ps(to + b * 64, x[b]);
        return;
    }
    GLIA_UNROLL for (int b = 0; b < 4; b += 2) {
        const __m512i odd = _mm512_slli_epi32(narrow(x[b + 1]), 16);
        _mm512_storeu_si512(to + b * 32, _mm512_or_si512(narrow(x[b]), odd));
    }
}

/* Convert one int8 line, 4 k of 16 columns. */
GLIA_INLINE void widen_line(char *to, const char *from, const __m512 scale[4], const glia_dtype dtype) {
    const __m512i bytes = _mm512_loadu_si512(from);
    __m512 x[4];
    GLIA_UNROLL for (int b = 0; b < 4; b++) x[b] = widen(bytes, b, scale[b]);
    store_line(to, x, dtype);
}

/* The same of a line of a K panel, whose first dimension is d. */
GLIA_INLINE void widen_biased(char *to, const char *from, __m512 scale, const key_bias *bias, size_t d,
                              const glia_dtype dtype) {
    const __m512i bytes = _mm512_loadu_si512(from);
    __m512 x[4];
    GLIA_UNROLL for (int b = 0; b < 4; b++) x[b] = add_bias(widen(bytes, b, scale), bias, d + (size_t)b);
    store_line(to, x, dtype);
}

GLIA_INLINE void widen_tile(char *to, const char *from, size_t head_dim, key_bias bias,
                            const glia_dtype dtype) {
    const float *scales = glia_kv_scales((void *)(uintptr_t)from, head_dim);
    const size_t out = dtype == GLIA_DTYPE_F32 ? 256 : 128; /* bytes of 4 k after conversion */
    for (size_t p = 0; p < 2; p++) {
        const __m512 s = _mm512_loadu_ps(scales + p * GLIA_PANEL), scale[4] = {s, s, s, s};
        const char *panel = from + p * glia_k_panel_bytes(GLIA_DTYPE_I8, head_dim);
        char *wide = to + p * glia_k_panel_bytes(dtype, head_dim);
        const size_t bytes = glia_k_panel_bytes(dtype, head_dim);
        if (bias.bias)
            for (size_t l = 0; l * out < bytes; l++)
                widen_biased(wide + l * out, panel + l * 64, s, &bias, l * 4, dtype);
        else
            for (size_t l = 0; l * out < bytes; l++) widen_line(wide + l * out, panel + l * 64, scale, dtype);
        if (bias.angles) bias.angles += head_dim / 2 * 32;
    }
    from += 2 * glia_k_panel_bytes(GLIA_DTYPE_I8, head_dim);
    to += 2 * glia_k_panel_bytes(dtype, head_dim);
    for (size_t l = 0; l < GLIA_KV_TILE / 4; l++) {
        __m512 scale[4];
        for (size_t b = 0; b < 4; b++) scale[b] = _mm512_set1_ps(scales[GLIA_KV_TILE + l * 4 + b]);
        for (size_t p = 0; p < glia_panels(head_dim); p++)
            widen_line(to + p * glia_v_panel_bytes(dtype) + l * out,
                       from + p * glia_v_panel_bytes(GLIA_DTYPE_I8) + l * 64, scale, dtype);
    }
}

void glia_kv_widen_avx512(void *to, glia_dtype dtype, const void *from, size_t head_dim, const float *bias,
                          const float *angles) {
    float turned[GLIA_HEAD_DIM_MAX];
    const size_t half = head_dim / 2;
    for (size_t d = 0; bias && d < half; d++) turned[d] = -bias[d + half], turned[d + half] = bias[d];
    const key_bias b = {.bias = bias, .turned = turned, .angles = angles, .head_dim = head_dim};
    if (dtype == GLIA_DTYPE_F32)
        widen_tile(to, from, head_dim, b, GLIA_DTYPE_F32);
    else
        widen_tile(to, from, head_dim, b, GLIA_DTYPE_BF16);
}
