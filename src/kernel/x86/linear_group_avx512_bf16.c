/* linear_group_avx512_bf16.c - bfloat16 rows through panels of grouped formats with AVX-512
 * BF16. A code becomes a bfloat16 in one or a few operations: 4 bits look their value up in a
 * register, and a zero point is subtracted before that.
 *
 * The sum of a group is a chain over all its pairs of k, as in linear_avx512_bf16.c, and a
 * fused operation adds it, times its scale, to the sum of the groups before. Many blocks of rows
 * share a part's panels, which are widened in memory; a few blocks widen in registers. */
#include "kernel/panel.h"
#include "kernel/x86/dot_avx512_bf16.h"

enum {
    BLOCK_ROWS = GLIA_DOT_ROWS,
    ROW_UNIT = BLOCK_ROWS,
    PART = 32, /* 16 KiB of 4-bit codes: L1; widened codes: 64 KiB */
    X_BYTES = 1 << 19,
    ROWS = 252,
    PANELS = 16,
    RING = 4,
    FEW = 4,
    IN_REGISTERS = 4, /* up to so many blocks of rows widen in registers; of float8 one */
    AHEAD = 2048,     /* prefetch distance in a panel for few rows, bytes */
    AHEAD_K = 128,    /* and of scales, k */
};
#include "kernel/x86/product_avx512.h"

glia_gemm_fn glia_gemm_c4_bf16_avx512_bf16, glia_gemm_c8_bf16_avx512_bf16, glia_gemm_f8_bf16_avx512_bf16;

/* What codes mean: the value of each of 4 bits, or zero points. */
typedef enum { TABLE, ZEROS, BYTES, BYTES_ZEROS, FLOAT8 } codes;

/* Everything that the panels need beside their codes. */
typedef struct {
    product p; /* first, so that pointers to both are equal */
    const glia_gemm *g;
    size_t groups, groups_ahead; /* groups_ahead: how far scales are prefetched */
    codes f;
    __m512i value; /* a table for look-ups */
} grouped;

/* ---- codes to bfloat16 -------------------------------------------------------- */

/* The bfloat16 of 32 indices: TABLE by 4 bits, ZEROS by 5 bits of a signed difference. */
static __m512i table_of(const glia_gemm *g, codes f) {
    uint16_t half[32];
    for (int i = 0; i < 32; i++)
        half[i] = glia_f32_to_bf16(f == TABLE ? g->table[i % 16] : (float)(i < 16 ? i : i - 32));
    return _mm512_loadu_si512(half);
}

/* The subnormal numbers of float8 by 3 bits of fraction. */
static __m512i subnormals(void) {
    uint16_t half[32];
    for (int i = 0; i < 32; i++) half[i] = glia_f32_to_bf16((float)(i % 8) * 0x1p-9f);
    return _mm512_loadu_si512(half);
}

/* Zero points [16], each in the four bytes of its column. */
GLIA_INLINE __m512i zero_bytes(const int8_t *zero) {
    const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)zero));
    return _mm512_shuffle_epi8(wide,
                               _mm512_broadcast_i32x4(_mm_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0)));
}

/* Bytes 2 half and 2 half + 1 of each column, which are float8, as bfloat16 pairs. */
GLIA_INLINE __m512i f8_pairs(__m512i line, const int half, __m512i small) {
    const int first = 0x0101 * 2 * half, both = first + (first + 0x0101) * 0x10000; /* each byte twice */
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi32(both, both + 0x04040404, both + 0x08080808, both + 0x0c0c0c0c));
    const __m512i twice = _mm512_shuffle_epi8(line, order), sign = _mm512_set1_epi16((short)0x8000);
    const __mmask32 subnormal = _mm512_testn_epi16_mask(twice, _mm512_set1_epi16(0x78));
    enum { AND_OR = 0xea }; /* (a & b) | c */
    __m512i bits = _mm512_and_si512(_mm512_slli_epi16(twice, 4), _mm512_set1_epi16(0x7f0));
    bits = _mm512_add_epi16(bits, _mm512_set1_epi16(120 << 7));
    bits = _mm512_mask_permutexvar_epi16(bits, subnormal, twice, small);
    return _mm512_ternarylogic_epi32(twice, sign, bits, AND_OR);
}

/* Bytes 2 half and 2 half + 1 of each column, less the zero points, as bfloat16 pairs. */
GLIA_INLINE __m512i byte_pairs(__m512i line, const int half, __m512 zero, const codes f) {
    __m512 w[2];
    glia_widen_half_i8(w, line, half);
    GLIA_UNROLL for (int i = 0; i < 2 && f == BYTES_ZEROS; i++) w[i] = _mm512_sub_ps(w[i], zero);
    return glia_pair(w[0], w[1]);
}

/* Lines of bfloat16 pairs in a line of codes. */
GLIA_INLINE int wide_lines(const codes f) { return f <= ZEROS ? 4 : 2; }

/* Line j of the bfloat16 pairs of a line of codes. */
GLIA_INLINE __m512i wide_line(__m512i line, const int j, __m512i zero, const __m512i value, const codes f) {
    const __m512i low = _mm512_set1_epi8(15);
    if (f == TABLE)
        return _mm512_permutexvar_epi16(j ? _mm512_srli_epi32(line, 4 * (unsigned)j) : line, value);
    if (f == ZEROS) {
        const __m512i codes_of = _mm512_and_si512(j % 2 ? _mm512_srli_epi16(line, 4) : line, low);
        const __m512i index = _mm512_sub_epi8(codes_of, zero); /* of which a look-up reads 5 bits of a word */
        return _mm512_permutexvar_epi16(j / 2 ? _mm512_srli_epi16(index, 8) : index, value);
    }
    if (f == FLOAT8) return f8_pairs(line, j, value);
    return byte_pairs(line, j, _mm512_castsi512_ps(zero), f);
}

/* The zero points of a panel's group, as wide_line() takes them. */
GLIA_INLINE __m512i zero_of(const grouped *t, size_t panel, size_t group, const codes f) {
    if (f != ZEROS && f != BYTES_ZEROS) return _mm512_setzero_si512();
    const int8_t *zero = t->g->w_zero + (panel * t->groups + (t->g->whole ? 0 : group)) * GLIA_PANEL;
    if (f == ZEROS) return zero_bytes(zero);
    return _mm512_castps_si512(
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)zero))));
}

GLIA_INLINE __m512 scale_of(const grouped *t, size_t panel, size_t group) {
    return _mm512_loadu_ps(t->g->w_scale + (panel * t->groups + (t->g->whole ? 0 : group)) * GLIA_PANEL);
}

/* Prefetch the scales of P panels side by side, of a group that is used a little later. */
GLIA_INLINE void fetch_scales(const grouped *t, size_t panel, size_t group, const int P, const codes f) {
    const size_t at = panel * t->groups + glia_side_by_side(group + t->groups_ahead, t->groups, P);
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        const size_t i = (at + (size_t)p * t->groups) * GLIA_PANEL;
        _mm_prefetch((const char *)(t->g->w_scale + i), _MM_HINT_T0);
        if (f == ZEROS || f == BYTES_ZEROS) _mm_prefetch((const char *)(t->g->w_zero + i), _MM_HINT_T0);
    }
}

/* ---- many rows ---------------------------------------------------------------- */

/* Add a line of codes of two panels by R rows at x to sum [R, 2]. */
GLIA_INLINE void dot_codes(__m512i *sum, const char *const *w, const char *x, const __m512i *zero,
                           const __m512i value, const int R, const codes f) {
    const __m512i line[2] = {_mm512_loadu_si512(w[0]), _mm512_loadu_si512(w[1])};
    const int wide = wide_lines(f);
    GLIA_UNROLL for (int j = 0; j < wide; j++) {
        const __m512i pairs[2] = {wide_line(line[0], j, zero[0], value, f),
                                  wide_line(line[1], j, zero[1], value, f)};
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            const __m512i four = glia_dot_four(x + r * GLIA_DOT_STEP + j * 4);
            GLIA_UNROLL for (int p = 0; p < 2; p++) sum[2 * r + p] =
                glia_dot(sum[2 * r + p], pairs[p], four, false);
        }
    }
}

/* A group's sums of row r, times its scales, are added to `from` and stored at `to`, both [R, PAIR]. */
GLIA_INLINE void add_row(float *to, const float *from, const __m512i *sum, const __m512 *scale, const int r) {
    GLIA_UNROLL for (int p = 0; p < 2; p++) {
        const int at = r * PAIR + p * GLIA_PANEL;
        _mm512_storeu_ps(to + at,
                         _mm512_fmadd_ps((__m512)sum[2 * r + p], scale[p], _mm512_loadu_ps(from + at)));
    }
}

static const float no_sums[BLOCK_FLOATS];

/* Move sums [rows, PAIR] to the output, if its rows are elsewhere. */
static void put_out(const block *b, const float *total, size_t rows) {
    for (size_t r = 0; b->ldt != PAIR && r < rows; r++)
        memcpy(b->to + r * b->ldt, total + r * PAIR, PAIR * sizeof *total);
}

/* Multiply a block of R rows by a part's widened panels, group by group. */
GLIA_INLINE void multiply_wide(const grouped *t, const block *b, ahead *next, const int R) {
    float total[BLOCK_FLOATS] __attribute__((aligned(64)));
    float *const to = b->ldt == PAIR ? b->to : total;
    const size_t begin = b->step * 32, end = glia_min(t->p.k, begin + b->steps * 32);
    const size_t second = b->panel + (b->w[1] != b->w[0]);
    const float *from = b->from ? b->from : no_sums;
    const char *x = b->x, *w[2] = {b->wide, b->wide + b->steps * PANEL_STEP};
    for (size_t k = begin, group = k / t->g->group, last; k < end; group++, k = last, from = to) {
        const __m512 scale[2] = {scale_of(t, b->panel, group), scale_of(t, second, group)};
        __m512i sum[2 * BLOCK_ROWS];
        GLIA_UNROLL for (int i = 0; i < 2 * R; i++) sum[i] = _mm512_setzero_si512();
        for (last = glia_min(end, k + t->g->group); k < last; k = (k / 32 + 1) * 32) {
            const size_t first = k % 32 / 2, n = glia_min((last - k + 1) / 2 + first, GLIA_DOT_LINES);
            if (first == 0) fetch(next, b->fetch);
            glia_dot_some(sum, w, NULL, x, first, n, R, 2, false);
            if (n < GLIA_DOT_LINES) break;
            w[0] += PANEL_STEP;
            w[1] += PANEL_STEP;
            x += b->x_step;
        }
        GLIA_UNROLL for (int r = 0; r < R; r++) add_row(to, from, sum, scale, r);
    }
    put_out(b, total, (size_t)R);
}

/* As multiply_wide() for groups of one step. The end of a row's sums stands between the products of other
 * rows, which it overlaps; in a loop over lines, GCC would then keep sums in memory. */
GLIA_INLINE void multiply_steps(const grouped *t, const block *b, ahead *next, const int R) {
    float total[BLOCK_FLOATS] __attribute__((aligned(64)));
    float *const to = b->ldt == PAIR ? b->to : total;
    const size_t second = b->panel + (b->w[1] != b->w[0]);
    const float *from = b->from ? b->from : no_sums;
    const char *x = b->x, *w = b->wide;
    for (size_t s = 0; s < b->steps; s++, x += b->x_step, w += PANEL_STEP, from = to) {
        const __m512 scale[2] = {scale_of(t, b->panel, b->step + s), scale_of(t, second, b->step + s)};
        __m512i sum[2 * BLOCK_ROWS];
        GLIA_UNROLL for (int i = 0; i < 2 * R; i++) sum[i] = _mm512_setzero_si512();
        fetch(next, b->fetch);
        GLIA_UNROLL for (int at = 0; at < GLIA_DOT_LINES; at++) {
            const __m512i line[2] = {_mm512_load_si512(w + at * 64),
                                     _mm512_load_si512(w + b->steps * PANEL_STEP + (size_t)at * 64)};
            GLIA_UNROLL for (int r = 0; r < R; r++) {
                const __m512i four = glia_dot_four(x + r * GLIA_DOT_STEP + at * 4);
                GLIA_UNROLL for (int p = 0; p < 2; p++) sum[2 * r + p] =
                    glia_dot(sum[2 * r + p], line[p], four, false);
                if (at == GLIA_DOT_LINES - 1) add_row(to, from, sum, scale, r);
            }
        }
    }
    put_out(b, total, (size_t)R);
}

/* Multiply a block of R rows by a part's codes, group by group. The lines of the next panels are prefetched
 * one at a time: several at once delay loads. */
GLIA_INLINE void multiply_codes(const grouped *t, const block *b, ahead *next, const int R, const codes f) {
    float total[BLOCK_FLOATS] __attribute__((aligned(64)));
    float *const to = b->ldt == PAIR ? b->to : total;
    const size_t width = 2 * (size_t)wide_lines(f), begin = b->step * 32; /* width: k of a line */
    const size_t end = glia_min(t->p.k, begin + b->steps * 32), second = b->panel + (b->w[1] != b->w[0]);
    const char *w[2] = {b->w[0], b->w[1]}, *far[2] = {0};
    const float *from = b->from ? b->from : no_sums;
    for (size_t k = begin, group = k / t->g->group, last; k < end; group++, from = to) {
        const __m512 scale[2] = {scale_of(t, b->panel, group), scale_of(t, second, group)};
        const __m512i zero[2] = {zero_of(t, b->panel, group, f), zero_of(t, second, group, f)};
        __m512i sum[2 * BLOCK_ROWS];
        GLIA_UNROLL for (int i = 0; i < 2 * R; i++) sum[i] = _mm512_setzero_si512();
        fetch_scales(t, b->panel, group, 2, f);
        for (last = glia_min(end, k + t->g->group); k < last; k += width, w[0] += 64, w[1] += 64) {
            const size_t in_step = k % 32 / width;
            if (in_step == 0) take_lines(next, b->fetch, far);
            for (int p = 0; p < 2 && in_step < b->fetch; p++)
                _mm_prefetch(far[p] + in_step * 64, _MM_HINT_T1);
            dot_codes(sum, w, b->x + (k / 32 - b->step) * b->x_step + k % 32 * 2, zero, t->value, R, f);
        }
        GLIA_UNROLL for (int r = 0; r < R; r++) add_row(to, from, sum, scale, r);
    }
    put_out(b, total, (size_t)R);
}

/* Widen the lines of a block's part: all those of the first panel, then those of the second. */
GLIA_INLINE void widen_part(const grouped *t, const block *b, const codes f) {
    const size_t lines = (b->steps - 1) * t->p.w_lines + b->last_lines, wide = (size_t)wide_lines(f);
    for (size_t i = 0; i < 2; i++) {
        const size_t panel = b->panel + (b->w[1] != b->w[0] ? i : 0);
        char *to = b->wide + i * b->steps * PANEL_STEP;
        for (size_t l = 0; l < lines; l++) {
            const __m512i zero = zero_of(t, panel, (b->step * 32 + l * wide * 2) / t->g->group, f);
            const __m512i line = _mm512_loadu_si512(b->w[i] + l * 64);
            GLIA_UNROLL for (size_t j = 0; j < wide; j++, to += 64)
                _mm512_store_si512(to, wide_line(line, (int)j, zero, t->value, f));
        }
    }
}

static void widen_any(const grouped *t, const block *b) {
    switch (t->f) {
    case TABLE: widen_part(t, b, TABLE); break;
    case ZEROS: widen_part(t, b, ZEROS); break;
    case BYTES: widen_part(t, b, BYTES); break;
    case BYTES_ZEROS: widen_part(t, b, BYTES_ZEROS); break;
    default: widen_part(t, b, FLOAT8);
    }
}

static void begin_group(product *t, const char *x, size_t rows) { (void)t, (void)x, (void)rows; }

/* Blocks of about equal height. */
static size_t block_rows(size_t left) { return left / ((left + BLOCK_ROWS - 1) / BLOCK_ROWS); }

typedef void block_fn(const grouped *t, const block *b, ahead *next, size_t rows);

GLIA_NOINLINE void block_wide(const grouped *t, const block *b, ahead *next, size_t rows) {
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply_wide(t, b, next, R));
}
GLIA_NOINLINE void block_steps(const grouped *t, const block *b, ahead *next, size_t rows) {
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply_steps(t, b, next, R));
}
GLIA_NOINLINE void block_table(const grouped *t, const block *b, ahead *next, size_t rows) {
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply_codes(t, b, next, R, TABLE));
}
GLIA_NOINLINE void block_zeros(const grouped *t, const block *b, ahead *next, size_t rows) {
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply_codes(t, b, next, R, ZEROS));
}
GLIA_NOINLINE void block_bytes(const grouped *t, const block *b, ahead *next, size_t rows) {
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply_codes(t, b, next, R, BYTES));
}
GLIA_NOINLINE void block_bytes_zeros(const grouped *t, const block *b, ahead *next, size_t rows) {
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply_codes(t, b, next, R, BYTES_ZEROS));
}
GLIA_NOINLINE void block_float8(const grouped *t, const block *b, ahead *next, size_t rows) {
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply_codes(t, b, next, R, FLOAT8));
}

static void multiply_block(product *p, const block *b, ahead *next, size_t rows) {
    static block_fn *const of[] = {block_table, block_zeros, block_bytes, block_bytes_zeros, block_float8};
    const grouped *t = (const grouped *)(const void *)p;
    const bool wide = b->blocks > (t->f == FLOAT8 ? 1 : IN_REGISTERS);
    while (p->e.done < p->e.rows) finish_next(&p->e);
    if (b->widen && wide) widen_any(t, b);
    if (wide && t->g->group == 32 && p->k % 32 == 0)
        block_steps(t, b, next, rows);
    else if (wide)
        block_wide(t, b, next, rows);
    else
        of[t->f](t, b, next, rows);
}

/* ---- few rows ------------------------------------------------------------------ */

/* A line of codes of P panels by R row-major rows at x. */
GLIA_INLINE void few_line(__m512i *sum, const char *w, const char *next, size_t panel_bytes, const char *x,
                          size_t ldx, const __m512i *zero, const __m512i value, const int R, const int P,
                          const codes f) {
    const int n = wide_lines(f);
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        const __m512i line = _mm512_loadu_si512(w + (size_t)p * panel_bytes);
        _mm_prefetch(next + (size_t)p * panel_bytes, _MM_HINT_T1);
        GLIA_UNROLL for (int j = 0; j < n; j++) {
            const __m512i wide = wide_line(line, j, zero[p], value, f);
            GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * P + p] =
                glia_dot(sum[r * P + p], wide, glia_dot_four(x + (size_t)r * ldx + j * 4), false);
        }
    }
}

/* Multiply R row-major rows by P panels from `panel` on, over the whole K. */
GLIA_INLINE void few_rows(const grouped *t, const char *x, size_t row, size_t panel, const int R, const int P,
                          const codes f) {
    const size_t pb = t->p.panel_bytes, bytes = 4 * (size_t)wide_lines(f); /* of x in a line */
    const size_t all = pb / 64, lines = t->g->group * 2 / bytes;
    const char *w = t->p.w + panel * pb;
    __m512 total[GLIA_DOT_SUMS];
    GLIA_UNROLL for (int i = 0; i < R * P; i++) total[i] = _mm512_setzero_ps();
    for (size_t l = 0, group = 0; l < all; group++) {
        const size_t end = glia_min(all, l + lines);
        __m512i sum[GLIA_DOT_SUMS], zero[8];
        GLIA_UNROLL for (int p = 0; p < P; p++) zero[p] = zero_of(t, panel + (size_t)p, group, f);
        GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_si512();
        fetch_scales(t, panel, group, P, f);
        for (; l < end; l++)
            few_line(sum, w + l * 64, w + glia_side_by_side(l * 64 + AHEAD, pb, P), pb, x + l * bytes,
                     t->p.ldx, zero, t->value, R, P, f);
        GLIA_UNROLL for (int p = 0; p < P; p++) {
            const __m512 scale = scale_of(t, panel + (size_t)p, group);
            GLIA_UNROLL for (int r = 0; r < R; r++) total[r * P + p] =
                _mm512_fmadd_ps((__m512)sum[r * P + p], scale, total[r * P + p]);
        }
    }
    GLIA_UNROLL for (int r = 0; r < R; r++) {
        GLIA_UNROLL for (int p = 0; p < P; p += 2)
            finish_row(&t->p.to, row + (size_t)r, panel + (size_t)p, P > 1, total[r * P + p],
                       total[r * P + (P > 1 ? p + 1 : p)]);
    }
}

GLIA_INLINE void few_panels(const grouped *t, size_t n_panels, const char *x, size_t row, const int R,
                            const int P, const codes f) {
    for (size_t p = 0, n; p < n_panels; p += n) {
        n = n_panels - p >= (size_t)P ? (size_t)P : n_panels - p >= 2 ? 2 : 1;
        if (n == (size_t)P)
            few_rows(t, x, row, p, R, P, f);
        else if (n == 2)
            few_rows(t, x, row, p, R, 2, f);
        else
            few_rows(t, x, row, p, R, 1, f);
    }
}

GLIA_INLINE void sweep_few(const grouped *t, size_t n_panels, size_t m, const codes f) {
    for (size_t row = 0, rows; row < m; row += rows) {
        const char *x = t->p.x + row * t->p.ldx;
        rows = glia_min(m - row, FEW);
        switch (rows) {
        case 1: few_panels(t, n_panels, x, row, 1, 8, f); break;
        case 2: few_panels(t, n_panels, x, row, 2, 4, f); break;
        case 3: few_panels(t, n_panels, x, row, 3, 2, f); break;
        default: few_panels(t, n_panels, x, row, 4, 2, f); break;
        }
    }
}

/* ---- all ------------------------------------------------------------------------ */

GLIA_INLINE void run(const glia_gemm *g, glia_weight_format format, const codes f) {
    enum { FLUSH = 0x8040 }; /* FTZ and DAZ: VDPBF16PS treats denormals as zero, too */
    char wide[PART * 2 * PANEL_STEP] __attribute__((aligned(64)));
    const unsigned csr = _mm_getcsr();
    grouped t = {.p = product_of(g, format), .g = g, .groups = glia_groups(g->k, g->group, g->whole), .f = f};
    t.value = f == FLOAT8 ? subnormals() : table_of(g, f);
    t.groups_ahead = g->whole ? 1 : 1 + AHEAD_K / g->group;
    t.p.to.w_scale = NULL;
    t.p.w_lines = 16 / (size_t)wide_lines(f);
    t.p.group_steps = part_of(g->group, 32);
    t.p.wide = wide;
    assert(g->out.epilogue != GLIA_SWIGLU || g->n_panels % 2 == 0);
    if (g->m == 0 || g->n_panels == 0) return;
    _mm_setcsr(csr | FLUSH);
    if (t.p.ldx == STEP_BYTES && (g->m > 1 || t.p.x_step != STEP_BYTES))
        sweep_groups(&t.p, g->n_panels, g->m);
    else
        sweep_few(&t, g->n_panels, g->m, f);
    _mm256_zeroupper(); /* as in linear_avx512_bf16.c */
    _mm_setcsr(csr);
}

void glia_gemm_c4_bf16_avx512_bf16(const glia_gemm *g) {
    if (g->w_zero)
        run(g, GLIA_WEIGHT_C4, ZEROS);
    else
        run(g, GLIA_WEIGHT_C4, TABLE);
}
void glia_gemm_c8_bf16_avx512_bf16(const glia_gemm *g) {
    if (g->w_zero)
        run(g, GLIA_WEIGHT_C8, BYTES_ZEROS);
    else
        run(g, GLIA_WEIGHT_C8, BYTES);
}
void glia_gemm_f8_bf16_avx512_bf16(const glia_gemm *g) { run(g, GLIA_WEIGHT_F8, FLOAT8); }
