/* linear_i8_amx.c - one or two bfloat16 rows through int8 panels, in the order of
 * additions of linear_amx.c: for each 32 k a chain of the even and a chain of the odd
 * k, both from zero. linear_amx.c multiplies by the scales. */
#include <string.h>

#include "kernel/x86/i8_avx512.h"

void glia_linear_sums_i8_amx(float *y, size_t ldy, const uint16_t *x, size_t ldx, const void *w, size_t k,
                             size_t n_panels, size_t m);

enum { FEW = 2, WIDE = 8, AHEAD = 2048, LINES = 8 }; /* lines of 4 k in a step of 32 */

typedef struct {
    float *y;
    const uint16_t *x;
    const char *w;
    size_t ldy, ldx, panel_bytes, lines;
} product;

/* Multiply R rows by P panels over the whole K. */
GLIA_INLINE void few(const product *t, const int R, const int P) {
    __m512 sum[WIDE], chain[2][WIDE]; /* of R * P, GCC would keep them in memory */
    GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_ps();
    for (size_t g = 0; g < t->lines; g += LINES) {
        const size_t end = glia_min(g + LINES, t->lines);
        GLIA_UNROLL for (int i = 0; i < R * P; i++) chain[0][i] = chain[1][i] = _mm512_setzero_ps();
        for (size_t l = g; l < end; l++) {
            __m512 x[FEW][4];
            GLIA_UNROLL for (int r = 0; r < R; r++) {
                GLIA_UNROLL for (int j = 0; j < 4; j++) x[r][j] =
                    _mm512_set1_ps(glia_bf16_to_f32(t->x[(size_t)r * t->ldx + 4 * l + (size_t)j]));
            }
            const char *ahead = t->w + glia_side_by_side(l * 64 + AHEAD, t->panel_bytes, P);
            GLIA_UNROLL for (int p = 0; p < P; p++) {
                __m512 w[4];
                glia_widen_i8(w, _mm512_load_si512(t->w + (size_t)p * t->panel_bytes + l * 64));
                _mm_prefetch(ahead + (size_t)p * t->panel_bytes, _MM_HINT_T0);
                GLIA_UNROLL for (int j = 0; j < 4; j++) {
                    GLIA_UNROLL for (int r = 0; r < R; r++) chain[j % 2][r * P + p] =
                        _mm512_fmadd_ps(x[r][j], w[j], chain[j % 2][r * P + p]);
                }
            }
        }
        GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] =
            _mm512_add_ps(sum[i], _mm512_add_ps(chain[0][i], chain[1][i]));
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p++)
            _mm512_storeu_ps(t->y + (size_t)r * t->ldy + p * GLIA_PANEL, sum[r * P + p]);
    }
}

GLIA_INLINE void rows(product t, size_t panels, const int R, const int P) {
    for (size_t n; panels; panels -= n) {
        n = panels >= (size_t)P ? (size_t)P : 1;
        if (n > 1)
            few(&t, R, P);
        else
            few(&t, R, 1);
        t.y += n * GLIA_PANEL;
        t.w += n * t.panel_bytes;
    }
}

void glia_linear_sums_i8_amx(float *y, size_t ldy, const uint16_t *x, size_t ldx, const void *w, size_t k,
                             size_t n_panels, size_t m) {
    const product t = {y, x, w, ldy, ldx, glia_panel_bytes(GLIA_WEIGHT_I8, k), (k + 3) / 4};
    if (m == 2)
        rows(t, n_panels, 2, WIDE / 2);
    else
        rows(t, n_panels, 1, WIDE);
}
