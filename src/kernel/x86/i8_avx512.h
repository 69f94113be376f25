/* i8_avx512.h - convert a line of an int8 panel to four registers of float32. */
#ifndef GLIA_KERNEL_I8_AVX512_H
#define GLIA_KERNEL_I8_AVX512_H

#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

/* w[j] = the 16 integers at k + 2 half + j, exactly. A byte in the low 8 bits of the fraction of
 * 2^23 makes the float 2^23 + byte; one byte higher in 2^15 it makes 2^15 + byte.
 * Flipping the sign bit makes the byte value + 128. So a register takes two
 * operations, and a line one shift more. */
GLIA_INLINE void glia_widen_half_i8(__m512 w[2], __m512i line, const int half) {
    enum { AND_XOR = 0x6a }; /* (a & b) ^ c */
    const __m512i low = _mm512_set1_epi32(0xff), high = _mm512_set1_epi32(0xff00);
    const __m512i at23 = _mm512_set1_epi32(0x4b000080), at15 = _mm512_set1_epi32(0x47008000);
    const __m512i two = half ? _mm512_srli_epi32(line, 16) : line;
    w[0] = _mm512_sub_ps(_mm512_castsi512_ps(_mm512_ternarylogic_epi32(two, low, at23, AND_XOR)),
                         _mm512_set1_ps(0x1p23f + 128));
    w[1] = _mm512_sub_ps(_mm512_castsi512_ps(_mm512_ternarylogic_epi32(two, high, at15, AND_XOR)),
                         _mm512_set1_ps(0x1p15f + 128));
}

/* The same of all 4 k of a line. */
GLIA_INLINE void glia_widen_i8(__m512 w[4], __m512i line) {
    glia_widen_half_i8(w, line, 0);
    glia_widen_half_i8(w + 2, line, 1);
}

#endif
