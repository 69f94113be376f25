/* tile_avx512.h - one chain of products for a tile of R rows and P panels: the inner
 * loop of linear layers and attention. Callers pass constants for R, P and dtype. */
#ifndef GLIA_KERNEL_TILE_AVX512_H
#define GLIA_KERNEL_TILE_AVX512_H

#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

enum {
    GLIA_TILE_MAX = 24, /* chains of a tile: the registers that operands leave */
    GLIA_NEAR = 2048,   /* prefetch distance in bytes: into L1, */
    GLIA_FAR = 8192,    /* and into L2 */
};

typedef struct {
    const float *x; /* rows, ldx floats apart */
    size_t ldx;
    const char *w[8]; /* panels */
} glia_operands;

/* Which prefetches a step issues. */
typedef enum { GLIA_AHEAD_NONE, GLIA_AHEAD_NEAR, GLIA_AHEAD_BOTH } glia_ahead;

/* sum + w x in sum's register. With the intrinsic, GCC moves sums between registers and spills some. */
GLIA_INLINE __m512 glia_fma(__m512 w, __m512 x, __m512 sum) {
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}

GLIA_INLINE void glia_fetch(const char *line, const glia_ahead ahead) {
    if (ahead >= GLIA_AHEAD_NEAR) _mm_prefetch(line + GLIA_NEAR, _MM_HINT_T0);
    if (ahead == GLIA_AHEAD_BOTH) _mm_prefetch(line + GLIA_FAR, _MM_HINT_T1);
}

GLIA_INLINE void glia_step_f32(__m512 *sum, const glia_operands *o, size_t k, const int R, const int P,
                               const glia_ahead ahead) {
    __m512 w[8];
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        w[p] = _mm512_load_ps(o->w[p] + k * 64);
        glia_fetch(o->w[p] + k * 64, ahead);
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        const __m512 x = _mm512_set1_ps(o->x[(size_t)r * o->ldx + k]);
        GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] = glia_fma(w[p], x, sum[r * P + p]);
    }
}

/* The even (half 0) or odd (half 1) k of a line of bfloat16 or float16. */
GLIA_INLINE __m512 glia_widen_half(__m512i line, const int half, const glia_dtype dtype) {
    const __m512i mask = _mm512_set1_epi32((int)0xffff0000);
    if (dtype == GLIA_DTYPE_BF16)
        return _mm512_castsi512_ps(half ? _mm512_and_si512(line, mask) : _mm512_slli_epi32(line, 16));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(half ? _mm512_srli_epi32(line, 16) : line));
}

/* The two steps of one line. The caller asks for the even (k), the odd (k + 1) or both. */
GLIA_INLINE void glia_step_half(__m512 *sum, const glia_operands *o, size_t k, const int even, const int odd,
                                const int R, const int P, const glia_dtype dtype, const glia_ahead ahead) {
    __m512i w[8];
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        w[p] = _mm512_load_si512(o->w[p] + k * 32);
        glia_fetch(o->w[p] + k * 32, ahead);
    }
    GLIA_UNROLL for (int half = !even; half < 1 + odd; half++) {
        __m512 wide[8];
        GLIA_UNROLL for (int p = 0; p < P; p++) wide[p] = glia_widen_half(w[p], half, dtype);
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            const __m512 x = _mm512_set1_ps(o->x[(size_t)r * o->ldx + k + (size_t)half]);
            GLIA_UNROLL for (int p = 0; p < P; p++) sum[r * P + p] = glia_fma(wide[p], x, sum[r * P + p]);
        }
    }
}

/* Add the chain of k in [begin, end) to run. Eight steps are unrolled: a loop of
 * single steps mispredicts its last branch too often. */
GLIA_INLINE void glia_chain_ahead(__m512 *run, const glia_operands *o, size_t begin, size_t end, const int R,
                                  const int P, const glia_dtype dtype, const glia_ahead ahead) {
    __m512 sum[GLIA_TILE_MAX];
    size_t k = begin;
    GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_ps();
    if (dtype == GLIA_DTYPE_F32) {
        for (; k + 8 <= end; k += 8) {
            GLIA_UNROLL for (size_t i = 0; i < 8; i++) glia_step_f32(sum, o, k + i, R, P, ahead);
        }
        for (; k < end; k++) glia_step_f32(sum, o, k, R, P, ahead);
    } else {
        if (k % 2) glia_step_half(sum, o, k++ - 1, 0, 1, R, P, dtype, ahead);
        for (; k + 8 <= end; k += 8) {
            GLIA_UNROLL for (size_t i = 0; i < 8; i += 2)
                glia_step_half(sum, o, k + i, 1, 1, R, P, dtype, ahead);
        }
        for (; k + 1 < end; k += 2) glia_step_half(sum, o, k, 1, 1, R, P, dtype, ahead);
        if (k < end) glia_step_half(sum, o, k, 1, 0, R, P, dtype, ahead);
    }
    GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = _mm512_add_ps(run[i], sum[i]);
}

GLIA_INLINE void glia_chain(__m512 *run, const glia_operands *o, size_t begin, size_t end, const int R,
                            const int P, const glia_dtype dtype) {
    glia_chain_ahead(run, o, begin, end, R, P, dtype, R <= 4 ? GLIA_AHEAD_NEAR : GLIA_AHEAD_NONE);
}

#endif
