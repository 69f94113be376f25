/* ceiling_avx512_bf16.c - the bfloat16 peak of AVX-512 BF16. */
#include <immintrin.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

glia_peak_fn glia_peak_bf16_avx512_bf16;

uint64_t glia_peak_bf16_avx512_bf16(uint64_t rounds) {
    enum { CHAINS = 16 };
    const __m512bh one = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    __m512 sum[CHAINS];
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] =
        _mm512_set1_ps((float)i); /* the compiler would merge equal chains */
    for (uint64_t r = 0; r < rounds; r++) {
        GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_dpbf16_ps(sum[i], one, one);
    }
    /* without this the compiler would remove the loop */
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"v"(sum[i]));
    return rounds * CHAINS * 32 * 2;
}
