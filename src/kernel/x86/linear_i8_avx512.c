/* linear_i8_avx512.c - float32 rows through int8 panels with AVX-512. Up to SOME rows
 * widen the weights in registers, once for each pass over the rows. */
#include "kernel/x86/i8_avx512.h"
#include "kernel/linear_i8.h"

enum { FEW = 4, SOME = 16, SUMS = 16, AHEAD = 2048 };

glia_gemm_fn glia_gemm_i8_f32_avx512;
glia_gemm_fn glia_gemm_f32_f32_avx512;

typedef struct {
    float *y;
    const float *x, *scale;
    const char *w;
    size_t ldy, ldx, panel_bytes, k;
} product;

/* Add the products of the n (1 to 4) k from k on to sum. */
GLIA_INLINE void step(__m512 *sum, const product *t, size_t k, size_t n, const int R, const int P) {
    const char *ahead = t->w + glia_side_by_side(k * 16 + AHEAD, t->panel_bytes, P);
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        __m512 w[4];
        glia_widen_i8(w, _mm512_load_si512(t->w + (size_t)p * t->panel_bytes + k * 16));
        _mm_prefetch(ahead + (size_t)p * t->panel_bytes, _MM_HINT_T1);
        GLIA_UNROLL for (size_t j = 0; j < 4; j++) {
            if (j >= n) break;
            GLIA_UNROLL for (int r = 0; r < R; r++) {
                const __m512 x = _mm512_set1_ps(t->x[(size_t)r * t->ldx + k + j]);
                sum[r * P + p] = _mm512_fmadd_ps(w[j], x, sum[r * P + p]);
            }
        }
    }
}

/* Multiply R rows by P panels, with the chains and runs of linear_avx512.c. */
GLIA_INLINE void few(const product *t, const int R, const int P) {
    __m512 all[SUMS]; /* of R * P, GCC would keep them in memory */
    GLIA_UNROLL for (int i = 0; i < R * P; i++) all[i] = _mm512_setzero_ps();
    for (size_t begin = 0; begin < t->k; begin += GLIA_RUN) {
        const size_t end = glia_min(t->k, begin + GLIA_RUN);
        __m512 run[SUMS];
        GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = _mm512_setzero_ps();
        for (size_t at = begin; at < end; at += GLIA_CHAIN) {
            __m512 sum[SUMS];
            GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_ps();
            if (end - at >= GLIA_CHAIN) {
                GLIA_UNROLL for (size_t k = 0; k < GLIA_CHAIN; k += 4) step(sum, t, at + k, 4, R, P);
            } else {
                for (size_t k = at; k < end; k += 4) step(sum, t, k, glia_min(end - k, 4), R, P);
            }
            GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = _mm512_add_ps(run[i], sum[i]);
        }
        GLIA_UNROLL for (int i = 0; i < R * P; i++) all[i] = _mm512_add_ps(all[i], run[i]);
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p++)
            _mm512_storeu_ps(t->y + (size_t)r * t->ldy + p * GLIA_PANEL,
                             _mm512_mul_ps(all[r * P + p], _mm512_loadu_ps(t->scale + p * GLIA_PANEL)));
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
        t.scale += n * GLIA_PANEL;
    }
}

/* Multiply 5 to SOME rows by two panels at a time, in passes of about equal height.
 * The second pass finds the panels in L2. */
static void some(product t, size_t n_panels, size_t m) {
    const size_t passes = (m + 7) / 8;
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = glia_min(n_panels - p, 2);
        product at = t;
        for (size_t left = passes, rest = m, done; left; left--, rest -= done) {
            done = rest / left;
            GLIA_WITH_12_ROWS(done, 1, 8, rows(at, n, R, 2))
            at.x += done * t.ldx;
            at.y += done * t.ldy;
        }
        t.y += n * GLIA_PANEL;
        t.w += n * t.panel_bytes;
        t.scale += n * GLIA_PANEL;
    }
}

static void widen(float *to, const char *lines, size_t groups) {
    for (size_t g = 0; g < groups; g++, lines += 64, to += 64) {
        __m512 w[4];
        glia_widen_i8(w, _mm512_load_si512(lines));
        GLIA_UNROLL for (int j = 0; j < 4; j++) _mm512_store_ps(to + j * GLIA_PANEL, w[j]);
    }
}

void glia_gemm_i8_f32_avx512(const glia_gemm *g) {
    const size_t m = g->m, n_panels = g->n_panels;
    const product t = {g->out.y,
                       g->x.x,
                       g->w_scale,
                       g->w,
                       g->out.ldy,
                       g->x.row / sizeof(float),
                       glia_panel_bytes(GLIA_WEIGHT_I8, g->k),
                       g->k};
    if (m > FEW && m <= SOME)
        some(t, n_panels, m);
    else if (m > FEW)
        glia_linear_i8_many(g, widen, glia_gemm_f32_f32_avx512);
    else if (m == 4)
        rows(t, n_panels, 4, 4);
    else if (m == 3)
        rows(t, n_panels, 3, 4);
    else if (m == 2)
        rows(t, n_panels, 2, 8);
    else if (m == 1)
        rows(t, n_panels, 1, 8);
}
