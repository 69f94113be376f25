/* qwen3.c - Qwen3 dense: the Llama block with a norm on each q and k head.
 *
 * The norm comes before RoPE and its weight, [head_dim], is shared by all heads
 * of a layer, so tensor parallelism copies it. head_dim is stated in config.json
 * and is not hidden / heads: 128 where that quotient is 64 (Qwen3-0.6B).
 * Source: transformers modeling_qwen3.py, Qwen3Attention.forward. */
#include "model/spec.h"

static const glia_weight_spec weights[] = {
    {W_Q_NORM, "model.layers.%d.self_attn.q_norm.weight", D_HEAD, D_1, CUT_NONE, ALWAYS},
    {W_K_NORM, "model.layers.%d.self_attn.k_norm.weight", D_HEAD, D_1, CUT_NONE, ALWAYS},
};

const glia_model_spec glia_spec_qwen3 = {
    .architecture = "Qwen3ForCausalLM",
    .weight = weights,
    .n_weights = sizeof weights / sizeof *weights,
};
