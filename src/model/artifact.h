/* artifact.h - packed weights in files, which a load only maps.
 *
 * An artifact is a directory with weights/tp{rank}_sharded_checkpoint.safetensors
 * beside config.json. The tensors of a file are the memory of a rank's
 * glia_weights, in the same order, and begin at a page boundary. The last tensor
 * is "hashes", U64 [tensors + 1]: glia_hash() of the bytes of each other tensor,
 * then of the bytes before the first tensor. __metadata__ holds the options that
 * the bytes depend on; all are compared before a file is used. docs/PARALLEL.md
 * describes artifacts for users. */
#ifndef GLIA_MODEL_ARTIFACT_H
#define GLIA_MODEL_ARTIFACT_H

#include "base/hash.h"
#include "format/checkpoint.h"
#include "model/weights.h"

/* The number of the layout of packed bytes. Files with another number are refused. */
enum { GLIA_ARTIFACT_LAYOUT = 1 };

/* Was the artifact `dir` compiled with a head that is not the embedding? False if no file can be read. */
bool glia_artifact_is_untied(const char *dir);
/* The forms of products that the artifact `dir` was compiled with (glia_quantize_forms()), as text that the
 * caller frees; NULL if no file can be read, or names none. */
char *glia_artifact_forms(const char *dir);

/* A hash of the names, dtypes, shapes and bytes of the checkpoint in `dir`. It does not depend on how the
 * tensors are divided into files.
 * Errors: as of glia_checkpoint_open(); GLIA_ERR_NOMEM. */
glia_status glia_source_hash(uint64_t *hash, const char *dir, glia_team *team, glia_err *err);

/* The hash of the bytes of config.json in `dir`. Errors: as of glia_read_file(). */
glia_status glia_config_hash(char hex[GLIA_HASH_HEX], const char *dir, glia_err *err);

/* The name of a rank's file below the artifact's directory: "weights/tp0_sharded_checkpoint.safetensors". */
enum { GLIA_ARTIFACT_NAME = 64 };
void glia_artifact_name(char name[GLIA_ARTIFACT_NAME], int rank);

/* Write the file of w's rank, which must not exist, below `dir`. The file names the config.json of
 * `config_dir`, a copy of which the caller puts into `dir`.
 * Errors: GLIA_ERR_IO, GLIA_ERR_NOMEM. */
glia_status glia_artifact_write(const glia_weights *w, const char *config_dir, uint64_t source_hash,
                                const char *dir, glia_team *team, glia_err *err);

/* Load in two steps: glia_artifact_map() maps the rank's file of the artifact `dir` as the memory of w->plan,
 * to which all regions are added. After the caller has bound w to the plan, glia_artifact_check() compares
 * each tensor with what w expects at its address, maps all pages with the threads of options->team, and
 * compares all bytes with their hashes. Errors: GLIA_ERR_IO           no file for this rank, or it changes
 * while it is read GLIA_ERR_FORMAT       a damaged file (the message has the tensor), or another program's
 *         GLIA_ERR_UNSUPPORTED  another layout, or made from another config.json
 *         GLIA_ERR_ARGUMENT     made for other options than `options`; both values are named */
glia_status glia_artifact_map(glia_weights *w, const char *dir, const glia_weights_options *options,
                              glia_err *err);
glia_status glia_artifact_check(const glia_weights *w, const char *dir, const glia_weights_options *options,
                                glia_err *err);

#endif
