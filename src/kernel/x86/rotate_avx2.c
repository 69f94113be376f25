/* rotate_avx2.c - the AVX2 twin of rotate_ref.c. Blocks of up to 64 elements are in eight registers, and a
 * register's lanes are partners for distances below 8. */
#include "base/bf16.h"
#include "kernel/rotate.h"
#include "kernel/simd.h"
#include "kernel/x86/exp_avx2.h"

glia_rotate_fn glia_rotate_avx2;

enum { UNIT = 64, LANES = 8, REGISTERS = UNIT / LANES }; /* elements in registers at once, and in one */

/* partner + v where `sign` is 1, partner - v where it is -1. The product is exact. */
GLIA_INLINE __m256 butterfly(__m256 v, __m256 partner, __m256 sign) {
    return _mm256_fmadd_ps(v, sign, partner);
}

/* The stages at distances of up to 4, inside a register. */
GLIA_INLINE __m256 within(__m256 v, size_t block) {
    if (block > 1) v = butterfly(v, _mm256_permute_ps(v, 0xb1), _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1));
    if (block > 2) v = butterfly(v, _mm256_permute_ps(v, 0x4e), _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1));
    if (block > 4)
        v = butterfly(v, _mm256_permute2f128_ps(v, v, 1), _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1));
    return v;
}

/* The stage at a distance of `apart` registers. */
GLIA_INLINE void between(__m256 v[REGISTERS], const int apart) {
    GLIA_UNROLL for (int r = 0; r < REGISTERS; r++) if (!(r & apart)) {
        const __m256 sum = _mm256_add_ps(v[r], v[r + apart]);
        v[r + apart] = _mm256_sub_ps(v[r], v[r + apart]);
        v[r] = sum;
    }
}

/* As glia_rotate_avx2() of float32. */
static void rotate(float *y, const char *x, size_t x_step, size_t k, size_t block) {
    const __m256 factor = _mm256_set1_ps(glia_rotate_factor(block));
    for (size_t i = 0; i < k; i += UNIT) {
        __m256 v[REGISTERS];
        __m256i mask[REGISTERS];
        GLIA_UNROLL for (size_t r = 0; r < REGISTERS; r++) {
            const size_t at = i + r * LANES;
            const char *from = x + at / 16 * x_step + at % 16 * sizeof(float);
            mask[r] = glia_lanes_avx2(at < k ? k - at : 0);
            v[r] = within(_mm256_maskload_ps((const float *)(const void *)from, mask[r]), block);
        }
        if (block > 8) between(v, 1);
        if (block > 16) between(v, 2);
        if (block > 32) between(v, 4);
        GLIA_UNROLL for (size_t r = 0; r < REGISTERS; r++)
            _mm256_maskstore_ps(y + i + r * LANES, mask[r], _mm256_mul_ps(v[r], factor));
    }
}

void glia_rotate_avx2(float *y, const void *x, size_t x_step, glia_dtype from, size_t k, size_t block) {
    if (from == GLIA_DTYPE_F32) {
        rotate(y, x, x_step, k, block);
        return;
    }
    for (size_t i = 0; i < k; i++) {
        uint16_t bits;
        memcpy(&bits, (const char *)x + i / 32 * x_step + i % 32 * sizeof bits, sizeof bits);
        y[i] = glia_bf16_to_f32(bits);
    }
    rotate(y, (const char *)y, 64, k, block);
}
