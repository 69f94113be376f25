/* check_speculative_config.c - the texts of --speculative-config, and the flags of vLLM and llama.cpp for
 * drafts: what they mean, or the sentence that refuses them. */
#define _GNU_SOURCE
#include "cli.h"

#include <stdint.h>

#include "draft/config.h"

/* ---- texts that are refused ---------------------------------------------------------- */

#define METHODS "expected one of none, suffix, ngram, draft_model, eagle, eagle3, medusa, dflash, dspark"
#define NGRAM(member) "{\"method\": \"ngram\", " member "}"

static const struct {
    const char *text, *words;
} refused[] = {
    {"", "line 1, column 0"},
    {"ngram", "invalid token near 'ngram'"},
    {"[]", "expected an object, found an array"},
    {"\"ngram\"", "expected an object, found a string"},
    {"{\"method\": \"ngram\", \"method\": \"ngram\"}", "duplicate"},
    {"{}", "expected \"method\" or \"model\""},
    {"{\"num_speculative_tokens\": 3}", "expected \"method\" or \"model\""},
    {"{\"method\": 3}", "method: expected a string, found an integer 3"},
    {"{\"model\": [\"a\"]}", "model: expected a string, found an array"},
    {"{\"method\": \"ngrm\"}", "method is ngrm, " METHODS},
    {"{\"method\": \"Eagle\"}", "method is Eagle, " METHODS},
    {"{\"method\": \"\"}", METHODS},
    {"{\"method\": \"mtp\"}", "method is mtp: no model that Glia runs has MTP layers, " METHODS},
    {"{\"method\": \"deepseek_mtp\", \"num_speculative_tokens\": 1}",
     "method is deepseek_mtp: no model that Glia runs has MTP layers, " METHODS},
    {"{\"method\": \"qwen3_next_mtp\"}",
     "method is qwen3_next_mtp: no model that Glia runs has MTP layers, "},
    {"{\"method\": \"mlp_speculator\", \"model\": \"x\"}",
     "method is mlp_speculator: Glia does not run MLP spec"},
    {"{\"method\": \"extract_hidden_states\"}", "glia score --states writes hidden states, " METHODS},
    {"{\"method\": \"custom_class\", \"model\": \"a.B\"}", "Glia runs no code of a user, " METHODS},
    {"{\"method\": \"eagle3\"}", "method eagle3 needs \"model\""},
    {"{\"method\": \"draft_model\", \"num_speculative_tokens\": 3}", "method draft_model needs \"model\""},
    {"{\"method\": \"medusa\", \"model\": null}", "method medusa needs \"model\""},
    {"{\"method\": \"eagle\", \"model\": \"/no/such\"}", "/no/such: no such directory"},
    {"{\"model\": \"no/such\"}", "no/such: no such directory"},
    {NGRAM("\"num_spec_tokens\": 3"),
     "unknown key \"num_spec_tokens\", expected vLLM's, such as method, model"},
    {NGRAM("\"num_speculative_tokens\": \"3\""),
     "num_speculative_tokens: expected an integer, found a string"},
    {NGRAM("\"num_speculative_tokens\": 0"), "num_speculative_tokens: expected 1 to 255, found 0"},
    {NGRAM("\"num_speculative_tokens\": 256"), "num_speculative_tokens: expected 1 to 255, found 256"},
    {NGRAM("\"num_speculative_tokens\": 2.5"), "num_speculative_tokens: expected an integer, found a real"},
    {NGRAM("\"prompt_lookup_max\": 0"), "prompt_lookup_max: expected 1 to 2147483647, found 0"},
    {NGRAM("\"prompt_lookup_min\": true"), "prompt_lookup_min: expected an integer, found a boolean true"},
    {NGRAM("\"draft_tensor_parallel_size\": 0"), "draft_tensor_parallel_size: expected 1 to 1024, found 0"},
    {NGRAM("\"quantization\": \"int3\""),
     "quantization is int3, expected int8, w8a8, int4, w4a8, fp8, gptq, awq or compressed-tensors"},
    {NGRAM("\"dtype\": \"int8\""), "dtype is int8, expected auto, float32, bfloat16 or float16"},
    {NGRAM("\"confidence_threshold\": 2"), "confidence_threshold: expected 0 to 1, found 2"},
    {NGRAM("\"rejection_sample_method\": \"synthetic\""),
     "rejection_sample_method is synthetic, expected standard, strict, probabilistic or block"},
    {NGRAM("\"synthetic_acceptance_rates\": [0.5]"),
     "synthetic_acceptance_rates is [0.5]: only the target's own tokens are accepted"},
    {NGRAM("\"use_heterogeneous_vocab\": true"),
     "use_heterogeneous_vocab is true: a draft must have the target's tokens"},
    {NGRAM("\"index_share_for_mtp_iteration\": true"),
     "index_share_for_mtp_iteration is true: no model that"},
    {NGRAM("\"enforce_eager\": 1"), "enforce_eager: expected true or false, found an integer 1"},
    {NGRAM("\"parallel_drafting\": \"yes\""), "parallel_drafting: expected true or false, found a string"},
    {NGRAM("\"max_model_len\": \"8k\""), "max_model_len: expected a number, found a string \"8k\""},
    {NGRAM("\"revision\": 1"), "revision: expected a string, found an integer 1"},
    {NGRAM("\"num_speculative_tokens_per_batch_size\": 3"), "expected an array, found an integer 3"},
    {NGRAM("\"draft_load_config\": \"x\""), "draft_load_config: expected an object, found a string"},
    {NGRAM("\"medusa_tree\": [[0]], \"speculative_token_tree\": [[0]]"), "both "},
    {NGRAM("\"token_tree_config\": {}"), "token_tree_config is no tree"},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        glia_draft_config c;
        glia_err err = {0};
        const glia_status status = glia_draft_config_read(&c, refused[i].text, "x", NULL, &err);
        CHECK(status != GLIA_OK, "%s is accepted", refused[i].text);
        CHECK(strstr(err.msg, refused[i].words), "%s\nsaid: %s\nwanted: %s", refused[i].text, err.msg,
              refused[i].words);
        CHECK(!strchr(err.msg, '\n') && !c.dir && !c.method, "%s: %s", refused[i].text, err.msg);
    }
}

/* ---- texts that are accepted ---------------------------------------------------------- */

static const char *const accepted[] = {
    "{\"method\": \"ngram\"}",
    "{\"method\": \"[ngram]\", \"num_speculative_tokens\": 5, \"prompt_lookup_max\": 4, "
    "\"prompt_lookup_min\": 2}",
    "{\"method\": \"ngram_gpu\", \"num_speculative_tokens\": 2}",
    "{\"method\": \"suffix\", \"suffix_decoding_max_tree_depth\": 24, "
    "\"suffix_decoding_max_cached_requests\": 0, "
    "\"suffix_decoding_max_spec_factor\": 1.5, \"suffix_decoding_min_token_prob\": 0.1}",
    "{\"model\": \"ngram\", \"num_speculative_tokens\": 255}",
    "{\"model\": \"[ngram]\", \"draft_tensor_parallel_size\": 4}",
    NGRAM(
        "\"enforce_eager\": null, \"max_model_len\": 2048, \"revision\": \"main\", \"code_revision\": null"),
    NGRAM("\"parallel_drafting\": true, \"disable_padded_drafter_batch\": false"),
    NGRAM("\"kv_cache_dtype\": \"auto\", \"attention_backend\": \"FLASH_ATTN\", \"moe_backend\": null"),
    NGRAM("\"draft_load_config\": {\"load_format\": \"auto\"}, \"draft_sample_method\": \"greedy\""),
    NGRAM("\"num_speculative_tokens_per_batch_size\": [[1, 4, 5], [5, 64, 2]]"),
    NGRAM("\"use_heterogeneous_vocab\": false, \"synthetic_acceptance_length\": null"),
    NGRAM("\"rejection_sample_method\": \"block\", \"quantization\": \"gptq\", \"dtype\": null"),
    NGRAM("\"num_speculative_tokens\": 4.0"),
};

static void test_accepted(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        glia_draft_config c;
        glia_err err = {0};
        const glia_status status = glia_draft_config_read(&c, accepted[i], "x", NULL, &err);
        CHECK(!status && c.method == &glia_draft_ngram, "%s: %s", accepted[i], err.msg);
        glia_draft_config_free(&c);
    }
}

/* ---- a draft without a method ---------------------------------------------------------- */

/* A file of safetensors with one tensor of this name. */
static void write_tensor(const char *dir, const char *file, const char *name) {
    char bytes[400] = {0}, *text = bytes + 8;
    snprintf(text, sizeof bytes - 8, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
             name);
    const uint64_t len = strlen(text);
    for (int i = 0; i < 8; i++) bytes[i] = (char)(len >> 8 * i);
    check_write_file(dir, file, bytes, 8 + len + 4);
}

static void test_method_of(void **state) {
    static const struct {
        const char *file, *tensor, *method;
    } rows[] = {
        {"model.safetensors", "fc.weight", "eagle"},
        {"model.safetensors", "model.fc.weight", "eagle"},
        {"model.safetensors", "midlayer.hidden_norm.weight", "eagle3"},
        {"model.safetensors", "layers.0.hidden_norm.weight", "eagle3"},
        {"model.safetensors", "hidden_norm.weight", "dflash"},
        {"model.safetensors", "markov_head.markov_w1.weight", "dspark"},
        {"model.safetensors", "blocks.0.layers.0.weight", "medusa"},
        {"model.safetensors", "medusa_heads.blocks.0.layers.0.weight", "medusa"},
        {"medusa_lm_head.safetensors", "0.0.linear.weight", "medusa"},
        {"model.safetensors", "model.layers.0.self_attn.q_proj.weight", "draft_model"},
        {NULL, NULL, "draft_model"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *dir = check_temp_dir();
        char text[300];
        glia_draft_config c;
        glia_err err = {0};
        if (rows[i].file) write_tensor(dir, rows[i].file, rows[i].tensor);
        snprintf(text, sizeof text, "{\"model\": \"%s\"}", dir);
        const glia_status status = glia_draft_config_read(&c, text, "x", NULL, &err);
        CHECK(!status && !strcmp(c.method->name, rows[i].method), "%s: %s%s", rows[i].tensor,
              status ? err.msg : c.method->name, status ? "" : ", another method");
        glia_draft_config_free(&c);
    }
}

/* ---- flags -------------------------------------------------------------------------------- */

/* Flags of other programs, as docs/SPECULATION.md lists them. */
static void test_foreign_flags(void **state) {
    static const char *const idle[] = {"--draft-min", "--draft_p_min", "-cd", "-td", "-ctkd", "-ngld"},
                             *const none[][2] = {{"-hfd", "as --model-draft"},
                                                 {"--ngram-prompt-lookup-max", "prompt_lookup_max"},
                                                 {"--spec-replace", "target's tokens"}};
    (void)state;
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        char words[100];
        snprintf(words, sizeof words, "glia: warning: %s has no effect: ", idle[i]);
        outcome o = glia("", "inspect no/such/model %s 4", idle[i]);
        CHECK(o.status == 2 && !strncmp(o.err, words, strlen(words)) &&
                  strstr(o.err, "\nglia: no/such/model: "),
              "%s: %d %s", idle[i], o.status, o.err);
        done(&o);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char line[100];
        snprintf(line, sizeof line, "run no/such/model %s 4", none[i][0]);
        check_refused(line, "", 2, none[i][1]);
    }
    check_refused("tokenize no/such/model --draft-min 4", "", 2, "tokenize has no flag --draft-min");
}

/* Flags and texts with a model. */
static void test_flags(void **state) {
    static const struct {
        const char *flags, *words; /* words NULL: accepted */
    } rows[] = {
        {"--spec-type foo", "--spec-type takes one of none|ngram|suffix|draft_model|eagle|eagle3|"},
        {"--spec-type eagle3", "method eagle3 needs \"model\""},
        {"--draft-max 300", "--draft-max takes 1 to 255, not 300"},
        {"--spec-type ngram --draft-tensor-parallel-size 2",
         "draft_tensor_parallel_size is 2, expected 1 or the target's tensor_parallel_size 1"},
        {"-tp 4 -md models/qwen3-demo --draft-tensor-parallel-size 2",
         "draft_tensor_parallel_size is 2, expected 1 or the target's tensor_parallel_size 4"},
        {"-sc '{\"method\":\"ngram\",\"prompt_lookup_min\":5,\"prompt_lookup_max\":3}'",
         "prompt_lookup_min is 5, more than prompt_lookup_max 3"},
        {"--spec-method none --speculative-config '{\"method\":\"ngram\"}'", NULL},
        {"-sc '{\"method\":\"none\",\"num_speculative_tokens\":3}'", NULL},
        {"--spec-method ngram --spec-tokens 4 --spec-ngram-size-n 3", NULL},
        {"-tp 2 --spec-type ngram --draft-tensor-parallel-size 2", NULL},
        {"-tp 2 --speculative-model models/qwen3-demo --num-speculative-tokens 3 "
         "--speculative-draft-tensor-parallel-size 2",
         NULL},
        {"-tp 2 --spec-model models/qwen3-demo-eagle3 --draft-tensor-parallel-size 2", NULL},
        {"-tp 2 --spec-model models/qwen3-demo-medusa --draft-tensor-parallel-size 2", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[400];
        snprintf(line, sizeof line, "inspect models/qwen3-demo %s", rows[i].flags);
        if (rows[i].words) {
            check_refused(line, "", 2, rows[i].words);
            continue;
        }
        outcome o = glia("", "%s", line);
        CHECK(o.status == 0 && !*o.err, "%s: %d %s", line, o.status, o.err);
        done(&o);
    }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_method_of), cmocka_unit_test(test_foreign_flags),
        cmocka_unit_test(test_flags),
    };
    return check_run_group("speculative_config", tests);
}
