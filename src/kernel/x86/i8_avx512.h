/* i8_avx512.h - convert a line of an int8 panel to four registers of float32. */
#ifndef GLIA_KERNEL_I8_AVX512_H
#define GLIA_KERNEL_I8_AVX512_H

#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

/* w[j] = the 16 integers at k + j, exactly. A byte in the low 8 bits of the fraction of
 * 2^23 makes the float 2^23 + byte; one byte higher in 2^15 it makes 2^15 + byte.
 * Flipping the sign bit makes the byte value + 128. So a register takes two
 * operations, and a line one shift more. */
GLIA_INLINE void glia_widen_i8(__m512 w[4], __m512i line) {
    enum { AND_XOR = 0x6a }; /* (a & b) ^ c */
    const __m512i low = _mm512_set1_epi32(0xff), high = _mm512_set1_epi32(0xff00);
    const __m512i at23 = _mm512_set1_epi32(0x4b000080), at15 = _mm512_set1_epi32(0x47008000);
    const __m512 off23 = _mm512_set1_ps(0x1p23f + 128), off15 = _mm512_set1_ps(0x1p15f + 128);
    const __m512i upper = _mm512_srli_epi32(line, 16);
    w[0] = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(line, low, at23, AND_XOR));
    w[1] = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(line, high, at15, AND_XOR));
    w[2] = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(upper, low, at23, AND_XOR));
    w[3] = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(upper, high, at15, AND_XOR));
    w[0] = _mm512_sub_ps(w[0], off23);
    w[1] = _mm512_sub_ps(w[1], off15);
    w[2] = _mm512_sub_ps(w[2], off23);
    w[3] = _mm512_sub_ps(w[3], off15);
}

#endif
