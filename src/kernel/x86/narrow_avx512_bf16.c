/* narrow_avx512_bf16.c - rows of float32 as rows of bfloat16, in steps. */
#include <immintrin.h>

#include "kernel/panel.h"

glia_narrow_fn glia_narrow_avx512_bf16;

static inline __mmask16 lanes(size_t n) { return (__mmask16)(n >= GLIA_PANEL ? 0xffff : (1u << n) - 1); }

void glia_narrow_avx512_bf16(void *row, size_t step, size_t first, const float *x, float factor, size_t n) {
    enum { STEP = 32 };
    const __m512 f = _mm512_set1_ps(factor), zero = _mm512_setzero_ps();
    for (size_t at = first, end = first + n, m; at < end; at += m, x += m) {
        m = glia_min(STEP - at % STEP, end - at);
        const __mmask16 below = lanes(m), above = lanes(m - glia_min(m, GLIA_PANEL));
        const __m512 low = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(below, x), f, zero),
                     high = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(above, x + GLIA_PANEL), f, zero);
        _mm512_mask_storeu_epi16((char *)row + at / STEP * step + at % STEP * sizeof(uint16_t),
                                 (__mmask32)above << GLIA_PANEL | below,
                                 (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}
