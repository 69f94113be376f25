/* safetensors.h - one .safetensors file: mapped and completely checked, or written.
 *
 * Layout: u64 little-endian header length N, N bytes of JSON, then tensor bytes.
 * The JSON maps each name to dtype, shape and data_offsets [begin, end) within
 * the tensor bytes, which the tensors cover without overlap or hole;
 * __metadata__ maps strings to strings. A file that breaks any of this is
 * refused when it is opened, so a view needs no second check.
 * Source: the Format section of the safetensors README, and its Rust crate. */
#ifndef GLIA_FORMAT_SAFETENSORS_H
#define GLIA_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/file.h"

enum { GLIA_TENSOR_DIMS_MAX = 8, GLIA_SAFETENSORS_HEADER_MAX = 100000000 };

typedef enum {
    GLIA_TENSOR_BOOL,
    GLIA_TENSOR_F4,
    GLIA_TENSOR_F6_E2M3,
    GLIA_TENSOR_F6_E3M2,
    GLIA_TENSOR_U8,
    GLIA_TENSOR_I8,
    GLIA_TENSOR_F8_E5M2,
    GLIA_TENSOR_F8_E4M3,
    GLIA_TENSOR_F8_E8M0,
    GLIA_TENSOR_F8_E4M3FNUZ,
    GLIA_TENSOR_F8_E5M2FNUZ,
    GLIA_TENSOR_I16,
    GLIA_TENSOR_U16,
    GLIA_TENSOR_F16,
    GLIA_TENSOR_BF16,
    GLIA_TENSOR_I32,
    GLIA_TENSOR_U32,
    GLIA_TENSOR_F32,
    GLIA_TENSOR_C64,
    GLIA_TENSOR_F64,
    GLIA_TENSOR_I64,
    GLIA_TENSOR_U64,
    GLIA_TENSOR_DTYPES,
} glia_tensor_dtype;

/* The format's name, as "BF16". */
const char *glia_tensor_dtype_name(glia_tensor_dtype dtype);

typedef struct {
    const char *name; /* UTF-8, NUL-terminated */
    glia_tensor_dtype dtype;
    int n_dims; /* 0 for a scalar */
    int64_t shape[GLIA_TENSOR_DIMS_MAX];
    const void *data; /* row-major, little-endian; NOT aligned: read it with memcpy */
    size_t bytes;     /* product of shape * size of dtype */
    int file;         /* which file of a checkpoint; 0 in a single one */
} glia_tensor_view;

/* Bytes of a tensor; false where 64 bits cannot count its bits, or they are no
 * whole number of bytes (F4 and F6 pack elements across bytes). */
bool glia_tensor_bytes(glia_tensor_dtype dtype, const int64_t *shape, int n_dims, size_t *bytes);

/* "[151936, 1024]" in buf, for messages. Returns buf. */
const char *glia_tensor_shape(const glia_tensor_view *t, char *buf, size_t size);

/* GLIA_ERR_UNSUPPORTED unless the dtype is one that weights may have: F32, F16, BF16. */
glia_status glia_tensor_check_weight(const glia_tensor_view *t, const char *where, glia_err *err);

typedef struct {
    glia_tensor_view *tensor; /* [n] in the order of their bytes */
    size_t n;
    glia_map map;
    size_t header_bytes; /* of the file, before the tensors' */
    json_t *metadata;    /* __metadata__, an object of strings; NULL: there is none */
    char *names;         /* owns every name */
} glia_safetensors;

/* Map `path` and check it completely. On success the caller must
 * glia_safetensors_close() it; views die then. On failure *st is zeroed.
 * Errors: GLIA_ERR_IO      the file cannot be opened or mapped
 *         GLIA_ERR_FORMAT  it breaks a rule above; the message has the tensor or the byte
 *         GLIA_ERR_LIMIT   a header over 100 MB, a tensor of more than 8 dimensions */
glia_status glia_safetensors_open(glia_safetensors *st, const char *path, glia_err *err);

/* The same for `len` bytes in memory, which must outlive *st. */
glia_status glia_safetensors_parse(glia_safetensors *st, const void *bytes, size_t len, const char *where,
                                   glia_err *err);

/* A zeroed or already closed *st is fine. */
void glia_safetensors_close(glia_safetensors *st);

/* ---- writing --------------------------------------------------------------- */

typedef struct {
    const char *name;
    glia_tensor_dtype dtype;
    int n_dims;
    int64_t shape[GLIA_TENSOR_DIMS_MAX];
} glia_tensor_spec;

typedef struct glia_safetensors_writer glia_safetensors_writer;

/* Begin a file whose tensors are known and whose bytes follow. They go to
 * "PATH.tmp-PID" until the end, so PATH is the old file or the whole new one.
 * Every dtype of whole bytes can be written. On success the caller owns *out
 * and ends it by glia_safetensors_finish() or glia_safetensors_abandon().
 * Errors: GLIA_ERR_IO (also where PATH exists and is no regular file),
 * GLIA_ERR_NOMEM. Duplicate or empty names and bad shapes are asserts. */
glia_status glia_safetensors_create(glia_safetensors_writer **out, const char *path,
                                    const glia_tensor_spec *tensors, size_t n, glia_err *err);

/* The same with `metadata` (an object of strings; the caller's) instead of
 * {"format": "pt"}, and a header padded so that the tensors' bytes begin at a
 * multiple of `align`. *header_hash, which may be NULL: glia_hash() of all bytes before them. */
glia_status glia_safetensors_create_with(glia_safetensors_writer **out, const char *path,
                                         const glia_tensor_spec *tensors, size_t n, json_t *metadata,
                                         size_t align, uint64_t *header_hash, glia_err *err);

/* The next `n` bytes, tensor after tensor in the order declared; a call may end
 * anywhere. GLIA_ERR_IO names the byte where the disk was full. More bytes than
 * declared is an assert. */
glia_status glia_safetensors_append(glia_safetensors_writer *w, const void *bytes, size_t n, glia_err *err);

/* All bytes are there: flush to the disk and rename. Frees w, also on failure,
 * when no file is left behind. Fewer bytes than declared is GLIA_ERR_SHAPE. */
glia_status glia_safetensors_finish(glia_safetensors_writer *w, glia_err *err);

/* Leave no file. NULL is fine. */
void glia_safetensors_abandon(glia_safetensors_writer *w);

#endif
