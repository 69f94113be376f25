/* check_engine.c - requests through the engine with the demo models: the same answers
 * in any batch, every way to finish, the prefix cache, scores, misuse. */
#include "check.h"

#include <glia.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "format/safetensors.h"

enum { TOKENS = 256 };
static const char model_dir[] = "models/qwen3-demo";

/* The answer that a request's events reported. */
typedef struct {
    glia_engine *engine; /* with abort_after */
    int n, events, ends, abort_after, first_position;
    int32_t token[TOKENS], top[TOKENS];
    float logprob[TOKENS], top_logprob[TOKENS];
    glia_buf text;
    glia_finish finish;
    char stop_reason[64];
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    a->events++;
    assert_int_equal(a->ends, 0);
    glia_buf_add(&a->text, e->text, e->text_len);
    if (e->token >= 0) {
        assert_true(a->n < TOKENS && e->finish == GLIA_RUNNING);
        if (a->n == 0) a->first_position = e->position;
        assert_int_equal(e->position, a->first_position + a->n);
        if (e->n_top) a->top[a->n] = e->top_tokens[0];
        if (e->n_top) a->top_logprob[a->n] = e->top_logprobs[0];
        a->logprob[a->n] = e->logprob;
        a->token[a->n++] = e->token;
        if (a->n == a->abort_after) glia_request_abort(a->engine, e->request);
    }
    if (e->finish == GLIA_RUNNING) return;
    assert_int_equal(e->token, -1);
    a->ends++;
    a->finish = e->finish;
    if (e->stop_reason) strcpy(a->stop_reason, e->stop_reason);
}

static void clear(answer *a) {
    glia_buf_free(&a->text);
    *a = (answer){0};
}

static glia_model *load(const glia_options *o) {
    glia_model *m;
    glia_err err = {0};
    if (!glia_dir_exists(model_dir)) check_skip("the demo model is not here");
    if (glia_model_load(&m, model_dir, NULL, o, &err)) fail_msg("%s", err.msg);
    return m;
}

static glia_engine *engine_of(const glia_model *m, const glia_engine_options *o) {
    glia_engine *e;
    glia_err err = {0};
    if (glia_engine_create(&e, m, o, &err)) fail_msg("%s", err.msg);
    return e;
}

typedef struct {
    int32_t *ids;
    size_t n;
} prompt;

static prompt tokens_of(const glia_model *m, const char *text) {
    prompt p;
    glia_err err = {0};
    if (glia_tokenize(m, text, strlen(text), false, &p.ids, &p.n, &err)) fail_msg("%s", err.msg);
    return p;
}

static void submit(glia_engine *e, const prompt *p, const glia_sampling *s, answer *a) {
    glia_err err = {0};
    if (glia_engine_submit(e, p->ids, p->n, s, on_event, a, NULL, &err)) fail_msg("%s", err.msg);
}

static void finish_all(glia_engine *e) {
    glia_err err = {0};
    for (size_t left = 1; left;)
        if (glia_engine_step(e, &left, &err)) fail_msg("%s", err.msg);
}

static void ask(glia_engine *e, const prompt *p, const glia_sampling *s, answer *a) {
    clear(a);
    submit(e, p, s, a);
    finish_all(e);
    assert_int_equal(a->ends, 1);
}

static glia_sampling greedy(const glia_model *m, int max_tokens) {
    glia_sampling s;
    glia_sampling_defaults(m, &s);
    s.do_sample = false;
    s.raw_text = true;
    s.max_tokens = max_tokens;
    return s;
}

static const char *const texts[] = {
    "Once upon a time", "Who are you?", "The", "12 + 34 = ", "Once upon a time there was a",
};
enum { TEXTS = sizeof texts / sizeof *texts };

/* Compute greedy and seeded answers, one request at a time in an engine with default options. */
static void reference(answer want[TEXTS][2]) {
    glia_model *m = load(&(glia_options){.threads = 1});
    glia_engine *e = engine_of(m, &(glia_engine_options){.sequence_length = 300, .no_prefix_cache = true});
    for (int i = 0; i < TEXTS; i++) {
        prompt p = tokens_of(m, texts[i]);
        glia_sampling s = greedy(m, 20 + 7 * i);
        ask(e, &p, &s, &want[i][0]);
        s.do_sample = true;
        s.temperature = 1.5f;
        s.top_k = 0;
        s.top_p = 1;
        s.seed = 99;
        ask(e, &p, &s, &want[i][1]);
        glia_free(p.ids);
    }
    glia_engine_free(e);
    glia_model_free(m);
}

static void compare(const answer *got, const answer *want, int text, int sampled, const char *how) {
    CHECK(got->n == want->n && !memcmp(got->token, want->token, (size_t)got->n * sizeof *got->token),
          "%s: text %d sampled %d: other tokens", how, text, sampled);
    CHECK(got->text.len == want->text.len && !memcmp(got->text.data, want->text.data, got->text.len),
          "%s: text %d sampled %d: other text", how, text, sampled);
    CHECK(got->finish == want->finish && got->ends == 1, "%s: text %d: finish %d", how, text, got->finish);
}

static void test_any_company(void **state) {
    (void)state;
    static const glia_engine_options company[] = {
        {.batch_size = 3, .prefill_chunk_size = 3, .sequence_length = 300},
        {.batch_size = 8, .block_size = 32, .sequence_length = 300},
        {.batch_size = 2, .prefill_chunk_size = 1, .block_size = 32, .sequence_length = 310},
    };
    answer want[TEXTS][2] = {0}, got[TEXTS][2] = {0};
    reference(want);
    bool differ = false; /* sampling must change an answer, or this tests nothing */
    for (int i = 0; i < TEXTS; i++)
        differ |= memcmp(want[i][0].token, want[i][1].token, sizeof(int32_t) * 8) != 0;
    assert_true(differ);
    for (size_t k = 0; k < sizeof company / sizeof *company; k++) {
        glia_model *m = load(&(glia_options){.threads = 1 + (int)(k + 1) % 3});
        glia_engine *e = engine_of(m, &company[k]);
        size_t left;
        for (int i = 0; i < TEXTS; i++)
            for (int sampled = 0; sampled < 2; sampled++) {
                prompt p = tokens_of(m, texts[i]);
                glia_sampling s = greedy(m, 20 + 7 * i);
                s.do_sample = sampled;
                s.temperature = 1.5f;
                s.top_k = 0;
                s.top_p = 1;
                s.seed = 99;
                submit(e, &p, &s, &got[i][sampled]);
                if (check_u32() % 2) assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
                glia_free(p.ids); /* the engine has copied the prompt */
            }
        finish_all(e);
        for (int i = 0; i < TEXTS; i++)
            for (int sampled = 0; sampled < 2; sampled++) {
                compare(&got[i][sampled], &want[i][sampled], i, sampled, "in company");
                clear(&got[i][sampled]);
            }
        glia_engine_free(e);
        glia_model_free(m);
    }
    for (int i = 0; i < TEXTS; i++) clear(&want[i][0]), clear(&want[i][1]);
}

static void test_endings(void **state) {
    (void)state;
    glia_model *m = load(NULL);
    glia_engine *e = engine_of(m, &(glia_engine_options){.sequence_length = 64});
    prompt p = tokens_of(m, texts[0]);
    answer plain = {0}, a = {0};
    glia_sampling s = greedy(m, 24);
    s.ignore_eos = true;
    ask(e, &p, &s, &plain);
    assert_true(plain.finish == GLIA_FINISH_LENGTH && plain.n == 24 && plain.first_position == (int)p.n);

    char *whole; /* the joined pieces equal the decoded tokens */
    size_t len;
    assert_int_equal(glia_detokenize(m, plain.token, (size_t)plain.n, true, &whole, &len, NULL), GLIA_OK);
    assert_string_equal(plain.text.data, whole);

    /* A stop string of four characters anywhere: the answer is the text before it. */
    for (size_t at = 3; at + 4 < len; at += 5) {
        char stop[8] = {0};
        memcpy(stop, whole + at, 4);
        const char *const stops[] = {"never said", stop};
        const size_t first = (size_t)(strstr(whole, stop) - whole);
        s.stop = stops;
        s.n_stop = 2;
        ask(e, &p, &s, &a);
        assert_true(a.finish == GLIA_FINISH_STOP && a.text.len == first);
        assert_string_equal(a.stop_reason, stop);
        s.include_stop_str_in_output = true;
        ask(e, &p, &s, &a);
        assert_true(a.text.len == first + 4 && !memcmp(a.text.data, whole, first + 4));
        s.include_stop_str_in_output = false;
    }
    glia_free(whole);
    s.n_stop = 0;

    s.stop_token_ids = &plain.token[9];
    s.n_stop_token_ids = 1;
    int first = 0;
    while (plain.token[first] != plain.token[9]) first++;
    ask(e, &p, &s, &a);
    assert_true(a.finish == GLIA_FINISH_STOP && a.n == first + 1 && !a.stop_reason[0]);
    s.min_tokens = first + 4; /* the token is forbidden until then */
    ask(e, &p, &s, &a);
    assert_true(a.n >= s.min_tokens);
    for (int i = 0; i < s.min_tokens; i++) assert_int_not_equal(a.token[i], plain.token[9]);
    s.min_tokens = 0;
    s.n_stop_token_ids = 0;

    s.max_tokens = 0; /* the limit is the sequence length */
    ask(e, &p, &s, &a);
    assert_true(a.finish == GLIA_FINISH_LENGTH && a.n == 64 - (int)p.n);
    s.max_tokens = 1000;
    ask(e, &p, &s, &a);
    assert_int_equal(a.n, 64 - (int)p.n);
    s.max_tokens = 1;
    ask(e, &p, &s, &a);
    assert_int_equal(a.n, 1);

    const glia_logit_bias bias = {7, 100};
    s.logit_bias = &bias;
    s.n_logit_bias = 1;
    s.max_tokens = 5;
    ask(e, &p, &s, &a);
    for (int i = 0; i < 5; i++) assert_int_equal(a.token[i], 7);
    clear(&a);
    clear(&plain);
    glia_free(p.ids);
    glia_engine_free(e);
    glia_model_free(m);
}

static void test_abort(void **state) {
    (void)state;
    glia_model *m = load(NULL);
    glia_engine *e = engine_of(m, &(glia_engine_options){.batch_size = 1, .sequence_length = 128});
    prompt p = tokens_of(m, texts[0]);
    glia_sampling s = greedy(m, 0);
    s.ignore_eos = true;
    answer a = {.engine = e, .abort_after = 5}, b = {0}, c = {0};
    uint64_t waiting;
    submit(e, &p, &s, &a);
    assert_int_equal(glia_engine_submit(e, p.ids, p.n, &s, on_event, &b, &waiting, NULL), GLIA_OK);
    s.max_tokens = 3;
    submit(e, &p, &s, &c);
    size_t left;
    assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
    assert_int_equal(left, 3);
    glia_request_abort(e, waiting);
    finish_all(e);
    assert_true(a.finish == GLIA_FINISH_ABORT && a.n == 5);
    assert_true(b.finish == GLIA_FINISH_ABORT && b.n == 0);
    assert_true(c.finish == GLIA_FINISH_LENGTH && c.n == 3);
    clear(&a), clear(&b), clear(&c);
    submit(e, &p, &s, &a); /* unfinished: glia_engine_free() must free it */
    submit(e, &p, &s, &b);
    glia_engine_step(e, &left, NULL);
    glia_engine_free(e);
    clear(&a), clear(&b);
    glia_free(p.ids);
    glia_model_free(m);
}

static void test_cache_and_stats(void **state) {
    (void)state;
    glia_model *m = load(NULL);
    glia_engine *e =
        engine_of(m, &(glia_engine_options){.batch_size = 2, .sequence_length = 256, .block_size = 32});
    prompt p = {malloc(100 * sizeof *p.ids), 100};
    for (size_t i = 0; i < p.n; i++) p.ids[i] = (int32_t)(check_u32() % 1000);
    glia_sampling s = greedy(m, 30);
    s.ignore_eos = true;
    answer first = {0}, again = {0};
    glia_engine_stats stats;
    ask(e, &p, &s, &first);
    glia_engine_get_stats(e, &stats);
    assert_true(stats.cached_tokens == 0 && stats.prompt_tokens == 100 && stats.output_tokens == 30);
    assert_true(stats.steps == 30 && stats.plan_bytes > 0 && stats.weight_bytes > 0);
    ask(e, &p, &s, &again);
    compare(&again, &first, 0, 0, "from the cache");
    glia_engine_get_stats(e, &stats);
    assert_int_equal(stats.cached_tokens, 96);

    prompt turn = {malloc(140 * sizeof *p.ids), 140}; /* the next turn of a chat: prompt, answer, more text */
    memcpy(turn.ids, p.ids, 100 * sizeof *p.ids);
    memcpy(turn.ids + 100, first.token, 30 * sizeof *p.ids);
    for (size_t i = 130; i < 140; i++) turn.ids[i] = 5;
    ask(e, &turn, &s, &again);
    glia_engine_get_stats(e, &stats);
    assert_int_equal(stats.cached_tokens, 96 + 128);
    clear(&first), clear(&again);
    free(p.ids);
    free(turn.ids);
    glia_engine_free(e);
    glia_model_free(m);
}

typedef struct {
    int vocab;
    size_t next;
    const int32_t *ids;
    size_t n;
    float logprob[TOKENS];
} scores;

static void on_logits(void *user, size_t position, const float *logits) {
    scores *s = user;
    assert_int_equal(position, s->next++);
    double sum = 0, best = -INFINITY;
    for (int i = 0; i < s->vocab; i++) best = fmax(best, (double)logits[i]);
    for (int i = 0; i < s->vocab; i++) sum += exp((double)logits[i] - best);
    if (position + 1 < s->n)
        s->logprob[position] = (float)((double)logits[s->ids[position + 1]] - best - log(sum));
}

/* Scoring prompt and answer gives the log-probabilities reported while generating. */
static void test_score(void **state) {
    (void)state;
    glia_model *m = load(NULL);
    glia_engine *e = engine_of(m, &(glia_engine_options){.sequence_length = 100, .prefill_chunk_size = 7});
    glia_model_info info;
    glia_model_get_info(m, &info);
    prompt p = tokens_of(m, texts[4]);
    glia_sampling s = greedy(m, 40);
    s.ignore_eos = true;
    s.logprobs = 3;
    answer a = {0};
    ask(e, &p, &s, &a);
    int32_t ids[TOKENS];
    memcpy(ids, p.ids, p.n * sizeof *ids);
    memcpy(ids + p.n, a.token, (size_t)a.n * sizeof *ids);
    scores got = {.vocab = info.vocab_size, .ids = ids, .n = p.n + (size_t)a.n};
    assert_int_equal(glia_engine_score(e, ids, got.n, on_logits, &got, NULL), GLIA_OK);
    assert_int_equal(got.next, got.n);
    for (int i = 0; i < a.n; i++) {
        const float want = got.logprob[p.n + (size_t)i - 1];
        CHECK(fabsf(a.logprob[i] - want) <= 1e-6f * (1 + fabsf(want)), "token %d: %.9g, scored %.9g", i,
              (double)a.logprob[i], (double)want);
        CHECK(a.top[i] == a.token[i] && a.top_logprob[i] == a.logprob[i], "token %d is not the top one", i);
    }
    clear(&a);
    glia_free(p.ids);
    glia_engine_free(e);
    glia_model_free(m);
}

static void test_refusals(void **state) {
    (void)state;
    glia_model *m = load(NULL);
    glia_engine *e = engine_of(m, &(glia_engine_options){.sequence_length = 32});
    int32_t ids[40] = {0};
    const glia_sampling good = greedy(m, 4);
    glia_sampling stopped = good, hot = good;
    static const char *const broken[] = {"\xff"};
    stopped.stop = broken;
    stopped.n_stop = 1;
    hot.temperature = -1;
    const struct {
        size_t n;
        int32_t first;
        const glia_sampling *s;
        glia_status status;
        const char *msg;
    } rows[] = {
        {0, 0, &good, GLIA_ERR_ARGUMENT, "the prompt has no tokens"},
        {32, 0, &good, GLIA_ERR_LIMIT, "the prompt has 32 tokens; a sequence length of 32 has room for 31"},
        {2, -1, &good, GLIA_ERR_ARGUMENT, "token 0 of the prompt is -1"},
        {2, 1 << 20, &good, GLIA_ERR_ARGUMENT, "token 0 of the prompt is 1048576, the vocabulary has"},
        {2, 0, &hot, GLIA_ERR_ARGUMENT, "temperature is -1"},
        {2, 0, &stopped, GLIA_ERR_FORMAT, "stop string 1 is not UTF-8 at byte 0"},
    };
    glia_err err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t r = 77;
        ids[0] = rows[i].first;
        assert_int_equal(glia_engine_submit(e, ids, rows[i].n, rows[i].s, on_event, NULL, &r, &err),
                         rows[i].status);
        CHECK(strstr(err.msg, rows[i].msg) && !r, "row %zu: %s", i, err.msg);
    }
    ids[0] = -5;
    assert_int_equal(glia_engine_score(e, ids, 0, on_logits, NULL, &err), GLIA_ERR_ARGUMENT);
    assert_int_equal(glia_engine_score(e, ids, 33, on_logits, NULL, &err), GLIA_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "33 tokens to score, the sequence length is 32"));
    assert_int_equal(glia_engine_score(e, ids, 3, on_logits, NULL, &err), GLIA_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "token 0 to score is -5"));

    answer a = {0}; /* with a running request, 32 more positions do not fit */
    glia_sampling longest = greedy(m, 0);
    longest.ignore_eos = true;
    size_t left;
    ids[0] = 1;
    submit(e, &(prompt){ids, 4}, &longest, &a);
    assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
    assert_int_equal(glia_engine_score(e, ids, 3, on_logits, NULL, &err), GLIA_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "beside 1 running request"));
    finish_all(e);
    clear(&a);
    glia_engine_free(e);
    glia_model_free(m);
}

/* A model with a broken last norm: the step fails with a message and the request ends. */
static void test_bad_logits(void **state) {
    (void)state;
    static const char *const files[] = {"config.json", "model.safetensors"};
    if (!glia_dir_exists(model_dir)) check_skip("the demo model is not here");
    const char *dir = check_temp_dir();
    for (size_t i = 0; i < 2; i++) {
        char from[128];
        size_t len;
        snprintf(from, sizeof from, "%s/%s", model_dir, files[i]);
        char *bytes = check_read_file(from, &len);
        if (i == 1) {
            glia_safetensors st;
            assert_int_equal(glia_safetensors_open(&st, from, NULL), GLIA_OK);
            for (size_t k = 0; k < st.n; k++)
                if (!strcmp(st.tensor[k].name, "model.norm.weight"))
                    memset(bytes + ((const unsigned char *)st.tensor[k].data - st.map.data), 0xff, 2);
            glia_safetensors_close(&st);
        }
        check_write_file(dir, files[i], bytes, len);
        free(bytes);
    }
    glia_model *m;
    glia_err err = {0};
    if (glia_model_load(&m, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
    glia_engine *e = engine_of(m, &(glia_engine_options){.sequence_length = 64});
    const glia_sampling s = greedy(m, 4);
    int32_t ids[] = {1, 2};
    answer a = {0};
    size_t left;
    submit(e, &(prompt){ids, 2}, &s, &a);
    assert_int_equal(glia_engine_step(e, &left, &err), GLIA_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "the logits after position 1 are not all numbers"));
    assert_true(left == 0 && a.ends == 1 && a.n == 0 && a.finish == GLIA_FINISH_ABORT);
    clear(&a);
    glia_engine_free(e);
    glia_model_free(m);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_company), cmocka_unit_test(test_endings),
        cmocka_unit_test(test_abort),       cmocka_unit_test(test_cache_and_stats),
        cmocka_unit_test(test_score),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bad_logits),
    };
    check_begin(argc, argv);
    return check_run_group("engine", tests);
}
