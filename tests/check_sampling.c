/* check_sampling.c - draws and filters, against Random123's test vectors,
 * Transformers' processors, and the distributions. */
#include "check.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/philox.h"
#include "decode/sampling.h"

enum { MAX = 256 };

static const glia_sampling plain = {
    .do_sample = true, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .logprobs = -1};

static glia_sampler new_sampler(int vocab) {
    glia_sampler s;
    glia_sampler_init(&s, calloc(1, glia_sampler_bytes(vocab)), vocab);
    return s;
}

/* Source: Random123 1.14, tests/kat_vectors, philox4x32 10. */
static void test_philox(void **state) {
    (void)state;
    static const uint32_t rows[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
         0x5001e420, 0x24126ea1},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t c[4];
        memcpy(c, rows[i], sizeof c);
        glia_philox(c, rows[i][4], rows[i][5]);
        assert_memory_equal(c, rows[i] + 6, sizeof c);
    }
}

/* Noise is Philox of (position, token / 4), whatever else is asked in the same call. */
static void test_noise(void **state) {
    (void)state;
    uint32_t noise[GLIA_NOISE];
    double sum = 0, least = 1, most = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        const uint64_t seed = i * UINT64_C(0x9E3779B97F4A7C15), position = i << (i % 40);
        const uint32_t first = (uint32_t)i % 50 * GLIA_NOISE;
        glia_noise(noise, seed, position, first);
        for (uint32_t t = 0; t < GLIA_NOISE; t++) {
            uint32_t c[4] = {(uint32_t)position, (uint32_t)(position >> 32), (first + t) / 4, 0};
            glia_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
            assert_int_equal(noise[t], c[t % 4]);
            const double u = glia_uniform(noise[t]);
            sum += u;
            least = fmin(least, u);
            most = fmax(most, u);
        }
    }
    assert_true(least > 0 && least < 1e-4 && most < 1 && most > 1 - 1e-4);
    assert_true(fabs(sum / (2000 * GLIA_NOISE) - 0.5) < 0.0041); /* 5 standard deviations: 0.0040 */
    assert_true(glia_uniform(0) > 0 && glia_uniform(~0u) < 1);
}

static size_t ints(const json_t *array, int32_t *out) {
    for (size_t i = 0; i < json_array_size(array); i++)
        out[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return json_array_size(array);
}

static float number(const json_t *c, const char *key) {
    return (float)json_number_value(json_object_get(c, key));
}

static void check_golden(const json_t *c, size_t index, int32_t *eos, size_t n_eos) {
    float logits[MAX];
    int32_t tokens[MAX], want[MAX];
    glia_logit_bias bias[8];
    const json_t *list = json_object_get(c, "logits"), *biases = json_object_get(c, "logit_bias");
    const int vocab = (int)json_array_size(list);
    for (int i = 0; i < vocab; i++) logits[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    for (size_t i = 0; i < json_array_size(biases); i++) {
        const json_t *pair = json_array_get(biases, i);
        bias[i].token = (int32_t)json_integer_value(json_array_get(pair, 0));
        bias[i].bias = (float)json_number_value(json_array_get(pair, 1));
    }
    glia_sampling p = plain;
    p.temperature = number(c, "temperature");
    p.top_k = (int)number(c, "top_k");
    p.top_p = number(c, "top_p");
    p.min_p = number(c, "min_p");
    p.typical_p = number(c, "typical_p");
    p.repetition_penalty = number(c, "repetition_penalty");
    p.presence_penalty = number(c, "presence_penalty");
    p.frequency_penalty = number(c, "frequency_penalty");
    p.logit_bias = bias;
    p.n_logit_bias = json_array_size(biases);
    glia_draw d = {.params = &p, .tokens = tokens, .forbidden = eos};
    d.n_prompt = ints(json_object_get(c, "prompt"), tokens);
    d.n_tokens = d.n_prompt + ints(json_object_get(c, "output"), tokens + d.n_prompt);
    d.n_forbidden = (float)(d.n_tokens - d.n_prompt) < number(c, "min_tokens") ? n_eos : 0;

    glia_sampler s = new_sampler(vocab);
    const int n = glia_distribution(&s, logits, &d);
    const size_t n_want = ints(json_object_get(c, "ids"), want);
    CHECK((size_t)n == n_want && !memcmp(s.id, want, n_want * sizeof *want), "case %zu: %d tokens, want %zu",
          index, n, n_want);
    const json_t *probs = json_object_get(c, "probs");
    for (int i = 0; i < n && (size_t)i < n_want; i++) {
        /* At most 6 operations round a float32 logit, each by 2^-24 of a value below 200. */
        const double w = json_number_value(json_array_get(probs, (size_t)i));
        CHECK(fabs(s.p[i] - w) <= w * 200 * 6 * 0x1p-24, "case %zu token %d: %.9g want %.9g", index, s.id[i],
              s.p[i], w);
    }
    const int32_t drawn = glia_sample(&s, logits, &d);
    bool inside = false;
    for (size_t i = 0; i < n_want; i++) inside |= drawn == want[i];
    CHECK(inside, "case %zu drew %d", index, drawn);
    for (int i = 0; i < vocab; i++) assert_int_equal(s.count[i], 0);
    free(s.p);
}

static void test_goldens(void **state) {
    (void)state;
    json_error_t why;
    json_t *root = json_load_file("tests/golden/sampling.json", 0, &why);
    assert_non_null(root);
    int32_t eos[4];
    const size_t n_eos = ints(json_object_get(root, "eos"), eos);
    const json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) >= 60);
    for (size_t i = 0; i < json_array_size(cases); i++) check_golden(json_array_get(cases, i), i, eos, n_eos);
    json_decref(root);
}

/* The draws follow the distribution: chi-square with 9 degrees of freedom stays
 * below 35.5, its 1 - 5e-5 quantile, for each of several seeds. */
static void test_draws(void **state) {
    (void)state;
    enum { V = 10, N = 20000 };
    float logits[V];
    for (int i = 0; i < V; i++) logits[i] = 2 * check_uniform();
    glia_sampler s = new_sampler(V);
    glia_sampling p = plain;
    for (p.seed = 1; p.seed <= 5; p.seed++) {
        int count[V] = {0}, again = 0;
        double chi = 0;
        int32_t tokens[1] = {0};
        glia_draw d = {.params = &p, .tokens = tokens};
        for (d.n_tokens = 0; d.n_tokens < N; d.n_tokens++) {
            const int32_t t = glia_sample(&s, logits, &d);
            count[t]++;
            again += t == glia_sample(&s, logits, &d);
        }
        assert_int_equal(again, N);
        assert_int_equal(glia_distribution(&s, logits, &d), V);
        for (int i = 0; i < V; i++) chi += pow(count[i] - N * s.p[i], 2) / (N * s.p[i]);
        CHECK(chi < 35.5, "seed %d: chi-square %g", (int)p.seed, chi);
        CHECK(chi > 0.5, "seed %d: chi-square %g is too good to be random", (int)p.seed, chi);
    }
    free(s.p);
}

/* The best of a draw: the first is the draw itself, the order is that of the scores, and the scores are a
 * log-softmax. A history in two pieces counts as one. */
static void test_best(void **state) {
    (void)state;
    enum { V = 60, K = 9 };
    float x[V], score[V];
    int32_t token[V], history[8];
    const int32_t absent[] = {5, 31};
    glia_sampler s = new_sampler(V);
    int leads = 0;
    for (int turn = 0; turn < 3000; turn++) {
        glia_sampling p = plain;
        for (int i = 0; i < V; i++) x[i] = 3 * check_uniform();
        for (int i = 0; i < 8; i++) history[i] = (int32_t)(check_u32() % V);
        p.seed = (uint64_t)turn;
        p.do_sample = turn % 3 != 0;
        p.temperature = 0.8f;
        p.top_k = turn % 4 ? 0 : 20;
        p.top_p = turn % 5 ? 1 : 0.9f;
        p.repetition_penalty = turn % 2 ? 1.3f : 1;
        p.frequency_penalty = turn % 7 ? 0 : 0.5f;
        const size_t cut = 2 + check_u32() % 6;
        const glia_draw whole = {
            .params = &p, .tokens = history, .n_prompt = 2, .n_tokens = 8, .absent = absent, .n_absent = 2};
        glia_draw d = whole;
        d.n_tokens = cut;
        d.path = history + cut;
        d.n_path = 8 - cut;
        const int32_t drawn = glia_sample(&s, x, &whole);
        assert_int_equal(glia_sample(&s, x, &d), drawn);
        const int n = glia_sample_best(&s, x, &d, K, token, score);
        assert_true(n >= 1 && n <= K && token[0] == drawn);
        for (int i = 1; i < n; i++) assert_true(score[i] <= score[i - 1] && token[i] != token[i - 1]);
        for (int i = 0; i < n; i++) assert_true(token[i] != 5 && token[i] != 31);
        assert_int_equal(glia_sample_best(&s, x, &d, K, token, NULL), n);
        float lead;
        assert_int_equal(glia_sample_lead(&s, x, &d, &lead), drawn);
        const float ahead = n > 1 ? score[0] - score[1] : INFINITY, error = 1e-4f * (1 + ahead);
        assert_true(lead >= 0 && (n == 1 || lead <= ahead + error)); /* the next may be an absent one */
        leads += n > 1 && lead > ahead - error;
        if (p.do_sample) continue;
        const int all = glia_sample_best(&s, x, &d, V, token, score);
        double sum = 0;
        for (int i = 0; i < all; i++) sum += exp((double)score[i]);
        assert_true(all == V - 2 && sum < 1 + 1e-5);
        for (int i = 0; i < all; i++)
            assert_true(p.frequency_penalty > 0 || p.repetition_penalty > 1 || i == 0 ||
                        x[token[i]] <= x[token[i - 1]]);
    }
    assert_true(leads > 2500);
    x[3] = NAN;
    glia_sampling p = plain;
    const glia_draw d = {.params = &p};
    assert_int_equal(glia_sample_best(&s, x, &d, 2, token, score), 0);
    free(s.p);
}

/* A large vocabulary, compared with a plain sort. */
static int by_logit_down(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

static void test_thresholds(void **state) {
    (void)state;
    enum { V = 20000 };
    float *logits = malloc(V * sizeof *logits), *sorted = malloc(V * sizeof *sorted);
    glia_sampler s = new_sampler(V);
    glia_sampling p = plain;
    const glia_draw d = {.params = &p};
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < V; i++) /* signs, both zeros, denormals, ties */
            logits[i] = turn % 3 == 0   ? ldexpf(check_uniform(), (int)(check_u32() % 160) - 158)
                        : turn % 3 == 1 ? roundf(check_uniform() * 20) * 0.25f
                                        : check_uniform() * 9;
        memcpy(sorted, logits, V * sizeof *sorted);
        qsort(sorted, V, sizeof *sorted, by_logit_down);
        p.top_k = 1 + (int)(check_u32() % V);
        int want = p.top_k;
        while (want < V && sorted[want] == sorted[p.top_k - 1]) want++;
        p.top_p = 1;
        const int got = glia_distribution(&s, logits, &d);
        CHECK(got == want, "turn %d: top-k %d kept %d, want %d", turn, p.top_k, got, want);

        p.top_k = 0;
        p.top_p = 0.9f;
        double sum = 0, mass = 0;
        for (int i = 0; i < V; i++) sum += exp((double)sorted[i] - (double)sorted[0]);
        for (want = 0; mass < (double)p.top_p * sum; want++)
            mass += exp((double)sorted[want] - (double)sorted[0]);
        const int kept = glia_distribution(&s, logits, &d);
        /* Another order of additions may move the threshold by one token. */
        CHECK(abs(kept - want) <= 1, "turn %d: top-p kept %d, want %d", turn, kept, want);
    }
    free(logits);
    free(sorted);
    free(s.p);
}

static void test_greedy_and_bad(void **state) {
    (void)state;
    float logits[5] = {1, 3, -INFINITY, 3, 2};
    glia_sampler s = new_sampler(5);
    glia_sampling p = plain;
    const int32_t tokens[] = {0, 1, 1}, forbidden[] = {1, 3};
    glia_draw d = {.params = &p, .tokens = tokens, .n_prompt = 1, .n_tokens = 3};
    p.do_sample = false;
    assert_int_equal(glia_sample(&s, logits, &d), 1); /* the lowest id of equal logits */
    p.do_sample = true;
    p.temperature = 0;
    assert_int_equal(glia_sample(&s, logits, &d), 1);
    p.frequency_penalty = 0.25f;
    assert_int_equal(glia_sample(&s, logits, &d), 3);
    d.forbidden = forbidden;
    d.n_forbidden = 2;
    assert_int_equal(glia_sample(&s, logits, &d), 4);

    const float equal[5] = {0, -50, 0, 0, 0}; /* top-p splits equal logits: lower ids stay */
    p = plain;
    d.n_forbidden = 0;
    p.top_p = 0.5f;
    assert_int_equal(glia_distribution(&s, equal, &d), 2);
    assert_true(s.id[0] == 0 && s.id[1] == 2);
    p.top_p = 0;
    assert_int_equal(glia_distribution(&s, equal, &d), 1);
    assert_int_equal(s.id[0], 0);

    const float bad[][5] = {{1, NAN, 0, 0, 0}, {1, INFINITY, 0, 0, 0}};
    for (int sampled = 0; sampled < 2; sampled++) {
        p.do_sample = sampled;
        for (size_t i = 0; i < 2; i++) assert_int_equal(glia_sample(&s, bad[i], &d), -1);
        const float none[5] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
        assert_int_equal(glia_sample(&s, none, &d), -1);
        assert_int_equal(glia_distribution(&s, none, &d), 0);
    }
    free(s.p);
}

static void test_logprobs(void **state) {
    (void)state;
    const float logits[6] = {1, 3, -INFINITY, 3, 2, -500};
    const double sum = exp(1.0) + 2 * exp(3.0) + exp(2.0);
    float lp, top_lp[6];
    int32_t top[6];
    glia_logprobs(logits, 6, 4, &lp, 6, top, top_lp);
    assert_true(lp == (float)(2 - log(sum)));
    const int32_t want[6] = {1, 3, 4, 0, 5, 2};
    assert_memory_equal(top, want, sizeof want);
    assert_true(top_lp[0] == (float)(3 - log(sum)) && top_lp[1] == top_lp[0]);
    assert_true(top_lp[4] < -500 && isinf(top_lp[5]));
    glia_logprobs(logits, 6, 4, &lp, 2, top, top_lp);
    assert_memory_equal(top, want, 2 * sizeof *want);
    glia_logprobs(logits, 6, 0, &lp, 0, NULL, NULL);
    assert_true(lp == (float)(1 - log(sum)));
}

static void expect_refused(const glia_sampling *p, const char *msg) {
    glia_err err;
    assert_int_equal(glia_sampling_check(p, 100, &err), GLIA_ERR_ARGUMENT);
    CHECK(strstr(err.msg, msg), "\"%s\", want \"%s\"", err.msg, msg);
}

static void test_ranges(void **state) {
    (void)state;
    const struct {
        const char *msg;
        size_t at;
        float value;
    } reals[] = {
        {"temperature is -1, expected 0 or more", offsetof(glia_sampling, temperature), -1},
        {"temperature is nan", offsetof(glia_sampling, temperature), NAN},
        {"top_p is 1.5, expected 0 to 1", offsetof(glia_sampling, top_p), 1.5f},
        {"min_p is -0.5, expected 0 to 1", offsetof(glia_sampling, min_p), -0.5f},
        {"typical_p is 0, expected more than 0, up to 1", offsetof(glia_sampling, typical_p), 0},
        {"repetition_penalty is 0, expected more", offsetof(glia_sampling, repetition_penalty), 0},
        {"presence_penalty is 3, expected -2 to 2", offsetof(glia_sampling, presence_penalty), 3},
        {"frequency_penalty is -3, expected -2 to 2", offsetof(glia_sampling, frequency_penalty), -3},
    };
    const struct {
        const char *msg;
        size_t at;
        int value;
    } counts[] = {
        {"top_k is -1, expected 0 (off) or more", offsetof(glia_sampling, top_k), -1},
        {"max_tokens is -1, expected 0 (no limit) or more", offsetof(glia_sampling, max_tokens), -1},
        {"min_tokens is -1, expected 0 or more", offsetof(glia_sampling, min_tokens), -1},
        {"min_tokens is 9, more than max_tokens 8", offsetof(glia_sampling, min_tokens), 9},
        {"logprobs is 21, expected -1 to 20", offsetof(glia_sampling, logprobs), 21},
    };
    glia_sampling p;
    assert_int_equal(glia_sampling_check(&plain, 100, NULL), GLIA_OK);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        p = plain;
        memcpy((char *)&p + reals[i].at, &reals[i].value, sizeof reals[i].value);
        expect_refused(&p, reals[i].msg);
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        p = plain;
        p.max_tokens = 8;
        memcpy((char *)&p + counts[i].at, &counts[i].value, sizeof counts[i].value);
        expect_refused(&p, counts[i].msg);
    }
    const int32_t far[] = {100};
    const char *const empty[] = {"a", ""};
    const glia_logit_bias bias[] = {{1, INFINITY}, {-1, 1}};
    p = plain;
    p.n_logit_bias = 1;
    p.logit_bias = bias;
    expect_refused(&p, "logit_bias is inf, expected a finite number");
    p.logit_bias = bias + 1;
    expect_refused(&p, "logit_bias has token -1, the vocabulary has 100 tokens");
    p = plain;
    p.stop_token_ids = far;
    p.n_stop_token_ids = 1;
    expect_refused(&p, "stop_token_ids has token 100, the vocabulary has 100 tokens");
    p = plain;
    p.stop = empty;
    p.n_stop = 2;
    expect_refused(&p, "stop string 2 is empty");
}

static void bench(void) {
    enum { V = 151936, N = 100 };
    float *logits = malloc(V * sizeof *logits);
    for (int i = 0; i < V; i++) logits[i] = 4 * (check_uniform() + check_uniform() + check_uniform());
    glia_sampler s = new_sampler(V);
    glia_sampling p = plain;
    glia_draw d = {.params = &p};
    const char *names[] = {"greedy", "temperature", "top-k 20 top-p 0.95", "top-p 0.95", "typical 0.9"};
    for (int mode = 0; mode < 5; mode++) {
        p.do_sample = mode > 0;
        p.top_k = mode == 2 ? 20 : 0;
        p.top_p = mode == 2 || mode == 3 ? 0.95f : 1;
        p.typical_p = mode == 4 ? 0.9f : 1;
        const double t = check_seconds();
        for (d.n_tokens = 0; d.n_tokens < N; d.n_tokens++) check_passed += glia_sample(&s, logits, &d) >= 0;
        printf("%-20s %7.3f ms a token of %d\n", names[mode], 1e3 * (check_seconds() - t) / N, V);
    }
    free(logits);
    free(s.p);
}

/* A row sharded over ranks gives the draw of the whole row: ties, infinities, NaN,
 * shards of any size. */
static void test_parts(void **state) {
    (void)state;
    enum { VOCAB = 203, RANKS = 8, ROUNDS = 20000, ROOM = 64 };
    float x[VOCAB];
    int whole = 0, drawn = 0, tokens[VOCAB] = {0};
    glia_sampler s = new_sampler(VOCAB), mine = new_sampler(VOCAB);
    const size_t stride = glia_shard_top_bytes(ROOM);
    char *tops = calloc(RANKS, stride);
    for (int round = 0; round < ROUNDS; round++) {
        const int vocab = 1 + (int)(check_u32() % VOCAB), ranks = 1 + round % RANKS;
        const int size = (vocab + ranks - 1) / ranks;
        const uint32_t kind = check_u32() % 8, levels = 1 + check_u32() % 300;
        for (int i = 0; i < vocab; i++) {
            x[i] = ((float)(check_u32() % levels) - 20) * 0.125f;
            if (kind < 3 && check_u32() % 4 < kind) x[i] = i % 2 ? -INFINITY : -0.0f;
            if (kind == 4) x[i] = -INFINITY;
        }
        if (kind == 3) x[check_u32() % (uint32_t)vocab] = check_u32() % 2 ? NAN : INFINITY;
        glia_sampling p = plain;
        p.do_sample = round % 3 != 0;
        p.temperature = check_u32() % 2 ? 1 : 0.7f;
        p.top_k = 1 + (int)(check_u32() % (ROOM / (1 + (uint32_t)ranks / 2)));
        p.top_p = check_u32() % 2 ? 1 : 0.8f;
        p.min_p = check_u32() % 3 ? 0 : 0.05f;
        p.typical_p = check_u32() % 3 ? 1 : 0.9f;
        p.seed = (uint64_t)round;
        const glia_draw d = {.params = &p, .tokens = tokens, .n_prompt = 1, .n_tokens = 1 + check_u32() % 9};
        const int k = glia_draw_best(&d, (size_t)size);
        if (k == 0) {
            assert_true(p.do_sample && 2 * p.top_k > size);
            continue;
        }
        for (int r = 0; r < ranks; r++) {
            const int from = r * size < vocab ? r * size : vocab;
            const int to = from + size < vocab ? from + size : vocab;
            glia_shard_top *top = (glia_shard_top *)(void *)(tops + (size_t)r * stride);
            glia_shard_top_find(top, &mine, x + from, to - from, from, k, glia_draw_divisor(&d));
        }
        s.vocab = vocab;
        const int32_t got = glia_sample_shards(&mine, tops, stride, ranks, &d), want = glia_sample(&s, x, &d);
        drawn++;
        whole += got == GLIA_DRAW_WHOLE;
        CHECK(got == want || (got == GLIA_DRAW_WHOLE && p.do_sample),
              "round %d: vocabulary %d, %d ranks, best %d: %d, want %d", round, vocab, ranks, k, got, want);
    }
    assert_true(whole > 0 && drawn > ROUNDS / 2 && whole < drawn / 2); /* rare, even with many ties */
    free(tops);
    free(s.p);
    free(mine.p);
}

/* An id without a token is never drawn, on one rank or on several. */
static void test_absent(void **state) {
    (void)state;
    enum { VOCAB = 40, ROUNDS = 20000, RANKS = 4, ROOM = 16 };
    float x[VOCAB], masked[VOCAB];
    int32_t absent[VOCAB];
    const int32_t tokens[8] = {0};
    int repeated = 0;
    glia_sampler s = new_sampler(VOCAB);
    const size_t stride = glia_shard_top_bytes(ROOM);
    char *tops = calloc(RANKS, stride);
    for (int round = 0; round < ROUNDS; round++) {
        glia_sampling p = plain;
        size_t n = 0;
        const uint32_t part = check_u32() % 12;
        for (int i = 0; i < VOCAB; i++) {
            x[i] = masked[i] = (float)(check_u32() % 40) * 0.25f;
            if (check_u32() % 11 >= part) continue;
            absent[n++] = i;
            masked[i] = -INFINITY;
        }
        p.do_sample = round % 2;
        p.top_k = round % 3 ? 4 : 0;
        p.repetition_penalty = round % 5 ? 1 : 1.5f;
        p.seed = (uint64_t)round;
        glia_draw plainly = {.params = &p, .tokens = tokens, .n_prompt = 1, .n_tokens = 2}, d = plainly;
        d.absent = absent;
        d.n_absent = n;
        const int32_t first = glia_sample(&s, x, &plainly), got = glia_sample(&s, x, &d);
        const bool again = masked[first] == -INFINITY;
        const int32_t want = again ? glia_sample(&s, masked, &plainly) : first;
        CHECK(got == want && (got < 0 ? n == VOCAB : masked[got] > -INFINITY), "round %d: %d, want %d", round,
              got, want);
        repeated += again;
        const int k = glia_draw_best(&d, VOCAB / RANKS);
        if (k == 0) continue;
        for (int r = 0; r < RANKS; r++) {
            const int from = r * VOCAB / RANKS;
            glia_shard_top_find((glia_shard_top *)(void *)(tops + (size_t)r * stride), &s, x + from,
                                VOCAB / RANKS, from, k, 1);
        }
        const int32_t shards = glia_sample_shards(&s, tops, stride, RANKS, &d);
        CHECK(again ? shards == GLIA_DRAW_WHOLE : shards == want || shards == GLIA_DRAW_WHOLE,
              "round %d: %d from shards, want %d", round, shards, want);
    }
    assert_true(repeated > ROUNDS / 10 && repeated < ROUNDS * 9 / 10);
    free(tops);
    free(s.p);
}

/* Requests that need the whole row. */
static void test_parts_need(void **state) {
    (void)state;
    static const glia_logit_bias bias = {3, 1};
    static const int32_t forbidden = 1;
    const struct {
        glia_sampling p;
        size_t n_forbidden, shard;
        int best;
    } rows[] = {
        {{.repetition_penalty = 1, .logprobs = -1}, 0, 10, 1},
        {{.do_sample = true, .top_k = 7, .repetition_penalty = 1, .logprobs = -1}, 0, 10, 1},
        {{.repetition_penalty = 1, .logprobs = 0}, 0, 10, 0},
        {{.repetition_penalty = 1.5f, .logprobs = -1}, 0, 10, 0},
        {{.repetition_penalty = 1, .presence_penalty = 1, .logprobs = -1}, 0, 10, 0},
        {{.repetition_penalty = 1, .frequency_penalty = 1, .logprobs = -1}, 0, 10, 0},
        {{.repetition_penalty = 1, .logprobs = -1, .logit_bias = &bias, .n_logit_bias = 1}, 0, 10, 0},
        {{.repetition_penalty = 1, .logprobs = -1}, 1, 10, 0},
        {{.do_sample = true, .temperature = 1, .repetition_penalty = 1, .logprobs = -1}, 0, 10, 0},
        {{.do_sample = true, .temperature = 1, .top_k = 5, .repetition_penalty = 1, .logprobs = -1},
         0,
         10,
         5},
        {{.do_sample = true, .temperature = 1, .top_k = 6, .repetition_penalty = 1, .logprobs = -1},
         0,
         10,
         0},
        {{.do_sample = true, .temperature = 1, .top_k = 1024, .repetition_penalty = 1, .logprobs = -1},
         0,
         9999,
         1024},
        {{.do_sample = true, .temperature = 1, .top_k = 1025, .repetition_penalty = 1, .logprobs = -1},
         0,
         9999,
         0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const glia_draw d = {
            .params = &rows[i].p, .forbidden = &forbidden, .n_forbidden = rows[i].n_forbidden};
        CHECK(glia_draw_best(&d, rows[i].shard) == rows[i].best, "row %zu", i);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),         cmocka_unit_test(test_noise),
        cmocka_unit_test(test_best),           cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_draws),          cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_greedy_and_bad), cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_ranges),         cmocka_unit_test(test_parts),
        cmocka_unit_test(test_parts_need),     cmocka_unit_test(test_absent),
    };
    if (check_begin(argc, argv)) bench();
    return check_run_group("sampling", tests);
}
