/* rotate_avx512.c - the AVX-512 twin of rotate_ref.c. Blocks of up to 64 elements are in four registers, and
 * a register's lanes are partners for distances below 16. */
#include "kernel/rotate.h"
#include "kernel/x86/rows_avx512.h"

glia_rotate_fn glia_rotate_avx512;

enum { UNIT = 64, LANES = 16 }; /* elements in registers at once, and in one of them */

/* partner + v in lanes whose bit `h` is 0, partner - v in the others. The product with 1 or -1 is exact. */
GLIA_INLINE __m512 butterfly(__m512 v, __m512 partner, const unsigned h) {
    const __mmask16 upper = h == 1 ? 0xaaaa : h == 2 ? 0xcccc : h == 4 ? 0xf0f0 : 0xff00;
    return _mm512_fmadd_ps(v, _mm512_mask_blend_ps(upper, _mm512_set1_ps(1), _mm512_set1_ps(-1)), partner);
}

/* The stages at distances of up to 8, inside a register. */
GLIA_INLINE __m512 within(__m512 v, size_t block) {
    if (block > 1) v = butterfly(v, _mm512_permute_ps(v, 0xb1), 1);
    if (block > 2) v = butterfly(v, _mm512_permute_ps(v, 0x4e), 2);
    if (block > 4) v = butterfly(v, _mm512_shuffle_f32x4(v, v, 0xb1), 4);
    if (block > 8) v = butterfly(v, _mm512_shuffle_f32x4(v, v, 0x4e), 8);
    return v;
}

GLIA_INLINE void pair(__m512 *a, __m512 *b) {
    const __m512 sum = _mm512_add_ps(*a, *b);
    *b = _mm512_sub_ps(*a, *b);
    *a = sum;
}

/* The stages at distances of 16 and 32, between registers. */
GLIA_INLINE void between(__m512 v[4], size_t block) {
    if (block > 16) pair(&v[0], &v[1]), pair(&v[2], &v[3]);
    if (block > 32) pair(&v[0], &v[2]), pair(&v[1], &v[3]);
}

GLIA_INLINE __mmask16 lanes(size_t n) { return (__mmask16)(n >= LANES ? 0xffffu : (1u << n) - 1); }

GLIA_INLINE void rotate(float *y, const char *x, size_t x_step, const glia_dtype from, size_t k,
                        size_t block) {
    const size_t piece = from == GLIA_DTYPE_F32 ? LANES : 2 * LANES; /* elements in 64 bytes */
    const __m512 factor = _mm512_set1_ps(glia_rotate_factor(block));
    for (size_t i = 0; i < k; i += UNIT) {
        __m512 v[4];
        size_t left[4];
        GLIA_UNROLL for (size_t r = 0; r < 4; r++) {
            const size_t at = i + r * LANES;
            left[r] = at < k ? k - at : 0;
            v[r] = within(glia_wide(x + at / piece * x_step, from, at % piece, left[r]), block);
        }
        between(v, block);
        GLIA_UNROLL for (size_t r = 0; r < 4; r++)
            _mm512_mask_storeu_ps(y + i + r * LANES, lanes(left[r]), _mm512_mul_ps(v[r], factor));
    }
}

void glia_rotate_avx512(float *y, const void *x, size_t x_step, glia_dtype from, size_t k, size_t block) {
    if (from == GLIA_DTYPE_F32)
        rotate(y, x, x_step, GLIA_DTYPE_F32, k, block);
    else
        rotate(y, x, x_step, GLIA_DTYPE_BF16, k, block);
}
