/* ceiling_avx512.c - the AVX-512 twins of ceiling_ref.c. */
#include <immintrin.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

glia_read_fn glia_read_avx512;
glia_peak_fn glia_peak_f32_avx512;

GLIA_INLINE uint64_t read_streams(const char *p, size_t part, size_t ahead, const int streams) {
    __m512i sum[8];
    GLIA_UNROLL for (int s = 0; s < streams; s++) sum[s] = _mm512_setzero_si512();
    for (size_t at = 0; at < part; at += 64) {
        GLIA_UNROLL for (int s = 0; s < streams; s++) {
            const char *line = p + (size_t)s * part + at;
            if (ahead) _mm_prefetch(line + ahead, _MM_HINT_T0);
            sum[s] = _mm512_add_epi64(sum[s], _mm512_loadu_si512(line));
        }
    }
    GLIA_UNROLL for (int s = 1; s < streams; s++) sum[0] = _mm512_add_epi64(sum[0], sum[s]);
    return (uint64_t)_mm512_reduce_or_epi64(sum[0]);
}

uint64_t glia_read_avx512(const void *p, size_t bytes, int streams, size_t prefetch_bytes) {
    const char *byte = p;
    const size_t part = bytes / (size_t)streams / 64 * 64;
    uint64_t sum = streams == 1   ? read_streams(p, part, prefetch_bytes, 1)
                   : streams == 2 ? read_streams(p, part, prefetch_bytes, 2)
                   : streams == 4 ? read_streams(p, part, prefetch_bytes, 4)
                                  : read_streams(p, part, prefetch_bytes, 8);
    for (size_t at = part * (size_t)streams; at < bytes; at++) sum += (unsigned char)byte[at];
    return sum;
}

uint64_t glia_peak_f32_avx512(uint64_t rounds) {
    enum { CHAINS = 16 }; /* two units of four cycles latency: at least eight */
    const __m512 half = _mm512_set1_ps(0.5f), one = _mm512_set1_ps(1.0f);
    __m512 sum[CHAINS];
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] =
        _mm512_set1_ps((float)i); /* the compiler would merge equal chains */
    for (uint64_t r = 0; r < rounds; r++) {
        GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_fmadd_ps(sum[i], half, one);
    }
    /* without this the compiler would remove the loop */
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"v"(sum[i]));
    return rounds * CHAINS * 16 * 2;
}
