/* config_rope.h - the RoPE keys of config.json; only config.c uses this header. */
#ifndef GLIA_FORMAT_CONFIG_ROPE_H
#define GLIA_FORMAT_CONFIG_ROPE_H

#include "format/config.h"
#include "format/json.h"

/* Fill c->rope_config from rope_theta, rope_scaling, rope_parameters,
 * partial_rotary_factor and original_max_position_embeddings of the object that `r`
 * reads. The caller has set c->head_dim, c->max_position_embeddings, c->layers and
 * c->window. `theta` is the architecture's default; `has_layer_types` is true if its
 * layers have types. A failure is recorded in *r. */
void glia_rope_config_read(glia_json_reader *r, glia_model_config *c, double theta, bool has_layer_types);

/* Free both factor lists and zero *rope. */
void glia_rope_config_free(glia_rope_config *rope);

#endif
