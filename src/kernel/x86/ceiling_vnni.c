/* ceiling_vnni.c - the int8 peak of AVX-512 VNNI. */
#include <immintrin.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

glia_peak_fn glia_peak_i8_vnni;

uint64_t glia_peak_i8_vnni(uint64_t rounds) {
    enum { CHAINS = 16 };
    const __m512i one = _mm512_set1_epi8(1);
    __m512i sum[CHAINS];
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] =
        _mm512_set1_epi32(i); /* the compiler would merge equal chains */
    for (uint64_t r = 0; r < rounds; r++) {
        GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], one, one);
    }
    /* without this the compiler would remove the loop */
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"v"(sum[i]));
    return rounds * CHAINS * 64 * 2;
}
