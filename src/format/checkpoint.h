/* checkpoint.h - all tensors of a model directory, single file or sharded.
 *
 * The tensors are in `model.safetensors`, or in the shards that
 * `model.safetensors.index.json` names. If both exist, the single file wins, as
 * in transformers. A tensor that the index names must be in a shard, and no tensor
 * may be in two. Tensors that the index does not name are read, too. */
#ifndef GLIA_FORMAT_CHECKPOINT_H
#define GLIA_FORMAT_CHECKPOINT_H

#include "format/safetensors.h"

typedef struct {
    glia_tensor_view *tensor; /* [n] sorted by file, then by offset in the file */
    size_t n;
    size_t bytes; /* sum over all tensors */
    bool bare;    /* tensor names lack the prefix "model.", as in Qwen3-Embedding */
    glia_safetensors *file;
    char **path; /* [n_files] */
    int n_files;
    const glia_tensor_view **by_name; /* [n] sorted by name */
} glia_checkpoint;

/* Map and check all files; only headers are read. On success the caller must
 * call glia_checkpoint_close(); on failure *c is zeroed.
 * Errors: GLIA_ERR_IO      there are no weights (the message says what is there
 *                          instead), or a shard is missing
 *         GLIA_ERR_FORMAT  an index or a file is broken, or they disagree
 *         GLIA_ERR_LIMIT   a limit of glia_safetensors_open() */
glia_status glia_checkpoint_open(glia_checkpoint *c, const char *dir, glia_err *err);
void glia_checkpoint_close(glia_checkpoint *c);

/* Fail if a file has changed since it was opened, so that what was read of it may be wrong.
 * Errors: GLIA_ERR_IO, as of glia_map_check(). */
glia_status glia_checkpoint_check(const glia_checkpoint *c, glia_err *err);

/* The tensor stored under `name`, NULL if there is none. The view is an element
 * of c->tensor, so its index is `view - c->tensor`. */
const glia_tensor_view *glia_checkpoint_find(const glia_checkpoint *c, const char *name);

/* The name under which this checkpoint stores the weight `name`: without the
 * prefix "model." if c->bare, or if the weight is only there without it. The
 * result points into `name`. */
const char *glia_checkpoint_stored_name(const glia_checkpoint *c, const char *name);

/* Let the operating system drop the tensor's resident pages. The view stays valid; a
 * later read fetches the bytes from the file again. */
void glia_checkpoint_drop(const glia_checkpoint *c, const glia_tensor_view *t);

/* Is `dir` an artifact of `glia compile`: has it the name weights, and no checkpoint? */
bool glia_artifact_in(const char *dir);

#endif
