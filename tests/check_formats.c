/* check_formats.c - every quantised format with every schedule: ranks, chunks, the prefix cache,
 * an int8 cache, an adapter, drafts, and a compiled artifact. The schedule changes no bit.
 *
 * The formats are the directories of the shared data/quantized, some of
 * tests/golden/published, and the flags of the command line on a demo model. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <glia.h>
#include <jansson.h>

#include "format/safetensors.h"

enum { PATH = 600, PROMPT = 70, TOKENS = 14, LENGTH = PROMPT + TOKENS };
static const char *temp; /* a directory */
static const char demo[] = "models/qwen3-demo";

static const struct {
    const char *name; /* of data/quantized, or a path; or NULL: the demo model with the options */
    glia_options o;
} cases[] = {
    {"awq-int4", {0}},
    {"bnb-nf4", {0}},
    {"ct-fp8-dynamic", {0}},
    {"ct-fp8-kvscales", {0}},
    {"ct-mxfp4", {0}},
    {"ct-nvfp4", {0}},
    {"ct-w4a16", {0}},
    {"ct-w4a16-actorder", {0}},
    {"ct-w4a16-asym", {0}},
    {"ct-w4a16-smollm3", {0}},
    {"ct-w8a16", {0}},
    {"ct-w8a8-int", {0}},
    {"fp8-block", {0}},
    {"gptq-int4", {0}},
    {"gptq-int4-descact", {0}},
    {"gptq-int4-v2-asym", {0}},
    {"gptq-int8", {0}},
    {"tests/golden/published/awq-gemv", {0}},
    {"tests/golden/published/bnb-int8", {0}},
    {"tests/golden/published/gptq-dynamic", {0}},
    {"tests/golden/published/mxfp8", {0}},
    {"tests/golden/published/w8a8-asymmetric", {0}},
    {"tests/golden/published/w8a8-groups", {0}},
    {"tests/golden/published/w8a8-static-zeros", {0}},
    {"tests/golden/published/w8a8-zeros", {0}},
    {NULL, {.quantization = GLIA_QUANTIZATION_INT4}},
    {NULL,
     {.quantization = GLIA_QUANTIZATION_INT4,
      .quantization_group_size = 128,
      .quantization_type = GLIA_QUANTIZATION_ROTATED_GROUP_SYMMETRIC,
      .head_quantization = GLIA_HEAD_INT4}},
    {NULL, {.quantization = GLIA_QUANTIZATION_W4A8}},
    {NULL,
     {.quantization = GLIA_QUANTIZATION_W4A8,
      .quantization_group_size = 128,
      .quantization_type = GLIA_QUANTIZATION_GROUP_SYMMETRIC}},
    {NULL, {.quantization = GLIA_QUANTIZATION_FP8}},
    {NULL, {.quantization = GLIA_QUANTIZATION_W8A8}},
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- an adapter --------------------------------------------------------------------- */

static int64_t number_of(const char *dir, const char *key) {
    char path[PATH + 32];
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *config = json_load_file(path, 0, NULL);
    const int64_t n = json_integer_value(json_object_get(config, key));
    json_decref(config);
    return n;
}

static void append_random(glia_safetensors_writer *w, int64_t n, float size) {
    glia_err err;
    for (int64_t i = 0; i < n; i++) {
        const float x = size * check_uniform();
        if (glia_safetensors_append(w, &x, sizeof x, &err)) fail_msg("%s", err.msg);
    }
}

/* Write an adapter of rank 4 that changes q, gate and down of layer 0, as PEFT does. */
static const char *make_adapter(const char *dir) {
    static char path[PATH];
    char file[PATH + 32];
    glia_err err;
    glia_safetensors_writer *w;
    const int64_t r = 4, hidden = number_of(dir, "hidden_size"), ffn = number_of(dir, "intermediate_size");
    int64_t q = number_of(dir, "head_dim");
    q = (q ? q : hidden / number_of(dir, "num_attention_heads")) * number_of(dir, "num_attention_heads");
#define NAME "base_model.model.model.layers.0."
    const glia_tensor_spec spec[] = {
        {NAME "mlp.down_proj.lora_A.weight", GLIA_TENSOR_F32, 2, {r, ffn}},
        {NAME "mlp.down_proj.lora_B.weight", GLIA_TENSOR_F32, 2, {hidden, r}},
        {NAME "mlp.gate_proj.lora_A.weight", GLIA_TENSOR_F32, 2, {r, hidden}},
        {NAME "mlp.gate_proj.lora_B.weight", GLIA_TENSOR_F32, 2, {ffn, r}},
        {NAME "self_attn.q_proj.lora_A.weight", GLIA_TENSOR_F32, 2, {r, hidden}},
        {NAME "self_attn.q_proj.lora_B.weight", GLIA_TENSOR_F32, 2, {q, r}},
    };
#undef NAME
    snprintf(path, sizeof path, "%.500s/adapter", temp);
    mkdir(path, 0700); /* of the last case, too */
    snprintf(file, sizeof file, "%s/adapter_config.json", path);
    FILE *f = fopen(file, "w");
    fprintf(f, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"target_modules\": [\"q_proj\", "
               "\"gate_proj\", \"down_proj\"], \"layers_to_transform\": [0]}");
    fclose(f);
    snprintf(file, sizeof file, "%s/adapter_model.safetensors", path);
    if (glia_safetensors_create(&w, file, spec, 6, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < 6; i++) append_random(w, spec[i].shape[0] * spec[i].shape[1], 0.05f);
    if (glia_safetensors_finish(w, &err)) fail_msg("%s", err.msg);
    return path;
}

/* ---- answers --------------------------------------------------------------------------- */

typedef struct {
    int n, cached;
    int32_t token[TOKENS];
    float logprob[TOKENS];
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    if (e->cached_tokens > a->cached) a->cached = e->cached_tokens;
    if (e->token < 0 || a->n == TOKENS) return;
    a->token[a->n] = e->token;
    a->logprob[a->n++] = e->logprob;
}

/* Ask for TOKENS greedy tokens after the prompt. */
static answer ask(glia_engine *e, const int32_t *ids, const char *adapter) {
    glia_err err;
    answer a = {0};
    const glia_sampling s = {.top_p = 1,
                             .typical_p = 1,
                             .repetition_penalty = 1,
                             .max_tokens = TOKENS,
                             .ignore_eos = true,
                             .adapter = adapter};
    if (glia_engine_submit(e, ids, PROMPT, &s, on_event, &a, NULL, &err)) fail_msg("%s", err.msg);
    for (size_t left = 1; left;)
        if (glia_engine_step(e, &left, &err)) fail_msg("%s", err.msg);
    assert_int_equal(a.n, TOKENS);
    return a;
}

static void same(const answer *a, const answer *b, const char *name, int tp, const char *what) {
    CHECK(memcmp(a->token, b->token, sizeof a->token) == 0 &&
              memcmp(a->logprob, b->logprob, sizeof a->logprob) == 0,
          "%s tp %d: %s changes the answer", name, tp, what);
}

typedef struct {
    glia_model *m;
    glia_engine *e;
} open_engine;

static open_engine open_with(const char *dir, const glia_options *o) {
    open_engine x;
    glia_err err;
    if (glia_model_load(&x.m, dir, NULL, o, &err)) fail_msg("%s: %s", dir, err.msg);
    if (glia_engine_create(&x.e, x.m, o->engine, &err)) fail_msg("%s: %s", dir, err.msg);
    return x;
}

static void close_it(open_engine *x) {
    glia_engine_free(x->e);
    glia_model_free(x->m);
}

/* The answer of a new engine. */
static answer fresh(const char *dir, const glia_options *o, const int32_t *ids, const char *adapter) {
    open_engine x = open_with(dir, o);
    const answer a = ask(x.e, ids, adapter);
    close_it(&x);
    return a;
}

/* One format on tp ranks: what is asked alone in one chunk is the measure of all else. */
static void check_case(const char *dir, const char *name, glia_options o, int tp, const int32_t *ids,
                       glia_dtype kv) {
    const glia_lora_module lora = {"adapter", make_adapter(dir)};
    const glia_engine_options whole = {.sequence_length = LENGTH,
                                       .no_prefix_cache = true,
                                       .kv_cache_dtype = kv,
                                       .lora_modules = &lora,
                                       .n_lora_modules = 1},
                              chunked = {.sequence_length = LENGTH,
                                         .prefill_chunk_size = 7,
                                         .block_size = 32,
                                         .kv_cache_dtype = kv,
                                         .lora_modules = &lora,
                                         .n_lora_modules = 1};
    char artifact[PATH];
    glia_err err;
    o.tensor_parallel_size = tp;
    o.threads = 1;
    o.engine = &whole;
    const answer alone = fresh(dir, &o, ids, NULL), adapted = fresh(dir, &o, ids, "adapter");
    CHECK(memcmp(&alone.logprob, &adapted.logprob, sizeof alone.logprob) != 0,
          "%s tp %d: the adapter changes nothing", name, tp);
    o.engine = &chunked;
    o.threads = tp == 1 ? 2 : 1;
    for (int drafts = 0; drafts < 2; drafts++) {
        o.speculative_config =
            drafts ? "{\"method\": \"ngram\", \"num_speculative_tokens\": 4, \"prompt_lookup_min\": 1}"
                   : NULL;
        open_engine x = open_with(dir, &o);
        const answer first = ask(x.e, ids, NULL), again = ask(x.e, ids, NULL),
                     other = ask(x.e, ids, "adapter");
        same(&alone, &first, name, tp, drafts ? "a draft" : "a chunk of 7");
        same(&alone, &again, name, tp, drafts ? "a draft with the prefix cache" : "the prefix cache");
        same(&adapted, &other, name, tp, drafts ? "a draft with an adapter" : "a chunk of 7 with an adapter");
        CHECK(again.cached >= 32, "%s tp %d: %d tokens cached", name, tp, again.cached);
        close_it(&x);
    }
    o.speculative_config = NULL;
    if (kv || tp == 3) return; /* the artifact holds weights alone */
    snprintf(artifact, sizeof artifact, "%.500s/compiled", temp);
    if (glia_compile(dir, NULL, artifact, &o, &err)) fail_msg("%s: %s", dir, err.msg);
    const answer compiled = fresh(artifact, &o, ids, "adapter");
    same(&adapted, &compiled, name, tp, "compile with an adapter");
}

static void test_matrix(void **state) {
    (void)state;
    temp = check_temp_dir();
    for (size_t i = 0; i < CASES; i++) {
        char path[PATH];
        const char *dir = demo, *name = cases[i].name;
        int32_t ids[PROMPT];
        if (name && strchr(name, '/')) {
            dir = name;
        } else if (name) {
            snprintf(path, sizeof path, "data/quantized/%s", name);
            dir = check_shared(path);
            if (!dir) check_skip_because("no ../shared/%s", path);
            if (!dir) continue;
            snprintf(path, sizeof path, "%.500s", dir);
            dir = path;
        }
        for (int k = 0; k < PROMPT; k++) ids[k] = 3 + (k * 7 + k % 5 * 11) % 60 % 40; /* repeats itself */
        for (int tp = 1; tp <= 3; tp++)
            for (int kv = 0; kv < (tp < 3 ? 2 : 1); kv++)
                check_case(dir, name ? name : "flags", cases[i].o, tp, ids,
                           kv ? GLIA_DTYPE_I8 : GLIA_DTYPE_AUTO);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matrix)};
    return check_run_group("formats", tests);
}
