/* check_drafts.c - several rows of a sequence in one step: a draft proposes
 * tokens, the step verifies them, and the answer stays what it is without.
 *
 * The draft of this test knows the answer and is right, wrong, or either at
 * random. Every draw is that of the same request without drafts, so tokens, text,
 * log-probabilities and the way to end are equal, and steps are saved. */
#include "check.h"

#include <glia.h>
#include <stdlib.h>
#include <string.h>

#include "api/model.h"
#include "base/buf.h"
#include "base/file.h"
#include "engine/request.h"

enum { TOKENS = 100, DRAFTS = 4, NODES = 40, REQUESTS = 7, CONSTRAINED = 5 };
static const char model_dir[] = "models/qwen3-demo";

typedef struct {
    glia_engine *e;
    int n, ends, abort_after;
    int32_t token[TOKENS], position[TOKENS], top[TOKENS];
    float logprob[TOKENS];
    glia_buf text;
    glia_finish finish;
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    glia_buf_add(&a->text, e->text, e->text_len);
    if (e->token >= 0) {
        a->token[a->n] = e->token;
        a->position[a->n] = e->position;
        a->logprob[a->n] = e->logprob;
        a->top[a->n++] = e->n_top ? e->top_tokens[0] : -1;
        if (a->n == a->abort_after) glia_request_abort(a->e, e->request);
    }
    if (e->finish == GLIA_RUNNING) return;
    a->ends++;
    a->finish = e->finish;
}

/* What is asked, and by seed how it goes on without drafts. */
typedef struct {
    const char *text;
    glia_sampling s;
    answer want;
} question;

static question questions[REQUESTS] = {
    {.text = "Once upon a time", .s = {.max_tokens = 40, .logprobs = 2}},
    {.text = "Who are you?", .s = {.do_sample = true, .temperature = 1.3f, .logprobs = -1, .max_tokens = 50}},
    {.text = "The",
     .s = {.do_sample = true,
           .temperature = 0.9f,
           .repetition_penalty = 1.3f,
           .frequency_penalty = 0.4f,
           .logprobs = -1,
           .max_tokens = 60}},
    {.text = "12 + 34 = ", .s = {.min_tokens = 9, .logprobs = -1, .max_tokens = 30}},
    {.text = "Once upon a time there was a",
     .s = {.do_sample = true, .temperature = 0.8f, .top_k = 12, .logprobs = -1, .max_tokens = 37}},
    {.text = "A person:", .s = {.do_sample = true, .logprobs = -1, .max_tokens = 70}},
    {.text = "A person:", .s = {.do_sample = true, .logprobs = 1, .max_tokens = 70}},
};

/* Of the last two requests; the first of them has tokens that the constraint forces. */
static const char schema[] =
    "{\"type\": \"object\", \"properties\": {\"family_name\": {\"type\": \"string\", \"maxLength\": 12}, "
    "\"age_in_years\": {\"type\": \"integer\", \"maximum\": 120}}, \"required\": [\"family_name\", "
    "\"age_in_years\"]}";
static glia_constraint *constraint;

/* A draft that knows the answers: `right` of 100 tokens are right, the others wrong. Trees have siblings and
 * wrong branches at random, in any order that a tree allows. */
typedef struct {
    int right;
    int proposed, learned;
    bool trees;
} oracle;

static oracle now;

static int32_t next_of(const glia_draft_seq *q, int depth) {
    const answer *a = &questions[q->draw.params->seed - 1].want;
    const int said = q->n_tokens - (int)q->draw.n_prompt + depth;
    return said < a->n ? a->token[said] : -1;
}

/* A chain, which ends with the answer. */
static void grow_chain(const glia_draft_seq *q, glia_tree *t) {
    for (int i = 0; i < q->depth && next_of(q, i) >= 0; i++) {
        const int32_t token = next_of(q, i);
        glia_tree_add(t, i, (int)(check_u32() % 100) < now.right ? token : (token + 1) % 500, 0);
    }
}

/* Random nodes, some of which are the answer. */
static void grow_tree(const glia_draft_seq *q, glia_tree *t) {
    int tip = 0;
    while (t->n <= q->nodes) {
        const int32_t token = next_of(q, t->depth[tip]);
        const bool right = (int)(check_u32() % 100) < now.right && token >= 0 && t->depth[tip] < q->depth &&
                           glia_tree_child(t, tip, token) < 0;
        int parent = right ? tip : (int)(check_u32() % (uint32_t)t->n);
        while (t->depth[parent] >= q->depth) parent = t->parent[parent];
        const int32_t wrong = (int32_t)(check_u32() % 500);
        if (!right && (wrong == token || glia_tree_child(t, parent, wrong) >= 0)) continue;
        glia_tree_add(t, parent, right ? token : wrong, 0);
        if (right) tip = t->n - 1;
    }
}

static glia_status propose(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    (void)err;
    for (int i = 0; i < n; i++) {
        assert_true(seq[i].tree->n == 1 && seq[i].tree->token[0] == seq[i].tokens[seq[i].n_tokens - 1]);
        assert_true(seq[i].depth >= 1 && seq[i].depth <= d->limits.depth);
        if (now.trees)
            grow_tree(&seq[i], seq[i].tree);
        else
            grow_chain(&seq[i], seq[i].tree);
        now.proposed += seq[i].tree->n - 1;
    }
    return GLIA_OK;
}

/* The states of every computed position come once, and are those of a row of the target. */
static glia_status learn(glia_draft *d, const glia_draft_seq *seq, int n, glia_err *err) {
    (void)err;
    for (int i = 0; i < n; i++) {
        assert_true(seq[i].to < seq[i].n_tokens && seq[i].from <= seq[i].to);
        for (int p = seq[i].from; p < seq[i].to; p++) {
            const float *x = glia_decoder_residual(d->target, 0, seq[i].state[p - seq[i].from]);
            assert_true(x[0] == x[0] &&
                        glia_decoder_hidden(d->target, seq[i].state[p - seq[i].from])[0] < 1e6f);
            now.learned++;
        }
    }
    return GLIA_OK;
}

static glia_status open_oracle(glia_draft *d, glia_err *err) {
    (void)d, (void)err;
    return GLIA_OK;
}

static void close_oracle(glia_draft *d) { (void)d; }

static const glia_draft_method oracle_method = {
    .name = "oracle", .open = open_oracle, .close = close_oracle, .learn = learn, .propose = propose};

static void ignore_trace(void *user, uint64_t round, const glia_draft_proposal *p, size_t n) {
    (void)user, (void)round;
    for (size_t i = 0; i < n; i++) assert_true(p[i].n > 1 && p[i].accepted < p[i].n && p[i].parents[0] == -1);
}

static glia_engine *open_engine(const glia_model *m, const glia_engine_options *o, const oracle *drafts) {
    static glia_draft_model model = {.config.method = &oracle_method};
    glia_engine_settings settings;
    glia_engine *e;
    glia_err err = {0};
    if (glia_engine_resolve(&settings, m, o, &err)) fail_msg("%s", err.msg);
    glia_engine_config config = {.model = &m->config,
                                 .weights = (const glia_weights *const *)m->weights,
                                 .n_ranks = m->n_ranks,
                                 .place = m->place,
                                 .places = m->places,
                                 .tokenizer = m->tokenizer,
                                 .limits = settings.limits,
                                 .cpu_flags = m->cpu_flags,
                                 .threads = m->threads,
                                 .eos = m->eos.id,
                                 .n_eos = (size_t)m->eos.n};
    if (drafts) {
        now = *drafts;
        config.draft = &model;
        config.trace = ignore_trace; /* whatever pays on this machine */
        config.limits.depth = DRAFTS;
        config.limits.drafts = drafts->trees ? NODES : DRAFTS;
        config.limits.needs =
            (glia_draft_needs){.hidden = true, .n_residual_layers = 1, .residual_layer = {1}};
    }
    if (glia_engine_open(&e, &config, &err)) fail_msg("%s", err.msg);
    return e;
}

static void submit(const glia_model *m, glia_engine *e, int i, answer *a) {
    int32_t *ids;
    size_t n;
    glia_err err = {0};
    a->e = e;
    if (glia_tokenize(m, questions[i].text, strlen(questions[i].text), false, &ids, &n, &err) ||
        glia_engine_submit(e, ids, n, &questions[i].s, on_event, a, NULL, &err))
        fail_msg("%s", err.msg);
    glia_free(ids);
}

static int ask_all(const glia_model *m, glia_engine *e, answer got[REQUESTS]) {
    int steps = 0;
    for (int i = 0; i < REQUESTS; i++) submit(m, e, i, &got[i]);
    for (size_t left = 1; left; steps++) assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
    return steps;
}

static void compare(const answer *got, const answer *want, int i, const char *what) {
    const size_t n = (size_t)want->n;
    CHECK(got->n == want->n && !memcmp(got->token, want->token, n * sizeof *got->token),
          "%s, request %d: other tokens", what, i);
    CHECK(!memcmp(got->position, want->position, n * sizeof *got->position), "%s, request %d: positions",
          what, i);
    CHECK(got->ends == 1 && got->finish == want->finish, "%s, request %d: finish %d", what, i, got->finish);
    CHECK(got->text.len == want->text.len && !memcmp(got->text.data, want->text.data, want->text.len),
          "%s, request %d: other text", what, i);
    if (questions[i].s.logprobs < 0) return;
    CHECK(!memcmp(got->logprob, want->logprob, n * sizeof *got->logprob) &&
              !memcmp(got->top, want->top, n * sizeof *got->top),
          "%s, request %d: other log-probabilities", what, i);
}

static void clear(answer *a) {
    glia_buf_free(&a->text);
    *a = (answer){0};
}

static glia_model *load(int tp, bool flash) {
    glia_model *m;
    glia_err err = {0};
    if (!glia_dir_exists(model_dir)) check_skip("the demo model is not here");
    const glia_options o = {.threads = flash ? 1 : 2,
                            .tensor_parallel_size = tp,
                            .flash_decoding = flash ? GLIA_SWITCH_ON : GLIA_SWITCH_DEFAULT};
    if (glia_model_load(&m, model_dir, NULL, &o, &err)) fail_msg("%s", err.msg);
    const glia_constraint_source source = {.text = schema, .len = sizeof schema - 1};
    if (glia_constraint_create(&constraint, m, &source, &err)) fail_msg("%s", err.msg);
    for (int i = CONSTRAINED; i < REQUESTS; i++) questions[i].s.constraint = constraint;
    return m;
}

static void unload(glia_model *m) {
    glia_constraint_free(constraint);
    glia_model_free(m);
}

static int reference(const glia_model *m, const glia_engine_options *o) {
    answer got[REQUESTS] = {0};
    glia_engine *e = open_engine(m, o, NULL);
    const int steps = ask_all(m, e, got);
    for (int i = 0; i < REQUESTS; i++) {
        clear(&questions[i].want);
        questions[i].want = got[i];
    }
    glia_engine_free(e);
    return steps;
}

static void test_answers(void **state) {
    (void)state;
    static const int right[] = {100, 70, 0};
    for (int tp = 1; tp <= 4; tp *= 2) { /* 4 ranks share the positions of 2 KV heads */
        glia_model *m = load(tp, tp > 2);
        for (int batch = 1; batch <= REQUESTS; batch += 2) {
            const glia_engine_options o = {
                .batch_size = batch, .sequence_length = 180, .prefill_chunk_size = 6, .block_size = 32};
            const int plain = reference(m, &o);
            for (size_t k = 0; k < 2 * sizeof right / sizeof *right; k++) {
                const oracle drafts = {.right = right[k / 2], .trees = k % 2};
                glia_engine *e = open_engine(m, &o, &drafts);
                answer got[REQUESTS] = {0};
                char what[64];
                snprintf(what, sizeof what, "tp %d, batch %d, %d%% right%s", tp, batch, right[k / 2],
                         k % 2 ? ", trees" : "");
                const int steps = ask_all(m, e, got);
                assert_true(now.proposed > 0 && now.learned > 0);
                CHECK(right[k / 2] ? steps < plain * 3 / 4 : steps == plain,
                      "%s: %d steps, %d without drafts", what, steps, plain);
                for (int i = 0; i < REQUESTS; i++) {
                    compare(&got[i], &questions[i].want, i, what);
                    clear(&got[i]);
                }
                glia_engine_free(e);
            }
        }
        unload(m);
    }
}

/* The methods that need no trained head, as a user asks for them: the draft model is the target itself, in
 * other number formats too. */
static void test_methods(void **state) {
    (void)state;
    static const char int8_tree[] =
        "{\"model\": \"models/qwen3-demo\", \"quantization\": \"int8\", "
        "\"speculative_token_tree\": \"[(0,), (0, 0), (1,), (0, 1), (0, 0, 0)]\"}";
    const char *const configs[] = {
        "{\"method\": \"ngram\", \"num_speculative_tokens\": 6}",
        "{\"method\": \"draft_model\", \"model\": \"models/qwen3-demo\", \"num_speculative_tokens\": 3}",
        int8_tree,
        "{\"model\": \"models/qwen3-demo\", \"total_token\": 9, \"depth\": 2, \"top_k\": 3}",
    };
    glia_model *plain = load(1, false);
    for (size_t k = 0; k < sizeof configs / sizeof *configs; k++)
        for (int traced = 0; traced < 2; traced++) { /* and as it pays here */
            const glia_engine_options o = {.batch_size = 3,
                                           .sequence_length = 180,
                                           .prefill_chunk_size = 6,
                                           .block_size = 32,
                                           .trace_drafts = traced ? ignore_trace : NULL};
            const glia_options options = {.threads = 2, .speculative_config = configs[k]};
            glia_model *m = NULL;
            glia_engine *e = NULL;
            glia_err err = {0};
            answer got[REQUESTS] = {0};
            reference(plain, &o);
            if (glia_model_load(&m, model_dir, NULL, &options, &err) || glia_engine_create(&e, m, &o, &err))
                fail_msg("%s", err.msg);
            ask_all(m, e, got);
            glia_engine_stats stats;
            glia_engine_get_stats(e, &stats);
            CHECK(stats.speculation.drafts > 0 || k == 0 || !traced, "%s: nothing was proposed", configs[k]);
            for (int i = 0; i < REQUESTS; i++) {
                compare(&got[i], &questions[i].want, i, configs[k]);
                clear(&got[i]);
            }
            glia_engine_free(e);
            glia_model_free(m);
        }
    unload(plain);
}

/* Several tokens of a step, of which an event in the middle aborts the request: no later token comes. */
static void test_abort(void **state) {
    (void)state;
    glia_model *m = load(1, false);
    const glia_engine_options o = {.sequence_length = 80};
    reference(m, &o);
    const oracle drafts = {.right = 100};
    for (int n = 2; n < 8; n++) {
        answer a = {.abort_after = n};
        glia_engine *e = open_engine(m, &o, &drafts);
        submit(m, e, 0, &a);
        for (size_t left = 1; left;) assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
        assert_true(a.n == n && a.ends == 1 && a.finish == GLIA_FINISH_ABORT);
        clear(&a);
        glia_engine_free(e);
    }
    unload(m);
}

/* Accepted drafts are in the prefix cache as other tokens are. */
static void test_cache(void **state) {
    (void)state;
    glia_model *m = load(1, false);
    const glia_engine_options o = {.sequence_length = 80, .block_size = 32};
    reference(m, &o);
    const oracle drafts = {.right = 80};
    glia_engine *e = open_engine(m, &o, &drafts);
    answer a = {0}, b = {0};
    int32_t ids[80], *prompt;
    size_t n, left = 1;
    glia_engine_stats stats;
    submit(m, e, 0, &a);
    while (left) assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
    compare(&a, &questions[0].want, 0, "drafts");
    assert_int_equal(glia_tokenize(m, questions[0].text, strlen(questions[0].text), false, &prompt, &n, NULL),
                     GLIA_OK);
    memcpy(ids, prompt, n * sizeof *ids);
    memcpy(ids + n, a.token, (size_t)(a.n - 1) * sizeof *ids);
    glia_sampling s = questions[0].s;
    s.max_tokens = 1;
    assert_int_equal(glia_engine_submit(e, ids, n + (size_t)a.n - 1, &s, on_event, &b, NULL, NULL), GLIA_OK);
    for (left = 1; left;) assert_int_equal(glia_engine_step(e, &left, NULL), GLIA_OK);
    assert_int_equal(b.token[0], a.token[a.n - 1]);
    glia_engine_get_stats(e, &stats);
    assert_int_equal(stats.cached_tokens, 32);
    glia_free(prompt);
    clear(&a);
    clear(&b);
    glia_engine_free(e);
    unload(m);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_cache),
    };
    check_begin(argc, argv);
    for (int i = 0; i < REQUESTS; i++) {
        glia_sampling *s = &questions[i].s;
        s->seed = (uint64_t)i + 1; /* also tells the draft which request it is */
        s->top_p = s->typical_p = 1;
        s->temperature = s->temperature == 0.0f ? 1 : s->temperature;
        if (s->repetition_penalty == 0.0f) s->repetition_penalty = 1;
    }
    const int failed = check_run_group("drafts", tests);
    for (int i = 0; i < REQUESTS; i++) clear(&questions[i].want);
    return failed;
}
