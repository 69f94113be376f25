/* dot_avx512_bf16.h - products of a line of a panel and four bytes of rows, in registers:
 * two bfloat16 (VDPBF16PS) or four int8 (VPDPBUSD).
 *
 * VDPBF16PS adds two products to a float32: first the odd k, then the even k, both fused;
 * it rounds to nearest and treats denormals as zero (Intel SDM; found the same on AMD's
 * Zen 4). VPDPBUSD multiplies unsigned by signed bytes: weights + 128 by rows. So an int8
 * sum has to start at -128 times the sum of its row. int32 sums are exact, and they may
 * wrap on their way. */
#ifndef GLIA_KERNEL_DOT_AVX512_BF16_H
#define GLIA_KERNEL_DOT_AVX512_BF16_H

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernel/simd.h"

enum {
    GLIA_DOT_SUMS = 24,  /* sums of a tile: the registers that operands leave */
    GLIA_DOT_ROWS = 12,  /* rows of a tile of two panels */
    GLIA_DOT_STEP = 64,  /* bytes of a row in a step, and from row to row */
    GLIA_DOT_LINES = 16, /* lines of a panel in a step */
};

/* sum + w x in sum's register: GCC moves sums between registers if it is left the choice. */
GLIA_INLINE __m512i glia_dot(__m512i sum, __m512i w, __m512i x, const bool bytes) {
    if (bytes)
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    else
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}

/* A line of a panel as glia_dot() takes it. */
GLIA_INLINE __m512i glia_dot_line(const char *at, const bool bytes) {
    const __m512i line = _mm512_loadu_si512(at);
    return bytes ? _mm512_xor_si512(line, _mm512_set1_epi8(-128)) : line;
}

/* Four bytes of a row in all lanes. */
GLIA_INLINE __m512i glia_dot_four(const char *at) {
    int four;
    memcpy(&four, at, sizeof four);
    return _mm512_set1_epi32(four);
}

/* sum [R, P] += lines [first, end) of a step, of P panels at w, by R rows at x. The same lines of the panels
 * at `next` are prefetched to L2, if it is not NULL: one at a time, since several at once delay the loads of
 * `w`. */
GLIA_INLINE void glia_dot_some(__m512i *sum, const char *const *w, const char *const *next, const char *x,
                               size_t first, size_t end, const int R, const int P, const bool bytes) {
    for (size_t at = first; at < end; at++) {
        __m512i line[8]; /* P: a variable length would keep it in memory */
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            line[p] = glia_dot_line(w[p] + at * 64, bytes);
            if (next) _mm_prefetch(next[p] + at * 64, _MM_HINT_T1);
        }
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            const __m512i four = glia_dot_four(x + r * GLIA_DOT_STEP + at * 4);
            GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] =
                glia_dot(sum[r * P + p], line[p], four, bytes);
        }
    }
}

#endif
