/* device.h - the seam that every layer calls: the operations of a forward pass.
 *
 * All threads of the device's team call each operation with the same arguments
 * and their own `thread`; an operation does that thread's share, a product also
 * what others have left of theirs, and returns without waiting. Where a later
 * operation reads what other threads wrote, the caller puts a glia_device_barrier()
 * between (attention has its own inside). Nothing here allocates or fails.
 *
 * Activations are float32, row-major, with row strides (ld*) in floats that are
 * multiples of 16; a row's floats past its width may be written (by whole
 * panels) and mean nothing. Where d->narrow, the rows that a linear layer reads,
 * which glia_device_attention and GLIA_SWIGLU write, are bfloat16 instead, zeros
 * up to a multiple of 32, laid out as glia_rows_layout() says, and q, k and v are
 * laid out as glia_heads_layout() says. */
#ifndef GLIA_DEVICE_DEVICE_H
#define GLIA_DEVICE_DEVICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/team.h"
#include "kernel/kernels.h"

enum { GLIA_FEW_ROWS = 4 }; /* up to as many each thread norms for itself: no barrier */

typedef struct {
    glia_kernels k;
    glia_team *team;
    int threads;
    bool narrow;   /* rows go through linear layers as bfloat16 (k.narrow) */
    char *scratch; /* [threads] parts of scratch_bytes */
    size_t scratch_bytes;
    float *operand; /* glia_device_operand_rows() rows, ld_operand floats apart: normed rows */
    size_t ld_operand;
    int8_t *rows_i8;   /* as many rows, where a matrix has quantize_rows */
    float *rows_scale; /* of each */
} glia_device;

/* Floats from row to row of n floats: whole panels, and an odd number of cache lines,
 * so that the same column of many rows does not fall into one set of a cache. */
static inline size_t glia_row_stride(size_t n) { return (glia_panels(n) | 1) * GLIA_PANEL; }
/* Bytes from row to row of k int8, likewise. */
static inline size_t glia_i8_stride(size_t k) { return ((k + 63) / 64 | 1) * 64; }

/* Where columns 32 s to 32 s + 31 of row i begin: i * ld + s * step floats on. */
typedef struct {
    size_t ld, step;
} glia_layout;

/* n, or the next odd number: of steps at odd distances few fall into one set of a cache. */
static inline size_t glia_odd(size_t n) { return n | 1; }

/* The layout of m narrow rows: of few, ld floats apart and each in one piece; of many, as tiles are
 * loaded, the first 32 columns of all rows, then the next. It takes no more than glia_odd(m) * ld floats. */
static inline glia_layout glia_rows_layout(const glia_device *d, size_t m, size_t ld) {
    enum { STEP = 16 };
    return d->narrow && m > GLIA_FEW_ROWS ? (glia_layout){STEP, glia_odd(m) * STEP} : (glia_layout){ld, STEP};
}

/* Zeros behind column n of a narrow row, up to the end of its step; steps are `step` bytes apart. */
static inline void glia_fill_step(char *row, size_t step, size_t n) {
    enum { STEP = 32 };
    if (n % STEP) memset(row + n / STEP * step + n % STEP * 2, 0, (STEP - n % STEP) * 2);
}

/* The layout of m rows of float32 that attention takes: ld floats apart where they are few or not
 * d->narrow; else as tiles are stored, the first 32 columns of all rows, then the next. It takes no more
 * than m * ld floats if rows of whole steps are no longer than ld. */
static inline glia_layout glia_heads_layout(const glia_device *d, size_t m, size_t ld) {
    enum { STEP = 32 };
    return d->narrow && m > GLIA_FEW_ROWS ? (glia_layout){STEP, m * STEP} : (glia_layout){ld, STEP};
}

/* A linear layer's weight [columns, k], packed (kernel/kernels.h). */
typedef struct {
    void *panels; /* [glia_panels(columns)] */
    glia_dtype dtype;
    size_t columns, k;
    float *scale;       /* of GLIA_DTYPE_I8: one for each column of whole panels; else NULL */
    bool quantize_rows; /* w8a8: rows become int8 before they are multiplied */
} glia_matrix;

/* One layer's part of the KV cache: blocks of `block_size` positions, each
 * holding for every KV head its tiles of 32 positions (kernel/kernels.h). */
typedef struct {
    char *base;
    glia_dtype dtype;
    int block_size, kv_heads, head_dim;
    /* Members that share positions: runs of `unit` positions are theirs in turns, in blocks whose
     * numbers divided by `members` leave the member and are its own numbers. 1: all are here. */
    int members, member, unit;
} glia_kv_layer;

/* Rows of a step, as in layer/batch.h. */
typedef struct {
    int n;
    const int32_t *seq, *position, *slot, *parent; /* parent may be NULL */
    const int32_t *block_table;                    /* [n_seqs, max_blocks] */
    int max_blocks;
} glia_rows;

/* Heads of an attention layer and what is done to each before the product. */
typedef struct {
    int heads, kv_heads, head_dim;
    int first_kv; /* the cache's head that is the first of these; all heads of the cache are stored */
    const float *q_norm, *k_norm; /* [head_dim] RMSNorm weights, or NULL */
    float eps;
    const float *cos, *sin; /* [position, head_dim / 2], or NULL: this layer does not rotate */
    int window;             /* keys a query sees, itself included; 0: all before it */
    float scale;
} glia_heads;

/* What attention reads: q of the rows that attend, k and v of those whose keys and values are to be
 * stored, from columns k and v of a row of kv on. */
typedef struct {
    const float *q, *kv;
    glia_layout q_layout, kv_layout;
    size_t k, v;
    int block_heads; /* heads side by side in a row of q; the next so many are q_block floats on */
    size_t q_block;
} glia_qkv;

/* Where results go: into o, or, where there are members, as softmax states into `states`: for each
 * block of heads glia_states_bytes(block_heads * rows) bytes. */
typedef struct {
    float *o; /* [rows, block_heads * head_dim], and so on o_block floats further */
    glia_layout layout;
    size_t o_block;
    char *states; /* NULL: into o */
    int block_heads;
} glia_attended;

/* Rows that enter a linear layer. */
typedef struct {
    const float *x; /* [m, k], or where d->narrow and norm is NULL bfloat16 rows */
    glia_layout layout;
    int m;
    const int32_t *row; /* with norm: row i is x[row[i]]; NULL: x[i] */
    const float *norm;  /* [k] weights of an RMSNorm that the rows pass first, or NULL */
    float eps;
} glia_linear_in;

/* Rows as a product takes them: float32, bfloat16 where d->narrow, int8 and a scale each for a matrix
 * with quantize_rows. */
typedef struct {
    char *x;
    size_t row, step; /* bytes from row to row, and from 64 bytes of a row to the next 64 */
    float *scale;
} glia_operand;

/* Rows of d->operand for steps of up to max_rows rows. */
size_t glia_device_operand_rows(int max_rows, int threads);
/* Bytes of scratch a thread needs for these shapes; `widest`: the largest k of a matrix. */
size_t glia_device_scratch_bytes(int max_rows, int sequence_length, int head_dim, size_t widest,
                                 glia_dtype kv_dtype);
/* Of these, what glia_device_attention() needs. */
size_t glia_attention_scratch_bytes(int max_rows, int sequence_length, int head_dim, glia_dtype kv_dtype);

static inline void glia_device_barrier(const glia_device *d) { glia_team_barrier(d->team); }

/* y[i] = row token[i] - first of the embedding `table` [rows, hidden]; where it has no such row,
 * -0.0: what changes no sum. */
void glia_device_embed(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                       size_t first, const int32_t *token, int m);

/* y[i] <- RMSNorm of x[i], float32 both, m rows of n floats; y may be x. */
void glia_device_norm(const glia_device *d, int thread, float *y, const float *x, size_t ld, int m, size_t n,
                      const float *norm, float eps);

/* out <- rows of `in` through w (GLIA_SWIGLU: its panels alternate gate, up). With
 * in->norm or w->quantize_rows all threads meet in a barrier, unless the rows are
 * few and each thread prepares them all for itself. The panels that a thread takes
 * first of few rows depend on their number alone, so that weights can be placed where they will be read. */
void glia_device_linear(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                        const glia_linear_out *out);
/* The two halves of it. Norm, narrow or quantise each row of `in` into `to`: this thread's share of
 * the rows. And the product of rows that are so. */
void glia_device_prepare(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                         const glia_operand *to);
/* Where m rows for `w` are prepared from x on (NULL: in d's own memory); row-major where they are few. */
glia_operand glia_device_operand(const glia_device *d, const glia_matrix *w, size_t m, void *x, float *scale);
void glia_device_multiply(const glia_device *d, int thread, const glia_operand *o, int m,
                          const glia_matrix *w, const glia_linear_out *out);
/* The panels [*from, *to) that `thread` of `threads` begins with in glia_device_linear() where rows are few.
 */
void glia_device_panels(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads, size_t *from,
                        size_t *to);

/* Norm and rotate q and k, store k and v of the rows `stored` in the cache, and attend: softmax
 * attention of the rows' q over it. Order of additions: spans of 1,024 positions (glia_attend_fn)
 * merged in order: a function of absolute positions alone; with members, of the positions that
 * a member holds. Barriers stand inside, only where a step needs one: where a sequence has more
 * rows than one, or those stored are others (stored != rows), between storing and attending; where
 * a row's keys are shared out between threads, before they merge. */
void glia_device_attention(const glia_device *d, int thread, const glia_attended *out, const glia_qkv *x,
                           const glia_rows *rows, const glia_rows *stored, const glia_heads *h,
                           const glia_kv_layer *kv);

/* Bytes of the softmax states of n queries. */
size_t glia_states_bytes(size_t n, size_t head_dim);
/* o <- the states of `blocks` members, one behind the other, merged in their order: a block has for each
 * of `heads` heads n rows. The first block's are lost. */
void glia_device_merge(const glia_device *d, int thread, float *o, glia_layout layout, char *states,
                       int blocks, int n, int heads, size_t head_dim);

/* Bytes of one block of a layer's cache. */
size_t glia_kv_block_bytes(const glia_kv_layer *kv);
/* Copy one position of one layer, all KV heads, to another place. One thread does it. */
void glia_device_copy_kv(const glia_device *d, const glia_kv_layer *kv, int to_block, int to_at,
                         int from_block, int from_at);

#endif
