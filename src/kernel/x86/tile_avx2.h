/* tile_avx2.h - one chain of products for a tile of R rows and H half-lines (H / 2
 * panels): the inner loop of linear layers and attention. Callers pass constants for
 * R, H and dtype. */
#ifndef GLIA_KERNEL_TILE_AVX2_H
#define GLIA_KERNEL_TILE_AVX2_H

#include <immintrin.h>

#include "kernel/panel.h"
#include "kernel/simd.h"

enum {
    GLIA_TILE_MAX = 12, /* chains of a tile: the registers that operands leave */
    GLIA_NEAR = 2048,   /* prefetch distance in bytes: into L1, */
    GLIA_FAR = 8192,    /* and into L2 */
};

/* Which prefetches a step issues. */
typedef enum { GLIA_AHEAD_NONE, GLIA_AHEAD_NEAR, GLIA_AHEAD_BOTH } glia_ahead;

typedef struct {
    const float *x; /* rows, ldx floats apart */
    size_t ldx;
    const char *w[4]; /* panels */
} glia_operands;

/* sum + w x in sum's register. With the intrinsic, GCC moves sums between registers and spills some. */
GLIA_INLINE __m256 glia_fma(__m256 w, __m256 x, __m256 sum) {
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
    return sum;
}

/* The multiply-adds of one step. The operands that are used most often stay in registers. */
GLIA_INLINE void glia_madd(__m256 *sum, const __m256 *w, const float *x, size_t ldx, const int R,
                           const int H) {
    if (R > H) {
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            const __m256 v = _mm256_broadcast_ss(x + (size_t)r * ldx);
            GLIA_UNROLL for (int h = 0; h < H; h++) sum[r * H + h] = glia_fma(w[h], v, sum[r * H + h]);
        }
    } else {
        __m256 v[6];
        GLIA_UNROLL for (int r = 0; r < R; r++) v[r] = _mm256_broadcast_ss(x + (size_t)r * ldx);
        GLIA_UNROLL for (int h = 0; h < H; h++) {
            GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * H + h] = glia_fma(w[h], v[r], sum[r * H + h]);
        }
    }
}

GLIA_INLINE const char *glia_half_line(const glia_operands *o, size_t at, int h) {
    return o->w[h / 2] + at + (size_t)(h % 2) * 32;
}

GLIA_INLINE void glia_fetch(const char *line, const glia_ahead ahead) {
    if (ahead >= GLIA_AHEAD_NEAR) _mm_prefetch(line + GLIA_NEAR, _MM_HINT_T0);
    if (ahead == GLIA_AHEAD_BOTH) _mm_prefetch(line + GLIA_FAR, _MM_HINT_T1);
}

GLIA_INLINE void glia_step_f32(__m256 *sum, const glia_operands *o, size_t k, const int R, const int H,
                               const glia_ahead ahead) {
    __m256 w[8];
    GLIA_UNROLL for (int h = 0; h < H; h++) {
        w[h] = _mm256_load_ps((const float *)(const void *)glia_half_line(o, k * 64, h));
        if (h % 2 == 0) glia_fetch(glia_half_line(o, k * 64, h), ahead);
    }
    glia_madd(sum, w, o->x + k, o->ldx, R, H);
}

/* The even (half 0) or odd (half 1) k of half a line of bfloat16 or float16. */
GLIA_INLINE __m256 glia_widen_half(const char *at, const int half, const glia_dtype dtype) {
    const __m256i line = _mm256_load_si256((const __m256i *)(const void *)at);
    const __m256i high = _mm256_set1_epi32((int)0xffff0000), low = _mm256_set1_epi32(0xffff);
    if (dtype == GLIA_DTYPE_BF16)
        return _mm256_castsi256_ps(half ? _mm256_and_si256(line, high) : _mm256_slli_epi32(line, 16));
    const __m256i bits = half ? _mm256_srli_epi32(line, 16) : _mm256_and_si256(line, low);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}

/* The two steps of one line. The caller asks for the even (k), the odd (k + 1) or both. */
GLIA_INLINE void glia_step_half(__m256 *sum, const glia_operands *o, size_t k, const int even, const int odd,
                                const int R, const int H, const glia_dtype dtype, const glia_ahead ahead) {
    __m256 w[8];
    GLIA_UNROLL for (int h = 0; h < H; h += 2) glia_fetch(glia_half_line(o, k * 32, h), ahead);
    if (even) {
        GLIA_UNROLL for (int h = 0; h < H; h++) w[h] =
            glia_widen_half(glia_half_line(o, k * 32, h), 0, dtype);
        glia_madd(sum, w, o->x + k, o->ldx, R, H);
    }
    if (odd) {
        GLIA_UNROLL for (int h = 0; h < H; h++) w[h] =
            glia_widen_half(glia_half_line(o, k * 32, h), 1, dtype);
        glia_madd(sum, w, o->x + k + 1, o->ldx, R, H);
    }
}

/* Add the chain of k in [begin, end) to run. Eight steps are unrolled: a loop of
 * single steps mispredicts its last branch too often. */
GLIA_INLINE void glia_chain_ahead(__m256 *run, const glia_operands *o, size_t begin, size_t end, const int R,
                                  const int H, const glia_dtype dtype, const glia_ahead ahead) {
    __m256 sum[GLIA_TILE_MAX];
    size_t k = begin;
    GLIA_UNROLL for (int i = 0; i < R * H; i++) sum[i] = _mm256_setzero_ps();
    if (dtype == GLIA_DTYPE_F32) {
        for (; k + 8 <= end; k += 8) {
            GLIA_UNROLL for (size_t i = 0; i < 8; i++) glia_step_f32(sum, o, k + i, R, H, ahead);
        }
        for (; k < end; k++) glia_step_f32(sum, o, k, R, H, ahead);
    } else {
        if (k % 2) glia_step_half(sum, o, k++ - 1, 0, 1, R, H, dtype, ahead);
        for (; k + 8 <= end; k += 8) {
            GLIA_UNROLL for (size_t i = 0; i < 8; i += 2)
                glia_step_half(sum, o, k + i, 1, 1, R, H, dtype, ahead);
        }
        for (; k + 1 < end; k += 2) glia_step_half(sum, o, k, 1, 1, R, H, dtype, ahead);
        if (k < end) glia_step_half(sum, o, k, 1, 0, R, H, dtype, ahead);
    }
    GLIA_UNROLL for (int i = 0; i < R * H; i++) run[i] = _mm256_add_ps(run[i], sum[i]);
}

GLIA_INLINE void glia_chain(__m256 *run, const glia_operands *o, size_t begin, size_t end, const int R,
                            const int H, const glia_dtype dtype) {
    glia_chain_ahead(run, o, begin, end, R, H, dtype, R <= 3 ? GLIA_AHEAD_NEAR : GLIA_AHEAD_NONE);
}

#endif
