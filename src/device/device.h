/* device.h - the seam that every layer calls: a device's memory and the operations
 * of a forward pass.
 *
 * A kind of device is a table of functions (glia_device_ops); glia_cpu is the one
 * that programs use. How a matrix, a cache block or rows between two operations
 * are stored is the device's private matter.
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
 * arguments and their own `thread` number. An operation does a part of the work
 * and returns without waiting. Where a later operation reads what other threads
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
    GLIA_INPUT, /* what a linear layer reads without a norm: written by attention and by GLIA_SWIGLU */
    GLIA_HEADS, /* q, k and v that attention alone reads */
} glia_form;

/* Rows of activations in device memory. */
typedef struct {
    float *at;
    size_t m;      /* rows: where a row lies may depend on how many there are */
    size_t stride; /* floats of memory for each row; of GLIA_PLAIN the distance from row to row. At least
                      the stride() of the rows' width */
    glia_form form;
} glia_activation;

/* A linear layer's weight [columns, k] in device memory. */
typedef struct {
    void *data;
    glia_weight_format format;
    size_t columns, k;
    float *scale;       /* where the format is scaled, else NULL */
    bool quantize_rows; /* rows become int8 before they are multiplied (w8a8) */
} glia_matrix;

/* Rows that enter a linear layer. */
typedef struct {
    glia_activation x; /* GLIA_PLAIN with a norm, else GLIA_INPUT */
    int m;
    const int32_t *row; /* with a norm: row i is x[row[i]]; NULL: x[i]. Host memory */
    const float *norm;  /* [k] weights of an RMSNorm that the rows pass first, or NULL */
    float eps;
} glia_linear_in;

/* Where a linear layer's result goes. */
typedef struct {
    glia_epilogue epilogue;
    glia_activation y; /* GLIA_SWIGLU: GLIA_INPUT; GLIA_ADD: GLIA_PLAIN. Floats between a row's width and the
                          columns() of it may be written and mean nothing */
    const float *bias; /* [columns()] or NULL */
    const float *addend; /* [m, columns()] that is added before the epilogue, or NULL */
    size_t ld_addend;    /* floats from row to row of it */
} glia_linear_out;

/* Rows as a product reads them. To a collective they are m rows of `pieces` pieces each: piece p of row i
 * is `row` bytes at x + p * step + i * row. */
typedef struct {
    char *x;
    size_t row, step, pieces;
    float *scale; /* [m] of int8 rows, else NULL */
} glia_operand;

/* One layer's KV cache: blocks of `block_size` positions, each with all KV heads. */
typedef struct {
    char *base;
    glia_dtype dtype; /* F32, BF16, or I8 with a scale for each position and head */
    int block_size, kv_heads, head_dim;
    /* Runs of `unit` positions go to the members in rotation. Block b of a table is stored by member
     * b % members, as its block b / members. members = 1: this rank stores all positions. */
    int members, member, unit;
} glia_kv_layer;

/* Rows of a step, as in layer/batch.h. Host memory. */
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

/* What attention reads: q of the rows that attend, k and v of the rows whose keys and values are to be
 * stored, from columns k and v of a row of `kv` on. */
typedef struct {
    glia_activation q, kv;
    size_t k, v;
    int block_heads; /* heads side by side in a row of q; the next block_heads heads start q_block floats
                        later */
    size_t q_block;
} glia_qkv;

/* Where attention's results go. Without members: into o. With members: softmax states into `states`,
 * states_bytes(block_heads * rows) bytes for each block of heads. */
typedef struct {
    glia_activation o; /* GLIA_INPUT [rows, block_heads * head_dim]; the next block o_block floats later */
    size_t o_block;
    char *states; /* NULL: into o */
    int block_heads;
} glia_attended;

/* What fixes the buffers that a device needs for itself. */
typedef struct {
    int threads, max_rows, sequence_length, head_dim;
    size_t operand_rows; /* rows that are normed at once: max_rows, padding for ranks included */
    size_t hidden;       /* width of the rows that are normed */
    size_t widest;       /* the largest k of a matrix */
    glia_dtype dtype;    /* of weights that are not quantised */
    glia_dtype kv_dtype;
    bool quantize_rows; /* some matrix has quantize_rows */
} glia_device_shape;

/* An operation and the instruction set that it runs on, for people. */
typedef struct {
    const char *name, *rung;
} glia_operation;
enum { GLIA_OPERATIONS_MAX = 16 };

/* ---- a kind of device ------------------------------------------------------- */

typedef struct glia_device_ops glia_device_ops;

/* A device in use by one rank: it belongs to a team of threads. */
typedef struct {
    const glia_device_ops *ops;
    glia_team *team;
    int threads;
} glia_device;

struct glia_device_ops {
    const char *name;
    bool host_memory;              /* the device's memory is the host's: addresses may be read in place */
    int head_dim_max, queries_max; /* queries that share a KV head */

    /* Sizes: pure functions. */

    size_t (*stride)(size_t n);  /* floats of memory for a row of n floats */
    size_t (*columns)(size_t n); /* floats that a product of n columns may write in a row */
    size_t (*matrix_bytes)(const glia_matrix *w);
    size_t (*scale_bytes)(const glia_matrix *w); /* 0: its format has no scales */
    size_t (*kv_block_bytes)(const glia_kv_layer *kv);
    size_t (*states_bytes)(size_t n, size_t head_dim); /* softmax states of n queries */
    /* Add the device's own buffers to the plan; returns the index of the first region. */
    int (*plan)(glia_plan *plan, const glia_device_shape *s);
    /* The shape of a matrix's data as a tensor of a file: up to 4 dimensions. */
    int (*tensor_shape)(int64_t shape[4], const glia_matrix *w);
    /* Operations and their instruction sets with these formats: at most GLIA_OPERATIONS_MAX. */
    int (*describe)(glia_operation *list, unsigned cpu_flags, const glia_matrix *w,
                    const glia_device_shape *s);
    /* Errors: GLIA_ERR_UNSUPPORTED if the device cannot multiply by w. `dtype` is that of the model's
     * matrices that are not quantised. */
    glia_status (*check)(unsigned cpu_flags, const glia_matrix *w, glia_dtype dtype, glia_err *err);

    /* Memory. Map allocates a plan's memory, zeroed; its addresses are the device's. */

    glia_status (*map)(glia_plan *plan, const char *what, glia_err *err);
    void (*unmap)(glia_plan *plan);
    void (*upload)(void *to, const void *from, size_t bytes);
    void (*download)(void *to, const void *from, size_t bytes);

    /* Open a device for a team, and close it. `plan` is mapped; the device's regions in it begin with
     * `first`. s NULL: a device that only packs weights. Errors: GLIA_ERR_NOMEM. */
    glia_status (*open)(glia_device **out, glia_team *team, unsigned cpu_flags, const glia_device_shape *s,
                        const glia_plan *plan, int first, glia_err *err);
    void (*close)(glia_device *d);

    /* Weights. Any thread; different columns at once. */

    /* The columns [*from, *to), multiples of GLIA_SWIGLU_GROUP, that `thread` of `threads` should write
     * first, so that they lie in the memory of the thread that reads them first. */
    void (*first_columns)(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads, size_t *from,
                          size_t *to);
    /* The largest magnitude of n numbers of `from` (F32, F16, BF16) at any host address; NaN if one of them
     * is NaN or infinite. */
    float (*most)(const glia_device *d, const void *row, glia_dtype from, size_t n);
    /* Write columns [first, first + GLIA_SWIGLU_GROUP) of w; `first` is a multiple of it. Column first + i is
     * row[i], [w->k] numbers of `from` at any host address, or zeros where row[i] is NULL. A scaled format
     * has scale[i] for each: 0 or a normal number no less than the column's largest magnitude / 127. */
    void (*pack)(const glia_device *d, const glia_matrix *w, size_t first,
                 const void *const row[GLIA_SWIGLU_GROUP], glia_dtype from,
                 const float scale[GLIA_SWIGLU_GROUP]);

    /* Operations of a step. See the functions below. */

    void (*embed)(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                  size_t first, const int32_t *token, int m);
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

    /* What the machine can do at most, by the threads of this team; the weights' memory is read. */
    void (*measure)(const glia_device *d, const void *memory, size_t bytes, glia_ceilings *c);
};

/* The CPU: packed panels, and kernels chosen by the instruction sets of `cpu_flags` (base/cpu.h). */
extern const glia_device_ops glia_cpu;

/* ---- operations, by every thread of the team -------------------------------- */

/* Every thread of the team has come here. */
static inline void glia_device_barrier(const glia_device *d) { glia_team_barrier(d->team); }

/* y[i] = row token[i] - first of the embedding `table` [rows, hidden], rows ldy floats apart; -0.0, which
 * changes no sum, where the table has no such row. */
static inline void glia_device_embed(const glia_device *d, int thread, float *y, size_t ldy,
                                     const glia_matrix *table, size_t first, const int32_t *token, int m) {
    d->ops->embed(d, thread, y, ldy, table, first, token, m);
}

/* y[i] = row r = row[i] of x where from <= r < to, else -0.0. Rows of both are ld floats, ld apart. */
static inline void glia_device_select(const glia_device *d, int thread, float *y, const float *x, size_t ld,
                                      const int32_t *row, int n, size_t from, size_t to) {
    d->ops->select(d, thread, y, x, ld, row, n, from, to);
}

/* y = RMSNorm of m rows x of n floats, ld floats apart; y may be x. */
static inline void glia_device_norm(const glia_device *d, int thread, float *y, const float *x, size_t ld,
                                    int m, size_t n, const float *weight, float eps) {
    d->ops->norm(d, thread, y, x, ld, m, n, weight, eps);
}

/* out <- rows of `in` through w. With a norm or w->quantize_rows all threads meet in a barrier inside, unless
 * the rows are few and each thread prepares all of them for itself. */
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
/* Norm, narrow or quantise each row of `in` into `to`: a part of the rows by each thread. */
static inline void glia_device_prepare(const glia_device *d, int thread, const glia_linear_in *in,
                                       const glia_matrix *w, const glia_operand *to) {
    d->ops->prepare(d, thread, in, w, to);
}
static inline void glia_device_multiply(const glia_device *d, int thread, const glia_operand *o, int m,
                                        const glia_matrix *w, const glia_linear_out *out) {
    d->ops->multiply(d, thread, o, m, w, out);
}

/* Norm and rotate q and k, store k and v of the rows `stored` in the cache, and attend: softmax
 * attention of the rows' q over the cache. The order of additions is a function of absolute positions alone;
 * with members, of the positions that a member holds. Barriers stand inside, only where a step needs one:
 * between storing and attending where a sequence has more rows than one, or the rows stored are others
 * (stored != rows); and before threads merge what they computed of the same row. */
static inline void glia_device_attention(const glia_device *d, int thread, const glia_attended *out,
                                         const glia_qkv *x, const glia_rows *rows, const glia_rows *stored,
                                         const glia_heads *h, const glia_kv_layer *kv) {
    d->ops->attention(d, thread, out, x, rows, stored, h, kv);
}

/* o [n, heads * head_dim] <- the states of `blocks` members, one behind the other, merged in their order: a
 * block has n rows for each of `heads` heads. The first block's states are lost. */
static inline void glia_device_merge(const glia_device *d, int thread, const glia_activation *o, char *states,
                                     int blocks, int n, int heads, size_t head_dim) {
    d->ops->merge(d, thread, o, states, blocks, n, heads, head_dim);
}

/* Copy one position of one layer, all KV heads, to another place. One thread does it. */
static inline void glia_device_copy_kv(const glia_device *d, const glia_kv_layer *kv, int to_block, int to_at,
                                       int from_block, int from_at) {
    d->ops->copy_kv(d, kv, to_block, to_at, from_block, from_at);
}

#endif
