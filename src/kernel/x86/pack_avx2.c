/* pack_avx2.c - the AVX2 twin of pack_ref.c: as pack_avx512.c, with two 8x8 transposes
 * of 4-byte units for the 16 columns. */
#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

glia_pack_fn glia_pack_avx2;

/* glia_f32_to_bf16 of each lane, in its low half. */
static inline __m256i narrow(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
    const __m256i even =
        _mm256_add_epi32(_mm256_and_si256(upper, _mm256_set1_epi32(1)), _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, even), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), nan);
}

GLIA_INLINE __m256 wide(const char *p, glia_dtype from) {
    if (from == GLIA_DTYPE_F32) return _mm256_loadu_ps((const float *)(const void *)p);
    const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (from == GLIA_DTYPE_F16) return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The 8 units from p on. */
GLIA_INLINE __m256i units(const char *p, glia_dtype to, glia_dtype from) {
    if (to == GLIA_DTYPE_F32) return _mm256_castps_si256(wide(p, from));
    if (from == GLIA_DTYPE_BF16) return _mm256_loadu_si256((const __m256i *)(const void *)p);
    const __m256i low = narrow(wide(p, from)),
                  high = narrow(wide(p + (from == GLIA_DTYPE_F32 ? 32 : 16), from));
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
}

/* Transpose: r[i] becomes unit i of every row. */
GLIA_INLINE void transpose(__m256i r[8]) {
    __m256i s[8];
    GLIA_UNROLL for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    GLIA_UNROLL for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    GLIA_UNROLL for (int i = 0; i < 4; i++) {
        s[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        s[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    }
    GLIA_UNROLL for (int i = 0; i < 8; i++) r[i] = s[i];
}

/* Write `lines` (at most 8) half-lines of 8 columns. */
GLIA_INLINE void block(char *half, const char *const from_row[8], size_t lines, const glia_dtype to,
                       const glia_dtype from) {
    __m256i r[8];
    GLIA_UNROLL for (int c = 0; c < 8; c++) r[c] =
        from_row[c] ? units(from_row[c], to, from) : _mm256_setzero_si256();
    transpose(r);
    GLIA_UNROLL for (int l = 0; l < 8; l++) if ((size_t)l < lines)
        _mm256_store_si256((__m256i *)(void *)(half + l * 64), r[l]);
}

GLIA_INLINE void pack(char *panel, const void *const rows[GLIA_PANEL], size_t k, const glia_dtype to,
                      const glia_dtype from) {
    const size_t step = to == GLIA_DTYPE_F32 ? 8 : 16, size = from == GLIA_DTYPE_F32 ? 4 : 2;
    for (size_t i = 0; i < k; i += step, panel += 8 * 64) {
        const size_t left = glia_min(k - i, step);
        for (int c = 0; c < GLIA_PANEL; c += 8) {
            char tail[8][64];
            const char *at[8];
            for (int j = 0; j < 8; j++) {
                at[j] = rows[c + j] ? (const char *)rows[c + j] + i * size : NULL;
                if (left == step || !at[j]) continue;
                memset(tail[j], 0, sizeof tail[j]);
                at[j] = memcpy(tail[j], at[j], left * size);
            }
            block(panel + c * 4, at, left == step ? 8 : glia_lines_bytes(to, left) / 64, to, from);
        }
    }
}

glia_pack_fn glia_pack_ref;

void glia_pack_avx2(void *panel, glia_dtype to, const void *const rows[GLIA_PANEL], glia_dtype from,
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
}
