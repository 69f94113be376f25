/* linear_avx512.c - the AVX-512 twin of linear_ref.c. A line is one register.
 *
 * A tile of R rows and P panels keeps one chain per output line in a register.
 * Complete chains are added to `run` on the stack, complete runs to y. A row has the
 * same sums in every tile.
 *
 * Few rows are bound by memory. Every panel is read once, and the P panels of a tile
 * are P streams, each of consecutive panels, so that prefetching continues across
 * the end of a panel. Many rows are bound by multiplication. A run of two panels is
 * widened once, and a slice of it stays in L1 while all rows are multiplied by it;
 * the next run is prefetched meanwhile. */
#include "kernel/x86/tile_avx512.h"

enum {
    TALL = 7,         /* rows of a tile for many rows; the runs fit in registers, too */
    FEW = 36,         /* up to this many rows read the panels as they are stored */
    BLOCK_ROWS = 256, /* rows whose run of x stays in L2: 512 KiB */
    SLICE = 128,      /* k of two panels: 16 KiB */
};

glia_gemm_fn glia_gemm_f32_f32_avx512, glia_gemm_bf16_f32_avx512, glia_gemm_f16_f32_avx512;

typedef struct {
    float *y;
    const float *x;
    const char *w;
    size_t ldy, ldx, panel_bytes;
} product;

/* The next run of two panels; every tile prefetches `step` lines of each. */
typedef struct {
    const char *at, *end;
    size_t panel_bytes, step;
} lines;

static void fetch(lines *l) {
    for (size_t i = 0; i < l->step && l->at < l->end; i++, l->at += 64) {
        _mm_prefetch(l->at, _MM_HINT_T1);
        _mm_prefetch(l->at + l->panel_bytes, _MM_HINT_T1);
    }
}

/* A slice of a run: k in [begin, end). */
typedef struct {
    size_t begin, end;
    __m512 *run;       /* sums of this run's earlier slices: read unless `first`, written unless `last` */
    bool first, last;  /* the first slice of the run; the last one */
    bool more;         /* y holds the sums of earlier runs */
    size_t apart, top; /* panel p of the tile is panel min(p * apart, top) */
    lines *next;       /* lines to prefetch, or NULL */
} slice;

GLIA_INLINE void tile(const product *t, const slice *a, const int R, const int P, const glia_dtype dtype,
                      const glia_ahead ahead) {
    glia_operands o = {.x = t->x, .ldx = t->ldx};
    __m512 run[GLIA_TILE_MAX];
    GLIA_UNROLL for (int p = 0; p < P; p++) o.w[p] =
        t->w + glia_min((size_t)p * a->apart, a->top) * t->panel_bytes;
    GLIA_UNROLL for (int i = 0; i < R * P; i++) run[i] = a->first ? _mm512_setzero_ps() : a->run[i];
    for (size_t k = a->begin; k < a->end; k += GLIA_CHAIN)
        glia_chain_ahead(run, &o, k, glia_min(a->end, k + GLIA_CHAIN), R, P, dtype, ahead);
    if (!a->last) {
        GLIA_UNROLL for (int i = 0; i < R * P; i++) a->run[i] = run[i];
        return;
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        float *y[8];
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            y[p] = t->y + (size_t)r * t->ldy + glia_min((size_t)p * a->apart, a->top) * GLIA_PANEL;
            run[r * P + p] =
                _mm512_add_ps(a->more ? _mm512_loadu_ps(y[p]) : _mm512_setzero_ps(), run[r * P + p]);
        }
        GLIA_UNROLL for (int p = 0; p < P; p++) _mm512_storeu_ps(y[p], run[r * P + p]);
    }
}

/* Multiply m rows by one slice of P panels, in tiles of about equal height, LEAST to MOST rows. */
GLIA_INLINE void all_rows(product t, slice a, size_t m, const int LEAST, const int MOST, const int P,
                          const glia_dtype dtype, const glia_ahead ahead) {
    const size_t most = (size_t)MOST;
    size_t rows;
    for (size_t tiles = (m + most - 1) / most; tiles; tiles--, m -= rows) {
        rows = m / tiles;
        if (a.next) fetch(a.next);
        GLIA_WITH_12_ROWS(rows, LEAST, MOST, tile(&t, &a, R, P, dtype, ahead))
        t.y += rows * t.ldy;
        t.x += rows * t.ldx;
        if (a.run) a.run += rows * (size_t)P;
    }
}

/* P streams of panels. The panels left over are one tile, in which the last panel stands more than once. */
GLIA_INLINE void few(product t, size_t k, size_t n_panels, size_t m, const int LEAST, const int P,
                     const glia_dtype dtype) {
    slice a = {.first = true, .last = true, .apart = n_panels / (size_t)P, .top = SIZE_MAX};
    for (size_t done = 0, width; done < n_panels; done += width) {
        width = glia_min(n_panels - done, (size_t)P);
        if (width < (size_t)P) {
            t.y += (size_t)(P - 1) * a.apart * GLIA_PANEL;
            t.w += (size_t)(P - 1) * a.apart * t.panel_bytes;
            a.apart = 1;
            a.top = width - 1;
        }
        for (a.begin = 0; a.begin < k; a.begin = a.end) {
            a.end = glia_min(k, a.begin + GLIA_RUN);
            a.more = a.begin > 0;
            all_rows(t, a, m, LEAST, GLIA_TILE_MAX / P, P, dtype, GLIA_AHEAD_BOTH);
        }
        t.y += GLIA_PANEL;
        t.w += t.panel_bytes;
    }
}

/* Convert n lines of a bfloat16 panel to 2 n lines of a float32 panel. */
GLIA_INLINE void widen(char *to, const char *from, size_t n, const glia_dtype dtype) {
    for (size_t i = 0; i < n; i++) {
        const __m512i w = _mm512_load_si512(from + i * 64);
        _mm512_store_ps(to + i * 128, glia_widen_half(w, 0, dtype));
        _mm512_store_ps(to + i * 128 + 64, glia_widen_half(w, 1, dtype));
    }
}

/* Multiply up to BLOCK_ROWS rows by one run of n k. */
GLIA_INLINE void slices(product t, slice a, size_t n, size_t m) {
    __m512 run[2 * BLOCK_ROWS];
    a.run = run;
    for (a.begin = 0; a.begin < n; a.begin = a.end) {
        a.end = glia_min(n, a.begin + SLICE);
        a.first = a.begin == 0;
        a.last = a.end == n;
        all_rows(t, a, m, TALL - 1, TALL, 2, GLIA_DTYPE_F32, GLIA_AHEAD_NONE);
    }
}

GLIA_INLINE void many(product t, size_t k, size_t n_panels, size_t m, const glia_dtype dtype) {
    char wide[2][GLIA_RUN * 64] __attribute__((aligned(64)));
    const size_t tiles = (m + TALL - 1) / TALL * (GLIA_RUN / SLICE);
    for (size_t begin = 0; begin < k; begin += GLIA_RUN) {
        const size_t n = glia_min(k - begin, GLIA_RUN), bytes = glia_lines_bytes(dtype, n);
        for (size_t p = 0; p < n_panels; p += 2) {
            const char *w = t.w + p * t.panel_bytes + glia_lines_bytes(dtype, begin);
            const char *after =
                p + 2 < n_panels ? w + 2 * t.panel_bytes : t.w + glia_lines_bytes(dtype, begin + n);
            lines next = {after, after + bytes, t.panel_bytes, (bytes / 64 + tiles - 1) / tiles};
            product at = {t.y + p * GLIA_PANEL, t.x + begin, w, t.ldy, t.ldx, t.panel_bytes};
            slice a = {.more = begin > 0, .apart = 1, .top = glia_min(n_panels - p, 2) - 1, .next = &next};
            if (dtype != GLIA_DTYPE_F32) {
                for (size_t i = 0; i <= a.top; i++) widen(wide[i], w + i * t.panel_bytes, bytes / 64, dtype);
                at.w = wide[0];
                at.panel_bytes = sizeof wide[0];
            }
            slices(at, a, n, m);
        }
    }
}

GLIA_INLINE void linear(product t, size_t k, size_t n_panels, size_t m, const glia_dtype dtype) {
    if (m <= 6) {
        if (m) few(t, k, n_panels, m, 1, 4, dtype);
    } else if (m <= 8) {
        few(t, k, n_panels, m, 7, 3, dtype);
    } else if (m <= FEW) {
        few(t, k, n_panels, m, 6, 2, dtype);
    } else {
        size_t rows;
        for (size_t blocks = (m + BLOCK_ROWS - 1) / BLOCK_ROWS; blocks; blocks--, m -= rows) {
            rows = m / blocks;
            many(t, k, n_panels, rows, dtype);
            t.y += rows * t.ldy;
            t.x += rows * t.ldx;
        }
    }
}

static product product_of(const glia_gemm *g, glia_weight_format format) {
    return (product){
        g->out.y, g->x.x, g->w, g->out.ldy, g->x.row / sizeof(float), glia_panel_bytes(format, g->k)};
}

void glia_gemm_f32_f32_avx512(const glia_gemm *g) {
    linear(product_of(g, GLIA_WEIGHT_F32), g->k, g->n_panels, g->m, GLIA_DTYPE_F32);
}

void glia_gemm_bf16_f32_avx512(const glia_gemm *g) {
    linear(product_of(g, GLIA_WEIGHT_BF16), g->k, g->n_panels, g->m, GLIA_DTYPE_BF16);
}

void glia_gemm_f16_f32_avx512(const glia_gemm *g) {
    linear(product_of(g, GLIA_WEIGHT_F16), g->k, g->n_panels, g->m, GLIA_DTYPE_F16);
}
