/* llama.c - Llama 2 and 3, and models published as Llama (SmolLM2): the weights
 * that all models share, and no others.
 *
 * Source: transformers modeling_llama.py. */
#include "model/spec.h"

const glia_model_spec glia_spec_llama = {
    .architecture = "LlamaForCausalLM",
};
