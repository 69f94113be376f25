/* checkpoint.h - all tensors of a model directory, single file or sharded.
 *
 * `model.safetensors`, or the shards that `model.safetensors.index.json` names;
 * where both exist the single file counts, as in transformers. Index and shards
 * must agree on every tensor. */
#ifndef GLIA_FORMAT_CHECKPOINT_H
#define GLIA_FORMAT_CHECKPOINT_H

#include "format/safetensors.h"

typedef struct {
    glia_tensor_view *tensor; /* [n] in the order of files and of bytes within them */
    size_t n;
    size_t bytes; /* of all tensors */
    glia_safetensors *file;
    char **path; /* [n_files] */
    int n_files;
    const glia_tensor_view **by_name; /* [n] sorted */
} glia_checkpoint;

/* Map and check all files; reads headers only. On success the caller must
 * glia_checkpoint_close(); on failure *c is zeroed.
 * Errors: GLIA_ERR_IO      no weights (saying what is there instead), a shard is missing
 *         GLIA_ERR_FORMAT  an index or a file is broken, or they disagree
 *         GLIA_ERR_LIMIT   as of glia_safetensors_open() */
glia_status glia_checkpoint_open(glia_checkpoint *c, const char *dir, glia_err *err);
void glia_checkpoint_close(glia_checkpoint *c);

/* NULL when there is no such tensor. The view is an element of c->tensor, so
 * `view - c->tensor` numbers it. */
const glia_tensor_view *glia_checkpoint_find(const glia_checkpoint *c, const char *name);

/* The tensor's bytes were read for the last time: they stop counting as resident. */
void glia_checkpoint_drop(const glia_checkpoint *c, const glia_tensor_view *t);

#endif
