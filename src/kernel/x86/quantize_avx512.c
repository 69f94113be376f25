/* quantize_avx512.c - the AVX-512 twins of quantize_ref.c. */
#include "kernel/x86/rows_avx512.h"

#include <math.h>

glia_absmax_fn glia_absmax_avx512;
glia_pack_i8_fn glia_pack_i8_avx512;
glia_quantize_fn glia_quantize_avx512;

/* Elements [i, i + 16) of a row of k whose steps of 64 bytes are `step` bytes apart; zeros from k on. */
GLIA_INLINE __m512 sixteen(const void *row, size_t step, const glia_dtype from, size_t i, size_t k) {
    const size_t unit = from == GLIA_DTYPE_F32 ? 16 : 32;
    return glia_wide((const char *)row + i / unit * step, from, i % unit, k - i);
}

GLIA_INLINE float absmax(const void *row, size_t step, const glia_dtype from, size_t k) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i most = _mm512_setzero_si512();
    for (size_t i = 0; i < k; i += 16) {
        const __m512i bits = _mm512_castps_si512(sixteen(row, step, from, i, k));
        most = _mm512_max_epi32(most, _mm512_and_si512(bits, magnitude));
    }
    const float f = _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32(_mm512_reduce_max_epi32(most))));
    return isfinite(f) ? f : NAN;
}

float glia_absmax_avx512(const void *row, glia_dtype from, size_t k) {
    return from == GLIA_DTYPE_F32    ? absmax(row, 64, GLIA_DTYPE_F32, k)
           : from == GLIA_DTYPE_BF16 ? absmax(row, 64, GLIA_DTYPE_BF16, k)
                                     : absmax(row, 64, GLIA_DTYPE_F16, k);
}

/* v rounded to integers. */
GLIA_INLINE __m128i nearest(__m512 v) { return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)); }

/* 16 groups of 4 k of a row from i on, of which `left` k exist. */
GLIA_INLINE __m512i units(const void *row, glia_dtype from, size_t i, size_t left, float scale) {
    __m512i r = _mm512_setzero_si512();
    if (!row || !(scale > 0)) return r;
    const __m512 step = _mm512_set1_ps(scale);
    r = _mm512_inserti32x4(r, nearest(_mm512_div_ps(glia_wide(row, from, i, left), step)), 0);
    if (left > 16)
        r = _mm512_inserti32x4(r, nearest(_mm512_div_ps(glia_wide(row, from, i + 16, left - 16), step)), 1);
    if (left > 32)
        r = _mm512_inserti32x4(r, nearest(_mm512_div_ps(glia_wide(row, from, i + 32, left - 32), step)), 2);
    if (left > 48)
        r = _mm512_inserti32x4(r, nearest(_mm512_div_ps(glia_wide(row, from, i + 48, left - 48), step)), 3);
    return r;
}

GLIA_INLINE void pack(char *panel, const void *const rows[GLIA_PANEL], const glia_dtype from, size_t k,
                      const float *scale) {
    for (size_t i = 0; i < k; i += 64, panel += 16 * 64) {
        const size_t lines = k - i >= 64 ? 16 : glia_panel_bytes(GLIA_WEIGHT_I8, k - i) / 64;
        __m512i r[16];
        GLIA_UNROLL for (int c = 0; c < 16; c++) r[c] = units(rows[c], from, i, k - i, scale[c]);
        glia_transpose(r);
        GLIA_UNROLL for (int l = 0; l < 16; l++) if ((size_t)l < lines)
            _mm512_stream_si512((void *)(panel + l * 64), r[l]);
    }
}

void glia_pack_i8_avx512(void *panel, const void *const rows[GLIA_PANEL], glia_dtype from, size_t k,
                         const float scale[GLIA_PANEL]) {
    if (from == GLIA_DTYPE_F32)
        pack(panel, rows, GLIA_DTYPE_F32, k, scale);
    else if (from == GLIA_DTYPE_F16)
        pack(panel, rows, GLIA_DTYPE_F16, k, scale);
    else
        pack(panel, rows, GLIA_DTYPE_BF16, k, scale);
    _mm_sfence(); /* streamed lines become visible before later stores of this thread */
}

/* Elements [i, i + 16) times factor, rounded to int8; zeros from k on. */
GLIA_INLINE __m128i steps_of(const void *x, size_t x_step, const glia_dtype from, size_t i, size_t k,
                             __m512 factor) {
    return i < k ? nearest(_mm512_mul_ps(sixteen(x, x_step, from, i, k), factor)) : _mm_setzero_si128();
}

GLIA_INLINE void quantize(int8_t *q, size_t q_step, float *scale, const void *x, size_t x_step,
                          const glia_dtype from, size_t k) {
    const float most = absmax(x, x_step, from, k);
    const float steps = most >= 0x1p-120f ? GLIA_I8_MAX / most : 0;
    const __m512 factor = _mm512_set1_ps(steps);
    *scale = isnan(most) ? most : steps > 0 ? most / GLIA_I8_MAX : 0;
    for (size_t i = 0; i < k; i += 64, q += q_step) {
        const size_t n = steps > 0 ? k : 0; /* a row that is not finite becomes zeros */
        __m512i bytes = _mm512_castsi128_si512(steps_of(x, x_step, from, i, n, factor));
        bytes = _mm512_inserti32x4(bytes, steps_of(x, x_step, from, i + 16, n, factor), 1);
        bytes = _mm512_inserti32x4(bytes, steps_of(x, x_step, from, i + 32, n, factor), 2);
        bytes = _mm512_inserti32x4(bytes, steps_of(x, x_step, from, i + 48, n, factor), 3);
        _mm512_storeu_si512(q, bytes);
    }
}

void glia_quantize_avx512(int8_t *q, size_t q_step, float *scale, const void *x, size_t x_step,
                          glia_dtype from, size_t k) {
    if (from == GLIA_DTYPE_F32)
        quantize(q, q_step, scale, x, x_step, GLIA_DTYPE_F32, k);
    else
        quantize(q, q_step, scale, x, x_step, GLIA_DTYPE_BF16, k);
}
