/* torch_file.h - a state dict that torch.save() wrote: `pytorch_model.bin`, `medusa_lm_head.pt`.
 *
 * The file is a zip archive without compression. Its entry data.pkl is a pickle that
 * describes a dictionary of tensors, and an entry data/KEY holds the numbers of a
 * storage. The reader runs no code of the pickle: it knows the few calls that build
 * tensors and refuses every other call.
 * Source: torch/serialization.py, Python's pickletools.py, APPNOTE.TXT of PKWARE. */
#ifndef GLIA_FORMAT_TORCH_FILE_H
#define GLIA_FORMAT_TORCH_FILE_H

#include "format/safetensors.h"

typedef struct {
    glia_tensor_view *tensor; /* [n] in the order of the dictionary */
    size_t n;
    glia_map map; /* of glia_torch_file_open() */
    char *names;  /* owns every name */
} glia_torch_file;

/* Map `path` and check it completely, as far as its tensors go. On success the caller must call
 * glia_torch_file_close(), which invalidates all views. On failure *f is zeroed.
 * Errors: GLIA_ERR_IO           the file cannot be opened or mapped
 *         GLIA_ERR_FORMAT       no such archive or pickle, a tensor outside its storage
 *         GLIA_ERR_UNSUPPORTED  compression, big-endian numbers, a call that builds something else, a
 *                               tensor that is not contiguous or of another dtype
 *         GLIA_ERR_LIMIT        a tensor of more than 8 dimensions; GLIA_ERR_NOMEM */
glia_status glia_torch_file_open(glia_torch_file *f, const char *path, glia_err *err);

/* The same for `len` bytes in memory, which must outlive *f. */
glia_status glia_torch_file_parse(glia_torch_file *f, const void *bytes, size_t len, const char *where,
                                  glia_err *err);

/* A zeroed or already closed *f is allowed. */
void glia_torch_file_close(glia_torch_file *f);

#endif
