/* head_file.h - the tensors of a draft head's directory, in whichever file they are published. */
#ifndef GLIA_DRAFT_HEAD_FILE_H
#define GLIA_DRAFT_HEAD_FILE_H

#include "format/checkpoint.h"
#include "format/torch_file.h"

typedef struct {
    char *dir;
    glia_checkpoint checkpoint;
    glia_safetensors single;
    glia_torch_file torch;
    const glia_tensor_view *tensor; /* [n] of one of these three */
    size_t n;
    bool *used; /* [n] was the tensor found? */
} glia_head_file;

/* Names of the files that hold Medusa heads beside a model's; NULL ends the list. */
extern const char *const glia_medusa_files[];

/* Open model.safetensors, its shards, or pytorch_model.bin of DIR; for Medusa medusa_lm_head.safetensors,
 * medusa_lm_head.pt or medusa_heads.pt first. On success the caller calls glia_head_file_close().
 * Errors: GLIA_ERR_IO none of them is there; as glia_checkpoint_open() and glia_torch_file_open(). */
glia_status glia_head_file_open(glia_head_file *f, const char *dir, bool medusa, glia_err *err);
/* In an artifact of several ranks: the whole embedding and head of the model, for heads that share them. */
#define GLIA_TARGET_FILE "weights/target.safetensors"

/* The same for the model in `dir`, or for its GLIA_TARGET_FILE. */
glia_status glia_head_file_open_model(glia_head_file *f, const char *dir, glia_err *err);
void glia_head_file_close(glia_head_file *f);

/* The tensor of this name, with or without the prefix "model.". It counts as used. NULL: there is none. */
const glia_tensor_view *glia_head_file_find(const glia_head_file *f, const char *name);
/* Is there a tensor whose name begins so, with or without the prefix "model."? */
bool glia_head_file_has(const glia_head_file *f, const char *begin);
/* Fail if a tensor was not used and is none that heads do not need (t2d, tables of RoPE). */
glia_status glia_head_file_check_used(const glia_head_file *f, const char *what, glia_err *err);

#endif
