/* config_rope.h - the part of config.json that positions depend on; used by config.c only. */
#ifndef GLIA_FORMAT_CONFIG_ROPE_H
#define GLIA_FORMAT_CONFIG_ROPE_H

#include "format/config.h"
#include "format/json.h"

/* Fill c->rope_config from rope_theta, rope_scaling and rope_parameters of the
 * object that `r` reads; c->head_dim and c->max_position_embeddings are set.
 * `theta` is the family's default. Failures go to *r. */
void glia_rope_config_read(glia_json_reader *r, glia_model_config *c, double theta);

/* Free the lists. */
void glia_rope_config_free(glia_rope_config *rope);

#endif
