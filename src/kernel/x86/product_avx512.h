/* product_avx512.h - the driver of kernels that multiply bfloat16 or int8 rows and apply
 * the epilogue: which rows and panels are multiplied when, so that caches hold them.
 *
 * A block is up to BLOCK_ROWS rows and a pair of panels. A part is up to PART steps of
 * K of a pair. A part stays in cache while all rows are multiplied by it; the sums of
 * earlier parts are kept in scratch. A group of rows, limited in K, fills X_BYTES of L2
 * at most and stays in L2 while all panels are multiplied. So a pair of panels is read
 * from memory once per group; the lines of the next pair are prefetched meanwhile. The
 * epilogue of a block belongs to the next block, which may overlap it with its products.
 * Without an epilogue, sums are stored directly to the output.
 *
 * int8 panels under bfloat16 rows are widened to bfloat16, which is exact, one step
 * ahead of their first block; later blocks find the widened panels in cache.
 *
 * The file of a rung includes this file. It defines the following constants above the
 * include:
 *   BLOCK_ROWS, PART, X_BYTES  as above
 *   ROW_UNIT                   a group has a multiple of so many rows
 *   ROWS, PANELS               rows and panels of a group whose K does not fit; their
 *                              partial sums fill GLIA_GEMM_SCRATCH at most
 *   RING                       a power of two: widened steps that are kept if there is
 *                              one block of rows
 * and, below the include, begin_group(), block_rows() and multiply_block(). */
#ifndef GLIA_KERNEL_PRODUCT_AVX512_H
#define GLIA_KERNEL_PRODUCT_AVX512_H

#include <assert.h>
#include <string.h>

#include "kernel/x86/exp_avx512.h"
#include "kernel/x86/i8_avx512.h"

enum {
    STEP_BYTES = 64,       /* bytes of a row in a step: 32 bfloat16 or 64 int8 */
    PANEL_STEP = 1024,     /* bytes of a panel in a step, after it is widened */
    PAIR = 2 * GLIA_PANEL, /* columns of a block */
    BLOCK_FLOATS = BLOCK_ROWS * PAIR,
    AHEAD_STEPS = 4, /* prefetch distance in steps if there is one block of rows */
};

/* ---- epilogue -------------------------------------------------------------- */

/* What happens to sums: scales first, then the caller's epilogue. */
typedef struct {
    const glia_gemm_out *out;
    const float *w_scale; /* scales of int8 panels, or NULL */
    const float *x_scale; /* scales of int8 rows, or NULL; with w_scale sums are int32 */
    size_t step;          /* floats of y between the columns of two consecutive pairs of panels */
} target;

GLIA_INLINE __m512 scaled(const target *to, size_t row, size_t column, __m512 sum) {
    __m512 scale = _mm512_loadu_ps(to->w_scale + column);
    if (!to->x_scale) return _mm512_mul_ps(sum, scale);
    scale = _mm512_mul_ps(_mm512_set1_ps(to->x_scale[row]), scale);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(sum)), scale);
}

/* Finish row `row` of the pair of panels at `panel`. Without `pair` there is one panel, and b is ignored. */
GLIA_INLINE void finish_row(const target *to, size_t row, size_t panel, bool pair, __m512 a, __m512 b) {
    const glia_gemm_out *out = to->out;
    float *y = out->y + row * out->ldy;
    const size_t column = panel * GLIA_PANEL;
    if (to->w_scale) {
        a = scaled(to, row, column, a);
        if (pair) b = scaled(to, row, column + GLIA_PANEL, b);
    } else if (to->x_scale) {
        a = _mm512_mul_ps(a, _mm512_set1_ps(to->x_scale[row]));
        b = _mm512_mul_ps(b, _mm512_set1_ps(to->x_scale[row]));
    }
    if (out->bias) {
        a = _mm512_add_ps(a, _mm512_loadu_ps(out->bias + column));
        if (pair) b = _mm512_add_ps(b, _mm512_loadu_ps(out->bias + column + GLIA_PANEL));
    }
    if (out->addend) {
        const float *addend = out->addend + row * out->ld_addend + column;
        a = _mm512_add_ps(a, _mm512_loadu_ps(addend));
        if (pair) b = _mm512_add_ps(b, _mm512_loadu_ps(addend + GLIA_PANEL));
    }
    if (out->epilogue == GLIA_SWIGLU) {
        char *narrow = (char *)y + column / 64 * out->step * sizeof *y + column / 2 % 32 * 2;
        _mm256_storeu_si256((__m256i *)(void *)narrow,
                            (__m256i)_mm512_cvtneps_pbh(glia_swiglu16_avx512(a, b)));
        return;
    }
    y += panel / 2 * to->step;
    if (out->epilogue == GLIA_ADD) {
        a = _mm512_add_ps(_mm512_loadu_ps(y), a);
        if (pair) b = _mm512_add_ps(_mm512_loadu_ps(y + GLIA_PANEL), b);
    }
    _mm512_storeu_ps(y, a);
    if (pair) _mm512_storeu_ps(y + GLIA_PANEL, b);
}

/* A block whose sums are complete. The epilogue of its rows from `done` on is still to run. */
typedef struct {
    const target *to;
    const float *sums; /* [rows, PAIR] */
    size_t row, panel, rows, done;
    bool pair;
} pending;

GLIA_INLINE void finish_next(pending *e) {
    const size_t i = e->done++;
    const float *t = e->sums + i * PAIR;
    finish_row(e->to, e->row + i, e->panel, e->pair, _mm512_load_ps(t), _mm512_load_ps(t + GLIA_PANEL));
}

/* ---- weights ahead --------------------------------------------------------- */

/* The lines of a pair of panels in the order of their use, both panels side by side. */
typedef struct {
    const char *pair;          /* first panel of the pair, at the first k of the block */
    size_t panel_bytes, bytes; /* bytes of a panel; bytes of it that are used */
    size_t at;                 /* offset of the next line */
    size_t left;               /* pairs that follow this one */
} ahead;

/* Take the next `lines` lines of both panels: where they begin. */
static inline void take_lines(ahead *a, size_t lines, const char *from[2]) {
    from[0] = a->pair + a->at;
    from[1] = from[0] + a->panel_bytes;
    a->at += lines * 64;
    if (a->at < a->bytes) return;
    a->at = 0;
    if (!a->left) return;
    a->pair += 2 * a->panel_bytes;
    a->left--;
}

static inline void fetch(ahead *a, size_t lines) {
    const char *from[2];
    take_lines(a, lines, from);
    for (size_t i = 0; i < lines; i++) {
        _mm_prefetch(from[0] + i * 64, _MM_HINT_T1);
        _mm_prefetch(from[1] + i * 64, _MM_HINT_T1);
    }
}

/* ---- blocks ---------------------------------------------------------------- */

typedef struct {
    const char *x;      /* at the first row and the first k of the block */
    size_t row;         /* the first row's index in the group */
    const char *w[2];   /* panels at the first k of the block; a single panel stands twice */
    size_t ldx, x_step; /* bytes */
    size_t steps;       /* includes the last, partial step */
    size_t last_lines;  /* lines of a panel's last step, at least 1; the rest of it counts as zeros */
    char *wide;         /* [steps or RING][2][PANEL_STEP] widened panels, or NULL */
    size_t slots;       /* mask that makes a step's index in `wide` */
    bool widen;         /* this block is the first that uses the part: widen it */
    size_t panel, step; /* the first panel and the first step of K of the block */
    const float *from;  /* [rows, PAIR] sums of the earlier parts, or NULL */
    float *to;          /* [rows], ldt floats apart */
    size_t ldt;
    size_t blocks; /* of rows that use the part */
    size_t fetch;  /* lines of each panel to prefetch in a step */
    size_t finish; /* rows of the pending epilogue to finish in a step */
} block;

/* Two lines of float32 that are exact as bfloat16, as a line of bfloat16 pairs. */
GLIA_INLINE __m512i glia_pair(__m512 even, __m512 odd) {
    enum { AND_OR = 0xea }; /* (a & b) | c */
    return _mm512_ternarylogic_epi32(_mm512_castps_si512(odd), _mm512_set1_epi32((int)0xffff0000),
                                     _mm512_srli_epi32(_mm512_castps_si512(even), 16), AND_OR);
}

/* The line of 4 k as two lines of bfloat16 pairs. */
GLIA_INLINE void widen_pairs(__m512i to[2], __m512i line) {
    __m512 w[4];
    glia_widen_i8(w, line);
    to[0] = glia_pair(w[0], w[1]);
    to[1] = glia_pair(w[2], w[3]);
}

GLIA_INLINE void widen_line(char *to, const char *line) {
    __m512i pairs[2];
    widen_pairs(pairs, _mm512_load_si512(line));
    _mm512_store_si512(to, pairs[0]);
    _mm512_store_si512(to + 64, pairs[1]);
}

/* Widen step s of both panels. */
static inline void widen_step(const block *b, size_t s) {
    enum { LINES = 8 };
    const size_t lines = s + 1 < b->steps ? LINES : b->last_lines;
    for (int i = 0; i < 2; i++) {
        const char *from = b->w[i] + s * LINES * 64;
        char *to = b->wide + (2 * (s & b->slots) + (size_t)i) * PANEL_STEP;
        if (lines == LINES) {
            GLIA_UNROLL for (size_t l = 0; l < LINES; l++) widen_line(to + l * 128, from + l * 64);
            continue;
        }
        for (size_t l = 0; l < lines; l++) widen_line(to + l * 128, from + l * 64);
        memset(to + lines * 128, 0, PANEL_STEP - lines * 128);
    }
}

typedef struct {
    target to;
    const char *x, *w, *next;
    size_t ldx, x_step, k, panel_bytes; /* ldx, x_step: bytes */
    size_t step, w_lines;               /* k in a step; lines of a panel in a step */
    bool i8;                            /* int8 rows */
    size_t group_steps; /* a part is so many steps, whole groups of a grouped format; 0: not grouped */
    size_t most_rows;   /* rows of a group at most, a multiple of ROW_UNIT; 0: no limit but X_BYTES */
    float *partial;     /* [GLIA_GEMM_SCRATCH] bytes */
    char *wide;         /* [PART][2][PANEL_STEP], or NULL */
    pending e;
    float sums[2][BLOCK_FLOATS] __attribute__((aligned(64))); /* one is finished while the other is filled */
    int turn;
    size_t configured; /* rows of a block that the tiles are configured for */
    int32_t *first;    /* the sums that int8 rows of the group start at, or NULL */
} product;

/* The steps of `k` k that are a part of whole groups: about PART, or one group. */
static inline size_t part_of(size_t group, size_t k) {
    size_t least = group;
    while (least % k) least += group;
    least /= k;
    return least >= PART ? least : PART / least * least;
}

static size_t steps_of(const product *t) { return (t->k + t->step - 1) / t->step; }

/* A group begins, of `rows` rows at x. */
static void begin_group(product *t, const char *x, size_t rows);
/* Run the pending epilogue t->e, and multiply one block of `rows` rows. */
static void multiply_block(product *t, const block *b, ahead *next, size_t rows);
/* The rows of the next block of `left` rows. */
static size_t block_rows(size_t left);

/* Set the destination of a block's complete sums: the output, or a buffer if they have an epilogue. */
static void set_target(product *t, block *b, size_t row, size_t panel, bool pair) {
    const glia_gemm_out *out = t->to.out;
    if (pair && out->epilogue == GLIA_STORE && !out->bias && !out->addend && !t->to.w_scale &&
        !t->to.x_scale) {
        b->to = out->y + row * out->ldy + panel / 2 * t->to.step;
        b->ldt = out->ldy;
        return;
    }
    b->to = t->sums[t->turn];
}

/* Multiply rows [row, row + rows) by one part of the pair of panels b->w: b->steps of K. `before` and
 * `behind` say whether other parts precede and follow; the sums of all but the last part go to `partial`. */
static void sweep_rows(product *t, block *b, ahead *next, size_t row, size_t rows, size_t panel,
                       float *partial, bool before, bool behind) {
    const bool pair = b->w[0] != b->w[1];
    const char *x = b->x;
    for (size_t r = 0, taken; r < rows; r += taken) {
        taken = block_rows(rows - r);
        b->x = x + r * t->ldx;
        b->row = r;
        b->widen = t->wide && r == 0;
        b->from = before ? partial + r * PAIR : NULL;
        b->to = partial + r * PAIR;
        b->ldt = PAIR;
        if (!behind) set_target(t, b, row + r, panel, pair);
        multiply_block(t, b, next, taken);
        if (b->to == t->sums[t->turn]) {
            t->e = (pending){&t->to, b->to, row + r, panel, taken, 0, pair};
            t->turn ^= 1;
        }
    }
}

/* Multiply rows [row, row + rows) by panels [first, first + panels), steps [at, end) of K. */
static void sweep(product *t, size_t row, size_t rows, size_t first, size_t panels, size_t at, size_t end) {
    const size_t all = steps_of(t), per_line = t->step / t->w_lines, step_bytes = t->w_lines * 64;
    const size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const size_t parts = blocks > 1 ? (end - at + PART - 1) / PART : 1,
                 part = blocks > 1 && t->group_steps ? t->group_steps : (end - at + parts - 1) / parts;
    block b = {.ldx = t->ldx,
               .x_step = t->x_step,
               .wide = t->wide,
               .slots = blocks > 1 ? SIZE_MAX : RING - 1,
               .blocks = blocks,
               .finish = (BLOCK_ROWS + part - 1) / part};
    ahead next = {.panel_bytes = t->panel_bytes, .bytes = (end - at) * step_bytes};
    b.fetch = (t->w_lines + blocks - 1) / blocks;
    for (size_t p = 0; p < panels; p += 2) {
        const char *w = t->w + (first + p) * t->panel_bytes;
        const bool pair = p + 1 < panels, some = end - at < all;
        /* without `some`, a K of several parts means at most X_BYTES / 1024 rows: one pair's sums fit */
        float *partial = t->partial + (some ? p / 2 * rows * PAIR : 0);
        const size_t left = (panels - 1 - p) / 2;
        if (p == 0 || blocks > 1) { /* one block of rows prefetches AHEAD_STEPS on; more, the next pair */
            next.left = blocks > 1 ? 0 : left;
            next.pair = w + at * step_bytes + (left && blocks > 1 ? 2 * t->panel_bytes : 0);
            next.at = blocks > 1 ? 0 : glia_min(AHEAD_STEPS, end - at - 1) * step_bytes;
        }
        b.panel = first + p;
        for (size_t s = at; s < end; s += b.steps) {
            b.step = s;
            b.steps = glia_min(end - s, part);
            b.last_lines =
                s + b.steps < all ? t->w_lines : (t->k - (all - 1) * t->step + per_line - 1) / per_line;
            b.w[0] = w + s * step_bytes;
            b.w[1] = b.w[0] + (pair ? t->panel_bytes : 0);
            b.x = t->x + row * t->ldx + s * t->x_step;
            sweep_rows(t, &b, &next, row, rows, first + p, partial, s > 0, s + b.steps < all);
        }
    }
}

static void sweep_groups(product *t, size_t n_panels, size_t m) {
    const size_t steps = steps_of(t), row_bytes = steps * STEP_BYTES;
    const size_t sums =
        GLIA_GEMM_SCRATCH / sizeof(float) / PAIR; /* rows whose sums fit, of one pair of panels */
    const size_t fit =
        glia_min(X_BYTES / row_bytes, sums) / ROW_UNIT * ROW_UNIT; /* whose whole K fits, too */
    const size_t fast = fit > ROWS ? fit : ROWS, most = t->most_rows ? glia_min(t->most_rows, fast) : fast;
    const size_t groups = (m + most - 1) / most;
    const size_t rows = ((m + groups - 1) / groups + ROW_UNIT - 1) / ROW_UNIT * ROW_UNIT;
    const size_t parts = (glia_min(m, rows) * row_bytes + X_BYTES - 1) / X_BYTES;
    const size_t unit = t->group_steps ? t->group_steps : 1;
    const size_t part = ((steps + parts - 1) / parts + unit - 1) / unit * unit,
                 panels = parts > 1 ? PANELS : n_panels;
    for (size_t r = 0; r < m; r += rows) {
        begin_group(t, t->x + r * t->ldx, glia_min(m - r, rows));
        for (size_t p = 0; p < n_panels; p += panels)
            for (size_t at = 0; at < steps; at += part)
                sweep(t, r, glia_min(m - r, rows), p, glia_min(n_panels - p, panels), at,
                      glia_min(steps, at + part));
    }
    while (t->e.done < t->e.rows) finish_next(&t->e);
}

static product product_of(const glia_gemm *g, glia_weight_format format) {
    return (product){.to = {.out = &g->out,
                            .step = g->out.step ? g->out.step : PAIR,
                            .w_scale = g->w_scale,
                            .x_scale = g->x.scale},
                     .x = g->x.x,
                     .w = g->w,
                     .next = g->next,
                     .ldx = g->x.row,
                     .x_step = g->x.step,
                     .k = g->k,
                     .panel_bytes = glia_panel_bytes(format, g->k),
                     .step = 32,
                     .w_lines = 16,
                     .partial = g->scratch};
}

#endif
