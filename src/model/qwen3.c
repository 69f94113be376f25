/* qwen3.c - Qwen3 dense: the Llama block with a norm on each q and k head.
 *
 * The norm comes before RoPE. All heads of a layer share its weight, [head_dim], so
 * tensor parallelism copies it. config.json states head_dim, which need not be
 * hidden / heads: Qwen3-0.6B has 128, where the quotient is 64.
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
