/* check_lora.c - LoRA adapters: goldens of PEFT, what is refused, merging, and that a row's
 * bits depend on its own adapter only.
 *
 * The adapters and their goldens are shared reference data (data/lora/README.md). A golden
 * holds PEFT's logits in float64; the tolerance of float32, 1e-3, is that of the README. */
#define _GNU_SOURCE
#include "cli.h"

#include <dirent.h>
#include <math.h>

#include "base/cpu.h"
#include "format/safetensors.h"
#include "glia.h"

#define LORA "data/lora/"
enum { TOKENS = 48 };
static const double tolerance = 1e-3;

/* ---- goldens ---------------------------------------------------------------- */

typedef struct {
    const float *truth; /* [TOKENS, vocab] */
    size_t vocab, seen;
    double worst;
} comparison;

static void compare(void *user, size_t position, const float *logits) {
    comparison *c = user;
    c->seen++;
    for (size_t i = 0; i < c->vocab; i++) {
        const double error = fabs((double)logits[i] - (double)c->truth[position * c->vocab + i]);
        if (!(error <= c->worst)) c->worst = error; /* this form keeps a NaN */
    }
}

/* The base of an adapter: the last part of base_model_name_or_path. */
static void base_of(char *base, size_t size, const char *adapter) {
    char path[1200];
    snprintf(path, sizeof path, "%.1000s/adapter_config.json", adapter);
    json_t *config = json_load_file(path, 0, NULL);
    const char *name = json_string_value(json_object_get(config, "base_model_name_or_path"));
    assert_non_null(name);
    snprintf(path, sizeof path, LORA "bases/%s", strrchr(name, '/') + 1);
    snprintf(base, size, "%s", check_shared(path));
    json_decref(config);
}

typedef struct {
    const char *rung;
    int tp, cp, chunk;
    glia_switch flash, strided;
} shape;

/* merged: a model with the adapter in its weights; NULL: the base with the adapter beside it. */
static void check_golden(const char *adapter, const char *name, const shape *s, const char *merged) {
    char base[600], path[1200];
    glia_safetensors g;
    glia_err err = {0};
    glia_model *m;
    glia_engine *e = NULL;
    const glia_lora_module module = {name, adapter};
    const glia_engine_options engine = {.sequence_length = TOKENS,
                                        .prefill_chunk_size = s->chunk,
                                        .lora_modules = &module,
                                        .n_lora_modules = merged ? 0 : 1};
    const glia_options o = {.dtype = GLIA_DTYPE_F32,
                            .threads = s->tp > 1 ? 1 : 2,
                            .cpu_features = s->rung,
                            .tensor_parallel_size = s->tp,
                            .context_parallel_size = s->cp,
                            .flash_decoding = s->flash,
                            .strided_context_parallel = s->strided,
                            .engine = &engine};
    base_of(base, sizeof base, adapter);
    snprintf(path, sizeof path, "%.1000s/golden.safetensors", adapter);
    assert_int_equal(glia_safetensors_read(&g, path, &err), GLIA_OK);
    const glia_tensor_view *ids = NULL, *logits = NULL;
    for (size_t i = 0; i < g.n; i++) {
        if (!strcmp(g.tensor[i].name, "ids")) ids = &g.tensor[i];
        if (!strcmp(g.tensor[i].name, "logits_f64")) logits = &g.tensor[i];
    }
    assert_true(ids && logits && ids->shape[0] == TOKENS);
    int32_t tokens[TOKENS];
    memcpy(tokens, ids->data, sizeof tokens);
    float *truth = malloc(logits->bytes);
    memcpy(truth, logits->data, logits->bytes);
    comparison c = {.truth = truth, .vocab = (size_t)logits->shape[1]};
    if (glia_model_load(&m, merged ? merged : base, NULL, &o, &err)) fail_msg("%s: %s", name, err.msg);
    if (glia_engine_create(&e, m, &engine, &err)) fail_msg("%s: %s", name, err.msg);
    if (glia_engine_score_adapted(e, merged ? NULL : name, tokens, TOKENS, compare, &c, &err))
        fail_msg("%s: %s", name, err.msg);
    CHECK(c.seen == TOKENS && c.worst <= tolerance, "%s, %s, tp %d, cp %d: the largest error is %g", name,
          s->rung, s->tp, s->cp, c.worst);
    glia_engine_free(e);
    glia_model_free(m);
    free(truth);
    glia_safetensors_close(&g);
}

static int is_adapter(const struct dirent *d) {
    return d->d_name[0] != '.' && strcmp(d->d_name, "pickle-bin") != 0;
}

static void test_goldens(void **state) {
    static const shape shapes[] = {
        {"ref", 1, 1, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 1, 1, 7, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 3, 1, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 4, 1, 512, GLIA_SWITCH_ON, GLIA_SWITCH_OFF},
        {NULL, 2, 2, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 4, 2, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_ON},
    };
    struct dirent **names;
    const char *root = check_shared(LORA "adapters");
    (void)state;
    if (!root) check_skip("no " LORA "adapters");
    char dir[600];
    snprintf(dir, sizeof dir, "%s", root);
    const int n = scandir(dir, &names, is_adapter, alphasort);
    CHECK(n >= 26, "%d adapters", n);
    for (int i = 0; i < n; i++) {
        char path[1200];
        snprintf(path, sizeof path, "%.600s/%.200s", dir, names[i]->d_name);
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
            check_golden(path, names[i]->d_name, &shapes[k], NULL);
        free(names[i]);
    }
    free(names);
}

/* ---- merging ---------------------------------------------------------------- */

static void test_merge(void **state) {
    static const char *const merged[] = {"plain-qv",
                                         "patterns",
                                         "dora",
                                         "dora-rslora-bias-base",
                                         "embed-tied",
                                         "embed-tied-ensure",
                                         "embed-lmhead-untied",
                                         "trainable-tokens",
                                         "trainable-tokens-untied",
                                         "modules-to-save-head",
                                         "modules-to-save-norm",
                                         "bias-all",
                                         "fp16-weights"};
    const shape one = {NULL, 1, 1, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF};
    const char *root = check_shared(LORA "adapters");
    char path[1200], base[600], out[600], dir[600];
    glia_err err = {0};
    (void)state;
    if (!root) check_skip("no " LORA "adapters");
    snprintf(dir, sizeof dir, "%s", root);
    for (size_t i = 0; i < sizeof merged / sizeof *merged; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, merged[i]);
        snprintf(out, sizeof out, "%.300s/%s", check_temp_dir(), merged[i]);
        base_of(base, sizeof base, path);
        if (glia_merge(base, NULL, path, out, NULL, &err)) fail_msg("%s: %s", merged[i], err.msg);
        check_golden(path, merged[i], &one, out);
    }
    snprintf(path, sizeof path, "%s/lora-bias", dir);
    snprintf(out, sizeof out, "%.300s/lora-bias", check_temp_dir());
    base_of(base, sizeof base, path);
    CHECK(glia_merge(base, NULL, path, out, NULL, &err) == GLIA_ERR_UNSUPPORTED &&
              strstr(err.msg, "the adapter adds a bias to a linear layer of layer 0"),
          "%s", err.msg);
}

/* ---- the command line ------------------------------------------------------- */

static void test_command_line(void **state) {
    const char *found = check_shared(LORA "bases/qwen3-tied");
    char base[600], root[600], args[1500];
    (void)state;
    if (!found) check_skip("no " LORA);
    snprintf(base, sizeof base, "%s", found);
    snprintf(root, sizeof root, "%.*sadapters", (int)(strlen(base) - strlen("bases/qwen3-tied")), base);
    check_refused("generate a --ids - --lora-modules x", "", 2, "--lora-modules takes NAME=PATH, not 'x'");
    check_refused("merge a -o b", "", 2, "merge needs an ADAPTER after MODEL");
    check_refused("merge a b", "", 2, "merge needs -o DIR");
    snprintf(args, sizeof args, "generate %s --ids - --lora-modules a=%s/plain-qv --lora b", base, root);
    check_refused(args, "[1]", 2, "there is no adapter b; there are a");
    snprintf(args, sizeof args, "generate %s --ids - --lora a,b", base);
    check_refused(args, "[[1],[2],[3]]", 2, "--lora has 2 names, expected one, or one for each of 3 prompts");
    snprintf(args, sizeof args, "generate %s --ids - --lora-modules a=%s/patterns --max-lora-rank 4 --lora a",
             base, root);
    check_refused(args, "[1]", 2, "max_lora_rank is 4, and an adapter has rank 8");
    outcome alone[2], o;
    const char *const each[] = {"a", "b"};
    for (int i = 0; i < 2; i++)
        alone[i] = glia(
            "[[1,2,3]]",
            "generate %s --ids - --greedy --max-tokens 6 --lora-modules a=%s/plain-qv b=%s/dora --lora %s",
            base, root, root, each[i]);
    o = glia("[[1,2,3],[1,2,3],[1,2,3]]",
             "generate %s --ids - --greedy --max-tokens 6 --lora-modules a=%s/plain-qv b=%s/dora --max-loras "
             "1 --lora a,,b",
             base, root, root);
    char *second = strchr(o.out, '\n'), *third = second ? strchr(second + 1, '\n') : NULL;
    CHECK(o.status == 0 && third && !strncmp(o.out, alone[0].out, strlen(alone[0].out)) &&
              !strcmp(third + 1, alone[1].out),
          "%s against %s and %s: %s", o.out, alone[0].out, alone[1].out, o.err);
    done(&o);
    done(&alone[0]);
    done(&alone[1]);
    o = glia("", "inspect %s/dora --json", root);
    json_t *report = json_of(&o);
    CHECK(json_array_size(json_object_get(report, "modules")) == 4 &&
              json_is_true(json_object_get(report, "dora")),
          "inspect");
    json_decref(report);
}

/* ---- what is refused -------------------------------------------------------- */

static const struct {
    const char *dir, *words;
} broken[] = {
    {"adapters/pickle-bin", "adapter_model.bin is a pickle, which can run programs; convert it to "
                            "adapter_model.safetensors with safetensors.torch.save_file("},
    {"broken/extra-A-not-in-targets",
     "model.layers.1.self_attn.k_proj has lora_A.weight and no lora_B.weight"},
    {"broken/layer-out-of-range",
     "layers.7.mlp.down_proj.lora_A.weight is of layer 7, the model has 2 layers"},
    {"broken/missing-B", "model.layers.1.self_attn.q_proj has lora_A.weight and no lora_B.weight"},
    {"broken/nan", "q_proj.lora_A.weight: element 0 is NaN or infinite"},
    {"broken/no-config", "no-config: no adapter_config.json"},
    {"broken/not-lora-ia3", "adapter_config.json: peft_type is IA3, expected LORA"},
    {"broken/rank-mismatch-AB",
     "lora_A.weight is [3, 192], expected [4, 192]: adapter_config.json gives its module "
     "rank 4"},
    {"broken/rank-mismatch-config",
     "lora_A.weight is [4, 256], expected [8, 256]: adapter_config.json gives its "
     "module rank 8"},
    {"broken/truncated", "lora_B.weight: data_offsets [10240, 14336] in a file with 14236 bytes of data"},
    {"broken/unknown-module", "the model has no module model.layers.1.mlp.fc_proj"},
    {"broken/wrong-base-shape", "q_proj.lora_A.weight is [4, 184], expected [4, 192]"},
    {"broken/zero-rank", "adapter_config.json: r is 0, expected 1 to 65536"},
    {"adapters/smollm3-all", "mlp.down_proj.lora_B.weight is [128, 8], expected [192, 8]"},
    {"nowhere", "no such adapter: expected a directory"},
};

/* An engine says why it refuses an adapter, and goes on. */
static void test_broken(void **state) {
    const char *found = check_shared(LORA "bases/qwen3-tied");
    glia_err err = {0};
    glia_model *m;
    glia_engine *e;
    char base[600], root[600], path[1500];
    (void)state;
    if (!found) check_skip("no " LORA);
    snprintf(base, sizeof base, "%s", found);
    snprintf(root, sizeof root, "%.*s", (int)(strlen(base) - strlen("bases/qwen3-tied")), base);
    const glia_engine_options engine = {.sequence_length = TOKENS, .enable_lora = true};
    const glia_options o = {.engine = &engine};
    assert_int_equal(glia_model_load(&m, base, NULL, &o, &err), GLIA_OK);
    assert_int_equal(glia_engine_create(&e, m, &engine, &err), GLIA_OK);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        snprintf(path, sizeof path, "%s%s", root, broken[i].dir);
        err = (glia_err){0};
        const glia_status status = glia_engine_load_adapter(e, "x", path, false, &err);
        CHECK(status != GLIA_OK && strstr(err.msg, broken[i].words), "%s: status %d: %s", broken[i].dir,
              status, err.msg);
        CHECK(!strchr(err.msg, '\n'), "%s: more than a line", broken[i].dir);
        if (!strncmp(broken[i].dir, "nowhere", 7)) continue;
        snprintf(path, sizeof path, "score %s --ids - --json --lora-modules x=%s%s --lora x", base, root,
                 broken[i].dir);
        check_refused(path, "[1, 2]", 1, broken[i].words);
    }
    snprintf(path, sizeof path, "%sadapters/plain-qv", root);
    CHECK(glia_engine_load_adapter(e, "x", path, false, &err) == GLIA_OK, "%s", err.msg);
    CHECK(glia_engine_load_adapter(e, "x", path, false, &err) == GLIA_ERR_ARGUMENT &&
              strstr(err.msg, "adapter x is loaded already"),
          "%s", err.msg);
    CHECK(glia_engine_load_adapter(e, "x", path, true, &err) == GLIA_OK, "%s", err.msg);
    CHECK(glia_engine_drop_adapter(e, "y", &err) == GLIA_ERR_ARGUMENT &&
              strstr(err.msg, "there is no adapter y; there are x"),
          "%s", err.msg);
    CHECK(glia_engine_drop_adapter(e, "x", &err) == GLIA_OK, "%s", err.msg);
    glia_engine_free(e);
    glia_model_free(m);
}

/* ---- a row's bits ----------------------------------------------------------- */

enum { PROMPTS = 10, OUTPUT = 12, TOP = 20, ADAPTERS = 6, LONGEST = 40 };

/* Adapters of qwen3-tied: every kind of change. NULL: none. */
static const char *const names[ADAPTERS] = {NULL,         "all-linear-rslora",    "dora",
                                            "embed-tied", "modules-to-save-norm", "trainable-tokens"};

typedef struct {
    int32_t token[OUTPUT], top[OUTPUT][TOP];
    float logprob[OUTPUT][TOP];
    int n;
    glia_finish finish;
} answer;

static void keep(void *user, const glia_event *event) {
    answer *a = user;
    if (event->token >= 0 && a->n < OUTPUT) {
        a->token[a->n] = event->token;
        memcpy(a->top[a->n], event->top_tokens, sizeof a->top[0]);
        memcpy(a->logprob[a->n], event->top_logprobs, sizeof a->logprob[0]);
        a->n++;
    }
    a->finish = event->finish;
}

typedef struct {
    int32_t token[LONGEST];
    int n, adapter;
} prompt;

typedef struct {
    const char *base, *root;
    glia_options o;
    prompt prompts[PROMPTS];
    answer alone[PROMPTS];
} property;

static glia_engine *open_engine(glia_model **m, const property *p, const glia_engine_options *engine,
                                int threads) {
    glia_options o = p->o;
    glia_engine *e = NULL;
    glia_err err = {0};
    o.engine = engine;
    o.threads = threads;
    if (glia_model_load(m, p->base, NULL, &o, &err)) fail_msg("%s", err.msg);
    if (glia_engine_create(&e, *m, engine, &err)) fail_msg("%s", err.msg);
    return e;
}

static void load(glia_engine *e, const property *p, int adapter, const char *name, bool replace) {
    char path[1200];
    glia_err err = {0};
    snprintf(path, sizeof path, "%sadapters/%s", p->root, names[adapter]);
    if (glia_engine_load_adapter(e, name, path, replace, &err)) fail_msg("%s", err.msg);
}

static void submit(glia_engine *e, const property *p, int i, answer *a) {
    glia_err err = {0};
    const glia_sampling s = {.temperature = 1,
                             .top_p = 1,
                             .typical_p = 1,
                             .repetition_penalty = 1,
                             .max_tokens = OUTPUT,
                             .logprobs = TOP,
                             .ignore_eos = true,
                             .adapter = names[p->prompts[i].adapter]};
    *a = (answer){0};
    if (glia_engine_submit(e, p->prompts[i].token, (size_t)p->prompts[i].n, &s, keep, a, NULL, &err))
        fail_msg("%s", err.msg);
}

static void finish(glia_engine *e) {
    glia_err err = {0};
    for (size_t left = 1; left;)
        if (glia_engine_step(e, &left, &err)) fail_msg("%s", err.msg);
}

static void check_answer(const property *p, int i, const answer *a, const char *what) {
    CHECK(!memcmp(a, &p->alone[i], sizeof *a), "%s: prompt %d with adapter %s differs from its run alone",
          what, i, names[p->prompts[i].adapter] ? names[p->prompts[i].adapter] : "none");
}

/* Every prompt alone. */
static void run_alone(property *p) {
    glia_model *m;
    glia_engine_options engine = {.sequence_length = 64,
                                  .batch_size = 1,
                                  .enable_lora = true,
                                  .no_prefix_cache = true,
                                  .max_lora_rank = 16,
                                  .max_loras = 2};
    glia_engine *e = open_engine(&m, p, &engine, 1);
    for (int i = 1; i < ADAPTERS; i++) load(e, p, i, names[i], false);
    for (int i = 0; i < PROMPTS; i++) {
        submit(e, p, i, &p->alone[i]);
        finish(e);
        CHECK(p->alone[i].n == OUTPUT, "prompt %d: %d tokens", i, p->alone[i].n);
    }
    glia_engine_free(e);
    glia_model_free(m);
}

/* All prompts together, some later than others, twice; adapters are replaced and dropped meanwhile. */
static void run_together(property *p, const char *what, int threads, int places, int chunk) {
    glia_model *m;
    answer a[2][PROMPTS];
    glia_err err = {0};
    glia_engine_options engine = {.sequence_length = 64,
                                  .batch_size = 6,
                                  .prefill_chunk_size = chunk,
                                  .block_size = 32,
                                  .enable_lora = true,
                                  .max_lora_rank = 16,
                                  .max_loras = places,
                                  .max_cpu_loras = places};
    glia_engine *e = open_engine(&m, p, &engine, threads);
    for (int i = 1; i < ADAPTERS; i++) load(e, p, i, names[i], false);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PROMPTS; i++) {
            size_t left;
            submit(e, p, i, &a[round][i]);
            for (uint32_t k = check_u32() % 3; k > 0; k--)
                if (glia_engine_step(e, &left, &err)) fail_msg("%s", err.msg);
            const int other = 1 + (int)(check_u32() % (ADAPTERS - 1));
            if (check_u32() % 3 == 0) load(e, p, other, names[other], true);
            if (check_u32() % 3 == 0) load(e, p, other, "other", true);
        }
        finish(e);
        for (int i = 0; i < PROMPTS; i++) check_answer(p, i, &a[round][i], what);
    }
    glia_engine_free(e);
    glia_model_free(m);
}

static void check_bits(const char *base, const char *root, const char *what, glia_options o) {
    property *p = calloc(1, sizeof *p);
    p->base = base;
    p->root = root;
    p->o = o;
    for (int i = 0; i < PROMPTS; i++) {
        p->prompts[i].n = 1 + (int)(check_u32() % (LONGEST - 1));
        p->prompts[i].adapter = i % ADAPTERS;
        for (int k = 0; k < p->prompts[i].n; k++) p->prompts[i].token[k] = (int32_t)(check_u32() % 160);
        if (i > 2 && p->prompts[i].n > 33)
            memcpy(p->prompts[i].token, p->prompts[0].token, 32 * sizeof(int32_t));
    }
    p->prompts[0].n = LONGEST;
    run_alone(p);
    run_together(p, what, 1, 2, 512);
    if (o.tensor_parallel_size <= 1) run_together(p, what, 2, 3, 9);
    free(p);
}

static void test_bits(void **state) {
    static const struct {
        const char *what;
        glia_options o;
    } rows[] = {
        {"bfloat16", {.dtype = GLIA_DTYPE_BF16}},
        {"float32", {.dtype = GLIA_DTYPE_F32}},
        {"float16", {.dtype = GLIA_DTYPE_F16}},
        {"ref", {.dtype = GLIA_DTYPE_BF16, .cpu_features = "ref"}},
        {"avx2", {.dtype = GLIA_DTYPE_BF16, .cpu_features = "avx2"}},
        {"int8", {.dtype = GLIA_DTYPE_BF16, .quantization = GLIA_QUANTIZATION_INT8}},
        {"w8a8", {.dtype = GLIA_DTYPE_BF16, .quantization = GLIA_QUANTIZATION_W8A8}},
        {"w8a8 per channel",
         {.dtype = GLIA_DTYPE_BF16,
          .quantization = GLIA_QUANTIZATION_W8A8,
          .quantization_type = GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC}},
        {"tp 2", {.dtype = GLIA_DTYPE_BF16, .tensor_parallel_size = 2}},
        {"tp 3, w8a8",
         {.dtype = GLIA_DTYPE_BF16, .tensor_parallel_size = 3, .quantization = GLIA_QUANTIZATION_W8A8}},
        {"tp 4, flash",
         {.dtype = GLIA_DTYPE_BF16, .tensor_parallel_size = 4, .flash_decoding = GLIA_SWITCH_ON}},
        {"cp 2", {.dtype = GLIA_DTYPE_BF16, .tensor_parallel_size = 2, .context_parallel_size = 2}},
        {"cp 2, w8a8",
         {.dtype = GLIA_DTYPE_BF16,
          .tensor_parallel_size = 2,
          .context_parallel_size = 2,
          .strided_context_parallel = GLIA_SWITCH_ON,
          .quantization = GLIA_QUANTIZATION_W8A8}},
    };
    const char *found = check_shared(LORA "bases/qwen3-tied");
    char base[600], root[600];
    (void)state;
    if (!found) check_skip("no " LORA);
    snprintf(base, sizeof base, "%s", found);
    snprintf(root, sizeof root, "%.*s", (int)(strlen(base) - strlen("bases/qwen3-tied")), base);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned flags = glia_cpu_flags();
        if (glia_cpu_mask(&flags, rows[i].o.cpu_features, NULL))
            check_skip_because("this machine has no %s", rows[i].o.cpu_features);
        else
            check_bits(base, root, rows[i].what, rows[i].o);
    }
}

int main(int argc, char **argv) {
    find_program();
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens), cmocka_unit_test(test_merge), cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_broken),  cmocka_unit_test(test_bits),
    };
    return check_run_group("lora", tests);
}
