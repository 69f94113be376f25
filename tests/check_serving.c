/* check_serving.c - an engine between threads: requests submitted and aborted by
 * several threads while one steps, and several engines of one model at once. */
#define _GNU_SOURCE
#include "check.h"

#include <glia.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"

enum { TOKENS = 24, PROMPTS = 4, CLIENTS = 4 };
static const char model_dir[] = "models/qwen3-demo";
static const int32_t prompts[PROMPTS][3] = {{300, 301, 302}, {40, 41, 42}, {5, 77, 901}, {12, 13, 14}};

#ifdef __SANITIZE_THREAD__
enum { REQUESTS = 6 }; /* of each client */
#else
enum { REQUESTS = 25 };
#endif

typedef struct {
    glia_engine *engine;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int clients; /* that have requests left */
    int ended;
} house;

typedef struct {
    house *h; /* NULL: nobody waits for the end */
    int n, ends;
    uint64_t id; /* as events say */
    int32_t token[TOKENS];
    glia_finish finish;
    atomic_bool over;
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    assert_true(!a->ends && (!a->id || a->id == e->request));
    a->id = e->request;
    if (e->token >= 0) a->token[a->n++] = e->token;
    if (e->finish == GLIA_RUNNING) return;
    a->ends++;
    a->finish = e->finish;
    if (!a->h) return;
    pthread_mutex_lock(&a->h->lock);
    a->h->ended++;
    atomic_store(&a->over, true);
    pthread_cond_broadcast(&a->h->changed);
    pthread_mutex_unlock(&a->h->lock);
}

static glia_model *load(int tp) {
    glia_model *m;
    glia_err err = {0};
    if (!glia_dir_exists(model_dir)) check_skip("the demo model is not here");
    const glia_options o = {.threads = 1, .tensor_parallel_size = tp};
    if (glia_model_load(&m, model_dir, NULL, &o, &err)) fail_msg("%s", err.msg);
    return m;
}

static glia_engine *engine_of(const glia_model *m, int batch, int chunk) {
    glia_engine *e;
    glia_err err = {0};
    const glia_engine_options o = {.batch_size = batch, .prefill_chunk_size = chunk, .sequence_length = 64};
    if (glia_engine_create(&e, m, &o, &err)) fail_msg("%s", err.msg);
    return e;
}

/* Sampled, so that a token says which request and which position drew it. */
static glia_sampling sampling_of(int prompt) {
    return (glia_sampling){.do_sample = true,
                           .temperature = 1.2f,
                           .top_p = 1,
                           .typical_p = 1,
                           .repetition_penalty = 1,
                           .ignore_eos = true,
                           .logprobs = -1,
                           .seed = 40 + (uint64_t)prompt,
                           .max_tokens = TOKENS};
}

static uint64_t submit(glia_engine *e, int prompt, answer *a) {
    const glia_sampling s = sampling_of(prompt);
    glia_err err = {0};
    uint64_t id = 0;
    if (glia_engine_submit(e, prompts[prompt], 3, &s, on_event, a, &id, &err)) fail_msg("%s", err.msg);
    assert_true(id > 0);
    return id;
}

static void finish_all(glia_engine *e) {
    for (size_t left = 1; left;) assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
}

static void ask_all(glia_engine *e, answer got[PROMPTS]) {
    memset(got, 0, PROMPTS * sizeof *got);
    for (int i = 0; i < PROMPTS; i++) submit(e, i, &got[i]);
    finish_all(e);
}

static void compare(const answer *got, const answer *want, const char *what, int prompt) {
    CHECK(got->ends == 1 && got->finish == GLIA_FINISH_LENGTH, "%s, prompt %d: finish %d", what, prompt,
          got->finish);
    CHECK(got->n == TOKENS && !memcmp(got->token, want->token, sizeof got->token),
          "%s, prompt %d: other tokens", what, prompt);
}

static answer want[PROMPTS];

static void reference(const glia_model *m) {
    glia_engine *e = engine_of(m, 1, 64);
    ask_all(e, want);
    for (int i = 0; i < PROMPTS; i++) assert_int_equal(want[i].n, TOKENS);
    glia_engine_free(e);
}

/* ---- clients -------------------------------------------------------------------- */

typedef struct {
    house *h;
    int number, aborted;
    uint64_t ids[REQUESTS];
} client;

/* Wait for the end of one request; every third is aborted on the way, some twice, some after their end. */
static void one_request(client *c, int i) {
    house *h = c->h;
    const int prompt = (c->number + i) % PROMPTS;
    answer *a = calloc(1, sizeof *a);
    a->h = h;
    const uint64_t id = submit(h->engine, prompt, a);
    const bool aborts = i % 3 == 1;
    if (aborts) glia_request_abort(h->engine, id);
    pthread_mutex_lock(&h->lock);
    while (!atomic_load(&a->over)) pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
    glia_request_abort(h->engine, id); /* has ended: harmless */
    c->ids[i] = id;
    CHECK(a->id == id, "events of request %llu name %llu", (unsigned long long)id, (unsigned long long)a->id);
    if (aborts && a->finish == GLIA_FINISH_ABORT)
        c->aborted++;
    else
        compare(a, &want[prompt], "among clients", prompt);
    free(a);
}

static void *client_main(void *arg) {
    client *c = arg;
    for (int i = 0; i < REQUESTS; i++) one_request(c, i);
    pthread_mutex_lock(&c->h->lock);
    c->h->clients--;
    pthread_mutex_unlock(&c->h->lock);
    glia_engine_wake(c->h->engine);
    return NULL;
}

static bool serving(house *h) {
    pthread_mutex_lock(&h->lock);
    const bool more = h->clients > 0;
    pthread_mutex_unlock(&h->lock);
    return more;
}

static void serve(int tp) {
    glia_model *m = load(tp);
    reference(m);
    house h = {.engine = engine_of(m, 3, 5), .clients = CLIENTS};
    client c[CLIENTS];
    pthread_t thread[CLIENTS];
    size_t left, idle = 0;
    int aborted = 0;
    pthread_mutex_init(&h.lock, NULL);
    pthread_cond_init(&h.changed, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = (client){.h = &h, .number = i};
        assert_int_equal(pthread_create(&thread[i], NULL, client_main, &c[i]), 0);
    }
    while (serving(&h)) {
        if (glia_engine_wait(h.engine, -1))
            assert_int_equal(glia_engine_step(h.engine, &left, NULL), GLIA_OK);
        else
            idle++;
    }
    for (int i = 0; i < CLIENTS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < CLIENTS; i++) aborted += c[i].aborted;
    assert_int_equal(h.ended, CLIENTS * REQUESTS);
    assert_in_range(aborted, 1, CLIENTS * REQUESTS / 3 + CLIENTS);
    assert_in_range(idle, 0, CLIENTS);
    for (int i = 0; i < CLIENTS * REQUESTS; i++) /* ids are not used again */
        for (int k = 0; k < i; k++)
            assert_true(c[i / REQUESTS].ids[i % REQUESTS] != c[k / REQUESTS].ids[k % REQUESTS]);
    pthread_cond_destroy(&h.changed);
    pthread_mutex_destroy(&h.lock);
    glia_engine_free(h.engine);
    glia_model_free(m);
}

static void test_clients(void **state) {
    (void)state;
    serve(1);
    serve(2);
}

/* ---- engines -------------------------------------------------------------------- */

typedef struct {
    const glia_model *m;
    int batch, chunk;
    answer got[PROMPTS];
} second;

static void *engine_main(void *arg) {
    second *s = arg;
    for (int round = 0; round < 3; round++) { /* one engine after the other */
        glia_engine *e = engine_of(s->m, s->batch, s->chunk);
        ask_all(e, s->got);
        glia_engine_free(e);
    }
    return NULL;
}

/* Engines of one model at once, each with its own batch and chunk: the same answers. */
static void test_engines(void **state) {
    (void)state;
    for (int tp = 1; tp <= 2; tp++) {
        glia_model *m = load(tp);
        reference(m);
        second s[3] = {{.m = m, .batch = 4, .chunk = 2},
                       {.m = m, .batch = 1, .chunk = 64},
                       {.m = m, .batch = 2, .chunk = 1}};
        pthread_t thread[3];
        for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&thread[i], NULL, engine_main, &s[i]), 0);
        for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < PROMPTS; k++) compare(&s[i].got[k], &want[k], "engines at once", k);
        glia_model_free(m);
    }
}

/* Two engines on one thread, step by step in turns. */
static void test_interleaved(void **state) {
    (void)state;
    glia_model *m = load(1);
    reference(m);
    glia_engine *e[2] = {engine_of(m, 2, 3), engine_of(m, 4, 64)};
    answer got[2][PROMPTS] = {0};
    for (int k = 0; k < PROMPTS; k++)
        for (int i = 0; i < 2; i++) submit(e[i], k, &got[i][k]);
    for (size_t left[2] = {1, 1}; left[0] || left[1];)
        for (int i = 0; i < 2; i++) assert_int_equal(glia_engine_step(e[i], &left[i], NULL), GLIA_OK);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < PROMPTS; k++) compare(&got[i][k], &want[k], "in turns", k);
    glia_engine_free(e[0]);
    glia_engine_free(e[1]);
    glia_model_free(m);
}

/* ---- waiting -------------------------------------------------------------------- */

static void *wake_later(void *arg) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    glia_engine_wake(arg);
    return NULL;
}

static void test_wait(void **state) {
    (void)state;
    glia_model *m = load(1);
    glia_engine *e = engine_of(m, 1, 64);
    assert_false(glia_engine_wait(e, 0));
    double start = glia_seconds();
    assert_false(glia_engine_wait(e, 60));
    assert_true(glia_seconds() - start >= 0.06);
    glia_engine_wake(e); /* nobody waits: the next wait ends at once */
    start = glia_seconds();
    assert_false(glia_engine_wait(e, 60000));
    assert_true(glia_seconds() - start < 30);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_later, e), 0);
    assert_false(glia_engine_wait(e, -1));
    pthread_join(thread, NULL);
    answer a = {0};
    size_t left;
    const uint64_t id = submit(e, 0, &a);
    assert_true(glia_engine_wait(e, -1) && glia_engine_wait(e, 0));
    glia_request_abort(e, id + 1); /* no such request */
    glia_request_abort(e, 0);
    assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
    assert_true(left == 1 && a.n == 1);
    glia_request_abort(e, id);
    assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
    assert_true(left == 0 && a.finish == GLIA_FINISH_ABORT && !glia_engine_wait(e, 0));
    glia_engine_free(e);
    glia_model_free(m);
}

typedef struct {
    glia_engine *e;
    answer *next;
    uint64_t other;
} chain;

/* From a callback: submit another request, abort a third. */
static void on_first(void *user, const glia_event *e) {
    chain *c = user;
    if (e->finish == GLIA_RUNNING) return;
    submit(c->e, 1, c->next);
    glia_request_abort(c->e, c->other);
    glia_engine_wake(c->e);
}

static void test_callbacks(void **state) {
    (void)state;
    glia_model *m = load(1);
    reference(m);
    answer next = {0}, other = {0};
    chain c = {.e = engine_of(m, 2, 64), .next = &next};
    glia_sampling s = sampling_of(0);
    s.max_tokens = 3;
    assert_int_equal(glia_engine_submit(c.e, prompts[0], 3, &s, on_first, &c, NULL, NULL), GLIA_OK);
    c.other = submit(c.e, 2, &other);
    finish_all(c.e);
    compare(&next, &want[1], "from a callback", 1);
    assert_true(other.ends == 1 && other.finish == GLIA_FINISH_ABORT && other.n == 3);
    submit(c.e, 2, &other); /* never taken: the engine drops it */
    glia_engine_free(c.e);
    glia_model_free(m);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait),        cmocka_unit_test(test_callbacks), cmocka_unit_test(test_clients),
        cmocka_unit_test(test_interleaved), cmocka_unit_test(test_engines),
    };
    check_begin(argc, argv);
    return check_run_group("serving", tests);
}
