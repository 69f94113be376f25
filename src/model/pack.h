/* pack.h - rows of numbers into matrices as the device multiplies them.
 *
 * This is the only file of the model that knows how a device stores a matrix
 * and that calls its kernels. All functions are pure or write only the columns
 * they name, so threads may pack different columns of a matrix at once. */
#ifndef GLIA_MODEL_PACK_H
#define GLIA_MODEL_PACK_H

#include "device/device.h"
#include "format/safetensors.h"

/* Columns that are packed at once. A matrix's memory holds a multiple of them, zeros past its last
 * column. The columns of a matrix for SwiGLU alternate: this many of gate, then as many of up. */
enum { GLIA_PACK_COLUMNS = 16 };

/* `columns` rounded up to a multiple of GLIA_PACK_COLUMNS. */
size_t glia_pack_width(size_t columns);
/* Bytes of a matrix's numbers, and of its scales: 0 where its format has none. Pointers of *m are not read.
 */
size_t glia_pack_bytes(const glia_matrix *m);
size_t glia_pack_scale_bytes(const glia_matrix *m);
/* A matrix's numbers as a tensor of a safetensors file: dtype and 4 dimensions. */
void glia_pack_tensor(glia_tensor_spec *t, const glia_matrix *m);

/* The columns [*from, *to) that `thread` of `threads` writes first, so that they lie in the memory of the
 * thread that will read them: both are multiples of GLIA_PACK_COLUMNS. `swiglu`: for a matrix whose columns
 * alternate. */
void glia_pack_range(size_t *from, size_t *to, const glia_matrix *m, bool swiglu, int thread, int threads);

typedef struct {
    glia_kernels kernels;
} glia_packer;
void glia_packer_init(glia_packer *p, unsigned cpu_flags);

/* The largest magnitude of n numbers of dtype `from` (F32, F16, BF16) at any address; NaN if one of them is
 * NaN or infinite. */
float glia_pack_most(const glia_packer *p, const void *row, glia_dtype from, size_t n);

/* Write columns [first, first + GLIA_PACK_COLUMNS) of m and their scales; `first` is a multiple of
 * GLIA_PACK_COLUMNS.
 *   row   [GLIA_PACK_COLUMNS] column first + i is row[i]: [m->k] numbers of `from` at any address; NULL:
 * zeros most  [GLIA_PACK_COLUMNS] read only where m has scales: the largest finite magnitude of the numbers
 * that share the column's scale */
void glia_pack(const glia_packer *p, const glia_matrix *m, size_t first,
               const void *const row[GLIA_PACK_COLUMNS], glia_dtype from,
               const float most[GLIA_PACK_COLUMNS]);

#endif
