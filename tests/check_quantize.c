/* check_quantize.c - the error of quantised layers, and the cost of quantisation.
 *
 * Truth: small models of tests/golden/forward with quantised layers, in float64
 * (tools/gen_quantized_goldens.py). int8 weights add no error to that of the number
 * format, so the bound is 1.25 times the error of Transformers in that format without
 * quantisation (1.25 because four models have few logits). With int8 rows, an earlier
 * rounding error can move a value to the next quantisation step. So w8a8 may also add
 * a fraction of the change that quantisation makes: 1/100 in float32, 1/4 in bfloat16,
 * whose rounding errors are a large fraction of a step.
 *
 * Cost: perplexity of the held-out conversations under both demo models. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glia.h>
#include <jansson.h>

#include "base/cpu.h"

#define FORWARD "tests/golden/forward/"
#define QUANTIZED "tests/golden/quantized/"

static glia_engine *start(glia_model **m, const char *dir, const glia_options *o) {
    glia_engine *e;
    glia_err err;
    if (glia_model_load(m, dir, NULL, o, &err)) fail_msg("%s: %s", dir, err.msg);
    if (glia_engine_create(&e, *m, o->engine, &err)) fail_msg("%s: %s", dir, err.msg);
    return e;
}

/* ---- truth ---------------------------------------------------------------- */

static const char *const models[] = {"qwen3", "qwen3-untied-bias-odd", "smollm3",
                                     "smollm3-bias-window-types"};
static const struct {
    const char *name;
    glia_quantization scheme;
    glia_quantization_type type;
} schemes[] = {
    {"int8-channel", GLIA_QUANTIZATION_INT8, GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC},
    {"int8-tensor", GLIA_QUANTIZATION_INT8, GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC},
    {"w8a8-channel", GLIA_QUANTIZATION_W8A8, GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC},
    {"int8-rotated", GLIA_QUANTIZATION_INT8, GLIA_QUANTIZATION_TYPE_DEFAULT},
    {"w8a8-rotated", GLIA_QUANTIZATION_W8A8, GLIA_QUANTIZATION_ROTATED_PER_CHANNEL_SYMMETRIC},
};
enum { MODELS = sizeof models / sizeof *models, SCHEMES = sizeof schemes / sizeof *schemes };

typedef struct {
    const double *truth;
    size_t vocab, n;
    double sum;
} tally;

static void add_errors(void *user, size_t position, const float *logits) {
    tally *t = user;
    for (size_t i = 0; i < t->vocab; i++, t->n++)
        t->sum += fabs((double)logits[i] - t->truth[position * t->vocab + i]);
}

static double number(const json_t *root, const char *a, const char *b) {
    return json_real_value(json_object_get(json_object_get(root, a), b));
}

/* The mean of |logit - truth| over one model. */
static double error_of(const char *model, size_t scheme, glia_dtype dtype, const char *rung,
                       const json_t *ids) {
    char path[256];
    const glia_options o = {.dtype = dtype,
                            .quantization = schemes[scheme].scheme,
                            .quantization_type = schemes[scheme].type,
                            .cpu_features = rung,
                            .threads = 1,
                            .engine = &(glia_engine_options){.sequence_length = (int)json_array_size(ids),
                                                             .prefill_chunk_size = 48}};
    glia_model *m;
    glia_err err;
    glia_model_info info;
    size_t len;
    int32_t token[256];
    assert_in_range(json_array_size(ids), 1, 256);
    for (size_t i = 0; i < json_array_size(ids); i++)
        token[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    snprintf(path, sizeof path, FORWARD "%s", model);
    glia_engine *e = start(&m, path, &o);
    glia_model_get_info(m, &info);
    assert_int_equal(info.quantization, o.quantization);
    snprintf(path, sizeof path, QUANTIZED "%s.%s.f64", model, schemes[scheme].name);
    char *truth = check_read_file(path, &len); /* little-endian, like this machine */
    tally t = {.truth = (const double *)(const void *)truth, .vocab = (size_t)info.vocab_size};
    assert_int_equal(len, json_array_size(ids) * t.vocab * sizeof(double));
    if (glia_engine_score(e, token, json_array_size(ids), add_errors, &t, &err)) fail_msg("%s", err.msg);
    assert_int_equal(t.n * sizeof(double), len);
    free(truth);
    glia_engine_free(e);
    glia_model_free(m);
    return t.sum / (double)t.n;
}

static void test_truth(void **state) {
    (void)state;
    static const glia_dtype dtypes[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16};
    static const char *const names[] = {"float32", "bfloat16"};
    json_t *report = json_load_file(QUANTIZED "golden.json", 0, NULL);
    assert_non_null(report);
    for (int r = 0; r < GLIA_RUNGS; r++) {
        unsigned flags = glia_cpu_flags();
        if (glia_cpu_mask(&flags, glia_rungs[r].name, NULL)) {
            check_skip_because("this machine has no %s", glia_rungs[r].name);
            continue;
        }
        for (size_t s = 0; s < SCHEMES; s++)
            for (int d = 0; d < 2; d++) {
                double ours = 0, theirs = 0, changed = 0;
                for (size_t i = 0; i < MODELS; i++) {
                    char path[256];
                    snprintf(path, sizeof path, FORWARD "%s/golden.json", models[i]);
                    json_t *meta = json_load_file(path, 0, NULL);
                    assert_non_null(meta);
                    ours +=
                        error_of(models[i], s, dtypes[d], glia_rungs[r].name, json_object_get(meta, "ids")) /
                        MODELS;
                    theirs += number(json_object_get(meta, "error_of_theirs"), names[d], "mean") / MODELS;
                    snprintf(path, sizeof path, "%s.%s", models[i], schemes[s].name);
                    changed += number(report, "mean_distance", path) / MODELS;
                    json_decref(meta);
                }
                const bool rows = schemes[s].scheme == GLIA_QUANTIZATION_W8A8;
                const double bound = 1.25 * theirs + (rows ? changed / (d ? 4 : 100) : 0);
                printf("%-6s %-12s %-8s mean error %.2e of the quantised model, theirs of the plain %.2e, "
                       "quantising changes %.2e\n",
                       glia_rungs[r].name, schemes[s].name, names[d], ours, theirs, changed);
                CHECK(ours <= bound, "%s %s %s: mean error %.3g, bound %.3g", glia_rungs[r].name,
                      schemes[s].name, names[d], ours, bound);
            }
    }
    json_decref(report);
}

/* ---- cost ----------------------------------------------------------------- */

typedef struct {
    const int32_t *ids;
    size_t n, vocab, counted;
    double sum;
} score;

static void add_logprob(void *user, size_t position, const float *logits) {
    score *s = user;
    if (position + 1 >= s->n) return;
    double most = (double)logits[0], total = 0;
    for (size_t i = 1; i < s->vocab; i++) most = fmax(most, (double)logits[i]);
    for (size_t i = 0; i < s->vocab; i++) total += exp((double)logits[i] - most);
    s->sum += (double)logits[s->ids[position + 1]] - most - log(total);
    s->counted++;
}

/* The perplexity of every third conversation of models/heldout.jsonl. */
static double perplexity(const char *dir, glia_quantization scheme) {
    const glia_options o = {
        .quantization = scheme, .threads = 1, .engine = &(glia_engine_options){.sequence_length = 1024}};
    glia_model *m;
    glia_err err;
    glia_model_info info;
    glia_engine *e = start(&m, dir, &o);
    glia_model_get_info(m, &info);
    score s = {.vocab = (size_t)info.vocab_size};
    size_t len, line = 0;
    char *all = check_read_file("models/heldout.jsonl", &len);
    for (char *at = strtok(all, "\n"); at; at = strtok(NULL, "\n")) {
        char *text;
        int32_t *ids;
        if (line++ % 3) continue;
        json_t *c = json_loads(at, 0, NULL),
               *chat = json_pack("{s:O, s:O}", "messages", json_object_get(c, "messages"), "tools",
                                 json_object_get(c, "tools"));
        char *conversation = json_dumps(chat, 0);
        assert_non_null(conversation);
        if (glia_render_chat(m, conversation, NULL, "2025-07-08T12:00:00", &text, &err))
            fail_msg("%s", err.msg);
        if (glia_tokenize(m, text, strlen(text), false, &ids, &s.n, &err)) fail_msg("%s", err.msg);
        s.ids = ids;
        if (glia_engine_score(e, ids, s.n, add_logprob, &s, &err)) fail_msg("%s", err.msg);
        glia_free(ids);
        glia_free(text);
        free(conversation);
        json_decref(chat);
        json_decref(c);
    }
    free(all);
    glia_engine_free(e);
    glia_model_free(m);
    assert_true(s.counted > 5000);
    return exp(-s.sum / (double)s.counted);
}

static void test_perplexity(void **state) {
    (void)state;
    static const char *const demos[] = {"models/qwen3-demo", "models/smollm3-demo"};
    for (int i = 0; i < 2; i++) {
        const double plain = perplexity(demos[i], GLIA_QUANTIZATION_NONE);
        const double int8 = perplexity(demos[i], GLIA_QUANTIZATION_INT8) / plain - 1;
        const double w8a8 = perplexity(demos[i], GLIA_QUANTIZATION_W8A8) / plain - 1;
        printf("%s: perplexity %.4f, int8 %+.3f %%, w8a8 %+.3f %%\n", demos[i], plain, 100 * int8,
               100 * w8a8);
        CHECK(int8 <= 0.002, "%s: int8 raises perplexity by %.3f %%, limit is 0.2 %%", demos[i], 100 * int8);
        CHECK(w8a8 <= 0.01, "%s: w8a8 raises perplexity by %.3f %%, limit is 1 %%", demos[i], 100 * w8a8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_truth), cmocka_unit_test(test_perplexity)};
    return check_run_group("quantize", tests);
}
