/* check_api.c - glia.h without the engine: loading, options, text, inspect. */
#include "check.h"

#include <glia.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/arena.h"

static const char model_dir[] = "models/qwen3-demo";

static const char config[] =
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"vocab_size\":131,"
    "\"hidden_size\":72,\"intermediate_size\":100,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":24,\"max_position_embeddings\":500,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":false,\"attention_bias\":false,"
    "\"hidden_act\":\"silu\",\"eos_token_id\":[3,131],\"torch_dtype\":\"bfloat16\"%s}";

/* A new directory with only a config.json. `more` adds keys: ", \"k\": v". */
static const char *config_dir(const char *more) {
    char text[2048];
    const int n = snprintf(text, sizeof text, config, more);
    const char *dir = check_temp_dir();
    check_write_file(dir, "config.json", text, (size_t)n);
    return dir;
}

static void expect_message(const glia_err *err, const char *msg) {
    CHECK(strstr(err->msg, msg), "\"%s\", want \"%s\"", err->msg, msg);
}

static void test_options(void **state) {
    (void)state;
    const char *dir = config_dir("");
    const struct {
        glia_options o;
        glia_engine_options e;
        const char *msg;
    } rows[] = {
        {{.dtype = GLIA_DTYPE_I8}, {0}, "dtype must be float32, bfloat16 or float16"},
        {{0}, {.kv_cache_dtype = GLIA_DTYPE_F16}, "kv_cache_dtype must be float32, bfloat16 or int8"},
        {{.threads = -1}, {0}, "threads is -1, expected 1 to 1024"},
        {{.threads = 100000}, {0}, "threads is 100000, expected 1 to 1024"},
        {{.cpu_features = "mmx"}, {0}, "mmx"},
        {{0}, {.batch_size = -2}, "batch_size is -2, expected 1 to 4096"},
        {{0}, {.sequence_length = -1}, "sequence_length is -1, expected 2 to 500"},
        {{0}, {.sequence_length = 501}, "sequence_length is 501, expected 2 to 500"},
        {{0}, {.sequence_length = 1}, "sequence_length is 1, expected 2 to 500"},
        {{0}, {.prefill_chunk_size = 1 << 20}, "prefill_chunk_size is 1048576, expected 1 to 65536"},
        {{0}, {.block_size = 24}, "block_size is 24, expected a multiple of 32 up to 4096"},
        {{0}, {.block_size = -32}, "block_size is -32, expected a multiple of 32 up to 4096"},
        {{0}, {.block_size = 8192}, "block_size is 8192, expected a multiple of 32 up to 4096"},
        {{0},
         {.sequence_length_needed = 501},
         "prompt and output have 501 tokens together, the model takes at most 500"},
        {{.tensor_parallel_size = 65}, {0}, "tensor_parallel_size is 65, expected 1 to 64"},
        {{.tensor_parallel_size = -1}, {0}, "tensor_parallel_size is -1, expected 1 to 64"},
        {{.tensor_parallel_size = 4, .context_parallel_size = 3},
         {0},
         "context_parallel_size is 3, which does not divide tensor_parallel_size 4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_options o = rows[i].o;
        glia_model *m = (glia_model *)&o;
        glia_err err = {0};
        o.dummy = true;
        o.engine = &rows[i].e;
        assert_int_equal(glia_model_load(&m, dir, NULL, &o, &err), GLIA_ERR_ARGUMENT);
        assert_null(m);
        expect_message(&err, rows[i].msg);
        assert_int_equal(glia_model_load(&m, dir, NULL, &o, NULL), GLIA_ERR_ARGUMENT);
    }
    glia_model *m;
    glia_err err = {0};
    const char *huge = config_dir(", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 100000.0}");
    assert_int_equal(
        glia_model_load(
            &m, huge, NULL,
            &(glia_options){.dummy = true,
                            .engine = &(glia_engine_options){.sequence_length = 1 << 24, .batch_size = 4096}},
            &err),
        GLIA_ERR_ARGUMENT);
    expect_message(&err, "more positions than can be numbered");

    glia_engine *e;
    const glia_options big = {
        .dummy = true, .engine = &(glia_engine_options){.sequence_length = 1 << 24, .batch_size = 100}};
    if (glia_model_load(&m, huge, NULL, &big, &err)) fail_msg("%s", err.msg);
    assert_int_equal(glia_engine_create(&e, m, big.engine, &err), GLIA_ERR_NOMEM);
    assert_null(e);
    expect_message(&err, "GiB");
    glia_model_free(m);
}

/* Each of two ranks would fit into what is available; both together do not. */
static void test_memory_of_ranks(void **state) {
    (void)state;
    glia_model *m;
    glia_engine *e;
    glia_err err = {0};
    glia_engine_stats stats;
    const char *huge = config_dir(", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 100000.0}");
    const glia_options o = {.dummy = true, .tensor_parallel_size = 2, .threads = 1};
    glia_engine_options l = {.batch_size = 1, .sequence_length = 64, .kv_cache_dtype = GLIA_DTYPE_F32};
    if (glia_model_load(&m, huge, NULL, &o, &err)) fail_msg("%s", err.msg);
    if (glia_engine_create(&e, m, &l, &err)) fail_msg("%s", err.msg);
    glia_engine_get_stats(e, &stats);
    glia_engine_free(e);
    l.sequence_length = 1 << 20;
    const size_t one = (size_t)stats.kv_bytes_per_token * (size_t)l.sequence_length;
    l.batch_size = (int)(glia_memory_available() / one * 7 / 5);
    if (l.batch_size > 2000)
        check_skip("positions of a cache as large as this machine's memory cannot be numbered");
    assert_int_equal(glia_engine_create(&e, m, &l, &err), GLIA_ERR_NOMEM);
    expect_message(&err, "the engine needs ");
    glia_model_free(m);
}

static void test_load_errors(void **state) {
    (void)state;
    glia_model *m;
    glia_err err = {0};
    char *json;
    assert_int_equal(glia_model_load(&m, "/nowhere/at/all", NULL, NULL, &err), GLIA_ERR_ARGUMENT);
    expect_message(&err, "/nowhere/at/all");
    assert_int_equal(glia_model_load(&m, config_dir(""), NULL, NULL, &err), GLIA_ERR_IO); /* no weights */
    assert_null(m);
    assert_int_equal(glia_inspect(&json, config_dir(""), NULL, NULL, &err), GLIA_ERR_IO);
    assert_null(json);
    assert_int_equal(glia_model_load_text(&m, "nowhere/model", NULL, NULL, &err), GLIA_ERR_IO);
    expect_message(&err, "nowhere/model");
    assert_null(m);
    glia_model_free(NULL);
    glia_engine_free(NULL);
    glia_free(NULL);
    assert_string_equal(glia_version(), "0.1.0");
}

static void count(void *user, const char *sentence) {
    *(int *)user += strstr(sentence, "eos_token_id 131 can never come") != NULL;
}

/* A directory with only a config.json, loaded with random weights. */
static void test_dummy(void **state) {
    (void)state;
    glia_model *m;
    glia_engine *e;
    glia_err err = {0};
    int warned = 0;
    const glia_options o = {.dummy = true, .seed = 5, .warning = count, .user = &warned};
    if (glia_model_load(&m, config_dir(""), NULL, &o, &err)) fail_msg("%s", err.msg);
    assert_int_equal(warned, 1);
    glia_model_info info;
    glia_model_get_info(m, &info);
    assert_string_equal(info.architecture, "Qwen3ForCausalLM");
    assert_true(info.vocab_size == 131 && info.hidden_size == 72 && info.layers == 2);
    assert_true(info.max_position_embeddings == 500 && info.dtype == GLIA_DTYPE_BF16);
    assert_true(!info.has_tokenizer && !info.has_chat_template);
    const uint64_t layer = 72 * (96 + 2 * 48) + 96 * 72 + 3 * 72 * 100;
    assert_int_equal(info.matrix_parameters, 131 * 72 + 2 * layer);
    assert_int_equal(info.attention_flop, 2 * 4 * 96);

    glia_sampling s;
    glia_sampling_defaults(m, &s);
    assert_true(!s.do_sample && s.temperature == 1 && s.top_p == 1 && s.repetition_penalty == 1);
    assert_true(s.logprobs == -1 && s.max_tokens == 0 && s.min_tokens == 0);

    int32_t *ids;
    size_t n, left = 1;
    char *text;
    assert_int_equal(glia_tokenize(m, "a", 1, false, &ids, &n, &err), GLIA_ERR_IO);
    expect_message(&err, "no tokenizer.json");
    assert_int_equal(glia_detokenize(m, NULL, 0, false, &text, NULL, &err), GLIA_ERR_IO);
    if (glia_engine_create(&e, m, NULL, &err)) fail_msg("%s", err.msg);
    glia_engine_stats stats;
    glia_engine_get_stats(e, &stats);
    assert_true(stats.sequence_length == 500 && stats.kv_cache_dtype == GLIA_DTYPE_BF16);
    assert_true(stats.batch_size == 1 && stats.kv_bytes_per_token >= 2 * 2 * 2 * 24 * 2 &&
                stats.kv_bytes_per_token <= 2 * 2 * 2 * 32 * 2);
    const int32_t prompt[] = {1, 2, 3};
    const char *const stop[] = {"x"};
    s.stop = stop;
    s.n_stop = 1;
    assert_int_equal(glia_engine_submit(e, prompt, 3, &s, NULL, NULL, NULL, &err), GLIA_ERR_ARGUMENT);
    expect_message(&err, "stop strings need a tokenizer");
    s.n_stop = 0;
    s.max_tokens = 4;
    assert_int_equal(glia_engine_submit(e, prompt, 3, &s, NULL, NULL, NULL, &err), GLIA_OK);
    while (left) assert_int_equal(glia_engine_step(e, &left, &err), GLIA_OK);
    glia_engine_free(e);
    glia_model_free(m);
}

static uint64_t sum_of(const json_t *regions) {
    uint64_t sum = 0;
    for (size_t i = 0; i < json_array_size(regions); i++)
        sum += (uint64_t)json_integer_value(json_object_get(json_array_get(regions, i), "bytes"));
    return sum;
}

static int64_t number(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

/* The height of a rung on the ladder; -1 if no rung has this name. */
static int height(const char *rung) {
    for (int i = 0; i < GLIA_RUNGS; i++)
        if (!strcmp(rung, glia_rungs[i].name)) return i;
    return -1;
}

/* inspect prints the sizes that are allocated. */
static void check_inspect(const char *dir, glia_options o) {
    char *json;
    glia_model *m;
    glia_engine *e;
    glia_err err = {0};
    glia_engine_stats stats;
    if (glia_inspect(&json, dir, NULL, &o, &err) || glia_model_load(&m, dir, NULL, &o, &err) ||
        glia_engine_create(&e, m, o.engine, &err))
        fail_msg("%s", err.msg);
    glia_engine_get_stats(e, &stats);
    json_t *root = json_loads(json, 0, NULL);
    assert_non_null(root);
    const json_t *memory = json_array_get(json_object_get(root, "memory"), 0);
    assert_int_equal(number(memory, "plan_bytes"), stats.plan_bytes);
    assert_int_equal(number(memory, "weight_bytes"), stats.weight_bytes);
    assert_int_equal(number(memory, "total_bytes"), stats.plan_bytes + stats.weight_bytes);
    assert_int_equal(sum_of(json_object_get(memory, "plan")), stats.plan_bytes);
    assert_int_equal(sum_of(json_object_get(memory, "weights")), stats.weight_bytes);
    const int64_t messages = number(memory, "plan_bytes_between_machines") - number(memory, "plan_bytes");
    assert_int_equal(messages, 0); /* a single rank needs no messages */

    int64_t parameters = 0;
    const json_t *tensors = json_object_get(root, "tensors");
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        const json_t *t = json_array_get(tensors, i), *shape = json_object_get(t, "shape");
        const json_t *stored = json_object_get(t, "stored");
        int64_t product = 1;
        for (size_t k = 0; k < json_array_size(shape); k++)
            product *= json_integer_value(json_array_get(shape, k));
        parameters += product;
        if (o.dummy)
            assert_true(json_is_null(stored));
        else
            assert_string_equal(json_string_value(stored), "BF16");
    }
    assert_int_equal(number(root, "parameters"), parameters);
    const json_t *run = json_object_get(root, "run");
    const bool wide = o.dtype == GLIA_DTYPE_F32;
    assert_string_equal(json_string_value(json_object_get(run, "dtype")), wide ? "float32" : "bfloat16");
    const char *name;
    json_t *rung;
    json_object_foreach(json_object_get(root, "kernels"), name, rung) {
        const int h = height(json_string_value(rung));
        CHECK(h >= 0 && h <= height(stats.rung), "%s is %s", name, json_string_value(rung));
    }
    json_decref(root);
    glia_free(json);
    glia_engine_free(e);
    glia_model_free(m);
}

static void test_inspect(void **state) {
    (void)state;
    check_inspect(
        config_dir(""),
        (glia_options){.dummy = true, .threads = 2, .engine = &(glia_engine_options){.batch_size = 3}});
    check_inspect(config_dir(""), (glia_options){.dummy = true,
                                                 .cpu_features = "ref",
                                                 .engine = &(glia_engine_options){.block_size = 32}});
    if (!glia_dir_exists(model_dir)) check_skip("the demo model is not here");
    check_inspect(model_dir, (glia_options){.threads = 1});
    check_inspect(model_dir, (glia_options){.dtype = GLIA_DTYPE_F32,
                                            .threads = 3,
                                            .engine = &(glia_engine_options){.sequence_length = 1000}});
}

static void test_text(void **state) {
    (void)state;
    glia_model *m;
    glia_err err = {0};
    if (!glia_dir_exists(model_dir)) check_skip("the demo model is not here");
    if (glia_model_load_text(&m, model_dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
    glia_model_info info;
    glia_model_get_info(m, &info);
    assert_true(info.has_tokenizer && info.has_chat_template && info.layers == 0);
    int32_t *ids;
    size_t n, len;
    char *text;
    assert_int_equal(glia_tokenize(m, "Hello <|im_end|> there", 22, false, &ids, &n, &err), GLIA_OK);
    assert_int_equal(glia_detokenize(m, ids, n, false, &text, &len, &err), GLIA_OK);
    assert_true(len == 22 && !strcmp(text, "Hello <|im_end|> there"));
    glia_free(text);
    assert_int_equal(glia_detokenize(m, ids, n, true, &text, &len, &err), GLIA_OK);
    assert_string_equal(text, "Hello  there");
    glia_free(text);
    glia_free(ids);
    assert_int_equal(glia_detokenize(m, NULL, 0, true, &text, &len, &err), GLIA_OK);
    assert_true(len == 0 && !strcmp(text, ""));
    glia_free(text);
    assert_int_equal(glia_tokenize(m, "ab\xff", 3, false, &ids, &n, &err), GLIA_ERR_FORMAT);
    expect_message(&err, "byte 2");
    assert_null(ids);

    const char *chat =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"add_generation_prompt\":true}";
    assert_int_equal(glia_render_chat(m, chat, NULL, NULL, &text, &err), GLIA_OK);
    assert_non_null(strstr(text, "<|im_start|>user\nHi<|im_end|>"));
    glia_free(text);
    assert_int_equal(glia_render_chat(m, chat, "{{ strftime_now('%Y') }}-{{ messages[0].content }}",
                                      "2025-07-08T12:00:00", &text, &err),
                     GLIA_OK);
    assert_string_equal(text, "2025-Hi");
    glia_free(text);
    assert_int_equal(glia_render_chat(m, "{\"messages\":[}", NULL, NULL, &text, &err), GLIA_ERR_FORMAT);
    expect_message(&err, "the conversation is not JSON");
    assert_null(text);
    assert_int_equal(glia_render_chat(m, chat, "{{ raise_exception('no') }}", NULL, &text, &err),
                     GLIA_ERR_TEMPLATE);

    /* Zero bytes, in the conversation and in the template. */
    const char zero[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}";
    const char source[] = "x\0y{{ messages[0].content }}{{ 'p\0q' }}{# \0 #}";
    assert_int_equal(
        glia_render_chat_bytes(m, zero, sizeof zero - 1, source, sizeof source - 1, NULL, &text, &len, &err),
        GLIA_OK);
    assert_int_equal(len, 9);
    assert_memory_equal(text, "x\0ya\0bp\0q", 10);
    assert_int_equal(glia_tokenize(m, text, len, false, &ids, &n, &err), GLIA_OK);
    glia_free(text);
    assert_int_equal(glia_detokenize(m, ids, n, false, &text, &len, &err), GLIA_OK);
    assert_int_equal(len, 9);
    glia_free(text);
    glia_free(ids);
    assert_int_equal(glia_render_chat(m, zero, NULL, NULL, &text, &err), GLIA_ERR_UNSUPPORTED);
    expect_message(&err, "of the prompt is zero");
    assert_null(text);
    glia_model_free(m);
}

static void test_defaults(void **state) {
    (void)state;
    glia_model *m;
    glia_err err = {0};
    const char *dir = config_dir("");
    const char g[] = "{\"do_sample\":true,\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95,\"min_p\":0.125,"
                     "\"repetition_penalty\":1.5,\"max_new_tokens\":77,\"eos_token_id\":9}";
    check_write_file(dir, "generation_config.json", g, sizeof g - 1);
    if (glia_model_load(&m, dir, NULL, &(glia_options){.dummy = true}, &err)) fail_msg("%s", err.msg);
    glia_sampling s;
    glia_sampling_defaults(m, &s);
    assert_true(s.do_sample && s.temperature == 0.6f && s.top_k == 20 && s.top_p == 0.95f);
    assert_true(s.min_p == 0.125f && s.typical_p == 1 && s.repetition_penalty == 1.5f && s.max_tokens == 77);
    assert_true(!s.unsupported && !s.unsupported_sampling);
    glia_model_free(m);

    /* What Glia does not have is refused when a request needs it, and not before. */
    const char beams[] = "{\"num_beams\":4,\"epsilon_cutoff\":0.1}", epsilon[] = "{\"epsilon_cutoff\":0.1}";
    const int32_t prompt[] = {1, 2};
    for (int i = 0; i < 2; i++) {
        glia_engine *e;
        check_write_file(dir, "generation_config.json", i ? epsilon : beams, strlen(i ? epsilon : beams));
        if (glia_model_load(&m, dir, NULL, &(glia_options){.dummy = true}, &err)) fail_msg("%s", err.msg);
        glia_sampling_defaults(m, &s);
        s.max_tokens = 1;
        if (glia_engine_create(&e, m, NULL, &err)) fail_msg("%s", err.msg);
        for (int sample = 0; sample < 2; sample++) {
            s.do_sample = sample;
            const bool refused = !i || sample;
            assert_int_equal(glia_engine_submit(e, prompt, 2, &s, NULL, NULL, NULL, &err),
                             refused ? GLIA_ERR_UNSUPPORTED : GLIA_OK);
            if (refused)
                expect_message(&err, i ? "epsilon_cutoff is 0.1, which" : "num_beams is 4, which Glia does");
        }
        glia_engine_free(e);
        glia_model_free(m);
    }
}

/* ---- neuron_config.json ------------------------------------------------------ */

static const json_t *setting(const json_t *root, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(root, "settings"), i, row) {
        if (!strcmp(json_string_value(json_object_get(row, "name")), name)) return row;
    }
    fail_msg("no setting %s", name);
    return NULL;
}

static json_t *settings_of(const char *dir, const glia_options *o) {
    char *json;
    glia_err err = {0};
    if (glia_inspect_config(&json, dir, NULL, o, &err) != GLIA_OK) fail_msg("%s", err.msg);
    json_t *root = json_loads(json, 0, NULL);
    assert_non_null(root);
    glia_free(json);
    return root;
}

static void expect_setting(const json_t *root, const char *name, const char *want) {
    char *found = json_dumps(setting(root, name), JSON_COMPACT);
    CHECK(strstr(found, want), "%s: %s, want %s", name, found, want);
    free(found);
}

static const char neuron[] =
    "{\"batch_size\":3,\"sequence_length\":320,\"prefill_chunk_size\":96,\"torch_dtype\":\"float32\","
    "\"is_block_kv_layout\":true,\"pa_block_size\":32,\"is_prefix_caching\":false,\"tp_degree\":1,"
    "\"quantized\":true,\"activation_quantization_type\":\"dynamic\",\"modules_to_not_convert\":[\"lm_head\","
    "\"self_attn\"],"
    "\"on_device_sampling_config\":{\"do_sample\":true,\"top_k\":7}}";

/* Flags win over the file, the file over the task's needs, and these over the defaults. */
static void test_neuron_config(void **state) {
    (void)state;
    const char *dir = config_dir("");
    json_t *root = settings_of(dir, NULL);
    expect_setting(root, "batch_size", "\"value\":1,\"source\":\"default\"");
    expect_setting(root, "dtype",
                   "\"value\":\"bfloat16\",\"source\":\"file\",\"key\":\"config.json: torch_dtype\"");
    expect_setting(root, "prefix_cache", "\"value\":true,\"source\":\"default\"");
    json_decref(root);
    root = settings_of(dir, &(glia_options){.engine = &(glia_engine_options){.batch_size_needed = 5,
                                                                             .sequence_length_needed = 50}});
    expect_setting(root, "batch_size", "\"value\":5,\"source\":\"default\"");
    expect_setting(root, "sequence_length", "\"value\":50,\"source\":\"default\"");
    json_decref(root);

    check_write_file(dir, "neuron_config.json", neuron, sizeof neuron - 1);
    root = settings_of(dir, &(glia_options){.engine = &(glia_engine_options){.batch_size_needed = 5,
                                                                             .sequence_length_needed = 50}});
    expect_setting(root, "dtype",
                   "\"value\":\"float32\",\"source\":\"file\",\"key\":\"neuron_config.json: torch_dtype\"");
    expect_setting(root, "kv_cache_dtype", "\"value\":\"float32\",\"source\":\"default\"");
    expect_setting(root, "batch_size",
                   "\"value\":3,\"source\":\"file\",\"key\":\"neuron_config.json: batch_size\"");
    expect_setting(root, "sequence_length", "\"value\":320,\"source\":\"file\"");
    expect_setting(root, "prefill_chunk_size", "\"value\":96,\"source\":\"file\"");
    expect_setting(root, "block_size",
                   "\"value\":32,\"source\":\"file\",\"key\":\"neuron_config.json: pa_block_size\"");
    expect_setting(root, "prefix_cache", "\"value\":false,\"source\":\"file\"");
    expect_setting(root, "tensor_parallel_size", "\"value\":1,\"source\":\"file\"");
    expect_setting(
        root, "top_k",
        "\"value\":7,\"source\":\"file\",\"key\":\"neuron_config.json: on_device_sampling_config.top_k\"");

    expect_setting(root, "quantization",
                   "\"value\":\"w8a8\",\"source\":\"file\",\"key\":\"neuron_config.json: "
                   "activation_quantization_type\"");
    expect_setting(root, "quantization_type", "\"value\":\"per_tensor_symmetric\",\"source\":\"file\"");
    expect_setting(root, "modules_to_not_convert", "\"value\":\"lm_head,self_attn\",\"source\":\"file\"");

    /* The neuron_config.json that inspect prints has the same settings. */
    char *text = json_dumps(json_object_get(root, "neuron_config"), 0);
    const char *again = config_dir("");
    check_write_file(again, "neuron_config.json", text, strlen(text));
    json_t *copy = settings_of(again, NULL);
    static const char *const names[] = {"dtype",
                                        "kv_cache_dtype",
                                        "batch_size",
                                        "sequence_length",
                                        "prefill_chunk_size",
                                        "block_size",
                                        "prefix_cache",
                                        "tensor_parallel_size",
                                        "quantization",
                                        "quantization_type",
                                        "modules_to_not_convert",
                                        "do_sample",
                                        "top_k",
                                        "top_p"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(json_equal(json_object_get(setting(root, names[i]), "value"),
                         json_object_get(setting(copy, names[i]), "value")),
              "%s differs in %s", names[i], text);
    free(text);
    json_decref(copy);
    json_decref(root);

    root = settings_of(dir, &(glia_options){.dtype = GLIA_DTYPE_BF16,
                                            .tensor_parallel_size = 1,
                                            .threads = 2,
                                            .cpu_features = "ref",
                                            .engine = &(glia_engine_options){
                                                .batch_size = 4, .sequence_length = 99, .block_size = 32}});
    expect_setting(root, "dtype", "\"value\":\"bfloat16\",\"source\":\"flag\"");
    expect_setting(root, "batch_size", "\"value\":4,\"source\":\"flag\",\"key\":\"\"");
    expect_setting(root, "sequence_length", "\"value\":99,\"source\":\"flag\"");
    expect_setting(root, "block_size", "\"value\":32,\"source\":\"flag\"");
    expect_setting(root, "threads", "\"value\":2,\"source\":\"flag\"");
    expect_setting(root, "cpu_features", "\"value\":\"ref\",\"source\":\"flag\"");
    json_decref(root);
}

/* Settings of ranks: defaults, the file, and flags, which win. */
static void test_parallel_settings(void **state) {
    (void)state;
    static const struct {
        const char *name, *by_default, *by_file, *by_flag, *key;
    } rows[] = {
        {"tensor_parallel_size", "1", "4", "6", "tp_degree"},
        {"vocab_parallel", "false", "true", "false", "vocab_parallel"},
        {"sequence_parallel", "true", "false", "true", "sequence_parallel_enabled"},
        {"strided_context_parallel", "false", "true", "false", "strided_context_parallel_kernel_enabled"},
        {"flash_decoding", "false", "false", "false", "flash_decoding_enabled"},
        {"context_parallel_size", "1", "1", "1", "cp_degree"},
    };
    const char *dir = config_dir("");
    const char text[] = "{\"tp_degree\":4,\"vocab_parallel\":true,\"sequence_parallel_enabled\":false,"
                        "\"strided_context_parallel_kernel_enabled\":true,\"flash_decoding_enabled\":false,"
                        "\"cp_degree\":1}";
    const glia_options flags = {.tensor_parallel_size = 6,
                                .vocab_parallel = GLIA_SWITCH_OFF,
                                .sequence_parallel = GLIA_SWITCH_ON,
                                .flash_decoding = GLIA_SWITCH_OFF,
                                .context_parallel_size = 1,
                                .strided_context_parallel = GLIA_SWITCH_OFF};
    json_t *plain = settings_of(dir, NULL);
    check_write_file(dir, "neuron_config.json", text, sizeof text - 1);
    json_t *file = settings_of(dir, NULL), *flag = settings_of(dir, &flags);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[200];
        snprintf(want, sizeof want, "\"value\":%s,\"source\":\"default\"", rows[i].by_default);
        expect_setting(plain, rows[i].name, want);
        snprintf(want, sizeof want, "\"value\":%s,\"source\":\"file\",\"key\":\"neuron_config.json: %s\"",
                 rows[i].by_file, rows[i].key);
        expect_setting(file, rows[i].name, want);
        snprintf(want, sizeof want, "\"value\":%s,\"source\":\"flag\"", rows[i].by_flag);
        expect_setting(flag, rows[i].name, want);
        json_t *written = json_object_get(json_object_get(flag, "neuron_config"), rows[i].key);
        char *value = json_dumps(written, JSON_ENCODE_ANY);
        CHECK(!strcmp(value, rows[i].by_flag), "%s is written as %s", rows[i].key, value);
        free(value);
    }
    json_decref(plain);
    json_decref(file);
    json_decref(flag);
}

static const glia_engine_options one_at_a_time = {.batch_size = 1};
static const struct {
    const char *text;
    glia_options o;
    glia_status status;
    const char *msg;
} neuron_rows[] = {
    {"{\"batch_size\":5000}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: batch_size is 5000, expected 1 to 4096"},
    {"{\"max_batch_size\":5000}", {.engine = &one_at_a_time}, GLIA_OK, ""},
    {"{\"seq_len\":501}", {0}, GLIA_ERR_FORMAT, "neuron_config.json: seq_len is 501, expected 2 to 500"},
    {"{\"is_block_kv_layout\":true,\"pa_block_size\":24}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: pa_block_size is 24, expected a multiple of 32"},
    {"{\"pa_block_size\":24}", {0}, GLIA_OK, ""},
    {"{\"quantized\":true,\"modules_to_not_convert\":[\"lm_head\"]}", {0}, GLIA_OK, ""},
    {"{\"quantized\":true,\"modules_to_not_convert\":[\"lm_foot\"]}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: modules_to_not_convert: 'lm_foot' names no module"},
    {"{\"quantized\":true,\"modules_to_not_convert\":[\"k_proj\"]}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: modules_to_not_convert names a part of a product"},
    {"{\"quantized\":true}", {.modules_to_not_convert = "lm_foot"}, GLIA_ERR_ARGUMENT, "lm_foot"},
    {"{\"quantized\":true,\"modules_to_not_convert\":[\"lm_foot\"]}",
     {.modules_to_not_convert = "mlp"},
     GLIA_OK,
     ""},
    {"{\"tp_degree\":65}", {0}, GLIA_ERR_FORMAT, "neuron_config.json: tp_degree is 65, expected 1 to 64"},
    {"{\"tp_degree\":65}", {.tensor_parallel_size = 1}, GLIA_OK, ""},
    {"{\"tp_degree\":6,\"cp_degree\":4}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: cp_degree is 4, which does not divide tensor_parallel_size 6"},
    {"{\"tp_degree\":2,\"cp_degree\":2}", {0}, GLIA_OK, ""},
    {"{\"tp_degree\":16,\"cp_degree\":16}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: cp_degree is 16, expected 1 to 8"},
    {"{\"flash_decoding_enabled\":true}", {0}, GLIA_OK, ""},
    {"{\"flash_decoding_enabled\":true,\"pa_block_size\":128,\"is_block_kv_layout\":true}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: pa_block_size is 128, expected 32 or 64 with flash decoding"},
    {"{\"flash_decoding_enabled\":true}", {.flash_decoding = GLIA_SWITCH_OFF}, GLIA_OK, ""},
    {"{\"lora_config\":{\"eviction_policy\":\"fifo\"}}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: eviction_policy is fifo, expected lru or lfu"},
    {"{\"lora_config\":{\"max_loras\":300}}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: lora_config.max_loras is 300, expected 0 to 256"},
    {"{\"lora_config\":{\"lora_ckpt_paths\":[\"a:/nowhere\"]}}",
     {0},
     GLIA_ERR_IO,
     "/nowhere: no such adapter: expected a directory"},
    {"{\"lora_config\":{\"lora_ckpt_paths\":[\"a\"]}}",
     {0},
     GLIA_ERR_FORMAT,
     "neuron_config.json: lora_config: expected a list of \"NAME:PATH\", or an object of names and paths"},
    {"{\"lora_config\":{\"max_loras\":2,\"eviction_policy\":\"lfu\",\"dynamic_multi_lora\":true}}",
     {0},
     GLIA_OK,
     ""},
    {"{", {0}, GLIA_ERR_FORMAT, "neuron_config.json: line 1"},
};

static void test_neuron_config_counts(void **state) {
    (void)state;
    glia_model *m;
    glia_err err = {0};
    glia_model_info info;
    glia_sampling s;
    const char *dir = config_dir("");
    const char g[] = "{\"do_sample\":false,\"temperature\":0.5,\"top_k\":20}";
    check_write_file(dir, "generation_config.json", g, sizeof g - 1);
    check_write_file(dir, "neuron_config.json", neuron, sizeof neuron - 1);
    if (glia_model_load(&m, dir, NULL, &(glia_options){.dummy = true}, &err)) fail_msg("%s", err.msg);
    glia_model_get_info(m, &info);
    assert_int_equal(info.dtype, GLIA_DTYPE_F32);
    glia_engine *e;
    glia_engine_stats stats;
    if (glia_engine_create(&e, m, NULL, &err)) fail_msg("%s", err.msg);
    glia_engine_get_stats(e, &stats);
    assert_true(stats.sequence_length == 320 && stats.batch_size == 3);
    glia_engine_free(e);
    glia_sampling_defaults(m, &s);
    assert_true(s.do_sample && s.temperature == 0.5f && s.top_k == 7);
    glia_model_free(m);

    for (size_t i = 0; i < sizeof neuron_rows / sizeof *neuron_rows; i++) {
        char *json;
        check_write_file(dir, "neuron_config.json", neuron_rows[i].text, strlen(neuron_rows[i].text));
        *err.msg = '\0';
        CHECK(glia_inspect_config(&json, dir, NULL, &neuron_rows[i].o, &err) == neuron_rows[i].status,
              "%s: %s", neuron_rows[i].text, err.msg);
        expect_message(&err, neuron_rows[i].msg);
        glia_free(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_memory_of_ranks),
        cmocka_unit_test(test_load_errors),
        cmocka_unit_test(test_dummy),
        cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_neuron_config),
        cmocka_unit_test(test_neuron_config_counts),
        cmocka_unit_test(test_parallel_settings),
    };
    return check_run_group("api", tests);
}
