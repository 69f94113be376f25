/* check_generation.c - generation_config.json: defaults, values, refusals. */
#include "check.h"

#include <stdio.h>
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
    {"{\"do_sample\":true,\"top_k\":null}", {DEFAULTS, .do_sample = true, .max_length = 20, .given = GLIA_GIVEN_DO_SAMPLE}},
    {"{\"do_sample\":null,\"temperature\":null,\"top_p\":null,\"min_p\":null,\"typical_p\":null,\"repetition_penalty\":null,"
     "\"max_length\":null,\"max_new_tokens\":null,\"eos_token_id\":null,\"bos_token_id\":null,\"pad_token_id\":null}",
     {DEFAULTS, .top_k = 50}},
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
    {"{\"top_p\":1.1}", GLIA_ERR_FORMAT, "top_p: expected 0 to 1, found 1.1"},
    {"{\"top_p\":-1}", GLIA_ERR_FORMAT, "top_p: expected 0 to 1, found -1"},
    {"{\"min_p\":2}", GLIA_ERR_FORMAT, "min_p: expected 0 to 1, found 2"},
    {"{\"typical_p\":0}", GLIA_ERR_FORMAT, "typical_p: expected 1.17549e-38 to 1, found 0"},
    {"{\"repetition_penalty\":0}", GLIA_ERR_FORMAT, "repetition_penalty: expected 1.17549e-38 to"},
    {"{\"max_new_tokens\":-1}", GLIA_ERR_FORMAT, "max_new_tokens: expected 0 to"},
    {"{\"max_length\":{}}", GLIA_ERR_FORMAT, "max_length: expected an integer, found an object"},
    {"{\"eos_token_id\":[\"a\"]}", GLIA_ERR_FORMAT, "eos_token_id: expected an array of integers, found a string \"a\""},
    {"{\"pad_token_id\":[1]}", GLIA_ERR_FORMAT, "pad_token_id: expected an integer, found an array"},
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
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_OK);
    assert_true(same(&g, &defaults));
    check_write_file(dir, "generation_config.json", "{\"top_k\":7}", 11);
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_OK);
    assert_int_equal(g.top_k, 7);
    check_write_file(dir, "generation_config.json", "{\"top_k\":[]}", 12);
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "/generation_config.json: top_k: expected an integer, found an array"));
    char big[(1 << 20) + 1];
    memset(big, ' ', sizeof big);
    check_write_file(dir, "generation_config.json", big, sizeof big);
    assert_int_equal(glia_generation_config_load(&g, dir, NULL, NULL, &err), GLIA_ERR_LIMIT);
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
        cmocka_unit_test(test_values),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unsupported), cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_file),        cmocka_unit_test(test_published),
    };
    return check_run_group("generation", tests);
}
