/* artifact.h - packed weights in files, so that loading is mapping.
 *
 * An artifact is a directory with weights/tp{rank}_sharded_checkpoint.safetensors
 * beside config.json. A file's tensors are the memory of a rank's glia_weights, byte for
 * byte and in its order, from a page boundary on; behind them stands "hashes", U64
 * [tensors + 1]: glia_hash() of each tensor's bytes, then of the file up to the
 * first of them. What the bytes depend on stands in __metadata__, and every one
 * of it is compared before a file is used. docs/PARALLEL.md says it for users. */
#ifndef GLIA_MODEL_ARTIFACT_H
#define GLIA_MODEL_ARTIFACT_H

#include "model/weights.h"

/* Raised when packed bytes change their meaning: files of another number are refused. */
enum { GLIA_ARTIFACT_LAYOUT = 1 };

/* Is `dir` to be read as an artifact? It has weights/ and no checkpoint of its own. */
bool glia_artifact_in(const char *dir);
/* Does `dir` hold a file that glia_artifact_write() made, of whatever layout? */
bool glia_artifact_is_ours(const char *dir);

/* glia_hash() over names, dtypes, shapes and bytes of the checkpoint in `dir`, in the
 * order of names, so that it is the same however the tensors are spread over files. */
glia_status glia_source_hash(uint64_t *hash, const char *dir, glia_team *team, glia_err *err);

/* Write one rank's file below `dir`, where config.json is, or is `config_dir`'s.
 * Errors: GLIA_ERR_IO, GLIA_ERR_NOMEM. */
glia_status glia_artifact_write(const glia_weights *w, const char *config_dir, uint64_t source_hash,
                                const char *dir, glia_team *team, glia_err *err);

/* Instead of memory, map the rank's file of the artifact `dir` below w->plan, whose
 * regions are added; then, when all is bound, see that each tensor stands
 * where w looks for it, and fault the pages in with all threads.
 * Errors: GLIA_ERR_IO           no file for this rank
 *         GLIA_ERR_FORMAT       a damaged file, or another program's
 *         GLIA_ERR_UNSUPPORTED  another layout, or made from another config.json
 *         GLIA_ERR_ARGUMENT     made for other options than `options`; both values are named */
glia_status glia_artifact_map(glia_weights *w, const char *dir, const glia_weights_options *options,
                              glia_err *err);
glia_status glia_artifact_check(const glia_weights *w, const char *dir, const glia_weights_options *options,
                                glia_err *err);

/* Compare every byte of mapped weights with its hash. GLIA_ERR_FORMAT names the tensor. */
glia_status glia_artifact_verify(const glia_weights *w, const char *dir, glia_team *team, glia_err *err);

#endif
