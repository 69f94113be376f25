/* linear_w4a8_avx512_bf16.c - int8 rows through panels of 4-bit codes on the rung AVX-512 BF16,
 * whose kernels apply the epilogue. The products are those of linear_w4a8_vnni.c, and
 * product_avx512.h has the order of blocks. A part is whole groups and whole steps. */
#include "kernel/x86/dot_avx512_bf16.h"
#include "kernel/x86/halves_avx512.h"

enum {
    BLOCK_ROWS = 12,
    ROW_UNIT = BLOCK_ROWS,
    PART = 8, /* steps of a part: 512 k, or one more group */
    X_BYTES = 1 << 19,
    ROWS = 252,
    PANELS = 16,
    RING = 4,
    FEW = 4,
    AHEAD = 2048, /* prefetch distance, bytes */
    EXCESS =
        BLOCK_ROWS * (GLIA_I8_K_MAX / (GLIA_GROUP_UNIT / 2) + 1) / 8 * 8, /* for ROW_UNIT rows at least */
};
#include "kernel/x86/product_avx512.h"

glia_gemm_fn glia_gemm_c4_i8_avx512_bf16;

typedef struct {
    product p; /* first, so that pointers to both are equal */
    const glia_gemm *g;
    size_t groups, all; /* scales of a column; groups of a row */
    float *excess;      /* [rows, all] the sums of the groups of each row */
} grouped;

/* The sum of n bytes at k of a row, n rounded up to a multiple of 16. */
static float row_sum(const product *t, const char *x, size_t k, size_t n) {
    const __m128i half = _mm_set1_epi8(-128);
    __m128i sum = _mm_setzero_si128();
    size_t i = 0;
    for (; i < n; i += 16, k += 16) {
        const char *at = x + k / STEP_BYTES * t->x_step + k % STEP_BYTES;
        const __m128i bytes = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)at), half);
        sum = _mm_add_epi64(sum, _mm_sad_epu8(bytes, _mm_setzero_si128()));
    }
    return (float)(_mm_cvtsi128_si32(_mm_add_epi64(sum, _mm_unpackhi_epi64(sum, sum))) - 128 * (int32_t)i);
}

static void begin_group(product *p, const char *x, size_t rows) {
    const grouped *t = (const grouped *)(const void *)p;
    assert(rows * t->all <= EXCESS);
    for (size_t r = 0; r < rows; r++)
        for (size_t g = 0, k = 0; g < t->all; g++, k += t->g->group)
            t->excess[r * t->all + g] = row_sum(p, x + r * p->ldx, k, glia_min(p->k - k, t->g->group));
}

/* What R rows and P panels add to sums in memory. */
typedef struct {
    const char *w, *x;   /* at k = begin */
    size_t panel_stride; /* bytes; 0: a single panel stands twice */
    size_t panel, begin, end;
    const float *excess; /* of the first row */
    const float *from;   /* sums of the groups before, ld_from floats apart, or NULL */
    float *to;
    size_t ld_from, ldt;
} piece;

/* The products of the group [k, end) of R rows and P panels. */
GLIA_INLINE void dot_group(__m512i *sum, const grouped *t, const piece *b, size_t k, size_t end, ahead *next,
                           size_t lines, const int R, const int P) {
    for (; k < end; k += 8) {
        const char *x = b->x + (k / STEP_BYTES - b->begin / STEP_BYTES) * t->p.x_step + k % STEP_BYTES;
        glia_halves line[8];
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const char *at = b->w + (size_t)p * b->panel_stride + (k - b->begin) * 8;
            line[p] = glia_halves_of(at);
            if (!next)
                _mm_prefetch(b->w + (size_t)p * b->panel_stride +
                                 glia_side_by_side(k * 8 + AHEAD, t->p.panel_bytes, P),
                             _MM_HINT_T1);
        }
        if (next && k % STEP_BYTES == 0) fetch(next, lines);
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            const int8_t *at = (const int8_t *)x + (size_t)r * t->p.ldx;
            const __m512i low = glia_four(at), high = glia_four(at + 4);
            GLIA_UNROLL for (int p = 0; p < P; p++) {
                __m512i *to = &sum[r * P + p];
                *to = glia_dot(glia_dot(*to, line[p].low, low, true), line[p].high, high, true);
            }
        }
    }
}

GLIA_INLINE void add_groups(const grouped *t, const piece *b, ahead *next, size_t lines, const int R,
                            const int P) {
    const glia_gemm *g = t->g;
    const float *from = b->from;
    size_t ld = b->ld_from;
    for (size_t k = b->begin, end; k < b->end; k = end, from = b->to, ld = b->ldt) {
        const size_t group = k / g->group;
        __m512i sum[24];
        end = glia_min(b->end, k + g->group);
        GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_si512();
        dot_group(sum, t, b, k, end, next, lines, R, P);
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const size_t panel = b->panel + (b->panel_stride ? (size_t)p : 0);
            const size_t at = (panel * t->groups + (g->whole ? 0 : group)) * GLIA_PANEL;
            const __m512 zero = glia_zero_points(g->w_zero ? g->w_zero + at : NULL),
                         scale = _mm512_loadu_ps(g->w_scale + at);
            GLIA_UNROLL for (int r = 0; r < R; r++) {
                const __m512 before =
                    from ? _mm512_loadu_ps(from + (size_t)r * ld + p * GLIA_PANEL) : _mm512_setzero_ps();
                _mm512_storeu_ps(b->to + (size_t)r * b->ldt + p * GLIA_PANEL,
                                 glia_with_group(before, sum[r * P + p], zero,
                                                 b->excess[(size_t)r * t->all + group], scale));
            }
        }
    }
}

/* ---- many rows ------------------------------------------------------------------ */

static size_t block_rows(size_t left) { return left / ((left + BLOCK_ROWS - 1) / BLOCK_ROWS); }

static void multiply_block(product *p, const block *b, ahead *next, size_t rows) {
    const grouped *t = (const grouped *)(const void *)p;
    const size_t begin = b->step * STEP_BYTES;
    const piece all = {.w = b->w[0],
                       .x = b->x,
                       .panel_stride = (size_t)(b->w[1] - b->w[0]),
                       .panel = b->panel,
                       .begin = begin,
                       .end = glia_min(p->k, begin + b->steps * STEP_BYTES),
                       .excess = t->excess + b->row * t->all,
                       .from = b->from,
                       .to = b->to,
                       .ld_from = PAIR,
                       .ldt = b->ldt};
    while (p->e.done < p->e.rows) finish_next(&p->e);
    GLIA_WITH_12_ROWS(rows, 1, 12, add_groups(t, &all, next, b->fetch, R, 2))
}

/* ---- few rows -------------------------------------------------------------------- */

/* Multiply R row-major rows by P panels from `panel` on, over the whole K. */
GLIA_INLINE void few_rows(const grouped *t, const char *x, size_t row, size_t panel, const int R,
                          const int P) {
    enum { MOST = 8 * GLIA_PANEL };
    float sum[MOST] __attribute__((aligned(64))) = {0};
    const piece all = {.w = t->p.w + panel * t->p.panel_bytes,
                       .x = x,
                       .panel_stride = t->p.panel_bytes,
                       .panel = panel,
                       .end = t->p.k,
                       .excess = t->excess,
                       .from = sum,
                       .to = sum,
                       .ld_from = (size_t)P * GLIA_PANEL,
                       .ldt = (size_t)P * GLIA_PANEL};
    add_groups(t, &all, NULL, 0, R, P);
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p += 2) {
            const float *at = sum + (r * P + p) * GLIA_PANEL;
            finish_row(&t->p.to, row + (size_t)r, panel + (size_t)p, P > 1, _mm512_load_ps(at),
                       _mm512_load_ps(P > 1 ? at + GLIA_PANEL : at));
        }
    }
}

GLIA_INLINE void few_panels(const grouped *t, size_t n_panels, const char *x, size_t row, const int R,
                            const int P) {
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = n_panels - p >= (size_t)P ? (size_t)P : n_panels - p >= 2 ? 2 : 1;
        if (n == (size_t)P)
            few_rows(t, x, row, p, R, P);
        else if (n == 2)
            few_rows(t, x, row, p, R, 2);
        else
            few_rows(t, x, row, p, R, 1);
    }
}

static void sweep_few(grouped *t, size_t n_panels, size_t m) {
    for (size_t row = 0, rows; row < m; row += rows) {
        const char *x = t->p.x + row * t->p.ldx;
        rows = glia_min(m - row, FEW);
        begin_group(&t->p, x, rows);
        switch (rows) {
        case 1: few_panels(t, n_panels, x, row, 1, 8); break;
        case 2: few_panels(t, n_panels, x, row, 2, 4); break;
        case 3: few_panels(t, n_panels, x, row, 3, 2); break;
        default: few_panels(t, n_panels, x, row, 4, 2); break;
        }
    }
}

/* ---- all --------------------------------------------------------------------------- */

void glia_gemm_c4_i8_avx512_bf16(const glia_gemm *g) {
    enum { FLUSH = 0x8040 };
    float excess[EXCESS];
    const unsigned csr = _mm_getcsr();
    grouped t = {.p = product_of(g, GLIA_WEIGHT_C4),
                 .g = g,
                 .groups = glia_groups(g->k, g->group, g->whole),
                 .all = (g->k + g->group - 1) / g->group,
                 .excess = excess};
    t.p.to.w_scale = NULL; /* groups are scaled as they are added */
    t.p.step = STEP_BYTES;
    t.p.w_lines = 8;
    t.p.group_steps = part_of(g->group, STEP_BYTES);
    t.p.most_rows = EXCESS / t.all / ROW_UNIT * ROW_UNIT;
    assert(g->out.epilogue != GLIA_SWIGLU || g->n_panels % 2 == 0);
    if (g->m == 0 || g->n_panels == 0) return;
    _mm_setcsr(csr | FLUSH);
    if (t.p.ldx == STEP_BYTES && (g->m > 1 || t.p.x_step != STEP_BYTES))
        sweep_groups(&t.p, g->n_panels, g->m);
    else
        sweep_few(&t, g->n_panels, g->m);
    _mm256_zeroupper(); /* as in linear_avx512_bf16.c */
    _mm_setcsr(csr);
}
