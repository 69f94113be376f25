/* smollm3.c - SmolLM3: the Llama block with RoPE left out of every fourth layer.
 *
 * config.json names the list `no_rope_layers` but a 1 in it means the layer
 * DOES rotate; the reader in format/config.c copies it to glia_model_config.rope,
 * whose name says what it means.
 * Source: transformers modeling_smollm3.py, `self.use_rope = config.no_rope_layers[layer_idx]`. */
#include "model/spec.h"

const glia_model_spec glia_spec_smollm3 = {
    .architecture = "SmolLM3ForCausalLM",
};
