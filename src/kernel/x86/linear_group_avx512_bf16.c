/* linear_group_avx512_bf16.c - bfloat16 rows through panels of grouped formats with AVX-512
 * BF16. A code becomes a bfloat16 in one or a few operations: 4 bits look their value up in a
 * register, and a zero point is subtracted before that.
 *
 * The sum of a group is a chain over all its pairs of k, as in linear_avx512_bf16.c, and a
 * fused operation adds it, times its scale, to the sum of the groups before. Many rows share
 * a group's widened panels; up to FEW rows widen in registers. */
#include "kernel/panel.h"
#include "kernel/x86/dot_avx512_bf16.h"

enum {
    BLOCK_ROWS = GLIA_DOT_ROWS,
    ROW_UNIT = BLOCK_ROWS,
    PART = GLIA_GROUP_MAX / 32,
    X_BYTES = 1 << 19,
    ROWS = 252,
    PANELS = 16,
    RING = 4,
    FEW = 4,
    AHEAD = 2048, /* prefetch distance in a panel for few rows, bytes */
};
#include "kernel/x86/product_avx512.h"

glia_gemm_fn glia_gemm_c4_bf16_avx512_bf16, glia_gemm_c8_bf16_avx512_bf16, glia_gemm_f8_bf16_avx512_bf16;

/* What codes mean: the value of each of 4 bits, or zero points. */
typedef enum { TABLE, ZEROS, BYTES, BYTES_ZEROS, FLOAT8 } codes;

/* Everything that the panels need beside their codes. */
typedef struct {
    product p; /* first, so that pointers to both are equal */
    const glia_gemm *g;
    size_t groups;
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

/* Zero points [16] as words, one for each of a column's two k in a line. */
GLIA_INLINE __m512i zero_words(const int8_t *zero) {
    const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)zero));
    return _mm512_or_si512(_mm512_slli_epi32(wide, 16), _mm512_and_si512(wide, _mm512_set1_epi32(0xffff)));
}

/* A line of float8 in words: the byte in the low half. */
GLIA_INLINE __m512i f8_pairs(__m512i words, __m512i small) {
    const __m512i magnitude = _mm512_and_si512(words, _mm512_set1_epi16(0x7f));
    const __m512i sign = _mm512_slli_epi16(_mm512_xor_si512(words, magnitude), 8);
    __m512i bits = _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(120 << 7));
    const __mmask32 subnormal = _mm512_testn_epi16_mask(words, _mm512_set1_epi16(0x78));
    bits = _mm512_mask_permutexvar_epi16(bits, subnormal, magnitude, small);
    return _mm512_or_si512(bits, sign);
}

/* Two bytes of each column, the first of which is byte `first` of its four, as words. */
GLIA_INLINE __m512i two_words(__m512i line, const int first) {
    const __m512i words =
        first ? _mm512_srli_epi32(line, 16) : _mm512_and_si512(line, _mm512_set1_epi32(0xffff));
    return _mm512_and_si512(_mm512_or_si512(words, _mm512_slli_epi32(words, 8)),
                            _mm512_set1_epi32(0x00ff00ff));
}

/* The integers of a line, less the zero points, as two lines of bfloat16 pairs. */
GLIA_INLINE void bytes_pairs(__m512i to[2], __m512i line, __m512 zero) {
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512 w[4];
    glia_widen_i8(w, line);
    GLIA_UNROLL for (int j = 0; j < 4; j++) w[j] = _mm512_sub_ps(w[j], zero);
    GLIA_UNROLL for (int j = 0; j < 2; j++) to[j] =
        _mm512_or_si512(_mm512_and_si512(_mm512_castps_si512(w[2 * j + 1]), upper),
                        _mm512_srli_epi32(_mm512_castps_si512(w[2 * j]), 16));
}

enum { LINES_MAX = 4 };
/* Lines of bfloat16 pairs in a line of codes. */
GLIA_INLINE int wide_lines(const codes f) { return f <= ZEROS ? 4 : 2; }

/* A line of codes as lines of bfloat16 pairs. */
GLIA_INLINE void widen_codes(__m512i *to, __m512i line, __m512i zero, const __m512i value, const codes f) {
    const __m512i low = _mm512_set1_epi16(15);
    if (f == TABLE || f == ZEROS) {
        GLIA_UNROLL for (int j = 0; j < 4; j++) {
            __m512i index = j ? _mm512_srli_epi32(line, 4 * (unsigned)j) : line;
            if (f == ZEROS) index = _mm512_sub_epi16(_mm512_and_si512(index, low), zero);
            to[j] = _mm512_permutexvar_epi16(index, value);
        }
    } else if (f == FLOAT8) {
        to[0] = f8_pairs(two_words(line, 0), value);
        to[1] = f8_pairs(two_words(line, 2), value);
    } else if (f == BYTES) {
        widen_pairs(to, line);
    } else {
        bytes_pairs(to, line, _mm512_castsi512_ps(zero));
    }
}

/* The zero points of a panel's group, as widen_codes() takes them. */
GLIA_INLINE __m512i zero_of(const grouped *t, size_t panel, size_t group, const codes f) {
    if (f != ZEROS && f != BYTES_ZEROS) return _mm512_setzero_si512();
    const int8_t *zero = t->g->w_zero + (panel * t->groups + (t->g->whole ? 0 : group)) * GLIA_PANEL;
    if (f == ZEROS) return zero_words(zero);
    return _mm512_castps_si512(
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)zero))));
}

GLIA_INLINE __m512 scale_of(const grouped *t, size_t panel, size_t group) {
    return _mm512_loadu_ps(t->g->w_scale + (panel * t->groups + (t->g->whole ? 0 : group)) * GLIA_PANEL);
}

/* ---- many rows ---------------------------------------------------------------- */

/* Widen the steps of a block's part. Lines after the last k become zeros. */
GLIA_INLINE void widen_part(const grouped *t, const block *b, const codes f) {
    const size_t lines = t->p.w_lines, used = (b->steps - 1) * lines + b->last_lines;
    const int n = wide_lines(f);
    for (size_t i = 0; i < 2; i++) {
        const size_t panel = b->panel + (b->w[1] != b->w[0] ? i : 0);
        for (size_t l = 0; l < b->steps * lines; l++) {
            char *to = b->wide + (2 * (l / lines) + i) * PANEL_STEP + l % lines * (size_t)n * 64;
            __m512i wide[LINES_MAX] = {0};
            const __m512i zero = zero_of(t, panel, (b->step * 32 + l * (size_t)n * 2) / t->g->group, f);
            if (l < used)
                widen_codes(wide, _mm512_loadu_si512(b->w[i] + l * 64), zero, t->value, f);
            else
                wide[0] = wide[1] = wide[2] = wide[3] = _mm512_setzero_si512();
            GLIA_UNROLL for (int j = 0; j < n; j++) _mm512_store_si512(to + j * 64, wide[j]);
        }
    }
}

/* Multiply a block of R rows by the groups of its part: one, or two of 16 k. */
GLIA_INLINE void multiply(const grouped *t, const block *b, ahead *next, const int R) {
    const size_t halves = t->g->group < 32 ? 2 : 1, lines = GLIA_DOT_LINES / halves;
    const size_t second = b->panel + (b->w[1] != b->w[0]);
    for (size_t h = 0; h < halves; h++) {
        const char *x = b->x;
        const size_t group = b->step * 32 / t->g->group + h;
        if (b->step * 32 + h * t->g->group >= t->p.k) break;
        __m512i sum[2 * BLOCK_ROWS];
        GLIA_UNROLL for (int i = 0; i < 2 * R; i++) sum[i] = _mm512_setzero_si512();
        for (size_t s = 0; s < b->steps; s++, x += b->x_step) {
            const char *w[2] = {b->wide + 2 * s * PANEL_STEP, b->wide + (2 * s + 1) * PANEL_STEP};
            fetch(next, h ? 0 : b->fetch);
            glia_dot_some(sum, w, NULL, x, h * lines, (h + 1) * lines, R, 2, false);
        }
        const __m512 scale[2] = {scale_of(t, b->panel, group), scale_of(t, second, group)};
        const float *from = h ? b->to : b->from;
        const size_t ld = h ? b->ldt : PAIR;
        GLIA_UNROLL for (int r = 0; r < R; r++) {
            GLIA_UNROLL for (int i = 0; i < 2; i++) {
                const __m512 before =
                    from ? _mm512_loadu_ps(from + (size_t)r * ld + i * GLIA_PANEL) : _mm512_setzero_ps();
                _mm512_storeu_ps(b->to + (size_t)r * b->ldt + i * GLIA_PANEL,
                                 _mm512_fmadd_ps((__m512)sum[2 * r + i], scale[i], before));
            }
        }
    }
}

static void begin_group(product *t, const char *x, size_t rows) { (void)t, (void)x, (void)rows; }

/* Blocks of about equal height. */
static size_t block_rows(size_t left) { return left / ((left + BLOCK_ROWS - 1) / BLOCK_ROWS); }

static void widen_any(const grouped *t, const block *b) {
    switch (t->f) {
    case TABLE: widen_part(t, b, TABLE); break;
    case ZEROS: widen_part(t, b, ZEROS); break;
    case BYTES: widen_part(t, b, BYTES); break;
    case BYTES_ZEROS: widen_part(t, b, BYTES_ZEROS); break;
    default: widen_part(t, b, FLOAT8);
    }
}

static void multiply_block(product *p, const block *b, ahead *next, size_t rows) {
    const grouped *t = (const grouped *)(const void *)p;
    while (p->e.done < p->e.rows) finish_next(&p->e);
    if (b->widen) widen_any(t, b);
    GLIA_WITH_12_ROWS(rows, 1, 12, multiply(t, b, next, R))
}

/* ---- few rows ------------------------------------------------------------------ */

/* A line of codes of P panels by R row-major rows at x. */
GLIA_INLINE void few_line(__m512i *sum, const char *w, const char *next, size_t panel_bytes, const char *x,
                          size_t ldx, const __m512i *zero, const __m512i value, const int R, const int P,
                          const codes f) {
    const int n = f == TABLE || f == ZEROS ? 4 : 2;
    GLIA_UNROLL for (int p = 0; p < P; p++) {
        __m512i line[LINES_MAX];
        _mm_prefetch(next + (size_t)p * panel_bytes, _MM_HINT_T1);
        widen_codes(line, _mm512_loadu_si512(w + (size_t)p * panel_bytes), zero[p], value, f);
        GLIA_UNROLL for (int j = 0; j < n; j++) {
            GLIA_UNROLL for (int r = 0; r < R; r++) sum[r * P + p] =
                glia_dot(sum[r * P + p], line[j], glia_dot_four(x + (size_t)r * ldx + j * 4), false);
        }
    }
}

/* Multiply R row-major rows by P panels from `panel` on, over the whole K. */
GLIA_INLINE void few_rows(const grouped *t, const char *x, size_t row, size_t panel, const int R, const int P,
                          const codes f) {
    const size_t pb = t->p.panel_bytes, bytes = f == TABLE || f == ZEROS ? 16 : 8; /* of x in a line */
    const size_t all = pb / 64, lines = t->g->group * 2 / bytes;
    const char *w = t->p.w + panel * pb;
    __m512 total[GLIA_DOT_SUMS];
    GLIA_UNROLL for (int i = 0; i < R * P; i++) total[i] = _mm512_setzero_ps();
    for (size_t l = 0, group = 0; l < all; group++) {
        const size_t end = glia_min(all, l + lines);
        __m512i sum[GLIA_DOT_SUMS], zero[8];
        GLIA_UNROLL for (int p = 0; p < P; p++) zero[p] = zero_of(t, panel + (size_t)p, group, f);
        GLIA_UNROLL for (int i = 0; i < R * P; i++) sum[i] = _mm512_setzero_si512();
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
    t.p.to.w_scale = NULL;
    t.p.w_lines = f == TABLE || f == ZEROS ? 4 : 8;
    t.p.group_steps = g->group < 32 ? 1 : g->group / 32;
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
