/* qwen2.c - Qwen2 and Qwen2.5 dense: the Llama block with biases on q, k and v.
 *
 * config.json does not matter: transformers reads no attention_bias for this
 * architecture. o has no bias.
 * Source: transformers modeling_qwen2.py, Qwen2Attention.__init__. */
#include "model/spec.h"

static const glia_weight_spec weights[] = {
    {W_Q_BIAS, "model.layers.%d.self_attn.q_proj.bias", D_Q, D_1, CUT_ROWS, ALWAYS},
    {W_K_BIAS, "model.layers.%d.self_attn.k_proj.bias", D_KV, D_1, CUT_KV_ROWS, ALWAYS},
    {W_V_BIAS, "model.layers.%d.self_attn.v_proj.bias", D_KV, D_1, CUT_KV_ROWS, ALWAYS},
};

const glia_model_spec glia_spec_qwen2 = {
    .architecture = "Qwen2ForCausalLM",
    .weight = weights,
    .n_weights = sizeof weights / sizeof *weights,
};
