/* check_generation.c - generation_config.json: defaults, values, refusals. */
#include "check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/generation.h"

static char warnings[2000];

static void warn(void *user, const char *sentence) {
    (void)user;
    const size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", sentence);
}

static glia_status parse(glia_generation_config *g, const char *text, glia_err *err) {
    *err = (glia_err){GLIA_OK, ""};
    warnings[0] = '\0';
    return glia_generation_config_parse(g, text, strlen(text), "x", warn, NULL, err);
}

#define DEFAULTS .temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .bos = -1, .pad = -1

static const glia_generation_config defaults = {DEFAULTS, .top_k = 50, .max_length = 20};

static bool same(const glia_generation_config *a, const glia_generation_config *b) {
    return a->given == b->given && a->do_sample == b->do_sample && a->temperature == b->temperature &&
           a->top_k == b->top_k && a->top_p == b->top_p && a->min_p == b->min_p &&
           a->typical_p == b->typical_p && a->repetition_penalty == b->repetition_penalty &&
           a->max_new_tokens == b->max_new_tokens && a->max_length == b->max_length &&
           a->min_new_tokens == b->min_new_tokens && a->min_length == b->min_length && a->bos == b->bos &&
           a->pad == b->pad && a->eos.n == b->eos.n &&
           memcmp(a->eos.id, b->eos.id, (size_t)a->eos.n * sizeof *a->eos.id) == 0;
}

/* clang-format off */
static const struct {
    const char *text;
    glia_generation_config want;
} values[] = {
    {"{}", {DEFAULTS, .top_k = 50, .max_length = 20}},
    {"{\"do_sample\":false}", {DEFAULTS, .top_k = 50, .max_length = 20, .given = GLIA_GIVEN_DO_SAMPLE}},
    {"{\"do_sample\":true,\"top_k\":null}", {DEFAULTS, .do_sample = true, .top_k = 50, .max_length = 20, .given = GLIA_GIVEN_DO_SAMPLE}},
    {"{\"top_p\":1.5,\"typical_p\":2,\"pad_token_id\":[1],\"bos_token_id\":\"x\",\"eos_token_id\":[-1,7,3000000000]}",
     {DEFAULTS, .top_k = 50, .max_length = 20, .eos = {1, {7}}, .given = GLIA_GIVEN_TOP_P | GLIA_GIVEN_TYPICAL_P}},
    {"{\"eos_token_id\":[]}", {DEFAULTS, .top_k = 50, .max_length = 20}},
    {"{\"do_sample\":null,\"temperature\":null,\"top_p\":null,\"min_p\":null,\"typical_p\":null,\"repetition_penalty\":null,"
     "\"max_length\":null,\"max_new_tokens\":null,\"eos_token_id\":null,\"bos_token_id\":null,\"pad_token_id\":null}",
     {DEFAULTS, .top_k = 50, .max_length = 20}},
    {"{\"temperature\":0,\"top_k\":0,\"top_p\":0.0,\"min_p\":0}",
     {.top_p = 0, .typical_p = 1, .repetition_penalty = 1, .bos = -1, .pad = -1, .max_length = 20,
      .given = GLIA_GIVEN_TEMPERATURE | GLIA_GIVEN_TOP_K | GLIA_GIVEN_TOP_P | GLIA_GIVEN_MIN_P}},
    {"{\"temperature\":0.6,\"top_k\":20.0,\"top_p\":0.95,\"min_p\":0.05,\"typical_p\":0.9,\"repetition_penalty\":1.05}",
     {.temperature = 0.6, .top_k = 20, .top_p = 0.95, .min_p = 0.05, .typical_p = 0.9, .repetition_penalty = 1.05, .bos = -1, .pad = -1,
      .max_length = 20, .given = GLIA_GIVEN_TEMPERATURE | GLIA_GIVEN_TOP_K | GLIA_GIVEN_TOP_P | GLIA_GIVEN_MIN_P |
      GLIA_GIVEN_TYPICAL_P | GLIA_GIVEN_REPETITION_PENALTY}},
    {"{\"max_new_tokens\":100,\"max_length\":200,\"min_new_tokens\":3,\"min_length\":4,\"eos_token_id\":[1,2],\"bos_token_id\":3,\"pad_token_id\":4}",
     {.temperature = 1, .top_k = 50, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .max_new_tokens = 100, .max_length = 200,
      .min_new_tokens = 3, .min_length = 4, .eos = {2, {1, 2}}, .bos = 3, .pad = 4,
      .given = GLIA_GIVEN_MAX_NEW_TOKENS | GLIA_GIVEN_MAX_LENGTH | GLIA_GIVEN_MIN_NEW_TOKENS | GLIA_GIVEN_MIN_LENGTH}},
    {"{\"eos_token_id\":9,\"num_beams\":1,\"penalty_alpha\":0.0,\"guidance_scale\":null,\"transformers_version\":\"4\",\"stop_strings\":[]}",
     {DEFAULTS, .top_k = 50, .max_length = 20, .eos = {1, {9}}}},
};

static const struct {
    const char *text;
    glia_status status;
    const char *words;
} refusals[] = {
    {"", GLIA_ERR_FORMAT, "x: line 1, column 0"},
    {"[]", GLIA_ERR_FORMAT, "x: expected an object, found an array"},
    {"{\"top_p\":1,\"top_p\":1}", GLIA_ERR_FORMAT, "duplicate object key"},
    {"{\"do_sample\":1}", GLIA_ERR_FORMAT, "x: do_sample: expected true or false, found an integer 1"},
    {"{\"temperature\":-0.1}", GLIA_ERR_FORMAT, "temperature: expected 0 to"},
    {"{\"temperature\":\"hot\"}", GLIA_ERR_FORMAT, "temperature: expected a number, found a string \"hot\""},
    {"{\"top_k\":-1}", GLIA_ERR_FORMAT, "top_k: expected 0 to 2147483647, found -1"},
    {"{\"top_k\":2.5}", GLIA_ERR_FORMAT, "top_k: expected an integer, found a real number 2.5"},
    {"{\"top_p\":-1}", GLIA_ERR_FORMAT, "top_p: expected 0 to 1.79769e+308, found -1"},
    {"{\"min_p\":2}", GLIA_ERR_FORMAT, "min_p: expected 0 to 1, found 2"},
    {"{\"typical_p\":0}", GLIA_ERR_FORMAT, "typical_p: expected 1.17549e-38 to"},
    {"{\"repetition_penalty\":0}", GLIA_ERR_FORMAT, "repetition_penalty: expected 1.17549e-38 to"},
    {"{\"max_new_tokens\":-1}", GLIA_ERR_FORMAT, "max_new_tokens: expected 0 to"},
    {"{\"max_length\":{}}", GLIA_ERR_FORMAT, "max_length: expected an integer, found an object"},
    {"{\"eos_token_id\":[\"a\"]}", GLIA_ERR_FORMAT, "eos_token_id: expected an array of integers, found a string \"a\""},
    {"{\"eos_token_id\":2.5}", GLIA_ERR_FORMAT, "eos_token_id: expected an integer or an array of them, found a real number 2.5"},
};

static const struct {
    const char *text, *words;
} unsupported[] = {
    {"{\"num_beams\":4}", "x: num_beams is 4, which Glia does not support"},
    {"{\"penalty_alpha\":0.6}", "x: penalty_alpha is 0.6, which Glia does not support"},
    {"{\"no_repeat_ngram_size\":3}", "no_repeat_ngram_size is 3"},
    {"{\"bad_words_ids\":[[1]]}", "bad_words_ids is [[1]]"},
    {"{\"constraints\":[{}]}", "constraints is [{}]"},
    {"{\"stop_strings\":\"END\"}", "stop_strings is \"END\""},
    {"{\"guidance_scale\":1.5}", "guidance_scale is 1.5"},
    {"{\"suppress_tokens\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32]}",
     "suppress_tokens is [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,..., which"},
};
/* clang-format on */

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        glia_err err;
        glia_generation_config g;
        CHECK(parse(&g, values[i].text, &err) == GLIA_OK, "%s: %s", values[i].text, err.msg);
        CHECK(same(&g, &values[i].want), "%s", values[i].text);
        CHECK(!*warnings, "%s: %s", values[i].text, warnings);
    }
}

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        glia_err err;
        glia_generation_config g;
        CHECK(parse(&g, refusals[i].text, &err) == refusals[i].status, "%s: %s", refusals[i].text, err.msg);
        CHECK(strstr(err.msg, refusals[i].words), "%s: \"%s\", wanted \"%s\"", refusals[i].text, err.msg,
              refusals[i].words);
        CHECK(same(&g, &defaults), "%s: not the defaults", refusals[i].text);
    }
}

/* What happens to each value that is not a default. Those of test_values() are used. */
static const struct {
    const char *text;
    enum { SILENT, REFUSED, REFUSED_SAMPLED } what;
} fates[] = {
    /* clang-format off */
    {"\"num_beams\":4", REFUSED}, {"\"num_return_sequences\":2", REFUSED}, {"\"penalty_alpha\":0.6", REFUSED},
    {"\"dola_layers\":\"low\"", REFUSED}, {"\"constraints\":[{}]", REFUSED}, {"\"force_words_ids\":[[1]]", REFUSED},
    {"\"no_repeat_ngram_size\":3", REFUSED}, {"\"encoder_no_repeat_ngram_size\":3", REFUSED},
    {"\"encoder_repetition_penalty\":1.5", REFUSED}, {"\"bad_words_ids\":[[1]]", REFUSED},
    {"\"forced_bos_token_id\":3", REFUSED}, {"\"forced_eos_token_id\":[3]", REFUSED},
    {"\"exponential_decay_length_penalty\":[5,1.1]", REFUSED}, {"\"suppress_tokens\":[1]", REFUSED},
    {"\"begin_suppress_tokens\":[1]", REFUSED}, {"\"sequence_bias\":[[[1],2.0]]", REFUSED},
    {"\"token_healing\":true", REFUSED}, {"\"guidance_scale\":1.5", REFUSED},
    {"\"watermarking_config\":{\"bias\":2}", REFUSED}, {"\"max_time\":1.0", REFUSED},
    {"\"stop_strings\":[\"END\"]", REFUSED}, {"\"guidance_scale\":Infinity", REFUSED},
    {"\"top_h\":0.4", REFUSED_SAMPLED}, {"\"epsilon_cutoff\":0.0003", REFUSED_SAMPLED}, {"\"eta_cutoff\":0.0003", REFUSED_SAMPLED},
    {"\"early_stopping\":\"never\"", SILENT}, {"\"length_penalty\":2.0", SILENT}, {"\"num_beam_groups\":2", SILENT},
    {"\"diversity_penalty\":0.5", SILENT}, {"\"renormalize_logits\":true", SILENT}, {"\"remove_invalid_values\":true", SILENT},
    {"\"use_cache\":false", SILENT}, {"\"cache_implementation\":\"static\"", SILENT}, {"\"cache_config\":{\"a\":1}", SILENT},
    {"\"max_cache_len\":9", SILENT}, {"\"return_legacy_cache\":true", SILENT}, {"\"prefill_chunk_size\":5", SILENT},
    {"\"low_memory\":true", SILENT}, {"\"output_attentions\":true", SILENT}, {"\"output_hidden_states\":true", SILENT},
    {"\"output_scores\":true", SILENT}, {"\"output_logits\":true", SILENT}, {"\"return_dict_in_generate\":true", SILENT},
    {"\"is_assistant\":true", SILENT}, {"\"num_assistant_tokens\":9", SILENT},
    {"\"num_assistant_tokens_schedule\":\"heuristic\"", SILENT}, {"\"assistant_confidence_threshold\":0.9", SILENT},
    {"\"prompt_lookup_num_tokens\":10", SILENT}, {"\"max_matching_ngram_size\":3", SILENT}, {"\"assistant_early_exit\":4", SILENT},
    {"\"assistant_lookbehind\":5", SILENT}, {"\"target_lookbehind\":5", SILENT}, {"\"assistant_ensemble_weight\":0.5", SILENT},
    {"\"speculation_type\":\"dflash\"", SILENT}, {"\"use_mtp\":true", SILENT}, {"\"compile_config\":{\"a\":1}", SILENT},
    {"\"disable_compile\":true", SILENT}, {"\"continuous_batching_config\":{}", SILENT}, {"\"trust_remote_code\":true", SILENT},
    {"\"decoder_start_token_id\":0", SILENT}, {"\"bos_token_id\":3", SILENT}, {"\"pad_token_id\":3", SILENT},
    {"\"_from_model_config\":true", SILENT}, {"\"_commit_hash\":\"x\"", SILENT}, {"\"transformers_version\":\"4.1\"", SILENT},
    /* clang-format on */
};

static void test_fates(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++) {
        char text[200];
        glia_err err;
        glia_generation_config g;
        snprintf(text, sizeof text, "{%s}", fates[i].text);
        CHECK(parse(&g, text, &err) == GLIA_OK && !*warnings, "%s: %s%s", text, err.msg, warnings);
        CHECK(!g.unsupported.status == (fates[i].what != REFUSED), "%s: \"%s\"", text, g.unsupported.msg);
        CHECK(!g.unsupported_sampling.status == (fates[i].what != REFUSED_SAMPLED), "%s: \"%s\"", text,
              g.unsupported_sampling.msg);
    }
}

/* Every key that Transformers writes is known, and silent with null and with its default. */
static void test_published_keys(void **state) {
    (void)state;
    static const char *const versions[] = {"keys", "v4"};
    json_t *golden = json_load_file("tests/golden/generation_keys.json", 0, NULL), *value;
    const char *key;
    assert_true(json_object_size(json_object_get(golden, "keys")) > 70);
    for (size_t i = 0; i < 2; i++) {
        json_object_foreach(json_object_get(golden, versions[i]), key, value) {
            for (int null = 0; null < 2; null++) {
                glia_err err;
                glia_generation_config g;
                json_t *file = json_pack("{s:O}", key, null ? json_null() : value);
                char *text = json_dumps(file, 0);
                CHECK(parse(&g, text, &err) == GLIA_OK && !*warnings && !g.unsupported.status &&
                          !g.unsupported_sampling.status,
                      "%s: %s%s%s", text, err.msg, warnings, g.unsupported.msg);
                g.given = 0;
                CHECK(same(&g, &defaults), "%s: not the defaults", text);
                free(text);
                json_decref(file);
            }
        }
    }
    json_decref(golden);
}

static void test_unsupported(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        glia_err err;
        glia_generation_config g;
        CHECK(parse(&g, unsupported[i].text, &err) == GLIA_OK && same(&g, &defaults), "%s: %s",
              unsupported[i].text, err.msg);
        CHECK(strstr(g.unsupported.msg, unsupported[i].words), "%s: \"%s\"", unsupported[i].text,
              g.unsupported.msg);
        CHECK(!*warnings, "%s: %s", unsupported[i].text, warnings);
    }
}

/* However many unknown keys there are, one sentence names the first. Private keys are silent. */
static void test_unknown_keys(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"{\"spice\":1}", "x: unknown key spice is ignored\n"},
        {"{\"_spice\":1}", ""},
        {"{\"a\":1,\"b\":2,\"_c\":3,\"c\":[],\"d\":4}", "x: unknown keys a, b, c, d are ignored\n"},
    };
    glia_err err;
    glia_generation_config g;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK(parse(&g, rows[i][0], &err) == GLIA_OK, "%s: %s", rows[i][0], err.msg);
        CHECK(strcmp(warnings, rows[i][1]) == 0, "%s: \"%s\"", rows[i][0], warnings);
    }
    glia_buf many = {0};
    glia_buf_puts(&many, "{\"top_k\":7");
    for (int i = 0; i < 20000; i++) glia_buf_printf(&many, ",\"key%d\":%d", i, i);
    glia_buf_putc(&many, '}');
    assert_int_equal(parse(&g, many.data, &err), GLIA_OK);
    assert_string_equal(warnings, "x: unknown keys key0, key1, key2, key3 and 19996 more are ignored\n");
    assert_int_equal(g.top_k, 7);
    glia_buf_free(&many);
}

static void test_file(void **state) {
    (void)state;
    glia_err err;
    glia_generation_config g;
    const char *dir = check_temp_dir();
    static const char model[] = "{\"hidden_size\":8,\"strange\":1,\"temperature\":0.5,\"num_beams\":3,"
                                "\"top_k\":null,\"eos_token_id\":[5]}";
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_OK);
    assert_true(same(&g, &defaults));
    warnings[0] = '\0';
    check_write_file(dir, "config.json", model, strlen(model));
    assert_int_equal(glia_generation_config_load(&g, dir, warn, NULL, &err), GLIA_OK);
    assert_true(g.temperature == 0.5 && g.top_k == 50 && g.eos.n == 1 && g.eos.id[0] == 5 && !*warnings);
    assert_non_null(strstr(g.unsupported.msg, "/config.json: num_beams is 3, which Glia does not support"));
    check_write_file(dir, "generation_config.json", "{\"top_k\":7}", 11);
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_OK);
    assert_true(g.top_k == 7 && g.temperature == 1 && g.eos.n == 0 && !g.unsupported.status);
    check_write_file(dir, "generation_config.json", "{\"top_k\":[]}", 12);
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "/generation_config.json: top_k: expected an integer, found an array"));
    const size_t too_big = (16 << 20) + 1;
    char *big = calloc(too_big, 1);
    check_write_file(dir, "generation_config.json", big, too_big);
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_ERR_LIMIT);
    free(big);
}

static void test_published(void **state) {
    (void)state;
    static const struct {
        const char *model;
        double temperature, top_p;
        int top_k, n_eos;
    } rows[] = {{"Qwen3-0.6B", 0.6, 0.95, 20, 2},
                {"Qwen3-1.7B", 0.6, 0.95, 20, 2},
                {"Qwen3-4B", 0.6, 0.95, 20, 2},
                {"Qwen3-8B", 0.6, 0.95, 20, 2},
                {"Qwen3-14B", 0.6, 0.95, 20, 2},
                {"Qwen3-32B", 0.6, 0.95, 20, 2},
                {"Qwen3-4B-Instruct-2507", 0.7, 0.8, 20, 2},
                {"SmolLM3-3B", 0.6, 0.95, 50, 1}};
    if (!check_shared("data/configs")) check_skip("no reference data: published generation configs");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err = {GLIA_OK, ""};
        glia_generation_config g;
        char relative[100];
        snprintf(relative, sizeof relative, "data/configs/%s", rows[i].model);
        warnings[0] = '\0';
        CHECK(glia_generation_config_load(&g, check_shared(relative), warn, NULL, &err) == GLIA_OK, "%s",
              err.msg);
        CHECK(g.do_sample && g.temperature == rows[i].temperature && g.top_p == rows[i].top_p &&
                  g.top_k == rows[i].top_k && g.eos.n == rows[i].n_eos && !*warnings,
              "%s: %g %g %d %d %s", rows[i].model, g.temperature, g.top_p, g.top_k, g.eos.n, warnings);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),         cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unsupported),    cmocka_unit_test(test_fates),
        cmocka_unit_test(test_published_keys), cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_file),           cmocka_unit_test(test_published),
    };
    return check_run_group("generation", tests);
}
