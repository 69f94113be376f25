/* llama.c - Llama 2 and 3, and what is published under its name (SmolLM2): the
 * weights that all architectures here share, and no other.
 *
 * Source: transformers modeling_llama.py. */
#include "model/spec.h"

const glia_model_spec glia_spec_llama = {
    .architecture = "LlamaForCausalLM",
};
