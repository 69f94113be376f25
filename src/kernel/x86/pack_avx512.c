/* pack_avx512.c - the AVX-512 twin of pack_ref.c. In both dtypes a line is 16
 * columns of 4 bytes, so a panel is made by 16x16 transposes of 4-byte units. A unit
 * is one float32, or two consecutive bfloat16 of a row. Stores bypass the caches,
 * because a model's weights do not fit in them. */
#include "kernel/x86/rows_avx512.h"

glia_pack_fn glia_pack_avx512;

/* Round as glia_f32_to_bf16: to nearest even; a NaN stays a NaN. */
static inline __m256i narrow(__m512 v) {
    const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    const __m512i even =
        _mm512_add_epi32(_mm512_and_si512(upper, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, even), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40)));
}

/* The 16 units of a row from element i on. */
GLIA_INLINE __m512i units(const char *row, glia_dtype to, glia_dtype from, size_t i, size_t left) {
    if (!row) return _mm512_setzero_si512();
    if (to == GLIA_DTYPE_F32) return _mm512_castps_si512(glia_wide(row, from, i, left));
    if (from == GLIA_DTYPE_BF16)
        return _mm512_maskz_loadu_epi16(left >= 32 ? 0xffffffff : (1u << left) - 1, row + i * 2);
    const __m256i low = narrow(glia_wide(row, from, i, left));
    const __m256i high = left > 16 ? narrow(glia_wide(row, from, i + 16, left - 16)) : _mm256_setzero_si256();
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

GLIA_INLINE void pack(char *panel, const void *const rows[GLIA_PANEL], size_t k, const glia_dtype to,
                      const glia_dtype from) {
    const size_t step = to == GLIA_DTYPE_F32 ? 16 : 32;
    for (size_t i = 0; i < k; i += step, panel += 16 * 64) {
        const size_t lines = k - i >= step ? 16 : glia_lines_bytes(to, k - i) / 64;
        __m512i r[16];
        GLIA_UNROLL for (int c = 0; c < 16; c++) r[c] = units(rows[c], to, from, i, k - i);
        glia_transpose(r);
        if (lines == 16) {
            GLIA_UNROLL for (int l = 0; l < 16; l++) _mm512_stream_si512((void *)(panel + l * 64), r[l]);
        } else {
            GLIA_UNROLL for (int l = 0; l < 16; l++) if ((size_t)l < lines)
                _mm512_stream_si512((void *)(panel + l * 64), r[l]);
        }
    }
}

glia_pack_fn glia_pack_ref;

void glia_pack_avx512(void *panel, glia_dtype to, const void *const rows[GLIA_PANEL], glia_dtype from,
                      size_t k) {
    if (to == GLIA_DTYPE_F16 && from == GLIA_DTYPE_F16)
        pack(panel, rows, k, GLIA_DTYPE_BF16, GLIA_DTYPE_BF16); /* 16 bits as they are */
    else if (to == GLIA_DTYPE_F16)
        glia_pack_ref(panel, to, rows, from, k);
    else if (to == GLIA_DTYPE_F32 && from == GLIA_DTYPE_F32)
        pack(panel, rows, k, GLIA_DTYPE_F32, GLIA_DTYPE_F32);
    else if (to == GLIA_DTYPE_F32 && from == GLIA_DTYPE_F16)
        pack(panel, rows, k, GLIA_DTYPE_F32, GLIA_DTYPE_F16);
    else if (to == GLIA_DTYPE_F32)
        pack(panel, rows, k, GLIA_DTYPE_F32, GLIA_DTYPE_BF16);
    else if (from == GLIA_DTYPE_F32)
        pack(panel, rows, k, GLIA_DTYPE_BF16, GLIA_DTYPE_F32);
    else if (from == GLIA_DTYPE_F16)
        pack(panel, rows, k, GLIA_DTYPE_BF16, GLIA_DTYPE_F16);
    else
        pack(panel, rows, k, GLIA_DTYPE_BF16, GLIA_DTYPE_BF16);
    _mm_sfence(); /* streamed lines become visible before later stores of this thread */
}
