/* linear_amx.c - rows through panels on AMX tiles, and one or two rows with AVX-512.
 * The pairs of formats (rows, weights): bfloat16 and bfloat16, bfloat16 and int8,
 * int8 and int8.
 *
 * For every element, TDPBF16PS adds the products of 16 even and of 16 odd k in two
 * chains from zero, then adds the sum of both chains to the element. It rounds to
 * nearest and treats denormals as zero (Intel SDM, TDPBF16PS). That is this rung's
 * order of additions: 32 products at a time in rising k. The order does not depend
 * on the number of rows in a tile. few_rows() repeats the order with AVX-512, which
 * reads weights from memory faster than tiles of one row do.
 *
 * A block is 32 rows and a pair of panels: 2 x 2 sums in tiles. A part is up to PART
 * steps of K of such a pair. It stays in L1 while all rows are multiplied by it; the
 * rows bypass L1 (TILELOADDT1), and the sums of earlier parts are kept in scratch. A
 * group of rows, limited in K, fills at most half of L2 (X_BYTES) and stays there
 * while all panels are multiplied. So a pair of panels is read from memory once per
 * group; the lines of the next pair are prefetched meanwhile. The epilogue of a block
 * runs between the tile instructions of the next block, which hides almost all of its
 * time. Without an epilogue, tiles store sums directly to the output.
 *
 * int8 panels under bfloat16 rows are widened to bfloat16, which is exact, one step
 * ahead of their first block; later blocks find the widened panels in L1. int8 panels
 * under int8 rows differ in the tile instruction alone: a step is 64 bytes of a row
 * in both cases, and the int32 sums of TDPBSSD are exact. Scales are the first
 * operation of the epilogue. */
#include <assert.h>
#include <string.h>

#include "kernel/x86/exp_avx512.h"
#include "kernel/x86/i8_avx512.h"
#include "kernel/x86/tile_amx.h"

glia_gemm_fn glia_gemm_bf16_bf16_amx, glia_gemm_i8_bf16_amx, glia_gemm_i8_i8_amx;
/* linear_i8_amx.c: up to FEW rows, without scales */
void glia_linear_sums_i8_amx(float *y, size_t ldy, const uint16_t *x, size_t ldx, const void *w, size_t k,
                             size_t n_panels, size_t m);
glia_gemm_fn glia_gemm_i8_i8_vnni;
glia_narrow_fn glia_narrow_amx;

enum {
    STEP_BYTES = 64, /* bytes of a row in a step: 32 bfloat16 or 64 int8 */
    TILE_ROWS = GLIA_AMX_ROWS,
    TILE_BYTES = GLIA_AMX_BYTES,
    BLOCK_ROWS = 2 * TILE_ROWS,
    PAIR = 2 * GLIA_PANEL, /* columns of a block */
    BLOCK_FLOATS = BLOCK_ROWS * PAIR,
    PART = 16, /* most steps of a pair of panels that stay in L1: 32 KiB */
    X_BYTES = 1 << 20,
    ROWS = 256,  /* rows of a group whose K does not fit */
    PANELS = 16, /* whose partial sums then fit GLIA_GEMM_SCRATCH */
    RING = 4,    /* widened steps that are kept if there is one block of rows */
    FEW = 2,
    FEW_PANELS = 64, /* panels whose sums for few rows are kept in scratch */
    WIDE = 8,
    AHEAD = 2048, /* prefetch distance in a panel for few rows, bytes: into L1, */
    FAR = 4096,   /* and into L2 */
    AHEAD_STEPS = 4,
};

/* ---- epilogue -------------------------------------------------------------- */

/* What happens to sums: scales first, then the caller's epilogue. */
typedef struct {
    const glia_gemm_out *out;
    const float *w_scale, *x_scale; /* scales of int8 panels; of int8 rows, whose sums are int32; or NULL */
    size_t step;                    /* floats of y between the columns of two consecutive pairs of panels */
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

static inline void fetch(ahead *a, size_t lines) {
    const char *p = a->pair + a->at;
    for (size_t i = 0; i < lines; i++, p += 64) {
        _mm_prefetch(p, _MM_HINT_T1);
        _mm_prefetch(p + a->panel_bytes, _MM_HINT_T1);
    }
    a->at += lines * 64;
    if (a->at < a->bytes) return;
    a->at = 0;
    if (!a->left) return;
    a->pair += 2 * a->panel_bytes;
    a->left--;
}

/* ---- tiles ----------------------------------------------------------------- */

/* Tiles 0-3 hold sums, 4-5 rows of x, 6-7 panels. */
static void configure(size_t rows) {
    const size_t first = glia_min(rows, TILE_ROWS), second = rows > TILE_ROWS ? rows - TILE_ROWS : TILE_ROWS;
    glia_tile_config c = glia_tile_config_full();
    c.rows[0] = c.rows[1] = c.rows[4] = (uint8_t)first;
    c.rows[2] = c.rows[3] = c.rows[5] = (uint8_t)second;
    glia_tile_load(&c);
}

typedef struct {
    const char *x;      /* at the first row and the first k of the block */
    const char *w[2];   /* panels at the first k of the block; a single panel stands twice */
    size_t ldx, x_step; /* bytes */
    size_t steps;       /* includes the last, partial step */
    size_t last_lines;  /* lines of a panel's last step, at least 1; the rest of it counts as zeros */
    char *wide;         /* [steps or RING][2][TILE_BYTES] widened panels, or NULL */
    size_t slots;       /* mask that makes a step's index in `wide` */
    bool widen;         /* this block is the first that uses the part: widen it */
    const float *from;  /* [rows, PAIR] sums of the earlier parts, or NULL */
    float *to;          /* [rows], ldt floats apart */
    size_t ldt;
    size_t fetch;  /* lines of each panel to prefetch in a step */
    size_t finish; /* rows of the pending epilogue to finish in a step */
} block;

/* Convert a line of 4 k to two lines of bfloat16 pairs. */
GLIA_INLINE void widen_line(char *to, const char *line) {
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    enum { AND_OR = 0xea }; /* (a & b) | c */
    __m512 w[4];
    __m512i bits[4];
    glia_widen_i8(w, _mm512_load_si512(line));
    GLIA_UNROLL for (int j = 0; j < 4; j++) bits[j] = _mm512_castps_si512(w[j]);
    _mm512_store_si512(to, _mm512_ternarylogic_epi32(bits[1], upper, _mm512_srli_epi32(bits[0], 16), AND_OR));
    _mm512_store_si512(to + 64,
                       _mm512_ternarylogic_epi32(bits[3], upper, _mm512_srli_epi32(bits[2], 16), AND_OR));
}

/* Widen step s of both panels. */
static void widen_step(const block *b, size_t s) {
    enum { LINES = 8 };
    const size_t lines = s + 1 < b->steps ? LINES : b->last_lines;
    for (int i = 0; i < 2; i++) {
        const char *from = b->w[i] + s * LINES * 64;
        char *to = b->wide + (2 * (s & b->slots) + (size_t)i) * TILE_BYTES;
        if (lines == LINES) {
            GLIA_UNROLL for (size_t l = 0; l < LINES; l++) widen_line(to + l * 128, from + l * 64);
            continue;
        }
        for (size_t l = 0; l < lines; l++) widen_line(to + l * 128, from + l * 64);
        memset(to + lines * 128, 0, TILE_BYTES - lines * 128);
    }
}

/* Set p to both panels at step s: widened if `wide`, a copy with zeros for a last, partial step. */
GLIA_INLINE void panels_at(const block *b, size_t s, char last[2][TILE_BYTES], const char *p[2],
                           const bool wide) {
    if (wide && b->widen && s == 0) widen_step(b, 0);
    if (wide && b->widen && s + 1 < b->steps) widen_step(b, s + 1);
    for (size_t i = 0; i < 2; i++)
        p[i] = wide ? b->wide + (2 * (s & b->slots) + i) * TILE_BYTES : b->w[i] + s * TILE_BYTES;
    if (wide || s + 1 < b->steps || b->last_lines == 16) return;
    for (size_t i = 0; i < 2; i++) {
        memset(last[i], 0, TILE_BYTES);
        memcpy(last[i], p[i], b->last_lines * 64);
        p[i] = last[i];
    }
}

#define DOT(to, x, w)                                                                                        \
    if (i8)                                                                                                  \
        _tile_dpbssd(to, x, w);                                                                              \
    else                                                                                                     \
        _tile_dpbf16ps(to, x, w)

/* Multiply one block of up to 16 rows, or with `two` of 17 to 32 rows, which then bypass L1. */
GLIA_INLINE void multiply(const block *b, ahead *next, pending *e, const bool two, const bool i8,
                          const bool wide) {
    enum { PAIR_BYTES = PAIR * sizeof(float), LOWER = TILE_ROWS * PAIR };
    char last[2][TILE_BYTES] __attribute__((aligned(64)));
    const char *p[2], *x0 = b->x, *x1 = x0 + TILE_ROWS * b->ldx;
    const size_t ldx = b->ldx, ldt = b->ldt * sizeof(float);
    if (b->from) {
        _tile_loadd(0, b->from, PAIR_BYTES);
        _tile_loadd(1, b->from + GLIA_PANEL, PAIR_BYTES);
        if (two) _tile_loadd(2, b->from + LOWER, PAIR_BYTES);
        if (two) _tile_loadd(3, b->from + LOWER + GLIA_PANEL, PAIR_BYTES);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t s = 0; s < b->steps; s++, x0 += b->x_step, x1 += b->x_step) {
        panels_at(b, s, last, p, wide);
        fetch(next, b->fetch);
        for (size_t i = 0; i < b->finish && e->done < e->rows; i++) finish_next(e);
        if (two)
            _tile_stream_loadd(4, x0, ldx);
        else
            _tile_loadd(4, x0, ldx);
        _tile_loadd(6, p[0], 64);
        DOT(0, 4, 6);
        _tile_loadd(7, p[1], 64);
        DOT(1, 4, 7);
        if (!two) continue;
        _tile_stream_loadd(5, x1, ldx);
        DOT(2, 5, 6);
        DOT(3, 5, 7);
    }
    while (e->done < e->rows) finish_next(e);
    _tile_stored(0, b->to, ldt);
    _tile_stored(1, b->to + GLIA_PANEL, ldt);
    if (two) _tile_stored(2, b->to + TILE_ROWS * b->ldt, ldt);
    if (two) _tile_stored(3, b->to + TILE_ROWS * b->ldt + GLIA_PANEL, ldt);
}

typedef struct {
    target to;
    const char *x, *w;
    size_t ldx, x_step, k, panel_bytes; /* ldx, x_step: bytes */
    size_t step, w_lines;               /* k in a step; lines of a panel in a step */
    bool i8;                            /* int8 rows */
    float *partial;                     /* [GLIA_GEMM_SCRATCH] bytes */
    char *wide;                         /* [PART][2][TILE_BYTES], or NULL */
    pending e;
    float sums[2][BLOCK_FLOATS] __attribute__((aligned(64))); /* one is finished while the other is filled */
    int turn;
    size_t configured; /* rows that the tiles are configured for */
} product;

static size_t steps_of(const product *t) { return (t->k + t->step - 1) / t->step; }

static void multiply_rows(product *t, const block *b, ahead *next, size_t rows) {
    const int kind = 3 * (rows > TILE_ROWS) + (t->i8 ? 1 : t->wide ? 2 : 0);
    switch (kind) {
    case 0: multiply(b, next, &t->e, false, false, false); break;
    case 1: multiply(b, next, &t->e, false, true, false); break;
    case 2: multiply(b, next, &t->e, false, false, true); break;
    case 3: multiply(b, next, &t->e, true, false, false); break;
    case 4: multiply(b, next, &t->e, true, true, false); break;
    default: multiply(b, next, &t->e, true, false, true); break;
    }
}

/* Set the destination of a block's complete sums: the output, or a buffer if they have an epilogue. */
static void set_target(product *t, block *b, size_t row, size_t panel, bool pair) {
    const glia_gemm_out *out = t->to.out;
    if (pair && out->epilogue == GLIA_STORE && !out->bias && !out->addend && !t->to.w_scale) {
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
        taken = glia_min(rows - r, BLOCK_ROWS);
        b->x = x + r * t->ldx;
        b->widen = t->wide && r == 0;
        b->from = before ? partial + r * PAIR : NULL;
        b->to = partial + r * PAIR;
        b->ldt = PAIR;
        if (!behind) set_target(t, b, row + r, panel, pair);
        if (taken != t->configured) configure(t->configured = taken);
        multiply_rows(t, b, next, taken);
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
    const size_t parts = blocks > 1 ? (end - at + PART - 1) / PART : 1, part = (end - at + parts - 1) / parts;
    block b = {.ldx = t->ldx,
               .x_step = t->x_step,
               .wide = t->wide,
               .slots = blocks > 1 ? SIZE_MAX : RING - 1,
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
        for (size_t s = at; s < end; s += b.steps) {
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

/* ---- one or two rows ------------------------------------------------------- */

static inline __m512 even(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
static inline __m512 odd(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

/* Multiply R rows by P panels from `panel` on, over the whole K, in TDPBF16PS's order of additions. */
static inline __attribute__((always_inline)) void few_rows(const product *t, size_t panel, const int R,
                                                           const int P) {
    __m512 sum[FEW * WIDE], e[FEW * WIDE], o[FEW * WIDE];
    const char *w = t->w + panel * t->panel_bytes;
    const size_t groups = (t->k + 1) / 2, pb = t->panel_bytes;
#pragma GCC unroll 16
    for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g += 16) {
        const size_t end = g + 16 < groups ? g + 16 : groups;
        const char *x = t->x + g / 16 * t->x_step, *fetched = w + glia_side_by_side(g * 64 + AHEAD, pb, P);
        const char *far = w + glia_side_by_side(g * 64 + FAR, pb, P);
#pragma GCC unroll 16
        for (int i = 0; i < R * P; i++) e[i] = o[i] = _mm512_setzero_ps();
        for (size_t l = g; l < end; l++, fetched += 64, far += 64) {
            __m512 xe[FEW], xo[FEW];
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) {
                int pair;
                memcpy(&pair, x + (size_t)r * t->ldx + 4 * (l - g), sizeof pair);
                xe[r] = even(_mm512_set1_epi32(pair));
                xo[r] = odd(_mm512_set1_epi32(pair));
            }
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                _mm_prefetch(fetched + (size_t)p * pb, _MM_HINT_T0);
                _mm_prefetch(far + (size_t)p * pb, _MM_HINT_T1);
                const __m512i pairs = _mm512_loadu_si512(w + (size_t)p * pb + l * 64);
#pragma GCC unroll 2
                for (int r = 0; r < R; r++) {
                    e[r * P + p] = _mm512_fmadd_ps(xe[r], even(pairs), e[r * P + p]);
                    o[r * P + p] = _mm512_fmadd_ps(xo[r], odd(pairs), o[r * P + p]);
                }
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < R * P; i++) sum[i] = _mm512_add_ps(sum[i], _mm512_add_ps(e[i], o[i]));
    }
#pragma GCC unroll 16
    for (int i = 0; i < R * P; i += 2)
        finish_row(&t->to, (size_t)(i / P), panel + (size_t)(i % P), P > 1, sum[i], sum[P > 1 ? i + 1 : i]);
    if (R == 2 && P == 1) finish_row(&t->to, 1, panel, false, sum[1], sum[1]);
}

static void sweep_few(const product *t, size_t n_panels, size_t rows) {
    const size_t wide = rows == 1 ? WIDE : WIDE / 2;
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = n_panels - p >= wide ? wide : n_panels - p >= 2 ? 2 : 1;
        if (rows == 1 && n == wide)
            few_rows(t, p, 1, WIDE);
        else if (rows == 1 && n == 2)
            few_rows(t, p, 1, 2);
        else if (rows == 1)
            few_rows(t, p, 1, 1);
        else if (n == wide)
            few_rows(t, p, 2, WIDE / 2);
        else if (n == 2)
            few_rows(t, p, 2, 2);
        else
            few_rows(t, p, 2, 1);
    }
}

/* Multiply few row-major rows by int8 panels: sums first, then the epilogue. */
static void sweep_few_i8(const product *t, size_t n_panels, size_t rows) {
    const size_t ld = FEW_PANELS * GLIA_PANEL;
    float *sums = t->partial;
    target to = t->to;
    if (t->i8) to.w_scale = NULL; /* glia_gemm_i8_i8_vnni() multiplies by the scales */
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = glia_min(n_panels - p, FEW_PANELS);
        const char *w = t->w + p * t->panel_bytes;
        if (t->i8)
            glia_gemm_i8_i8_vnni(&(glia_gemm){.out = {.y = sums, .ldy = ld},
                                              .x = {t->x, t->ldx, STEP_BYTES, t->to.x_scale},
                                              .w = w,
                                              .w_scale = t->to.w_scale + p * GLIA_PANEL,
                                              .k = t->k,
                                              .n_panels = n,
                                              .m = rows});
        else
            glia_linear_sums_i8_amx(sums, ld, (const void *)t->x, t->ldx / 2, w, t->k, n, rows);
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < n; i += 2) {
                const float *at = sums + r * ld + i * GLIA_PANEL;
                finish_row(&to, r, p + i, i + 1 < n, _mm512_loadu_ps(at), _mm512_loadu_ps(at + GLIA_PANEL));
            }
    }
}

/* ---- all ------------------------------------------------------------------ */

static void sweep_tiles(product *t, size_t n_panels, size_t m) {
    const size_t steps = steps_of(t), row_bytes = steps * STEP_BYTES;
    const size_t fit = X_BYTES / row_bytes, most = fit > ROWS ? fit : ROWS; /* rows whose whole K fits */
    const size_t groups = (m + most - 1) / most;
    const size_t rows = ((m + groups - 1) / groups + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    const size_t parts = (glia_min(m, rows) * row_bytes + X_BYTES - 1) / X_BYTES;
    const size_t part = (steps + parts - 1) / parts, panels = parts > 1 ? PANELS : n_panels;
    for (size_t r = 0; r < m; r += rows)
        for (size_t p = 0; p < n_panels; p += panels)
            for (size_t at = 0; at < steps; at += part)
                sweep(t, r, glia_min(m - r, rows), p, glia_min(n_panels - p, panels), at,
                      glia_min(steps, at + part));
    while (t->e.done < t->e.rows) finish_next(&t->e);
    _tile_release();
}

static void run(product *t, size_t n_panels, size_t m) {
    enum { FLUSH = 0x8040 }; /* FTZ and DAZ: tiles treat denormals as zero, too */
    const unsigned csr = _mm_getcsr();
    assert(t->to.out->epilogue != GLIA_SWIGLU || n_panels % 2 == 0);
    assert(!t->to.w_scale || m > FEW || t->x_step == STEP_BYTES);
    if (m == 0 || n_panels == 0) return;
    _mm_setcsr(csr | FLUSH);
    if (m > FEW)
        sweep_tiles(t, n_panels, m);
    else if (t->to.w_scale)
        sweep_few_i8(t, n_panels, m);
    else
        sweep_few(t, n_panels, m);
    _mm256_zeroupper(); /* GCC omits it here; libm's exp would then take 30 times as long */
    _mm_setcsr(csr);
}

static product product_of(const glia_gemm *g, glia_weight_format format) {
    return (product){.to = {.out = &g->out,
                            .step = g->out.step ? g->out.step : PAIR,
                            .w_scale = g->w_scale,
                            .x_scale = g->x.scale},
                     .x = g->x.x,
                     .w = g->w,
                     .ldx = g->x.row,
                     .x_step = g->x.step,
                     .k = g->k,
                     .panel_bytes = glia_panel_bytes(format, g->k),
                     .step = 32,
                     .w_lines = 16,
                     .partial = g->scratch};
}

void glia_gemm_bf16_bf16_amx(const glia_gemm *g) {
    product t = product_of(g, GLIA_WEIGHT_BF16);
    run(&t, g->n_panels, g->m);
}

void glia_gemm_i8_bf16_amx(const glia_gemm *g) {
    char wide[PART * 2 * TILE_BYTES] __attribute__((aligned(64)));
    product t = product_of(g, GLIA_WEIGHT_I8);
    t.w_lines = 8;
    t.wide = wide;
    run(&t, g->n_panels, g->m);
}

void glia_gemm_i8_i8_amx(const glia_gemm *g) {
    product t = product_of(g, GLIA_WEIGHT_I8);
    t.step = 64;
    t.i8 = true;
    run(&t, g->n_panels, g->m);
}

static inline __mmask16 lanes(size_t n) { return (__mmask16)(n >= GLIA_PANEL ? 0xffff : (1u << n) - 1); }

void glia_narrow_amx(void *row, size_t step, size_t first, const float *x, float factor, size_t n) {
    enum { STEP = STEP_BYTES / sizeof(uint16_t) };
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
