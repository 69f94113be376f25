/* review.h - compare config.json with the checkpoint beside it, before anything is planned. */
#ifndef GLIA_MODEL_REVIEW_H
#define GLIA_MODEL_REVIEW_H

#include "format/config.h"

/* Read the headers of the weights in `dir`, and
 *   - clear c->tied_head if the weights include a head of their own: in a checkpoint an
 *     lm_head.weight that differs from the embedding, in an artifact a head that was compiled
 *     untied. This is what transformers 5 does; version 4 ties such a head.
 *   - warn, in one sentence, about tensors of the checkpoint that the model does not use.
 * `warning` may be NULL. Weights that cannot be read change nothing here: the loader reports
 * them. Reads all bytes of both matrices if they are equal. */
void glia_review_weights(glia_model_config *c, const char *dir, glia_warning_fn *warning, void *user);

#endif
