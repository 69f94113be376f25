/* pickle.h - the pickle of a PyTorch state dict, as a list of named tensors.
 *
 * The reader is a machine with the opcodes that torch.save() uses. A value is an
 * integer, a text, a tuple, a dictionary, a storage or a tensor; anything else has no
 * content. The machine builds nothing else and calls nothing. */
#ifndef GLIA_FORMAT_PICKLE_H
#define GLIA_FORMAT_PICKLE_H

#include "format/safetensors.h"

typedef struct {
    const char *name, *storage; /* into the pickle, not NUL-terminated */
    size_t name_len, storage_len;
    glia_tensor_dtype dtype;
    int64_t offset, elements; /* of the storage: the tensor's first element, and all */
    int n_dims;
    int64_t shape[GLIA_TENSOR_DIMS_MAX], stride[GLIA_TENSOR_DIMS_MAX];
} glia_pickled_tensor;

/* Read `len` bytes. The caller frees *out [*n] with free(); its texts point into `bytes`.
 * Errors: GLIA_ERR_FORMAT with the byte; GLIA_ERR_UNSUPPORTED; GLIA_ERR_LIMIT; GLIA_ERR_NOMEM. */
glia_status glia_pickle_read(glia_pickled_tensor **out, size_t *n, const void *bytes, size_t len,
                             const char *where, glia_err *err);

#endif
