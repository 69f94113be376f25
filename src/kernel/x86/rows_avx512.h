/* rows_avx512.h - load rows of a checkpoint into registers, and transpose them for a panel. */
#ifndef GLIA_KERNEL_ROWS_AVX512_H
#define GLIA_KERNEL_ROWS_AVX512_H

#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

/* Elements [i, i + 16) of a row as float32; zeros after the first `left` of them. */
GLIA_INLINE __m512 glia_wide(const void *at, glia_dtype from, size_t i, size_t left) {
    const char *row = at;
    const __mmask16 mask = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1);
    if (from == GLIA_DTYPE_F32) return _mm512_maskz_loadu_ps(mask, row + i * 4);
    const __m256i h = _mm256_maskz_loadu_epi16(mask, row + i * 2);
    if (from == GLIA_DTYPE_F16) return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Transpose: r[i] becomes unit i of every row. Pairs, fours and quarters of registers are exchanged. */
GLIA_INLINE void glia_transpose(__m512i r[16]) {
    __m512i s[16];
    GLIA_UNROLL for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    GLIA_UNROLL for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    GLIA_UNROLL for (int i = 0; i < 4; i++) {
        s[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        s[i + 4] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        s[i + 8] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        s[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    GLIA_UNROLL for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(s[i], s[i + 4], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(s[i], s[i + 4], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(s[i + 8], s[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(s[i + 8], s[i + 12], 0xdd);
    }
}

#endif
