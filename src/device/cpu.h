/* cpu.h - declarations that the files of the CPU device share. Only they and tests
 * include this file.
 *
 * Matrices are packed panels (kernel/kernels.h). If the rung multiplies bfloat16
 * rows (`narrow`), GLIA_INPUT rows are bfloat16 with zeros up to a multiple of 32
 * columns; else they are float32. On a narrow rung, more than GLIA_FEW_ROWS rows of
 * GLIA_INPUT or GLIA_HEADS are stored in steps, as tiles are loaded and stored: the
 * first 32 columns of all rows, then the next 32. */
#ifndef GLIA_DEVICE_CPU_H
#define GLIA_DEVICE_CPU_H

#include <string.h>

#include "device/device.h"
#include "kernel/kernels.h"

enum { GLIA_FEW_ROWS = 4 }; /* with at most this many rows, each thread prepares all of them: no barrier */

/* Buffers for adapters. */
typedef struct {
    float *rows; /* x A^T: two buffers [max_rows, ld] */
    size_t ld;   /* floats from row to row; 0: no adapters */
    size_t max_rows;
    float *scratch;  /* [threads, 3, GLIA_LORA_SCRATCH] floats */
    unsigned *turns; /* [threads, 16] how often the thread has used `rows` */
} glia_cpu_lora;
enum { GLIA_LORA_SCRATCH = 1 << 16 };

typedef struct {
    glia_device base; /* first, so that pointers to both are equal */
    glia_kernels k;
    bool narrow;   /* kernels multiply bfloat16 rows */
    char *scratch; /* [threads, scratch_bytes] */
    size_t scratch_bytes;
    float *operand;    /* glia_cpu_operand_rows() rows of floats for a product, of the widest such product */
    int8_t *rows_i8;   /* as many int8 rows, if a matrix has quantize_rows */
    float *rows_scale; /* a scale for each int8 row */
    glia_cpu_lora lora;
} glia_cpu_device;

static inline const glia_cpu_device *glia_cpu_of(const glia_device *d) {
    return (const glia_cpu_device *)(const void *)d;
}

/* ---- layouts ---------------------------------------------------------------- */

/* Columns 32 s to 32 s + 31 of row i begin i * ld + s * step floats from the rows' address. */
typedef struct {
    size_t ld, step;
} glia_layout;

/* n, or the next odd number. If steps are an odd distance apart, few of them fall into one cache set. */
static inline size_t glia_odd(size_t n) { return n | 1; }

/* Floats from row to row of n floats: whole steps of 32, so that any layout of m rows fits in m strides, and
 * an odd number of cache lines, so that the same column of many rows does not fall into one set of a cache.
 */
static inline size_t glia_row_stride(size_t n) { return ((n + 31) / 32 * 2 + 1) * GLIA_PANEL; }
/* Bytes from row to row of k int8, likewise an odd number of cache lines. */
static inline size_t glia_i8_stride(size_t k) { return glia_odd((k + 63) / 64) * 64; }

/* The layout of the rows of `x`, which fills no more than m strides. */
static inline glia_layout glia_layout_of(const glia_cpu_device *d, const glia_activation *x) {
    const bool steps = d->narrow && x->m > GLIA_FEW_ROWS;
    if (x->form == GLIA_INPUT) {
        enum { STEP = 16 }; /* floats of 32 bfloat16 */
        return steps ? (glia_layout){STEP, glia_odd(x->m) * STEP} : (glia_layout){x->stride, STEP};
    }
    enum { STEP = 32 };
    return steps && x->form == GLIA_HEADS ? (glia_layout){STEP, x->m * STEP} : (glia_layout){x->stride, STEP};
}

/* Zero a narrow row from column n to the end of the column's step. Steps are `step` bytes apart. */
static inline void glia_fill_step(char *row, size_t step, size_t n) {
    enum { STEP = 32 };
    if (n % STEP) memset(row + n / STEP * step + n % STEP * 2, 0, (STEP - n % STEP) * 2);
}

static inline char *glia_scratch_of(const glia_cpu_device *d, int thread) {
    return d->scratch + (size_t)thread * d->scratch_bytes;
}

/* What lies at w->scale of a grouped matrix, after the scales [panels, groups, 16]. */
typedef struct {
    size_t groups, bytes; /* bytes: of all */
    int8_t *zero;         /* shaped as the scales, or NULL */
    float *table;         /* [16] */
    int32_t *order;       /* [w->k] or NULL */
} glia_cpu_codes;
glia_cpu_codes glia_cpu_codes_of(const glia_matrix *w);

/* ---- entries of the table that are in files of their own -------------------- */

/* cpu_linear.c */
/* Rows of the operand buffers: for all threads together, then for each thread alone. */
size_t glia_cpu_operand_rows(size_t max_rows, int threads);
void glia_cpu_linear(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                     const glia_linear_out *out);
glia_operand glia_cpu_operand(const glia_device *d, const glia_matrix *w, size_t m, void *memory);
void glia_cpu_prepare(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                      const glia_operand *to);
void glia_cpu_multiply(const glia_device *d, int thread, const glia_operand *o, int m, const glia_matrix *w,
                       const glia_linear_out *out);
void glia_cpu_first_columns(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads,
                            size_t *from, size_t *to);
/* The kernels that multiply rows, as the device prepares them for w, by w. */
const glia_gemm_kernel *glia_cpu_gemm(const glia_cpu_device *d, const glia_matrix *w);
/* Run the kernel that stores sums, scaled by their rows if these are integers. */
void glia_cpu_store(const glia_cpu_device *d, const glia_matrix *w, const glia_gemm *g);

/* cpu_lora.c */
/* Add the buffers for adapters to the plan. Returns the index of the first region. */
int glia_cpu_lora_plan(glia_plan *p, const glia_device_shape *s);
void glia_cpu_lora_open(glia_cpu_lora *l, const glia_plan *p, int first, const glia_device_shape *s);
/* Compute the rows x A^T of a product of m rows; x are rows for glia_lora_matrix(). Every thread calls it. A
 * barrier is inside. Returns the address of row 0. */
const float *glia_cpu_lora_down(const glia_cpu_device *d, int thread, const glia_operand *x,
                                const glia_adapted *a);
/* What is added to rows [row, row + m) of the panels [first, first + n) of w: floats [m, n * 16], in the
 * thread's memory. m * n * 16 <= GLIA_LORA_SCRATCH. o: rows for w; t: of glia_cpu_lora_down(). */
const float *glia_cpu_lora_up(const glia_cpu_device *d, int thread, const glia_operand *o,
                              const glia_matrix *w, const glia_adapted *a, const float *t, size_t row,
                              size_t m, size_t first, size_t n);
void glia_cpu_adapt_embed(const glia_device *device, int thread, float *y, size_t ldy,
                          const glia_embed_change *of, const int32_t *place, size_t first, size_t vocab,
                          const int32_t *token, int m);
/* cpu_linear.c, for cpu_lora.c: the arguments of a kernel for rows [row, row + m) of o and panels [first,
 * first + n) of w. */
glia_gemm glia_cpu_gemm_of(const glia_operand *o, const glia_matrix *w, size_t row, size_t m, size_t first,
                           size_t n);

/* cpu_attention.c */
size_t glia_cpu_attention_scratch_bytes(const glia_device_shape *s);
size_t glia_cpu_kv_block_bytes(const glia_kv_layer *kv);
size_t glia_cpu_states_bytes(size_t n, size_t head_dim);
void glia_cpu_attention(const glia_device *d, int thread, const glia_attended *out, const glia_qkv *x,
                        const glia_rows *rows, const glia_rows *stored, const glia_heads *h,
                        const glia_kv_layer *kv);
void glia_cpu_merge(const glia_device *d, int thread, const glia_activation *o, char *states, int blocks,
                    int n, int heads, size_t head_dim);
void glia_cpu_copy_kv(const glia_device *d, const glia_kv_layer *kv, int to_block, int to_at, int from_block,
                      int from_at);

/* cpu_ceilings.c */
void glia_cpu_measure(const glia_device *d, const void *memory, size_t bytes, glia_ceilings *c);

#endif
