/* device.h - the seam that every layer calls: a device's memory and the operations
 * of a forward pass.
 *
 * A kind of device is a table of functions (glia_device_ops); glia_cpu is the one
 * that programs use. The device alone knows how it stores a matrix, a cache block,
 * and rows that pass from one operation to the next.
 *
 * Memory. Pointers to weights, biases, norms, cos and sin, activations, caches and
 * softmax states are addresses in the device's memory: code above this seam may
 * add to them and hand them on, and only the device reads or writes what they
 * point to. upload() and download() copy between the host and the device. Arrays
 * that describe rows (tokens, positions, block tables) are the host's. Operands of
 * collectives lie in the host's memory, so more than one rank needs a device whose
 * memory is the host's (host_memory).
 *
 * Threads. All threads of the device's team call each operation with the same
 * arguments and their own `thread` number. Each thread does its share of the work
 * and returns without waiting. If a later operation reads what other threads
 * wrote, the caller puts a glia_device_barrier() between the two. Operations
 * allocate nothing and cannot fail. */
#ifndef GLIA_DEVICE_DEVICE_H
#define GLIA_DEVICE_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/product.h"
#include "base/team.h"

/* ---- what operations work on ------------------------------------------------ */

/* How rows of activations are stored. */
typedef enum {
    GLIA_PLAIN, /* float32, row-major: the one form that code above the device and collectives may know */
    GLIA_INPUT, /* rows that a linear layer reads without a norm; attention and GLIA_SWIGLU write them */
    GLIA_HEADS, /* q, k and v; a linear layer writes them, and only attention reads them */
} glia_form;

/* Rows of activations in device memory. */
typedef struct {
    float *at;
    size_t m; /* rows. Writer and reader give the same m: the layout may depend on it */
    /* Floats of memory for each row; GLIA_PLAIN rows are `stride` floats apart. At least the device's
     * stride() of the rows' width if the device writes the rows. */
    size_t stride;
    glia_form form;
} glia_activation;

/* A linear layer's weight [columns, k] in device memory. */
typedef struct {
    void *data;
    glia_weight_format format;
    size_t columns, k;
    float *scale;        /* scale_bytes() of a scaled or grouped format, else NULL */
    bool quantize_rows;  /* rows are converted to int8 before the product (w8a8) */
    glia_row_scale rows; /* with quantize_rows */
    /* Rows are rotated in blocks of so many k before they are converted and multiplied, as the weights have
     * been. 0 or 1: not rotated. */
    size_t rotate;
    /* A grouped format: k of a group, as glia_gemm in kernel/kernels.h has it; all groups of a column share
     * one scale; groups have zero points. */
    size_t group;
    bool whole, zeros;
    /* 0, or the elements of a row that enters, of which set_codes() makes k. */
    size_t inputs;
    double *squares; /* [k] to which the squares of the rows that are multiplied are added; NULL: nothing is.
                        Only of a matrix whose rows are not converted (glia_converts_rows()) */
} glia_matrix;

/* Elements of a row that enters. */
static inline size_t glia_inputs(const glia_matrix *w) { return w->inputs ? w->inputs : w->k; }

static inline bool glia_rotates(const glia_matrix *w) { return w->rotate > 1; }
/* Does the device convert rows for w that no norm is applied to? */
static inline bool glia_converts_rows(const glia_matrix *w) {
    return w->quantize_rows || glia_rotates(w) || w->inputs;
}

/* Do quantised rows for w stay floats, which hold the same integers? Groups of 8-bit codes have no product
 * with int8 rows, and a zero point takes the integers out of the range of int8. */
static inline bool glia_keeps_floats(const glia_matrix *w) {
    return w->quantize_rows && (w->format == GLIA_WEIGHT_C8 || !glia_is_absmax(&w->rows));
}

enum { GLIA_LORA_PARTS = 3 }; /* weights that a matrix fuses */

/* What an adapter changes of one of the weights that a matrix fuses. Its columns are groups of
 * GLIA_SWIGLU_GROUP: group i of the part is group `group` + i * `step` of the matrix. The first columns may
 * belong to the part before; `up` is zero there. */
typedef struct {
    size_t group, step;
    glia_matrix down; /* A [r, k]; data NULL: no A and B */
    glia_matrix up;   /* B [columns, r], not quantised */
    float scale;      /* of their product */
    size_t at;        /* the column of the rows x A^T where this part's begin: a multiple of 32 */
    /* [columns, k] replaces the matrix in the columns [from, to) of the part; data NULL: it does not */
    glia_matrix whole;
    size_t from, to;
} glia_lora_part;

/* What an adapter changes of a linear layer: y = factor (x W^T + the sum of scale (x A^T) B^T) + bias. */
typedef struct {
    int n_parts; /* 0 and no bias: nothing */
    glia_lora_part part[GLIA_LORA_PARTS];
    const float *factor; /* [columns()] of DoRA, or NULL: 1 */
    const float *bias;   /* [columns()] beside the layer's own bias, or NULL */
} glia_lora;

static inline bool glia_lora_changes(const glia_lora *l) { return l->n_parts > 0 || l->bias; }

/* What an adapter changes of the embedding on a rank, whose rows have `hidden` elements: all of it, or some
 * rows, or a product of A and B. Numbers are float32. */
typedef struct {
    size_t r, hidden;
    const float *a;       /* [vocabulary of the rank, r] or NULL */
    const float *b;       /* [r, hidden] with the scale */
    const float *factor;  /* [hidden] of DoRA: times the sum of row and product; NULL: 1 */
    const int32_t *token; /* [n_tokens] of the model */
    const float *delta;   /* [n_tokens, hidden] added to these tokens' rows */
    int n_tokens;
    glia_matrix whole; /* data NULL: none */
} glia_embed_change;

/* Neighbouring rows that have the adapter in one place. */
typedef struct {
    int32_t first, n, place;
} glia_adapter_run;

/* Rows of a linear layer that have adapters. All zero: none. Rows without an adapter get the bits of a layer
 * without adapters. */
typedef struct {
    const glia_lora *of;         /* [places] of this layer */
    const glia_adapter_run *run; /* [n] ascending */
    int n;
    const struct glia_operand *rows; /* rows of a layer that converts them, before that; NULL: the layer has
                                        them */
} glia_adapted;

/* Rows that enter a linear layer. */
typedef struct {
    glia_activation x;  /* GLIA_PLAIN or, without a norm, GLIA_INPUT */
    int m;              /* rows that enter; with `row` they may be fewer than x.m */
    const int32_t *row; /* [m] with a norm: row i is x[row[i]]; NULL: x[i]. Host memory */
    const float *norm;  /* [k] weights of an RMSNorm that is applied to the rows first, or NULL */
    float eps;
    const int32_t *place; /* [x.m] the place of a row's adapter or -1. NULL: no row has one */
    const float *const
        *norm_of; /* [places] weights that replace `norm`; an element or the array may be NULL */
} glia_linear_in;

/* Where a linear layer's result goes. */
typedef struct {
    glia_epilogue epilogue;
    glia_activation y;    /* GLIA_SWIGLU: GLIA_INPUT; GLIA_ADD: GLIA_PLAIN. An operation may write the floats
                             between a row's width and its columns(); they mean nothing */
    const float *bias;    /* [columns()] or NULL */
    const float *addend;  /* [m, columns()] added before the epilogue, or NULL */
    size_t ld_addend;     /* floats from row to row of `addend` */
    glia_adapted adapted; /* without `addend` */
} glia_linear_out;

/* m rows as a product reads them. For collectives, a row is `pieces` pieces of `row` bytes: piece p of row i
 * is at x + p * step + i * row. */
typedef struct glia_operand {
    char *x;
    size_t row, step, pieces;
    float *scale; /* [m] scales of int8 rows, else NULL */
} glia_operand;

/* One layer's KV cache: blocks of `block_size` positions, each with all KV heads. */
typedef struct {
    char *base;
    glia_dtype dtype; /* F32, BF16, or I8 with a scale for each position and head */
    int block_size, kv_heads, head_dim;
    /* Runs of `unit` positions go to the members in rotation. Block b of a table is stored by member
     * b % members, as its block b / members. members = 1: this rank stores all positions. */
    int members, member, unit;
    int tree_slot; /* slots from this one on are rows of drafted trees, which every member stores; INT32_MAX:
                    * none. Their blocks in a table are multiples of `members` */
} glia_kv_layer;

/* Rows of a step, as in layer/batch.h. Host memory. */
typedef struct {
    int n;
    const int32_t *seq, *position, *slot; /* [n] */
    /* [n] or NULL. The arrays may go on behind row n with rows of earlier steps, so that `parent` can name
     * them: their keys and values are in the cache. */
    const int32_t *parent;
    const int32_t *last; /* [n] the last position that the row sees; NULL: its own. Not for rows of a tree */
    const int32_t *adapter;     /* [n] 1 + the place of the row's adapter, 0: none; or NULL */
    const int32_t *block_table; /* [n_seqs, max_blocks] */
    int max_blocks;
} glia_rows;

/* The table of angles (glia_heads): positions of a group, and the number that its positions are a multiple
 * of. */
enum { GLIA_ANGLES_GROUP = 16, GLIA_ANGLES_UNIT = 32 };

/* Heads that attend in a layer, and what is applied to each head first. */
typedef struct {
    int heads, kv_heads, head_dim;
    int first_kv; /* the cache's head that is KV head 0 here. Keys and values of all cache heads are stored */
    const float *q_norm, *k_norm; /* [head_dim] RMSNorm weights, or NULL */
    /* [places] norms of adapters, which replace q_norm and k_norm for their rows; an element may be NULL.
     * NULL: no adapters. */
    const float *const *q_norms, *const *k_norms;
    float eps;
    const float *cos, *sin; /* [position, head_dim / 2], or NULL: this layer has no RoPE */
    /* The same numbers, [position / 16][head_dim / 2][cos, sin][16]. Attention reads it only with an int8
     * cache, k_bias and RoPE; else it may be NULL. */
    const float *angles;
    /* [heads of the cache, head_dim] the bias that the linear layer has added to k, or NULL: it has added
     * none, or k_norm follows. An int8 cache may hold keys without it. */
    const float *k_bias;
    int window; /* a query sees so many keys, its own included; 0: all up to its own */
    float scale;
} glia_heads;

/* What attention reads: q of the rows that attend, and keys and values of the rows that are stored, which
 * begin at columns k and v of a row of `kv`. */
typedef struct {
    glia_activation q, kv;
    size_t k, v;
    int block_heads; /* heads in a row of q */
    size_t q_block;  /* floats from q's rows to those of the next block_heads heads */
} glia_qkv;

/* Where attention's results go. Without members: into o. With members: softmax states into `states`,
 * states_bytes(block_heads * rows) bytes for each block of heads. */
typedef struct {
    glia_activation o; /* GLIA_INPUT [rows, block_heads * head_dim] */
    size_t o_block;    /* floats from o's rows to those of the next block_heads heads */
    char *states;      /* NULL: into o */
    int block_heads;
} glia_attended;

/* What fixes the sizes of a device's own buffers. */
typedef struct {
    int threads, max_rows, sequence_length, head_dim;
    size_t operand_rows; /* rows that are converted at once: max_rows, and padding rows for ranks */
    size_t hidden;       /* width of the rows that are normed or rotated and stay floats */
    size_t widest;       /* the largest k of a matrix */
    glia_dtype dtype;    /* of weights that are not quantised */
    glia_dtype kv_dtype;
    bool quantize_rows; /* some matrix has quantize_rows */
    size_t lora_rank;   /* the largest rank of an adapter; 0: no adapters */
} glia_device_shape;

/* Columns of the rows x A^T of a part of rank r. */
static inline size_t glia_lora_columns(size_t r) { return (r + 31) / 32 * 32; }
/* How a layer multiplies by A, and by a weight that replaces its own. */
static inline glia_matrix glia_lora_matrix(const glia_matrix *w, glia_dtype dtype, size_t columns, size_t k) {
    return (glia_matrix){.format = dtype == GLIA_DTYPE_BF16 ? GLIA_WEIGHT_BF16 : GLIA_WEIGHT_F32,
                         .columns = columns,
                         .k = k,
                         .rotate = w->quantize_rows ? 0 : w->rotate};
}
/* Does the layer multiply A by other rows than its own weight? */
static inline bool glia_lora_needs_rows(const glia_matrix *w) { return w->quantize_rows; }

/* An operation and the instruction set that it runs on, for display. */
typedef struct {
    const char *name, *rung;
} glia_operation;
enum { GLIA_OPERATIONS_MAX = 16 };

/* ---- a kind of device ------------------------------------------------------- */

typedef struct glia_device_ops glia_device_ops;

/* An open device. It belongs to one rank and its team of threads. */
typedef struct {
    const glia_device_ops *ops;
    glia_team *team;
    int threads;
} glia_device;

struct glia_device_ops {
    const char *name;
    bool host_memory;              /* the device's memory is the host's: addresses may be read in place */
    int head_dim_max, queries_max; /* limits; queries_max: query heads that share a KV head */

    /* Sizes: pure functions. */

    size_t (*stride)(size_t n); /* floats of memory for a row of n floats, in any form */
    size_t (*columns)(
        size_t n); /* floats that a product of n columns may write in a row; at most stride(n) */
    size_t (*matrix_bytes)(const glia_matrix *w);
    size_t (*scale_bytes)(const glia_matrix *w); /* 0: its format has no scales */
    size_t (*kv_block_bytes)(const glia_kv_layer *kv);
    size_t (*states_bytes)(size_t n, size_t head_dim); /* softmax states of n queries */
    /* Add the device's own buffers to the plan. Returns the index of the first region, for open(). */
    int (*plan)(glia_plan *plan, const glia_device_shape *s);
    /* The shape of a matrix's data as a tensor of a file: up to 4 dimensions. */
    int (*tensor_shape)(int64_t shape[4], const glia_matrix *w);
    /* List the operations of a step with these formats, and their instruction sets. Returns how many: at most
     * GLIA_OPERATIONS_MAX. */
    int (*describe)(glia_operation *list, unsigned cpu_flags, const glia_matrix *w,
                    const glia_device_shape *s);
    /* Errors: GLIA_ERR_UNSUPPORTED if the device cannot multiply by w. `dtype` is that of the model's
     * matrices that are not quantised. */
    glia_status (*check)(unsigned cpu_flags, const glia_matrix *w, glia_dtype dtype, glia_err *err);

    /* Memory. map() allocates a plan's memory, zeroed, and sets its base to an address of the device. */

    glia_status (*map)(glia_plan *plan, const char *what, glia_err *err);
    void (*unmap)(glia_plan *plan);
    void (*upload)(void *to, const void *from, size_t bytes);
    void (*download)(void *to, const void *from, size_t bytes);

    /* Open a device for a team. `plan` is mapped, and `first` is what plan() returned for an equal shape. s
     * NULL: the device only packs weights. The caller closes the device. Errors: GLIA_ERR_NOMEM. */
    glia_status (*open)(glia_device **out, glia_team *team, unsigned cpu_flags, const glia_device_shape *s,
                        const glia_plan *plan, int first, glia_err *err);
    void (*close)(glia_device *d);

    /* Weights. Any thread may call these; several threads may pack different columns at once. */

    /* The columns [*from, *to) that `thread` of `threads` should be the first to write, so that their pages
     * are in the memory of the NUMA node that reads them. Multiples of GLIA_SWIGLU_GROUP. */
    void (*first_columns)(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads, size_t *from,
                          size_t *to);
    /* The largest magnitude of row [n] of `from` (F32, F16, BF16) at any host address; NaN if a number is NaN
     * or infinite. */
    float (*most)(const glia_device *d, const void *row, glia_dtype from, size_t n);
    /* Rotate row [n] in blocks of `block` elements, as kernel/kernels.h defines it. Host memory. */
    void (*rotate)(const glia_device *d, float *row, size_t n, size_t block);
    /* Write columns [first, first + GLIA_SWIGLU_GROUP) of w; `first` is a multiple of GLIA_SWIGLU_GROUP.
     * Column first + i is row[i], [w->k] numbers of `from` at any host address, rotated if w->rotate says so;
     * row[i] NULL: zeros. scale[i],
     * read for a scaled format, is 0 or a normal number no less than the column's largest magnitude / 127. */
    void (*pack)(const glia_device *d, const glia_matrix *w, size_t first,
                 const void *const row[GLIA_SWIGLU_GROUP], glia_dtype from,
                 const float scale[GLIA_SWIGLU_GROUP]);

    /* The same for a grouped format. Column first + i is row[i], [w->k] codes of one byte each, NULL: zeros;
     * scale[i] and zero[i] (NULL without zero points) are those of its groups. */
    void (*pack_codes)(const glia_device *d, const glia_matrix *w, size_t first,
                       const uint8_t *const row[GLIA_SWIGLU_GROUP],
                       const float *const scale[GLIA_SWIGLU_GROUP],
                       const int8_t *const zero[GLIA_SWIGLU_GROUP]);
    /* Once for a grouped matrix: table [16], the values of C4; order [w->k] if w->inputs is not 0: element i
     * that is multiplied is element order[i] of the row, or 0 if that is -1. */
    void (*set_codes)(const glia_device *d, const glia_matrix *w, const float *table, const int32_t *order);
    /* The order that set_codes() got, of a device with host_memory. w->inputs is not 0. */
    const int32_t *(*order)(const glia_matrix *w);

    /* Operations of a step: see the functions below. */

    void (*embed)(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                  size_t first, const int32_t *token, int m);
    /* NULL: the device has no adapters. */
    void (*adapt_embed)(const glia_device *d, int thread, float *y, size_t ldy, const glia_embed_change *of,
                        const int32_t *place, size_t first, size_t vocab, const int32_t *token, int m);
    void (*select)(const glia_device *d, int thread, float *y, const float *x, size_t ld, const int32_t *row,
                   int n, size_t from, size_t to);
    void (*norm)(const glia_device *d, int thread, float *y, const float *x, size_t ld, int m, size_t n,
                 const float *weight, float eps);
    void (*linear)(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                   const glia_linear_out *out);
    glia_operand (*operand)(const glia_device *d, const glia_matrix *w, size_t m, void *memory);
    void (*prepare)(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                    const glia_operand *to);
    void (*multiply)(const glia_device *d, int thread, const glia_operand *o, int m, const glia_matrix *w,
                     const glia_linear_out *out);
    void (*attention)(const glia_device *d, int thread, const glia_attended *out, const glia_qkv *x,
                      const glia_rows *rows, const glia_rows *stored, const glia_heads *h,
                      const glia_kv_layer *kv);
    void (*merge)(const glia_device *d, int thread, const glia_activation *o, char *states, int blocks, int n,
                  int heads, size_t head_dim);
    void (*copy_kv)(const glia_device *d, const glia_kv_layer *kv, int to_block, int to_at, int from_block,
                    int from_at);

    /* Measure what this team's threads can do at most. `memory` [bytes] is device memory to read. */
    void (*measure)(const glia_device *d, const void *memory, size_t bytes, glia_ceilings *c);
};

/* The CPU: packed panels, and kernels chosen by the instruction sets of `cpu_flags` (base/cpu.h). */
extern const glia_device_ops glia_cpu;

/* ---- operations, by every thread of the team -------------------------------- */

/* Wait until every thread of the team is here. */
static inline void glia_device_barrier(const glia_device *d) { glia_team_barrier(d->team); }

/* y[i] = row token[i] - first of the embedding `table`, or all -0.0, which changes no sum, if the table has
 * no such row. Rows of y [m] are ldy floats apart. */
static inline void glia_device_embed(const glia_device *d, int thread, float *y, size_t ldy,
                                     const glia_matrix *table, size_t first, const int32_t *token, int m) {
    d->ops->embed(d, thread, y, ldy, table, first, token, m);
}

/* Change the rows y of glia_device_embed() as the adapters of their places say: place [m], -1: none. The rank
 * has tokens [first, first + vocab). No barrier is needed after glia_device_embed(). */
static inline void glia_device_adapt_embed(const glia_device *d, int thread, float *y, size_t ldy,
                                           const glia_embed_change *of, const int32_t *place, size_t first,
                                           size_t vocab, const int32_t *token, int m) {
    d->ops->adapt_embed(d, thread, y, ldy, of, place, first, vocab, token, m);
}

/* y[i] = row row[i] of x, or all -0.0 if row[i] is outside [from, to). Rows of x and of y [n] have ld floats
 * and are ld floats apart. */
static inline void glia_device_select(const glia_device *d, int thread, float *y, const float *x, size_t ld,
                                      const int32_t *row, int n, size_t from, size_t to) {
    d->ops->select(d, thread, y, x, ld, row, n, from, to);
}

/* y = RMSNorm of x, both [m, n] with rows ld floats apart; y may be x. */
static inline void glia_device_norm(const glia_device *d, int thread, float *y, const float *x, size_t ld,
                                    int m, size_t n, const float *weight, float eps) {
    d->ops->norm(d, thread, y, x, ld, m, n, weight, eps);
}

/* Multiply the rows of `in` by w and write `out`. A barrier may be inside. */
static inline void glia_device_linear(const glia_device *d, int thread, const glia_linear_in *in,
                                      const glia_matrix *w, const glia_linear_out *out) {
    d->ops->linear(d, thread, in, w, out);
}

/* The two halves of glia_device_linear() prepare rows, then multiply them. This function says where m rows
 * for w are to be written. memory: host memory, for a collective; NULL: the device's own buffers. */
static inline glia_operand glia_device_operand(const glia_device *d, const glia_matrix *w, size_t m,
                                               void *memory) {
    return d->ops->operand(d, w, m, memory);
}
/* Write the rows of `in`, normed and converted for w, to the operand. Each thread writes a share of them. */
static inline void glia_device_prepare(const glia_device *d, int thread, const glia_linear_in *in,
                                       const glia_matrix *w, const glia_operand *to) {
    d->ops->prepare(d, thread, in, w, to);
}
/* Multiply the operand's m rows by w and write `out`. */
static inline void glia_device_multiply(const glia_device *d, int thread, const glia_operand *o, int m,
                                        const glia_matrix *w, const glia_linear_out *out) {
    d->ops->multiply(d, thread, o, m, w, out);
}

/* Norm and rotate q and k, store k and v of the rows `stored` in the cache, and compute softmax attention of
 * the rows' q over the cache. The order of additions is a function of absolute positions alone; in flash
 * decoding, of the positions that the rank holds. Barriers may be inside: after the cache is stored, and
 * before threads merge the states of one row. */
static inline void glia_device_attention(const glia_device *d, int thread, const glia_attended *out,
                                         const glia_qkv *x, const glia_rows *rows, const glia_rows *stored,
                                         const glia_heads *h, const glia_kv_layer *kv) {
    d->ops->attention(d, thread, out, x, rows, stored, h, kv);
}

/* o [n, heads * head_dim] = the merged states of `blocks` members. A block is the states of n rows for each
 * of `heads` heads; blocks are consecutive and merged in their order. The states of the first block are
 * overwritten. */
static inline void glia_device_merge(const glia_device *d, int thread, const glia_activation *o, char *states,
                                     int blocks, int n, int heads, size_t head_dim) {
    d->ops->merge(d, thread, o, states, blocks, n, heads, head_dim);
}

/* Copy one position of one layer, all KV heads, to another block or position. One thread calls it. */
static inline void glia_device_copy_kv(const glia_device *d, const glia_kv_layer *kv, int to_block, int to_at,
                                       int from_block, int from_at) {
    d->ops->copy_kv(d, kv, to_block, to_at, from_block, from_at);
}

#endif
