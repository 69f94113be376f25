/* check_config.c - config.json: the published files, both versions' spellings,
 * every default and every refusal. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/config.h"
#include "format/json.h"

/* Complete configurations of small models. A patch is an object whose members replace
 * those of the configuration; the value "-" removes a member. */
static const char qwen3[] =
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"hidden_size\":64,\"head_dim\":32,"
    "\"intermediate_size\":96,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"vocab_size\":300,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-6,\"rope_theta\":1000000,"
    "\"hidden_act\":\"silu\",\"torch_dtype\":\"bfloat16\",\"eos_token_id\":[7,5],\"bos_token_id\":5,"
    "\"tie_word_embeddings\":true}";
static const char smollm3[] =
    "{\"architectures\":[\"SmolLM3ForCausalLM\"],\"model_type\":\"smollm3\",\"hidden_size\":64,"
    "\"intermediate_size\":96,\"num_hidden_layers\":5,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"vocab_size\":300,\"max_position_embeddings\":512,\"rope_theta\":5000000.0,\"dtype\":\"float32\"}";

static const char qwen2[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":64,"
    "\"intermediate_size\":96,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"vocab_size\":300,\"max_position_embeddings\":512,\"rope_theta\":1000000,\"torch_dtype\":\"bfloat16\","
    "\"use_mrope\":false,\"use_sliding_window\":false,\"sliding_window\":512,\"max_window_layers\":2}";
static const char llama[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":64,"
    "\"intermediate_size\":96,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"vocab_size\":300,\"max_position_embeddings\":512,\"rope_theta\":500000.0,\"torch_dtype\":\"bfloat16\","
    "\"attention_bias\":false,\"mlp_bias\":false,\"pretraining_tp\":1}";

static char warnings[2000];

static void warn(void *user, const char *sentence) {
    (void)user;
    const size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", sentence);
}

/* Parse `base` as changed by `patch`; messages call it "x". */
static glia_status parse(glia_model_config *c, const char *base, const char *patch, glia_err *err) {
    glia_err why;
    json_t *tree, *changes, *value;
    const char *key;
    assert_int_equal(glia_json_parse(&tree, base, strlen(base), 0, "base", &why), GLIA_OK);
    if (glia_json_parse(&changes, patch, strlen(patch), 0, patch, &why) != GLIA_OK) fail_msg("%s", why.msg);
    json_object_foreach(changes, key, value) {
        const char *s = json_string_value(value);
        if (s && !strcmp(s, "-"))
            json_object_del(tree, key);
        else
            json_object_set(tree, key, value);
    }
    char *text = json_dumps(tree, 0);
    *err = (glia_err){GLIA_OK, ""};
    warnings[0] = '\0';
    const glia_status status = glia_model_config_parse(c, text, strlen(text), "x", warn, NULL, err);
    free(text);
    json_decref(tree);
    json_decref(changes);
    return status;
}

/* ---- refusals -------------------------------------------------------------- */

#define Q qwen3
#define S smollm3
#define Q2 qwen2
#define L llama
#define F GLIA_ERR_FORMAT
#define U GLIA_ERR_UNSUPPORTED
#define YARN "\"rope_type\":\"yarn\",\"factor\":4"
#define LLAMA3 "\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4"
#define F8 "[1,1,1,1,1,1,1,1]"
#define LONG "\"rope_type\":\"longrope\",\"short_factor\":" F8 ",\"long_factor\":" F8

/* clang-format off */
static const struct {
    const char *base, *patch;
    glia_status status;
    const char *words;
} refusals[] = {
    {Q, "{\"architectures\":[\"GemmaForCausalLM\"],\"model_type\":\"-\"}", U, "x: architecture is GemmaForCausalLM; Glia runs Qwen3ForCausalLM, SmolLM3ForCausalLM, Qwen2ForCausalLM and LlamaForCausalLM"},
    {Q, "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"-\"}", U, "architecture is Qwen3MoeForCausalLM"},
    {Q, "{\"architectures\":[\"Qwen\\n3\\u001b[31m\\u0085\\u00e9\\u20ac\\ud83d\\ude00\"],\"model_type\":\"-\"}", U, "architecture is Qwen?3?[31m??\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80; Glia runs"},
    {Q, "{\"architectures\":[\"\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac\"],\"model_type\":\"-\"}", U, "\xe2\x82\xac??; Glia runs"}, /* cut after 80 bytes */
    {Q, "{\"architectures\":\"-\",\"model_type\":\"qwen2_moe\"}", U, "model_type is qwen2_moe; Glia runs Qwen3ForCausalLM"},
    {Q, "{\"architectures\":\"-\",\"model_type\":\"-\"}", F, "neither architectures nor model_type"},
    {Q, "{\"architectures\":[],\"model_type\":null}", F, "neither architectures nor model_type"},
    {Q, "{\"architectures\":\"Qwen3ForCausalLM\"}", F, "architectures: expected an array, found a string \"Qwen3ForCausalLM\""},
    {Q, "{\"model_type\":1}", F, "model_type: expected a string, found an integer 1"},

    {Q, "{\"hidden_size\":0}", F, "x: hidden_size: expected 1 to 16777216, found 0"},
    {Q, "{\"hidden_size\":-64}", F, "hidden_size: expected 1 to"},
    {Q, "{\"hidden_size\":99999999}", F, "hidden_size: expected 1 to 16777216, found 99999999"},
    {Q, "{\"hidden_size\":64.5}", F, "hidden_size: expected an integer, found a real number 64.5"},
    {Q, "{\"hidden_size\":1e300}", F, "hidden_size: expected 1 to 16777216, found 1e300"},
    {Q, "{\"hidden_size\":\"64\"}", F, "hidden_size: expected an integer, found a string \"64\""},
    {Q, "{\"hidden_size\":[64]}", F, "hidden_size: expected an integer, found an array"},
    {Q, "{\"hidden_size\":true}", F, "hidden_size: expected an integer, found a boolean true"},
    {Q, "{\"intermediate_size\":0}", F, "intermediate_size: expected 1 to"},
    {Q, "{\"vocab_size\":0}", F, "vocab_size: expected 1 to"},
    {Q, "{\"num_hidden_layers\":0}", F, "num_hidden_layers: expected 1 to 4096, found 0"},
    {Q, "{\"num_hidden_layers\":5000}", F, "num_hidden_layers: expected 1 to 4096"},
    {Q, "{\"num_attention_heads\":0}", F, "num_attention_heads: expected 1 to"},
    {Q, "{\"num_key_value_heads\":0}", F, "num_key_value_heads: expected 1 to"},
    {Q, "{\"num_key_value_heads\":3}", F, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
    {Q, "{\"num_key_value_heads\":8}", F, "num_attention_heads 4 is not a multiple of num_key_value_heads 8"},
    {Q, "{\"head_dim\":33}", F, "head_dim: expected an even number from 2 to 4096, found 33"},
    {Q, "{\"head_dim\":0}", F, "head_dim: expected 2 to 4096, found 0"},
    {S, "{\"num_attention_heads\":64}", F, "head_dim: expected an even number from 2 to 4096, found 1"},
    {Q, "{\"max_position_embeddings\":0}", F, "max_position_embeddings: expected 2 to"},
    {Q, "{\"max_position_embeddings\":2000000000}", F, "max_position_embeddings: expected 2 to 1073741824"},
    {Q, "{\"max_position_embeddings\":1}", F, "max_position_embeddings: expected 2 to 1073741824, found 1"},
    {Q, "{\"rms_norm_eps\":-1}", F, "rms_norm_eps: expected 0 to 3.40282e+38, found -1"},
    {Q, "{\"rms_norm_eps\":\"1e-6\"}", F, "rms_norm_eps: expected a number, found a string"},
    {Q, "{\"tie_word_embeddings\":1}", F, "tie_word_embeddings: expected true or false, found an integer 1"},
    {Q, "{\"attention_bias\":\"no\"}", F, "attention_bias: expected true or false"},
    {Q2, "{\"use_mrope\":true}", U, "use_mrope is true, which Glia does not support"},
    {Q2, "{\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\",\"full_attention\"]}", F, "layer_types[1] is sliding_attention, but use_sliding_window is false"},
    {L, "{\"mlp_bias\":1}", F, "mlp_bias: expected true or false"},
    {L, "{\"model_type\":\"mistral\"}", U, "x: model_type is mistral; Glia runs"},
    {L, "{\"num_attention_heads\":3}", F, "num_attention_heads 3 is not a multiple of num_key_value_heads 2"},
    {Q, "{\"hidden_act\":\"gelu\"}", U, "hidden_act is gelu; Glia has silu"},
    {Q, "{\"hidden_act\":3}", F, "hidden_act: expected a string"},
    {Q, "{\"is_causal\":false}", U, "is_causal is false; Glia's attention is causal"},
    {Q, "{\"torch_dtype\":\"int8\"}", U, "torch_dtype is int8; Glia reads float32, bfloat16, float16 and float64"},
    {Q, "{\"dtype\":\"float8_e4m3fn\"}", U, "dtype is float8_e4m3fn"},
    {Q, "{\"dtype\":4}", F, "dtype: expected a string"},
    {Q, "{\"eos_token_id\":\"x\"}", F, "eos_token_id: expected an integer or an array of them, found a string \"x\""},
    {Q, "{\"eos_token_id\":[1,null]}", F, "eos_token_id: expected an array of integers, found null null"},
    {Q, "{\"eos_token_id\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}", GLIA_ERR_LIMIT, "eos_token_id: 65 ids, limit is 64"},

    {Q, "{\"quantization_config\":{\"quant_method\":\"hqq\"}}", U, "quantization_config: quant_method is hqq; Glia reads fp8, mxfp8, fbgemm_fp8, compressed-tensors, gptq, awq, auto-round and bitsandbytes"},
    {Q, "{\"attention_chunk_size\":8192}", U, "attention_chunk_size is 8192"},
    {Q, "{\"num_experts\":128}", U, "num_experts is 128"},
    {Q, "{\"use_bidirectional_attention\":true}", U, "use_bidirectional_attention is true"},
    {Q, "{\"pruned_heads\":{\"0\":[1]}}", U, "pruned_heads is {\"0\":[1]}"},
    {Q, "{\"logits_scaling\":2}", U, "logits_scaling is 2"},
    {Q, "{\"is_encoder_decoder\":true}", U, "is_encoder_decoder is true"},

    {S, "{\"no_rope_layers\":[1,1,0]}", F, "no_rope_layers: expected num_hidden_layers = 5 values, found 3"},
    {S, "{\"no_rope_layers\":[1,1,1,1,\"a\"]}", F, "no_rope_layers[4]: expected an integer, found \"a\""},
    {S, "{\"no_rope_layers\":5}", F, "no_rope_layers: expected an array, found an integer 5"},
    {S, "{\"no_rope_layer_interval\":0}", F, "no_rope_layer_interval: expected other than 0, found 0"},
    {Q, "{\"layer_types\":[\"full_attention\"]}", F, "layer_types: expected num_hidden_layers = 4 values, found 1"},
    {Q, "{\"layer_types\":[\"full_attention\",\"linear_attention\",\"full_attention\",\"full_attention\"]}", U, "layer_types[1] is \"linear_attention\"; Glia has full_attention and sliding_attention"},
    {Q, "{\"layer_types\":[\"full_attention\",\"full_attention\",4,\"full_attention\"]}", F, "layer_types[2] is 4"},
    {Q, "{\"layer_types\":{}}", F, "layer_types: expected an array, found an object"},
    {Q, "{\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\",\"full_attention\"]}", F, "layer_types[1] is sliding_attention, but use_sliding_window is false"},
    {Q, "{\"use_sliding_window\":true,\"sliding_window\":null,\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]}", F, "layer_types[3] is sliding_attention, but there is no sliding_window"},
    {S, "{\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]}", F, "layer_types[1] is sliding_attention, but there is no sliding_window"},
    {Q, "{\"use_sliding_window\":true,\"sliding_window\":0,\"max_window_layers\":2}", F, "sliding_window: expected 1 or more, found 0"},
    {Q, "{\"sliding_window\":\"all\"}", F, "sliding_window: expected an integer, found a string \"all\""},
    {Q, "{\"use_sliding_window\":0}", F, "use_sliding_window: expected true or false"},

    {Q, "{\"rope_theta\":0}", F, "x: rope_theta: expected 1.17549e-38 to 1.79769e+308, found 0"},
    {Q, "{\"rope_theta\":1e-320}", F, "x: rope_theta: expected 1.17549e-38 to 1.79769e+308, found 9.99988867e-321"},
    {Q, "{\"rope_theta\":null}", F, "x: rope_theta: expected a number, found null"},
    {Q, "{\"rope_parameters\":{\"rope_theta\":null}}", F, "x: rope_parameters: rope_theta: expected a number, found null"},
    {Q, "{\"rope_theta\":-1}", F, "rope_theta: expected 1.17549e-38 to"},
    {Q, "{\"rope_theta\":\"1e6\"}", F, "rope_theta: expected a number"},
    {Q, "{\"rope_scaling\":4}", F, "rope_scaling: expected an object, found an integer 4"},
    {Q, "{\"rope_parameters\":[]}", F, "rope_parameters: expected an object, found an array"},
    {Q, "{\"rope_scaling\":{\"type\":\"mrope\"}}", U, "x: rope_scaling: type is mrope; supported are default, linear, dynamic, yarn, longrope, llama3 and proportional"},
    {Q, "{\"rope_scaling\":{\"rope_type\":3}}", F, "rope_scaling: rope_type: expected a string"},
    {Q, "{\"rope_scaling\":{\"rope_type\":null,\"type\":\"yarn\",\"factor\":2}}", U, "rope_scaling: rope_type is null; supported are"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"linear\"}}", F, "rope_scaling: factor is missing"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"dynamic\"}}", F, "factor is missing"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"yarn\"}}", F, "factor is missing"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0}}", F, "factor: expected more than 0, found 0"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":\"2\"}}", F, "factor: expected a number, found a string \"2\""},
    {Q, "{\"head_dim\":2,\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}}", F, "dynamic needs head_dim of at least 4, found 2"},
    {Q, "{\"rope_theta\":1,\"rope_scaling\":{" YARN "}}", F, "yarn needs a rope_theta other than 1"},
    {Q, "{\"rope_scaling\":{" YARN ",\"beta_fast\":-1}}", F, "beta_fast: expected 0 to"},
    {Q, "{\"rope_scaling\":{" YARN ",\"original_max_position_embeddings\":0}}", F, "original_max_position_embeddings: expected 1 to"},
    {Q, "{\"rope_scaling\":{" YARN ",\"partial_rotary_factor\":0.5}}", U, "x: rope_scaling: partial_rotary_factor 0.5: Qwen3ForCausalLM rotates whole heads with rope_type yarn"},
    {Q, "{\"partial_rotary_factor\":0.5,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", U, "x: partial_rotary_factor 0.5: Qwen3ForCausalLM rotates whole heads with rope_type linear"},
    {Q, "{\"rope_scaling\":{" YARN ",\"partial_rotary_factor\":0.97}}", U, "rotates whole heads"}, /* 31 of 32 dimensions */
    {Q, "{\"rope_scaling\":{\"type\":\"proportional\",\"partial_rotary_factor\":1.5}}", U, "rotates whole heads"},
    {Q, "{\"rope_scaling\":{\"type\":\"proportional\",\"partial_rotary_factor\":null}}", F, "partial_rotary_factor: expected a number, found null"},
    {Q, "{\"rope_scaling\":{\"type\":\"proportional\",\"factor\":null}}", F, "factor: expected a number, found null"},
    {Q, "{\"rope_scaling\":{" YARN ",\"original_max_position_embeddings\":null}}", F, "rope_scaling: original_max_position_embeddings: expected a number, found null"},
    {Q, "{\"original_max_position_embeddings\":null,\"rope_scaling\":{" YARN "}}", F, "x: original_max_position_embeddings: expected a number, found null"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"high_freq_factor\":4,\"original_max_position_embeddings\":64}}", F, "low_freq_factor is missing"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"original_max_position_embeddings\":64}}", F, "high_freq_factor is missing"},
    {S, "{\"original_max_position_embeddings\":1,\"rope_scaling\":{" LONG "}}", F, "rope_scaling: attention_factor is absent, and original_max_position_embeddings 1 does not give it"},
    {Q, "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2.718281828459045,\"mscale\":1,\"mscale_all_dim\":-10}}", F, "mscale and mscale_all_dim give a value that is not finite"},
    {S, "{\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"long_factor\":" F8 "}}", F, "short_factor is missing"},
    {S, "{\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"short_factor\":" F8 "}}", F, "long_factor is missing"},
    {S, "{\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"short_factor\":[1,1],\"long_factor\":" F8 "}}", F, "short_factor: expected head_dim / 2 = 8 numbers, found 2"},
    {S, "{\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"short_factor\":" F8 ",\"long_factor\":[1,1,1,1,1,1,1,0]}}", F, "long_factor[7]: expected a number above 0, found 0"},
    {S, "{\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"short_factor\":" F8 ",\"long_factor\":[1,\"a\",1,1,1,1,1,1]}}", F, "long_factor[1]: expected a number above 0, found \"a\""},
    {Q, "{\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"},\"sliding_attention\":{\"rope_type\":\"default\"}}}", U, "x: rope_parameters: full_attention has parameters of its own, which Qwen3ForCausalLM does not read"},
    {L, "{\"rope_parameters\":{" YARN ",\"full_attention\":{}}}", U, "full_attention has parameters of its own, which LlamaForCausalLM does not read"},
    {Q, "{\"original_max_position_embeddings\":0,\"rope_scaling\":{" YARN "}}", F, "x: original_max_position_embeddings: expected 1 to"},
    {Q, "{\"per_layer_config\":{\"0\":{\"head_dim\":8}}}", U, "per_layer_config is {\"0\":{\"head_dim\":8}}, which Glia does not support"},
    {Q, "{\"transformers_weights\":\"other.safetensors\"}", U, "transformers_weights is other.safetensors; Glia reads model.safetensors"},
};
/* clang-format on */

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        glia_err err;
        glia_model_config c;
        const glia_status status = parse(&c, refusals[i].base, refusals[i].patch, &err);
        CHECK(status == refusals[i].status, "%s: status %d: %s", refusals[i].patch, status, err.msg);
        CHECK(strstr(err.msg, refusals[i].words) && !strncmp(err.msg, "x: ", 3), "%s: \"%s\", wanted \"%s\"",
              refusals[i].patch, err.msg, refusals[i].words);
        CHECK(!c.rope && !c.window && !c.architecture, "%s: not zeroed", refusals[i].patch);
        glia_model_config_free(&c);
    }
}

/* ---- warnings -------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *base, *patch, *words; /* words: a substring of the warning; "": no warning */
} odd[] = {
    {Q, "{}", ""},
    {S, "{\"pretraining_tp\":2,\"max_window_layers\":28,\"use_cache\":false,\"partial_rotary_factor\":1.0,\"quantization_config\":null,\"num_experts\":0}", ""},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"default\"}}", ""},
    {Q, "{\"spice\":1}", "x: unknown key spice is ignored\n"},
    {Q, "{\"sp\\u001bice\\n\":1}", "x: unknown key sp?ice? is ignored\n"},
    {Q, "{\"rope_scaling\":{" YARN ",\"spice\":1}}", "x: rope_scaling: unknown key spice is ignored\n"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0.5}}", "x: rope_scaling: factor 0.5 is less than 1\n"},
    {Q, "{\"rope_scaling\":{" YARN ",\"beta_fast\":1,\"beta_slow\":32}}", "beta_fast 1 is less than beta_slow 32"},
    {Q, "{\"rope_scaling\":{" LLAMA3 ",\"original_max_position_embeddings\":512}}", "original_max_position_embeddings 512 is not less than max_position_embeddings 512"},
    {Q, "{\"original_max_position_embeddings\":128,\"rope_scaling\":{" YARN "}}", ""},
    {S, "{\"rope_scaling\":{" LONG ",\"factor\":4,\"original_max_position_embeddings\":128}}", ""},
    {S, "{\"transformers_version\":\"4.57.1\",\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONG ",\"factor\":9}}", "x: rope_scaling: factor 9 is ignored: transformers 4.57.1, which wrote the file, computes 4\n"},
    {Q, "{\"original_max_position_embeddings\":99}", "x: original_max_position_embeddings is ignored by rope_type default\n"},
    {Q, "{\"original_max_position_embeddings\":64,\"rope_scaling\":{" YARN ",\"original_max_position_embeddings\":32}}", "x: rope_scaling: original_max_position_embeddings 32 is ignored: the value at top level is 64, which wins\n"},
    {Q, "{\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":1,\"original_max_position_embeddings\":64}}", "x: rope_scaling: high_freq_factor 1 is not greater than low_freq_factor 1\n"},
    {Q, "{\"rope_scaling\":{" YARN "},\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4}}", "x: rope_parameters is ignored: rope_scaling is there, which wins\n"},
    {Q, "{\"rope_scaling\":{" YARN "},\"rope_parameters\":{" YARN ",\"rope_theta\":1000000.0}}", ""},
    {Q, "{\"rope_scaling\":{},\"rope_parameters\":{" YARN "}}", ""},
    {Q, "{\"rope_parameters\":{\"rope_theta\":5}}", "x: rope_theta 1e+06 is ignored: rope_parameters has 5, which wins\n"},
    {Q, "{\"rope_parameters\":{\"rope_theta\":1000000}}", ""},
    {Q, "{\"rope_scaling\":{" YARN ",\"type\":\"linear\"}}", "x: rope_scaling: type linear is ignored: rope_type is yarn, which wins\n"},
    {Q, "{\"partial_rotary_factor\":0.5}", "x: partial_rotary_factor is ignored by rope_type default\n"},
    {Q, "{\"rope_scaling\":{\"type\":\"proportional\",\"partial_rotary_factor\":0.25},\"partial_rotary_factor\":0.5}", "x: partial_rotary_factor 0.5 is ignored: rope_scaling has 0.25, which wins\n"},
    {L, "{\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\"}}}", "x: rope_parameters: full_attention is ignored by LlamaForCausalLM\n"},
    {Q, "{\"rope_parameters\":{\"sliding_attention\":{}}}", "x: rope_parameters: sliding_attention is ignored by Qwen3ForCausalLM\n"}, /* no layer slides */
    {Q, "{\"mlp_bias\":true}", "x: mlp_bias is ignored by Qwen3ForCausalLM\n"},
    {Q2, "{\"mlp_bias\":true}", "x: mlp_bias is ignored by Qwen2ForCausalLM\n"},
    {Q, "{\"architectures\":[\"LlamaModel\"]}", "x: architectures says LlamaModel; the model is read as Qwen3ForCausalLM, because model_type is qwen3\n"},
    {Q, "{\"torch_dtype\":\"float64\"}", "x: torch_dtype is float64; Glia computes in float32\n"},
    {Q, "{\"dtype\":\"float32\"}", "x: torch_dtype bfloat16 is ignored: dtype is float32, which wins\n"},
    {Q, "{\"temperature\":0.5,\"num_beams\":4,\"max_length\":20,\"transformers_weights\":\"model.safetensors\",\"per_layer_config\":null}", ""},
    {Q, "{\"no_rope_layers\":[1,1,1,0]}", "no_rope_layers is ignored by Qwen3ForCausalLM"},
    {Q2, "{}", ""},
    {Q2, "{\"attention_bias\":false}", ""},
    {Q2, "{\"attention_bias\":true}", "x: attention_bias is ignored by Qwen2ForCausalLM\n"},
    {L, "{\"is_llama_config\":true,\"rope_interleaved\":false,\"sliding_window\":null,\"use_sliding_window\":false}", ""},
    {L, "{\"sliding_window\":16,\"use_sliding_window\":true}", "x: use_sliding_window is ignored by LlamaForCausalLM\nx: sliding_window is ignored by LlamaForCausalLM\n"},
    {L, "{\"max_window_layers\":2}", "x: max_window_layers is ignored by LlamaForCausalLM\n"},
    {L, "{\"layer_types\":[\"sliding_attention\"]}", "x: layer_types is ignored by LlamaForCausalLM\n"},
    {L, "{\"no_rope_layers\":[0,0,0,0]}", "x: no_rope_layers is ignored by LlamaForCausalLM\n"},
    {S, "{\"sliding_window\":16,\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]}",
     "layer_types has sliding_attention, which counts although use_sliding_window is false"},
};
/* clang-format on */

static void test_warnings(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        glia_err err;
        glia_model_config c;
        CHECK(parse(&c, odd[i].base, odd[i].patch, &err) == GLIA_OK, "%s: %s", odd[i].patch, err.msg);
        CHECK(*odd[i].words ? strstr(warnings, odd[i].words) != NULL : !*warnings, "%s: \"%s\"", odd[i].patch,
              warnings);
        glia_model_config_free(&c);
    }
    glia_model_config c; /* without a warning function */
    const char *text = "{\"model_type\":\"qwen3\",\"spice\":1}";
    assert_int_equal(glia_model_config_parse(&c, text, strlen(text), "x", NULL, NULL, NULL), GLIA_OK);
    glia_model_config_free(&c);
}

/* ---- layers ---------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *base, *patch, *rope; /* rope: one digit per layer */
    int window[5];
} layers[] = {
    {Q, "{}", "1111", {0}},
    {Q, "{\"use_sliding_window\":true,\"max_window_layers\":2}", "1111", {0, 0, 4096, 4096}},
    {Q, "{\"use_sliding_window\":true,\"max_window_layers\":2,\"sliding_window\":16}", "1111", {0, 0, 16, 16}},
    {Q, "{\"use_sliding_window\":true,\"max_window_layers\":0,\"sliding_window\":1}", "1111", {1, 1, 1, 1}},
    {Q, "{\"use_sliding_window\":true,\"max_window_layers\":2,\"sliding_window\":null}", "1111", {0}},
    {Q, "{\"use_sliding_window\":true,\"sliding_window\":16}", "1111", {0}}, /* max_window_layers 28 */
    {Q, "{\"use_sliding_window\":false,\"max_window_layers\":2,\"sliding_window\":16}", "1111", {0}},
    {Q, "{\"use_sliding_window\":false,\"sliding_window\":-1}", "1111", {0}},
    {Q, "{\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":2,\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]}", "1111", {16}},
    {S, "{}", "11101", {0}},
    {S, "{\"no_rope_layer_interval\":2}", "10101", {0}},
    {S, "{\"no_rope_layer_interval\":1}", "00000", {0}},
    {S, "{\"no_rope_layer_interval\":9}", "11111", {0}},
    {S, "{\"no_rope_layers\":[0,1,1,0,1]}", "01101", {0}},
    {S, "{\"no_rope_layers\":[0,1,1,0,1,0,0]}", "01101", {0}}, /* transformers ignores the surplus */
    {S, "{\"no_rope_layers\":[false,true,true,false,true]}", "01101", {0}},
    {S, "{\"no_rope_layers\":null,\"no_rope_layer_interval\":3}", "11011", {0}},
    {S, "{\"no_rope_layer_interval\":-3}", "11011", {0}},
    {S, "{\"no_rope_layers\":[0,2,-1,0,1],\"no_rope_layer_interval\":0}", "01101", {0}},
    {Q, "{\"layer_types\":[\"attention\",\"full_attention\",\"attention\",\"full_attention\"]}", "1111", {0}},
    {Q, "{\"use_sliding_window\":true,\"max_window_layers\":-1,\"sliding_window\":16}", "1111", {16, 16, 16, 16}},
    {S, "{\"use_sliding_window\":true}", "11101", {0}},
    {S, "{\"use_sliding_window\":true,\"sliding_window\":32}", "11101", {0, 0, 0, 32, 0}}, /* the layers without RoPE */
    {S, "{\"use_sliding_window\":true,\"sliding_window\":32,\"no_rope_layers\":[1,0,1,1,0]}", "10110", {0, 32, 0, 0, 32}},
    {S, "{\"sliding_window\":32}", "11101", {0}},
    {S, "{\"sliding_window\":8,\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]}", "11101", {8, 0, 0, 0, 8}},
    {Q2, "{}", "1111", {0}},
    {Q2, "{\"use_sliding_window\":true}", "1111", {0, 0, 512, 512}},
    {Q2, "{\"use_sliding_window\":true,\"sliding_window\":\"-\"}", "1111", {0, 0, 4096, 4096}},
    {Q2, "{\"use_sliding_window\":true,\"max_window_layers\":\"-\"}", "1111", {0}},
    {Q2, "{\"use_sliding_window\":true,\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\",\"full_attention\"]}", "1111", {0, 512}},
    {L, "{}", "1111", {0}},
    {L, "{\"sliding_window\":16,\"use_sliding_window\":true,\"max_window_layers\":0}", "1111", {0}},
    {L, "{\"no_rope_layers\":[0,0,0,0],\"no_rope_layer_interval\":2}", "1111", {0}},
};
/* clang-format on */

static void test_layers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        glia_err err;
        glia_model_config c;
        CHECK(parse(&c, layers[i].base, layers[i].patch, &err) == GLIA_OK, "%s: %s", layers[i].patch,
              err.msg);
        CHECK((size_t)c.layers == strlen(layers[i].rope), "%s: %d layers", layers[i].patch, c.layers);
        for (int l = 0; l < c.layers; l++)
            CHECK(c.rope[l] == layers[i].rope[l] - '0' && c.window[l] == layers[i].window[l],
                  "%s: layer %d: rope %d, window %d", layers[i].patch, l, c.rope[l], c.window[l]);
        glia_model_config_free(&c);
    }
}

/* ---- values ---------------------------------------------------------------- */

static bool same_doubles(const double *a, const double *b, int n) {
    for (int i = 0; i < n; i++)
        if (a[i] != b[i]) return false;
    return true;
}

static bool same_rope(const glia_rope_config *a, const glia_rope_config *b) {
    const double x[] = {a->theta,     a->factor,          a->attention_factor, a->beta_fast,
                        a->beta_slow, a->low_freq_factor, a->high_freq_factor};
    const double y[] = {b->theta,     b->factor,          b->attention_factor, b->beta_fast,
                        b->beta_slow, b->low_freq_factor, b->high_freq_factor};
    return a->type == b->type && same_doubles(x, y, 7) && a->rotary_dim == b->rotary_dim &&
           a->pairs == b->pairs && a->truncate == b->truncate &&
           a->original_max_position_embeddings == b->original_max_position_embeddings &&
           a->n_factors == b->n_factors && same_doubles(a->short_factor, b->short_factor, a->n_factors) &&
           same_doubles(a->long_factor, b->long_factor, a->n_factors);
}

static bool same_ids(const glia_token_ids *a, const glia_token_ids *b) {
    return a->n == b->n && memcmp(a->id, b->id, (size_t)a->n * sizeof *a->id) == 0;
}

static bool same_config(const glia_model_config *a, const glia_model_config *b) {
    return a->architecture == b->architecture && a->hidden == b->hidden && a->ffn == b->ffn &&
           a->vocab == b->vocab && a->head_dim == b->head_dim && a->layers == b->layers &&
           a->heads == b->heads && a->kv_heads == b->kv_heads &&
           a->max_position_embeddings == b->max_position_embeddings && a->rms_norm_eps == b->rms_norm_eps &&
           a->tied_head == b->tied_head && a->attention_bias == b->attention_bias &&
           a->mlp_bias == b->mlp_bias && a->dtype == b->dtype &&
           memcmp(a->rope, b->rope, (size_t)a->layers) == 0 &&
           memcmp(a->window, b->window, (size_t)a->layers * sizeof *a->window) == 0 &&
           same_rope(&a->rope_config, &b->rope_config) && same_ids(&a->eos, &b->eos) && a->bos == b->bos &&
           a->pad == b->pad;
}

/* clang-format off */
static const struct {
    const char *base, *v4, *v5;
} spellings[] = {
    {Q, "{\"torch_dtype\":\"float16\"}", "{\"torch_dtype\":\"-\",\"dtype\":\"float16\"}"},
    {Q, "{\"torch_dtype\":\"torch.bfloat16\"}", "{\"dtype\":\"bfloat16\"}"},
    {Q, "{\"torch_dtype\":\"half\"}", "{\"dtype\":\"float16\"}"},
    {Q, "{\"torch_dtype\":\"double\"}", "{\"dtype\":\"float\"}"},
    {Q, "{\"dtype\":null}", "{\"dtype\":\"bfloat16\",\"torch_dtype\":\"float16\"}"},
    {Q, "{\"rope_scaling\":{}}", "{\"rope_scaling\":false,\"rope_parameters\":null}"},
    {Q, "{\"rope_scaling\":{\"factor\":2}}", "{}"},
    {Q, "{\"rope_theta\":\"-\",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_theta\":7}}", "{\"rope_theta\":10000,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}"},
    {Q, "{\"rope_scaling\":{" YARN ",\"truncate\":null}}", "{\"rope_scaling\":{" YARN ",\"truncate\":false}}"},
    {Q, "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":null,\"original_max_position_embeddings\":128}}", "{\"rope_scaling\":{" YARN ",\"original_max_position_embeddings\":128}}"},
    {Q, "{\"rope_scaling\":{\"type\":\"proportional\",\"partial_rotary_factor\":0.5}}", "{\"partial_rotary_factor\":0.5,\"rope_parameters\":{\"rope_type\":\"proportional\",\"factor\":1}}"},
    {Q, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"partial_rotary_factor\":1.01}}"},
    {Q, "{\"hidden_act\":\"swish\"}", "{\"hidden_act\":null}"},
    {Q, "{\"architectures\":[3]}", "{\"model_type\":\"-\"}"},
    {Q, "{\"hidden_size\":64.0,\"rope_theta\":1e6}", "{\"num_key_value_heads\":2.0,\"rope_theta\":1000000.0}"},
    {Q, "{\"num_key_value_heads\":null}", "{\"num_key_value_heads\":4}"},
    {Q, "{\"head_dim\":null}", "{\"head_dim\":16}"},
    {Q, "{\"eos_token_id\":7}", "{\"eos_token_id\":[7]}"},
    {Q, "{\"eos_token_id\":null,\"pad_token_id\":-1}", "{\"eos_token_id\":[],\"pad_token_id\":null}"},
    {Q, "{\"rope_theta\":7e5}", "{\"rope_theta\":\"-\",\"rope_parameters\":{\"rope_theta\":7e5,\"rope_type\":\"default\"}}"},
    {Q, "{\"rope_theta\":7e5,\"rope_scaling\":null}", "{\"rope_theta\":7e5,\"rope_parameters\":{\"rope_theta\":7e5,\"rope_type\":\"default\"}}"},
    {Q, "{\"rope_theta\":\"-\"}", "{\"rope_theta\":\"-\",\"rope_parameters\":{}}"},
    {S, "{\"rope_theta\":\"-\"}", "{\"rope_theta\":2e6}"},
    {Q, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", "{\"rope_theta\":\"-\",\"rope_parameters\":{\"rope_theta\":1e6,\"rope_type\":\"linear\",\"factor\":2.0}}"},
    {Q, "{\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"linear\",\"factor\":2}}", "{\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2.0},\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.0}}"},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2,\"original_max_position_embeddings\":99}}", "{\"rope_parameters\":{\"rope_type\":\"dynamic\",\"factor\":2}}"},
    {Q, "{\"rope_scaling\":{" YARN "}}", "{\"rope_parameters\":{" YARN ",\"beta_fast\":32,\"beta_slow\":1,\"truncate\":true,\"original_max_position_embeddings\":512}}"},
    {Q, "{\"rope_scaling\":{" YARN ",\"beta_fast\":0,\"beta_slow\":0,\"attention_factor\":null}}", "{\"rope_parameters\":{" YARN ",\"beta_fast\":null,\"mscale\":0}}"},
    {Q, "{\"rope_scaling\":{" YARN ",\"original_max_position_embeddings\":128}}", "{\"original_max_position_embeddings\":128,\"rope_parameters\":{" YARN "}}"},
    {Q, "{\"rope_scaling\":{" LLAMA3 ",\"original_max_position_embeddings\":64}}", "{\"rope_parameters\":{" LLAMA3 ",\"original_max_position_embeddings\":64}}"},
    {Q, "{\"rope_scaling\":{" LLAMA3 ",\"original_max_position_embeddings\":512}}", "{\"rope_parameters\":{" LLAMA3 "}}"},
    {S, "{\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONG "}}", "{\"rope_parameters\":{" LONG ",\"factor\":4,\"original_max_position_embeddings\":128}}"},
    {S, "{\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONG ",\"factor\":9}}", "{\"rope_parameters\":{" LONG ",\"factor\":9,\"original_max_position_embeddings\":128}}"},
    {S, "{\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONG ",\"factor\":9,\"original_max_position_embeddings\":64}}", "{\"rope_parameters\":{" LONG ",\"factor\":9,\"original_max_position_embeddings\":128}}"},
    {S, "{\"rope_scaling\":{" LONG ",\"factor\":4}}", "{\"rope_parameters\":{" LONG ",\"factor\":4}}"},
    {S, "{\"transformers_version\":\"4.57.1\",\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONG ",\"factor\":9}}", "{\"rope_parameters\":{" LONG ",\"original_max_position_embeddings\":128}}"},
    {S, "{\"transformers_version\":\"5.24.0\",\"original_max_position_embeddings\":128,\"rope_scaling\":{" LONG ",\"factor\":9}}", "{\"rope_parameters\":{" LONG ",\"factor\":9,\"original_max_position_embeddings\":128}}"},
    {S, "{\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}}", "{\"rope_scaling\":{" LONG ",\"factor\":1}}"},
};
/* clang-format on */

static void test_spellings(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        glia_err err;
        glia_model_config a, b;
        CHECK(parse(&a, spellings[i].base, spellings[i].v4, &err) == GLIA_OK, "%s: %s", spellings[i].v4,
              err.msg);
        CHECK(parse(&b, spellings[i].base, spellings[i].v5, &err) == GLIA_OK, "%s: %s", spellings[i].v5,
              err.msg);
        CHECK(a.rope && b.rope && same_config(&a, &b), "%s and %s differ", spellings[i].v4, spellings[i].v5);
        glia_model_config_free(&a);
        glia_model_config_free(&b);
    }
    glia_err err; /* first: same_config() sees a difference */
    glia_model_config a, b;
    assert_int_equal(parse(&a, S, "{\"rope_scaling\":{" LONG ",\"factor\":4}}", &err), GLIA_OK);
    assert_int_equal(parse(&b, S, "{\"rope_scaling\":{" LONG ",\"factor\":5}}", &err), GLIA_OK);
    assert_false(same_config(&a, &b));
    glia_model_config_free(&a);
    glia_model_config_free(&b);
}

/* clang-format off */
static const struct {
    const char *base, *patch;
    glia_rope_config want;
} ropes[] = {
    {Q, "{}", {.type = GLIA_ROPE_DEFAULT, .theta = 1e6, .factor = 1, .attention_factor = 1}},
    {Q, "{\"rope_theta\":\"-\"}", {.type = GLIA_ROPE_DEFAULT, .theta = 1e4, .factor = 1, .attention_factor = 1}},
    {S, "{\"rope_theta\":\"-\"}", {.type = GLIA_ROPE_DEFAULT, .theta = 2e6, .factor = 1, .attention_factor = 1}},
    {Q, "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.5}}", {.type = GLIA_ROPE_LINEAR, .theta = 1e6, .factor = 2.5, .attention_factor = 1}},
    {Q, "{\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", {.type = GLIA_ROPE_DYNAMIC, .theta = 1e6, .factor = 2, .attention_factor = 1}},
    {Q, "{\"rope_scaling\":{" YARN "}}",
     {.type = GLIA_ROPE_YARN, .theta = 1e6, .factor = 4, .attention_factor = 1.138629436111989, .beta_fast = 32, .beta_slow = 1, .truncate = true, .original_max_position_embeddings = 512}},
    {Q, "{\"rope_scaling\":{" YARN ",\"attention_factor\":1.5,\"beta_fast\":16,\"beta_slow\":2,\"mscale\":0.7,\"mscale_all_dim\":0.8,\"truncate\":false,\"original_max_position_embeddings\":128}}",
     {.type = GLIA_ROPE_YARN, .theta = 1e6, .factor = 4, .attention_factor = 1.5, .beta_fast = 16, .beta_slow = 2, .original_max_position_embeddings = 128}},
    {Q, "{\"rope_scaling\":{" LLAMA3 ",\"original_max_position_embeddings\":64}}",
     {.type = GLIA_ROPE_LLAMA3, .theta = 1e6, .factor = 8, .attention_factor = 1, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_position_embeddings = 64}},
    {S, "{\"rope_scaling\":{" LONG ",\"attention_factor\":1.25}}",
     {.type = GLIA_ROPE_LONGROPE, .theta = 5e6, .factor = 1, .attention_factor = 1.25, .original_max_position_embeddings = 512, .n_factors = 8}},
    {S, "{\"rope_scaling\":{" LONG ",\"factor\":4}}",
     {.type = GLIA_ROPE_LONGROPE, .theta = 5e6, .factor = 4, .attention_factor = 1.1055415967851334, .original_max_position_embeddings = 512, .n_factors = 8}},
    {S, "{\"original_max_position_embeddings\":100,\"rope_scaling\":{" LONG ",\"factor\":4}}",
     {.type = GLIA_ROPE_LONGROPE, .theta = 5e6, .factor = 4, .attention_factor = 1.1406270186454384, .original_max_position_embeddings = 100, .n_factors = 8}},
    {S, "{\"original_max_position_embeddings\":100,\"rope_parameters\":{" LONG ",\"factor\":4}}",
     {.type = GLIA_ROPE_LONGROPE, .theta = 5e6, .factor = 4, .attention_factor = 1.1406270186454384, .original_max_position_embeddings = 100, .n_factors = 8}},
};
/* clang-format on */

static void test_ropes(void **state) {
    (void)state;
    double ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (size_t i = 0; i < sizeof ropes / sizeof *ropes; i++) {
        glia_err err;
        glia_model_config c;
        glia_rope_config want = ropes[i].want;
        want.rotary_dim = ropes[i].base == Q ? 32 : 16;
        want.pairs = want.rotary_dim / 2;
        if (want.n_factors) want.short_factor = want.long_factor = ones;
        CHECK(parse(&c, ropes[i].base, ropes[i].patch, &err) == GLIA_OK, "%s: %s", ropes[i].patch, err.msg);
        CHECK(same_rope(&c.rope_config, &want), "%s: %s, factor %.17g, original %d", ropes[i].patch,
              glia_rope_type_name(c.rope_config.type), c.rope_config.factor,
              c.rope_config.original_max_position_embeddings);
        glia_model_config_free(&c);
    }
}

/* transformers' defaults for absent keys. */
static void test_defaults(void **state) {
    (void)state;
    glia_err err;
    glia_model_config c;
    const char *text = "{\"model_type\":\"qwen3\"}";
    assert_int_equal(glia_model_config_parse(&c, text, strlen(text), "x", warn, NULL, &err), GLIA_OK);
    assert_string_equal(c.architecture, "Qwen3ForCausalLM");
    assert_true(c.vocab == 151936 && c.hidden == 4096 && c.ffn == 22016 && c.head_dim == 128);
    assert_true(c.layers == 32 && c.heads == 32 && c.kv_heads == 32 && c.max_position_embeddings == 32768);
    assert_true(c.rms_norm_eps == 1e-6 && !c.tied_head && !c.attention_bias && !c.mlp_bias);
    assert_true(c.dtype == GLIA_DTYPE_AUTO && c.eos.n == 0 && c.bos == -1 && c.pad == -1);
    glia_model_config_free(&c);
    text = "{\"model_type\":\"smollm3\"}";
    assert_int_equal(glia_model_config_parse(&c, text, strlen(text), "x", warn, NULL, &err), GLIA_OK);
    assert_string_equal(c.architecture, "SmolLM3ForCausalLM");
    assert_true(c.vocab == 128256 && c.hidden == 2048 && c.ffn == 11008 && c.head_dim == 128);
    assert_true(c.layers == 36 && c.heads == 16 && c.kv_heads == 4 && c.max_position_embeddings == 32768);
    assert_true(c.tied_head && c.eos.n == 1 && c.eos.id[0] == 128001 && c.bos == 128000 && c.pad == 128004);
    glia_model_config_free(&c);
    text = "{\"model_type\":\"qwen2\"}";
    assert_int_equal(glia_model_config_parse(&c, text, strlen(text), "x", warn, NULL, &err), GLIA_OK);
    assert_string_equal(c.architecture, "Qwen2ForCausalLM");
    assert_true(c.vocab == 151936 && c.hidden == 4096 && c.ffn == 22016 && c.head_dim == 128);
    assert_true(c.layers == 32 && c.heads == 32 && c.kv_heads == 32 && c.max_position_embeddings == 32768);
    assert_true(c.rope_config.theta == 1e4 && !c.tied_head && c.eos.n == 0 && c.bos == -1 && c.pad == -1);
    glia_model_config_free(&c);
    text = "{\"model_type\":\"llama\",\"num_attention_heads\":16}";
    assert_int_equal(glia_model_config_parse(&c, text, strlen(text), "x", warn, NULL, &err), GLIA_OK);
    assert_string_equal(c.architecture, "LlamaForCausalLM");
    assert_true(c.vocab == 32000 && c.hidden == 4096 && c.ffn == 11008 && c.head_dim == 256);
    assert_true(c.layers == 32 && c.heads == 16 && c.kv_heads == 16 && c.max_position_embeddings == 2048);
    assert_true(c.rope_config.theta == 1e4 && !c.tied_head && c.eos.id[0] == 2 && c.bos == 1 && c.pad == -1);
    glia_model_config_free(&c);
    assert_int_equal(parse(&c, S,
                           "{\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":false,"
                           "\"rms_norm_eps\":1e-5,\"eos_token_id\":[1,2],\"bos_token_id\":null,"
                           "\"pad_token_id\":3}",
                           &err),
                     GLIA_OK);
    assert_true(c.attention_bias && c.mlp_bias && !c.tied_head && c.rms_norm_eps == 1e-5 && c.head_dim == 16);
    assert_true(c.eos.n == 2 && c.eos.id[1] == 2 && c.bos == -1 && c.pad == 3 && c.dtype == GLIA_DTYPE_F32);
    glia_model_config_free(&c);
}

/* ---- files ----------------------------------------------------------------- */

static void test_files(void **state) {
    (void)state;
    static const struct {
        const char *text;
        glia_status status;
        const char *words;
    } files[] = {
        {"", GLIA_ERR_FORMAT, "config.json: line 1, column 0 (byte 0): "},
        {"{\n  \"hidden_size\": 64,\n  oops\n}", GLIA_ERR_FORMAT,
         "config.json: line 3, column 6 (byte 29): "},
        {"{\"hidden_size\":64,\"hidden_size\":32}", GLIA_ERR_FORMAT, "duplicate object key"},
        {"{\"model_type\":\"llama\",\"rope_theta\":NaN}", GLIA_ERR_FORMAT,
         "rope_theta: expected 1.17549e-38 to 1.79769e+308, found nan"},
        {"{\"model_type\":\"llama\",\"rope_theta\":1e999}", GLIA_ERR_FORMAT,
         "rope_theta: expected 1.17549e-38 to 1.79769e+308, found inf"},
        {"{\"model_type\":\"\xff\"}", GLIA_ERR_FORMAT, "unable to decode byte 0xff"},
        {"[1]", GLIA_ERR_FORMAT, "config.json: expected an object, found an array"},
        {"3", GLIA_ERR_FORMAT, "config.json: expected an object, found an integer"},
    };
    glia_err err;
    glia_model_config c;
    const char *dir = check_temp_dir();
    assert_int_equal(glia_model_config_load(&c, dir, warn, NULL, &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "/config.json: No such file or directory"));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        check_write_file(dir, "config.json", files[i].text, strlen(files[i].text));
        CHECK(glia_model_config_load(&c, dir, warn, NULL, &err) == files[i].status, "%s: %s", files[i].text,
              err.msg);
        CHECK(strstr(err.msg, files[i].words), "%s: \"%s\"", files[i].text, err.msg);
        CHECK(!strncmp(err.msg, dir, strlen(dir)), "%s: no path in \"%s\"", files[i].text, err.msg);
    }
    const size_t size = (16 << 20) + 1;
    char *big = malloc(size), *deep = malloc(4000);
    assert_true(big && deep);
    memset(big, ' ', size);
    check_write_file(dir, "config.json", big, size);
    assert_int_equal(glia_model_config_load(&c, dir, warn, NULL, &err), GLIA_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "16777217 bytes, limit is 16777216"));
    memset(deep, '[', 4000);
    assert_int_equal(glia_model_config_parse(&c, deep, 4000, "x", warn, NULL, &err), GLIA_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "maximum parsing depth reached"));
    free(big);
    free(deep);
    check_write_file(dir, "config.json", qwen3, strlen(qwen3));
    assert_int_equal(glia_model_config_load(&c, dir, warn, NULL, &err), GLIA_OK);
    assert_int_equal(c.hidden, 64);
    glia_model_config_free(&c);
    glia_model_config_free(&c);
}

static const struct {
    const char *model;
    int hidden, ffn, layers, heads, kv_heads, positions;
    double theta;
    int vocab;
    bool tied;
    int eos;
} published[] = {
    {"Qwen3-0.6B", 1024, 3072, 28, 16, 8, 40960, 1e6, 151936, true, 151645},
    {"Qwen3-1.7B", 2048, 6144, 28, 16, 8, 40960, 1e6, 151936, true, 151645},
    {"Qwen3-4B", 2560, 9728, 36, 32, 8, 40960, 1e6, 151936, true, 151645},
    {"Qwen3-4B-Instruct-2507", 2560, 9728, 36, 32, 8, 262144, 5e6, 151936, true, 151645},
    {"Qwen3-4B-Thinking-2507", 2560, 9728, 36, 32, 8, 262144, 5e6, 151936, true, 151645},
    {"Qwen3-8B", 4096, 12288, 36, 32, 8, 40960, 1e6, 151936, false, 151645},
    {"Qwen3-14B", 5120, 17408, 40, 40, 8, 40960, 1e6, 151936, false, 151645},
    {"Qwen3-32B", 5120, 25600, 64, 64, 8, 40960, 1e6, 151936, false, 151645},
    {"Qwen3-Embedding-0.6B", 1024, 3072, 28, 16, 8, 32768, 1e6, 151669, true, 151643},
    {"Qwen3-Reranker-0.6B", 1024, 3072, 28, 16, 8, 40960, 1e6, 151669, true, 151645},
    {"SmolLM3-3B", 2048, 11008, 36, 16, 4, 65536, 5e6, 128256, true, 128012},
};

static void test_published(void **state) {
    (void)state;
    if (!check_shared("data/configs")) check_skip("no reference data: published configs");
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        glia_err err = {GLIA_OK, ""};
        glia_model_config c;
        char relative[100];
        const char *name = published[i].model;
        const bool smol = !strncmp(name, "SmolLM3", 7);
        snprintf(relative, sizeof relative, "data/configs/%s", name);
        warnings[0] = '\0';
        CHECK(glia_model_config_load(&c, check_shared(relative), warn, NULL, &err) == GLIA_OK, "%s", err.msg);
        CHECK(!*warnings, "%s: %s", name, warnings);
        CHECK(c.hidden == published[i].hidden && c.ffn == published[i].ffn &&
                  c.layers == published[i].layers && c.heads == published[i].heads &&
                  c.kv_heads == published[i].kv_heads && c.head_dim == 128 && c.vocab == published[i].vocab,
              "%s: sizes", name);
        CHECK(c.max_position_embeddings == published[i].positions &&
                  c.rope_config.theta == published[i].theta && c.rope_config.type == GLIA_ROPE_DEFAULT &&
                  c.rms_norm_eps == 1e-6,
              "%s: positions", name);
        CHECK(c.tied_head == published[i].tied && !c.attention_bias && !c.mlp_bias &&
                  c.dtype == GLIA_DTYPE_BF16,
              "%s: weights", name);
        CHECK(c.eos.n == 1 && c.eos.id[0] == published[i].eos && c.bos == (smol ? 128000 : 151643) &&
                  c.pad == (smol ? 128004 : -1),
              "%s: ids", name);
        for (int l = 0; l < c.layers; l++)
            CHECK(c.window[l] == 0 && c.rope[l] == (smol ? l % 4 != 3 : 1), "%s: layer %d", name, l);
        glia_model_config_free(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_warnings),  cmocka_unit_test(test_layers),
        cmocka_unit_test(test_spellings), cmocka_unit_test(test_ropes),     cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_files),     cmocka_unit_test(test_published),
    };
    return check_run_group("config", tests);
}
