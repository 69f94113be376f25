/* importance.h - how much the columns of each linear layer matter: the mean square of what
 * enters the layer, over the tokens of a text. glia calibrate measures it and writes a file,
 * which 4-bit quantisation reads to weigh squared errors by it.
 *
 * The file is safetensors: float32 [columns] for each product of each layer,
 * "model.layers.0.qkv", ".o", ".gate_up" and ".down", and "head". */
#ifndef GLIA_MODEL_IMPORTANCE_H
#define GLIA_MODEL_IMPORTANCE_H

#include "format/config.h"
#include "model/weights.h"

typedef struct glia_importance glia_importance;

/* Open a file that glia_importance_write() wrote for a model of this shape. The caller closes it.
 * Errors: as of glia_safetensors_open(); GLIA_ERR_SHAPE a tensor that is missing or has another shape, naming
 * expected and found; GLIA_ERR_FORMAT a number that is negative, NaN or infinite; GLIA_ERR_NOMEM. */
glia_status glia_importance_open(glia_importance **out, const char *path, const glia_model_config *c,
                                 glia_err *err);
/* The numbers of a product of a layer, one for each column of the model's weight. They belong to m. */
const float *glia_importance_of(const glia_importance *m, int layer, glia_product product);
/* Their mean, over all columns of the model's weight. */
float glia_importance_mean(const glia_importance *m, int layer, glia_product product);
/* A hash of the file. */
uint64_t glia_importance_hash(const glia_importance *m);
void glia_importance_close(glia_importance *m); /* NULL is fine */

/* Make the matrices of w, of one rank alone, add up the squares of what enters them, from zero. w must
 * outlive *sums, which the caller frees by glia_importance_forget(). Errors: GLIA_ERR_NOMEM. */
glia_status glia_importance_observe(double **sums, glia_weights *w, glia_err *err);
void glia_importance_forget(double *sums, glia_weights *w);
/* Write the means over `tokens` rows of what w has added up to `path`, which appears only when it is
 * complete. Errors: of glia_safetensors_create(). */
glia_status glia_importance_write(const char *path, const glia_weights *w, size_t tokens, glia_err *err);
/* Did glia_importance_write() write the file? */
bool glia_importance_is(const char *path);

#endif
