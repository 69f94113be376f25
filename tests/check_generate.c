/* check_generate.c - the demo models give the tokens of Transformers: greedy
 * generations of 4 x 1,024 tokens in one batch and of 1 x 8,192 in float32, and the
 * logits of a text against float64.
 *
 * tests/golden/generate-*.json name the command and versions that made them. If the
 * reference's two largest logits of a step differ by less than 1e-5, another choice
 * is allowed; then the test reports the tie and stops this generation. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glia.h>
#include <jansson.h>

#include "format/safetensors.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { TOKENS_MAX = 48 }; /* per generation: instrumented kernels are a hundred times slower */
#else
enum { TOKENS_MAX = 8192 };
#endif
enum { CASES_MAX = 8, SEQUENCE_MAX = 8192 + 256 };

typedef struct {
    const char *model, *name;
    int32_t want[TOKENS_MAX];
    size_t n, got;
    double gap; /* of the reference's two largest logits at the first difference; -1: no tie */
    bool wrong;
    const json_t *ties;
} generation;

static double tie_at(const json_t *ties, size_t step) {
    size_t i;
    json_t *t;
    json_array_foreach(ties, i, t) if ((size_t)json_integer_value(json_array_get(t, 0)) ==
                                       step) return json_real_value(json_array_get(t, 3));
    return -1;
}

static void on_event(void *user, const glia_event *event) {
    generation *g = user;
    if (event->token < 0 || g->wrong || g->got == g->n) return;
    if (event->token != g->want[g->got]) {
        g->wrong = true;
        g->gap = tie_at(g->ties, g->got);
        CHECK(g->gap >= 0 && g->gap <= 1e-5, "%s %s: token %zu is %d, Transformers has %d, gap %g", g->model,
              g->name, g->got, event->token, g->want[g->got], g->gap);
        printf("%s %s: tie of %g at step %zu\n", g->model, g->name, g->gap, g->got);
        return;
    }
    g->got++;
}

static void submit(glia_engine *e, const glia_model *m, generation *g, const json_t *c) {
    int32_t prompt[256];
    glia_sampling s;
    glia_err err;
    const json_t *ids = json_object_get(c, "prompt"), *tokens = json_object_get(c, "tokens");
    const size_t n = json_array_size(ids);
    const bool barred = strcmp(json_string_value(json_object_get(c, "eos")), "barred") == 0;
    assert_true(n <= 256);
    for (size_t i = 0; i < n; i++) prompt[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    g->name = json_string_value(json_object_get(c, "name"));
    g->ties = json_object_get(c, "ties");
    g->n = json_array_size(tokens) < TOKENS_MAX ? json_array_size(tokens) : TOKENS_MAX;
    for (size_t i = 0; i < g->n; i++) g->want[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    glia_sampling_defaults(m, &s);
    s.do_sample = false;
    s.ignore_eos = !barred;
    s.max_tokens = (int)g->n;
    s.min_tokens = barred ? (int)g->n : 0;
    if (glia_engine_submit(e, prompt, n, &s, on_event, g, NULL, &err) != GLIA_OK) fail_msg("%s", err.msg);
}

/* Run all cases of `name` whose generations are long, or all that are not, in one batch. */
static void run(const glia_model *m, const char *name, const json_t *cases, bool is_long) {
    static generation g[CASES_MAX];
    glia_engine *e;
    glia_err err;
    size_t left = 1, n = 0, i;
    json_t *c;
    const glia_engine_options o = {.batch_size = 4, .sequence_length = SEQUENCE_MAX};
    if (glia_engine_create(&e, m, &o, &err)) fail_msg("%s", err.msg);
    json_array_foreach(cases, i, c) {
        if ((json_array_size(json_object_get(c, "tokens")) > 1024) != is_long) continue;
        assert_true(n < CASES_MAX);
        g[n] = (generation){.model = name};
        submit(e, m, &g[n++], c);
    }
    assert_true(n > 0);
    while (left)
        if (glia_engine_step(e, &left, &err) != GLIA_OK) fail_msg("%s", err.msg);
    for (i = 0; i < n; i++)
        CHECK(g[i].wrong || g[i].got == g[i].n, "%s %s: %zu tokens of %zu", name, g[i].name, g[i].got,
              g[i].n);
    glia_engine_free(e);
}

static glia_model *load(const char *name) {
    char dir[64];
    glia_model *m;
    glia_err err;
    const glia_options o = {.dtype = GLIA_DTYPE_F32};
    snprintf(dir, sizeof dir, "models/%s-demo", name);
    if (glia_model_load(&m, dir, NULL, &o, &err) != GLIA_OK) fail_msg("%s", err.msg);
    return m;
}

static void check_model(const char *name) {
    char path[64];
    snprintf(path, sizeof path, "tests/golden/generate-%s.json", name);
    json_t *golden = json_load_file(path, 0, NULL);
    assert_non_null(golden);
    const json_t *cases = json_object_get(golden, "cases");
    glia_model *m = load(name);
    run(m, name, cases, false);
    run(m, name, cases, true);
    glia_model_free(m);
    json_decref(golden);
}

static void test_qwen3(void **state) {
    (void)state;
    check_model("qwen3");
}

static void test_smollm3(void **state) {
    (void)state;
    check_model("smollm3");
}

/* ---- logits --------------------------------------------------------------- */

typedef struct {
    const char *want; /* float64 [n, vocab], not aligned */
    size_t vocab;
    double worst;
} comparison;

static void on_logits(void *user, size_t position, const float *logits) {
    comparison *c = user;
    for (size_t i = 0; i < c->vocab; i++) {
        double want;
        memcpy(&want, c->want + (position * c->vocab + i) * sizeof want, sizeof want);
        const double off = fabs((double)logits[i] - want);
        if (!(off <= c->worst)) c->worst = off; /* this form keeps a NaN */
    }
}

/* Transformers' own float32 logits differ by up to 1.3e-5 (docs/DEMO.md). */
static void test_logits(void **state) {
    (void)state;
    static const char *const names[] = {"qwen3", "smollm3"};
    for (int f = 0; f < 2; f++) {
        char path[64];
        glia_safetensors st;
        glia_err err;
        glia_engine *e;
        int32_t ids[64];
        comparison c = {0};
        size_t n = 0;
        snprintf(path, sizeof path, "tests/golden/logits-%s.safetensors", names[f]);
        if (glia_safetensors_open(&st, path, &err) != GLIA_OK) fail_msg("%s", err.msg);
        for (size_t i = 0; i < st.n; i++) {
            const glia_tensor_view *t = &st.tensor[i];
            if (strcmp(t->name, "ids") == 0) {
                n = (size_t)t->shape[0];
                assert_true(n <= 64);
                memcpy(ids, t->data, n * sizeof *ids);
            } else if (strcmp(t->name, "logits") == 0) {
                assert_int_equal(t->dtype, GLIA_TENSOR_F64);
                c.vocab = (size_t)t->shape[1];
                c.want = t->data;
            }
        }
        assert_true(n > 0 && c.want);
        glia_model *m = load(names[f]);
        if (glia_engine_create(&e, m, NULL, &err)) fail_msg("%s", err.msg);
        if (glia_engine_score(e, ids, n, on_logits, &c, &err) != GLIA_OK) fail_msg("%s", err.msg);
        CHECK(c.worst <= 1.3e-5, "%s: logits are %g from float64", names[f], c.worst);
        printf("%s: logits within %.2g of float64\n", names[f], c.worst);
        glia_engine_free(e);
        glia_model_free(m);
        glia_safetensors_close(&st);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_smollm3),
    };
    return check_run_group("generate", tests);
}
