/* check_speculation.c - no answer depends on speculation.
 *
 * Random worlds: a model, a number format, ranks, threads, chunks, blocks, a batch of random
 * requests that come at random times, twice, so that the second time finds prefixes in the cache.
 * With each kind of draft every event of every request has the bits that it has without:
 * tokens, positions, log-probabilities, texts, ends, hidden states, scores of prompts. */
#include "check.h"

#include <glia.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/model.h"
#include "base/buf.h"
#include "base/file.h"

enum { REQUESTS = 7, LENGTH = 130, PROMPT = 70, PATH = 300 };
#define DRAFTS "data/drafts/"
#define LORA "data/lora/"

static int below(int n) { return (int)(check_u32() % (uint32_t)n); }
static bool coin(int percent) { return below(100) < percent; }

/* ---- drafts ---------------------------------------------------------------------------- */

/* A draft that lies: random trees of random tokens, some of them those of the prompt. */
static glia_status lie(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    const bool chain = d->limits.nodes == d->limits.depth;
    (void)err;
    for (int i = 0; i < n; i++) {
        glia_tree *t = seq[i].tree;
        const int nodes = below(seq[i].nodes + 1);
        for (int k = 0; k < nodes; k++) {
            int parent = chain || coin(60) ? t->n - 1 : below(t->n);
            if (chain && t->depth[parent] >= seq[i].depth) break;
            while (t->depth[parent] >= seq[i].depth) parent = t->parent[parent];
            const int32_t token =
                coin(50) ? seq[i].tokens[below(seq[i].n_tokens)] : below((int)d->model->target->vocab);
            if (glia_tree_child(t, parent, token) < 0) glia_tree_add(t, parent, token, 0);
        }
    }
    return GLIA_OK;
}
static glia_status open_liar(glia_draft *d, glia_err *err) {
    (void)d, (void)err;
    return GLIA_OK;
}
static void close_liar(glia_draft *d) { (void)d; }
static const glia_draft_method liar = {
    .name = "liar", .open = open_liar, .close = close_liar, .propose = lie};

/* Directories: of the project, or with a leading '@' of the shared reference data. */
static const struct {
    const char *model, *draft; /* draft NULL: none is named */
    const char *config;        /* members of --speculative-config after the model; NULL: the liar */
    const char *adapters[2];
} kinds[] = {
    {"models/qwen3-demo", NULL, "\"method\":\"ngram\"", {0}},
    {"models/smollm3-demo",
     NULL,
     "\"method\":\"ngram\",\"num_speculative_tokens\":3,\"prompt_lookup_min\":1",
     {0}},
    {"models/qwen3-demo", "models/qwen3-demo", "\"num_speculative_tokens\":5", {0}},
    {"models/smollm3-demo", "models/smollm3-demo", "\"quantization\":\"int8\"", {0}},
    {"models/qwen3-demo", "models/qwen3-demo", "\"quantization\":\"w4a8\"", {0}},
    {"models/qwen3-demo",
     "models/qwen3-demo",
     "\"speculative_token_tree\":\"[(0,),(0,0),(1,),(0,1),(0,0,0)]\"",
     {0}},
    {"models/smollm3-demo", "models/smollm3-demo", "\"total_token\":4,\"depth\":5,\"top_k\":3", {0}},
    {"models/qwen3-demo", "models/qwen3-demo-eagle3", "\"method\":\"eagle3\"", {0}},
    {"models/smollm3-demo",
     "models/smollm3-demo-eagle3",
     "\"method\":\"eagle3\",\"total_token\":14,\"depth\":3,\"top_k\":4",
     {0}},
    {"models/qwen3-demo",
     "models/qwen3-demo-eagle3",
     "\"method\":\"eagle3\",\"token_tree_config\":{\"0\":[\"1\",\"2\"],\"1\":[\"3\",\"4\"],\"3\":[\"5\"]}",
     {0}},
    {"models/qwen3-demo", "models/qwen3-demo-medusa", "\"method\":\"medusa\"", {0}},
    {"models/smollm3-demo",
     "models/smollm3-demo-medusa",
     "\"method\":\"medusa\",\"medusa_tree\":[[0],[0,0],[1],[0,1],[1,0],[0,0,0],[2]]",
     {0}},
    {"models/qwen3-demo", NULL, NULL, {0}},
    {"models/smollm3-demo", NULL, NULL, {0}},
    {"@" DRAFTS "targets/qwen3-trained", "@" DRAFTS "eagle1-trained", "\"method\":\"eagle\"", {0}},
    {"@" DRAFTS "targets/qwen3-trained",
     "@" DRAFTS "eagle3-b-trained",
     "\"method\":\"eagle3\",\"total_token\":20,\"depth\":4,\"top_k\":4",
     {0}},
    {"@" DRAFTS "targets/qwen3-trained", "@" DRAFTS "dflash-trained", "\"method\":\"dflash\"", {0}},
    {"@" DRAFTS "targets/qwen3-trained",
     "@" DRAFTS "dspark-trained",
     "\"method\":\"dspark\",\"confidence_threshold\":0.2",
     {0}},
    {"@" DRAFTS "targets/qwen3-trained",
     "@" DRAFTS "qwen3-draft-trained",
     "\"num_speculative_tokens\":4",
     {0}},
    {"@" DRAFTS "targets/llama-trained",
     "@" DRAFTS "medusa-orig-llama-trained",
     "\"method\":\"medusa\"",
     {0}},
    {"@" LORA "bases/qwen3-tied",
     NULL,
     "\"method\":\"ngram\",\"prompt_lookup_min\":1",
     {"@" LORA "adapters/plain-qv", "@" LORA "adapters/all-linear-rslora"}},
    {"@" LORA "bases/qwen3-tied",
     "@" LORA "bases/qwen3-tied",
     "\"total_token\":9,\"depth\":2,\"top_k\":3",
     {"@" LORA "adapters/plain-qv", "@" LORA "adapters/all-linear-rslora"}},
    {"@" LORA "bases/qwen3-tied",
     NULL,
     NULL,
     {"@" LORA "adapters/plain-qv", "@" LORA "adapters/all-linear-rslora"}},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static bool resolve(char path[PATH], const char *name) {
    const char *found = *name == '@' ? check_shared(name + 1) : glia_dir_exists(name) ? name : NULL;
    snprintf(path, PATH, "%s", found ? found : "");
    return found != NULL;
}

/* ---- a world ----------------------------------------------------------------------------- */

typedef struct {
    int32_t ids[PROMPT];
    int n_ids, delay; /* steps before it is submitted */
    glia_sampling s;
    glia_logit_bias bias[3];
    int32_t stop_ids[2];
    const char *stop[2];
} request;

typedef struct {
    glia_options model;
    glia_engine_options engine;
    glia_lora_module modules[2];
    char dir[PATH], draft[PATH], adapter[2][PATH];
    request request[REQUESTS];
    glia_constraint *constraint; /* NULL: the model has no tokenizer */
    char text[400];              /* the world in words */
} world;

static const glia_dtype dtypes[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16};

static void draw_settings(world *w, bool adapters) {
    static const int tps[] = {1, 1, 2, 4};
    static const glia_quantization schemes[] = {(glia_quantization)0, GLIA_QUANTIZATION_INT8,
                                                GLIA_QUANTIZATION_W8A8};
    glia_options *o = &w->model;
    glia_engine_options *e = &w->engine;
    o->tensor_parallel_size = adapters && coin(50) ? 1 : tps[below(4)];
    o->threads = o->tensor_parallel_size > 1 ? 1 : 1 + below(2);
    o->dtype = dtypes[below(2)];
    o->quantization = schemes[coin(50) ? 0 : below(3)];
    if (o->tensor_parallel_size == 4) o->flash_decoding = coin(70) ? GLIA_SWITCH_ON : GLIA_SWITCH_OFF;
    if (o->tensor_parallel_size == 2 && coin(50)) o->context_parallel_size = 2;
    if (o->context_parallel_size && coin(50)) o->strided_context_parallel = GLIA_SWITCH_ON;
    e->kv_cache_dtype = coin(40) ? GLIA_DTYPE_I8 : dtypes[below(2)];
    e->batch_size = 1 + below(6);
    e->sequence_length = LENGTH;
    e->prefill_chunk_size = 1 + below(40);
    e->block_size = coin(50) ? 32 : 64;
    e->no_prefix_cache = coin(20);
    if (o->tensor_parallel_size < 4 && coin(30))
        e->kv_cache_blocks = 6 + below(6); /* sequences are preempted */
    snprintf(w->text, sizeof w->text,
             "%s tp %d threads %d dtype %d quantization %d flash %d cp %d kv %d batch %d chunk %d block %d",
             w->dir, o->tensor_parallel_size, o->threads, o->dtype, o->quantization, o->flash_decoding,
             o->context_parallel_size, e->kv_cache_dtype, e->batch_size, e->prefill_chunk_size,
             e->block_size);
}

static void draw_sampling(world *w, request *r, int vocab) {
    static const char *const stops[] = {"the", " a", ".", "er", "and "};
    glia_sampling *s = &r->s;
    s->do_sample = coin(60);
    if (coin(60)) s->temperature = 0.2f + 0.01f * (float)below(140);
    if (coin(30)) s->top_k = 1 + below(40);
    if (coin(30)) s->top_p = 0.5f + 0.005f * (float)below(99);
    if (coin(20)) s->min_p = 0.002f * (float)below(100);
    if (coin(20)) s->typical_p = 0.5f + 0.005f * (float)below(99);
    if (coin(30)) s->repetition_penalty = 1 + 0.01f * (float)below(50);
    if (coin(30)) s->presence_penalty = 0.02f * (float)(below(100) - 30);
    if (coin(30)) s->frequency_penalty = 0.02f * (float)(below(100) - 30);
    s->seed = check_u32();
    s->max_tokens = 1 + below(LENGTH - r->n_ids);
    if (coin(50)) s->max_tokens = 1 + s->max_tokens / 3;
    if (coin(30)) s->min_tokens = below(s->max_tokens + 1);
    s->logprobs = coin(50) ? -1 : below(6);
    if (coin(15)) s->prompt_logprobs = 1 + below(4);
    s->embed = coin(8);
    s->ignore_eos = coin(40);
    if (coin(30)) {
        for (int i = 0; i < 3; i++)
            r->bias[i] = (glia_logit_bias){below(vocab), 0.1f * (float)(below(100) - 50)};
        s->logit_bias = r->bias;
        s->n_logit_bias = 3;
    }
    if (coin(20)) {
        r->stop_ids[0] = below(vocab);
        r->stop_ids[1] = r->ids[0];
        s->stop_token_ids = r->stop_ids;
        s->n_stop_token_ids = 2;
    }
    if (w->constraint && coin(40)) {
        r->stop[0] = stops[below(5)];
        r->stop[1] = stops[below(5)];
        s->stop = r->stop;
        s->n_stop = 2;
        s->include_stop_str_in_output = coin(50);
    }
    if (w->constraint && !s->embed && coin(25)) s->constraint = w->constraint;
    if (w->engine.n_lora_modules && coin(70)) s->adapter = w->modules[below(2)].name;
}

/* Prompts have common beginnings and repetitions. */
static void draw_requests(world *w, const glia_model *m) {
    glia_model_info info;
    int32_t common[PROMPT];
    glia_model_get_info(m, &info);
    for (int i = 0; i < PROMPT; i++) common[i] = i > 8 && coin(60) ? common[i - 7] : below(info.vocab_size);
    for (int k = 0; k < REQUESTS; k++) {
        request *r = &w->request[k];
        memset(r, 0, sizeof *r);
        r->n_ids = 1 + below(PROMPT);
        const int same = below(r->n_ids);
        for (int i = 0; i < r->n_ids; i++) r->ids[i] = i <= same ? common[i] : below(info.vocab_size);
        r->delay = coin(50) ? 0 : below(30);
        glia_sampling_defaults(m, &r->s);
        r->s.do_sample = false;
        draw_sampling(w, r, info.vocab_size);
    }
}

/* ---- answers ------------------------------------------------------------------------------ */

/* All that a request's events say, but for what depends on time. */
typedef struct {
    glia_buf events;
    const glia_sampling *s;
} record;

static void add(record *r, const void *x, size_t n) { glia_buf_add(&r->events, x, n); }

static void on_event(void *user, const glia_event *e) {
    record *r = user;
    const int numbers[] = {e->token, e->token >= 0 ? e->position : 0, e->of_prompt, e->thinking,
                           (int)e->finish};
    add(r, numbers, sizeof numbers);
    add(r, e->text, e->text_len);
    if (e->token >= 0 && (e->of_prompt || r->s->logprobs >= 0)) {
        add(r, &e->logprob, sizeof e->logprob);
        add(r, e->top_tokens, (size_t)e->n_top * sizeof *e->top_tokens);
        add(r, e->top_logprobs, (size_t)e->n_top * sizeof *e->top_logprobs);
    }
    if (e->hidden) add(r, e->hidden, (size_t)e->n_hidden * sizeof *e->hidden);
    if (e->stop_reason) add(r, e->stop_reason, strlen(e->stop_reason));
}

static int submit_due(const world *w, glia_engine *e, int round, int step, record *to) {
    int n = 0;
    for (int k = 0; k < REQUESTS; k++) {
        const request *r = &w->request[k];
        glia_err err = {0};
        if (r->delay != step) continue;
        record *a = &to[round * REQUESTS + k];
        a->s = &r->s;
        if (glia_engine_submit(e, r->ids, (size_t)r->n_ids, &r->s, on_event, a, NULL, &err))
            fail_msg("%s: %s", w->text, err.msg);
        n++;
    }
    return n;
}

/* `broken`: what a step says once when the draft fails; NULL: no step fails. */
static void ask_all(const world *w, glia_engine *e, record *to, const char *broken) {
    int said = 0;
    for (int round = 0; round < 2; round++) {
        size_t left = 0;
        int sent = 0;
        for (int step = 0; left || sent < REQUESTS; step++) {
            glia_err err = {0};
            sent += submit_due(w, e, round, step, to);
            if (!glia_engine_step(e, &left, &err)) continue;
            CHECK(broken && !said && strstr(err.msg, broken), "%s: %s", w->text, err.msg);
            said++;
        }
    }
    CHECK(!broken || said == 1, "%s: \"%s\" is not said", w->text, broken);
}

static void free_records(record *r) {
    for (int i = 0; i < 2 * REQUESTS; i++) glia_buf_free(&r[i].events);
}

static void ignore_trace(void *user, uint64_t round, const glia_draft_proposal *p, size_t n) {
    (void)user, (void)round;
    for (size_t i = 0; i < n; i++) assert_true(p[i].n > 1 && p[i].accepted < p[i].n);
}

/* ---- with and without ---------------------------------------------------------------------- */

static glia_model *load(const world *w, const char *config) {
    glia_options o = w->model;
    glia_model *m;
    glia_err err = {0};
    o.speculative_config = config;
    if (glia_model_load(&m, w->dir, NULL, &o, &err)) fail_msg("%s, %s: %s", w->text, config, err.msg);
    return m;
}

static void give_liar(glia_model *m) {
    m->draft = calloc(1, sizeof *m->draft);
    m->draft->target = &m->config;
    m->draft->config = (glia_draft_config){.method = &liar, .tokens = 5};
    if (coin(50))
        m->draft->config.tree =
            (glia_tree_shape){.kind = GLIA_TREE_DYNAMIC, .total = 12, .depth = 4, .top_k = 3};
}

static const char *words_of(const request *r) {
    static char text[300];
    const glia_sampling *s = &r->s;
    snprintf(text, sizeof text,
             "%d ids, sample %d, t %.2f, k %d, p %.2f %.2f %.2f, penalties %.2f %.2f %.2f, max %d, min %d, "
             "logprobs "
             "%d %d, embed %d, eos %d, bias %zu, stops %zu %zu, constraint %d, adapter %s",
             r->n_ids, s->do_sample, (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p,
             (double)s->typical_p, (double)s->repetition_penalty, (double)s->presence_penalty,
             (double)s->frequency_penalty, s->max_tokens, s->min_tokens, s->logprobs, s->prompt_logprobs,
             s->embed, s->ignore_eos, s->n_logit_bias, s->n_stop_token_ids, s->n_stop, s->constraint != NULL,
             s->adapter ? s->adapter : "none");
    return text;
}

/* Ask with the draft of the kind, for all that it may propose or for what pays. Returns how many proposals
 * there were. */
static uint64_t compare(const world *w, const record *want, size_t kind, bool traced) {
    char config[PATH * 2] = "";
    const char *more = kinds[kind].config;
    const bool model = more && *w->draft && !strstr(more, "\"method\"");
    const int tp = model && coin(60) ? w->model.tensor_parallel_size : 1;
    if (more && *w->draft)
        snprintf(config, sizeof config, "{\"model\":\"%s\",\"draft_tensor_parallel_size\":%d,%s}", w->draft,
                 tp, more);
    else if (more)
        snprintf(config, sizeof config, "{%s}", more);
    glia_model *m = load(w, more ? config : NULL);
    if (!more) give_liar(m);
    glia_engine_options o = w->engine;
    o.trace_drafts = traced ? ignore_trace : NULL;
    glia_engine *e;
    glia_err err = {0};
    record got[2 * REQUESTS] = {0};
    glia_engine_stats stats;
    if (glia_engine_create(&e, m, &o, &err)) fail_msg("%s, %s: %s", w->text, config, err.msg);
    ask_all(w, e, got, NULL);
    for (int i = 0; i < 2 * REQUESTS; i++) {
        const glia_buf *a = &got[i].events, *b = &want[i].events;
        CHECK(a->len == b->len && !memcmp(a->data, b->data, a->len),
              "%s, %s%s: request %d of time %d differs: %zu bytes of events, want %zu (%s)", w->text,
              more ? config : "liar", traced ? ", traced" : "", i % REQUESTS, i / REQUESTS, a->len, b->len,
              words_of(&w->request[i % REQUESTS]));
    }
    glia_engine_get_stats(e, &stats);
    CHECK(stats.speculation.accepted_tokens <= stats.speculation.draft_tokens, "%s", config);
    free_records(got);
    glia_engine_free(e);
    glia_model_free(m);
    return stats.speculation.drafts;
}

static void make_constraint(world *w, const glia_model *m) {
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\","
                                 "\"maxLength\":9},\"age\":{\"type\":\"integer\",\"maximum\":120}},"
                                 "\"required\":[\"name\",\"age\"]}";
    const glia_constraint_source source = {.text = schema, .len = sizeof schema - 1};
    glia_model_info info;
    glia_err err = {0};
    glia_model_get_info(m, &info);
    w->constraint = NULL;
    if (info.has_tokenizer && glia_constraint_create(&w->constraint, m, &source, &err))
        fail_msg("%s", err.msg);
}

static bool draw_world(world *w, size_t kind) {
    *w = (world){0};
    if (!resolve(w->dir, kinds[kind].model) || (kinds[kind].draft && !resolve(w->draft, kinds[kind].draft)))
        return false;
    for (int i = 0; i < 2 && kinds[kind].adapters[i]; i++) {
        if (!resolve(w->adapter[i], kinds[kind].adapters[i])) return false;
        w->modules[i] = (glia_lora_module){i ? "two" : "one", w->adapter[i]};
        w->engine.lora_modules = w->modules;
        w->engine.n_lora_modules = 2;
    }
    draw_settings(w, w->engine.n_lora_modules > 0);
    return true;
}

static void check_world(size_t kind) {
    static world w;
    record want[2 * REQUESTS] = {0};
    glia_engine *e;
    glia_err err = {0};
    if (!draw_world(&w, kind)) return;
    glia_model *m = load(&w, NULL);
    make_constraint(&w, m);
    draw_requests(&w, m);
    if (glia_engine_create(&e, m, &w.engine, &err)) fail_msg("%s: %s", w.text, err.msg);
    ask_all(&w, e, want, NULL);
    glia_engine_free(e);
    const uint64_t drafts = compare(&w, want, kind, true);
    CHECK(drafts > 0 || (kinds[kind].config && !*w.draft), "%s: nothing was proposed", w.text);
    if (coin(50)) compare(&w, want, kind, false);
    free_records(want);
    glia_constraint_free(w.constraint);
    glia_model_free(m);
}

static void test_worlds(void **state) {
    (void)state;
    for (size_t kind = 0; kind < KINDS; kind++) check_world(kind);
}

/* ---- drafts that fail ------------------------------------------------------------------------ */

enum { QWEN3_EAGLE3 = 7 };

static void shell(const char *format, const char *a, const char *b) {
    char command[3 * PATH];
    snprintf(command, sizeof command, format, a, b);
    assert_int_equal(system(command), 0);
}

/* Fill a tensor of dir/model.safetensors with NaN. */
static void poison(const char *dir, const char *tensor) {
    char path[PATH + 40];
    uint64_t header = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "r+b");
    assert_true(f && fread(&header, sizeof header, 1, f) == 1);
    char *text = calloc(1, header + 1);
    assert_int_equal(fread(text, 1, header, f), header);
    json_t *tree = json_loads(text, 0, NULL);
    const json_t *at = json_object_get(json_object_get(tree, tensor), "data_offsets");
    assert_int_equal(json_array_size(at), 2);
    const long from = (long)json_integer_value(json_array_get(at, 0)),
               to = (long)json_integer_value(json_array_get(at, 1));
    fseek(f, 8 + (long)header + from, SEEK_SET);
    for (long i = from; i < to; i++) fputc(0xff, f);
    fclose(f);
    json_decref(tree);
    free(text);
}

/* The head has NaN, or its directory is removed once it is loaded: the answers stay. */
static void check_broken(world *w, const record *want, bool poisoned) {
    char config[PATH * 2];
    glia_engine *e;
    glia_err err = {0};
    record got[2 * REQUESTS] = {0};
    if (poisoned) poison(w->draft, "fc.weight");
    snprintf(config, sizeof config, "{\"model\":\"%s\",\"method\":\"eagle3\"}", w->draft);
    glia_model *m = load(w, config);
    if (!poisoned) shell("rm -r %s%s", w->draft, "");
    glia_engine_options o = w->engine;
    o.trace_drafts = ignore_trace;
    if (glia_engine_create(&e, m, &o, &err)) fail_msg("%s", err.msg);
    ask_all(w, e, got, poisoned ? "are not all numbers; speculation has ended" : NULL);
    for (int i = 0; i < 2 * REQUESTS; i++)
        CHECK(got[i].events.len == want[i].events.len &&
                  !memcmp(got[i].events.data, want[i].events.data, got[i].events.len),
              "request %d differs", i);
    free_records(got);
    glia_engine_free(e);
    glia_model_free(m);
}

/* NaN in a head is one sentence, and the answers go on. A head whose directory is gone is in memory. */
static void test_broken(void **state) {
    (void)state;
    static world w;
    record want[2 * REQUESTS] = {0};
    glia_engine *e;
    glia_err err = {0};
    if (!draw_world(&w, QWEN3_EAGLE3)) check_skip("the demo models are not here");
    w.model.quantization = (glia_quantization)0; /* a head whose weights are NaN has no int8 */
    glia_model *m = load(&w, NULL);
    make_constraint(&w, m);
    draw_requests(&w, m);
    if (glia_engine_create(&e, m, &w.engine, &err)) fail_msg("%s", err.msg);
    ask_all(&w, e, want, NULL);
    for (int poisoned = 0; poisoned < 2; poisoned++) {
        snprintf(w.draft, sizeof w.draft, "%s/head%d", check_temp_dir(), poisoned);
        shell("cp -rL %s %s", kinds[QWEN3_EAGLE3].draft, w.draft);
        check_broken(&w, want, poisoned);
    }
    free_records(want);
    glia_engine_free(e);
    glia_constraint_free(w.constraint);
    glia_model_free(m);
}

/* A draft that is not there, or has other tokens, is one sentence. */
static void test_misfits(void **state) {
    (void)state;
    static const struct {
        const char *config, *say;
    } rows[] = {
        {"{\"model\":\"models/no-such-draft\"}", "models/no-such-draft"},
        {"{\"model\":\"models/no-such-draft\",\"method\":\"eagle3\"}", "models/no-such-draft"},
        {"{\"model\":\"models/smollm3-demo\"}", "of the draft is"},
        {"{\"model\":\"models/qwen3-demo\",\"draft_tensor_parallel_size\":2}",
         "draft_tensor_parallel_size is 2, expected 1 or the target's tensor_parallel_size 1"},
        {"{\"method\":\"ngram\",\"draft_tensor_parallel_size\":2}",
         "draft_tensor_parallel_size is 2, expected 1 or the target's tensor_parallel_size 1"},
        {"{\"model\":\"models/qwen3-demo-eagle3\",\"method\":\"eagle3\",\"quantization\":\"int4\"}",
         "expected quantization int8 or w8a8"},
        {"{\"model\":\"models/qwen3-demo\",\"quantization\":\"int3\"}",
         "quantization is int3, expected int8, w8a8, int4, w4a8, fp8, "},
    };
    if (!glia_dir_exists("models/qwen3-demo")) check_skip("the demo models are not here");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const glia_options o = {.threads = 1, .speculative_config = rows[i].config};
        glia_model *m;
        glia_err err = {0};
        CHECK(glia_model_load(&m, "models/qwen3-demo", NULL, &o, &err) && !m &&
                  strstr(err.msg, rows[i].say) && !strchr(err.msg, '\n'),
              "%s: %s", rows[i].config, err.msg);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_worlds), cmocka_unit_test(test_broken),
                                       cmocka_unit_test(test_misfits)};
    check_begin(argc, argv);
    return check_run_group("speculation", tests);
}
