/* kernels.h - the table of CPU kernels, and the meaning of each entry.
 *
 * An entry's meaning is written here once and holds for every instruction set;
 * the *_ref.c twin is that meaning in plain C, and tests/check_kernel_*.c holds
 * every other twin to it. Nothing outside src/kernel names a kernel directly.
 *
 * Same bits whatever the schedule: within one table (one rung) an output
 * element is one fixed sequence of float operations, which depends on the
 * length of its sum alone: never on how many rows, panels or queries share the
 * call, nor on where they start. tests compare those bits.
 *
 * The panel. Everything that is multiplied is stored as panels of 16 output
 * columns; along K, groups of 4 bytes per column (1 float32, 2 bfloat16 or 4
 * int8), so a 64-byte line holds one group of all 16 columns:
 *     float32   [k][16]         bfloat16   [ceil(k/2)][16][2]
 *     int8      [ceil(k/4)][16][4]
 *     codes of 8 bits as int8; codes of 4 bits [ceil(k/8)][16] uint32, where the code of
 *     k = 8 l + 2 j + b is at bit 16 b + 4 j: a shift of 16-bit words by 4 j leaves a line of
 *     pairs of k in the low bits
 * with zeros where k or the columns end inside a line. Panels start at 64-byte
 * boundaries.
 *
 * A tile of the KV cache holds 32 positions of one head, so that it is whole
 * operands of every instruction set: two K panels (columns: 16 positions; K:
 * head_dim, for bfloat16 followed by zeros up to a multiple of 32), then
 * ceil(head_dim/16) V panels (columns: head dimensions; K: the 32 positions). In
 * an int8 tile a scale for each position's key and one for its value follow, 32
 * and 32 float32: the largest magnitude of that position and head, over 127. */
#ifndef GLIA_KERNEL_KERNELS_H
#define GLIA_KERNEL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/product.h"

enum {
    GLIA_PANEL = 16,   /* columns of a panel */
    GLIA_KV_TILE = 32, /* positions of a cache tile */
    GLIA_SPAN = 1024,  /* positions that attention adds up before it merges */
    GLIA_SPAN_TILES = GLIA_SPAN / GLIA_KV_TILE,
    GLIA_TILES_AHEAD = 4,   /* tiles behind a span's that are fetched, not used */
    GLIA_QUERIES_MAX = 256, /* queries of one attention call */
    GLIA_HEAD_DIM_MAX = 512,
    GLIA_GEMM_SCRATCH = 256 * 1024,
};

/* Bytes of the lines that hold k elements of each of 16 columns. */
static inline size_t glia_lines_bytes(glia_dtype element, size_t k) {
    const size_t k_per_line = element == GLIA_DTYPE_F32 ? 1 : element == GLIA_DTYPE_I8 ? 4 : 2;
    return (k + k_per_line - 1) / k_per_line * 64;
}
/* Bytes of one panel whose K is `k`. */
static inline size_t glia_panel_bytes(glia_weight_format format, size_t k) {
    const size_t k_per_line = 32 / (size_t)glia_weight_traits[format].bits;
    return (k + k_per_line - 1) / k_per_line * 64;
}
/* Bytes of a row of k elements, rounded up to whole lines of 64 bytes. */
static inline size_t glia_row_bytes(glia_row_format format, size_t k) {
    const size_t size = format == GLIA_ROWS_F32 ? 4 : format == GLIA_ROWS_BF16 ? 2 : 1;
    return (k * size + 63) / 64 * 64;
}
static inline size_t glia_panels(size_t columns) { return (columns + GLIA_PANEL - 1) / GLIA_PANEL; }
/* Bytes of a K panel, of a V panel, and of a cache tile. */
static inline size_t glia_k_panel_bytes(glia_dtype dtype, size_t head_dim) {
    const size_t steps = (head_dim + 31) / 32;
    return dtype == GLIA_DTYPE_F32 ? head_dim * 64 : steps * (dtype == GLIA_DTYPE_I8 ? 512 : 1024);
}
static inline size_t glia_v_panel_bytes(glia_dtype dtype) { return glia_lines_bytes(dtype, GLIA_KV_TILE); }
static inline size_t glia_kv_tile_bytes(glia_dtype dtype, size_t head_dim) {
    const size_t scales = dtype == GLIA_DTYPE_I8 ? 2 * GLIA_KV_TILE * sizeof(float) : 0;
    return 2 * glia_k_panel_bytes(dtype, head_dim) + glia_panels(head_dim) * glia_v_panel_bytes(dtype) +
           scales;
}

/* Pack one panel: column c is rows[c], [k] elements of `from` (F32, F16, BF16)
 * at any address (a checkpoint aligns nothing), or zeros where rows[c] is NULL.
 * Narrowing rounds to nearest even.
 *   panel  glia_lines_bytes(to, k)  written whole */
typedef void glia_pack_fn(void *panel, glia_dtype to, const void *const rows[GLIA_PANEL], glia_dtype from,
                          size_t k);

/* The largest |x| of row [k] of `from`, at any address; NaN where one is NaN or infinite. */
typedef float glia_absmax_fn(const void *row, glia_dtype from, size_t k);
/* As glia_pack_fn to int8: element / scale[c], rounded to nearest even and no
 * larger than 127; zeros where scale[c] is 0. A scale is 0 or at least 2^-126,
 * no less than the column's largest |x| / 127.
 *   panel  glia_panel_bytes(GLIA_WEIGHT_I8, k)  written whole */
typedef void glia_pack_i8_fn(void *panel, const void *const rows[GLIA_PANEL], glia_dtype from, size_t k,
                             const float scale[GLIA_PANEL]);

/* Pack one panel of codes: column c is rows[c], [k] codes of one byte each, or zeros where rows[c] is NULL.
 *   panel  glia_panel_bytes(format, k)  written whole */
typedef void glia_pack_codes_fn(void *panel, glia_weight_format format, const uint8_t *const rows[GLIA_PANEL],
                                size_t k);

/* One column of a panel back as float32: an embedding lookup. */
typedef void glia_unpack_fn(float *y, const void *panel, glia_dtype element, size_t k, size_t column);

/* ---- the product of a linear layer ------------------------------------------ */

/* Where a product goes. */
typedef struct {
    glia_epilogue epilogue;
    float *y; /* rows, ldy floats apart; whole panels are written */
    size_t ldy;
    const float *bias;   /* [n_panels * 16], or NULL */
    size_t step;         /* floats from 32 columns to the next 32, a multiple of 16; 0: row-major */
    const float *addend; /* [m, n_panels * 16] that is added before the epilogue, or NULL: LoRA's products */
    size_t ld_addend;    /* floats from row to row of it */
} glia_gemm_out;

/* Rows as a product reads them: element groups of 64 bytes ("steps"), step s of row i at
 * x + i * row + s * step bytes. Row-major is step 64. bfloat16 and int8 rows have zeros from
 * the row's end to the end of its last step; of float32 rows nothing past [k] is read. Rows
 * are row-major (step 64), or 64 bytes apart (row 64). The second is the faster one for many
 * rows: the rows of a step are then contiguous. */
typedef struct {
    const void *x;
    size_t row, step;   /* multiples of 64 for bfloat16 and int8; float32 is row-major, row a multiple of 4 */
    const float *scale; /* [m] of int8 rows, else NULL */
} glia_gemm_rows;

/* y = x W^T: m rows through n_panels * 16 columns of a linear layer.
 *
 * Any m >= 0, k >= 1, n_panels >= 0 (even for GLIA_SWIGLU). Products and sums are
 * float32; the order of additions of an element is a function of k alone. With
 * int8 rows the sum over K is an exact int32, so every rung has the same bits:
 * t = (float)sum * (x.scale[row] * w_scale[column]), for 1 <= k <= GLIA_I8_K_MAX and
 * neither rows nor weights holding -128. With int8 weights under other rows, t is
 * w_scale[column] times what the same integers give as bfloat16 weights, bit for bit.
 * Accuracy of float32 sums: |t - exact| <= g(k) * sum |w x|, g = n u / (1 - n u),
 * n = k, u = 2^-24.
 *
 * Grouped formats: the sum of a group starts from zero and has the rung's order of additions for so many k of
 * the values, which bfloat16 rows meet rounded to bfloat16 (only values of a table can need it). The groups'
 * sums, each times its scale, are added in rising k. With float32 rows the product and the sum are rounded
 * each; with bfloat16 rows they are one fused operation.
 *
 * C4 with int8 rows: the values are integers, code - 8 without zero points. The sum of a group is an exact
 * int32 below 2^24. In float32, every operation rounded: it times its scale, the groups added in rising k
 * from 0, and the result times x.scale[row]. Every rung has the same bits. Each 8 k of a row are in the order
 * that glia_order_c4_rows() gives them. */
typedef struct {
    glia_gemm_out out;
    glia_gemm_rows x;
    const void *w; /* [n_panels] consecutive panels of the entry's weight format */
    const void
        *next; /* as many panels that the caller multiplies next, or NULL: a kernel may prefetch them */
    const float *w_scale; /* [n_panels * 16] where the format is scaled; [n_panels, groups, 16] where it is
                             grouped; else NULL */
    size_t k, n_panels, m;
    void *scratch; /* [GLIA_GEMM_SCRATCH] bytes at a 64-byte boundary, for `finish` */
    /* Of a grouped format: */
    size_t group;         /* k of a group: 16, or a multiple of GLIA_GROUP_UNIT up to GLIA_GROUP_MAX */
    bool whole;           /* all groups share one scale and zero point: groups above is 1 */
    const int8_t *w_zero; /* zero points, shaped as w_scale, or NULL */
    const float *table;   /* [16] the values of C4 without zero points */
} glia_gemm;
typedef void glia_gemm_fn(const glia_gemm *g);

static inline size_t glia_groups(size_t k, size_t group, bool whole) {
    return whole ? 1 : (k + group - 1) / group;
}

/* The kernels of one pair of formats; NULL: this rung has none. */
typedef struct {
    glia_gemm_fn *store;  /* y = x W^T: reads out.y and ldy alone */
    glia_gemm_fn *finish; /* adds bias and addend and applies the epilogue. y is in steps as out.step says.
                             SwiGLU writes bfloat16, always in steps. Denormals count as zero. If the weights
                             are int8, one or two rows x must be row-major */
} glia_gemm_kernel;

/* Columns [first, first + n) of a row whose steps of 32 columns are `step` bytes apart = factor x,
 * [n], rounded to float32, then to bfloat16, to nearest even; denormals become zeros, -0 becomes 0. */
typedef void glia_narrow_fn(void *row, size_t step, size_t first, const float *x, float factor, size_t n);

/* Quantise row x [k] (F32 or BF16): *scale = the largest |x| / 127, and q = x *
 * (127 / largest), rounded to nearest even, then zeros up to a multiple of 64. If the largest is below
 * 2^-120, q and *scale are 0. If an element is NaN or infinite, q is 0 and *scale is NaN. The 64-byte pieces
 * of q are q_step bytes apart, those of x x_step bytes; 64 if the row is in one piece. */
typedef void glia_quantize_fn(int8_t *q, size_t q_step, float *scale, const void *x, size_t x_step,
                              glia_dtype from, size_t k);

/* Put the int8 of each 8 k of a row, whose 64-byte pieces are `step` bytes apart, in the order 0 4 1 5 2 6 3
 * 7, in which the two halves of the bytes of a C4 panel meet them. k is rounded up to a multiple of 64. */
void glia_order_c4_rows(int8_t *q, size_t step, size_t k);

/* y [k] = row x [k] (F32 or BF16) in blocks of `block`, a power of two up to GLIA_ROTATE_MAX that divides k:
 * each block times the Hadamard matrix in Sylvester's order, over sqrt(block). So dot products of two rotated
 * rows are those of the rows, and an outlier's magnitude is spread over its block. In float32: for h = 1, 2,
 * 4, ... block / 2, elements i and i + h of each 2 h elements become their sum and difference; then each is
 * multiplied by 1 / sqrt(block), rounded. Every rung has the same bits where they are numbers. A block that
 * holds NaN or infinity becomes NaN or infinite in every element. The 64-byte pieces of x are x_step bytes
 * apart; 64 if the row is in one piece. y may be x if x is float32 in one piece. */
typedef void glia_rotate_fn(float *y, const void *x, size_t x_step, glia_dtype from, size_t k, size_t block);

/* y = w * x / sqrt(mean(x^2) + eps), all [n]; y may be x.
 * Source: transformers Qwen3RMSNorm.forward. */
typedef void glia_rmsnorm_fn(float *y, const float *x, const float *w, size_t n, float eps);

/* Rotate pairs (i, i + n/2) of x [n] by the angles whose cos and sin are
 * [n/2]: x'[i] = x[i] cos - x[i+n/2] sin, x'[i+n/2] = x[i+n/2] cos + x[i] sin.
 * Source: transformers apply_rotary_pos_emb (rotate_half). */
typedef void glia_rope_fn(float *x, const float *cos, const float *sin, size_t n);

/* y[i] = g[i] / (1 + exp(-g[i])) * u[i]; y may be g or u. */
typedef void glia_swiglu_fn(float *y, const float *g, const float *u, size_t n);

/* y += x, [n]. */
typedef void glia_add_fn(float *y, const float *x, size_t n);

/* y = x / divisor, [n], every zero positive; y may be x. */
typedef void glia_divide_fn(float *y, const float *x, float divisor, size_t n);

/* Write one position's key and value, [head_dim] each, at position `at` (0..31)
 * of a tile. Narrowing rounds to nearest even; int8 is x / scale so rounded, all
 * zeros where the largest is below 2^-100, all NaN where one is not finite. No
 * byte of another position is written. */
typedef void glia_kv_store_fn(void *tile, glia_dtype dtype, size_t at, const float *k, const float *v,
                              size_t head_dim);
/* Copy position `from_at` of one tile to position `at` of another, bits unchanged. */
typedef void glia_kv_copy_fn(void *tile, glia_dtype dtype, size_t at, const void *from, size_t from_at,
                             size_t head_dim);

/* An int8 tile as a tile of float32 or bfloat16. An element is its int8 times its scale, in float32. To
 * dimension d of the key at position p, RoPE of `bias` is added: bias[d] c + b' s in float32, every operation
 * rounded, where c and s are cos and sin of p and d's pair, and b' is -bias[d + head_dim / 2] in the first
 * half of the dimensions, bias[d - head_dim / 2] in the second. A bfloat16 tile has the result so rounded.
 *   bias    [head_dim], or NULL: nothing is added. Then head_dim <= GLIA_HEAD_DIM_MAX
 *   angles  [2][head_dim / 2][2][16] cos and sin of the tile's positions, 16 positions side by side; NULL:
 * the bias itself is added Every rung has the same bits. */
typedef void glia_kv_widen_fn(void *to, glia_dtype dtype, const void *from, size_t head_dim,
                              const float *bias, const float *angles);

/* Softmax state of n queries over the keys seen so far. */
typedef struct {
    float *m; /* [n]            a score that no other exceeds by more than 8; -inf before the first key */
    float *l; /* [n]            sum of exp(score - m) */
    float *o; /* [n, head_dim]  sum of exp(score - m) v, row stride ldo */
    size_t ldo;
} glia_softmax;

/* Attention of n queries of one KV head over one span: 1,024 consecutive
 * positions, of which query i sees keys lo[i] <= j < hi[i] (0 <= lo, hi <= 1024;
 * lo >= hi: none). The result is that of the span alone, from nothing.
 *
 *   out   replaced; a query that sees no key gets m = -inf, l = 0, o = 0. Rows of
 *         o are written up to a multiple of 16 floats, which ldo must have room for
 *   q     [n, head_dim] float32, row stride ldq; n <= GLIA_QUERIES_MAX
 *   tile  [32 + 4] cache tiles; one that no query sees may be NULL. The last four
 *         are those needed next, for fetching ahead; their bytes mean nothing
 *
 * score_j = scale * (q . k_j), scale > 0, in the linear's manner (a function of
 * head_dim); p_j = exp(score_j - m); l = sum p_j and o = sum p_j v_j, each in an
 * order that absolute positions alone decide. An unseen key adds exactly nothing,
 * whatever its bytes. */
typedef void glia_attend_fn(glia_softmax out, const float *q, size_t ldq, size_t n,
                            const void *const tile[GLIA_SPAN_TILES + GLIA_TILES_AHEAD], const int16_t *lo,
                            const int16_t *hi, float scale, size_t head_dim);

/* Merge the softmax state `part` into `sum`, for n queries: with M = max(m, m'), each side scaled by
 * exp(m - M) and added. Merging a state with m = -inf changes no bit. Merging
 * into an empty state gives the other's bits. Flash decoding, Dao et al. 2023. */
typedef void glia_merge_fn(glia_softmax sum, glia_softmax part, size_t n, size_t head_dim);

/* Read bytes of memory once, by `streams` (1, 2, 4 or 8) equal streams, a line of each after the other;
 * returns something that depends on all of them: the read ceiling of glia bench. */
typedef uint64_t glia_read_fn(const void *p, size_t bytes, int streams, size_t prefetch_bytes);
/* Multiply-adds with operands in registers, `rounds` times; returns how many
 * floating-point operations that was: the matrix ceiling of glia bench. */
typedef uint64_t glia_peak_fn(uint64_t rounds);

/* Block sizes of a rung: what stays in its caches, and how work is cut between threads. */
typedef struct {
    size_t rows_bytes;    /* rows that stay in L2 while panels pass (kernels that finish) */
    size_t chunk_rows;    /* rows whose sums wait in scratch for their epilogue */
    size_t grain;         /* panels that a thread takes at a time of many rows */
    size_t few_grain;     /* the same of few rows */
    int queries_per_unit; /* least queries of a unit of attention, where there are enough */
    int units_per_thread; /* units of attention, where there are enough rows */
    int64_t key_cost;     /* cost of reading a key, in queries that it meets */
    int64_t query_cost;   /* cost of a query besides its keys, in keys */
} glia_blocking;

typedef struct {
    const char
        *rung; /* "ref", "avx2", "avx512", "avx512_bf16", "amx": the highest that an entry comes from */
    glia_pack_fn *pack;
    glia_unpack_fn *unpack;
    glia_absmax_fn *absmax;
    glia_pack_i8_fn *pack_i8;
    glia_pack_codes_fn *pack_codes;
    glia_quantize_fn *quantize;
    glia_rotate_fn *rotate;
    glia_blocking blocking;
    glia_gemm_kernel gemm[GLIA_WEIGHT_FORMATS][GLIA_ROW_FORMATS];
    glia_narrow_fn *narrow; /* with bfloat16 rows; NULL: this rung multiplies float32 rows only */
    glia_rmsnorm_fn *rmsnorm;
    glia_rope_fn *rope;
    glia_swiglu_fn *swiglu;
    glia_add_fn *add;
    glia_divide_fn *divide;
    glia_kv_store_fn *kv_store;
    glia_kv_copy_fn *kv_copy;
    glia_kv_widen_fn *kv_widen;
    glia_attend_fn *attend_f32, *attend_bf16;
    glia_merge_fn *merge;
    glia_read_fn *read;
    glia_peak_fn *peak_f32, *peak_bf16, *peak_i8; /* the last two NULL where there is no such unit */
} glia_kernels;

/* Fill `k` with the best kernels that `cpu_flags` (base/cpu.h) allows; 0 gives
 * the reference table. A pure function of its argument: tests and
 * --cpu-features ask for any rung of the ladder without touching global state. */
void glia_kernels_init(glia_kernels *k, unsigned cpu_flags);

#endif
