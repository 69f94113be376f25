/* ceiling_avx2.c - the AVX2 twins of ceiling_ref.c. */
#include <immintrin.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

glia_read_fn glia_read_avx2;
glia_peak_fn glia_peak_f32_avx2;

GLIA_INLINE __m256i load(const char *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

GLIA_INLINE uint64_t read_streams(const char *p, size_t part, size_t ahead, const int streams) {
    __m256i sum[8];
    uint64_t word[4];
    GLIA_UNROLL for (int s = 0; s < streams; s++) sum[s] = _mm256_setzero_si256();
    for (size_t at = 0; at < part; at += 64) {
        GLIA_UNROLL for (int s = 0; s < streams; s++) {
            const char *line = p + (size_t)s * part + at;
            if (ahead) _mm_prefetch(line + ahead, _MM_HINT_T0);
            sum[s] = _mm256_add_epi64(sum[s], _mm256_add_epi64(load(line), load(line + 32)));
        }
    }
    GLIA_UNROLL for (int s = 1; s < streams; s++) sum[0] = _mm256_add_epi64(sum[0], sum[s]);
    _mm256_storeu_si256((__m256i *)(void *)word, sum[0]);
    return word[0] + word[1] + word[2] + word[3];
}

uint64_t glia_read_avx2(const void *p, size_t bytes, int streams, size_t prefetch_bytes) {
    const char *byte = p;
    const size_t part = bytes / (size_t)streams / 64 * 64;
    uint64_t sum = streams == 1   ? read_streams(p, part, prefetch_bytes, 1)
                   : streams == 2 ? read_streams(p, part, prefetch_bytes, 2)
                   : streams == 4 ? read_streams(p, part, prefetch_bytes, 4)
                                  : read_streams(p, part, prefetch_bytes, 8);
    for (size_t at = part * (size_t)streams; at < bytes; at++) sum += (unsigned char)byte[at];
    return sum;
}

uint64_t glia_peak_f32_avx2(uint64_t rounds) {
    enum { CHAINS = 12 }; /* two units of four or five cycles latency: at least ten */
    const __m256 half = _mm256_set1_ps(0.5f), one = _mm256_set1_ps(1.0f);
    __m256 sum[CHAINS];
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] =
        _mm256_set1_ps((float)i); /* the compiler would merge equal chains */
    for (uint64_t r = 0; r < rounds; r++) {
        GLIA_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_fmadd_ps(sum[i], half, one);
    }
    /* without this the compiler would remove the loop */
    GLIA_UNROLL for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"x"(sum[i]));
    return rounds * CHAINS * 8 * 2;
}
