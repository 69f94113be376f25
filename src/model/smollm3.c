/* smollm3.c - SmolLM3: the Llama block, in which every fourth layer has no RoPE.
 *
 * A 1 in the list `no_rope_layers` of config.json means that the layer DOES
 * rotate. The reader in format/config.c copies the list to
 * glia_model_config.rope, whose name says what it means.
 * Source: transformers modeling_smollm3.py, `self.use_rope = config.no_rope_layers[layer_idx]`. */
#include "model/spec.h"

const glia_model_spec glia_spec_smollm3 = {
    .architecture = "SmolLM3ForCausalLM",
};
