/* check_neuron_config.c - neuron_config.json: every key of the table, both forms of
 * the file, rules for several keys, and the copy of the table in docs/CONFIG.md.
 *
 * `check_neuron_config --write` rewrites that copy. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/neuron_config.h"

static char warnings[4000];

static void warn(void *user, const char *sentence) {
    (void)user;
    const size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", sentence);
}

/* Frees what *c holds first. */
static glia_status parse(glia_neuron_config *c, const char *text, glia_err *err) {
    glia_neuron_config_free(c);
    *err = (glia_err){GLIA_OK, ""};
    warnings[0] = '\0';
    return glia_neuron_config_parse(c, text, strlen(text), "x", warn, NULL, err);
}

static bool says_nothing(const glia_neuron_config *c) {
    if (c->modules || c->speculation) return false;
    for (int id = 0; id < N_NEURON; id++)
        if (c->key[id]) return false;
    return true;
}

/* ---- every row ------------------------------------------------------------- */

/* Parse {"key": value, more}; for a key with a dot {"object": {"key": value, more}}. */
static glia_status parse_one(glia_neuron_config *c, const char *key, const char *value, const char *more,
                             glia_err *err) {
    char text[400];
    const char *dot = strchr(key, '.');
    if (dot)
        snprintf(text, sizeof text, "{\"%.*s\":{\"%s\":%s%s}}", (int)(dot - key), key, dot + 1, value, more);
    else
        snprintf(text, sizeof text, "{\"%s\":%s%s}", key, value, more);
    const glia_status status = parse(c, text, err);
    CHECK(status == GLIA_OK || (!c->present && says_nothing(c)), "%s: not zeroed", text);
    return status;
}

static bool is_json(const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    json_decref(v);
    return v != NULL;
}

static const glia_neuron_key *row_of(const char *key) {
    for (size_t i = 0; i < glia_n_neuron_keys; i++)
        if (!strcmp(glia_neuron_keys[i].key, key)) return &glia_neuron_keys[i];
    return NULL;
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < glia_n_neuron_keys; i++) {
        const glia_neuron_key *row = &glia_neuron_keys[i];
        CHECK(row_of(row->key) == row, "%s has two rows", row->key);
        CHECK(*row->what && strlen(row->what) < 100 && !strchr(row->what, '|'), "%s", row->key);
        CHECK(row->whose >= NEURON_OPTIMUM && row->whose <= NEURON_GLIA, "%s", row->key);
        CHECK(row->id == NEURON_NONE || row->rule == NEURON_READ, "%s", row->key);
        if (row->rule == NEURON_WARN || row->rule == NEURON_REFUSE || (row->whose & NEURON_OPTIMUM))
            CHECK(is_json(row->preset) || (row_of(row->preset) && row_of(row->preset) < row), "%s: %s",
                  row->key, row->preset);
        const char *dot = strchr(row->key, '.');
        if (!dot) continue;
        char object[64];
        snprintf(object, sizeof object, "%.*s", (int)(dot - row->key), row->key);
        CHECK(row_of(object) && row_of(object)->rule == NEURON_READ, "%s: no row for %s", row->key, object);
    }
}

/* A value of the row's type that is not its default. */
static const char *other(const glia_neuron_key *row) {
    switch (row->type) {
    case NEURON_INT: return row->id == NEURON_BLOCK ? "48" : "7";
    case NEURON_REAL: return "0.25";
    case NEURON_BOOL: return strcmp(row->preset, "true") ? "true" : "false";
    case NEURON_STRING: return row->rule == NEURON_READ ? "\"float32\"" : "\"other\"";
    case NEURON_LIST: return "[1]";
    case NEURON_OBJECT: return "{\"a\":1}";
    case NEURON_ANY: break;
    }
    return "[[0],[0,1]]";
}

static double number_of(const char *value) {
    if (*value == '"') return GLIA_DTYPE_F32;
    return *value == 't' || *value == 'f' ? *value == 't' : strtod(value, NULL);
}

static void check_read(const glia_neuron_key *row) {
    glia_neuron_config c = {0};
    glia_err err;
    const char *more = row->id == NEURON_BLOCK ? ",\"is_block_kv_layout\":true" : "";
    CHECK(parse_one(&c, row->key, other(row), more, &err) == GLIA_OK && !*warnings, "%s: %s%s", row->key,
          err.msg, warnings);
    CHECK(c.present && c.key[row->id] && !strcmp(c.key[row->id], row->key) &&
              c.number[row->id] == number_of(other(row)),
          "%s is %s %g", row->key, c.key[row->id], c.number[row->id]);
    CHECK(parse_one(&c, row->key, "[3]", more, &err) == GLIA_ERR_FORMAT, "%s: %s", row->key, err.msg);
    CHECK(strstr(err.msg, ": expected ") && strstr(err.msg, "found an array"), "%s", err.msg);
    if (row->type == NEURON_INT)
        CHECK(parse_one(&c, row->key, "-2", more, &err) == GLIA_ERR_FORMAT, "%s: %s", row->key, err.msg);
    glia_neuron_config_free(&c);
}

static void test_every_key(void **state) {
    (void)state;
    glia_neuron_config c = {0};
    glia_err err;
    for (size_t i = 0; i < glia_n_neuron_keys; i++) {
        const glia_neuron_key *row = &glia_neuron_keys[i];
        const char *dot = strchr(row->key, '.'), *name = dot ? dot + 1 : row->key;
        const bool in_sampling = !strncmp(row->key, "on_device_sampling_config", 25);
        CHECK(parse_one(&c, row->key, "null", "", &err) == GLIA_OK && !*warnings, "%s: %s%s", row->key,
              err.msg, warnings);
        CHECK(says_nothing(&c) || in_sampling, "%s: null says something", row->key);
        if (is_json(row->preset))
            CHECK(parse_one(&c, row->key, row->preset, "", &err) == GLIA_OK && !*warnings, "%s: %s%s",
                  row->key, err.msg, warnings);
        if (row->id != NEURON_NONE) check_read(row);
        if (row->rule == NEURON_READ) continue;
        const glia_status status = parse_one(&c, row->key, other(row), "", &err);
        const bool refused = row->rule == NEURON_REFUSE;
        CHECK(status == (refused ? GLIA_ERR_UNSUPPORTED : GLIA_OK), "%s: %s", row->key, err.msg);
        CHECK(!refused || (strstr(err.msg, name) && strstr(err.msg, row->what)), "%s: %s", row->key, err.msg);
        CHECK((*warnings != '\0') == (row->rule == NEURON_WARN), "%s: %s", row->key, warnings);
        CHECK(!*warnings || (strstr(warnings, name) && strstr(warnings, row->what)), "%s: %s", row->key,
              warnings);
        CHECK(says_nothing(&c) || in_sampling, "%s says something", row->key);
    }
    glia_neuron_config_free(&c);
}

/* ---- keys together --------------------------------------------------------- */

/* The expected value of an id; key NULL: the id is not set. */
typedef struct {
    glia_neuron_id id;
    const char *key;
    double number;
} said;

static void expect(const char *text, const glia_neuron_config *c, const said *s) {
    for (; s->id != NEURON_NONE; s++) {
        const char *key = c->key[s->id];
        CHECK((!key) == (!s->key) && (!key || (!strcmp(key, s->key) && c->number[s->id] == s->number)),
              "%s: id %d is %s %g, want %s %g", text, (int)s->id, key ? key : "not said", c->number[s->id],
              s->key ? s->key : "not said", s->number);
    }
}

#define NO                                                                                                   \
    { NEURON_NONE, NULL, 0 }
/* clang-format off */
static const struct {
    const char *text;
    said want[5];
} readings[] = {
    {"{}", {{NEURON_BATCH, NULL, 0}, {NEURON_DO_SAMPLE, NULL, 0}, NO}},
    {"{\"batch_size\":4,\"max_batch_size\":4}", {{NEURON_BATCH, "batch_size", 4}, NO}},
    {"{\"batch_size\":2,\"max_batch_size\":8,\"tkg_batch_size\":4}", {{NEURON_BATCH, "max_batch_size", 8}, NO}},
    {"{\"chunked_prefill_config\":{\"max_num_seqs\":16},\"batch_size\":1}", {{NEURON_BATCH, "chunked_prefill_config.max_num_seqs", 16}, NO}},
    {"{\"chunked_prefill_config\":{\"max_num_seqs\":0}}", {{NEURON_BATCH, NULL, 0}, NO}},
    {"{\"seq_len\":2048,\"n_positions\":2048,\"max_length\":2048,\"max_context_length\":1024}",
     {{NEURON_SEQUENCE, "max_length", 2048}, {NEURON_CONTEXT, "max_context_length", 1024}, NO}},
    {"{\"max_context_length\":1024}", {{NEURON_SEQUENCE, NULL, 0}, {NEURON_CONTEXT, "max_context_length", 1024}, NO}},
    {"{\"prefill_chunk_size\":0}", {{NEURON_CHUNK, NULL, 0}, NO}},
    {"{\"windowed_context_encoding_size\":512}", {{NEURON_CHUNK, "windowed_context_encoding_size", 512}, NO}},
    {"{\"torch_dtype\":\"torch.bfloat16\"}", {{NEURON_DTYPE, "torch_dtype", GLIA_DTYPE_BF16}, NO}},
    {"{\"torch_dtype\":\"float16\"}", {{NEURON_DTYPE, "torch_dtype", GLIA_DTYPE_F16}, NO}},
    {"{\"kv_cache_dtype\":\"int8\"}", {{NEURON_KV_DTYPE, "kv_cache_dtype", GLIA_DTYPE_I8}, NO}},
    {"{\"kv_cache_dtype\":\"auto\"}", {{NEURON_KV_DTYPE, NULL, 0}, NO}},
    {"{\"pa_block_size\":32}", {{NEURON_BLOCK, NULL, 0}, NO}},
    {"{\"pa_block_size\":32,\"is_block_kv_layout\":false}", {{NEURON_BLOCK, NULL, 0}, NO}},
    {"{\"pa_block_size\":32,\"is_block_kv_layout\":true}", {{NEURON_BLOCK, "pa_block_size", 32}, NO}},
    {"{\"is_prefix_caching\":false}", {{NEURON_PREFIX_CACHE, "is_prefix_caching", 0}, NO}},
    {"{\"on_device_sampling_config\":{}}", {{NEURON_DO_SAMPLE, "on_device_sampling_config", 0}, {NEURON_TOP_K, NULL, 0}, NO}},
    {"{\"quantized\":false,\"quantization_dtype\":\"f8e5m2\",\"quantization_type\":7,\"modules_to_not_convert\":[\"mlp\"]}",
     {{NEURON_QUANTIZATION, NULL, 0}, {NEURON_QUANTIZATION_TYPE, NULL, 0}, NO}},
    {"{\"quantized\":true}", {{NEURON_QUANTIZATION, "quantized", GLIA_QUANTIZATION_INT8},
     {NEURON_QUANTIZATION_TYPE, "quantization_type", GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC}, NO}},
    {"{\"quantization_type\":\"per_channel_symmetric\",\"quantization_dtype\":\"int8\",\"quantized\":true,\"activation_quantization_type\":\"dynamic\",\"modules_to_not_convert\":[\"lm_head\",\"layers.0.mlp\"]}",
     {{NEURON_QUANTIZATION, "activation_quantization_type", GLIA_QUANTIZATION_W8A8},
      {NEURON_QUANTIZATION_TYPE, "quantization_type", GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC}, NO}},
    {"{\"quantized\":true,\"quantization_type\":\"rotated_per_channel_symmetric\"}",
     {{NEURON_QUANTIZATION_TYPE, "quantization_type", GLIA_QUANTIZATION_ROTATED_PER_CHANNEL_SYMMETRIC}, NO}},
    {"{\"on_device_sampling_config\":null}", {{NEURON_DO_SAMPLE, NULL, 0}, NO}},
    {"{\"on_device_sampling_config\":{\"do_sample\":true,\"top_k\":-1,\"top_p\":0.9,\"temperature\":0}}",
     {{NEURON_DO_SAMPLE, "on_device_sampling_config.do_sample", 1}, {NEURON_TOP_K, "on_device_sampling_config.top_k", -1},
      {NEURON_TOP_P, "on_device_sampling_config.top_p", 0.9}, {NEURON_TEMPERATURE, "on_device_sampling_config.temperature", 0}, NO}},
    {"{\"on_device_sampling_config\":{\"do_sample\":true,\"top_k\":5,\"dynamic\":true}}", {{NEURON_DO_SAMPLE, NULL, 0}, {NEURON_TOP_K, NULL, 0}, NO}},
    {"{\"quantize_clamp_bound\":-Infinity,\"checkpoint_id\":\"a \\\"Infinity\\\"\",\"batch_size\":2}", {{NEURON_BATCH, "batch_size", 2}, NO}},
    {"{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"fused_spec_config\":null,\"neuron_config\":{\"seq_len\":640}}", {{NEURON_SEQUENCE, "seq_len", 640}, NO}},
};

#define F GLIA_ERR_FORMAT
#define U GLIA_ERR_UNSUPPORTED
static const struct {
    const char *text;
    glia_status status;
    const char *words;
} refusals[] = {
    {"", F, "x: line 1"},
    {"[]", F, "x: expected an object, found an array"},
    {"{\"batch_size\":1,\"batch_size\":2}", F, "duplicate object key"},
    {"{\"on_device_sampling_config\":{\"temperature\":NaN}}", F, "temperature: expected 0 to 100, found nan"},
    {"{\"batch_size\":0}", F, "x: batch_size: expected 1 to 2147483647, found 0"},
    {"{\"batch_size\":\"4\"}", F, "x: batch_size: expected an integer, found a string \"4\""},
    {"{\"seq_len\":2048,\"max_length\":1024}", F, "x: seq_len is 2048 but max_length is 1024"},
    {"{\"sequence_length\":128,\"max_context_length\":256}", F, "x: max_context_length is 256, more than sequence_length 128"},
    {"{\"prefill_chunk_size\":64,\"windowed_context_encoding_size\":128}", F, "x: prefill_chunk_size is 64 but windowed_context_encoding_size is 128"},
    {"{\"torch_dtype\":\"float8_e4m3fn\"}", U, "x: torch_dtype is float8_e4m3fn; Glia has float32, bfloat16 and float16"},
    {"{\"kv_cache_dtype\":\"fp8\"}", U, "x: kv_cache_dtype is fp8"},
    {"{\"_serialized_key\":\"NxDVLMNeuronConfig\"}", U, "x: _serialized_key is \"NxDVLMNeuronConfig\", which would change the result; the class that wrote it"},
    {"{\"on_device_sampling_config\":{\"top_p\":1.5}}", F, "x: on_device_sampling_config: top_p: expected 0 to 1, found 1.5"},
    {"{\"on_device_sampling_config\":{\"top_k\":-2}}", F, "x: on_device_sampling_config: top_k: expected -1 to"},
    {"{\"on_device_sampling_config\":{\"deterministic\":true}}", U, "x: on_device_sampling_config: deterministic is true, which would change the result; --seed"},
    {"{\"on_device_sampling_config\":true}", F, "x: on_device_sampling_config: expected an object, found a boolean true"},
    {"{\"neuron_config\":{\"quantized_mlp_kernel_enabled\":true}}", U, "x: neuron_config: quantized_mlp_kernel_enabled is true"},
    {"{\"quantized\":true,\"quantization_dtype\":\"f8e5m2\"}", U, "x: quantization_dtype is f8e5m2; Glia has int8, int4 and f8e4m3"},
    {"{\"quantized\":true,\"quantization_type\":\"blockwise_symmetric\"}", U, "x: quantization_type is blockwise_symmetric; Glia has per_channel_symmetric, per_tensor_symmetric, rotated_per_channel_symmetric, group_symmetric, group_asymmetric, rotated_group_symmetric and rotated_group_asymmetric"},
    {"{\"quantized\":true,\"activation_quantization_type\":\"static\"}", U, "x: activation_quantization_type is static; Glia has dynamic"},
    {"{\"quantized\":true,\"modules_to_not_convert\":[\"mlp\",3]}", F, "x: modules_to_not_convert[1]: expected the name of a module"},
    {"{\"quantized\":true,\"modules_to_not_convert\":[\"a,b\"]}", F, "x: modules_to_not_convert[0]: expected the name"},
    {"{\"quantized\":true,\"modules_to_not_convert\":\"mlp\"}", F, "x: modules_to_not_convert: expected an array"},
    {"{\"is_medusa\":true,\"is_eagle3\":true}", F, "x: is_medusa and is_eagle3 are both true: expected one kind of draft"},
    {"{\"is_medusa\":true,\"medusa_speculation_length\":2,\"medusa_tree\":[[0],[1]]}", F, "x: medusa_speculation_length is 2, but medusa_tree has 2 nodes besides the known token"},
    {"{\"speculation_length\":1}", F, "x: speculation_length is 1, which counts the known token: expected 0 or at least 2"},
    {"{\"speculation_length\":\"x\"}", F, "x: speculation_length: expected an integer, found a string"},
    {"{\"is_eagle3\":3}", F, "x: is_eagle3: expected "},
    {"{\"fused_spec_config\":{\"draft_model_path\":3},\"neuron_config\":{}}", F, "draft_model_path"},
    {"{\"neuron_config\":[]}", F, "x: neuron_config: expected an object, found an array"},
};

static const struct {
    const char *text, *words;
} odd[] = {
    {"{\"spice\":1}", "x: unknown key spice is ignored\n"},
    {"{\"on_device_sampling_config.top_k\":1}", "x: unknown key on_device_sampling_config.top_k is ignored\n"},
    {"{\"chunked_prefill_config\":{\"spice\":1}}", "x: chunked_prefill_config: unknown key spice is ignored\n"},
    {"{\"fused_spec_config\":{\"spice\":1},\"neuron_config\":{}}", "x: fused_spec_config: unknown key spice is ignored\n"},
    {"{\"neuron_config\":{\"async_mode\":true}}", "x: neuron_config: async_mode is true, which Glia does not have; steps do not overlap\n"},
    {"{\"max_topk\":64}", "x: max_topk is 64, which Glia does not have; top_k may be any number\n"},
};
/* clang-format on */

/* clang-format off */
/* Keys of speculation, and what --speculative-config would say; NULL: nothing. */
static const struct {
    const char *text, *config;
} speculation[] = {
    {"{\"speculation_length\":0}", NULL},
    {"{\"speculation_length\":5}", "{\"method\":\"draft_model\",\"num_speculative_tokens\":4}"},
    {"{\"fused_spec_config\":{\"draft_model_path\":\"d\",\"draft_config\":{},\"worker_cls\":\"w\"},\"neuron_config\":"
     "{\"speculation_length\":7,\"enable_fused_speculation\":true}}",
     "{\"method\":\"draft_model\",\"model\":\"d\",\"num_speculative_tokens\":6}"},
    {"{\"fused_spec_config\":{\"draft_model_path\":\"d\"},\"neuron_config\":{\"speculation_length\":3,\"enable_eagle_speculation\":true}}",
     "{\"method\":\"eagle\",\"model\":\"d\",\"num_speculative_tokens\":2}"},
    {"{\"enable_eagle_speculation\":true,\"is_eagle3\":true,\"speculation_length\":6}",
     "{\"method\":\"eagle3\",\"num_speculative_tokens\":5}"},
    {"{\"enable_eagle_speculation\":true,\"speculation_length\":6,\"token_tree_config\":{\"0\":[\"1\",\"2\"],\"1\":[\"3\"]}}",
     "{\"method\":\"eagle\",\"token_tree_config\":{\"0\":[\"1\",\"2\"],\"1\":[\"3\"]}}"},
    {"{\"is_medusa\":true,\"num_medusa_heads\":4,\"medusa_speculation_length\":64}",
     "{\"method\":\"medusa\",\"num_speculative_tokens\":4}"},
    {"{\"is_medusa\":true,\"num_medusa_heads\":4,\"medusa_speculation_length\":3,\"medusa_tree\":[[0],[0,0]]}",
     "{\"method\":\"medusa\",\"medusa_tree\":[[0],[0,0]]}"},
};
/* clang-format on */

static void test_speculation(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof speculation / sizeof *speculation; i++) {
        glia_neuron_config c = {0};
        glia_err err;
        json_t *want = speculation[i].config ? json_loads(speculation[i].config, 0, NULL) : NULL;
        CHECK(parse(&c, speculation[i].text, &err) == GLIA_OK && !*warnings, "%s: %s%s", speculation[i].text,
              err.msg, warnings);
        CHECK(want ? json_equal(c.speculation, want) : !c.speculation, "%s", speculation[i].text);
        json_decref(want);
        glia_neuron_config_free(&c);
    }
}

static void test_together(void **state) {
    (void)state;
    glia_neuron_config c = {0};
    glia_err err;
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) {
        CHECK(parse(&c, readings[i].text, &err) == GLIA_OK && !*warnings, "%s: %s%s", readings[i].text,
              err.msg, warnings);
        expect(readings[i].text, &c, readings[i].want);
        const char *keep = strstr(readings[i].text, "lm_head") ? "lm_head,layers.0.mlp" : NULL;
        CHECK(keep ? c.modules && !strcmp(c.modules, keep) : !c.modules, "%s: %s", readings[i].text,
              c.modules);
        glia_neuron_config_free(&c);
    }
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        CHECK(parse(&c, refusals[i].text, &err) == refusals[i].status, "%s: %s", refusals[i].text, err.msg);
        CHECK(strstr(err.msg, refusals[i].words), "%s: \"%s\", want \"%s\"", refusals[i].text, err.msg,
              refusals[i].words);
        CHECK(!c.present && says_nothing(&c), "%s: not zeroed", refusals[i].text);
    }
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        CHECK(parse(&c, odd[i].text, &err) == GLIA_OK, "%s: %s", odd[i].text, err.msg);
        CHECK(strstr(warnings, odd[i].words), "%s: \"%s\"", odd[i].text, warnings);
    }
    glia_neuron_config_free(&c);
    assert_int_equal(glia_neuron_config_parse(&c, "{\"spice\":1}", 11, "x", NULL, NULL, NULL), GLIA_OK);
    glia_neuron_config_free(&c);
}

/* ---- files as the two programs write them ---------------------------------- */

/* Optimum's form, with values of its documented exports of Llama and Qwen3 decoders
 * on inf2 and trn1, but one rank. */
static const char optimum[] =
    "{\n  \"_serialized_key\": \"NxDNeuronConfig\",\n  \"batch_size\": 4,\n  \"capacity_factor\": null,\n"
    "  \"checkpoint_id\": \"Qwen/Qwen3-0.6B\",\n  \"checkpoint_revision\": \"c1899de\",\n"
    "  \"continuous_batching\": true,\n  \"ep_degree\": 1,\n  \"fused_qkv\": true,\n  \"glu_mlp\": true,\n"
    "  \"local_ranks_size\": 1,\n  \"logical_nc_config\": 1,\n  \"max_batch_size\": 4,\n"
    "  \"max_context_length\": 4096,\n  \"max_topk\": 256,\n  \"n_active_tokens\": 4096,\n"
    "  \"neuronxcc_version\": \"2.21.18209.0\",\n  \"on_device_sampling\": true,\n"
    "  \"optimum_neuron_version\": \"0.4.5\",\n  \"output_logits\": false,\n  \"pp_degree\": 1,\n"
    "  \"prefill_chunk_size\": 1024,\n  \"sequence_length\": 4096,\n  \"speculation_length\": 0,\n"
    "  \"start_rank_id\": 0,\n  \"target\": \"trn1\",\n  \"torch_dtype\": \"bfloat16\",\n  \"tp_degree\": "
    "1\n}\n";

/* NxD Inference's form: the model's configuration with the keys inside, and every
 * kind of float that Python writes. */
static const char nxdi[] =
    "{\"model_type\": \"qwen3\", \"hidden_size\": 1024, \"architectures\": [\"Qwen3ForCausalLM\"],"
    " \"fused_spec_config\": null, \"metadata\": null, \"neuron_config\": {\"batch_size\": 2, \"seq_len\": "
    "1024,"
    " \"max_context_length\": 512, \"max_new_tokens\": 512, \"max_length\": 1024, \"n_positions\": 1024,"
    " \"n_active_tokens\": 1024, \"padding_side\": \"right\", \"ctx_batch_size\": 1, \"tkg_batch_size\": 2,"
    " \"kv_cache_batch_size\": 2, \"is_continuous_batching\": true, \"torch_dtype\": \"bfloat16\","
    " \"tp_degree\": 8, \"world_size\": 8, \"fused_qkv\": true, \"enable_bucketing\": true,"
    " \"buckets\": [128, 1024], \"on_device_sampling_config\": {\"do_sample\": true, \"dynamic\": true,"
    " \"deterministic\": false, \"global_topk\": 256, \"top_k\": 1, \"top_p\": 1.0, \"temperature\": 1.0},"
    " \"quantized\": false, \"quantization_dtype\": \"int8\", \"quantization_type\": "
    "\"per_tensor_symmetric\","
    " \"quantize_clamp_bound\": Infinity, \"kv_cache_quant\": false, \"is_block_kv_layout\": true,"
    " \"pa_block_size\": 32, \"pa_num_blocks\": 64, \"is_prefix_caching\": true, \"async_mode\": false,"
    " \"lora_config\": null, \"speculation_length\": 0, \"cc_pipeline_tiling_factor\": 2}}";

static void test_files(void **state) {
    (void)state;
    static const said from_optimum[] = {{NEURON_BATCH, "batch_size", 4},
                                        {NEURON_SEQUENCE, "sequence_length", 4096},
                                        {NEURON_CHUNK, "prefill_chunk_size", 1024},
                                        {NEURON_DTYPE, "torch_dtype", GLIA_DTYPE_BF16},
                                        {NEURON_TP, "tp_degree", 1},
                                        NO};
    static const said from_nxdi[] = {{NEURON_BATCH, "batch_size", 2},
                                     {NEURON_SEQUENCE, "n_positions", 1024},
                                     {NEURON_TP, "tp_degree", 8},
                                     {NEURON_BLOCK, "pa_block_size", 32},
                                     {NEURON_PREFIX_CACHE, "is_prefix_caching", 1},
                                     {NEURON_DO_SAMPLE, NULL, 0},
                                     NO};
    glia_neuron_config c = {0};
    glia_err err;
    CHECK(parse(&c, optimum, &err) == GLIA_OK && !*warnings, "%s%s", err.msg, warnings);
    expect("Optimum's", &c, from_optimum);
    CHECK(parse(&c, nxdi, &err) == GLIA_OK && !*warnings, "%s%s", err.msg, warnings);
    expect("NxDI's", &c, from_nxdi);

    glia_neuron_config_free(&c);
    const char *dir = check_temp_dir();
    assert_int_equal(glia_neuron_config_load(&c, dir, warn, NULL, &err), GLIA_OK);
    assert_true(!c.present && says_nothing(&c));
    check_write_file(dir, "neuron_config.json", optimum, sizeof optimum - 1);
    assert_int_equal(glia_neuron_config_load(&c, dir, warn, NULL, &err), GLIA_OK);
    assert_true(c.present && c.number[NEURON_BATCH] == 4);
    glia_neuron_config_free(&c);
    check_write_file(dir, "neuron_config.json", "{\"batch_size\":-1}", 17);
    assert_int_equal(glia_neuron_config_load(&c, dir, warn, NULL, &err), GLIA_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "/neuron_config.json: batch_size: expected 1 to"));
}

/* ---- writing --------------------------------------------------------------- */

static void check_round_trip(const char *text) {
    glia_neuron_config a = {0}, b = {0};
    glia_err err;
    assert_int_equal(parse(&a, text, &err), GLIA_OK);
    json_t *file = glia_neuron_config_write(&a);
    assert_non_null(file);
    for (size_t i = 0; i < glia_n_neuron_keys; i++)
        if (glia_neuron_keys[i].whose & NEURON_OPTIMUM)
            CHECK(json_object_get(file, glia_neuron_keys[i].key), "%s is not written",
                  glia_neuron_keys[i].key);
    char *written = json_dumps(file, 0);
    CHECK(parse(&b, written, &err) == GLIA_OK && !*warnings, "%s: %s%s", written, err.msg, warnings);
    for (int id = 0; id < N_NEURON; id++)
        if (a.key[id] && id != NEURON_CONTEXT)
            CHECK(b.key[id] && a.number[id] == b.number[id], "%s: %s is %g, was %g", written, a.key[id],
                  b.number[id], a.number[id]);
    CHECK(a.modules ? b.modules && !strcmp(a.modules, b.modules) : !b.modules, "%s: %s", written, a.modules);
    glia_neuron_config_free(&a);
    glia_neuron_config_free(&b);
    free(written);
    json_decref(file);
}

static void test_write(void **state) {
    (void)state;
    check_round_trip("{}");
    check_round_trip(optimum);
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) check_round_trip(readings[i].text);
}

/* ---- docs/CONFIG.md -------------------------------------------------------- */

#define DOC "docs/CONFIG.md"
static const char mark[] = "<!-- table: everything below is written by check_neuron_config --write -->\n";

static char *table_text(void) {
    static const char *const whose[] = {"", "Optimum", "NxDI", "both", "Optimum, images", "", "", "", "Glia"};
    glia_buf b = {0};
    glia_buf_printf(&b, "%s\n| key | of | type | default | Glia | |\n|---|---|---|---|---|---|\n", mark);
    for (size_t i = 0; i < glia_n_neuron_keys; i++) {
        const glia_neuron_key *row = &glia_neuron_keys[i];
        glia_buf_printf(&b, "| `%s` | %s | %s | `%s` | %s | %s |\n", row->key, whose[row->whose],
                        glia_neuron_type_name(row->type), row->preset, glia_neuron_rule_name(row->rule),
                        row->what);
    }
    return glia_buf_steal(&b);
}

static void test_docs(void **state) {
    (void)state;
    size_t len;
    char *doc = check_read_file(DOC, &len), *want = table_text(), *found = strstr(doc, mark);
    CHECK(found && !strcmp(found, want), DOC " is not the table of src/format/neuron_keys.c; "
                                             "run build/tests/check_neuron_config --write");
    free(doc);
    free(want);
}

static int write_docs(void) {
    size_t len;
    char *doc = check_read_file(DOC, &len), *table = table_text(), *at = strstr(doc, mark);
    FILE *f = fopen(DOC, "w");
    if (!f) return 1;
    fprintf(f, "%.*s%s", at ? (int)(at - doc) : (int)len, doc, table);
    free(doc);
    free(table);
    return fclose(f) != 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--write")) return write_docs();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),       cmocka_unit_test(test_every_key), cmocka_unit_test(test_together),
        cmocka_unit_test(test_speculation), cmocka_unit_test(test_files),     cmocka_unit_test(test_write),
        cmocka_unit_test(test_docs),
    };
    return check_run_group("neuron_config", tests);
}
