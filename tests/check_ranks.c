/* check_ranks.c - a model on several thread ranks: the same tokens at every tp,
 * requests of all kinds together, how they finish, and ranks that fail. */
#include "check.h"

#include <glia.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/model.h"
#include "base/buf.h"
#include "base/file.h"
#include "device/cpu.h"
#include "engine/engine_impl.h"
#include "layer/linear.h"

enum { TOKENS = 64 };
static const char *const models[] = {"models/qwen3-demo", "models/smollm3-demo"};

typedef struct {
    int n, ends, cached;
    int32_t token[TOKENS];
    float logprob[TOKENS];
    glia_buf text;
    glia_finish finish;
    int abort_after;
    glia_engine *engine;
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    glia_buf_add(&a->text, e->text, e->text_len);
    if (e->token >= 0) {
        assert_true(a->n < TOKENS);
        a->logprob[a->n] = e->logprob;
        a->token[a->n++] = e->token;
        if (a->n == a->abort_after) glia_request_abort(a->engine, e->request);
    }
    if (e->finish == GLIA_RUNNING) return;
    a->ends++;
    a->finish = e->finish;
}

typedef struct {
    glia_model *m;
    glia_engine *e;
} running;

static running start(const char *dir, const glia_options *o) {
    running r;
    glia_err err = {0};
    if (!glia_dir_exists(dir)) check_skip("the demo model is not here");
    if (glia_model_load(&r.m, dir, NULL, o, &err)) fail_msg("%s", err.msg);
    if (glia_engine_create(&r.e, r.m, o->engine, &err)) fail_msg("%s", err.msg);
    return r;
}

static void stop(running *r) {
    glia_engine_free(r->e);
    glia_model_free(r->m);
}

static void submit(const running *r, const char *text, const glia_sampling *s, answer *a) {
    int32_t *ids;
    size_t n;
    glia_err err = {0};
    glia_buf_free(&a->text);
    *a = (answer){.abort_after = a->abort_after, .engine = r->e};
    if (glia_tokenize(r->m, text, strlen(text), false, &ids, &n, &err)) fail_msg("%s", err.msg);
    if (glia_engine_submit(r->e, ids, n, s, on_event, a, NULL, &err)) fail_msg("%s", err.msg);
    glia_free(ids);
}

static void finish_all(const running *r) {
    glia_err err = {0};
    for (size_t left = 1; left;)
        if (glia_engine_step(r->e, &left, &err)) fail_msg("%s", err.msg);
}

/* Every way to draw: from the largest logits of each rank, from the whole row, and both
 * in one batch. */
static const struct {
    const char *name, *text;
    glia_sampling s;
} kinds[] = {
    {"greedy", "Once upon a time", {.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1}},
    {"top-k",
     "Who are you?",
     {.do_sample = true,
      .temperature = 0.8f,
      .top_k = 20,
      .top_p = 0.9f,
      .typical_p = 1,
      .repetition_penalty = 1}},
    {"all",
     "The",
     {.do_sample = true,
      .temperature = 0.8f,
      .top_p = 1,
      .min_p = 0.02f,
      .typical_p = 1,
      .repetition_penalty = 1}},
    {"top-1",
     "12 + 34 = ",
     {.do_sample = true,
      .temperature = 0.8f,
      .top_k = 1,
      .top_p = 1,
      .typical_p = 1,
      .repetition_penalty = 1}},
    {"typical",
     "Once upon a time there was a",
     {.do_sample = true,
      .temperature = 1,
      .top_k = 64,
      .top_p = 1,
      .typical_p = 0.9f,
      .repetition_penalty = 1}},
    {"penalty",
     "Tell me a story.",
     {.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1.3f, .presence_penalty = 0.5f}},
    {"logprobs",
     "Hello",
     {.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .logprobs = 3}},
    {"early", "Hi", {.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .min_tokens = 9}},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static glia_sampling sampling_of(int kind, int max_tokens) {
    glia_sampling s = kinds[kind].s;
    if (!s.logprobs) s.logprobs = -1;
    s.seed = 7 + (uint64_t)kind;
    s.max_tokens = max_tokens;
    s.raw_text = true;
    return s;
}

static void ask_all(const running *r, answer *got) {
    for (int k = 0; k < KINDS; k++) {
        const glia_sampling s = sampling_of(k, 24);
        size_t left;
        submit(r, kinds[k].text, &s, &got[k]);
        if (k == 3) assert_int_equal(glia_engine_step(r->e, &left, NULL), GLIA_OK);
    }
    finish_all(r);
}

/* The demo models run in float32, where sums over ranks differ in the last bits only.
 * A draw that these bits change has never been seen, and must not occur. */
static void test_same_tokens(void **state) {
    (void)state;
    static const glia_options rows[] = {
        {.tensor_parallel_size = 2, .threads = 1},
        {.tensor_parallel_size = 2, .threads = 2, .vocab_parallel = GLIA_SWITCH_OFF},
        {.tensor_parallel_size = 3, .threads = 1},
        {.tensor_parallel_size = 7, .threads = 1, .sequence_parallel = GLIA_SWITCH_OFF},
    };
    for (size_t m = 0; m < 2; m++) {
        answer want[KINDS] = {0}, got[KINDS] = {0};
        running r =
            start(models[m], &(glia_options){.dtype = GLIA_DTYPE_F32,
                                             .threads = 1,
                                             .engine = &(glia_engine_options){.sequence_length = 256}});
        ask_all(&r, want);
        stop(&r);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            const glia_engine_options engine = {.sequence_length = 256,
                                                .batch_size = i % 2 ? KINDS : 3,
                                                .prefill_chunk_size = i == 2 ? 5 : 0};
            glia_options o = rows[i];
            o.dtype = GLIA_DTYPE_F32;
            o.engine = &engine;
            r = start(models[m], &o);
            ask_all(&r, got);
            for (int k = 0; k < KINDS; k++) {
                CHECK(got[k].n == want[k].n &&
                          !memcmp(got[k].token, want[k].token, (size_t)got[k].n * sizeof *got[k].token),
                      "%s, row %zu, %s: other tokens", models[m], i, kinds[k].name);
                CHECK(got[k].finish == want[k].finish && got[k].ends == 1, "row %zu, %s: finish %d", i,
                      kinds[k].name, got[k].finish);
                for (int t = 0; t < got[k].n && kinds[k].s.logprobs; t++)
                    CHECK(fabsf(got[k].logprob[t] - want[k].logprob[t]) < 1e-4f, "log-probability %d", t);
                glia_buf_free(&got[k].text);
                got[k] = (answer){0};
            }
            stop(&r);
        }
        for (int k = 0; k < KINDS; k++) glia_buf_free(&want[k].text);
    }
}

/* At one tp the schedule changes no bit: one by one, in small chunks, or all together. */
static void test_same_bits(void **state) {
    (void)state;
    answer want[KINDS] = {0}, got[KINDS] = {0};
    running one = start(models[0], &(glia_options){.tensor_parallel_size = 3,
                                                   .threads = 1,
                                                   .engine = &(glia_engine_options){.sequence_length = 256}});
    running all =
        start(models[0],
              &(glia_options){.tensor_parallel_size = 3,
                              .threads = 2,
                              .engine = &(glia_engine_options){
                                  .sequence_length = 256, .batch_size = KINDS, .prefill_chunk_size = 3}});
    ask_all(&one, want);
    ask_all(&all, got);
    for (int k = 0; k < KINDS; k++) {
        CHECK(got[k].n == want[k].n && !memcmp(got[k].token, want[k].token, sizeof want[k].token),
              "%s: other tokens", kinds[k].name);
        CHECK(!kinds[k].s.logprobs || !memcmp(got[k].logprob, want[k].logprob, sizeof want[k].logprob),
              "%s: other log-probabilities", kinds[k].name);
        glia_buf_free(&got[k].text);
        glia_buf_free(&want[k].text);
    }
    stop(&one);
    stop(&all);
}

typedef struct {
    float *logits;
    size_t vocab, rows;
} scores;

static void on_logits(void *user, size_t position, const float *logits) {
    scores *s = user;
    assert_int_equal(position, s->rows++);
    memcpy(s->logits + position * s->vocab, logits, s->vocab * sizeof *logits);
}

static void test_score(void **state) {
    (void)state;
    enum { N = 77 };
    int32_t ids[N];
    float *want = NULL;
    for (int i = 0; i < N; i++) ids[i] = 5 + 23 * i % 1999;
    for (int tp = 1; tp <= 5; tp++) {
        const glia_options o = {
            .tensor_parallel_size = tp,
            .threads = 1,
            .dtype = GLIA_DTYPE_F32,
            .engine = &(glia_engine_options){.sequence_length = 96, .prefill_chunk_size = tp > 3 ? 10 : 96}};
        running r = start(models[0], &o);
        glia_model_info info;
        glia_model_get_info(r.m, &info);
        scores s = {.vocab = (size_t)info.vocab_size};
        s.logits = calloc(N * s.vocab, sizeof *s.logits);
        assert_int_equal(glia_engine_score(r.e, ids, N, on_logits, &s, NULL), GLIA_OK);
        assert_int_equal(s.rows, N);
        double worst = 0;
        for (size_t i = 0; want && i < N * s.vocab; i++)
            worst = fmax(worst, fabs((double)s.logits[i] - (double)want[i]));
        CHECK(worst < 1e-3, "tp %d: logits differ by %g", tp, worst); /* logits are up to 30 */
        if (want)
            free(s.logits);
        else
            want = s.logits;
        stop(&r);
    }
    free(want);
}

/* Ways to finish, the prefix cache, counters. */
static void test_requests(void **state) {
    (void)state;
    running r =
        start(models[0], &(glia_options){.tensor_parallel_size = 2,
                                         .threads = 1,
                                         .engine = &(glia_engine_options){
                                             .sequence_length = 256, .block_size = 32, .batch_size = 2}});
    static const char text[] =
        "Once upon a time there was a village, and in the village there was a mill, and "
        "in the mill there was a miller who had a cat and a dog and a bird";
    glia_sampling s = sampling_of(0, 20);
    answer a = {0}, b = {0}, other = {0};
    glia_engine_stats before, after;
    submit(&r, text, &s, &a);
    finish_all(&r);
    glia_engine_get_stats(r.e, &before);
    submit(&r, text, &s, &b);
    finish_all(&r);
    glia_engine_get_stats(r.e, &after);
    assert_true(after.cached_tokens >= before.cached_tokens + 32);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.token, b.token, (size_t)a.n * sizeof *a.token);
    assert_true(before.ranks == 2 && !strcmp(before.comm, "threads") && before.comm_calls > 0 &&
                before.comm_bytes > 0 && before.comm_seconds > 0);
    assert_int_equal(before.weight_bytes, after.weight_bytes);

    char stop_text[8] = "";
    memcpy(stop_text, b.text.data + b.text.len / 2, 3);
    const char *const stops[] = {stop_text};
    s.stop = stops;
    s.n_stop = 1;
    submit(&r, text, &s, &a);
    s.n_stop = 0;
    other.abort_after = 3;
    submit(&r, "Hello", &s, &other);
    finish_all(&r);
    assert_int_equal(a.finish, GLIA_FINISH_STOP);
    assert_true(a.text.len <= b.text.len / 2 && !memcmp(a.text.data, b.text.data, a.text.len));
    assert_true(other.finish == GLIA_FINISH_ABORT && other.n == 3);
    glia_buf_free(&a.text);
    glia_buf_free(&b.text);
    glia_buf_free(&other.text);
    stop(&r); /* with a request still waiting */
    r = start(models[0], &(glia_options){.tensor_parallel_size = 2,
                                         .threads = 1,
                                         .engine = &(glia_engine_options){.sequence_length = 64}});
    submit(&r, "Hello", &s, &other);
    stop(&r);
    glia_buf_free(&other.text);
}

/* Zero weights make all logits equal, so the largest of each rank are not enough. */
static void test_ties(void **state) {
    (void)state;
    answer want = {0}, got = {0}, lowest = {0};
    glia_sampling s = sampling_of(1, 12);
    s.top_k = 5;
    s.ignore_eos = true;
    for (int tp = 1; tp <= 3; tp++) {
        glia_err err = {0};
        running r;
        const glia_options o = {.tensor_parallel_size = tp,
                                .threads = 1,
                                .engine = &(glia_engine_options){.sequence_length = 64}};
        if (!glia_dir_exists(models[0])) check_skip("the demo model is not here");
        if (glia_model_load(&r.m, models[0], NULL, &o, &err)) fail_msg("%s", err.msg);
        for (int i = 0; i < r.m->n_ranks; i++)
            memset(r.m->weights[i]->plan.base, 0, r.m->weights[i]->plan.bytes);
        if (glia_engine_create(&r.e, r.m, o.engine, &err)) fail_msg("%s", err.msg);
        submit(&r, "Hello", &s, &got);
        finish_all(&r);
        assert_int_equal(got.n, 12);
        if (tp == 1) memcpy(want.token, got.token, sizeof got.token);
        assert_memory_equal(got.token, want.token, sizeof got.token);
        const glia_sampling first = sampling_of(0, 2);
        submit(&r, "Hello", &first, &lowest);
        finish_all(&r);
        assert_int_equal(lowest.token[0], 0);
        stop(&r);
    }
    glia_buf_free(&got.text);
    glia_buf_free(&lowest.text);
}

static void *fail_later(void *arg) {
    glia_comm_fail(arg, "out of luck");
    return NULL;
}

/* A rank fails between steps or within a step: every request ends, every call returns
 * the reason, and nothing hangs. */
static void test_failure(void **state) {
    (void)state;
    for (int round = 0; round < 12; round++) {
        running r =
            start(models[0],
                  &(glia_options){.tensor_parallel_size = 3,
                                  .threads = 1 + round % 2,
                                  .engine = &(glia_engine_options){.sequence_length = 64, .batch_size = 2}});
        const glia_sampling s = sampling_of(round % KINDS, 50);
        answer a[3] = {0};
        glia_err err = {0};
        size_t left = 3;
        pthread_t thread;
        glia_status status = GLIA_OK;
        glia_comm *of = r.e->followers.world[round % 3];
        for (int i = 0; i < 3; i++) submit(&r, "Once upon a time", &s, &a[i]);
        for (int i = 0; i < round / 2; i++) assert_int_equal(glia_engine_step(r.e, &left, &err), GLIA_OK);
        if (round % 2)
            assert_int_equal(pthread_create(&thread, NULL, fail_later, of), 0);
        else
            fail_later(of);
        while (!status && left) status = glia_engine_step(r.e, &left, &err);
        if (round % 2) pthread_join(thread, NULL);
        if (left == 0 && !status) { /* all requests ended before the failure */
            stop(&r);
            for (int i = 0; i < 3; i++) glia_buf_free(&a[i].text);
            continue;
        }
        char want[64];
        snprintf(want, sizeof want, "rank %d: out of luck", round % 3);
        assert_true(status == GLIA_ERR_IO && !strcmp(err.msg, want) && left == 0);
        for (int i = 0; i < 3; i++) /* a request may have finished before */
            assert_true(a[i].ends == 1 && (a[i].finish == GLIA_FINISH_ABORT || round % 2));
        for (int again = 0; again < 2; again++) {
            err.msg[0] = '\0';
            assert_int_equal(glia_engine_step(r.e, &left, &err), GLIA_ERR_IO);
            assert_string_equal(err.msg, want);
        }
        const int32_t ids[] = {1, 2};
        assert_int_equal(glia_engine_submit(r.e, ids, 2, &s, on_event, a, NULL, &err), GLIA_ERR_IO);
        assert_int_equal(glia_engine_score(r.e, ids, 2, on_logits, NULL, &err), GLIA_ERR_IO);
        assert_string_equal(err.msg, want);
        glia_ceilings c;
        glia_engine_ceilings(r.e, &c);
        assert_true(c.read_bytes_per_s == 0);
        for (int i = 0; i < 3; i++) glia_buf_free(&a[i].text);
        stop(&r);
    }
}

/* A score is the first call that meets the failure of a rank: the next step ends the requests. */
static void test_failed_score(void **state) {
    (void)state;
    running r = start(
        models[0], &(glia_options){.tensor_parallel_size = 2,
                                   .threads = 1,
                                   .engine = &(glia_engine_options){.sequence_length = 64, .batch_size = 2}});
    const glia_sampling s = sampling_of(0, 50);
    const int32_t ids[] = {1, 2};
    answer a[2] = {0}; /* one runs, no step has seen the other */
    glia_err err = {0};
    size_t left = 0;
    submit(&r, "Once upon a time", &s, &a[0]);
    assert_int_equal(glia_engine_step(r.e, &left, &err), GLIA_OK);
    submit(&r, "Once upon a time", &s, &a[1]);
    fail_later(r.e->followers.world[1]);
    assert_int_equal(glia_engine_score(r.e, ids, 2, on_logits, NULL, &err), GLIA_ERR_IO);
    assert_true(a[0].ends == 0 && a[1].ends == 0 && glia_engine_wait(r.e, 0));
    assert_int_equal(glia_engine_step(r.e, &left, &err), GLIA_ERR_IO);
    assert_string_equal(err.msg, "rank 1: out of luck");
    assert_int_equal(left, 0);
    for (int i = 0; i < 2; i++) {
        assert_true(a[i].ends == 1 && a[i].finish == GLIA_FINISH_ABORT);
        glia_buf_free(&a[i].text);
    }
    stop(&r);
}

/* Impossible settings fail at once, and leave nothing allocated. */
static void test_errors(void **state) {
    (void)state;
    glia_model *m;
    glia_err err = {0};
    const char *dir = check_temp_dir();
    size_t len;
    if (!glia_dir_exists(models[0])) check_skip("the demo model is not here");
    char *config = check_read_file("models/qwen3-demo/config.json", &len);
    check_write_file(dir, "config.json", config, len);
    free(config);
    assert_int_equal(glia_model_load(&m, dir, NULL, &(glia_options){.tensor_parallel_size = 3}, &err),
                     GLIA_ERR_IO);
    assert_true(m == NULL && strstr(err.msg, "model.safetensors"));
    running r = start(models[0], &(glia_options){.tensor_parallel_size = 2,
                                                 .threads = 1,
                                                 .engine = &(glia_engine_options){.sequence_length = 64}});
    assert_int_equal(glia_engine_follow(r.e, &err), GLIA_ERR_ARGUMENT);
    assert_string_equal(err.msg, "this process is rank 0, which leads and does not follow");
    running second = {.m = r.m}; /* a model serves any number of engines */
    assert_int_equal(glia_engine_create(&second.e, r.m, NULL, &err), GLIA_OK);
    glia_engine_free(second.e);
    stop(&r);
}

/* The bytes that rank 0 gets from other ranks in a step of m rows, one of them with
 * logits; see docs/PARALLEL.md, "A step". */
static uint64_t step_bytes(const glia_engine *e, const glia_parallel *p, size_t row_bytes, size_t m) {
    const glia_model_config *c = e->model;
    const uint64_t others = (uint64_t)p->tp - 1, layers = (uint64_t)c->layers;
    const uint64_t stride = sizeof(float) * glia_parallel_ld_hidden(&glia_cpu, (size_t)c->hidden, p);
    const bool spread = glia_rows_are_many(p, (int)m);
    const uint64_t own = m / (uint64_t)p->tp, sum = others * (spread ? own : m) * stride;
    const uint64_t part = sizeof(float) * glia_even_size((size_t)c->hidden, p->tp);
    const uint64_t embedding = p->vocab_parallel ? sum : others * m * part;
    const uint64_t layer = 2 * sum + (spread ? 2 * (m - own) * row_bytes : 0);
    const uint64_t head = spread ? others * stride : 0, best = others * glia_shard_top_bytes(1);
    return embedding + layers * layer + head + best;
}

static void count_bytes(const glia_options *o) {
    const size_t prompt = 99;
    int32_t ids[99];
    for (size_t i = 0; i < prompt; i++) ids[i] = 300 + (int32_t)i;
    running r = start(models[0], o);
    answer a = {0};
    glia_sampling s = sampling_of(0, 3);
    s.ignore_eos = true;
    glia_err err = {0};
    glia_engine_stats before, after;
    const glia_model_config *c = r.e->model;
    const glia_weights *w = r.m->weights[0];
    const size_t hidden = (size_t)c->hidden;
    glia_kernels k;
    glia_kernels_init(&k, r.e->config.cpu_flags);
    const bool narrow = k.narrow && w->dtype == GLIA_DTYPE_BF16;
    const bool i8 = o->quantization == GLIA_QUANTIZATION_W8A8;
    size_t row_bytes = i8 ? glia_i8_stride(hidden) : sizeof(float) * glia_row_stride(hidden);
    if (narrow) row_bytes = ((i8 ? 1 : 2) * hidden + 63) / 64 * 64; /* a row is padded to whole steps */
    if (i8) row_bytes += sizeof(float);
    assert_int_equal(glia_engine_submit(r.e, ids, prompt, &s, on_event, &a, NULL, &err), GLIA_OK);
    glia_engine_get_stats(r.e, &before);
    for (size_t left = 1, m = prompt; left; m = 1, before = after) {
        assert_int_equal(glia_engine_step(r.e, &left, &err), GLIA_OK);
        glia_engine_get_stats(r.e, &after);
        assert_int_equal(after.comm_bytes - before.comm_bytes, step_bytes(r.e, &w->parallel, row_bytes, m));
    }
    assert_int_equal(a.n, 3);
    glia_buf_free(&a.text);
    stop(&r);
}

static void test_bytes(void **state) {
    (void)state;
    static const struct {
        glia_dtype dtype;
        glia_quantization quantization;
        glia_switch vocab_parallel;
    } formats[] = {
        {GLIA_DTYPE_F32, GLIA_QUANTIZATION_NONE, GLIA_SWITCH_ON},
        {GLIA_DTYPE_BF16, GLIA_QUANTIZATION_NONE, GLIA_SWITCH_ON},
        {GLIA_DTYPE_BF16, GLIA_QUANTIZATION_W8A8, GLIA_SWITCH_OFF},
    };
    for (int tp = 2; tp <= 4; tp += 2)
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
            count_bytes(&(glia_options){.tensor_parallel_size = tp,
                                        .threads = 1,
                                        .dtype = formats[i].dtype,
                                        .quantization = formats[i].quantization,
                                        .vocab_parallel = formats[i].vocab_parallel,
                                        .engine = &(glia_engine_options){.sequence_length = 256}});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_tokens),  cmocka_unit_test(test_same_bits), cmocka_unit_test(test_score),
        cmocka_unit_test(test_requests),     cmocka_unit_test(test_ties),      cmocka_unit_test(test_failure),
        cmocka_unit_test(test_failed_score), cmocka_unit_test(test_errors),    cmocka_unit_test(test_bytes),
    };
    return check_run_group("ranks", tests);
}
