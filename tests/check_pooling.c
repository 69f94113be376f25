/* check_pooling.c - what requests give besides tokens: embeddings and reranking scores equal to Transformers'
 * (tests/golden/embed-qwen3.json names the command and versions), log-probabilities of prompt tokens equal to
 * glia_engine_score()'s, and all of them the same beside other requests and with ranks. */
#include "check.h"

#include <glia.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { HIDDEN = 128, LENGTH = 512, TEXTS = 4, TOP = 3 };
static const char model_dir[] = "models/qwen3-demo";

/* What came for one request. */
typedef struct {
    int n_hidden, ends, tokens;
    float hidden[HIDDEN], no_yes[2];
    int n_prompt; /* events of prompt tokens */
    int32_t token[LENGTH], top[LENGTH][TOP];
    float logprob[LENGTH], top_logprob[LENGTH][TOP];
    glia_finish finish;
} result;

static void on_event(void *user, const glia_event *e) {
    result *r = user;
    if (e->of_prompt) {
        assert_true(r->tokens == 0 && e->position == r->n_prompt + 1 && e->n_top == TOP && !e->text_len);
        r->token[r->n_prompt] = e->token;
        r->logprob[r->n_prompt] = e->logprob;
        memcpy(r->top[r->n_prompt], e->top_tokens, sizeof r->top[0]);
        memcpy(r->top_logprob[r->n_prompt++], e->top_logprobs, sizeof r->top_logprob[0]);
        return;
    }
    if (e->token >= 0 && e->n_top == 2) memcpy(r->no_yes, e->top_logprobs, sizeof r->no_yes);
    r->tokens += e->token >= 0;
    if (e->hidden) memcpy(r->hidden, e->hidden, (size_t)(r->n_hidden = e->n_hidden) * sizeof *e->hidden);
    if (e->finish) r->ends++;
    if (e->finish) r->finish = e->finish;
}

static const glia_sampling plain = {.top_p = 1,
                                    .typical_p = 1,
                                    .repetition_penalty = 1,
                                    .logprobs = -1,
                                    .max_tokens = 20,
                                    .ignore_eos = true};

static uint64_t submit(glia_engine *e, const int32_t *ids, size_t n, const glia_sampling *s, result *r) {
    glia_err err = {0};
    uint64_t id;
    *r = (result){0};
    if (glia_engine_submit(e, ids, n, s, on_event, r, &id, &err)) fail_msg("%s", err.msg);
    return id;
}

static void finish_all(glia_engine *e) {
    for (size_t left = 1; left;) assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
}

static glia_model *load(int ranks) {
    glia_model *m;
    glia_err err = {0};
    if (!glia_dir_exists(model_dir)) check_skip("the demo model is not here");
    const glia_options o = {.threads = 1, .dtype = GLIA_DTYPE_F32, .tensor_parallel_size = ranks};
    if (glia_model_load(&m, model_dir, NULL, &o, &err)) fail_msg("%s", err.msg);
    return m;
}

static glia_engine *engine_of(const glia_model *m, int batch, int chunk) {
    glia_engine *e;
    glia_err err = {0};
    const glia_engine_options o = {
        .batch_size = batch, .sequence_length = LENGTH, .prefill_chunk_size = chunk, .block_size = 32};
    if (glia_engine_create(&e, m, &o, &err)) fail_msg("%s", err.msg);
    return e;
}

/* ---- against Transformers --------------------------------------------------------------------------- */

static const char *text_of(const json_t *golden, const char *list, size_t i) {
    return json_string_value(json_array_get(json_object_get(golden, list), i));
}

static void check_embeddings(const glia_model *m, glia_engine *e, const json_t *golden) {
    static result r[TEXTS];
    glia_sampling s = plain;
    s.embed = true;
    for (size_t i = 0; i < TEXTS; i++) {
        const char *text = text_of(golden, i < 2 ? "queries" : "documents", i % 2);
        char *query = NULL;
        size_t len = strlen(text), n;
        int32_t *ids;
        const char *task = json_string_value(json_object_get(golden, "task"));
        if (i < 2) assert_int_equal(glia_embed_query(task, text, len, &query, &len, NULL), GLIA_OK);
        assert_int_equal(glia_embed_prompt(m, query ? query : text, len, 0, &ids, &n, NULL, NULL), GLIA_OK);
        submit(e, ids, n, &s, &r[i]);
        glia_free(ids);
        glia_free(query);
    }
    finish_all(e);
    for (size_t i = 0; i < TEXTS; i++) {
        const json_t *want = json_array_get(json_object_get(golden, "embeddings"), i);
        float worst = 0;
        assert_int_equal(r[i].n_hidden, HIDDEN);
        assert_int_equal(r[i].tokens, 0);
        glia_embedding(r[i].hidden, r[i].hidden, HIDDEN, true);
        for (size_t k = 0; k < HIDDEN; k++)
            worst = fmaxf(worst, fabsf(r[i].hidden[k] - (float)json_number_value(json_array_get(want, k))));
        CHECK(worst < 2e-6f, "text %zu: an embedding differs by %g", i, (double)worst);
    }
}

static void check_scores(const glia_model *m, glia_engine *e, const json_t *golden) {
    static result r[4];
    int32_t no_yes[4][2];
    for (size_t i = 0; i < 4; i++) {
        const char *query = text_of(golden, "queries", i / 2),
                   *document = text_of(golden, "documents", i % 2);
        const glia_rerank_pair pair = {.query = query,
                                       .query_len = strlen(query),
                                       .document = document,
                                       .document_len = strlen(document)};
        glia_sampling s = plain;
        int32_t *ids;
        size_t n;
        assert_int_equal(glia_rerank_prompt(m, &pair, LENGTH - 1, &ids, &n, no_yes[i], NULL), GLIA_OK);
        s.logprobs = 0;
        s.max_tokens = 1;
        s.logprob_token_ids = no_yes[i];
        s.n_logprob_token_ids = 2;
        submit(e, ids, n, &s, &r[i]);
        glia_free(ids);
    }
    finish_all(e);
    for (size_t i = 0; i < 4; i++) {
        const double want = json_number_value(
            json_array_get(json_array_get(json_object_get(golden, "scores"), i / 2), i % 2));
        const double found = (double)glia_rerank_score(r[i].no_yes);
        CHECK(fabs(found - want) < 2e-6, "pair %zu: %.9g, Transformers has %.9g", i, found, want);
    }
}

static void test_transformers(void **state) {
    (void)state;
    json_t *golden = json_load_file("tests/golden/embed-qwen3.json", 0, NULL);
    assert_non_null(golden);
    for (int ranks = 1; ranks <= 2; ranks++) {
        glia_model *m = load(ranks);
        glia_engine *e = engine_of(m, 3, 48);
        check_embeddings(m, e, golden);
        check_scores(m, e, golden);
        glia_engine_free(e);
        glia_model_free(m);
    }
    json_decref(golden);
}

/* ---- prompt log-probabilities ------------------------------------------------------------------------ */

typedef struct {
    const int32_t *ids;
    size_t n;
    float logprob[LENGTH];
} reference;

static void on_logits(void *user, size_t position, const float *logits) {
    reference *r = user;
    float best = -INFINITY;
    double sum = 0;
    if (position + 1 == r->n) return;
    const int vocab = 2176;
    for (int i = 0; i < vocab; i++) best = fmaxf(best, logits[i]);
    for (int i = 0; i < vocab; i++) sum += exp((double)logits[i] - (double)best);
    r->logprob[position] = (float)((double)logits[r->ids[position + 1]] - ((double)best + log(sum)));
}

static void test_prompt_logprobs(void **state) {
    static result r[3], again, beside;
    int32_t ids[300], other[64];
    (void)state;
    for (int i = 0; i < 300; i++) ids[i] = (i * 37 + 11) % 2000;
    for (int i = 0; i < 64; i++) other[i] = (i * 13 + 5) % 2000;
    for (int ranks = 1; ranks <= 2; ranks++) {
        glia_model *m = load(ranks);
        glia_model_info info;
        glia_model_get_info(m, &info);
        assert_int_equal(info.vocab_size, 2176);
        glia_engine *e = engine_of(m, 4, 70);
        static reference want;
        want = (reference){.ids = ids, .n = 300};
        assert_int_equal(glia_engine_score(e, ids, 300, on_logits, &want, NULL), GLIA_OK);
        glia_sampling s = plain, embed = plain;
        submit(e, ids, 300, &plain, &again); /* its blocks are in the prefix cache now */
        finish_all(e);
        s.prompt_logprobs = 1 + TOP;
        embed.embed = true;
        for (int i = 0; i < 3; i++) submit(e, ids, (size_t)(300 - 60 * i), &s, &r[i]);
        submit(e, other, 64, &plain, &beside);
        finish_all(e);
        for (int i = 0; i < 3; i++) {
            const int n = 300 - 60 * i - 1;
            CHECK(r[i].n_prompt == n && r[i].ends == 1 && r[i].tokens == 20, "request %d: %d of %d tokens", i,
                  r[i].n_prompt, n);
            CHECK(memcmp(r[i].token, ids + 1, (size_t)n * sizeof *ids) == 0, "request %d: other tokens", i);
            CHECK(memcmp(r[i].logprob, want.logprob, (size_t)n * sizeof(float)) == 0,
                  "request %d: a log-probability differs from that of a score", i);
            for (int k = 0; k < n; k++)
                CHECK(r[i].top_logprob[k][0] >= r[i].logprob[k] &&
                          r[i].top_logprob[k][1] <= r[i].top_logprob[k][0],
                      "request %d, token %d: order", i, k);
        }
        submit(e, ids, 300, &embed, &again); /* all but its last token is cached */
        finish_all(e);
        CHECK(again.n_hidden == info.hidden_size && again.tokens == 0 && again.finish == GLIA_FINISH_STOP,
              "no embedding");
        glia_engine_free(e);
        glia_model_free(m);
    }
}

/* A wrong request is refused, and an aborted one ends. */
static void test_refusals(void **state) {
    static result r;
    static const int32_t ids[] = {1, 2, 3}, far[] = {5000};
    glia_err err;
    (void)state;
    glia_model *m = load(1);
    glia_engine *e = engine_of(m, 1, 64);
    glia_sampling s = plain;
    s.prompt_logprobs = 22;
    assert_int_equal(glia_engine_submit(e, ids, 3, &s, NULL, NULL, NULL, &err), GLIA_ERR_ARGUMENT);
    s = plain;
    s.logprob_token_ids = far;
    s.n_logprob_token_ids = 1;
    assert_int_equal(glia_engine_submit(e, ids, 3, &s, NULL, NULL, NULL, &err), GLIA_ERR_ARGUMENT);
    s.logprobs = 0;
    assert_int_equal(glia_engine_submit(e, ids, 3, &s, NULL, NULL, NULL, &err), GLIA_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "5000"));
    s = plain;
    s.embed = true;
    glia_request_abort(e, submit(e, ids, 3, &s, &r));
    finish_all(e);
    assert_true(r.ends == 1 && r.finish == GLIA_FINISH_ABORT && !r.n_hidden);
    glia_engine_free(e);
    glia_model_free(m);
}

/* What is cut is the text, never the tokens around it. */
static void test_cuts(void **state) {
    int32_t *ids, *whole, no_yes[2];
    size_t n, n_whole;
    bool cut;
    (void)state;
    glia_model *m = load(1);
    const glia_rerank_pair pair = {
        .query = "a b", .query_len = 3, .document = "c d e f g h i j k l", .document_len = 19};
    assert_int_equal(glia_rerank_prompt(m, &pair, 0, &whole, &n_whole, no_yes, NULL), GLIA_OK);
    assert_int_equal(glia_rerank_prompt(m, &pair, n_whole - 5, &ids, &n, no_yes, NULL), GLIA_OK);
    assert_int_equal(n, n_whole - 5);
    assert_memory_equal(ids, whole, 20 * sizeof *ids);
    assert_memory_equal(ids + n - 8, whole + n_whole - 8, 8 * sizeof *ids);
    glia_free(ids);
    glia_free(whole);
    assert_int_equal(glia_rerank_prompt(m, &pair, 10, &ids, &n, no_yes, NULL), GLIA_ERR_LIMIT);
    assert_int_equal(glia_embed_prompt(m, "c d e f", 7, 3, &ids, &n, &cut, NULL), GLIA_OK);
    assert_true(n == 3 && cut);
    glia_free(ids);
    glia_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers),
        cmocka_unit_test(test_prompt_logprobs),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cuts),
    };
    return check_run_group("pooling", tests);
}
