/* safetensors.h - one .safetensors file: mapped and completely checked, or written.
 *
 * Layout: u64 little-endian header length N, N bytes of JSON, then tensor bytes.
 * The JSON maps each name to dtype, shape and data_offsets [begin, end) within
 * the tensor bytes. The tensors cover the tensor bytes without overlap or hole.
 * __metadata__ maps strings to strings. Opening a file checks all of this, so a
 * view needs no second check.
 * Source: the Format section of the safetensors README, and its Rust crate. */
#ifndef GLIA_FORMAT_SAFETENSORS_H
#define GLIA_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/map.h"

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

/* The name in the file format: "BF16". */
const char *glia_tensor_dtype_name(glia_tensor_dtype dtype);

typedef struct {
    const char *name; /* UTF-8, NUL-terminated */
    glia_tensor_dtype dtype;
    int n_dims; /* 0 for a scalar */
    int64_t shape[GLIA_TENSOR_DIMS_MAX];
    const void *data; /* row-major, little-endian; NOT aligned: read it with memcpy */
    size_t bytes;     /* product of shape * size of dtype */
    int file;         /* index of the file in a checkpoint; 0 for a single file */
} glia_tensor_view;

/* Compute the bytes of a tensor. Returns false if its number of bits overflows 64
 * bits or is not a multiple of 8 (F4 and F6 pack elements across bytes). */
bool glia_tensor_bytes(glia_tensor_dtype dtype, const int64_t *shape, int n_dims, size_t *bytes);

/* Write the shape into buf as "[151936, 1024]", for messages. Returns buf. */
const char *glia_tensor_shape(const glia_tensor_view *t, char *buf, size_t size);

/* GLIA_ERR_UNSUPPORTED unless the dtype is F64, F32, F16 or BF16. */
glia_status glia_tensor_check_weight(const glia_tensor_view *t, const char *where, glia_err *err);

typedef struct {
    glia_tensor_view *tensor; /* [n] sorted by offset */
    size_t n;
    glia_map map;        /* of glia_safetensors_open() */
    char *owned;         /* of glia_safetensors_read() */
    const void *bytes;   /* the whole file */
    size_t header_bytes; /* offset of the tensor bytes in the file */
    json_t *metadata;    /* __metadata__, an object of strings; NULL: none */
    char *names;         /* owns every name */
} glia_safetensors;

/* Map `path` and check it completely. On success the caller must call
 * glia_safetensors_close(), which invalidates all views. On failure *st is zeroed.
 * Errors: GLIA_ERR_IO      the file cannot be opened or mapped
 *         GLIA_ERR_FORMAT  the file breaks a rule above; the message has the tensor or the byte
 *         GLIA_ERR_LIMIT   a header over 100 MB, a tensor of more than 8 dimensions */
glia_status glia_safetensors_open(glia_safetensors *st, const char *path, glia_err *err);

/* The same for `len` bytes in memory, which must outlive *st. */
glia_status glia_safetensors_parse(glia_safetensors *st, const void *bytes, size_t len, const char *where,
                                   glia_err *err);

/* The same, with the file read into memory instead of mapped. A change of the file changes no view. */
glia_status glia_safetensors_read(glia_safetensors *st, const char *path, glia_err *err);

/* A zeroed or already closed *st is allowed. */
void glia_safetensors_close(glia_safetensors *st);

/* ---- writing --------------------------------------------------------------- */

typedef struct {
    const char *name;
    glia_tensor_dtype dtype;
    int n_dims;
    int64_t shape[GLIA_TENSOR_DIMS_MAX];
} glia_tensor_spec;

typedef struct glia_safetensors_writer glia_safetensors_writer;

/* The key of __metadata__ that says that Glia wrote a file. */
#define GLIA_SAFETENSORS_OURS "glia_version"

/* Begin a file: write its header; the tensor bytes follow by
 * glia_safetensors_append(). All bytes go to "PATH.tmp-ID", a new name, which is
 * renamed at the end, so PATH is always the old file or the complete new one.
 * __metadata__ is {"format": "pt", GLIA_SAFETENSORS_OURS: the version of Glia}. On
 * success the caller owns *out and must end it by glia_safetensors_finish() or
 * glia_safetensors_abandon().
 * Errors: GLIA_ERR_IO (also if PATH exists and is not a regular file),
 * GLIA_ERR_NOMEM. Asserts: names are unique and not empty, and each tensor has a
 * whole number of bytes. */
glia_status glia_safetensors_create(glia_safetensors_writer **out, const char *path,
                                    const glia_tensor_spec *tensors, size_t n, glia_err *err);

/* The same for a file that must not exist yet and has its name from the beginning, in a directory that is
 * itself unfinished, and with other metadata. `metadata` is an object of
 * strings and stays the caller's. The header is padded so that the tensor bytes
 * begin at a multiple of `align`. *header_hash (may be NULL) gets glia_hash() of
 * all bytes before the tensor bytes. */
glia_status glia_safetensors_create_with(glia_safetensors_writer **out, const char *path,
                                         const glia_tensor_spec *tensors, size_t n, json_t *metadata,
                                         size_t align, uint64_t *header_hash, glia_err *err);

/* Append `n` tensor bytes. The bytes of all calls together are the tensors in the
 * order declared; a call may end anywhere in a tensor. The message of GLIA_ERR_IO
 * has the byte where writing failed. Asserts: no more bytes than declared. */
glia_status glia_safetensors_append(glia_safetensors_writer *w, const void *bytes, size_t n, glia_err *err);

/* Flush to the disk and rename to PATH. Frees w, also on failure; after a failure
 * no temporary file is left. Errors: GLIA_ERR_SHAPE if fewer bytes were appended
 * than declared, GLIA_ERR_IO. */
glia_status glia_safetensors_finish(glia_safetensors_writer *w, glia_err *err);

/* Delete the temporary file and free w. NULL is allowed. */
void glia_safetensors_abandon(glia_safetensors_writer *w);

#endif
